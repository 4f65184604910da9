//! A broker that alters, drops, doubles, moves or invents what it delivers.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    reason = "a test that cannot go on panics, and prints its seed"
)]

mod support;

use bytes::Bytes;
use mainstem_client::{
    Client, Delivery, ErrorKind, PublishConfig, ResendOptions, ResendRange, Start, SubscribeOptions,
    Subscription,
};
use mainstem_model::{Cursor, SeriesId, SeriesWriter, Signer};
use mainstem_protocol::{ServerMessage, SubscriptionId};
use support::{
    Broker, NETWORK, OPEN, at, config, connect, key, number, numbered, numbers, part, soon, trouble,
};

/// Batches of five events each.
async fn publish(client: &Client, numbers: std::ops::Range<u64>) {
    let config = PublishConfig { batch_events_max: 5, ..PublishConfig::default() };
    let publisher = client.publisher_with(at(OPEN), config).unwrap();
    for n in numbers {
        publisher.publish(numbered(n)).await.unwrap();
    }
    soon(publisher.flush()).await.unwrap();
}

type Delivered = (SubscriptionId, Cursor, i64, Bytes);

/// Changes deliveries only; `count` is how many came before.
fn deliveries(broker: &Broker, mut change: impl FnMut(usize, Delivered) -> Vec<Delivered> + Send + 'static) {
    let mut count = 0;
    broker.tamper(move |message| match message {
        ServerMessage::Deliver { subscription, cursor, received_at, batch } => {
            let changed = change(count, (subscription, cursor, received_at, batch));
            count += 1;
            let deliver = |(subscription, cursor, received_at, batch)| ServerMessage::Deliver {
                subscription,
                cursor,
                received_at,
                batch,
            };
            changed.into_iter().map(deliver).collect()
        }
        other => vec![other],
    });
}

fn flip(batch: &Bytes, at: usize) -> Bytes {
    let mut bytes = batch.to_vec();
    bytes[at] ^= 1;
    bytes.into()
}

async fn live(broker: &Broker) -> (Client, Subscription) {
    let client = connect(broker, 1).await;
    let events = client.subscribe(SubscribeOptions::new(at(OPEN))).await.unwrap();
    (client, events)
}

#[tokio::test]
async fn an_altered_batch_is_rejected_and_fetched_again() {
    let broker = Broker::start().await;
    let (client, mut events) = live(&broker).await;
    deliveries(&broker, |count, mut delivered| {
        if count == 3 {
            let last = delivered.3.len() - 1;
            delivered.3 = flip(&delivered.3, last);
        }
        vec![delivered]
    });
    publish(&client, 0..40).await;
    let mut got = Vec::new();
    let mut rejected = Vec::new();
    while got.len() < 40 {
        match soon(events.next()).await.unwrap() {
            Ok(event) => got.push(number(&event)),
            Err(error) => rejected.push(error.kind),
        }
    }
    assert_eq!(got, (0..40).collect::<Vec<_>>());
    assert!(
        matches!(rejected[..], [ErrorKind::InvalidSignature | ErrorKind::InvalidMessage]),
        "{rejected:?}"
    );
}

#[tokio::test]
async fn every_kind_of_damage_to_a_batch_is_seen() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    publish(&client, 0..5).await;
    let total = {
        let mut resend = client.resend(ResendOptions::new(at(OPEN), ResendRange::From(0))).await.unwrap();
        soon(resend.next_batch()).await.unwrap().unwrap().batch().bytes().len()
    };
    for place in (0..total).step_by(13) {
        deliveries(&broker, move |_, mut delivered| {
            if place < delivered.3.len() {
                delivered.3 = flip(&delivered.3, place);
            }
            vec![delivered]
        });
        let mut config = config(&broker, 2);
        config.subscribe.bad_batches_max = 0;
        let victim = Client::connect(config).await.unwrap();
        let mut resend = victim.resend(ResendOptions::new(at(OPEN), ResendRange::Last(1))).await.unwrap();
        let error = soon(resend.next()).await.unwrap().unwrap_err();
        assert!(
            matches!(
                error.kind,
                ErrorKind::InvalidSignature
                    | ErrorKind::InvalidMessage
                    | ErrorKind::InvalidTimestamp
                    | ErrorKind::InvalidPartition
                    | ErrorKind::WrongNetwork
                    | ErrorKind::TooLarge
            ),
            "{place}: {error}"
        );
    }
}

#[tokio::test]
async fn a_broker_that_only_lies_is_left_in_the_end() {
    let broker = Broker::start().await;
    let (client, mut events) = live(&broker).await;
    deliveries(&broker, |_, mut delivered| {
        delivered.3 = flip(&delivered.3, 300);
        vec![delivered]
    });
    publish(&client, 0..5).await;
    let mut errors = 0;
    while let Some(event) = soon(events.next()).await {
        assert!(event.is_err());
        errors += 1;
    }
    assert_eq!(errors, 4);
}

#[tokio::test]
async fn a_dropped_batch_is_missed_and_fetched() {
    let broker = Broker::start().await;
    let (client, mut events) = live(&broker).await;
    let mut dropped = Vec::new();
    deliveries(&broker, move |count, delivered| {
        // Each only once: when asked again, the broker has it.
        if count % 5 == 2 && !dropped.contains(&delivered.3) {
            dropped.push(delivered.3);
            return vec![];
        }
        vec![delivered]
    });
    publish(&client, 0..100).await;
    broker.be_honest();
    publish(&client, 100..105).await;
    let got = numbers(&mut events, 95).await;
    assert_eq!(got, (0..95).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_gap_larger_than_the_queue_of_a_socket_is_filled_all_the_same() {
    let broker = Broker::start().await;
    let mut config = config(&broker, 1);
    config.broker = broker.web_socket();
    config.subscribe.queue_bytes_max = 5_000;
    let client = Client::connect(config).await.unwrap();
    let publisher = connect(&broker, 1).await;
    let mut events = client.subscribe(SubscribeOptions::new(at(OPEN))).await.unwrap();
    let mut dropped = 0;
    deliveries(&broker, move |_, delivered| {
        dropped += 1;
        if (3..=200).contains(&dropped) { vec![] } else { vec![delivered] }
    });
    publish(&publisher, 0..1_020).await;
    assert_eq!(numbers(&mut events, 1_020).await, (0..1_020).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_batch_that_is_withheld_for_good_is_told_as_a_gap() {
    let broker = Broker::start().await;
    let (client, mut events) = live(&broker).await;
    let mut third = None;
    let mut seen = 0;
    deliveries(&broker, move |_, delivered| {
        if seen == 2 && third.is_none() {
            third = Some(delivered.3.clone());
        }
        seen += 1;
        if third.as_ref() == Some(&delivered.3) { vec![] } else { vec![delivered] }
    });
    publish(&client, 0..50).await;
    let Delivery::Gap(gap) = trouble(&mut events).await else { panic!("no gap") };
    assert_eq!(gap.at, at(OPEN));
    assert!(gap.from < gap.to && gap.to - gap.from <= 5, "{gap:?}");
    assert_eq!(number(&support::next(&mut events).await), gap.to);
}

#[tokio::test]
async fn doubled_and_moved_batches_come_once_and_in_order() {
    let broker = Broker::start().await;
    let (client, mut events) = live(&broker).await;
    let mut held = None;
    deliveries(&broker, move |count, delivered| match count % 4 {
        // Doubled.
        0 => vec![delivered.clone(), delivered],
        // Held back behind the next one.
        1 => {
            held = Some(delivered);
            vec![]
        }
        2 => [Some(delivered), held.take()].into_iter().flatten().collect(),
        _ => vec![delivered],
    });
    publish(&client, 0..200).await;
    broker.be_honest();
    publish(&client, 1_000..1_005).await;
    assert_eq!(numbers(&mut events, 200).await, (0..200).collect::<Vec<_>>());
    assert_eq!(numbers(&mut events, 5).await, (1_000..1_005).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_batch_of_another_partition_or_origin_is_rejected() {
    let broker = Broker::start().await;
    let mut elsewhere = SeriesWriter::new(NETWORK, part(OPEN, 1), Signer::wallet(key(1)), SeriesId(1));
    let mut here = SeriesWriter::new(NETWORK, at(OPEN), Signer::wallet(key(5)), SeriesId(2));
    let strangers = [elsewhere.seal(&[numbered(1)]).unwrap(), here.seal(&[numbered(1)]).unwrap()];
    for stranger in strangers {
        let client = connect(&broker, 1).await;
        let options = SubscribeOptions::new(at(OPEN)).origin(key(1).address());
        let mut events = client.subscribe(options).await.unwrap();
        let bytes = stranger.bytes().clone();
        deliveries(&broker, move |count, delivered| {
            let (subscription, cursor, received_at, _) = delivered.clone();
            if count == 0 {
                vec![(subscription, cursor, received_at, bytes.clone()), delivered]
            } else {
                vec![delivered]
            }
        });
        publish(&client, 0..5).await;
        assert!(matches!(
            trouble(&mut events).await,
            Delivery::Rejected { error, .. } if error.kind == ErrorKind::InvalidMessage
        ));
        assert_eq!(numbers(&mut events, 5).await, (0..5).collect::<Vec<_>>());
        broker.be_honest();
    }
}

#[tokio::test]
async fn a_truncated_past_is_seen_by_its_count() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    publish(&client, 0..50).await;
    deliveries(&broker, |count, delivered| if count < 3 { vec![] } else { vec![delivered] });
    let options = SubscribeOptions::new(at(OPEN)).start(Start::From(0));
    let mut events = client.subscribe(options).await.unwrap();
    let mut rejected = 0;
    let mut got = Vec::new();
    while got.last() != Some(&49) || rejected == 0 {
        match soon(events.next()).await.unwrap() {
            Ok(event) => got.push(number(&event)),
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Gap);
                rejected += 1;
            }
        }
    }
    assert!(got.len() < 50);
}

#[tokio::test]
async fn two_branches_of_a_series_are_told_apart() {
    let broker = Broker::start().await;
    let (client, mut events) = live(&broker).await;
    // Somebody signs twice for one place, and the broker delivers both.
    let writer = || SeriesWriter::new(NETWORK, at(OPEN), Signer::wallet(key(5)), SeriesId(1));
    let (mut one, mut other) = (writer(), writer());
    let batches = [
        one.seal(&[numbered(500)]).unwrap(),
        other.seal(&[numbered(600)]).unwrap(),
        other.seal(&[numbered(601)]).unwrap(),
        one.seal(&[numbered(501)]).unwrap(),
    ];
    let (first, second) = (batches[0].id(), batches[1].id());
    deliveries(&broker, move |count, delivered| {
        let (subscription, cursor, received_at, _) = delivered.clone();
        if count > 0 {
            return vec![delivered];
        }
        let forged = batches.iter().map(|batch| (subscription, cursor, received_at, batch.bytes().clone()));
        forged.chain([delivered.clone()]).collect()
    });
    publish(&client, 0..5).await;
    let mut got = Vec::new();
    let mut forks = Vec::new();
    while got.len() < 7 {
        match soon(events.next_delivery()).await.unwrap().unwrap() {
            Delivery::Batch(batch) => {
                got.extend(batch.events().map(|(_, e)| u64::from_be_bytes(e.content.try_into().unwrap())));
            }
            Delivery::Fork(fork) => forks.push((fork.first, fork.second)),
            Delivery::CaughtUp { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(got, [500, 501, 0, 1, 2, 3, 4]);
    assert_eq!(forks, [(first, second)]);
}

#[tokio::test]
async fn damage_that_the_broker_tells_of_reaches_the_application_and_reading_goes_on() {
    let broker = Broker::start().await;
    let (client, mut events) = live(&broker).await;
    let mut told = false;
    // As a broker does that meets damage while the reader is behind: told with what is around it, the past goes on.
    broker.tamper(move |message| match message {
        ServerMessage::Deliver { subscription, cursor, .. } if !std::mem::replace(&mut told, true) => {
            let damage = ServerMessage::CaughtUp { subscription, cursor, events: 0, damaged: 3, more: true };
            vec![damage, message]
        }
        other => vec![other],
    });
    publish(&client, 0..5).await;
    let Delivery::Damaged(damage) = trouble(&mut events).await else { panic!("no damage") };
    assert_eq!((damage.at, damage.batches), (at(OPEN), 3));
    for n in 0..5 {
        assert_eq!(number(&soon(events.next()).await.unwrap().unwrap()), n);
    }
}
