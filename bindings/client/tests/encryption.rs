//! Sealed events, against the real state machine: who has the key reads them, all others get them sealed and named.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use mainstem_client::{Client, Closed, ErrorKind, Event, ResendOptions, ResendRange, StreamKeys};
use mainstem_model::{
    ContentKey, ContentType, EncryptionType, KeyId, NewEvent, limits, sealed_content, split_sealed,
};
use support::{Broker, OPEN, at, config, connect, now_ms, numbered, soon};

const AES: EncryptionType = EncryptionType::AES_256_GCM;
const CANARY: &[u8] = b"the canary sings at noon";

fn key(byte: u8) -> ContentKey {
    ContentKey::new(KeyId([byte; 16]), AES, vec![byte; 32])
}

async fn client(broker: &Broker, keys: StreamKeys) -> Client {
    let mut config = config(broker, 1);
    config.encryption.streams.insert(OPEN, keys);
    Client::connect(config).await.unwrap()
}

async fn all(client: &Client) -> Vec<Event> {
    let mut past = client.resend(ResendOptions::new(at(OPEN), ResendRange::From(0))).await.unwrap();
    let mut events = Vec::new();
    while let Some(event) = soon(past.next()).await {
        events.push(event.unwrap());
    }
    events
}

fn canary() -> NewEvent {
    NewEvent::binary(now_ms(), CANARY.into())
}

#[tokio::test]
async fn who_has_the_key_reads_and_who_has_not_gets_the_event_sealed_and_named() {
    let broker = Broker::start().await;
    let publisher = client(&broker, StreamKeys::one(key(7))).await;
    let lane = publisher.publisher(at(OPEN)).unwrap();
    for _ in 0..300 {
        lane.publish(canary()).await.unwrap();
    }
    soon(lane.flush()).await.unwrap();
    let opened = all(&publisher).await;
    assert_eq!(opened.len(), 300);
    for event in &opened {
        assert_eq!((&event.content()[..], event.closed()), (CANARY, None));
        assert_eq!((event.encryption_type(), event.content_key()), (AES, Some(KeyId([7; 16]))));
    }
    // A key of another id, and one of the same id that is another.
    let wrong = ContentKey::new(KeyId([7; 16]), AES, vec![8; 32]);
    for (keys, expected) in [
        (StreamKeys::default(), Closed::MissingKey(AES, KeyId([7; 16]))),
        (StreamKeys::one(key(8)), Closed::MissingKey(AES, KeyId([7; 16]))),
        (StreamKeys::one(wrong), Closed::Forged(AES, KeyId([7; 16]))),
    ] {
        let events = all(&client(&broker, keys).await).await;
        assert_eq!(events.len(), 300);
        for event in events {
            assert_eq!(event.closed(), Some(&expected));
            assert_eq!(split_sealed(event.content()).map(|(id, _)| id), Some(KeyId([7; 16])));
            assert!(!event.content().windows(CANARY.len()).any(|window| window == CANARY));
        }
    }
}

#[tokio::test]
async fn what_does_not_open_ends_no_subscription_and_hides_no_event() {
    let broker = Broker::start().await;
    let lane = connect(&broker, 1).await.publisher(at(OPEN)).unwrap();
    let sealed = |of, content: Vec<u8>| NewEvent {
        timestamp: now_ms(),
        content_type: ContentType::BINARY,
        encryption_type: EncryptionType(of),
        content: content.into(),
    };
    for event in [
        numbered(1),
        sealed(17, vec![1; 80]),
        sealed(1, vec![1; 15]),
        sealed(1, sealed_content(KeyId([7; 16]), &[])),
        sealed(1, sealed_content(KeyId([7; 16]), &[1; 60])),
        numbered(2),
    ] {
        lane.publish(event).await.unwrap();
    }
    soon(lane.flush()).await.unwrap();
    let events = all(&client(&broker, StreamKeys::one(key(7))).await).await;
    let closed: Vec<_> = events.iter().map(|event| event.closed().cloned()).collect();
    let expected = [
        None,
        Some(Closed::UnknownType(EncryptionType(17))),
        Some(Closed::Malformed(AES)),
        Some(Closed::Malformed(AES)),
        Some(Closed::Forged(AES, KeyId([7; 16]))),
        None,
    ];
    assert_eq!(closed, expected);
    let named = events[1].closed().unwrap().to_string();
    assert!(named.contains("encryption type 17") && named.contains("mainstem plugin install"), "{named}");
}

#[tokio::test]
async fn what_cannot_be_sealed_is_refused_at_the_start_and_never_goes_out_in_the_clear() {
    let broker = Broker::start().await;
    for (keys, kind) in [
        (StreamKeys { keys: vec![key(7)], publish: Some(KeyId([8; 16])) }, ErrorKind::InvalidArgument),
        (StreamKeys { keys: vec![key(7), key(7)], publish: None }, ErrorKind::InvalidArgument),
        (StreamKeys::one(ContentKey::new(KeyId([7; 16]), AES, vec![7; 31])), ErrorKind::InvalidArgument),
        (
            StreamKeys::one(ContentKey::new(KeyId([7; 16]), EncryptionType(17), vec![7; 32])),
            ErrorKind::NotConfigured,
        ),
    ] {
        let mut config = config(&broker, 1);
        config.encryption.streams.insert(OPEN, keys);
        assert_eq!(Client::connect(config).await.unwrap_err().kind, kind);
    }
    let client = client(&broker, StreamKeys::one(key(7))).await;
    let lane = client.publisher(at(OPEN)).unwrap();
    let most = limits::CONTENT_BYTES_MAX - KeyId::LENGTH - limits::SEAL_BYTES_MAX;
    let error = lane.publish(NewEvent::binary(now_ms(), vec![0; most + 1].into())).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooLarge);
    lane.publish(NewEvent::binary(now_ms(), vec![3; most].into())).await.unwrap();
    soon(lane.flush()).await.unwrap();
    assert_eq!(all(&client).await[0].content().len(), most);
}
