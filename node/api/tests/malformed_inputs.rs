//! Bytes that are no frames: refused with `MALFORMED_FRAME` or the field's code, at n + 1 and not at n, and never a panic.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod support;

use bytes::Bytes;
use mainstem_api::frame::{
    ClientMessage, FRAME_BYTES_MAX, Frame, FrameReader, HEAD_BYTES_MAX, decode_request, split_message,
};
use mainstem_model::{Ack, AckLevel, Code, Cursor, ReadStart, Refusal, limits};
use mainstem_schema::frame_capnp as truth;
use support::{STREAM, wire};

fn read_all(bytes: &[u8], step: usize) -> Result<Vec<Frame>, Refusal> {
    let mut reader = FrameReader::default();
    let mut frames = Vec::new();
    for piece in bytes.chunks(step) {
        let mut rest = piece;
        while let Some(frame) = reader.read(&mut rest)? {
            frames.push(frame);
        }
        assert!(rest.is_empty());
    }
    Ok(frames)
}

fn code_of(head: &[u8], body: &[u8]) -> Option<(u64, Code)> {
    let error = decode_request(head, Bytes::copy_from_slice(body)).err()?;
    Some((error.request, error.refusal.code))
}

#[test]
fn frames_are_the_same_however_the_stream_is_cut() {
    let frames = [
        wire::framed(&wire::ping(1), &[]),
        wire::framed(&wire::publish(2, truth::AckLevel::Stored), &vec![9; 200_000]),
        wire::framed(&[], &[]),
        wire::framed(&wire::publish(3, truth::AckLevel::Stored), b"x"),
    ]
    .concat();
    let whole = read_all(&frames, frames.len()).unwrap();
    assert_eq!(whole.len(), 4);
    assert_eq!(whole[1].body.len(), 200_000);
    for step in [1, 2, 3, 4, 7, 8, 9, 1200, 70_000] {
        assert_eq!(read_all(&frames, step).unwrap(), whole, "step {step}");
    }
}

#[test]
fn lengths_are_taken_at_the_bound_and_refused_one_past_it() {
    let length =
        |length: usize, head: usize| [(length as u32).to_le_bytes(), (head as u32).to_le_bytes()].concat();
    let head = wire::ping(1).len();
    let cases = [
        (length(4, 0), true),
        (length(3, 0), false),
        (length(0, 0), false),
        (length(u32::MAX as usize, 0), false),
        (length(FRAME_BYTES_MAX + 1, HEAD_BYTES_MAX), false),
        (length(4 + HEAD_BYTES_MAX, HEAD_BYTES_MAX), true),
        (length(4 + HEAD_BYTES_MAX + 1, HEAD_BYTES_MAX + 1), false),
        (length(4 + head, head), true),
        (length(4 + head, head + 1), false),
        (length(4 + head + limits::BATCH_BYTES_MAX, head), true),
        (length(4 + head + limits::BATCH_BYTES_MAX + 1, head), false),
    ];
    for (bytes, good) in cases {
        let mut rest = &bytes[..];
        let result = FrameReader::default().read(&mut rest);
        match result {
            Ok(_) => assert!(good, "{bytes:?}"),
            Err(refusal) => {
                assert!(!good, "{bytes:?}: {refusal}");
                assert_eq!(refusal.code, Code::MalformedFrame);
            }
        }
    }
}

#[test]
fn a_length_alone_costs_no_memory_and_too_short_a_one_needs_no_more_bytes() {
    let mut reader = FrameReader::default();
    assert!(reader.read(&mut &3_u32.to_le_bytes()[..]).is_err());
    let mut reader = FrameReader::default();
    let mut rest = &[&(FRAME_BYTES_MAX as u32 - 8192).to_le_bytes()[..], &[0; 4], &[1; 10]].concat()[..];
    assert_eq!(reader.read(&mut rest), Ok(None));
    assert!(reader.is_within_frame());
    assert!(format!("{reader:?}").len() < 2000, "it holds only what came");
}

#[test]
fn messages_are_split_as_frames_are() {
    let head = wire::ping(1);
    assert_eq!(split_message(wire::message(&head, b"body").into()).unwrap().body, &b"body"[..]);
    for bad in [vec![], vec![0; 3], vec![1, 0, 0, 0], vec![255; 100], vec![0; FRAME_BYTES_MAX + 1]] {
        assert_eq!(split_message(bad.into()).unwrap_err().code, Code::MalformedFrame);
    }
}

#[test]
fn heads_that_are_no_requests_are_refused_by_what_is_wrong() {
    let subscribe = |build: fn(truth::subscribe::Builder<'_>)| {
        wire::subscribe(7, |mut subscribe| {
            subscribe.set_stream(STREAM.0.as_bytes());
            build(subscribe);
        })
    };
    type Case<'a> = (&'a str, Vec<u8>, &'a [u8], (u64, Code));
    let cases: &[Case<'_>] = &[
        ("empty", vec![], &[], (0, Code::MalformedFrame)),
        ("noise", vec![0xa5; 64], &[], (0, Code::MalformedFrame)),
        ("zeros", vec![0; 64], &[], (0, Code::MalformedFrame)),
        ("bytes behind", [wire::ping(1), vec![0; 8]].concat(), &[], (0, Code::MalformedFrame)),
        ("too long", vec![0; HEAD_BYTES_MAX + 1], &[], (0, Code::MalformedFrame)),
        ("request 0", wire::ping(0), &[], (0, Code::MalformedFrame)),
        ("a ping with a body", wire::ping(5), b"x", (5, Code::MalformedFrame)),
        ("a short address", wire::sign_in(6, &[1; 19], 0, &[0; 65]), &[], (6, Code::InvalidArgument)),
        (
            "partition 100",
            subscribe(|mut subscribe| subscribe.set_partition(100)),
            &[],
            (7, Code::InvalidPartition),
        ),
        ("a short stream", subscribe(|mut s| s.set_stream(&[1; 19])), &[], (7, Code::InvalidStreamId)),
        ("a short origin", subscribe(|mut s| s.set_origin(&[1; 19])), &[], (7, Code::InvalidArgument)),
        (
            "a bad cursor",
            subscribe(|s| s.init_start().init_cursor().set_cursor(b"nonsense")),
            &[],
            (7, Code::InvalidCursor),
        ),
        (
            "a range backwards",
            subscribe(|s| {
                let mut range = s.init_start().init_range();
                range.set_from(2);
                range.set_to(1);
            }),
            &[],
            (7, Code::InvalidArgument),
        ),
        (
            "a range that goes on live",
            subscribe(|mut s| {
                s.set_live(true);
                s.init_start().init_range().set_to(1);
            }),
            &[],
            (7, Code::InvalidArgument),
        ),
    ];
    for (what, head, body, expected) in cases {
        assert_eq!(code_of(head, body), Some(*expected), "{what}");
    }
}

#[test]
fn requests_read_what_the_schema_says() {
    let publish = wire::publish(3, truth::AckLevel::Durable);
    assert_eq!(
        decode_request(&publish, Bytes::from_static(b"batch")).unwrap(),
        ClientMessage::Publish {
            request: 3,
            ack: AckLevel::Durable.into(),
            batch: Bytes::from_static(b"batch")
        }
    );
    let cursor = Cursor::Arrival { log: 1, position: 2, skip: 3 };
    let head = wire::subscribe(4, |mut subscribe| {
        subscribe.set_stream(STREAM.0.as_bytes());
        subscribe.init_start().init_cursor().set_cursor(&cursor.encode());
    });
    let ClientMessage::Subscribe { request: 4, subscribe } = decode_request(&head, Bytes::new()).unwrap()
    else {
        panic!("another request")
    };
    assert_eq!(subscribe.start, ReadStart::Cursor(cursor));
    assert_eq!((subscribe.filter.from, subscribe.filter.to), (i64::MIN, i64::MAX));
}

#[test]
fn a_publish_names_its_copies_and_none_are_one() {
    let ack_of = |head: &[u8]| {
        let message = decode_request(head, Bytes::from_static(b"batch")).unwrap();
        let ClientMessage::Publish { ack, .. } = message else { panic!("{message:?}") };
        ack
    };
    for (copies, expected) in [(0, 1), (1, 1), (2, 2), (255, 255)] {
        let head = wire::publish_at(3, truth::AckLevel::Durable, copies);
        assert_eq!(ack_of(&head), Ack::new(AckLevel::Durable, expected), "{copies}");
    }
    assert_eq!(ack_of(&PUBLISH_BEFORE_COPIES), AckLevel::Durable.into());
}

/// A publish of `durable` as it was written before the frame had `copies`: one segment of four words, in it the root's
/// pointer and the root, with two words of data and one pointer.
#[rustfmt::skip]
const PUBLISH_BEFORE_COPIES: [u8; 40] = [
    0, 0, 0, 0, 4, 0, 0, 0,
    0, 0, 0, 0, 2, 0, 1, 0,
    3, 0, 0, 0, 0, 0, 0, 0,
    1, 0, 2, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,
];

/// xorshift64*: the same bytes at every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

#[test]
fn no_change_of_a_good_frame_and_no_noise_makes_a_decoder_panic() {
    let mut noise = Noise(0x5eed);
    let good = [
        wire::ping(1),
        wire::publish(2, truth::AckLevel::Accepted),
        wire::sign_in(3, &[1; 20], 5, &[2; 65]),
        wire::unsubscribe(4, 1),
        wire::subscribe(5, |mut s| {
            s.set_stream(&[1; 20]);
            s.set_origin(&[2; 20]);
            s.init_start().init_cursor().set_cursor(&[1; 19]);
        }),
    ];
    for head in &good {
        for bit in 0..head.len() * 8 {
            let mut changed = head.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let _ = decode_request(&changed, Bytes::new());
        }
        for cut in 0..head.len() {
            let _ = decode_request(&head[..cut], Bytes::new());
        }
        for _ in 0..20_000 {
            let mut changed = head.clone();
            for _ in 0..1 + noise.next() % 8 {
                let at = noise.next() as usize % changed.len();
                changed[at] = noise.next() as u8;
            }
            let _ = decode_request(&changed, Bytes::new());
            let _ = split_message(changed.clone().into());
            let _ = read_all(&wire::framed(&changed, &[1; 9]), 1 + noise.next() as usize % 64);
        }
    }
    for _ in 0..20_000 {
        let length = noise.next() as usize % 200;
        let bytes: Vec<u8> = (0..length).map(|_| noise.next() as u8).collect();
        let _ = decode_request(&bytes, Bytes::new());
        let _ = read_all(&bytes, 1 + noise.next() as usize % 64);
    }
}
