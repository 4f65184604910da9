//! Publishing over both transports, against the real state machine.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    reason = "a test that cannot go on panics, and prints its seed"
)]

mod support;

use mainstem_client::{
    Client, ErrorKind, Identity, PublishConfig, PublishOptions, PublishTarget, ResendOptions, ResendRange,
    SubscribeOptions,
};
use mainstem_model::{
    Ack, AckLevel, Address, Code, Delegation, Grant, NewEvent, Origin, Partition, PartitionKey, Refusal,
    RegistryChange,
};
use mainstem_protocol::{Config, ServerMessage};
use std::{collections::BTreeSet, time::Duration};
use support::{
    ABSENT, ALL, Broker, CLOSED, NETWORK, OPEN, Setup, all_numbers, at, config, connect, key, next, now_ms,
    numbered, numbers, soon,
};

#[tokio::test]
async fn what_is_published_comes_once_and_in_order() {
    let broker = Broker::start().await;
    for address in [broker.quic(), broker.web_socket()] {
        let mut config = config(&broker, 1);
        config.broker = address;
        let client = Client::connect(config).await.unwrap();
        let mut events = client.subscribe(SubscribeOptions::new(at(OPEN))).await.unwrap();
        let publisher = client.publisher(at(OPEN)).unwrap();
        for n in 0..5_000 {
            publisher.publish(numbered(n)).await.unwrap();
        }
        soon(publisher.flush()).await.unwrap();
        assert_eq!(numbers(&mut events, 5_000).await, (0..5_000).collect::<Vec<_>>());
        client.close().await;
    }
}

#[tokio::test]
async fn a_receipt_names_series_and_sequence() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    let publisher = client.publisher(at(OPEN)).unwrap();
    let mut receipts = Vec::new();
    for n in 0..100 {
        receipts.push(publisher.publish(numbered(n)).await.unwrap());
    }
    for (n, receipt) in receipts.into_iter().enumerate() {
        let again = receipt.clone();
        let published = soon(receipt).await.unwrap();
        assert_eq!(published.sequence, n as u64);
        assert_eq!(published.stream_partition, at(OPEN));
        assert!(published.ack.level >= AckLevel::Stored);
        assert_eq!(again.outcome(), Some(Ok(published)));
    }
}

#[tokio::test]
async fn a_receipt_waits_for_as_many_brokers_as_were_asked_for_and_tells_how_many_hold() {
    let broker = Broker::start().await;
    for address in [broker.quic(), broker.web_socket()] {
        let mut config = config(&broker, 1);
        config.broker = address;
        let client = Client::connect(config).await.unwrap();
        for (asked, holds) in [
            (Ack::default(), Ack::default()),
            (Ack::new(AckLevel::Durable, 2), Ack::new(AckLevel::Durable, 3)),
        ] {
            // As if the other brokers had said so.
            broker.tamper(move |message| match message {
                ServerMessage::Ack { request, batch, duplicate, .. } => {
                    vec![ServerMessage::Ack { request, batch, ack: holds, duplicate }]
                }
                other => vec![other],
            });
            let config = PublishConfig { ack: asked, ..PublishConfig::default() };
            let publisher = client.publisher_with(at(OPEN), config).unwrap();
            let receipt = publisher.publish(numbered(0)).await.unwrap();
            assert_eq!(soon(receipt).await.unwrap().ack, holds);
            assert_eq!(broker.asked().last(), Some(&asked));
        }
        client.close().await;
    }
}

#[tokio::test]
async fn more_copies_than_there_are_replicas_fail_the_publisher_with_the_brokers_words() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    broker.tamper(|message| match message {
        ServerMessage::Ack { request, .. } => {
            let refusal = Refusal::new(Code::InvalidArgument, "there are 3 replicas");
            vec![ServerMessage::Refused { request, refusal }]
        }
        other => vec![other],
    });
    let config = PublishConfig { ack: Ack::new(AckLevel::Stored, 4), ..PublishConfig::default() };
    let publisher = client.publisher_with(at(OPEN), config).unwrap();
    let error = soon(publisher.publish(numbered(0)).await.unwrap()).await.unwrap_err();
    assert_eq!(error.code, Some(Code::InvalidArgument));
    assert!(error.message.contains("there are 3 replicas"), "{error}");
}

#[tokio::test]
async fn an_event_alone_goes_alone_and_at_once() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    let patient = PublishConfig { linger: Duration::from_secs(3600), ..PublishConfig::default() };
    let publisher = client.publisher_with(at(OPEN), patient).unwrap();
    for n in 0..5 {
        soon(publisher.publish(numbered(n)).await.unwrap()).await.unwrap();
    }
    assert_eq!(broker.stored().await, 5);
}

#[tokio::test]
async fn a_filling_batch_goes_when_the_one_before_is_acked() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    let patient = PublishConfig { linger: Duration::from_secs(3600), ..PublishConfig::default() };
    let publisher = client.publisher_with(at(OPEN), patient).unwrap();
    broker.pause(true);
    let mut last = None;
    for n in 0..50 {
        last = Some(publisher.publish(numbered(n)).await.unwrap());
    }
    broker.pause(false);
    soon(last.unwrap()).await.unwrap();
    assert_eq!(broker.stored().await, 2);
}

#[tokio::test]
async fn a_filling_batch_waits_no_longer_than_it_may() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    let publisher = client.publisher(at(OPEN)).unwrap();
    // No ack ever comes, so only the time lets the second batch go.
    broker.tamper(|message| match message {
        ServerMessage::Ack { .. } => vec![],
        other => vec![other],
    });
    publisher.publish(numbered(0)).await.unwrap();
    publisher.publish(numbered(1)).await.unwrap();
    soon(async {
        while broker.stored().await < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn batches_keep_their_bounds() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    let config = PublishConfig { batch_events_max: 10, batch_bytes_max: 2_000, ..PublishConfig::default() };
    let publisher = client.publisher_with(at(OPEN), config).unwrap();
    for n in 0..200_u64 {
        let size = if n % 20 < 10 { 8 } else { 900 };
        let mut content = n.to_be_bytes().to_vec();
        content.resize(size, 0);
        publisher.publish(NewEvent::binary(now_ms(), content.into())).await.unwrap();
    }
    // One larger than a batch should be still goes, alone.
    let large = [200_u64.to_be_bytes().to_vec(), vec![0; 50_000]].concat();
    publisher.publish(NewEvent::binary(now_ms(), large.into())).await.unwrap();
    soon(publisher.flush()).await.unwrap();
    let mut resend = client.resend(ResendOptions::new(at(OPEN), ResendRange::From(0))).await.unwrap();
    let mut count = 0;
    while let Some(batch) = soon(resend.next_batch()).await {
        let batch = batch.unwrap();
        count += batch.len();
        assert!(batch.len() <= 10);
        assert!(batch.len() == 1 || batch.batch().bytes().len() < 3_000);
    }
    assert_eq!(count, 201);
}

#[tokio::test]
async fn an_event_too_large_is_refused_and_the_series_goes_on() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    let publisher = client.publisher(at(OPEN)).unwrap();
    let large = NewEvent::binary(now_ms(), vec![0; (1 << 20) + 1].into());
    assert_eq!(publisher.publish(large).await.unwrap_err().kind, ErrorKind::TooLarge);
    let largest = NewEvent::binary(now_ms(), vec![0; 1 << 20].into());
    assert_eq!(soon(publisher.publish(largest).await.unwrap()).await.unwrap().sequence, 0);
}

#[tokio::test]
async fn a_missing_right_reaches_receipts_and_whoever_comes_later() {
    let broker = Broker::start().await;
    let client = connect(&broker, 2).await;
    for (stream, kind) in [(CLOSED, ErrorKind::MissingPermission), (ABSENT, ErrorKind::StreamNotFound)] {
        let publisher = client.publisher(at(stream)).unwrap();
        let receipt = publisher.publish(numbered(0)).await.unwrap();
        let error = soon(receipt).await.unwrap_err();
        assert_eq!(error.kind, kind);
        assert_eq!(publisher.publish(numbered(1)).await.unwrap_err(), error);
        assert_eq!(soon(publisher.flush()).await.unwrap_err(), error);
    }
}

#[tokio::test]
async fn the_error_of_a_dropped_receipt_comes_out_of_flush() {
    let broker = Broker::start().await;
    let client = connect(&broker, 2).await;
    let publisher = client.publisher(at(CLOSED)).unwrap();
    drop(publisher.publish(numbered(0)).await.unwrap());
    assert_eq!(soon(publisher.flush()).await.unwrap_err().code, Some(Code::MissingPermission));
}

#[tokio::test]
async fn the_convenient_way_tries_again_once_the_right_is_there() {
    let broker = Broker::start().await;
    let client = connect(&broker, 2).await;
    let publish = || client.publish(at(CLOSED), "hello", PublishOptions::default());
    let refused = soon(publish().await.unwrap()).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::MissingPermission);
    broker.apply(RegistryChange::Grant(CLOSED, key(2).address(), ALL));
    // The error is told to whoever publishes next; then a new publisher takes over.
    assert_eq!(publish().await.unwrap_err().kind, ErrorKind::MissingPermission);
    soon(publish().await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_full_buffer_makes_the_caller_wait_and_nothing_is_lost() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    let small = PublishConfig { buffer_bytes_max: 4_000, ..PublishConfig::default() };
    let publisher = client.publisher_with(at(OPEN), small).unwrap();
    broker.pause(true);
    let mut taken = 0;
    let back = loop {
        match publisher.try_publish(numbered(taken)).unwrap() {
            Ok(_) => taken += 1,
            Err(event) => break event,
        }
    };
    assert_eq!(taken, 4_000 / 32);
    let waiting = tokio::spawn({
        let publisher = publisher.clone();
        async move { publisher.publish(back).await.unwrap().await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    broker.pause(false);
    assert_eq!(soon(waiting).await.unwrap().unwrap().sequence, taken);
}

#[tokio::test]
async fn an_overloaded_broker_gets_everything_in_the_end() {
    let node = Config { publish_window_bytes: 3_000, ..Config::default() };
    let broker = Broker::with(Setup { node, ..Setup::default() }).await;
    let client = connect(&broker, 1).await;
    let mut events = client.subscribe(SubscribeOptions::new(at(OPEN))).await.unwrap();
    // The broker's acks of `accepted` come before it frees its window, so it is overrun again and again.
    let config = PublishConfig {
        ack: AckLevel::Durable.into(),
        batch_events_max: 20,
        overload_backoff: Duration::from_millis(1),
        ..PublishConfig::default()
    };
    let publisher = client.publisher_with(at(OPEN), config).unwrap();
    broker.pause(true);
    for n in 0..2_000 {
        publisher.publish(numbered(n)).await.unwrap();
    }
    broker.pause(false);
    soon(publisher.flush()).await.unwrap();
    assert_eq!(numbers(&mut events, 2_000).await, (0..2_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn acked_batches_that_a_crash_lost_are_sent_again() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    let publisher = client.publisher(at(OPEN)).unwrap();
    for n in 0..20 {
        soon(publisher.publish(numbered(n)).await.unwrap()).await.unwrap();
    }
    broker.crash(7).await;
    assert_eq!(broker.stored().await, 13);
    client.reconnect();
    for n in 20..25 {
        soon(publisher.publish(numbered(n)).await.unwrap()).await.unwrap();
    }
    let resend = client.resend(ResendOptions::new(at(OPEN), ResendRange::From(0))).await.unwrap();
    assert_eq!(all_numbers(resend).await, (0..25).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_broker_that_lost_more_than_is_kept_is_told_as_an_error() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    let forgetful = PublishConfig { retained_bytes_max: 0, ..PublishConfig::default() };
    let publisher = client.publisher_with(at(OPEN), forgetful).unwrap();
    for n in 0..3 {
        soon(publisher.publish(numbered(n)).await.unwrap()).await.unwrap();
    }
    broker.crash(1).await;
    client.reconnect();
    let error = soon(publisher.publish(numbered(3)).await.unwrap()).await.unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::SeriesStopped, Some(Code::SeriesGap)));
    assert!(publisher.publish(numbered(4)).await.is_err());
}

const HOUR_MS: i64 = 3_600_000;

/// Event `n`, an hour later by its own and the broker's clock.
fn later(n: u64) -> NewEvent {
    NewEvent::binary(now_ms() + HOUR_MS, n.to_be_bytes().to_vec().into())
}

/// Publishes events 0..8 now and 8..10 in an hour, each alone; then a crash loses the last `lost`.
async fn publish_slowly(broker: &Broker, client: &Client, lost: usize) -> mainstem_client::Publisher {
    let publisher = client.publisher(at(OPEN)).unwrap();
    for n in 0..8 {
        soon(publisher.publish(numbered(n)).await.unwrap()).await.unwrap();
    }
    broker.set_ahead(HOUR_MS);
    for n in 8..10 {
        soon(publisher.publish(later(n)).await.unwrap()).await.unwrap();
    }
    broker.crash(lost).await;
    client.reconnect();
    publisher
}

#[tokio::test]
async fn a_slow_publisher_outlives_a_crash_that_lost_its_last_batch_only() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    let publisher = publish_slowly(&broker, &client, 1).await;
    for n in 10..12 {
        soon(publisher.publish(later(n)).await.unwrap()).await.unwrap();
    }
    soon(publisher.flush()).await.unwrap();
    let resend = client.resend(ResendOptions::new(at(OPEN), ResendRange::From(0))).await.unwrap();
    assert_eq!(all_numbers(resend).await, (0..12).collect::<Vec<_>>());
}

#[tokio::test]
async fn acked_events_too_old_to_be_sent_again_are_told_and_the_publisher_goes_on() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    // Event 7 is gone, and an hour old.
    let publisher = publish_slowly(&broker, &client, 3).await;
    let first = soon(publisher.publish(later(10)).await.unwrap()).await.unwrap();
    let error = soon(publisher.flush()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidTimestamp);
    soon(publisher.flush()).await.unwrap();
    let second = soon(publisher.publish(later(11)).await.unwrap()).await.unwrap();
    assert_eq!(first.series, second.series);
    let resend = client.resend(ResendOptions::new(at(OPEN), ResendRange::From(0))).await.unwrap();
    assert_eq!(all_numbers(resend).await, [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11]);
}

#[tokio::test]
async fn a_batch_that_was_delayed_beyond_the_window_fails_alone() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    let publisher = client.publisher(at(OPEN)).unwrap();
    soon(publisher.publish(numbered(0)).await.unwrap()).await.unwrap();
    broker.pause(true);
    let delayed = publisher.publish(numbered(1)).await.unwrap();
    let behind = publisher.publish(later(2)).await.unwrap();
    broker.set_ahead(HOUR_MS);
    broker.pause(false);
    assert_eq!(soon(delayed).await.unwrap_err().kind, ErrorKind::InvalidTimestamp);
    let published = soon(behind).await.unwrap();
    assert_eq!(soon(publisher.flush()).await.unwrap_err().kind, ErrorKind::InvalidTimestamp);
    let next = soon(publisher.publish(later(3)).await.unwrap()).await.unwrap();
    assert_eq!((published.sequence, next.sequence), (0, 1));
    assert_eq!(published.series, next.series);
    let resend = client.resend(ResendOptions::new(at(OPEN), ResendRange::From(0))).await.unwrap();
    assert_eq!(all_numbers(resend).await, [0, 2, 3]);
}

#[tokio::test]
async fn time_that_goes_back_begins_another_series() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    let publisher = client.publisher(at(OPEN)).unwrap();
    let now = now_ms();
    let mut series = BTreeSet::new();
    for offset in [0, 10, -1_000, -999, -2_000] {
        let event = NewEvent::binary(now + offset, vec![1].into());
        series.insert(soon(publisher.publish(event).await.unwrap()).await.unwrap().series);
    }
    assert_eq!(series.len(), 3);
}

#[tokio::test]
async fn a_session_key_publishes_in_its_wallets_name() {
    let broker = Broker::start().await;
    let (wallet, session) = (key(1), key(77));
    let delegation =
        Delegation::sign(&NETWORK, &wallet, session.address(), vec![CLOSED], Grant::FOREVER).unwrap();
    let mut config = config(&broker, 1);
    let alice = Client::connect(config.clone()).await.unwrap();
    let mut events = alice.subscribe(SubscribeOptions::new(at(CLOSED))).await.unwrap();
    config.identity = Identity::Session { key: session.clone(), delegation: delegation.clone() };
    let client = Client::connect(config.clone()).await.unwrap();
    assert_eq!(client.address(), Some(wallet.address()));
    soon(client.publish(at(CLOSED), "hi", PublishOptions::default()).await.unwrap()).await.unwrap();
    assert_eq!(next(&mut events).await.origin(), Origin::ethereum(wallet.address()));
    // It is not for other streams.
    let refused = client.publish(at(OPEN), "hi", PublishOptions::default()).await.unwrap().await;
    assert_eq!(refused.unwrap_err().kind, ErrorKind::InvalidSignature);
    // And not for other keys.
    config.identity = Identity::Session { key: key(78), delegation };
    assert_eq!(Client::connect(config).await.unwrap_err().kind, ErrorKind::InvalidSignature);
}

#[tokio::test]
async fn keys_choose_partitions_as_streamrs_do() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    let publisher = client.publisher(PublishTarget::Keyed { stream: OPEN, partitions: 4 }).unwrap();
    for text in ["a", "b", "device-7", ""] {
        let key = PartitionKey::Text(text.into());
        let published = publisher.publish_keyed(numbered(0), &key).await.unwrap().await.unwrap();
        assert_eq!(published.stream_partition.partition, Partition::of_key(&key, 4));
    }
    // Without a key, always the same.
    let first = publisher.publish(numbered(0)).await.unwrap().await.unwrap().stream_partition;
    for _ in 0..5 {
        assert_eq!(publisher.publish(numbered(0)).await.unwrap().await.unwrap().stream_partition, first);
    }
    assert!(client.publisher(PublishTarget::Keyed { stream: OPEN, partitions: 101 }).is_err());
}

#[tokio::test]
async fn without_a_key_nothing_is_published_and_without_a_chain_nothing_looked_up() {
    let broker = Broker::start().await;
    let mut config = config(&broker, 1);
    config.identity = Identity::None;
    let client = Client::connect(config).await.unwrap();
    assert_eq!(client.address(), None::<Address>);
    assert_eq!(client.publisher(at(OPEN)).unwrap_err().kind, ErrorKind::NotConfigured);
    let looked_up = client.publish(OPEN, "x", PublishOptions::default()).await;
    assert_eq!(looked_up.unwrap_err().kind, ErrorKind::NotConfigured);
}

#[tokio::test]
async fn closing_fails_what_is_not_acked_and_dropping_a_publisher_sends_what_is_left() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    let mut events = client.subscribe(SubscribeOptions::new(at(OPEN))).await.unwrap();
    let publisher = client.publisher(at(OPEN)).unwrap();
    for n in 0..10 {
        publisher.publish(numbered(n)).await.unwrap();
    }
    drop(publisher);
    assert_eq!(numbers(&mut events, 10).await, (0..10).collect::<Vec<_>>());
    let publisher = client.publisher(at(OPEN)).unwrap();
    broker.pause(true);
    let receipt = publisher.publish(numbered(10)).await.unwrap();
    soon(client.close()).await;
    assert_eq!(soon(receipt).await.unwrap_err().kind, ErrorKind::ClientClosed);
    assert_eq!(publisher.publish(numbered(11)).await.unwrap_err().kind, ErrorKind::ClientClosed);
    assert_eq!(client.publisher(at(OPEN)).unwrap_err().kind, ErrorKind::ClientClosed);
}
