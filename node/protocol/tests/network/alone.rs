//! One broker that knows no other.

use crate::seeds::{check, run};
use mainstem_protocol::simulator::{FaultKind, Faults, Sabotage, Settings};

#[test]
fn one_broker_keeps_what_it_acked_and_tells_it_in_order_whatever_happens_to_it() {
    check(200, 20, Settings::alone);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| run(Settings::alone(seed), 5).1.trace();
    for seed in 100..110 {
        assert_eq!(trace(seed), trace(seed), "SEED={seed}");
    }
    assert_ne!(trace(100), trace(101));
}

#[test]
fn every_fault_that_can_befall_one_broker_strikes() {
    for kind in FaultKind::ALONE {
        let trace = |faults| run(Settings { faults, ..Settings::alone(7) }, 120).1.trace();
        assert_ne!(trace(Faults::of(&[kind])), trace(Faults::NONE), "{kind:?}");
    }
}

#[test]
fn whatever_one_broker_does_wrong_is_found() {
    let faults = Faults::of(&[FaultKind::Kill, FaultKind::ClientsMove, FaultKind::SlowReader]);
    for sabotage in Sabotage::ALONE {
        let settings = |seed| Settings { faults, sabotage: Some(sabotage), ..Settings::alone(seed) };
        let found = (0..10).find_map(|seed| run(settings(seed), 20).0.err());
        println!("{sabotage:?}: {}", found.expect("nothing was found"));
    }
}
