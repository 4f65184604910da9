//! The broker in virtual time against a reference: seeded publishers, subscribers, store delays, disconnects, stalls and
//! revocations. `SEED=17 cargo test -p mainstem-protocol --test simulation` replays one seed; `SEEDS=1000` runs more.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test that cannot go on panics")]

mod log;
mod publisher;
mod random;
mod subscriber;
mod world;

use world::World;

fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("SEED") {
        Some(seed) => vec![seed],
        None => (0..number("SEEDS").unwrap_or(40)).collect(),
    }
}

#[test]
fn no_event_is_lost_doubled_or_reordered_whatever_delays_stalls_and_disconnects_do() {
    for seed in seeds() {
        println!("SEED={seed}");
        let mut world = World::new(seed);
        world.run(30_000);
        world.settle();
        world.check();
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| {
        let mut world = World::new(seed);
        world.run(5_000);
        world.settle();
        world.trace()
    };
    for seed in 100..105 {
        assert_eq!(trace(seed), trace(seed), "SEED={seed}");
    }
    assert_ne!(trace(100), trace(101));
}
