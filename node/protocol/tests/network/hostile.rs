//! One broker in five is hostile, and what honest readers get all the same.

use crate::seeds::{run, seeds, span_s};
use mainstem_model::AckLevel;
use mainstem_protocol::simulator::{FaultKind, Faults, HostileKind, Settings};

/// An event is to be delivered in so long, milliseconds.
const DELIVERED_MS: i64 = 6_000;
/// Who leaves out batches is to be left after so long, milliseconds.
const REPLACED_MS: i64 = 3_000;

/// Ten, fifteen or twenty brokers, a fifth of them of these kinds in turn. Of 40 partitions that 3 brokers keep each, two or three
/// have two liars among their keepers; what three keep is lost, and not counted.
fn settings(kinds: &[HostileKind], faults: Faults, seed: u64) -> Settings {
    let brokers = 10 + 5 * (seed as usize % 3);
    let hostile = kinds.iter().cycle().skip(seed as usize % kinds.len().max(1)).take(brokers / 5).copied();
    Settings {
        brokers,
        members: brokers,
        shards: 64,
        partitions: 40,
        publishers: 40,
        publish_every_ms: 2_000,
        warm_up_ms: 5_000,
        subscribers: 80,
        subscribers_spread: true,
        ack: Some(AckLevel::Stored.into()),
        hostile: hostile.collect(),
        faults,
        metering: true,
        nearer: [1, 2, 10][(seed / 3) as usize % 3],
        ..Settings::quiet(seed)
    }
}

/// Runs seeds and holds what is promised: how much came in time, that none was forged, and that liars were left.
fn hold(what: &str, count: u64, settings: impl Fn(u64) -> Settings) {
    let (mut sums, mut left, mut longest_ms) = ([0; 2], Vec::new(), 0);
    for seed in seeds(count) {
        let (result, world) = run(settings(seed), span_s(30));
        let (came, wanted) = world.delivered_within(DELIVERED_MS);
        println!("{what}, SEED={seed}: {came} of {wanted} events in {DELIVERED_MS} ms");
        // Nobody was given a batch of one who may not publish, or one twice, or with a gap before it.
        if world.meter().violations > 0 {
            panic!("{what}: {result:?}\n{}", world.report());
        }
        // How much may be missing in the end is what is measured here.
        if let Err(missing) = result {
            println!("{what}, SEED={seed}: {missing}");
        }
        for (sum, count) in sums.iter_mut().zip([came, wanted]) {
            *sum += count;
        }
        left.extend_from_slice(world.withheld_ms());
        longest_ms = longest_ms.max(world.withheld_longest_ms());
    }
    let [came, wanted] = sums;
    let soon = left.iter().filter(|ms| **ms <= REPLACED_MS).count();
    let percent = came as f64 * 100.0 / wanted as f64;
    println!(
        "{what}: {percent:.3} % of {wanted} events in {DELIVERED_MS} ms; {soon} of {} who withheld were left in {REPLACED_MS} ms, one was stayed with for {longest_ms} ms",
        left.len()
    );
    assert!(wanted > 1_000, "{wanted}");
    assert!(percent >= 99.9, "{percent} %");
    assert_eq!(soon, left.len(), "{left:?}");
    assert!(longest_ms <= REPLACED_MS, "{longest_ms} ms");
}

#[test]
fn readers_get_everything_in_time_whatever_one_broker_in_five_does() {
    for kind in HostileKind::ALL.into_iter().filter(|kind| *kind != HostileKind::Hiding) {
        hold(&format!("{kind:?}"), 2, |seed| settings(&[kind], Faults::NONE, seed));
    }
}

#[test]
fn readers_get_everything_in_time_among_liars_of_all_kinds_and_publishers_that_fork() {
    let faults = Faults::of(&[FaultKind::Equivocate]);
    hold("all kinds", 3, |seed| settings(&HostileKind::ALL, faults, seed));
}

/// Two of three owners hide everything together: the third link tells.
#[test]
fn readers_get_everything_in_time_though_two_of_three_owners_hide_it() {
    hold("Hiding", 4, |seed| settings(&[HostileKind::Hiding], Faults::NONE, seed));
}
