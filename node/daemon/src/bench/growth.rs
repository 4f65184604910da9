//! What a network of more brokers costs each of them: the same load for every broker, more brokers.

use super::{
    BenchArgs,
    broker::cpu_of,
    brokers::Brokers,
    report::{Report, Row},
    signed::{Series, Shape},
    wire::{self, Down, Told, Up},
};
use crate::config::Config;
use anyhow::{Context, bail};
use mainstem_model::{Ack, AckLevel, Batch, StreamPartition};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// Networks that are compared: each partition is kept by one broker, so that each carries its share and no more.
const BROKERS: [usize; 4] = [1, 2, 4, 8];
/// How many keep a partition in the runs beside, which are not compared: there each broker carries several shares.
const REPLICAS: u8 = 3;
/// The load of each broker: so many batches a second of so many events each. Eight of them fit into two cores.
const BATCHES_PER_S: u64 = 100;
const BATCH_EVENTS: usize = 40;
/// Partitions of the stream, of which each broker has some.
const PARTITIONS: u16 = 64;
/// Partitions in use at each broker, at most.
const PARTITIONS_EACH: usize = 4;
/// What the brokers get to come to rest, and then to warm up.
const REST: Duration = Duration::from_secs(5);
/// How long the last events may take to arrive.
const TAIL: Duration = Duration::from_secs(30);

pub(crate) async fn run(args: &BenchArgs, report: &mut Report) -> anyhow::Result<()> {
    let one = network(args, 1, 1).await?;
    let ratio = |row: Row| {
        let of = |figure| row.figure(figure) / one.figure(figure);
        let (all, above) = (of("cpu_us_per_event"), of("cpu_us_per_event_above_idle"));
        row.with("of_one_broker", all).with("of_one_broker_above_idle", above)
    };
    let mut table = Vec::new();
    for count in BROKERS {
        let row = if count == 1 { one.clone() } else { network(args, count, 1).await? };
        let row = ratio(row);
        table.push(format!(
            "{count} broker(s): {:.2} µs an event ({:.2} of one), {:.2} above idle ({:.2} of one)",
            row.figure("cpu_us_per_event"),
            row.figure("of_one_broker"),
            row.figure("cpu_us_per_event_above_idle"),
            row.figure("of_one_broker_above_idle"),
        ));
        report.add(row);
    }
    for count in BROKERS.into_iter().skip(1) {
        let row = ratio(strangers(args, count).await?);
        table.push(format!(
            "{count} brokers that do not know each other: {:.2} of one, {:.2} above idle",
            row.figure("of_one_broker"),
            row.figure("of_one_broker_above_idle"),
        ));
        report.add(row);
    }
    for count in BROKERS.into_iter().skip(1) {
        let replicas = REPLICAS.min(u8::try_from(count)?);
        match network(args, count, replicas).await {
            Ok(row) => report.add(row),
            // Three times the work may be more than the machine does.
            Err(error) => report.note(&format!("growth: {count} brokers, {replicas} copies: {error:#}")),
        }
    }
    for line in table {
        report.note(&line);
    }
    Ok(())
}

/// One network: at rest, then under load.
async fn network(args: &BenchArgs, count: usize, replicas: u8) -> anyhow::Result<Row> {
    let brokers = vec![Brokers::start(count, replicas, Config::default()).await?];
    let name = format!("growth: {count} broker(s), each partition kept by {replicas}");
    measure(args, &brokers, name).await
}

/// As many brokers that do not know each other: what the machine makes of more processes.
async fn strangers(args: &BenchArgs, count: usize) -> anyhow::Result<Row> {
    let mut brokers = Vec::new();
    for _ in 0..count {
        brokers.push(Brokers::start(1, 1, Config::default()).await?);
    }
    measure(args, &brokers, format!("growth: {count} broker(s), each a network of its own")).await
}

async fn measure(args: &BenchArgs, networks: &[Brokers], name: String) -> anyhow::Result<Row> {
    let count: usize = networks.iter().map(Brokers::count).sum();
    let mut shares = Vec::new();
    for brokers in networks {
        shares.extend(self::shares(brokers).await?);
    }
    tokio::time::sleep(REST).await;
    let (begun, cpu) = (Instant::now(), total(networks));
    tokio::time::sleep(args.run_time()).await;
    let idle = (total(networks) - cpu) / begun.elapsed().as_secs_f64();

    let mut loads = Vec::new();
    for (brokers, broker, share) in shares {
        loads.push(Load::start(brokers, broker, &share, args).await?);
    }
    tokio::time::sleep(REST).await;
    let delivered = |loads: &[Load]| loads.iter().map(|load| load.delivered.load(Ordering::Relaxed)).sum();
    let (begun, cpu, own, before): (_, _, _, u64) =
        (Instant::now(), total(networks), cpu_of("self"), delivered(&loads));
    tokio::time::sleep(args.run_time()).await;
    let events = delivered(&loads) - before;
    let (elapsed, used, own) = (begun.elapsed().as_secs_f64(), total(networks) - cpu, cpu_of("self") - own);
    let mut checked = 0;
    for load in loads {
        checked += load.end().await?;
    }
    let us = |cpu: f64| cpu * 1e6 / events as f64;
    Ok(Row::new(name)
        .with("events_per_s_per_broker", events as f64 / elapsed / count as f64)
        .with("cpu_us_per_event", us(used))
        .with("cpu_us_per_event_above_idle", us(used - idle * elapsed))
        .with("cpu_percent_per_broker_idle", 100.0 * idle / count as f64)
        .with("cpu_percent_per_broker", 100.0 * used / elapsed / count as f64)
        .with("cpu_percent_generator", 100.0 * own / elapsed)
        .with("events_checked", checked as f64))
}

/// Some partitions for each broker that it is the first to keep.
async fn shares(brokers: &Brokers) -> anyhow::Result<Vec<(&Brokers, usize, Vec<StreamPartition>)>> {
    let mut shares = vec![Vec::new(); brokers.count()];
    for at in brokers.stream(PARTITIONS).await? {
        let owner = *brokers.owners(at).first().context("a partition that nobody keeps")?;
        let share: &mut Vec<_> = shares.get_mut(owner).context("an owner that is no broker")?;
        if share.len() < PARTITIONS_EACH {
            share.push(at);
        }
    }
    if shares.iter().any(Vec::is_empty) {
        bail!("a broker has no share; try again");
    }
    Ok(shares.into_iter().enumerate().map(|(broker, share)| (brokers, broker, share)).collect())
}

fn total(networks: &[Brokers]) -> f64 {
    networks.iter().flat_map(Brokers::cpu).sum()
}

/// A publisher and a subscriber at one broker.
struct Load {
    /// Events that the subscriber got.
    delivered: Arc<AtomicU64>,
    stop: Arc<AtomicU64>,
    sending: JoinHandle<anyhow::Result<u64>>,
    reading: JoinHandle<anyhow::Result<()>>,
    answers: JoinHandle<anyhow::Result<()>>,
}

impl Load {
    async fn start(
        brokers: &Brokers,
        broker: usize,
        share: &[StreamPartition],
        args: &BenchArgs,
    ) -> anyhow::Result<Self> {
        let (mut up, mut down) = wire::connect(brokers.websocket(broker)?).await?;
        for (at, request) in share.iter().zip(1..) {
            up.subscribe(request, *at, true).await?;
        }
        let mut left = share.len();
        while left > 0 {
            match down.next().await? {
                Told::CaughtUp => left -= 1,
                Told::Refused { code, .. } => bail!("a subscriber was refused with {code}"),
                Told::Batch(_) | Told::Ack { .. } | Told::Ended { .. } | Told::Other => {}
            }
        }
        let (delivered, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let reading = tokio::spawn(read(up, down, delivered.clone()));
        let mut series = Vec::new();
        for at in share {
            series.push(Series::new(&Shape {
                network: brokers.network()?,
                at: *at,
                key: brokers.key()?,
                events: BATCH_EVENTS,
                event_bytes: args.event_bytes,
            }));
        }
        let (up, down) = wire::connect(brokers.websocket(broker)?).await?;
        let answers = tokio::spawn(no_refusal(down));
        let sending = tokio::spawn(send(up, series, stop.clone()));
        Ok(Self { delivered, stop, sending, reading, answers })
    }

    /// Waits until everything came; gives how many events.
    async fn end(self) -> anyhow::Result<u64> {
        self.stop.store(1, Ordering::Relaxed);
        let sent = self.sending.await??;
        let begun = Instant::now();
        loop {
            let came = self.delivered.load(Ordering::Relaxed);
            if self.reading.is_finished() {
                self.reading.await??;
                bail!("a subscriber ended");
            }
            if self.answers.is_finished() {
                self.answers.await??;
                bail!("a publisher ended");
            }
            if came == sent {
                self.reading.abort();
                self.answers.abort();
                return Ok(sent);
            }
            if begun.elapsed() > TAIL || came > sent {
                bail!("{sent} events were published and {came} came");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Publishes at an even pace until told to stop; gives how many events.
async fn send(mut up: Up, mut series: Vec<Series>, stop: Arc<AtomicU64>) -> anyhow::Result<u64> {
    let mut turn = tokio::time::interval(Duration::from_secs(1) / BATCHES_PER_S as u32);
    let (mut sent, lanes) = (0, series.len());
    while stop.load(Ordering::Relaxed) == 0 {
        turn.tick().await;
        let number = usize::try_from(sent)?;
        let one = series.get_mut(number % lanes).context("a publisher without a partition")?;
        let batch = one.batch(number / lanes)?;
        up.publish(sent + 1, Ack::from(AckLevel::Stored), &batch).await?;
        up.flush().await?;
        sent += 1;
    }
    Ok(sent * BATCH_EVENTS as u64)
}

async fn no_refusal(mut down: Down) -> anyhow::Result<()> {
    loop {
        if let Told::Refused { code, .. } = down.next().await? {
            bail!("a publisher was refused with {code}");
        }
    }
}

/// Counts what comes and holds each event to its place.
async fn read(_up: Up, mut down: Down, delivered: Arc<AtomicU64>) -> anyhow::Result<()> {
    let mut stands = BTreeMap::new();
    loop {
        let Told::Batch(bytes) = down.next().await? else { continue };
        let header = Batch::peek_header(&bytes)?;
        let due = stands.entry(header.series).or_insert(0);
        if header.sequence != *due {
            bail!("event {due} was due and {} came", header.sequence);
        }
        *due = header.next_sequence();
        delivered.fetch_add(u64::from(header.count), Ordering::Relaxed);
    }
}
