//! WebSockets in JSON: how fast events come, what idle ones cost, and what ones that take nothing cost the others.

use super::{
    BenchArgs,
    broker::Broker,
    latency,
    report::Row,
    throughput::{batching, unix_ms},
};
use anyhow::{Context, bail};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use mainstem_client::{Client, PublishConfig};
use mainstem_model::{AckLevel, ContentType, EncryptionType, NewEvent, StreamPartition};
use serde::Deserialize;
use std::time::{Duration, Instant};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

/// Events of the JSON run for each of its seconds.
const JSON_EVENTS_PER_S: u64 = 50_000;
/// What an idle broker is given to come to rest.
const REST: Duration = Duration::from_secs(2);
/// Events of 1 KiB that stall who takes none: 20 MB in JSON, above what the kernel holds for a socket.
const FILL_EVENTS: usize = 8 << 10;
/// Events of each latency run beside stalled subscribers.
const LATENCY_EVENTS: usize = 10_000;

type Socket = WebSocketStream<TcpStream>;

/// What a subscriber reads of a message.
#[derive(Deserialize)]
struct Told<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(default)]
    sequence: u64,
}

/// One subscriber that gets its events as JSON and holds each to its number.
pub(crate) async fn json(broker: &Broker, args: &BenchArgs) -> anyhow::Result<Row> {
    let client = broker.client(batching(args, AckLevel::Stored)).await?;
    let at = broker.stream(&client).await?;
    let count = JSON_EVENTS_PER_S * args.seconds();
    let filler = "z".repeat(args.event_bytes.saturating_sub(8));
    let content = Bytes::from(format!("{{\"v\":\"{filler}\"}}"));
    let publisher = client.publisher(at)?;
    publisher.publish(json_event(&content)).await?;
    publisher.flush().await?;
    let mut socket = subscribe(broker, at, None).await?;
    let sending = tokio::spawn(async move {
        for _ in 0..count {
            publisher.publish(json_event(&content)).await?;
        }
        publisher.flush().await?;
        anyhow::Ok(client)
    });
    let (mut begun, mut cpu) = (Instant::now(), broker.cpu());
    let mut next = 1;
    while next <= count {
        let message = socket.next().await.context("the socket was closed")??;
        let Message::Text(text) = message else { continue };
        let told: Told<'_> = serde_json::from_str(&text)?;
        match told.kind {
            "event" if told.sequence == next => {
                if next == 1 {
                    (begun, cpu) = (Instant::now(), broker.cpu());
                }
                next += 1;
            }
            "event" => bail!("event {next} was due and {} came", told.sequence),
            "refused" | "ended" => bail!("the broker said {text}"),
            _ => {}
        }
    }
    let (elapsed, cpu) = (begun.elapsed().as_secs_f64(), broker.cpu() - cpu);
    drop(sending.await??);
    Ok(Row::new("throughput over WebSocket (JSON), 1 subscriber(s), stored".into())
        .with("events_per_s", count as f64 / elapsed)
        .with("cpu_us_per_delivery_broker", cpu * 1e6 / count as f64)
        .with("events_checked", count as f64))
}

/// Memory of a broker at rest, and with `count` sockets that wait for events.
pub(crate) async fn idle(broker: &Broker, count: usize) -> anyhow::Result<Row> {
    tokio::time::sleep(REST).await;
    let alone = broker.rss();
    let client = broker.client(PublishConfig::default()).await?;
    let at = broker.stream(&client).await?;
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        sockets.push(subscribe(broker, at, None).await?);
    }
    tokio::time::sleep(REST).await;
    Ok(Row::new(format!("memory, {count} subscribed WebSockets, with the chain in the same process"))
        .with("rss_mb_idle", alone as f64 / 1e6)
        .with("rss_mb_with_sockets", broker.rss() as f64 / 1e6))
}

/// Latency beside `count` subscribers of the same stream that have stopped reading, and at a broker that did all the same
/// without them.
pub(crate) async fn stalled(count: usize) -> anyhow::Result<Vec<Row>> {
    let (alone, _) = beside(0).await?;
    let (beside, rss) = beside(count).await?;
    let ratio = |figure| beside.figure(figure) / alone.figure(figure);
    let compared = Row::new(format!("{count} stalled subscribers"))
        .with("p50_ratio", ratio("publish_to_deliver_ms_p50"))
        .with("p99_ratio", ratio("publish_to_deliver_ms_p99"))
        .with("broker_rss_mb", rss as f64 / 1e6);
    Ok(vec![alone.named("latency alone"), beside.named("latency beside stalled subscribers"), compared])
}

/// Latency at a new broker with so many stalled subscribers, and the broker's memory then.
async fn beside(count: usize) -> anyhow::Result<(Row, u64)> {
    let broker = Broker::start().await?;
    let client = broker.client(PublishConfig::default()).await?;
    let at = broker.stream(&client).await?;
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        // As little room as the system gives: they stall at once.
        sockets.push(subscribe(&broker, at, Some(4096)).await?);
    }
    fill(&client, at).await?;
    let row = latency::run_at(&broker, at, AckLevel::Stored, 1_000, LATENCY_EVENTS).await?;
    let rss = broker.rss();
    drop(sockets);
    Ok((row, rss))
}

/// Publishes more than fits on the way to a subscriber that does not read, and gives the broker time to come to rest.
async fn fill(client: &Client, at: StreamPartition) -> anyhow::Result<()> {
    let publisher = client.publisher(at)?;
    let content = Bytes::from(vec![0x5a; 1024]);
    for _ in 0..FILL_EVENTS {
        publisher.publish(NewEvent::binary(unix_ms(), content.clone())).await?;
    }
    publisher.flush().await?;
    tokio::time::sleep(REST).await;
    Ok(())
}

/// Opens a socket and subscribes to what comes from now on.
async fn subscribe(
    broker: &Broker,
    at: StreamPartition,
    receive_bytes: Option<u32>,
) -> anyhow::Result<Socket> {
    let url = broker.websocket()?;
    let address = url.trim_start_matches("ws://").split('/').next().unwrap_or_default().parse()?;
    let tcp = TcpSocket::new_v4()?;
    if let Some(bytes) = receive_bytes {
        tcp.set_recv_buffer_size(bytes)?;
    }
    let (mut socket, _) = client_async(url, tcp.connect(address).await?).await?;
    let (stream, partition) = (at.stream, at.partition.number());
    let ask = serde_json::json!({
        "type": "subscribe", "request": 1, "stream": stream.to_string(), "partition": partition
    });
    socket.send(Message::text(ask.to_string())).await?;
    loop {
        let Message::Text(text) = socket.next().await.context("the socket was closed")?? else { continue };
        match serde_json::from_str::<Told<'_>>(&text)?.kind {
            "caughtUp" => return Ok(socket),
            "refused" | "ended" => bail!("the broker said {text}"),
            _ => {}
        }
    }
}

fn json_event(content: &Bytes) -> NewEvent {
    NewEvent {
        timestamp: unix_ms(),
        content_type: ContentType::JSON,
        encryption_type: EncryptionType::NONE,
        content: content.clone(),
    }
}
