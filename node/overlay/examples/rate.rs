//! What an overlay costs: idle memory, frames a second and latency between two of them on loopback.
//!
//!     cargo run --release --package mainstem-overlay --example rate
//!     cargo run --release --package mainstem-overlay --example rate -- listen    # one, until it is ended

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement prints, and fails by panicking")]

use bytes::Bytes;
use hdrhistogram::Histogram;
use mainstem_crypto::SecretKey;
use mainstem_overlay::{Config, Inbox, Incoming, Lane, Overlay, SendError};
use std::time::{Duration, Instant};

/// Physical memory of this process, KiB.
fn memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

async fn start(number: u8, listen: &str) -> (Overlay, Inbox) {
    let config = Config { listen: vec![listen.parse().unwrap()], yield_ms: 50, ..Config::default() };
    let started = Overlay::start(&config, &SecretKey::from_bytes(&[number; 32]).unwrap()).unwrap();
    started.0.listening().await;
    started
}

async fn connected(inbox: &mut Inbox) {
    while !matches!(inbox.recv().await, Some(Incoming::Connected { .. })) {}
}

async fn frame(inbox: &mut Inbox) -> Bytes {
    loop {
        if let Some(Incoming::Frame(frame)) = inbox.recv().await {
            return frame.into_bytes();
        }
    }
}

async fn send(overlay: &Overlay, to: mainstem_crypto::Address, bytes: &Bytes) {
    while let Err(error) = overlay.try_send(to, Lane::Live, bytes.clone()) {
        assert!(matches!(error, SendError::Full { .. }), "{error}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn measure(listen: &str) {
    let empty = memory_kib();
    let (first, mut first_inbox) = start(1, listen).await;
    let (second, mut second_inbox) = start(2, listen).await;
    first.set_peers([(second.address(), second.listening().await)].into());
    second.set_peers([(first.address(), first.listening().await)].into());
    connected(&mut first_inbox).await;
    connected(&mut second_inbox).await;
    println!("{listen}: two connected overlays more: {} KiB more", memory_kib().saturating_sub(empty));

    let (to, back) = (second.address(), first.address());
    for (size, count) in [(200, 500_000_u32), (4_096, 100_000), (65_536, 15_000)] {
        let bytes = Bytes::from(vec![7; size]);
        let begun = Instant::now();
        let sending = async {
            for _ in 0..count {
                send(&first, to, &bytes).await;
            }
        };
        let receiving = async {
            for _ in 0..count {
                frame(&mut second_inbox).await;
            }
        };
        tokio::join!(sending, receiving);
        let seconds = begun.elapsed().as_secs_f64();
        let rate = f64::from(count) / seconds;
        println!("{listen}: {size} B: {rate:.0} frames/s, {:.0} MB/s", rate * size as f64 / 1e6);
    }

    let echo = tokio::spawn(async move {
        loop {
            let bytes = frame(&mut second_inbox).await;
            send(&second, back, &bytes).await;
        }
    });
    let mut times = Histogram::<u64>::new(3).unwrap();
    let bytes = Bytes::from(vec![7; 200]);
    for _ in 0..5_000 {
        let begun = Instant::now();
        send(&first, to, &bytes).await;
        frame(&mut first_inbox).await;
        times.record(u64::try_from(begun.elapsed().as_micros()).unwrap()).unwrap();
    }
    echo.abort();
    let at = |quantile| times.value_at_quantile(quantile);
    println!("{listen}: there and back, 200 B: p50 {} µs, p99 {} µs", at(0.5), at(0.99));
}

#[tokio::main]
async fn main() {
    if std::env::args().nth(1).as_deref() == Some("listen") {
        let before = memory_kib();
        let config = Config {
            listen: vec![
                "/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap(),
                "/ip4/127.0.0.1/tcp/0".parse().unwrap(),
            ],
            ..Config::default()
        };
        let (overlay, mut inbox) =
            Overlay::start(&config, &SecretKey::from_bytes(&[1; 32]).unwrap()).unwrap();
        for address in overlay.listening().await {
            println!("{address}");
        }
        println!("idle: {} KiB, of them {} KiB the overlay's", memory_kib(), memory_kib() - before);
        while inbox.recv().await.is_some() {}
    }
    for listen in ["/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"] {
        measure(listen).await;
    }
}
