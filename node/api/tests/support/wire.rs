//! The client's side of the codec, written from the schema and not from the node's code.

use bytes::Bytes;
use capnp::{message::Builder, serialize};
use mainstem_api::frame::{Frame, Hello};
use mainstem_model::{Ack, AckLevel, Address, BatchId, Cursor, NetworkId};
use mainstem_schema::frame_capnp as wire;

/// What a client was told, as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Hello(Hello),
    SignedIn(u64),
    Ack { request: u64, batch: BatchId, ack: Ack, duplicate: bool },
    Subscribed { request: u64, subscription: u32 },
    Deliver { subscription: u32, cursor: Cursor, batch: Bytes },
    CaughtUp { subscription: u32, events: u64 },
    Ended { subscription: u32, complete: bool, code: String },
    Unsubscribed(u64),
    Pong(u64),
    Refused { request: u64, code: String, message: String },
}

pub fn read(frame: Frame) -> Told {
    let mut rest = &frame.head[..];
    let message = serialize::read_message_from_flat_slice(&mut rest, Default::default()).unwrap();
    assert!(rest.is_empty());
    let root = message.get_root::<wire::server_frame::Reader<'_>>().unwrap();
    let text = |text: capnp::Result<capnp::text::Reader<'_>>| text.unwrap().to_string().unwrap();
    match root.which().unwrap() {
        wire::server_frame::Hello(hello) => {
            let hello = hello.unwrap();
            assert_eq!(hello.get_version(), 1);
            Told::Hello(Hello {
                node: Address::from_slice(hello.get_node().unwrap()).unwrap(),
                nonce: hello.get_nonce().unwrap().try_into().unwrap(),
                network: NetworkId::from_slice(hello.get_network().unwrap()).unwrap(),
                audience: text(hello.get_audience()),
                now: hello.get_now(),
            })
        }
        wire::server_frame::SignedIn(request) => Told::SignedIn(request),
        wire::server_frame::Ack(ack) => {
            let told = ack.unwrap();
            let level = match told.get_level().unwrap() {
                wire::AckLevel::Accepted => AckLevel::Accepted,
                wire::AckLevel::Stored => AckLevel::Stored,
                wire::AckLevel::Durable => AckLevel::Durable,
            };
            Told::Ack {
                request: told.get_request(),
                batch: BatchId::from_slice(told.get_batch().unwrap()).unwrap(),
                ack: Ack { level, copies: told.get_copies() },
                duplicate: told.get_duplicate(),
            }
        }
        wire::server_frame::Subscribed(subscribed) => {
            let subscribed = subscribed.unwrap();
            Told::Subscribed {
                request: subscribed.get_request(),
                subscription: subscribed.get_subscription(),
            }
        }
        wire::server_frame::Deliver(deliver) => {
            let deliver = deliver.unwrap();
            Told::Deliver {
                subscription: deliver.get_subscription(),
                cursor: Cursor::decode(deliver.get_cursor().unwrap()).unwrap(),
                batch: frame.body,
            }
        }
        wire::server_frame::CaughtUp(caught_up) => {
            let caught_up = caught_up.unwrap();
            Told::CaughtUp { subscription: caught_up.get_subscription(), events: caught_up.get_events() }
        }
        wire::server_frame::Ended(ended) => {
            let ended = ended.unwrap();
            Told::Ended {
                subscription: ended.get_subscription(),
                complete: ended.get_complete(),
                code: text(ended.get_error().unwrap().get_code()),
            }
        }
        wire::server_frame::Unsubscribed(request) => Told::Unsubscribed(request),
        wire::server_frame::Pong(request) => Told::Pong(request),
        wire::server_frame::Refused(refused) => {
            let refused = refused.unwrap();
            let error = refused.get_error().unwrap();
            Told::Refused {
                request: refused.get_request(),
                code: text(error.get_code()),
                message: text(error.get_message()),
            }
        }
    }
}

/// A client frame's head.
pub fn head(build: impl FnOnce(wire::client_frame::Builder<'_>)) -> Vec<u8> {
    let mut message = Builder::new_default();
    build(message.init_root());
    serialize::write_message_to_words(&message)
}

pub fn ping(request: u64) -> Vec<u8> {
    head(|mut frame| {
        frame.set_request(request);
        frame.set_ping(());
    })
}

pub fn publish(request: u64, level: wire::AckLevel) -> Vec<u8> {
    head(|mut frame| {
        frame.set_request(request);
        frame.set_publish(level);
    })
}

pub fn publish_at(request: u64, level: wire::AckLevel, copies: u8) -> Vec<u8> {
    head(|mut frame| {
        frame.set_request(request);
        frame.set_publish(level);
        frame.set_copies(copies);
    })
}

pub fn sign_in(request: u64, address: &[u8], issued_at: i64, signature: &[u8]) -> Vec<u8> {
    head(|mut frame| {
        frame.set_request(request);
        let mut sign_in = frame.init_sign_in();
        sign_in.set_address(address);
        sign_in.set_issued_at(issued_at);
        sign_in.set_signature(signature);
    })
}

pub fn unsubscribe(request: u64, subscription: u32) -> Vec<u8> {
    head(|mut frame| {
        frame.set_request(request);
        frame.set_unsubscribe(subscription);
    })
}

pub fn subscribe(request: u64, build: impl FnOnce(wire::subscribe::Builder<'_>)) -> Vec<u8> {
    head(|mut frame| {
        frame.set_request(request);
        build(frame.init_subscribe());
    })
}

/// A frame as it goes over QUIC.
pub fn framed(head: &[u8], body: &[u8]) -> Vec<u8> {
    let length = (4 + head.len() + body.len()) as u32;
    [&length.to_le_bytes()[..], &(head.len() as u32).to_le_bytes()[..], head, body].concat()
}

/// A frame as a WebSocket message.
pub fn message(head: &[u8], body: &[u8]) -> Vec<u8> {
    framed(head, body).split_off(4)
}
