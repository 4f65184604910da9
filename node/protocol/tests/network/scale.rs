//! Many brokers that each have a reader, and what it costs to tell them all. `BROKERS=1000,10000 SPAN=60 TABLE=out` measures
//! so many instead of a few hundred, for so many seconds, and leaves a table and a picture in that folder; `ONLY=flood` measures
//! what has that in its name.

mod table;

use crate::seeds::{key, span_s};
use mainstem_protocol::simulator::{Flood, MESSAGE_NAMES, Make, Settings, World, node};
use std::{
    collections::BTreeMap,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

/// Until everybody is there and follows, seconds.
const WARM_UP_S: i64 = 20;
/// For what is under way in the end, seconds.
const REST_S: i64 = 15;
/// Brokers in a plain run.
const BROKERS: usize = 300;

type Way = (&'static str, Make);

const RELAYS: Way = ("relay trees", node);
const FLOOD: Way = ("flood over 4 neighbours", Flood::with_degree::<4>);
const GOSSIP: Way = ("gossipsub, D = 8", Flood::gossipsub);

/// What goes wrong: its name, of how many messages one is lost, and of how many in a hundred brokers is killed in a minute.
type Trouble = (&'static str, u64, usize);

const TROUBLES: [Trouble; 4] =
    [("-", 0, 0), ("1 % loss", 100, 0), ("5 % loss", 20, 0), ("10 % churn", 0, 10)];

/// What was measured.
#[derive(Debug)]
struct Row {
    way: &'static str,
    trouble: &'static str,
    brokers: usize,
    /// Batches that every subscriber was to get.
    batches: u64,
    /// Deliveries that were to be, and those that were not.
    owed: u64,
    missing: u64,
    violations: u64,
    p50_ms: i64,
    p99_ms: i64,
    hops: f64,
    hops_max: u8,
    copies: f64,
    /// Bytes that are no batches, of one broker in one second.
    control: f64,
    sessions_max: usize,
    /// How often each delay was.
    delays_ms: BTreeMap<i64, u64>,
    took: Duration,
}

/// Runs a world for so long.
fn measure((way, make): Way, settings: Settings, span_s: u64) -> (Row, World) {
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
        way,
        trouble: "-",
        brokers,
        batches: owed / brokers as u64,
        owed,
        missing,
        violations: meter.violations,
        p50_ms: meter.delay_percentile(50),
        p99_ms: meter.delay_percentile(99),
        hops: hops as f64 / meter.deliveries.max(1) as f64,
        hops_max: meter.hops.keys().max().copied().unwrap_or(0),
        copies: meter.copies_per_delivery(),
        control,
        sessions_max,
        delays_ms: meter.delays_ms.clone(),
        took: began.elapsed(),
    };
    (row, world)
}

/// Measures each of these, as many at once as there are processors.
fn measure_all(all: Vec<(Way, Trouble, usize)>, span_s: u64) -> Vec<Row> {
    let count = all.len();
    let (left, rows) = (Mutex::new(all.into_iter().enumerate()), Mutex::new(BTreeMap::new()));
    let work = || {
        loop {
            let next = left.lock().unwrap().next();
            let Some((index, (way, (trouble, loss_one_in, churn), brokers))) = next else { return };
            let settings =
                Settings { loss_one_in, churn_percent_per_minute: churn, ..Settings::scale(1, brokers) };
            let (row, _) = measure(way, settings, span_s);
            let row = Row { trouble, ..row };
            println!("{}, in {:?}", table::line(&row), row.took);
            rows.lock().unwrap().insert(index, row);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from).min(count) {
            scope.spawn(work);
        }
    });
    rows.into_inner().unwrap().into_values().collect()
}

fn sizes() -> Vec<usize> {
    let text = std::env::var("BROKERS").unwrap_or_default();
    let sizes: Vec<_> = text.split(',').filter_map(|size| size.trim().parse().ok()).collect();
    if sizes.is_empty() { vec![BROKERS] } else { sizes }
}

#[test]
fn relays_bring_every_broker_each_batch_about_once_and_in_time_whatever_is_lost() {
    let sizes = sizes();
    let only = std::env::var("ONLY").unwrap_or_default();
    let ways = [RELAYS, FLOOD, GOSSIP].map(|way| Some(way).filter(|(name, _)| name.contains(&only)));
    let all = sizes.iter().flat_map(|size| {
        ways.into_iter()
            .flatten()
            .flat_map(move |way| TROUBLES.into_iter().map(move |trouble| (way, trouble, *size)))
    });
    let rows = measure_all(all.collect(), span_s(15));
    if let Ok(folder) = std::env::var("TABLE") {
        table::write(&rows, folder.as_ref());
    }
    for row in rows.iter().filter(|row| row.way == RELAYS.0) {
        let line = table::line(row);
        assert!(row.batches > 2 && row.hops > 2.5, "there are no relays: {line}");
        assert_eq!((row.missing, row.violations), (0, 0), "{line}");
        assert!(row.copies <= 1.15, "{line}");
        assert!(row.p99_ms <= 600 || row.trouble != "-", "{line}");
    }
    let others = rows.iter().filter(|row| row.way != RELAYS.0);
    assert!(others.into_iter().all(|row| row.copies > 2.0), "what it is compared with is something else");
}

#[test]
fn a_flood_over_four_neighbours_tells_everybody_each_batch_three_times() {
    let brokers = 300;
    let (row, world) = measure(FLOOD, Settings::scale(1, brokers), 20);
    let (meter, published) = (world.meter(), row.batches);
    assert!(published > 0);
    assert!(meter.copies_per_delivery() > 2.5 && meter.copies_per_delivery() < 3.5);
    let everybody = published * brokers as u64;
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
    let (_, quiet) = measure(FLOOD, quiet, 30);
    let (_, lossy) = measure(FLOOD, lossy, 30);
    let (_, churned) = measure(FLOOD, churned, 30);
    assert!(lossy.meter().delay_percentile(99) > quiet.meter().delay_percentile(99));
    assert!(churned.meter().deliveries < quiet.meter().deliveries, "a flood repairs nothing");
}
