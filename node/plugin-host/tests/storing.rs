//! A storage plugin that does not keep to what it says: it is named, and its records are not taken.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod guest;

use guest::{DATA, Guest, manifest, place, reply, with_config};
use mainstem_model::{Query, Record, RecordStore};
use mainstem_plugin_abi::{
    Capability, Claim, ColumnType, Parameter, StorageClaim,
    plugin_capnp::{FailureCode, records},
};
use mainstem_plugin_host::{CallError, Config, Fault, StoragePlugin};
use std::collections::BTreeMap;

/// It says `done` to the first call and to whatever this says is done, and else this.
fn storage(answer: &[u8]) -> StoragePlugin {
    storage_with(answer, vec![Capability::Blob])
}

fn storage_with(answer: &[u8], capabilities: Vec<Capability>) -> StoragePlugin {
    let done = reply(|mut reply| reply.set_done(()));
    let second = DATA + done.len() as u32;
    let call = format!(
        "(if (result i64) (i32.load (i32.const 8)) (then {})
            (else (i32.store (i32.const 8) (i32.const 1)) {}))",
        place(second, answer.len()),
        place(DATA, done.len())
    );
    plugin(Guest { call, data: [&done, answer].concat(), ..Guest::default() }, Vec::new(), capabilities)
        .storage(&BTreeMap::new())
        .unwrap()
}

fn plugin(
    guest: Guest,
    parameters: Vec<Parameter>,
    capabilities: Vec<Capability>,
) -> mainstem_plugin_host::Plugin {
    let claim = Claim::Storage(StorageClaim { scheme: "files".into(), parameters });
    Guest { manifest: mainstem_plugin_abi::Manifest { claim, capabilities, ..manifest() }, ..guest }.load()
}

fn found(fill: impl FnOnce(records::Builder<'_>)) -> Vec<u8> {
    reply(|reply| fill(reply.init_records()))
}

const QUERY: Query = Query { from: 10, until: 20, records_max: 4, bytes_max: 100, prefix_bytes: 0 };

/// An answer with a record that was not asked for.
fn outside() -> Vec<u8> {
    found(|mut found| {
        found.set_next(20);
        found.init_records(1).get(0).set_place(25);
    })
}

fn lost(storage: &StoragePlugin) -> bool {
    matches!(storage.fetch(&[]), Err(CallError::Lost { plugin }) if plugin == "guest")
}

#[test]
fn an_answer_that_was_not_asked_for_is_a_fault_after_which_it_is_started_again() {
    let storage = storage(&outside());
    for faults in 1..3 {
        let Err(CallError::Fault { plugin, fault: Fault::Reply(why) }) = storage.query(&QUERY) else {
            panic!("it was taken");
        };
        assert!(plugin == "guest" && why.contains("a record has place 25"), "{plugin}: {why}");
        let counters = storage.plugin().counters();
        // Each instance was started, and then asked.
        assert_eq!((counters.faults.reply, counters.calls), (faults, 2 * faults));
    }
}

#[test]
fn a_storage_that_fails_in_a_write_or_keeps_all_in_itself_is_lost() {
    let files = storage(&outside());
    let fault = RecordStore::sync(&files).unwrap_err();
    assert!(fault.0.contains("it is not done"), "{fault}");
    assert!(lost(&files));
    let memory = storage_with(&outside(), Vec::new());
    assert!(matches!(memory.query(&QUERY), Err(CallError::Fault { .. })));
    assert!(lost(&memory));
    let fault = RecordStore::sync(&memory).unwrap_err();
    assert!(fault.0.contains("guest is gone after a fault"), "{fault}");
}

#[test]
fn a_query_that_does_not_go_on_is_a_fault() {
    let storage = storage(&found(|mut found| found.set_next(10)));
    assert!(matches!(storage.query(&QUERY), Err(CallError::Fault { .. })));
}

#[test]
fn what_is_fetched_must_have_been_asked_for() {
    let seven = found(|found| found.init_records(1).get(0).set_place(7));
    assert_eq!(storage(&seven).fetch(&[3, 7]).unwrap().records[0].place, 7);
    assert!(matches!(storage(&seven).fetch(&[3]), Err(CallError::Fault { .. })));
}

#[test]
fn what_is_appended_must_be_done_and_what_is_refused_is_told() {
    let record = Record { place: 1, timestamp: 2, value: vec![3; 4].into() };
    let storage_of = |answer: &[u8]| storage(answer);
    let odd = storage_of(&found(|_| {}));
    assert!(matches!(odd.append(std::slice::from_ref(&record)), Err(CallError::Fault { .. })));
    let refusing = storage_of(&reply(|reply| reply.init_failed().set_message("no room")));
    for _ in 0..2 {
        let told = RecordStore::append(&refusing, std::slice::from_ref(&record)).unwrap_err();
        assert!(told.0.contains("guest") && told.0.contains("no room"), "{told}");
    }
}

/// It says `done` to the first call, so often that it may work later, and `done` from then on.
fn absent(times: u32, storage_wait_ms_max: u32) -> StoragePlugin {
    let done = reply(|mut reply| reply.set_done(()));
    let away = reply(|reply| {
        let mut failed = reply.init_failed();
        failed.set_code(FailureCode::Unavailable);
        failed.set_message("the server is away");
    });
    let call = format!(
        "(i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1)))
        (if (result i64) (i32.and (i32.gt_u (i32.load (i32.const 8)) (i32.const 1)) (i32.le_u (i32.load (i32.const 8)) (i32.const {})))
            (then {}) (else {}))",
        times + 1,
        place(DATA + done.len() as u32, away.len()),
        place(DATA, done.len())
    );
    let claim = Claim::Storage(StorageClaim { scheme: "files".into(), parameters: Vec::new() });
    let guest = Guest {
        manifest: mainstem_plugin_abi::Manifest { claim, capabilities: Vec::new(), ..manifest() },
        call,
        data: [done, away].concat(),
        ..Guest::default()
    };
    let host = with_config(Config { storage_wait_ms_max, ..Config::default() });
    guest.load_in(&host).storage(&BTreeMap::new()).unwrap()
}

#[test]
fn a_write_is_asked_again_while_the_storage_is_away_and_not_for_ever() {
    type Write<'a> = &'a dyn Fn(&StoragePlugin) -> Result<(), mainstem_model::RecordFault>;
    let record = Record { place: 1, timestamp: 2, value: vec![3; 4].into() };
    let writes: [Write<'_>; 3] = [
        &|storage| RecordStore::append(storage, std::slice::from_ref(&record)),
        &|storage| RecordStore::sync(storage),
        &|storage| RecordStore::trim(storage, &[1]),
    ];
    for write in writes {
        let storage = absent(3, 60_000);
        write(&storage).unwrap();
        assert_eq!(storage.plugin().counters().calls, 5, "its start, three in vain, and one");
        let fault = write(&absent(3, 0)).unwrap_err();
        assert!(fault.0.contains("the server is away"), "{fault}");
        let storage = absent(u32::MAX - 1, 120);
        let fault = write(&storage).unwrap_err();
        assert!(fault.0.contains("the server is away"), "{fault}");
        assert!(storage.plugin().counters().calls > 3, "after 50 and 120 ms");
    }
    // Who reads is told at once.
    let fault = RecordStore::query(&absent(3, 60_000), &QUERY).unwrap_err();
    assert!(fault.0.contains("the server is away"), "{fault}");
}

#[test]
fn no_other_write_comes_between_one_that_waits_and_its_repetition() {
    let storage = absent(3, 60_000);
    std::thread::scope(|scope| {
        scope.spawn(|| RecordStore::trim(&storage, &[1]).unwrap());
        // Its start, and the first try.
        while storage.plugin().counters().calls < 2 {
            std::thread::yield_now();
        }
        RecordStore::sync(&storage).unwrap();
        // Three more of the other write, which is over, and this one.
        assert_eq!(storage.plugin().counters().calls, 6);
    });
}

#[test]
fn after_a_write_that_has_failed_there_is_none() {
    let storage = absent(1, 0);
    for _ in 0..3 {
        let fault = RecordStore::sync(&storage).unwrap_err();
        assert!(fault.0.contains("the server is away"), "{fault}");
    }
    assert_eq!(storage.plugin().counters().calls, 2, "its start, and one");
}

#[test]
fn a_storage_is_started_with_a_value_for_each_parameter() {
    let done = Guest::answering(&reply(|mut reply| reply.set_done(())));
    let parameter = |name: &str, default: &str| Parameter {
        name: name.into(),
        description: String::new(),
        parameter_type: ColumnType::Int64,
        default: default.into(),
    };
    let plugin = plugin(done, vec![parameter("must", ""), parameter("may", "7")], Vec::new());
    let start = |given: &[(&str, &str)]| {
        let given = given.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        plugin.storage(&given).map(|storage| storage.scheme().to_owned()).map_err(|error| error.to_string())
    };
    assert_eq!(start(&[("must", "1")]), Ok("files".into()));
    for (given, why) in [
        (&[][..], "parameter must of files has no default"),
        (&[("must", "x")], "which is not a whole number"),
        (&[("must", "1"), ("other", "1")], "files has no parameter \"other\", but must, may"),
    ] {
        let fault = start(given).unwrap_err();
        assert!(fault.contains("guest was not called") && fault.contains(why), "{fault}");
    }
    let signature = Guest::answering(&[]).load().storage(&BTreeMap::new()).unwrap_err().to_string();
    assert!(signature.contains("it is of kind signature, not a storage"), "{signature}");
}
