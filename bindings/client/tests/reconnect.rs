//! Connections that break at random points: nothing lost, nothing doubled. `SEED=…` replays.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    reason = "a test that cannot go on panics, and prints its seed"
)]

mod support;

use mainstem_client::{Client, ErrorKind, PublishConfig, Start, Status, SubscribeOptions};
use mainstem_model::AckLevel;
use std::time::Duration;
use support::{Broker, OPEN, Random, at, config, connect, number, numbered, part, soon};

fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().map_or(0x5eed, |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    seed
}

/// Publishes and subscribes while both connections break `breaks` times each.
async fn break_often(publisher: Client, subscriber: Client, breaks: u64, ack: AckLevel) {
    let mut random = Random(seed());
    let mut events = subscriber.subscribe(SubscribeOptions::new(at(OPEN))).await.unwrap();
    let config = PublishConfig {
        ack: ack.into(),
        batch_events_max: 7,
        linger: Duration::from_millis(1),
        buffer_bytes_max: 64 << 10,
        ..PublishConfig::default()
    };
    let series = publisher.publisher_with(at(OPEN), config).unwrap();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let publishing = tokio::spawn(async move {
        let mut sent = 0;
        while matches!(stopped.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Empty)) {
            drop(series.publish(numbered(sent)).await.unwrap());
            sent += 1;
            if sent % 16 == 0 {
                tokio::task::yield_now().await;
            }
        }
        series.flush().await.unwrap();
        sent
    });
    let reading = tokio::spawn(async move {
        let mut got = Vec::new();
        let mut sent = None::<u64>;
        let (told, mut total) = tokio::sync::mpsc::channel::<u64>(1);
        let collecting = async {
            loop {
                tokio::select! {
                    event = events.next() => got.push(number(&event.unwrap().unwrap())),
                    total = total.recv(), if sent.is_none() => sent = total,
                }
                if sent.is_some_and(|sent| got.len() as u64 >= sent) {
                    break;
                }
            }
        };
        tokio::select! {
            () = collecting => {}
            () = async {
                let sent = publishing.await.unwrap();
                told.send(sent).await.unwrap();
                std::future::pending::<()>().await;
            } => {}
        }
        // Nothing comes behind the last.
        let more = tokio::time::timeout(Duration::from_millis(300), events.next()).await;
        assert!(more.is_err(), "{more:?}");
        got
    });
    for _ in 0..breaks {
        tokio::time::sleep(Duration::from_micros(random.below(20_000))).await;
        match random.below(3) {
            0 => publisher.reconnect(),
            1 => subscriber.reconnect(),
            _ => {
                publisher.reconnect();
                subscriber.reconnect();
            }
        }
    }
    drop(stop);
    let got = tokio::time::timeout(Duration::from_secs(120), reading).await.unwrap().unwrap();
    println!("{} events through {breaks} breaks", got.len());
    assert!(got.len() > 1_000, "{}", got.len());
    let expected: Vec<u64> = (0..got.len() as u64).collect();
    assert_eq!(got, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_broken_connections_lose_and_double_nothing() {
    let broker = Broker::start().await;
    let (publisher, subscriber) = (connect(&broker, 1).await, connect(&broker, 2).await);
    break_often(publisher, subscriber, 200, AckLevel::Stored).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_do_broken_sockets() {
    let broker = Broker::start().await;
    let mut config = config(&broker, 1);
    config.broker = broker.web_socket();
    let publisher = Client::connect(config.clone()).await.unwrap();
    let subscriber = Client::connect(config).await.unwrap();
    break_often(publisher, subscriber, 100, AckLevel::Durable).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_for_both_ways_breaks_as_well() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    break_often(client.clone(), client, 100, AckLevel::Accepted).await;
}

#[tokio::test]
async fn a_slow_reader_of_one_socket_holds_up_nobody_and_loses_nothing() {
    let broker = Broker::start().await;
    let mut config = config(&broker, 1);
    config.broker = broker.web_socket();
    config.subscribe.queue_bytes_max = 20_000;
    config.subscribe.unproven_bytes_max = 10_000;
    let client = Client::connect(config).await.unwrap();
    let mut slow = client.subscribe(SubscribeOptions::new(at(OPEN))).await.unwrap();
    let mut other = client.subscribe(SubscribeOptions::new(part(OPEN, 1))).await.unwrap();
    let publisher = client.publisher(at(OPEN)).unwrap();
    for n in 0..20_000 {
        publisher.publish(numbered(n)).await.unwrap();
    }
    // Acks and the other subscription come over the same socket, while nobody reads the first.
    soon(publisher.flush()).await.unwrap();
    let published = client.publisher(part(OPEN, 1)).unwrap();
    soon(published.publish(numbered(1)).await.unwrap()).await.unwrap();
    assert_eq!(number(&soon(other.next()).await.unwrap().unwrap()), 1);
    for n in 0..20_000 {
        assert_eq!(number(&soon(slow.next()).await.unwrap().unwrap()), n);
    }
}

#[tokio::test]
async fn a_slow_reader_over_quic_is_waited_for() {
    let broker = Broker::start().await;
    let mut config = config(&broker, 1);
    config.subscribe.queue_bytes_max = 20_000;
    config.subscribe.unproven_bytes_max = 10_000;
    config.transport.stream_window_bytes = 32_000;
    let client = Client::connect(config).await.unwrap();
    let mut slow = client.subscribe(SubscribeOptions::new(at(OPEN))).await.unwrap();
    let publisher = client.publisher(at(OPEN)).unwrap();
    for n in 0..20_000 {
        publisher.publish(numbered(n)).await.unwrap();
    }
    soon(publisher.flush()).await.unwrap();
    for n in 0..20_000 {
        assert_eq!(number(&soon(slow.next()).await.unwrap().unwrap()), n);
    }
}

#[tokio::test]
async fn a_crash_of_the_broker_is_survived() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    let mut events = client.subscribe(SubscribeOptions::new(at(OPEN))).await.unwrap();
    let publisher = client.publisher(at(OPEN)).unwrap();
    for n in 0..500 {
        publisher.publish(numbered(n)).await.unwrap();
        if n % 100 == 50 {
            broker.crash(0).await;
        }
    }
    soon(publisher.flush()).await.unwrap();
    for n in 0..500 {
        assert_eq!(number(&soon(events.next()).await.unwrap().unwrap()), n);
    }
}

#[tokio::test]
async fn the_status_tells_and_the_client_gives_up_when_told_to() {
    let broker = Broker::start().await;
    let mut config = config(&broker, 1);
    config.reconnect.attempts_max = Some(2);
    config.transport.connect_timeout = Duration::from_millis(200);
    let client = Client::connect(config).await.unwrap();
    assert_eq!(client.status(), Status::Connected);
    let mut events = client.subscribe(SubscribeOptions::new(at(OPEN)).start(Start::Now)).await.unwrap();
    // The broker hears nothing any more.
    broker.pause(true);
    client.reconnect();
    assert_eq!(client.status(), Status::Connecting);
    let error = soon(events.next()).await.unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Timeout);
    assert!(soon(events.next()).await.is_none());
    assert!(matches!(client.status(), Status::Closed(_)));
}
