//! What publishing and subscribing cost the client: the real listeners and state machine over a store in memory, all in one
//! process, processor time told apart by threads. `cargo run --release -p mainstem-client --example cost [seconds] [events/s]`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement may fail loudly and prints")]

#[path = "../tests/support/mod.rs"]
mod support;

use mainstem_client::{Client, PublishConfig, SubscribeOptions};
use mainstem_model::NewEvent;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use support::{Broker, OPEN, at, config, now_ms};
use tokio::runtime::{Builder, Runtime};

fn runtime(name: &str) -> Runtime {
    Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build().unwrap()
}

/// Processor time of this process by thread name, seconds.
fn processor_time() -> BTreeMap<String, f64> {
    let mut times = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
        let name = stat.split_once('(').unwrap().1.rsplit_once(')').unwrap().0;
        let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-').to_owned();
        let schedstat = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let nanos: f64 = schedstat.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or_default();
        *times.entry(name).or_default() += nanos / 1e9;
    }
    times
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map_or(5.0, |text| text.parse().unwrap());
    let rate: f64 = arguments.next().map_or(0.0, |text| text.parse().unwrap());
    let (broker_threads, publisher_threads, subscriber_threads) =
        (runtime("broker"), runtime("publisher"), runtime("subscriber"));
    let broker = broker_threads.block_on(async { tokio::spawn(Broker::start()).await.unwrap() });
    let (publisher_config, subscriber_config) = (config(&broker, 1), config(&broker, 2));
    let publisher =
        publisher_threads.block_on(async { tokio::spawn(Client::connect(publisher_config)).await.unwrap() });
    let subscriber = subscriber_threads
        .block_on(async { tokio::spawn(Client::connect(subscriber_config)).await.unwrap() });
    let (publisher, subscriber) = (publisher.unwrap(), subscriber.unwrap());
    let mut events =
        subscriber_threads.block_on(subscriber.subscribe(SubscribeOptions::new(at(OPEN)))).unwrap();
    let time = Duration::from_secs_f64(seconds);
    let before = processor_time();
    let start = Instant::now();
    let publishing = publisher_threads.spawn(async move {
        let series = publisher.publisher(at(OPEN)).unwrap();
        let content = bytes::Bytes::from(vec![7; 200]);
        let (mut sent, mut timestamp) = (0_u64, now_ms());
        while start.elapsed() < time {
            timestamp = timestamp.max(now_ms());
            for _ in 0..64 {
                drop(series.publish(NewEvent::binary(timestamp, content.clone())).await.unwrap());
            }
            sent += 64;
            if rate > 0.0 {
                let ahead = sent as f64 / rate - start.elapsed().as_secs_f64();
                if ahead > 0.001 {
                    tokio::time::sleep(Duration::from_secs_f64(ahead)).await;
                }
            }
        }
        series.flush().await.unwrap();
        sent
    });
    let reading = subscriber_threads.spawn(async move {
        let (mut got, mut batches, mut sum) = (0_u64, 0_u64, 0_usize);
        while let Ok(batch) = tokio::time::timeout(Duration::from_secs(1), events.next_batch()).await {
            let batch = batch.unwrap().unwrap();
            for (_, event) in batch.events() {
                sum += event.content.len();
            }
            got += batch.len() as u64;
            batches += 1;
        }
        (got, batches, sum)
    });
    let sent = publisher_threads.block_on(publishing).unwrap();
    let elapsed = start.elapsed().as_secs_f64();
    let after = processor_time();
    let (got, batches, _) = subscriber_threads.block_on(reading).unwrap();
    println!(
        "{sent} events of 200 bytes in {elapsed:.2} s: {:.0}/s acked, {got} received in {batches} batches of {:.0}",
        sent as f64 / elapsed,
        got as f64 / batches.max(1) as f64
    );
    for (name, time) in &after {
        let used = time - before.get(name).copied().unwrap_or_default();
        println!("  {name:16} {:6.3} µs an event", used * 1e6 / sent as f64);
    }
    caller(&broker, &publisher_threads);
    idle(&broker, &publisher_threads);
}

/// Processor time of this thread, nanoseconds.
fn thread_time() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// The caller's side alone: nothing is sealed meanwhile but on its own thread.
fn caller(broker: &Broker, threads: &Runtime) {
    let config = config(broker, 3);
    threads.block_on(async {
        let client = Client::connect(config).await.unwrap();
        let large = PublishConfig { buffer_bytes_max: 1 << 30, ..PublishConfig::default() };
        let series = client.publisher_with(at(OPEN), large).unwrap();
        let content = bytes::Bytes::from(vec![7; 200]);
        let timestamp = now_ms();
        let start = thread_time();
        for _ in 0..200_000 {
            drop(series.publish(NewEvent::binary(timestamp, content.clone())).await.unwrap());
        }
        println!("publish on the caller: {:.0} ns an event", (thread_time() - start) / 2e5);
        series.flush().await.unwrap();
    });
}

/// One event at a time, publish to ack.
fn idle(broker: &Broker, threads: &Runtime) {
    let config = config(broker, 4);
    threads.block_on(async {
        let client = Client::connect(config).await.unwrap();
        let series = client.publisher(at(OPEN)).unwrap();
        let mut times: Vec<_> = Vec::new();
        for _ in 0..500 {
            let start = Instant::now();
            series.publish(NewEvent::binary(now_ms(), vec![7; 200].into())).await.unwrap().await.unwrap();
            times.push(start.elapsed());
        }
        times.sort_unstable();
        println!("publish to ack, alone: median {:?}, p99 {:?}", times[250], times[495]);
    });
}
