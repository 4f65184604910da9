//! Seven brokers of which three carry each partition, and all that can go wrong.

use crate::seeds::{check, run, seeds};
use mainstem_protocol::simulator::Settings;

/// Seeds in a plain run.
const SEEDS: u64 = 200;

#[test]
fn seven_brokers_lose_double_and_reorder_nothing_whatever_happens_to_them() {
    check(SEEDS, 60, Settings::swarm);
}

#[test]
fn seven_brokers_to_whom_nothing_happens_hold_and_tell_everything() {
    check(SEEDS.min(20), 30, Settings::quiet);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| run(Settings::swarm(seed), 20).1.trace();
    for seed in seeds(5) {
        assert_eq!(trace(seed), trace(seed), "SEED={seed}");
    }
}
