//! Many brokers that each have a reader, and what it costs to tell them all.

use crate::seeds::{key, number};
use mainstem_protocol::simulator::{Flood, MESSAGE_NAMES, Make, Settings, World, node};
use std::time::Instant;

/// Until everybody is there and follows, seconds.
const WARM_UP_S: i64 = 15;
/// For what is under way in the end, seconds.
const REST_S: i64 = 15;

/// What was measured.
#[derive(Debug)]
struct Row {
    name: &'static str,
    brokers: usize,
    batches: u64,
    owed: u64,
    missing: u64,
    p50_ms: i64,
    p99_ms: i64,
    hops: f64,
    hops_max: u8,
    copies: f64,
    /// Bytes that are no batches, of one broker in one second.
    control: f64,
    sessions_max: usize,
}

/// Runs a world for so long and prints what was counted.
fn measure(name: &'static str, make: Make, settings: Settings, span_s: u64) -> (Row, World) {
    let began = Instant::now();
    let settings = Settings { strict: false, publish_every_ms: 3_000, ..settings };
    let brokers = settings.brokers;
    let mut world = World::of(make, settings, key);
    world.run(WARM_UP_S * 1_000);
    world.measure_anew();
    world.run(span_s as i64 * 1_000);
    let control = world.meter().control_bytes() as f64 / (brokers as f64 * span_s as f64);
    let sessions_max = world.sessions().into_iter().max().unwrap_or(0);
    world.rest(REST_S * 1_000);
    let (meter, (owed, missing)) = (world.meter(), world.owed());
    let hops = meter.hops.iter().map(|(hops, count)| u64::from(*hops) * count).sum::<u64>();
    let row = Row {
        name,
        brokers,
        batches: owed / brokers as u64,
        owed,
        missing,
        p50_ms: meter.delay_percentile(50),
        p99_ms: meter.delay_percentile(99),
        hops: hops as f64 / meter.deliveries.max(1) as f64,
        hops_max: meter.hops.keys().max().copied().unwrap_or(0),
        copies: meter.copies_per_delivery(),
        control,
        sessions_max,
    };
    println!("{row:?}, {:?}, {} violations", began.elapsed(), meter.violations);
    if std::env::var("KINDS").is_ok() {
        for (name, tally) in MESSAGE_NAMES.iter().zip(&meter.sent).filter(|(_, tally)| tally.messages > 0) {
            println!("  {name}: {} messages, {} bytes", tally.messages, tally.bytes);
        }
        println!("  hops {:?}", meter.hops);
    }
    (row, world)
}

#[test]
fn relays_try() {
    let brokers = number("BROKERS").unwrap_or(300) as usize;
    let loss = number("LOSS").unwrap_or(0);
    let churn = number("CHURN").unwrap_or(0) as usize;
    let settings = Settings { loss_one_in: loss, churn_percent_per_minute: churn, ..Settings::scale(1, brokers) };
    measure("relay", node, settings, number("SPAN").unwrap_or(30));
}

#[test]
fn a_flood_over_four_neighbours_tells_everybody_each_batch_three_times() {
    let brokers = number("BROKERS").unwrap_or(300);
    let settings = Settings::scale(1, brokers as usize);
    let (row, world) = measure("flood over 4", Flood::with_degree::<4>, settings, 20);
    let (meter, published) = (world.meter(), row.batches);
    assert!(published > 0);
    assert!(meter.copies_per_delivery() > 2.5 && meter.copies_per_delivery() < 3.5);
    let everybody = published * brokers;
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
    let (_, quiet) = measure("quiet", Flood::with_degree::<8>, quiet, 30);
    let (_, lossy) = measure("5 % loss", Flood::with_degree::<8>, lossy, 30);
    let (_, churned) = measure("50 % churn", Flood::with_degree::<8>, churned, 30);
    assert!(lossy.meter().delay_percentile(99) > quiet.meter().delay_percentile(99));
    assert!(churned.meter().deliveries < quiet.meter().deliveries, "a flood repairs nothing");
}
