//! The same job done by NATS JetStream with its file store: one publisher with acks, one consumer, spoken over plain TCP.

use super::{BenchArgs, report::Row};
use anyhow::{Context, bail};
use std::{
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
};

/// Messages without an ack that the publisher lets be on their way.
const WINDOW: u64 = 16_384;

struct Server {
    child: Child,
    folder: std::path::PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// `None` when there is no `nats-server` on this machine.
pub(crate) async fn run(args: &BenchArgs) -> anyhow::Result<Option<Row>> {
    let folder = std::env::temp_dir().join(format!("mainstem-bench-nats-{:016x}", rand::random::<u64>()));
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let started = Command::new("nats-server")
        .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"])
        .arg(&folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(child) = started else { return Ok(None) };
    let _server = Server { child, folder };
    let (mut up, down) = connect(port).await?;
    ask(&mut up, "$JS.API.STREAM.CREATE.BENCH", r#"{"name":"BENCH","subjects":["bench"],"storage":"file"}"#)
        .await?;
    let (mut consumer_up, consumer_down) = connect(port).await?;
    consumer_up.write_all(b"SUB deliver.bench 2\r\n").await?;
    // The stream must be there before its consumer.
    tokio::time::sleep(Duration::from_millis(500)).await;
    ask(
        &mut consumer_up,
        "$JS.API.CONSUMER.CREATE.BENCH",
        r#"{"stream_name":"BENCH","config":{"deliver_subject":"deliver.bench","ack_policy":"none","deliver_policy":"all"}}"#,
    )
    .await?;
    let (acked, delivered) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let more = Arc::new(Notify::new());
    let acks = tokio::spawn(count(down, "_INBOX.ack", acked.clone(), more.clone()));
    let deliveries = tokio::spawn(count(consumer_down, "bench", delivered.clone(), Arc::new(Notify::new())));

    let frame = [
        format!("PUB bench _INBOX.ack {}\r\n", args.event_bytes).as_bytes(),
        &vec![0x5a; args.event_bytes],
        b"\r\n",
    ]
    .concat();
    let many = frame.repeat(64);
    let warm = Instant::now() + Duration::from_secs(2);
    let (mut begun, mut sent) = (None, 0);
    loop {
        while sent - acked.load(Ordering::Relaxed) > WINDOW {
            let waited = tokio::time::timeout(Duration::from_secs(10), more.notified()).await;
            if waited.is_err() {
                bail!("NATS stopped acking after {} messages", acked.load(Ordering::Relaxed));
            }
        }
        up.write_all(&many).await?;
        sent += 64;
        match begun {
            None if Instant::now() >= warm => {
                begun = Some((Instant::now(), delivered.load(Ordering::Relaxed)))
            }
            Some((at, _)) if at.elapsed() >= args.run_time() => break,
            _ => {}
        }
    }
    let (at, before) = begun.context("the run was too short")?;
    let rate = (delivered.load(Ordering::Relaxed) - before) as f64 / at.elapsed().as_secs_f64();
    acks.abort();
    deliveries.abort();
    Ok(Some(
        Row::new("NATS JetStream, file store, async acks, 1 consumer (nothing signed)".into())
            .with("events_per_s", rate)
            .with("events_checked", delivered.load(Ordering::Relaxed) as f64),
    ))
}

async fn connect(port: u16) -> anyhow::Result<(OwnedWriteHalf, BufReader<OwnedReadHalf>)> {
    for _ in 0..100 {
        if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)).await {
            stream.set_nodelay(true)?;
            let (down, mut up) = stream.into_split();
            up.write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB _INBOX.* 1\r\nPING\r\n")
                .await?;
            return Ok((up, BufReader::with_capacity(256 << 10, down)));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("nats-server did not come up")
}

async fn ask(up: &mut OwnedWriteHalf, subject: &str, body: &str) -> anyhow::Result<()> {
    let frame = format!("PUB {subject} _INBOX.api {}\r\n{body}\r\n", body.len());
    Ok(up.write_all(frame.as_bytes()).await?)
}

/// Counts the messages to `subject`.
async fn count(
    mut down: BufReader<OwnedReadHalf>,
    subject: &str,
    counted: Arc<AtomicU64>,
    more: Arc<Notify>,
) -> anyhow::Result<()> {
    let (mut line, mut body) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        if down.read_until(b'\n', &mut line).await? == 0 {
            bail!("nats-server closed the connection");
        }
        let text = std::str::from_utf8(&line)?.trim_end();
        let mut words = text.split(' ');
        if words.next() != Some("MSG") {
            continue;
        }
        let to = words.next().unwrap_or_default() == subject;
        let length: usize = words.next_back().context("MSG without a length")?.parse()?;
        body.resize(length + 2, 0);
        down.read_exact(&mut body).await?;
        if to {
            counted.fetch_add(1, Ordering::Relaxed);
            more.notify_one();
        } else if body.windows(7).any(|w| w == b"\"error\"") {
            bail!("NATS refused: {}", String::from_utf8_lossy(&body));
        }
    }
}
