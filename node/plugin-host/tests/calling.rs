//! What a plugin answers is read; what breaks a rule or a limit is a fault, which costs its instance and nobody else's.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and says why")]

mod guest;

use guest::{DATA, Guest, item, place, reply, verdicts, with_config};
use mainstem_plugin_abi::{Limits, plugin_capnp::FailureCode};
use mainstem_plugin_host::{CallError, Config, Fault, Plugin, Status, Verdict, conformance};
use std::time::{Duration, Instant};

fn fault_of(guest: &Guest) -> Fault {
    let plugin = guest.load();
    let error = plugin.verify(&[item()]).unwrap_err();
    println!("{error}");
    let CallError::Fault { fault, .. } = error else { panic!("{error}") };
    assert_eq!((plugin.counters().faults.sum(), plugin.counters().instances), (1, 0));
    fault
}

fn reply_fault(guest: &Guest) -> String {
    let fault = fault_of(guest);
    let Fault::Reply(what) = fault else { panic!("{fault}") };
    what
}

#[test]
fn verdicts_are_read_in_their_order_and_a_new_one_counts_as_invalid() {
    let plugin = Guest::answering(&verdicts(&[0, 1, 2, 3, 4, 5, 6, 65_535])).load();
    let given = plugin.verify(&[item(); 8]).unwrap();
    let right = [
        Verdict::Valid,
        Verdict::Invalid,
        Verdict::Malformed,
        Verdict::Expired,
        Verdict::Untrusted,
        Verdict::Unavailable,
        Verdict::Invalid,
        Verdict::Invalid,
    ];
    assert_eq!(given, right);
    let counters = plugin.counters();
    assert_eq!((counters.calls, counters.items, counters.instances_made), (1, 8, 1));
    assert!(counters.fuel > 0 && counters.memory_bytes_high >= 131_072);
}

#[test]
fn no_items_are_asked_about_too() {
    assert_eq!(Guest::answering(&verdicts(&[])).load().verify(&[]).unwrap(), []);
}

#[test]
fn a_plugin_is_given_the_items_as_they_are() {
    // It says `valid` if the bytes of the header are where an encoder of lists puts them.
    let call = format!(
        "(local $at i32)
        (local.set $at (local.get $ptr))
        (loop $next
            (if (i64.eq (i64.load (local.get $at)) (i64.const 0x0707070707070707)) (then (return {})))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))
            (br_if $next (i32.lt_u (local.get $at) (i32.add (local.get $ptr) (local.get $len)))))
        unreachable",
        place(DATA, verdicts(&[0]).len())
    );
    let guest = Guest { call, ..Guest::answering(&verdicts(&[0])) };
    assert_eq!(guest.load().verify(&[item()]).unwrap(), [Verdict::Valid]);
}

#[test]
fn as_many_verdicts_as_items_or_it_is_a_fault() {
    for count in [0, 2, 100] {
        let what = reply_fault(&Guest::answering(&verdicts(&vec![0; count])));
        assert!(what.contains(&format!("{count} verdicts for 1 items")), "{what}");
    }
}

#[test]
fn a_failure_is_an_answer_and_the_instance_lives_on() {
    let failed = reply(|reply| {
        let mut failed = reply.init_failed();
        failed.set_code(FailureCode::Unavailable);
        failed.set_message("the list of keys is not there\nyet".repeat(100).as_str());
    });
    let plugin = Guest::answering(&failed).load();
    for _ in 0..20 {
        let CallError::Failed { code, message, .. } = plugin.verify(&[item()]).unwrap_err() else { panic!() };
        assert_eq!((code, message.len()), (FailureCode::Unavailable, 1_024));
        assert!(message.starts_with("the list of keys is not there yet"));
    }
    let counters = plugin.counters();
    assert_eq!((counters.failed, counters.faults.sum(), counters.instances_made), (20, 0, 1));
    assert_eq!(plugin.status(), Status::On);
}

#[test]
fn a_reply_that_is_not_in_memory_or_of_a_wrong_length_is_a_fault() {
    let at = |ptr, len| reply_fault(&Guest::doing(&place(ptr, len)));
    assert!(at(131_072, 8).contains("not in its memory"));
    assert!(at(131_064, 16).contains("not in its memory"));
    assert!(at(0xffff_fff8, 16).contains("not in its memory"));
    assert!(at(0xffff_fff8, 8).contains("not in its memory"));
    assert!(at(DATA + 4, 8).contains("multiple of 8"));
    assert!(at(DATA, 0).contains("0 bytes"));
    assert!(at(DATA, 12).contains("12 bytes"));
    assert!(at(0, u32::MAX as usize).contains("reply_bytes_max"));
    assert!(at(0, (4 << 20) + 8).contains("reply_bytes_max"));
}

#[test]
fn a_reply_of_another_kind_is_a_fault() {
    let done = reply(|mut reply| reply.set_done(()));
    assert!(reply_fault(&Guest::answering(&done)).contains("no verdicts"));
    let mut new = done.clone();
    let at = new.iter().rposition(|byte| *byte == 1).unwrap();
    new[at] = 77;
    assert!(reply_fault(&Guest::answering(&new)).contains("77"));
    // A root that is a list, a far pointer, a capability, a pointer to behind its end.
    for word in [1_u64, 2, 3, 0x0001_0001_7fff_fffc] {
        reply_fault(&Guest::answering(&word.to_le_bytes()));
    }
    // All zeros is the union's first member, a failure without a code or a word.
    let error = Guest::answering(&[0; 8]).load().verify(&[item()]).unwrap_err();
    assert!(matches!(error, CallError::Failed { code: FailureCode::Unsupported, .. }), "{error}");
}

#[test]
fn pointers_that_make_a_small_reply_large_are_a_fault() {
    // A list of 2^29 - 1 elements without size.
    let mut lists = reply(|reply| {
        reply.init_signatures(1).set(0, &[1; 8]);
    });
    let words = lists.len() / 8;
    let list = (0..words).find(|at| lists[at * 8] & 3 == 1).unwrap();
    lists[list * 8 + 4..list * 8 + 8].copy_from_slice(&0xffff_fff8_u32.to_le_bytes());
    let plugin = Guest::answering(&lists).load();
    let start = Instant::now();
    assert!(matches!(plugin.sign(&[], &[[0; 32]]), Err(CallError::Fault { fault: Fault::Reply(_), .. })));
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_trap_is_a_fault_with_its_reason() {
    let trap = |call: &str| {
        let fault = fault_of(&Guest::doing(call));
        let Fault::Trap(what) = fault else { panic!("{fault}") };
        what
    };
    assert!(trap("unreachable").contains("unreachable"));
    assert!(trap("(i64.load (i32.const -8))").contains("out of bounds"));
    assert!(trap("(i64.div_u (i64.const 1) (i64.const 0))").contains("divide by zero"));
    assert!(trap("(call $call (local.get $ptr) (local.get $len)) drop (i64.const 0)").contains("stack"));
}

#[test]
fn an_endless_loop_ends_with_its_fuel() {
    let mut guest = Guest::doing("(loop $l (br $l)) unreachable");
    guest.manifest.limits = Limits { fuel: 100_000, deadline_ms: 1_000, ..Limits::default() };
    assert_eq!(fault_of(&guest), Fault::OutOfFuel(100_000));
}

#[test]
fn an_endless_loop_ends_at_its_deadline() {
    let mut guest = Guest::doing("(loop $l (br $l)) unreachable");
    guest.manifest.limits = Limits { fuel: u64::MAX, deadline_ms: 20, ..Limits::default() };
    let host = with_config(Config { fuel_max: u64::MAX / 2, ..Config::default() });
    let plugin = guest.load_in(&host);
    for _ in 0..3 {
        let start = Instant::now();
        let error = plugin.verify(&[item()]).unwrap_err();
        let took = start.elapsed();
        assert!(matches!(error, CallError::Fault { fault: Fault::Deadline(20), .. }), "{error}");
        assert!(took >= Duration::from_millis(20), "{took:?}");
        assert!(took < Duration::from_millis(500), "{took:?}");
    }
}

#[test]
fn a_loop_that_wishes_for_much_fuel_and_little_time_is_switched_off_too() {
    let mut guest = Guest::doing("(loop $l (br $l)) unreachable");
    guest.manifest.limits = Limits { fuel: 2_000_000_000, deadline_ms: 10, ..Limits::default() };
    let plugin = guest.load();
    // A machine that has no time for it is no reason; it has some.
    let calls = (0..1_000).take_while(|_| plugin.verify(&[item()]).is_err() && plugin.status() == Status::On);
    let calls = calls.count();
    assert!(matches!(plugin.status(), Status::Off { .. }), "{calls} calls");
    assert!(calls >= 8, "{calls}");
}

#[test]
fn a_wish_counts_up_to_the_most() {
    let mut guest = Guest::doing("(loop $l (br $l)) unreachable");
    guest.manifest.limits = Limits { fuel: u64::MAX, ..Limits::default() };
    let host = with_config(Config { fuel_default: 1_000, fuel_max: 5_000, ..Config::default() });
    let error = guest.load_in(&host).verify(&[item()]).unwrap_err();
    assert!(matches!(error, CallError::Fault { fault: Fault::OutOfFuel(5_000), .. }), "{error}");
}

#[test]
fn memory_does_not_grow_over_its_bound() {
    let mut guest = Guest::answering(&verdicts(&[0]));
    guest.call =
        format!("(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) {}", guest.call);
    let plugin = guest.load();
    plugin.verify(&[item()]).unwrap();
    assert_eq!(plugin.counters().memory_bytes_high, 16 << 20);
}

#[test]
fn tables_do_not_grow_over_their_bound() {
    let mut guest = Guest::answering(&verdicts(&[0]));
    guest.more = "(table $t 0 funcref)".into();
    guest.call = format!(
        "(loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const 1)) (i32.const -1))))
        (if (i32.ne (table.size $t) (i32.const 10000)) (then unreachable)) {}",
        guest.call
    );
    guest.load().verify(&[item()]).unwrap();
}

#[test]
fn memory_for_a_request_that_is_none_is_a_fault() {
    let alloc = |alloc: &str| fault_of(&Guest { alloc: alloc.into(), ..Guest::answering(&verdicts(&[0])) });
    for alloc_gives in ["0", "4", "131072", "-8"] {
        assert!(matches!(alloc(&format!("(i32.const {alloc_gives})")), Fault::Memory(_)));
    }
    assert!(matches!(alloc("unreachable"), Fault::Trap(_)));
    assert!(matches!(alloc("(drop (call $host (i32.const 0) (i32.const 8))) (i32.const 8)"), Fault::Trap(_)));
}

#[test]
fn memory_for_requests_is_kept_and_given_back_when_it_is_too_small() {
    let mut guest = Guest::answering(&verdicts(&[0]));
    // Allocates once, until that is given back with its length.
    guest.more = "(global $out (mut i32) (i32.const 0))".into();
    guest.alloc = format!(
        "(if (global.get $out) (then unreachable)) (global.set $out (local.get $len)) {}",
        guest.alloc
    );
    guest.free =
        "(if (i32.ne (global.get $out) (local.get $len)) (then unreachable)) (global.set $out (i32.const 0))"
            .into();
    let plugin = guest.load();
    let long = vec![1; 16_384];
    for signature in [&[1; 64][..], &[1; 2], &long, &[1; 64], &long[..9_000]] {
        plugin.verify(&[mainstem_plugin_host::SignedItem { signature, ..item() }]).unwrap();
    }
}

#[test]
fn faults_up_to_the_bound_leave_it_on_and_one_more_switches_it_off() {
    let plugin = Guest::doing("unreachable").load();
    for n in 0..8 {
        assert!(matches!(plugin.verify(&[item()]), Err(CallError::Fault { .. })), "{n}");
        assert_eq!(plugin.status(), Status::On);
    }
    assert!(matches!(plugin.verify(&[item()]), Err(CallError::Fault { .. })));
    let Status::Off { reason } = plugin.status() else { panic!("it is on") };
    assert!(reason.contains("8 faults") && reason.contains("unreachable"), "{reason}");
    let error = plugin.verify(&[item()]).unwrap_err();
    assert!(matches!(error, CallError::Off { .. }), "{error}");
    assert_eq!((plugin.counters().calls, plugin.counters().instances), (9, 0));
}

#[test]
fn a_fault_before_conformance_is_looked_at_is_none_of_its_findings_and_one_meanwhile_is() {
    let failed = reply(|reply| reply.init_failed().set_code(FailureCode::Unsupported));
    let faults_of = |limit: usize| {
        let mut guest = Guest::answering(&failed);
        guest.call =
            format!("(if (i32.gt_u (local.get $len) (i32.const {limit})) (then unreachable)) {}", guest.call);
        let plugin = guest.load();
        let header = vec![0; limit];
        plugin.verify(&[mainstem_plugin_host::SignedItem { header: &header, ..item() }]).unwrap_err();
        assert_eq!(plugin.counters().faults.trap, 1);
        let findings = conformance(&plugin);
        findings.into_iter().find(|finding| finding.check == "it had no faults").unwrap().fault
    };
    assert_eq!(faults_of(3 << 20), None);
    assert_eq!(faults_of(64 << 10).as_deref(), Some("it had 1"));
}

#[test]
fn a_fault_of_one_plugin_does_not_touch_another() {
    let host = guest::host();
    let (bad, good) =
        (Guest::doing("unreachable").load_in(&host), Guest::answering(&verdicts(&[0])).load_in(&host));
    for _ in 0..20 {
        bad.verify(&[item()]).unwrap_err();
        good.verify(&[item()]).unwrap();
    }
    assert_eq!(good.counters().instances_made, 1);
}

fn spinning(deadline_ms: u32, instances_max: usize) -> Plugin {
    let mut guest = Guest::doing("(loop $l (br $l)) unreachable");
    guest.manifest.limits = Limits { fuel: u64::MAX, deadline_ms, ..Limits::default() };
    let config =
        Config { instances_max, fuel_max: u64::MAX / 2, faults_per_minute_max: 100, ..Config::default() };
    guest.load_in(&with_config(config))
}

#[test]
fn no_more_instances_than_the_bound_and_who_waits_too_long_hears_that_it_is_busy() {
    let plugin = spinning(100, 2);
    let results: Vec<_> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..12).map(|_| scope.spawn(|| plugin.verify(&[item()]).unwrap_err())).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    let busy = results.iter().filter(|error| matches!(error, CallError::Busy { instances: 2, .. })).count();
    assert!(busy > 0, "{results:?}");
    assert_eq!(plugin.counters().instances, 0);
}

#[test]
fn calls_at_once_each_have_an_instance() {
    let plugin = Guest::answering(&verdicts(&[0])).load();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                (0..500).for_each(|_| assert_eq!(plugin.verify(&[item()]).unwrap(), [Verdict::Valid]))
            });
        }
    });
    let counters = plugin.counters();
    assert_eq!((counters.calls, counters.instances), (4_000, counters.instances_made));
    assert!(counters.instances_made <= 8);
}

#[test]
fn signatures_are_read_and_are_as_many_as_batch_ids() {
    let signatures = reply(|reply| {
        let mut list = reply.init_signatures(2);
        list.set(0, &[1; 64]);
        list.set(1, &[2; 64]);
    });
    let plugin = Guest::answering(&signatures).load();
    assert_eq!(plugin.sign(&[9; 32], &[[0; 32]; 2]).unwrap(), [vec![1; 64], vec![2; 64]]);
    assert!(matches!(plugin.sign(&[9; 32], &[[0; 32]]), Err(CallError::Fault { .. })));
}

#[test]
fn a_plugin_is_not_asked_for_what_it_does_not_claim() {
    let mut guest = Guest::answering(&verdicts(&[0]));
    let mainstem_plugin_abi::Claim::Signature(claim) = &mut guest.manifest.claim else { panic!() };
    claim.signs = false;
    let plugin = guest.load();
    assert!(matches!(plugin.sign(&[], &[]), Err(CallError::Asked { .. })));
    assert!(matches!(plugin.operator("filter", &Default::default()), Err(CallError::Asked { .. })));
    assert_eq!(plugin.counters().calls, 0);
}

#[test]
fn a_scheme_says_what_the_plugin_says_and_is_unavailable_when_that_has_no_answer() {
    use mainstem_model::{Header, NetworkId, SignatureFault, SignatureScheme, SignedHeader};
    let mut bytes = [0; 203];
    bytes[..16].copy_from_slice(b"mainstem/batch/1");
    (bytes[70], bytes[71], bytes[72], bytes[121], bytes[202]) = (200, 1, 5, 1, 200);
    let header = Header::decode(&bytes).unwrap();
    assert_eq!(header.network, NetworkId([0; 32]));
    let signed = SignedHeader { header: &header, signature: &[1; 64] };
    let scheme = |guest: Guest| {
        mainstem_plugin_host::SignaturePlugin::new(guest.load_in(&guest::host()))
            .unwrap()
            .verify(&[signed; 2])
    };
    assert_eq!(scheme(Guest::answering(&verdicts(&[0, 3]))), [Ok(()), Err(SignatureFault::Expired)]);
    for result in scheme(Guest::doing("unreachable")) {
        let Err(SignatureFault::Unavailable(why)) = result else { panic!("{result:?}") };
        assert!(why.contains("guest") && why.contains("unreachable"), "{why}");
    }
}
