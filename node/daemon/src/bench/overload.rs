//! Ten times what three brokers can do: do they go on, do they say no, do they keep what they said yes to?

use super::{
    BenchArgs,
    broker::cpu_of,
    brokers::Brokers,
    crowd::{Crowd, Pace, Tally},
    read_back,
    report::{Report, Row},
    signed::{Series, Shape},
};
use crate::config::Config;
use anyhow::{Context, bail};
use mainstem_model::{Ack, AckLevel, StreamPartition};
use std::time::{Duration, Instant};

const BROKERS: usize = 3;
/// How many times the peak is offered.
const TIMES: f64 = 10.0;
/// Sessions at each broker, and publishers of each session.
const SESSIONS: usize = 8;
const PUBLISHERS: usize = 512;
/// A batch of one event: of all loads the one that costs a broker the most proofs.
const BATCH_EVENTS: usize = 1;
/// Most seconds of each try at the peak.
const PEAK_SECONDS: u64 = 10;
/// Shares of a session's window that are tried for the peak.
const WINDOW_SHARES: [usize; 3] = [8, 3, 1];
/// How long the last answers, and the last copies, may take.
const TAIL: Duration = Duration::from_secs(60);

/// The bounds of these brokers: a window that small batches fill. With the default's 4 MiB the 1,024 requests that a session
/// may have open come first, and nothing is refused: a broker reads no further.
fn config() -> Config {
    let mut config = Config::default();
    config.broker.publish_window_bytes = 64 << 10;
    config.broker.write_queue_bytes_max = 8 << 20;
    config.broker.delivery_queue_bytes_max = 32 << 20;
    // Batches are signed before the run and are not to be too old at its end.
    config.broker.timestamp_window_ms = 3_600_000;
    config
}

pub(crate) async fn run(args: &BenchArgs, report: &mut Report) -> anyhow::Result<()> {
    let brokers = Brokers::start(BROKERS, 3, config()).await?;
    let at = *brokers.stream(1).await?.first().context("a stream has a partition")?;
    let shape = Shape {
        network: brokers.network()?,
        at,
        key: brokers.key()?,
        events: BATCH_EVENTS,
        event_bytes: args.event_bytes,
    };
    let idle = brokers.rss();
    let ack = Ack::new(AckLevel::Durable, 2);
    let mut crowd = Crowd::gather(&brokers, &shape, ack, SESSIONS, PUBLISHERS).await?;
    let peak = peak(&mut crowd, &brokers, args).await?;
    let goodput_peak = peak.figure("goodput_events_per_s");
    report.add(peak);
    let run = overload(&mut crowd, &brokers, args, goodput_peak).await?;
    report.add(run.clone());
    let waiting = crowd.rest(TAIL).await;
    let mut total = Tally::default();
    total += &crowd.tally();
    let sent = crowd.into_sent();
    let kept = kept(&brokers, at, &sent, waiting, &total).await?;
    report.add(kept.clone());
    let bound = bound(brokers.config(), &idle);
    let highest = run.figure("broker_rss_mb_highest");
    let result = Row::new("overload: what N7 asks".into())
        .with("goodput_of_peak", run.figure("goodput_events_per_s") / goodput_peak)
        .with("goodput_of_peak_worst_10_s", run.figure("goodput_events_per_s_worst_10_s") / goodput_peak)
        .with("refusals", run.figure("refused"))
        .with("memory_bound_mb", bound)
        .with("memory_of_bound", highest / bound)
        .with("acked_events_lost", kept.figure("acked_events_lost"))
        .with("events_doubled", kept.figure("events_doubled"));
    report.add(result);
    Ok(())
}

/// The most that is acked while nobody offers more than the windows hold.
async fn peak(crowd: &mut Crowd, brokers: &Brokers, args: &BenchArgs) -> anyhow::Result<Row> {
    let time = Duration::from_secs(args.seconds().clamp(2, PEAK_SECONDS));
    // How much is to be signed is not known yet.
    let first = crowd.run(Pace::Closed(window(brokers, args)), time / 4, |_| ()).await?;
    let rate = first.acked as f64 / (time / 4).as_secs_f64();
    let mut best: Option<Row> = None;
    for share in WINDOW_SHARES {
        crowd.rest(TAIL).await;
        crowd.sign((2.0 * rate * time.as_secs_f64()) as usize)?;
        let on_the_way = (window(brokers, args) / share).max(1);
        let meter = Meter::start(brokers);
        let tally = crowd.run(Pace::Closed(on_the_way), time, |_| ()).await?;
        let row =
            meter.row("overload: the peak, as many on their way as the windows hold".into(), &tally, time);
        let row = row.with("batches_on_their_way", (on_the_way * crowd.len()) as f64);
        let acked = row.figure("goodput_events_per_s");
        if best.as_ref().is_none_or(|best| acked > best.figure("goodput_events_per_s")) {
            best = Some(row);
        }
    }
    let best = best.unwrap_or_else(|| Row::new(String::new()));
    if best.figure("goodput_events_per_s") <= 0.0 {
        bail!("nothing was acked");
    }
    Ok(best)
}

/// Batches of a session that its window holds.
fn window(brokers: &Brokers, args: &BenchArgs) -> usize {
    // About what stands around the contents.
    let batch = BATCH_EVENTS * (args.event_bytes + 24) + 300;
    (brokers.config().broker.publish_window_bytes / batch).max(1)
}

async fn overload(crowd: &mut Crowd, brokers: &Brokers, args: &BenchArgs, peak: f64) -> anyhow::Result<Row> {
    let time = args.run_time();
    crowd.rest(TAIL).await;
    crowd.sign((1.3 * peak / BATCH_EVENTS as f64 * time.as_secs_f64()) as usize)?;
    let late = crowd.late();
    let rate = TIMES * peak / BATCH_EVENTS as f64 / crowd.len() as f64;
    let (mut highest, mut acked) = (0, vec![0]);
    let meter = Meter::start(brokers);
    let watch = |tally: &Tally| {
        highest = brokers.rss().into_iter().fold(highest, u64::max);
        acked.push(tally.acked);
    };
    let tally = crowd.run(Pace::Open(rate), time, watch).await?;
    let in_ten: Vec<u64> = acked.windows(11).filter_map(|ten| Some(ten.last()? - ten.first()?)).collect();
    let worst = in_ten.iter().min().map_or(f64::NAN, |acked| *acked as f64 / 10.0);
    let wanted = TIMES * peak;
    let row = meter.row(format!("overload: {TIMES} times the peak for {} s", args.seconds()), &tally, time);
    let offered = row.figure("offered_events_per_s");
    let events = |batches: u64| batches as f64 * BATCH_EVENTS as f64 / time.as_secs_f64();
    let mut row = row
        .with("goodput_events_per_s_worst_10_s", worst * BATCH_EVENTS as f64)
        .with("wanted_events_per_s", wanted)
        .with("offered_times_peak", offered / peak)
        .with("not_read_by_broker_events_per_s", events(tally.held_up))
        .with("not_offered_all_wait_events_per_s", events(tally.all_waited))
        .with("signed_within_the_run", (crowd.late() - late) as f64)
        .with("broker_rss_mb_highest", highest as f64 / 1e6)
        .with("refused", tally.refused.values().sum::<u64>() as f64);
    for (code, count) in &tally.refused {
        row = row.with(refused_name(code), *count as f64);
    }
    Ok(row)
}

/// Figures have names that are known beforehand.
fn refused_name(code: &str) -> &'static str {
    match code {
        "OVERLOADED" => "refused_overloaded",
        "SERIES_GAP" => "refused_series_gap",
        "TOO_FEW_COPIES" => "refused_too_few_copies",
        "LIMIT_REACHED" => "refused_limit_reached",
        _ => "refused_otherwise",
    }
}

/// What was used between two moments.
struct Meter<'a> {
    brokers: &'a Brokers,
    begun: Instant,
    cpu: Vec<f64>,
    own: f64,
}

impl<'a> Meter<'a> {
    fn start(brokers: &'a Brokers) -> Self {
        Self { brokers, begun: Instant::now(), cpu: brokers.cpu(), own: cpu_of("self") }
    }

    fn row(self, name: String, tally: &Tally, time: Duration) -> Row {
        let elapsed = self.begun.elapsed().as_secs_f64();
        let used: f64 = self.brokers.cpu().iter().zip(&self.cpu).map(|(now, then)| now - then).sum();
        let events = |batches: u64| batches as f64 * BATCH_EVENTS as f64 / time.as_secs_f64();
        Row::new(name)
            .with("goodput_events_per_s", events(tally.acked))
            .with("offered_events_per_s", events(tally.offered))
            .with("cpu_percent_brokers", 100.0 * used / elapsed)
            .with("cpu_percent_generator", 100.0 * (cpu_of("self") - self.own) / elapsed)
    }
}

/// Reads everything back at each broker, until all of them have what was acked.
async fn kept(
    brokers: &Brokers,
    at: StreamPartition,
    sent: &[(Series, Vec<bool>)],
    waiting: usize,
    total: &Tally,
) -> anyhow::Result<Row> {
    let sent: Vec<(&Series, &[bool])> = sent.iter().map(|(series, acked)| (series, &acked[..])).collect();
    let begun = Instant::now();
    let mut worst = read_back::Kept::default();
    let (mut slowest, mut batches) = (0.0, u64::MAX);
    for broker in 0..brokers.count() {
        let kept = loop {
            let kept = read_back::compare(brokers.websocket(broker)?, at, &sent).await?;
            if kept.lost == 0 || begun.elapsed() > TAIL {
                break kept;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        };
        slowest = f64::max(slowest, begun.elapsed().as_secs_f64());
        batches = batches.min(kept.batches);
        worst.lost = worst.lost.max(kept.lost);
        worst.doubled = worst.doubled.max(kept.doubled);
        worst.wrong = worst.wrong.max(kept.wrong);
        worst.unacked = worst.unacked.max(kept.unacked);
    }
    let events = |batches: u64| (batches * BATCH_EVENTS as u64) as f64;
    Ok(Row::new("overload: read back at each broker, byte by byte".into())
        .with("events_acked", events(total.acked))
        .with("events_kept_by_each", events(batches))
        .with("acked_events_lost", events(worst.lost))
        .with("events_doubled", events(worst.doubled))
        .with("events_wrong_or_out_of_order", events(worst.wrong))
        .with("events_kept_without_an_ack", events(worst.unacked))
        .with("never_answered", waiting as f64)
        .with("all_read_after_s", slowest))
}

/// What the configuration lets a broker hold, beside what it holds at rest, in millions of bytes.
fn bound(config: &Config, idle: &[u64]) -> f64 {
    let (broker, overlay, peers) = (&config.broker, &config.network.overlay, BROKERS - 1);
    let sessions = SESSIONS;
    let lanes = 2 * peers;
    let sum = broker.write_queue_bytes_max
        + broker.delivery_queue_bytes_max
        + broker.parked_bytes_max
        + broker.pulls_max * broker.pull_bytes
        + peers * (broker.replica_window_bytes + broker.link_window_bytes)
        + lanes * (overlay.queue_bytes_max + overlay.inbox_bytes_max)
        + peers * overlay.connection_window_bytes as usize
        + sessions * (config.session.unproven_bytes_max + config.websocket.write_buffer_bytes_max)
        + config.writer.group_bytes_max;
    let store =
        config.store.cache_bytes + config.store.memtable_bytes + 4 * config.store.index_memtable_bytes;
    let idle = idle.iter().copied().max().unwrap_or_default();
    (sum as f64 + store as f64 + idle as f64) / 1e6
}
