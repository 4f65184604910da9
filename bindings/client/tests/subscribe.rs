//! History, live events, cursors, filters.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    reason = "a test that cannot go on panics, and prints its seed"
)]

mod support;

use mainstem_client::{
    Client, Delivery, ErrorKind, Partitions, PublishConfig, ResendOptions, ResendRange, Start,
    SubscribeOptions,
};
use mainstem_model::{Address, Cursor, Grant, NewEvent, RegistryChange};
use std::collections::BTreeMap;
use support::{
    ABSENT, ALL, Broker, CLOSED, OPEN, all_numbers, at, config, connect, key, next, notice, now_ms, number,
    numbered, numbers, part, soon,
};

/// Publishes numbered events in batches of ten.
async fn publish(client: &Client, partition: u16, numbers: std::ops::Range<u64>) {
    let config = PublishConfig { batch_events_max: 10, ..PublishConfig::default() };
    let publisher = client.publisher_with(part(OPEN, partition), config).unwrap();
    for n in numbers {
        publisher.publish(numbered(n)).await.unwrap();
    }
    soon(publisher.flush()).await.unwrap();
}

#[tokio::test]
async fn the_last_events_come_first_and_then_live_ones() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    publish(&client, 0, 0..95).await;
    let options = SubscribeOptions::new(at(OPEN)).start(Start::Last(13));
    let mut events = client.subscribe(options).await.unwrap();
    assert_eq!(numbers(&mut events, 13).await, (82..95).collect::<Vec<_>>());
    assert!(matches!(notice(&mut events).await, Delivery::CaughtUp { at: found } if found == at(OPEN)));
    publish(&client, 0, 95..120).await;
    assert_eq!(numbers(&mut events, 25).await, (95..120).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_resend_ends_with_its_count() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    publish(&client, 0, 0..95).await;
    for (count, first) in [(0, 95), (1, 94), (50, 45), (1_000, 0)] {
        let resend = client.resend(ResendOptions::new(at(OPEN), ResendRange::Last(count))).await.unwrap();
        assert_eq!(all_numbers(resend).await, (first..95).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_resend_of_the_last_events_that_is_interrupted_brings_no_more() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    let one_by_one = PublishConfig { batch_events_max: 7, ..PublishConfig::default() };
    let publisher = client.publisher_with(at(OPEN), one_by_one).unwrap();
    let large = |n: u64| {
        let mut content = n.to_be_bytes().to_vec();
        content.resize(20_000, 0);
        NewEvent::binary(now_ms(), content.into())
    };
    for n in 0..60 {
        publisher.publish(large(n)).await.unwrap();
    }
    soon(publisher.flush()).await.unwrap();
    let mut config = config(&broker, 1);
    config.subscribe.queue_bytes_max = 1;
    config.subscribe.unproven_bytes_max = 1;
    config.transport.stream_window_bytes = 32_000;
    let reader = Client::connect(config).await.unwrap();
    let mut resend = reader.resend(ResendOptions::new(at(OPEN), ResendRange::Last(50))).await.unwrap();
    assert_eq!(numbers(&mut resend, 3).await, [10, 11, 12]);
    for n in 60..65 {
        publisher.publish(large(n)).await.unwrap();
    }
    soon(publisher.flush()).await.unwrap();
    reader.reconnect();
    let mut rest = Vec::new();
    while let Some(event) = soon(resend.next()).await {
        rest.push(number(&event.unwrap()));
    }
    assert_eq!(rest, (13..60).collect::<Vec<_>>());
    let completion = resend.completion().unwrap();
    assert!(completion.complete && completion.events == 50, "{completion:?}");
}

#[tokio::test]
async fn a_range_of_time_holds_events_of_that_time_only() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    let start = now_ms();
    let config = PublishConfig { batch_events_max: 10, ..PublishConfig::default() };
    let publisher = client.publisher_with(at(OPEN), config).unwrap();
    for n in 0..100_u64 {
        publisher.publish(NewEvent::binary(start + n as i64, n.to_be_bytes().to_vec().into())).await.unwrap();
    }
    soon(publisher.flush()).await.unwrap();
    for (from, to) in [(0, 99), (5, 5), (33, 71), (98, 300), (200, 300)] {
        let range = ResendRange::Range { from: start + from, to: start + to };
        let resend = client.resend(ResendOptions::new(at(OPEN), range)).await.unwrap();
        let expected: Vec<u64> = (0..100).filter(|n| (from..=to).contains(&(*n as i64))).collect();
        assert_eq!(all_numbers(resend).await, expected, "{from} to {to}");
    }
    let resend = client.resend(ResendOptions::new(at(OPEN), ResendRange::From(start + 55))).await.unwrap();
    assert_eq!(all_numbers(resend).await, (55..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_cursor_in_the_middle_of_a_batch_goes_on_behind_its_event() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    publish(&client, 0, 0..60).await;
    let mut events = client.subscribe(SubscribeOptions::new(at(OPEN)).start(Start::From(0))).await.unwrap();
    let mut cursors: Vec<(u64, Cursor)> = Vec::new();
    for _ in 0..60 {
        let event = next(&mut events).await;
        cursors.push((number(&event), event.cursor()));
    }
    drop(events);
    publish(&client, 0, 60..70).await;
    for (n, cursor) in cursors {
        let options = SubscribeOptions::new(at(OPEN)).start(Start::Cursor(cursor));
        let mut events = client.subscribe(options).await.unwrap();
        assert_eq!(number(&next(&mut events).await), n + 1);
        let resend = client.resend(ResendOptions::new(at(OPEN), ResendRange::Cursor(cursor))).await.unwrap();
        assert_eq!(all_numbers(resend).await, (n + 1..70).collect::<Vec<_>>(), "behind {n}");
    }
}

#[tokio::test]
async fn several_partitions_come_together_and_resume_by_their_cursors() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    let all = Partitions::Some((0..4).map(|n| part(OPEN, n)).collect());
    let options = SubscribeOptions::new(all.clone());
    let mut events = client.subscribe(options.clone()).await.unwrap();
    for n in 0..4 {
        publish(&client, n, 0..30).await;
    }
    let mut got: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for _ in 0..50 {
        let event = next(&mut events).await;
        got.entry(event.stream_partition()).or_default().push(number(&event));
    }
    let start = Start::Cursors(events.cursors());
    drop(events);
    let mut events = client.subscribe(options.start(start)).await.unwrap();
    for _ in 0..70 {
        let event = next(&mut events).await;
        got.entry(event.stream_partition()).or_default().push(number(&event));
    }
    assert_eq!(got.len(), 4);
    for numbers in got.values() {
        assert_eq!(*numbers, (0..30).collect::<Vec<_>>());
    }
    let resend = client.resend(ResendOptions::new(all, ResendRange::Last(5))).await.unwrap();
    assert_eq!(all_numbers(resend).await.len(), 20);
}

#[tokio::test]
async fn only_the_asked_for_origin_comes() {
    let broker = Broker::start().await;
    let (alice, bob) = (connect(&broker, 1).await, connect(&broker, 2).await);
    for n in 0..5 {
        publish(&alice, 0, 10 * n..10 * n + 5).await;
        publish(&bob, 0, 10 * n + 5..10 * n + 10).await;
    }
    let mut options = ResendOptions::new(at(OPEN), ResendRange::From(0));
    options.origin = Some(key(2).address());
    let resend = alice.resend(options).await.unwrap();
    let expected: Vec<u64> = (0..50).filter(|n| n % 10 >= 5).collect();
    assert_eq!(all_numbers(resend).await, expected);
}

#[tokio::test]
async fn batches_and_events_can_be_taken_in_turn() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    publish(&client, 0, 0..40).await;
    let mut resend = client.resend(ResendOptions::new(at(OPEN), ResendRange::From(0))).await.unwrap();
    let mut got = Vec::new();
    for turn in 0.. {
        if turn % 2 == 0 {
            let Some(event) = soon(resend.next()).await else { break };
            let event = event.unwrap();
            assert!(event.proof().is_some());
            got.push(number(&event));
        } else {
            let Some(batch) = soon(resend.next_batch()).await else { break };
            let batch = batch.unwrap();
            for (index, event) in batch.events() {
                assert_eq!(batch.content(index).unwrap(), event.content);
                got.push(u64::from_be_bytes(event.content.try_into().unwrap()));
            }
            assert_eq!(batch.len(), batch.events().count());
        }
    }
    assert_eq!(got, (0..40).collect::<Vec<_>>());
}

#[tokio::test]
async fn refusals_come_out_of_subscribe() {
    let broker = Broker::start().await;
    let bob = connect(&broker, 2).await;
    for (what, kind) in [
        (at(CLOSED), ErrorKind::MissingPermission),
        (at(ABSENT), ErrorKind::StreamNotFound),
        (part(OPEN, 4), ErrorKind::InvalidPartition),
    ] {
        assert_eq!(bob.subscribe(SubscribeOptions::new(what)).await.unwrap_err().kind, kind);
    }
    let nobody = {
        let mut config = config(&broker, 1);
        config.identity = mainstem_client::Identity::None;
        Client::connect(config).await.unwrap()
    };
    assert_eq!(
        nobody.subscribe(SubscribeOptions::new(at(CLOSED))).await.unwrap_err().kind,
        ErrorKind::MissingPermission
    );
    nobody.subscribe(SubscribeOptions::new(at(OPEN))).await.unwrap();
    let none = bob.subscribe(SubscribeOptions::new(Vec::new())).await;
    assert_eq!(none.unwrap_err().kind, ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn a_right_that_is_taken_ends_the_subscription() {
    let broker = Broker::start().await;
    let bob = connect(&broker, 2).await;
    broker.apply(RegistryChange::Grant(CLOSED, key(2).address(), ALL));
    let mut events = loop {
        // The grant goes its own way to the broker.
        match bob.subscribe(SubscribeOptions::new(at(CLOSED))).await {
            Ok(events) => break events,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    broker.apply(RegistryChange::Grant(CLOSED, key(2).address(), Grant::NONE));
    let error = soon(events.next()).await.unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::MissingPermission);
    assert!(soon(events.next()).await.is_none());
}

#[tokio::test]
async fn a_cursor_of_another_store_is_refused_by_name() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    let cursor = Cursor::Arrival { log: 99, position: 0, skip: 0 };
    let resend = client.resend(ResendOptions::new(at(OPEN), ResendRange::Cursor(cursor))).await;
    let error = match resend {
        Ok(mut resend) => soon(resend.next()).await.unwrap().unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind, ErrorKind::InvalidCursor);
}

#[tokio::test]
async fn an_ended_subscription_is_forgotten_by_the_broker() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    // The broker allows 1,000 of one session at a time.
    for round in 0..1_200 {
        let events = client.subscribe(SubscribeOptions::new(at(OPEN))).await.unwrap();
        if round % 2 == 0 {
            soon(events.unsubscribe()).await;
        }
    }
    assert_eq!(client.node(), Address([9; 20]));
}
