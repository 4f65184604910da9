//! The QUIC edge over loopback, with the real state machine behind it.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod support;

use mainstem_api::{QuicConfig, SessionConfig};
use mainstem_model::{
    Ack, AckLevel, Address, Batch, Challenge, Code, Header, Network, NewEvent, SeriesId, SeriesWriter,
    Signer, limits,
};
use mainstem_protocol::Config;
use mainstem_schema::frame_capnp as truth;
use quinn::{ConnectionError, VarInt};
use std::{sync::atomic::Ordering, time::Duration};
use support::{
    NETWORK, NODE, PRIVATE, STREAM, at,
    broker::Broker,
    client::{self, Client, FrameStream},
    event, key, now_ms,
    wire::{self, Told},
    writer,
};

fn refused(told: Told) -> (u64, String) {
    let Told::Refused { request, code, message } = told else { panic!("not refused: {told:?}") };
    assert!(!message.is_empty());
    (request, code)
}

fn code(code: Code) -> String {
    code.as_str().to_owned()
}

async fn publish(client: &mut Client, request: u64, batch: &[u8]) -> Told {
    client.send(&wire::publish(request, truth::AckLevel::Stored), batch).await;
    client.told().await
}

async fn subscribe(client: &mut Client, request: u64, last: Option<u64>) -> FrameStream {
    let head = wire::subscribe(request, |mut subscribe| {
        subscribe.set_stream(STREAM.0.as_bytes());
        subscribe.set_live(true);
        match last {
            None => subscribe.init_start().set_now(()),
            Some(last) => subscribe.init_start().set_last(last),
        }
    });
    client.send(&head, &[]).await;
    assert!(matches!(client.told().await, Told::Subscribed { request: r, .. } if r == request));
    client.deliveries().await
}

#[tokio::test]
async fn the_hello_says_what_to_sign_and_a_right_answer_signs_in() {
    let broker = Broker::start();
    let (mut client, hello) = Client::greeted(&broker).await;
    let audience = format!("quic://{}", hex::encode(broker.pin));
    assert_eq!((hello.node, hello.network, hello.audience.as_str()), (NODE, NETWORK.id(), &*audience));
    assert!((hello.now - now_ms()).abs() < 10_000);
    let (_, other) = Client::greeted(&broker).await;
    assert_ne!(hello.nonce, other.nonce);
    let challenge = Challenge { node: NODE, audience: hello.audience, nonce: hello.nonce };
    let (key, at) = (key(5), now_ms());
    let signature = key.sign(&challenge.digest(at));
    client.send(&wire::sign_in(2, key.address().as_bytes(), at, signature.as_bytes()), &[]).await;
    assert_eq!(client.told().await, Told::SignedIn(2));
}

#[tokio::test]
async fn sign_ins_for_another_connection_audience_time_or_signer_are_refused() {
    let broker = Broker::start();
    let (mut client, hello) = Client::greeted(&broker).await;
    let right = Challenge { node: NODE, audience: hello.audience.clone(), nonce: hello.nonce };
    let now = now_ms();
    let cases = [
        ("nonce", Challenge { nonce: [0; 16], ..right.clone() }, now, key(5).address()),
        (
            "audience",
            Challenge { audience: "https://evil.example".into(), ..right.clone() },
            now,
            key(5).address(),
        ),
        ("node", Challenge { node: Address([7; 20]), ..right.clone() }, now, key(5).address()),
        ("old", right.clone(), now - Challenge::AGE_MS_MAX - 10_000, key(5).address()),
        ("early", right.clone(), now + Challenge::AGE_MS_MAX + 10_000, key(5).address()),
        ("signer", right.clone(), now, key(6).address()),
    ];
    for (request, (what, challenge, at, address)) in (2..).zip(cases) {
        let signature = key(5).sign(&challenge.digest(at));
        client.send(&wire::sign_in(request, address.as_bytes(), at, signature.as_bytes()), &[]).await;
        assert_eq!(refused(client.told().await), (request, code(Code::InvalidSignIn)), "{what}");
    }
    client.send(&wire::sign_in(90, key(5).address().as_bytes(), now, &[1; 64]), &[]).await;
    assert_eq!(refused(client.told().await), (90, code(Code::InvalidSignIn)));
    // The eighth attempt is taken, the ninth ends the connection.
    client.send(&wire::sign_in(91, key(5).address().as_bytes(), now, &[1; 64]), &[]).await;
    assert_eq!(refused(client.told().await), (91, code(Code::InvalidSignIn)));
    client.send(&wire::sign_in(92, key(5).address().as_bytes(), now, &[1; 64]), &[]).await;
    assert_eq!(refused(client.told().await), (0, code(Code::LimitReached)));
    let (number, reason) = client.closed().await;
    assert_eq!(number, 1);
    assert!(reason.starts_with("LIMIT_REACHED: "), "{reason}");
}

#[tokio::test]
async fn a_batch_is_acked_delivered_and_told_to_be_a_duplicate() {
    let broker = Broker::start();
    let (mut publisher, _) = Client::greeted(&broker).await;
    let (mut subscriber, _) = Client::greeted(&broker).await;
    let mut deliveries = subscribe(&mut subscriber, 2, None).await;
    assert!(matches!(deliveries.expect().await, Told::CaughtUp { events: 0, .. }));
    let batch = writer(5, 1).seal(&[event(10), event(20)]).unwrap();
    let ack = |request, duplicate| Told::Ack {
        request,
        batch: batch.id(),
        ack: AckLevel::Stored.into(),
        duplicate,
    };
    assert_eq!(publish(&mut publisher, 2, batch.bytes()).await, ack(2, false));
    assert_eq!(publish(&mut publisher, 3, batch.bytes()).await, ack(3, true));
    let Told::Deliver { batch: bytes, .. } = deliveries.expect().await else { panic!("no delivery") };
    assert_eq!(bytes, *batch.bytes());
}

#[tokio::test]
async fn batches_of_one_client_keep_their_order_while_they_are_proven_side_by_side() {
    let broker = Broker::start();
    let (mut client, _) = Client::greeted(&broker).await;
    let mut series = writer(5, 1);
    // Large and small in turn, so that a later one is often proven first.
    let batches: Vec<Batch> =
        (0..200).map(|n| series.seal(&[event(if n % 2 == 0 { 60_000 } else { 1 })]).unwrap()).collect();
    let mut up = client.up;
    let sender = {
        let batches = batches.clone();
        tokio::spawn(async move {
            for (request, batch) in (2..).zip(&batches) {
                let head = wire::publish(request, truth::AckLevel::Accepted);
                up.write_all(&wire::framed(&head, batch.bytes())).await.unwrap();
            }
            up
        })
    };
    for (request, batch) in (2..).zip(&batches) {
        let told = client.down.expect().await;
        assert!(
            matches!(told, Told::Ack { request: r, batch: b, .. } if r == request && b == batch.id()),
            "{told:?}"
        );
    }
    sender.await.unwrap();
}

#[tokio::test]
async fn every_fault_of_a_batch_is_refused_with_its_code_and_the_connection_stays() {
    let broker = Broker::start();
    let (mut client, _) = Client::greeted(&broker).await;
    let good = writer(5, 1).seal(&[event(10)]).unwrap();
    let with_header = |change: fn(&mut Header)| {
        let mut header = good.header().clone();
        change(&mut header);
        let signature = key(5).sign(&mainstem_crypto::personal_message_digest(&header.id().0));
        Batch::assemble(&header, signature.as_bytes(), &[], &[event_of(&good)]).unwrap().bytes().to_vec()
    };
    let elsewhere = Network { chain_id: 1, ..NETWORK };
    let mut other_network = SeriesWriter::new(elsewhere, at(STREAM), Signer::wallet(key(5)), SeriesId(2));
    let header_byte = |at: usize, value: u8| {
        let mut bytes = good.bytes().to_vec();
        let start = bytes.windows(16).position(|window| window == b"mainstem/batch/1").unwrap();
        bytes[start + at] = value;
        bytes
    };
    let mut not_canonical = good.bytes().to_vec();
    not_canonical.extend_from_slice(&[0; 8]);
    let mut changed_content = good.bytes().to_vec();
    let last = changed_content.iter().rposition(|byte| *byte == 7).unwrap();
    changed_content[last] = 8;
    let mut signature_of_another = good.bytes().to_vec();
    let place = signature_of_another.windows(65).position(|window| window == &good.signature()[..]).unwrap();
    let wrong = key(6).sign(&mainstem_crypto::personal_message_digest(&good.id().0));
    signature_of_another[place..place + 65].copy_from_slice(wrong.as_bytes());
    let mut big_content = writer(5, 3);
    let mut stale = SeriesWriter::new(NETWORK, at(STREAM), Signer::wallet(key(5)), SeriesId(4));
    let mut private = SeriesWriter::new(NETWORK, at(PRIVATE), Signer::wallet(key(5)), SeriesId(5));
    let mut gap = writer(5, 6);
    gap.seal(&[event(1)]).unwrap();
    let cases: Vec<(&str, Vec<u8>, Code)> = vec![
        ("noise", vec![1; 100], Code::MalformedBatch),
        ("empty", vec![], Code::MalformedBatch),
        ("bytes behind", not_canonical, Code::MalformedBatch),
        ("no events", header_byte(121, 0), Code::InvalidEventCount),
        ("partition 100", header_byte(69, 100), Code::InvalidPartition),
        ("another network", other_network.seal(&[event(1)]).unwrap().bytes().to_vec(), Code::WrongNetwork),
        ("signature type 16", header_byte(202, 16), Code::UnknownSignatureType),
        ("origin type 16", header_byte(70, 16), Code::UnknownOriginType),
        ("another's signature", signature_of_another, Code::InvalidSignature),
        ("no delegation", header_byte(202, 2), Code::InvalidDelegation),
        ("a changed content", changed_content, Code::MerkleRootMismatch),
        ("wrong times", with_header(|header| header.timestamp_max += 1), Code::InvalidTimestamp),
        (
            "a content one byte too large",
            oversized(big_content.seal(&[event(limits::CONTENT_BYTES_MAX)]).unwrap()),
            Code::ContentTooLarge,
        ),
        (
            "an old clock",
            stale.seal(&[NewEvent::binary(now_ms() - 3_600_000, vec![1].into())]).unwrap().bytes().to_vec(),
            Code::InvalidTimestamp,
        ),
        ("no right", private.seal(&[event(1)]).unwrap().bytes().to_vec(), Code::MissingPermission),
        ("a gap", gap.seal(&[event(1)]).unwrap().bytes().to_vec(), Code::SeriesGap),
    ];
    for (request, (what, bytes, expected)) in (2..).zip(cases) {
        let told = publish(&mut client, request, &bytes).await;
        assert_eq!(refused(told), (request, code(expected)), "{what}");
    }
    let told = publish(&mut client, 90, good.bytes()).await;
    assert!(matches!(told, Told::Ack { request: 90, .. }), "{told:?}");
}

fn event_of(batch: &Batch) -> NewEvent {
    let event = batch.event(0).unwrap();
    NewEvent {
        timestamp: event.timestamp,
        content_type: event.content_type,
        encryption_type: event.encryption_type,
        content: batch.content(0).unwrap(),
    }
}

/// The same batch with its only content one byte (in fact one word) longer.
fn oversized(batch: Batch) -> Vec<u8> {
    let mut message = capnp::message::Builder::new_default();
    let mut root = message.init_root::<mainstem_schema::batch_capnp::batch::Builder<'_>>();
    root.set_header(&batch.header().encode());
    root.set_signature(batch.signature());
    let mut event = root.init_events(1).get(0);
    event.set_timestamp(batch.event(0).unwrap().timestamp);
    event.set_content(&vec![7; limits::CONTENT_BYTES_MAX + 1]);
    capnp::serialize::write_message_to_words(&message)
}

#[tokio::test]
async fn a_strangers_batch_is_refused_by_its_header_before_anything_is_proven() {
    let broker = Broker::start();
    let (mut client, _) = Client::greeted(&broker).await;
    let mut private = SeriesWriter::new(NETWORK, at(PRIVATE), Signer::wallet(key(5)), SeriesId(5));
    let batch = private.seal(&[event(1)]).unwrap();
    let mut forged = batch.bytes().to_vec();
    let place = forged.windows(65).position(|window| window == &batch.signature()[..]).unwrap();
    let wrong = key(6).sign(&mainstem_crypto::personal_message_digest(&batch.id().0));
    forged[place..place + 65].copy_from_slice(wrong.as_bytes());
    // A proof would have found the signature at fault.
    assert_eq!(refused(publish(&mut client, 2, &forged).await), (2, code(Code::MissingPermission)));
}

#[tokio::test]
async fn too_many_batches_that_do_not_prove_end_the_connection() {
    let session = SessionConfig { bad_batches_max: 3, ..SessionConfig::default() };
    let broker = Broker::with(QuicConfig::default(), session, Config::default());
    let (mut client, _) = Client::greeted(&broker).await;
    for request in 2..6 {
        assert_eq!(refused(publish(&mut client, request, b"noise").await).0, request);
    }
    assert_eq!(refused(client.told().await), (0, code(Code::LimitReached)));
    assert!(client.closed().await.1.starts_with("LIMIT_REACHED"));
}

#[tokio::test]
async fn equivocations_end_the_session_as_batches_that_do_not_prove_do() {
    let session = SessionConfig { bad_batches_max: 1, ..SessionConfig::default() };
    let broker = Broker::with(QuicConfig::default(), session, Config::default());
    let (mut client, _) = Client::greeted(&broker).await;
    for series in 1..3 {
        let (first, second) =
            (writer(5, series).seal(&[event(1)]).unwrap(), writer(5, series).seal(&[event(2)]).unwrap());
        assert!(matches!(publish(&mut client, 2 * series, first.bytes()).await, Told::Ack { .. }));
        let told = publish(&mut client, 2 * series + 1, second.bytes()).await;
        assert_eq!(refused(told), (2 * series + 1, code(Code::Equivocation)));
    }
    client.send(&wire::ping(9), &[]).await;
    assert_eq!(refused(client.told().await), (0, code(Code::LimitReached)));
}

#[tokio::test]
async fn a_request_number_that_is_open_is_refused_and_can_be_used_again_after_its_answer() {
    let broker = Broker::start();
    let (mut client, _) = Client::greeted(&broker).await;
    let mut series = writer(5, 1);
    let large = series.seal(&[event(900_000)]).unwrap();
    let both = [
        wire::framed(&wire::publish(2, truth::AckLevel::Stored), large.bytes()),
        wire::framed(&wire::ping(2), &[]),
    ];
    client.send_raw(both.concat()).await;
    assert_eq!(refused(client.told().await), (2, code(Code::InvalidArgument)));
    assert!(matches!(client.told().await, Told::Ack { request: 2, .. }));
    client.send(&wire::ping(2), &[]).await;
    assert_eq!(client.told().await, Told::Pong(2));
}

#[tokio::test]
async fn heads_that_are_no_requests_are_refused_and_the_connection_stays() {
    let broker = Broker::start();
    let (mut client, _) = Client::greeted(&broker).await;
    for _ in 0..100 {
        client.send(&[0xa5; 40], &[]).await;
        assert_eq!(refused(client.told().await), (0, code(Code::MalformedFrame)));
    }
    client.send(&wire::unsubscribe(3, 77), &[]).await;
    assert_eq!(refused(client.told().await), (3, code(Code::UnknownSubscription)));
}

#[tokio::test]
async fn broken_framing_is_told_and_ends_the_connection() {
    let broker = Broker::start();
    for garbage in [vec![0xff; 64], vec![0; 64], vec![3, 0, 0, 0]] {
        let (mut client, _) = Client::greeted(&broker).await;
        client.send_raw(garbage).await;
        assert_eq!(refused(client.told().await), (0, code(Code::MalformedFrame)));
        let (number, reason) = client.closed().await;
        assert_eq!(number, 1);
        assert!(reason.starts_with("MALFORMED_FRAME: "), "{reason}");
    }
}

#[tokio::test]
async fn the_largest_batch_is_read_and_one_byte_more_is_not() {
    let broker = Broker::start();
    let (mut client, _) = Client::greeted(&broker).await;
    let told = publish(&mut client, 2, &vec![1; limits::BATCH_BYTES_MAX]).await;
    assert_eq!(refused(told), (2, code(Code::MalformedBatch)));
    let over =
        wire::framed(&wire::publish(3, truth::AckLevel::Stored), &vec![1; limits::BATCH_BYTES_MAX + 1]);
    // The connection may be closed before all of it is written.
    let _ = client.up.write_all(&over).await;
    assert_eq!(refused(client.told().await), (0, code(Code::MalformedFrame)));
}

#[tokio::test]
async fn t13_a_frame_that_trickles_in_is_cut_off() {
    let quic = QuicConfig { frame_ms: 200, ..QuicConfig::default() };
    let broker = Broker::with(quic, SessionConfig::default(), Config::default());
    let (mut client, _) = Client::greeted(&broker).await;
    let frame = wire::framed(&wire::publish(2, truth::AckLevel::Stored), &[1; 1000]);
    let connection = client.connection.clone();
    let mut up = client.up;
    tokio::spawn(async move {
        for byte in frame {
            let _ = up.write_all(&[byte]).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert_eq!(refused(client.down.expect().await), (0, code(Code::MalformedFrame)));
    assert!(matches!(connection.closed().await, ConnectionError::ApplicationClosed(_)));
}

#[tokio::test]
async fn t13_a_connection_that_never_begins_its_session_is_closed() {
    let quic = QuicConfig { handshake_ms: 200, ..QuicConfig::default() };
    let broker = Broker::with(quic, SessionConfig::default(), Config::default());
    let client = Client::connect(&broker).await;
    let (number, _) = client.closed().await;
    assert_eq!(number, 1);
}

#[tokio::test]
async fn t4_thousands_of_tiny_frames_are_answered_one_by_one_and_slow_the_sender() {
    let broker = Broker::start();
    let (mut client, _) = Client::greeted(&broker).await;
    let frames: Vec<u8> =
        (2..20_002_u64).flat_map(|request| wire::framed(&wire::ping(request), &[])).collect();
    let mut up = client.up;
    let sending = tokio::spawn(async move {
        up.write_all(&frames).await.unwrap();
        up
    });
    for request in 2..20_002 {
        assert_eq!(client.down.expect().await, Told::Pong(request));
    }
    sending.await.unwrap();
}

#[tokio::test]
async fn t4_a_client_that_reads_no_answers_is_read_no_further() {
    let session = SessionConfig { requests_open_max: 64, ..SessionConfig::default() };
    let broker = Broker::with(QuicConfig::default(), session, Config::default());
    let mut transport = client::transport();
    transport.stream_receive_window(VarInt::from_u32(4096)).receive_window(VarInt::from_u32(8192));
    let mut client = Client::try_connect(&broker, transport).await.unwrap();
    // Answered by the broker, whose messages the edge takes without a bound of its own.
    let many: Vec<u8> =
        (1..100_000_u64).flat_map(|request| wire::framed(&wire::unsubscribe(request, 7), &[])).collect();
    let wrote = tokio::time::timeout(Duration::from_secs(2), client.up.write_all(&many)).await;
    assert!(wrote.is_err(), "all {} bytes were taken", many.len());
    // It is still served once it reads.
    assert!(matches!(client.down.expect().await, Told::Hello(_)));
    assert_eq!(refused(client.down.expect().await), (1, code(Code::UnknownSubscription)));
}

#[tokio::test]
async fn t8_a_subscription_that_stalls_holds_up_no_other() {
    let broker = Broker::start();
    let mut transport = client::transport();
    transport.stream_receive_window(VarInt::from_u32(128 << 10)).receive_window(VarInt::from_u32(4 << 20));
    let mut subscriber = Client::try_connect(&broker, transport).await.unwrap();
    subscriber.send(&wire::ping(1), &[]).await;
    assert!(matches!(subscriber.told().await, Told::Hello(_)));
    assert_eq!(subscriber.told().await, Told::Pong(1));
    let stalled = subscribe(&mut subscriber, 2, None).await;
    let mut read = subscribe(&mut subscriber, 3, None).await;
    assert!(matches!(read.expect().await, Told::CaughtUp { .. }));
    let (mut publisher, _) = Client::greeted(&broker).await;
    let mut series = writer(5, 1);
    for request in 2..202 {
        let batch = series.seal(&[event(60_000)]).unwrap();
        assert!(matches!(publish(&mut publisher, request, batch.bytes()).await, Told::Ack { .. }));
        let Told::Deliver { batch: bytes, .. } = read.expect().await else { panic!("no delivery") };
        assert_eq!(bytes, *batch.bytes());
    }
    // The stalled one is served from the store when it reads again: nothing is lost.
    let mut stalled = stalled;
    let mut count = 0;
    while count < 200 {
        if matches!(stalled.expect().await, Told::Deliver { .. }) {
            count += 1;
        }
    }
}

#[tokio::test]
async fn past_events_come_before_live_ones_and_a_subscription_ends_where_asked() {
    let broker = Broker::start();
    let (mut client, _) = Client::greeted(&broker).await;
    let mut series = writer(5, 1);
    for request in 2..7 {
        let batch = series.seal(&[event(10)]).unwrap();
        assert!(matches!(publish(&mut client, request, batch.bytes()).await, Told::Ack { .. }));
    }
    let head = wire::subscribe(10, |mut subscribe| {
        subscribe.set_stream(STREAM.0.as_bytes());
        subscribe.init_start().set_last(3);
    });
    client.send(&head, &[]).await;
    let Told::Subscribed { request: 10, subscription } = client.told().await else {
        panic!("not subscribed")
    };
    let mut deliveries = client.deliveries().await;
    for _ in 0..3 {
        assert!(
            matches!(deliveries.expect().await, Told::Deliver { subscription: s, .. } if s == subscription)
        );
    }
    let told = deliveries.expect().await;
    let told = if matches!(told, Told::CaughtUp { .. }) { deliveries.expect().await } else { told };
    assert_eq!(told, Told::Ended { subscription, complete: true, code: String::new() });
    assert_eq!(deliveries.next().await, None, "the stream ends with its subscription");
}

#[tokio::test]
async fn an_ended_subscription_gives_its_stream_back() {
    let broker = Broker::start();
    let mut transport = client::transport();
    transport.max_concurrent_uni_streams(VarInt::from_u32(2));
    let mut client = Client::try_connect(&broker, transport).await.unwrap();
    client.send(&wire::ping(1), &[]).await;
    client.told().await;
    client.told().await;
    for round in 0..20 {
        let request = 10 + round * 2;
        let mut stream = subscribe(&mut client, request, None).await;
        let Told::CaughtUp { subscription, .. } = stream.expect().await else { panic!("not caught up") };
        client.send(&wire::unsubscribe(request + 1, subscription), &[]).await;
        assert_eq!(client.told().await, Told::Unsubscribed(request + 1));
        let ended = async { while stream.next().await.is_some() {} };
        tokio::time::timeout(Duration::from_secs(5), ended).await.expect("the stream goes on");
    }
}

#[tokio::test]
async fn t8_ended_subscriptions_that_are_never_read_end_the_connection() {
    let quic = QuicConfig { ended_streams_max: 4, ..QuicConfig::default() };
    let broker = Broker::with(quic, SessionConfig::default(), Config::default());
    let (mut publisher, _) = Client::greeted(&broker).await;
    let mut series = writer(5, 1);
    for request in 2..6 {
        let batch = series.seal(&[event(60_000)]).unwrap();
        assert!(matches!(publish(&mut publisher, request, batch.bytes()).await, Told::Ack { .. }));
    }
    let mut transport = client::transport();
    transport.stream_receive_window(VarInt::from_u32(16 << 10));
    let mut client = Client::try_connect(&broker, transport).await.unwrap();
    let sending = async {
        for request in 1..100 {
            let head = wire::subscribe(request, |mut subscribe| {
                subscribe.set_stream(STREAM.0.as_bytes());
                subscribe.init_start().set_last(4);
            });
            if client.up.write_all(&wire::framed(&head, &[])).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        std::future::pending::<()>().await;
    };
    let connection = client.connection.clone();
    let closed = tokio::select! {
        () = sending => unreachable!(),
        closed = tokio::time::timeout(Duration::from_secs(10), connection.closed()) => closed.unwrap(),
    };
    let ConnectionError::ApplicationClosed(close) = closed else { panic!("{closed}") };
    assert!(close.reason.starts_with(b"LIMIT_REACHED"), "{close:?}");
}

#[tokio::test]
async fn one_connection_more_than_allowed_is_told_so_and_a_place_that_falls_free_is_given() {
    let quic = QuicConfig { connections_max: 2, ..QuicConfig::default() };
    let broker = Broker::with(quic, SessionConfig::default(), Config::default());
    let (first, _) = Client::greeted(&broker).await;
    let (_second, _) = Client::greeted(&broker).await;
    let third = Client::connect(&broker).await;
    let (number, reason) = third.closed().await;
    assert_eq!(number, 1);
    assert!(reason.starts_with("LIMIT_REACHED"), "{reason}");
    first.connection.close(VarInt::from_u32(0), b"");
    let mut tries = 0;
    loop {
        let mut client = Client::connect(&broker).await;
        let _ = client.up.write_all(&wire::framed(&wire::ping(1), &[])).await;
        if matches!(client.down.next().await, Some(Told::Hello(_))) {
            break;
        }
        tries += 1;
        assert!(tries < 100, "no place fell free");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn one_connection_of_an_address_more_than_allowed_is_told_so() {
    let quic = QuicConfig { connections_per_address_max: 2, ..QuicConfig::default() };
    let broker = Broker::with(quic, SessionConfig::default(), Config::default());
    let (_first, _) = Client::greeted(&broker).await;
    let (_second, _) = Client::greeted(&broker).await;
    let (number, reason) = Client::connect(&broker).await.closed().await;
    assert_eq!(number, 1);
    assert!(reason.starts_with("LIMIT_REACHED: ") && reason.contains("one address"), "{reason}");
}

#[tokio::test]
async fn a_session_refused_by_the_broker_is_told_why() {
    let config = Config { sessions_max: 1, ..Config::default() };
    let broker = Broker::with(QuicConfig::default(), SessionConfig::default(), config);
    let (_first, _) = Client::greeted(&broker).await;
    let mut second = Client::connect(&broker).await;
    second.send(&wire::ping(1), &[]).await;
    assert!(second.closed().await.1.starts_with("LIMIT_REACHED"));
}

#[tokio::test]
async fn a_client_that_goes_leaves_no_session_behind() {
    let broker = Broker::start();
    for how in 0..3 {
        let (mut client, _) = Client::greeted(&broker).await;
        let _deliveries = subscribe(&mut client, 2, None).await;
        assert_eq!(broker.sessions.load(Ordering::Relaxed), 1);
        match how {
            0 => client.connection.close(VarInt::from_u32(0), b""),
            1 => client.up.finish().unwrap(),
            _ => client.up.reset(VarInt::from_u32(0)).unwrap(),
        }
        let gone = async {
            while broker.sessions.load(Ordering::Relaxed) > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), gone).await.unwrap_or_else(|_| panic!("way {how}"));
    }
}

#[tokio::test]
async fn a_client_that_finishes_its_stream_gets_the_answers_it_is_owed() {
    let broker = Broker::start();
    let (mut client, _) = Client::greeted(&broker).await;
    let mut series = writer(5, 1);
    let frames: Vec<u8> = (2..52)
        .flat_map(|request| {
            let batch = series.seal(&[event(1000)]).unwrap();
            wire::framed(&wire::publish(request, truth::AckLevel::Durable), batch.bytes())
        })
        .collect();
    client.send_raw(frames).await;
    client.up.finish().unwrap();
    for request in 2..52 {
        let told = client.told().await;
        assert!(
            matches!(told, Told::Ack { request: r, ack: Ack { level: AckLevel::Durable, copies: 1 }, .. } if r == request),
            "{told:?}"
        );
    }
    assert_eq!(client.down.next().await, None);
    assert_eq!(client.closed().await, (0, String::new()));
}

#[tokio::test]
async fn a_listener_that_stops_tells_everyone_and_ends() {
    let mut broker = Broker::start();
    let (mut client, _) = Client::greeted(&broker).await;
    broker.stop();
    assert_eq!(refused(client.told().await), (0, code(Code::ShuttingDown)));
    assert!(client.closed().await.1.starts_with("SHUTTING_DOWN"));
    tokio::time::timeout(Duration::from_secs(10), broker.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn another_key_or_protocol_is_no_connection() {
    let broker = Broker::start();
    let wrong_pin = client::endpoint([0; 32], client::transport());
    assert!(wrong_pin.connect(broker.address, "mainstem").unwrap().await.is_err());
    let wrong_alpn = client::endpoint_with(broker.pin, client::transport(), b"h3");
    assert!(wrong_alpn.connect(broker.address, "mainstem").unwrap().await.is_err());
    Client::greeted(&broker).await;
}

#[tokio::test]
async fn packets_grow_to_what_loopback_takes_and_none_is_lost() {
    let broker = Broker::start();
    let (mut client, _) = Client::greeted(&broker).await;
    let mut series = writer(5, 1);
    for request in 2..52 {
        let batch = series.seal(&[event(60_000)]).unwrap();
        assert!(matches!(publish(&mut client, request, batch.bytes()).await, Told::Ack { .. }));
    }
    let path = client.connection.stats().path;
    assert_eq!(path.black_holes_detected, 0);
    assert!(path.current_mtu > 6_000, "{path:?}");
}
