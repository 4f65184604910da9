//! Seven brokers of which three carry each partition, and all that can go wrong.

use crate::seeds::{check, run, seeds, span_s};
use mainstem_protocol::{
    Config,
    simulator::{FaultKind, Faults, Sabotage, Settings},
};

/// Seeds in a plain run.
const SEEDS: u64 = 200;

#[test]
fn seven_brokers_lose_double_and_reorder_nothing_whatever_happens_to_them() {
    check(SEEDS, 60, Settings::swarm);
}

/// Each owner tells one other, and that one the next: as deep a tree as seven brokers make. Without epochs: what an owner lacks
/// that was a reader before is not what is looked for here.
fn chained(seed: u64) -> Settings {
    let swarm = Settings::swarm(seed);
    let kinds: Vec<_> = swarm.faults.kinds().filter(|kind| *kind != FaultKind::Epoch).collect();
    let node = Config { relay_degree: 1, relay_heads_degree: 1, ..swarm.node };
    Settings { node, faults: Faults::of(&kinds), ..swarm }
}

#[test]
fn brokers_in_a_chain_of_relays_lose_double_and_reorder_nothing_whatever_happens_to_them() {
    check(SEEDS.min(20), 60, chained);
}

#[test]
fn seven_brokers_to_whom_nothing_happens_hold_and_tell_everything() {
    check(SEEDS.min(20), 30, Settings::quiet);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| run(Settings::swarm(seed), span_s(20)).1.trace();
    for seed in seeds(5) {
        assert_eq!(trace(seed), trace(seed), "SEED={seed}");
    }
}

/// Seven brokers without clients: what is between them is under test.
fn empty(seed: u64) -> Settings {
    Settings { publishers: 0, subscribers: 0, ..Settings::swarm(seed) }
}

#[test]
fn sessions_come_and_go_in_pairs_and_come_back_whatever_happens() {
    check(40, 60, empty);
}

#[test]
fn a_session_that_is_gone_and_not_told_of_is_found() {
    let settings = |seed| Settings { sabotage: Some(Sabotage::LosePeerDown), ..empty(seed) };
    let found = (0..10).find_map(|seed| run(settings(seed), 60).0.err());
    println!("{}", found.expect("nothing was found"));
}
