//! From publish to deliver, one event a batch at a steady rate.

use super::{broker::Broker, report::Row, throughput::unix_ms};
use anyhow::Context;
use bytes::Bytes;
use hdrhistogram::Histogram;
use mainstem_client::{PublishConfig, PublishReceipt, SubscribeOptions};
use mainstem_model::{AckLevel, NewEvent, StreamPartition};
use std::time::{Duration, Instant};

/// Events before the clock counts.
const WARM_UP: usize = 500;

pub(crate) async fn run(broker: &Broker, ack: AckLevel, rate: u32, count: usize) -> anyhow::Result<Row> {
    let client = broker.client(PublishConfig::default()).await?;
    let at = broker.stream(&client).await?;
    run_at(broker, at, ack, rate, count).await
}

/// The same in a stream that is there.
pub(crate) async fn run_at(
    broker: &Broker,
    at: StreamPartition,
    ack: AckLevel,
    rate: u32,
    count: usize,
) -> anyhow::Result<Row> {
    let batching = PublishConfig { batch_events_max: 1, ack: ack.into(), ..PublishConfig::default() };
    let (sender, receiver) = (broker.client(batching.clone()).await?, broker.client(batching).await?);
    let publisher = sender.publisher(at)?;
    // The first one waits until the broker has seen the stream.
    publisher.publish(event(Instant::now(), Instant::now())).await?;
    publisher.flush().await?;
    let mut events = receiver.subscribe(SubscribeOptions::new(at)).await?;
    // Live from here on.
    events.next_delivery().await.context("the subscription ended")??;

    let base = Instant::now();
    let reading = tokio::spawn(async move {
        let mut deliver = Histogram::<u64>::new(3)?;
        for number in 0..count + WARM_UP {
            let event = events.next().await.context("the subscription ended")??;
            let sent = u64::from_be_bytes(event.content()[..8].try_into()?);
            let now = u64::try_from(base.elapsed().as_nanos())?;
            if number >= WARM_UP {
                deliver.record(now.saturating_sub(sent) / 1000)?;
            }
        }
        anyhow::Ok(deliver)
    });
    // Acks come in the order of the batches, so one task waits for them all.
    let (to_acking, mut receipts) = tokio::sync::mpsc::unbounded_channel::<(Instant, PublishReceipt)>();
    let acking = tokio::spawn(async move {
        let mut acked = Histogram::<u64>::new(3)?;
        let mut number = 0;
        while let Some((begun, receipt)) = receipts.recv().await {
            receipt.await?;
            if number >= WARM_UP {
                acked.record(u64::try_from(begun.elapsed().as_micros())?)?;
            }
            number += 1;
        }
        anyhow::Ok(acked)
    });
    let mut tick = tokio::time::interval(Duration::from_secs(1) / rate);
    for _ in 0..count + WARM_UP {
        tick.tick().await;
        let begun = Instant::now();
        let receipt = publisher.publish(event(base, begun)).await?;
        // A task that has failed says why below.
        drop(to_acking.send((begun, receipt)));
    }
    drop(to_acking);
    let acked = acking.await??;
    let deliver = reading.await??;
    let ms = |histogram: &Histogram<u64>, quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
    Ok(Row::new(format!("latency, {}, {rate} one-event batches/s", ack.as_str()))
        .with("publish_to_deliver_ms_p50", ms(&deliver, 0.5))
        .with("publish_to_deliver_ms_p99", ms(&deliver, 0.99))
        .with("publish_to_ack_ms_p50", ms(&acked, 0.5))
        .with("publish_to_ack_ms_p99", ms(&acked, 0.99)))
}

/// An event of 200 bytes that says when it was published.
fn event(base: Instant, now: Instant) -> NewEvent {
    let mut content = vec![0; 200];
    let nanos = now.saturating_duration_since(base).as_nanos() as u64;
    content[..8].copy_from_slice(&nanos.to_be_bytes());
    NewEvent::binary(unix_ms(), Bytes::from(content))
}
