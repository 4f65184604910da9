//! How long a broker with much stored takes from its start to the first ack, after it was killed.

use super::{
    BenchArgs,
    broker::Broker,
    report::Row,
    throughput::{batching, send, unix_ms},
};
use mainstem_model::{AckLevel, NewEvent};
use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Instant,
};

/// Fills a broker with `bytes` of events, kills it with -9 and starts it again on what it left.
pub(crate) async fn run(mut broker: Broker, args: &BenchArgs, bytes: u64) -> anyhow::Result<Row> {
    let client = broker.client(batching(args, AckLevel::Durable)).await?;
    let at = broker.stream(&client).await?;
    let events = Arc::new(AtomicU64::new(bytes / args.event_bytes as u64));
    let published = send(client, at, args.event_bytes, events, None).await?;
    let stored = broker.stored_bytes();
    broker.kill();
    let begun = Instant::now();
    broker.restart().await?;
    let up = begun.elapsed();
    let client = broker.client(batching(args, AckLevel::Durable)).await?;
    let publisher = client.publisher(at)?;
    publisher.publish(NewEvent::binary(unix_ms(), vec![1].into())).await?.await?;
    Ok(Row::new("restart after kill -9".into())
        .with("events_stored", published as f64)
        .with("store_mb", stored as f64 / 1e6)
        .with("up_s", up.as_secs_f64())
        .with("first_durable_ack_s", begun.elapsed().as_secs_f64()))
}
