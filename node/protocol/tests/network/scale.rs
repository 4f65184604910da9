//! Many brokers that each have a reader, and what it costs to tell them all.

use crate::seeds::{key, number};
use mainstem_protocol::simulator::{Flood, MESSAGE_NAMES, Make, Settings, World};
use std::time::Instant;

/// Runs a world for so long and prints what was counted.
fn measure(name: &str, make: Make, settings: Settings, span_s: u64) -> World {
    let began = Instant::now();
    let settings = Settings { strict: false, publish_every_ms: 3_000, ..settings };
    let brokers = settings.brokers;
    let mut world = World::of(make, settings, key);
    world.run(span_s as i64 * 1_000);
    world.settle();
    let (meter, (published, _)) = (world.meter(), world.published());
    println!(
        "{name}: {brokers} brokers, {published} batches, {} deliveries, p50 {} ms, p99 {} ms, {:.2} copies, {} control bytes, {:?}",
        meter.deliveries,
        meter.delay_percentile(50),
        meter.delay_percentile(99),
        meter.copies_per_delivery(),
        meter.control_bytes(),
        began.elapsed(),
    );
    world
}

#[test]
fn a_flood_over_four_neighbours_tells_everybody_each_batch_three_times() {
    let brokers = number("BROKERS").unwrap_or(300);
    let settings = Settings::scale(1, brokers as usize);
    let world = measure("flood over 4", Flood::with_degree::<4>, settings, 20);
    let (meter, (published, _)) = (world.meter(), world.published());
    assert!(published > 0);
    assert!(meter.copies_per_delivery() > 2.5 && meter.copies_per_delivery() < 3.5);
    let everybody = published as u64 * brokers;
    assert!(meter.deliveries > everybody * 9 / 10 && meter.deliveries <= everybody, "{}", meter.deliveries);
    let feed = MESSAGE_NAMES.iter().position(|name| *name == "feed").unwrap();
    assert!(meter.sent[feed].messages >= meter.copies && meter.copies > 0);
    assert!(meter.hops.keys().max().unwrap() < &40, "{:?}", meter.hops);
    assert!((100..1_500).contains(&meter.delay_percentile(99)));
}

#[test]
fn messages_that_are_lost_and_brokers_that_come_and_go_cost_time() {
    let quiet = Settings::scale(1, 100);
    let lossy = Settings { loss_one_in: 20, ..quiet.clone() };
    let churned = Settings { churn_percent_per_minute: 50, ..quiet.clone() };
    let quiet = measure("quiet", Flood::with_degree::<8>, quiet, 30);
    let lossy = measure("5 % loss", Flood::with_degree::<8>, lossy, 30);
    let churned = measure("50 % churn", Flood::with_degree::<8>, churned, 30);
    assert!(lossy.meter().delay_percentile(99) > quiet.meter().delay_percentile(99));
    assert!(churned.meter().deliveries < quiet.meter().deliveries, "a flood repairs nothing");
}
