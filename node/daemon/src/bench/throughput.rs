//! As many events as go through: one publisher, one broker that stores, n subscribers that prove.

use super::{
    BenchArgs,
    broker::{Broker, Over, cpu_of},
    report::Row,
};
use anyhow::{Context, bail};
use bytes::Bytes;
use mainstem_client::{Client, Delivery, PublishConfig, Start, SubscribeOptions};
use mainstem_model::{AckLevel, NewEvent, StreamPartition};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Runs before the clock starts, to fill queues and caches.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long the last events may take to arrive.
const TAIL: Duration = Duration::from_secs(60);

/// Events go in over QUIC and come out `over`.
pub(crate) async fn run(
    broker: &Broker,
    args: &BenchArgs,
    subscribers: usize,
    over: Over,
) -> anyhow::Result<Row> {
    let batching = batching(args, AckLevel::Stored);
    let publisher = broker.client(batching.clone()).await?;
    let at = broker.stream(&publisher).await?;
    let mut readers = Vec::new();
    for _ in 0..subscribers {
        readers.push(broker.client_over(over, batching.clone()).await?);
    }
    let through = through(publisher, at, readers, None, args, || broker.cpu()).await?;
    let name = format!("throughput over {}, {subscribers} subscriber(s), stored", over.name());
    Ok(through.row(name, subscribers).with("broker_rss_mb", broker.rss() as f64 / 1e6))
}

/// What went through.
pub(crate) struct Through {
    elapsed: f64,
    delivered: u64,
    published: u64,
    cpu_brokers: f64,
    cpu_clients: f64,
}

impl Through {
    pub(crate) fn row(&self, name: String, subscribers: usize) -> Row {
        let rate = self.delivered as f64 / self.elapsed;
        Row::new(name)
            .with("deliveries_per_s", rate)
            .with("events_per_s", rate / subscribers as f64)
            .with("cpu_us_per_delivery_broker", self.cpu_brokers * 1e6 / self.delivered as f64)
            .with("cpu_us_per_delivery_clients", self.cpu_clients * 1e6 / self.delivered as f64)
            .with("events_checked", self.published as f64)
    }
}

/// From one publisher to these readers, of whom the first is behind by `lag_max` events at most, if that is given: the publisher
/// waits for it. `cpu` is what the brokers have used so far, in seconds.
pub(crate) async fn through(
    publisher: Client,
    at: StreamPartition,
    readers: Vec<Client>,
    lag_max: Option<u64>,
    args: &BenchArgs,
    cpu: impl Fn() -> f64,
) -> anyhow::Result<Through> {
    let mut reading = Vec::new();
    let mut counts = Vec::new();
    for client in readers {
        let count = Arc::new(AtomicU64::new(0));
        counts.push(count.clone());
        reading.push(subscriber(client, at, count).await?);
    }
    let stop = Arc::new(AtomicU64::new(u64::MAX));
    let ahead = lag_max.zip(counts.first().cloned());
    let sending = tokio::spawn(send(publisher, at, args.event_bytes, stop.clone(), ahead));
    tokio::time::sleep(WARM_UP).await;
    let total = |counts: &[Arc<AtomicU64>]| counts.iter().map(|c| c.load(Ordering::Relaxed)).sum::<u64>();
    let (begun, before) = (Instant::now(), total(&counts));
    let (cpu_brokers, cpu_clients) = (cpu(), cpu_of("self"));
    tokio::time::sleep(args.run_time()).await;
    let (elapsed, delivered) = (begun.elapsed().as_secs_f64(), total(&counts) - before);
    let (cpu_brokers, cpu_clients) = (cpu() - cpu_brokers, cpu_of("self") - cpu_clients);
    stop.store(0, Ordering::Relaxed);
    let published = sending.await??;
    // Completeness: every subscriber ends with exactly what was published.
    for reader in reading {
        let got =
            tokio::time::timeout(TAIL, reader.until(published)).await.context("events are missing")??;
        if got != published {
            bail!("{published} events were published and {got} came");
        }
    }
    Ok(Through { elapsed, delivered, published, cpu_brokers, cpu_clients })
}

/// The rate with every batch fsynced before its ack.
pub(crate) async fn durable(broker: &Broker, args: &BenchArgs) -> anyhow::Result<Row> {
    let client = broker.client(batching(args, AckLevel::Durable)).await?;
    let at = broker.stream(&client).await?;
    let stop = Arc::new(AtomicU64::new(u64::MAX));
    let begun = Instant::now();
    let sending = tokio::spawn(send(client, at, args.event_bytes, stop.clone(), None));
    tokio::time::sleep(args.run_time() / 2).await;
    stop.store(0, Ordering::Relaxed);
    let published = sending.await??;
    Ok(Row::new("throughput, durable".into())
        .with("events_per_s", published as f64 / begun.elapsed().as_secs_f64()))
}

pub(crate) fn batching(args: &BenchArgs, ack: AckLevel) -> PublishConfig {
    PublishConfig { batch_bytes_max: args.batch_bytes, ack: ack.into(), ..PublishConfig::default() }
}

/// Publishes until told to stop, then waits for the last ack; gives how many. It is `ahead` of a count by so many at most.
pub(crate) async fn send(
    client: Client,
    at: StreamPartition,
    bytes: usize,
    stop: Arc<AtomicU64>,
    ahead: Option<(u64, Arc<AtomicU64>)>,
) -> anyhow::Result<u64> {
    let publisher = client.publisher(at)?;
    let content = Bytes::from(vec![0x5a; bytes]);
    let mut count = 0;
    while count < stop.load(Ordering::Relaxed) {
        if ahead.as_ref().is_some_and(|(max, behind)| count - behind.load(Ordering::Relaxed) > *max) {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        // One look at the clock for many events.
        let now = unix_ms();
        for _ in 0..64 {
            publisher.publish(NewEvent::binary(now, content.clone())).await?;
        }
        count += 64;
    }
    publisher.flush().await?;
    Ok(count)
}

struct Reader {
    task: tokio::task::JoinHandle<anyhow::Result<u64>>,
    /// How many events are to come; set when the publisher has stopped.
    target: Arc<AtomicU64>,
}

/// A subscriber that counts, and holds every event to its number.
async fn subscriber(client: Client, at: StreamPartition, count: Arc<AtomicU64>) -> anyhow::Result<Reader> {
    let mut events = client.subscribe(SubscribeOptions::new(at).start(Start::From(0))).await?;
    let target = Arc::new(AtomicU64::new(u64::MAX));
    let until = target.clone();
    let task = tokio::spawn(async move {
        let _client = client;
        let mut next = 0;
        while next < until.load(Ordering::Relaxed) {
            let received = tokio::time::timeout(Duration::from_millis(200), events.next_delivery()).await;
            let Ok(received) = received else { continue };
            match received.context("the subscription ended")?? {
                Delivery::Batch(batch) => {
                    let header = batch.header();
                    if header.sequence != next {
                        bail!("event {next} was due and {} came", header.sequence);
                    }
                    next = header.next_sequence();
                    count.store(next, Ordering::Relaxed);
                }
                Delivery::CaughtUp { .. } | Delivery::Completed(_) => {}
                wrong @ (Delivery::Gap(_)
                | Delivery::Fork(_)
                | Delivery::Damaged(_)
                | Delivery::Rejected { .. }) => {
                    bail!("{wrong:?}")
                }
            }
        }
        Ok(next)
    });
    Ok(Reader { task, target })
}

impl Reader {
    /// Waits until `published` events came.
    async fn until(self, published: u64) -> anyhow::Result<u64> {
        self.target.store(published, Ordering::Relaxed);
        self.task.await?
    }
}

pub(crate) fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
