//! How fast the QUIC edge is on this machine: a publisher and a subscriber on loopback, the broker's real state machine, a
//! store in memory. `cargo run --release -p mainstem-api --example loopback [seconds]`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement may fail loudly and prints")]

#[path = "../tests/support/mod.rs"]
mod support;

use mainstem_model::{Ack, AckLevel, Batch};
use mainstem_schema::frame_capnp as wire_truth;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};
use support::{
    STREAM,
    broker::Broker,
    client::{Client, FrameStream},
    event,
    wire::{self, Told},
    writer,
};

fn main() {
    let seconds = std::env::args().nth(1).map_or(3, |text| text.parse().unwrap());
    let time = Duration::from_secs(seconds);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        raw(time).await;
        throughput("64 KiB batches of 256 events", time, 256, 200, 40, true).await;
        throughput("64 KiB batches of 256 events, nobody reads", time, 256, 200, 40, false).await;
        throughput("64 KiB batches of one event", time, 1, 65_000, 40, true).await;
        throughput("one-event batches of 200 bytes", time, 1, 200, 512, true).await;
        latency(time, 1_000).await;
    });
}

/// Frames of 64 KiB that the node reads and refuses at once: framing and transport, without proofs.
async fn raw(time: Duration) {
    let broker = Broker::start();
    let (mut client, _) = Client::greeted(&broker).await;
    // A ping with a body is a fault that costs nothing to find.
    let frame = bytes::Bytes::from(wire::framed(&wire::ping(2), &[0; 65_536]));
    let start = Instant::now();
    let mut count = 0_u64;
    let mut down = client.down;
    let reading = tokio::spawn(async move { while down.next().await.is_some() {} });
    while start.elapsed() < time {
        client.up.write_chunk(frame.clone()).await.unwrap();
        count += 1;
    }
    let path = client.connection.stats().path;
    println!(
        "frames of 64 KiB, not proven: {:.0}/s, {:.0} MB/s; mtu {}, {} packets lost",
        count as f64 / start.elapsed().as_secs_f64(),
        count as f64 * 65_536.0 / 1e6 / start.elapsed().as_secs_f64(),
        path.current_mtu,
        path.lost_packets
    );
    reading.abort();
}

async fn subscribe(client: &mut Client) -> FrameStream {
    let head = wire::subscribe(9, |mut subscribe| {
        subscribe.set_stream(STREAM.0.as_bytes());
        subscribe.set_live(true);
        subscribe.init_start().set_now(());
    });
    client.send(&head, &[]).await;
    assert!(matches!(client.told().await, Told::Subscribed { request: 9, .. }));
    let mut stream = client.deliveries().await;
    assert!(matches!(stream.next().await, Some(Told::CaughtUp { .. })));
    stream
}

async fn throughput(what: &str, time: Duration, events: usize, size: usize, window: usize, read: bool) {
    let broker = Broker::start();
    let (mut publisher, _) = Client::greeted(&broker).await;
    let (mut subscriber, _) = Client::greeted(&broker).await;
    // Signed beforehand: this measures the node.
    let started = Instant::now();
    let mut batches = VecDeque::new();
    let mut series = writer(1, 1);
    let events: Vec<_> = (0..events).map(|_| event(size)).collect();
    while started.elapsed() < time * 2 && batches.len() < 6_000 * time.as_secs() as usize {
        batches.push_back(series.seal(&events).unwrap());
    }
    let bytes = batches[0].bytes().len();
    let total = batches.len();
    let reading = read.then_some(());
    let reader = match reading {
        None => None,
        Some(()) => {
            let mut deliveries = subscribe(&mut subscriber).await;
            Some(tokio::spawn(async move {
                let mut count = 0;
                while count < total && deliveries.next().await.is_some() {
                    count += 1;
                }
                count
            }))
        }
    };
    let start = Instant::now();
    let mut open = 0;
    let mut request = 10;
    let mut sent = 0;
    while start.elapsed() < time && !batches.is_empty() {
        while open < window
            && let Some(batch) = batches.pop_front()
        {
            request += 1;
            publisher.send(&wire::publish(request, wire_truth::AckLevel::Stored), batch.bytes()).await;
            open += 1;
            sent += 1;
        }
        let told = publisher.told().await;
        assert!(matches!(told, Told::Ack { ack: Ack { level: AckLevel::Stored, .. }, .. }), "{told:?}");
        open -= 1;
    }
    let elapsed = start.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_millis(300)).await;
    if let Some(reader) = reader {
        reader.abort();
    }
    let acked = (sent - open) as f64;
    println!(
        "{what}: {:.0} batches/s, {:.1} MB/s acked ({bytes} bytes each); {} lost up, {} lost down",
        acked / elapsed,
        acked * bytes as f64 / 1e6 / elapsed,
        publisher.connection.stats().path.lost_packets,
        subscriber.connection.stats().path.lost_packets,
    );
}

/// From just before a batch is sealed to its delivery, at a steady pace.
async fn latency(time: Duration, per_second: u32) {
    let broker = Broker::start();
    let (mut publisher, _) = Client::greeted(&broker).await;
    let (mut subscriber, _) = Client::greeted(&broker).await;
    let mut deliveries = subscribe(&mut subscriber).await;
    let (sent, mut times) = tokio::sync::mpsc::unbounded_channel::<Instant>();
    let reader = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(at) = times.recv().await {
            let Some(Told::Deliver { batch, .. }) = deliveries.next().await else { break };
            all.push(at.elapsed());
            drop(Batch::parse(batch).unwrap());
        }
        all
    });
    let mut down = publisher.down;
    tokio::spawn(async move { while down.next().await.is_some() {} });
    let mut series = writer(1, 1);
    let start = Instant::now();
    for n in 0..per_second * time.as_secs() as u32 {
        let due = start + Duration::from_secs(1) / per_second * n;
        // Timers are a millisecond coarse, which is the pace.
        tokio::time::sleep_until(due.into()).await;
        let batch = series.seal(&[event(200)]).unwrap();
        sent.send(Instant::now()).unwrap();
        let head = wire::publish(u64::from(n) + 10, wire_truth::AckLevel::Stored);
        publisher.up.write_all(&wire::framed(&head, batch.bytes())).await.unwrap();
    }
    drop(sent);
    let mut all = reader.await.unwrap();
    all.sort();
    let at = |share: f64| all[((all.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "{per_second} one-event batches a second, sent to delivered: p50 {:.3} ms, p90 {:.3}, p99 {:.3}, most {:.3} ({} of them)",
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
        all.len()
    );
}
