#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::{Compiler, Host};
use mainstem_plugin_abi::{ABI, Claim, SignatureClaim};
use std::time::Duration;

/// Takes longer than a tick, and much less than [`DEADLINE_MS`].
const WORK: &str = "(local.set $n (i32.const 20000000))
    (loop $l (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))";
const DEADLINE_MS: u32 = 1_000;
/// What a call that is begun now has had of its time.
const LONG_AGO: Duration = Duration::from_secs(60);

/// One that does this when it is made, and this when it is asked for its version a second time.
fn plugin(initialize: &str, abi: &str) -> Plugin {
    let text = format!(
        r#"(module (memory (export "memory") 1) (global $called (mut i32) (i32.const 0))
            (func (export "_initialize") (local $n i32) {initialize})
            (func (export "mainstem_abi") (result i32) (local $n i32)
                (if (global.get $called) (then {abi}))
                (global.set $called (i32.const 1)) (i32.const {}))
            (func (export "mainstem_alloc") (param i32) (result i32) (i32.const 8))
            (func (export "mainstem_free") (param i32 i32))
            (func (export "mainstem_call") (param i32 i32) (result i64) unreachable))"#,
        ABI.to_u32()
    );
    let claim = SignatureClaim { signature_type: 200, origin_types: vec![200], signs: false };
    let manifest = Manifest {
        name: "guest".into(),
        version: "0.1.0".into(),
        description: "A guest of tests".into(),
        abi: ABI,
        abi_minor_least: 0,
        claim: Claim::Signature(claim),
        capabilities: Vec::new(),
        limits: Limits { fuel: 2_000_000_000, deadline_ms: DEADLINE_MS, ..Limits::default() },
    };
    let module = mainstem_plugin_build::attach(&wat::parse_str(text).unwrap(), &manifest).unwrap();
    let host = Host::new(Config::default(), None, Compiler::InProcess).unwrap();
    host.load(&module, Grants::default()).unwrap()
}

fn made(plugin: &Plugin, now: Instant) -> Instance {
    let Inner { pre, privileges, bounds, .. } = &*plugin.0;
    Instance::make(pre, privileges, *bounds, now).map_err(NoInstance::into_text).unwrap()
}

#[test]
fn a_call_whose_thread_was_kept_away_until_its_time_was_over_has_it_once_more() {
    let plugin = plugin("", WORK);
    let _running = plugin.0.ticker.running();
    let mut instance = made(&plugin, Instant::now());
    instance.abi(Instant::now()).unwrap();
    assert_eq!(instance.abi(Instant::now() - LONG_AGO), Ok(ABI.to_u32()));
}

#[test]
fn an_instance_is_made_though_its_thread_was_kept_away() {
    let plugin = plugin(WORK, "");
    let _running = plugin.0.ticker.running();
    made(&plugin, Instant::now() - LONG_AGO);
}

#[test]
fn a_call_that_has_its_time_once_more_does_not_have_it_twice_and_is_held_against_the_plugin() {
    let plugin = plugin("", "(loop $l (br $l))");
    let _running = plugin.0.ticker.running();
    let mut instance = made(&plugin, Instant::now());
    instance.abi(Instant::now()).unwrap();
    let fault = instance.abi(Instant::now() - LONG_AGO).unwrap_err();
    // A machine that is fast enough meets the other bound.
    assert!(matches!(fault, Fault::Deadline(DEADLINE_MS) | Fault::OutOfFuel(_)), "{fault}");
    assert!(!instance.hardly_ran());
}
