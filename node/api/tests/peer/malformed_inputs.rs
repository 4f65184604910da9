//! Bytes that are no frames: refused, never a panic, and never another batch than the one that was signed.

use crate::samples::*;
use bytes::Bytes;
use capnp::{message::Builder, serialize};
use mainstem_api::peer::{FRAME_BYTES_MAX, HEAD_BYTES_MAX, decode};
use mainstem_model::{Code, SeriesKey, limits};
use mainstem_protocol::{PeerFault, PeerMessage};
use mainstem_schema::peer_capnp as wire;

/// A frame by the schema alone.
fn built(write: impl FnOnce(wire::peer_frame::Builder<'_>), body: &[u8]) -> Bytes {
    let mut message = Builder::new_default();
    write(message.init_root());
    let mut single = Builder::new(capnp::message::HeapAllocator::new().first_segment_words(1 << 16));
    single.set_root(message.get_root_as_reader::<wire::peer_frame::Reader<'_>>().unwrap()).unwrap();
    let head = serialize::write_message_to_words(&single);
    [&(head.len() as u32).to_le_bytes()[..], &head, body].concat().into()
}

fn is_malformed(frame: Bytes) -> bool {
    matches!(decode(frame), Err(PeerFault::Malformed(_)))
}

/// The batches of a message, as bytes.
fn signed(message: &PeerMessage) -> Vec<u8> {
    let frame = frame(message);
    frame[front(&frame)..].to_vec()
}

#[test]
fn no_truncated_frame_and_none_with_more_behind_it_is_a_message() {
    for message in messages() {
        let frame = frame(&message);
        for length in 0..frame.len() {
            let taken = taken(frame.slice(..length));
            assert!(taken.is_err(), "{length} of {} bytes of {message:?}", frame.len());
        }
        for behind in [1, 8] {
            let longer = [&frame[..], &vec![0; behind]].concat();
            assert!(taken(longer.into()).is_err(), "{behind} bytes behind {message:?}");
        }
    }
}

#[test]
fn no_flipped_bit_makes_another_batch_or_a_message_that_cannot_be_told_again() {
    let mut understood = 0;
    for message in messages() {
        let whole = frame(&message);
        let (head, body) = (front(&whole) * 8, whole.len() * 8);
        // All of the head; of a batch every bit is tried in node/model.
        for bit in (0..head).chain((head..body).step_by(11)) {
            let mut flipped = whole.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let Ok(Some(other)) = taken(flipped.into()) else { continue };
            understood += 1;
            // A page of a signature type that nobody knows is told as such.
            if matches!(&other, PeerMessage::PageOf { result: Err(refusal), .. } if refusal.code == Code::UnknownSignatureType)
            {
                continue;
            }
            assert!(bit < head, "bit {bit} of the batches of {message:?}");
            assert!(signed(&other) == signed(&message), "bit {bit} of {message:?} made {other:?}");
            let again = taken(frame(&other)).unwrap().unwrap();
            assert_eq!(format!("{again:?}"), format!("{other:?}"), "bit {bit}");
        }
    }
    assert!(understood > 1_000, "numbers are not protected: {understood}");
}

#[test]
fn lengths_are_taken_at_the_bound_and_refused_one_past_it() {
    let length =
        |head: usize, rest: usize| Bytes::from([&(head as u32).to_le_bytes()[..], &vec![0; rest]].concat());
    let why = |frame: Bytes| match decode(frame) {
        Err(PeerFault::Malformed(why)) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(why(Bytes::new()), "a frame begins with its head's length");
    assert_eq!(why(length(HEAD_BYTES_MAX + 1, HEAD_BYTES_MAX + 1)), "the head is too long");
    assert_eq!(why(length(HEAD_BYTES_MAX, HEAD_BYTES_MAX - 1)), "the head is longer than the frame");
    assert_eq!(why(length(8, 8 + 2 * limits::BATCH_BYTES_MAX + 1)), "the body is too long");
    assert_eq!(why(length(0, FRAME_BYTES_MAX - 3)), "the frame is too long");
    assert_eq!(why(length(HEAD_BYTES_MAX, FRAME_BYTES_MAX - 4)), "there are bytes behind the head");
}

#[test]
fn noise_is_no_frame() {
    for noise in [vec![0; 64], vec![0xff; 64], vec![0xa5; 300], (0..=255).collect()] {
        assert!(is_malformed(noise.clone().into()));
        let head = [&(noise.len() as u32).to_le_bytes()[..], &noise].concat();
        assert!(!matches!(decode(head.into()), Ok(Some(_))));
    }
}

#[test]
fn a_kind_that_is_not_known_is_passed_over_with_whatever_it_has() {
    let mut newer = frame(&messages()[1]).to_vec();
    newer[20..22].copy_from_slice(&KINDS.to_le_bytes());
    assert!(matches!(decode(newer.into()), Ok(None)));
    // And one within a known kind: a start that is to come.
    let read = |root: wire::peer_frame::Builder<'_>| {
        let mut resolve = root.init_resolve();
        resolve.set_at(&[0; 22]);
        resolve.reborrow().init_filter();
        resolve.init_start().set_from(());
    };
    let known = built(read, &[]);
    assert!(matches!(decode(known.clone()), Ok(Some(_))));
    // The struct's only word that is 2 is the start's kind.
    let place = (4..known.len()).find(|place| known[*place..].starts_with(&[2, 0, 0, 0, 0, 0, 0, 0]));
    let mut newer = known.to_vec();
    newer[place.unwrap()] = 200;
    assert!(matches!(decode(newer.into()), Ok(None)));
}

#[test]
fn lists_over_their_bounds_are_refused() {
    type Write<'a> = &'a dyn Fn(wire::peer_frame::Builder<'_>, u32);
    let cases: [(&str, Write<'_>, u32); 7] = [
        (
            "heads",
            &|root, count| {
                _ = root.init_heads(count);
            },
            1024,
        ),
        (
            "compared heads",
            &|root, count| {
                _ = root.init_compared().init_summary().init_heads(count);
            },
            1024,
        ),
        (
            "parts",
            &|root, count| {
                _ = root.init_compared().init_summary().init_parts(count);
            },
            64,
        ),
        (
            "partitions",
            &|root, count| {
                _ = root.init_inventoried().init_partitions(count);
            },
            1024,
        ),
        (
            "instead",
            &|root, count| {
                _ = root.init_not_followed().init_instead(count);
            },
            16,
        ),
        (
            "path",
            &|root, count| {
                _ = root.init_followed().init_path(count);
            },
            16,
        ),
        (
            "batches",
            &|root, count| {
                _ = root.init_page_of().init_result().init_page().init_batches(count);
            },
            1024,
        ),
    ];
    for (name, write, max) in cases {
        for (count, too_long) in [(max, false), (max + 1, true)] {
            let Err(PeerFault::Malformed(why)) = decode(built(|root| write(root, count), &[])) else {
                panic!("{count} {name}, all empty, were taken");
            };
            assert_eq!(why == "a list is too long", too_long, "{count} {name}: {why}");
        }
    }
}

#[test]
fn names_of_another_length_or_out_of_range_are_refused() {
    let unfollow = |at: &[u8]| built(|mut root| root.set_unfollow(at), &[]);
    assert!(matches!(decode(unfollow(&[0; 22])), Ok(Some(_))));
    for at in [&[0; 21][..], &[0; 23], &[], &[[0; 20].as_slice(), &[0, 100]].concat()] {
        assert!(is_malformed(unfollow(at)), "{at:?}");
    }
    let held = |series: &[u8], last: &[u8]| {
        built(
            |root| {
                let mut held = root.init_held();
                held.set_series(series);
                held.set_last(last);
            },
            &[],
        )
    };
    let mut series = [0; 64];
    (series[22], series[23]) = (1, 20);
    assert!(matches!(decode(held(&series, &[0; 32])), Ok(Some(_))));
    assert!(is_malformed(held(&series[..63], &[0; 32])));
    assert!(is_malformed(held(&series, &[0; 31])));
    series[23] = 19;
    assert!(is_malformed(held(&series, &[0; 32])), "an origin in another encoding");
}

#[test]
fn bodies_stand_only_where_there_are_batches_and_hold_no_less_and_no_more() {
    let batch = batches(1, 0, 10)[0].bytes().clone();
    let store = |root: wire::peer_frame::Builder<'_>| {
        _ = root.init_store();
    };
    assert!(matches!(decode(built(store, &batch)), Ok(Some(_))));
    assert!(is_malformed(built(store, &[])), "no batch");
    assert!(is_malformed(built(store, &vec![0; limits::BATCH_BYTES_MAX + 1])), "a batch too large");
    assert!(
        is_malformed(built(
            |root| {
                _ = root.init_hello();
            },
            &batch
        )),
        "a batch too much"
    );
    let proof = |first: u32| built(|mut root| root.set_proof(first), &batch);
    for first in [0, batch.len() as u32, u32::MAX] {
        assert!(is_malformed(proof(first)), "{first}");
    }
    assert!(decode(proof(10)).unwrap().unwrap().prove(&VERIFIER).is_err());
}

#[test]
fn a_batch_that_does_not_hold_is_the_senders_fault_wherever_it_stands() {
    for message in messages() {
        let mut bad = frame(&message).to_vec();
        if front(&bad) == bad.len() {
            continue;
        }
        // The end of the last batch's content.
        let last = bad.len() - 1;
        bad[last] ^= 1;
        assert!(matches!(taken(bad.into()), Err(PeerFault::InvalidBatch(_))), "{message:?}");
    }
}

#[test]
fn a_signature_type_that_is_not_known_here_is_nobodys_fault_and_is_answered() {
    for message in messages() {
        let mut unknown = frame(&message).to_vec();
        let tag = b"mainstem/batch/1";
        let Some(header) = unknown.windows(tag.len()).position(|window| window == tag) else { continue };
        // Of the first batch: a header's last byte is the signature's type.
        unknown[header + 202] = 200;
        let fault = match taken(unknown.into()) {
            Ok(Some(PeerMessage::PageOf { result: Err(refusal), .. })) => {
                assert_eq!(refusal.code, Code::UnknownSignatureType);
                continue;
            }
            Ok(other) => panic!("{message:?} was taken as {other:?}"),
            Err(fault) => fault,
        };
        let PeerFault::Unprovable { answer, refusal } = fault else { panic!("{message:?}: {fault:?}") };
        assert_eq!(refusal.code, Code::UnknownSignatureType);
        match (&message, answer.as_deref()) {
            (PeerMessage::Store { batch, .. }, Some(PeerMessage::NotHeld { series, .. })) => {
                assert_eq!(*series, SeriesKey::of(batch.header()));
            }
            (PeerMessage::Feed { batch }, Some(PeerMessage::Fed { at, bytes })) => {
                assert_eq!((Some(*at), *bytes), (batch.stream_partition(), batch.bytes().len() as u64));
            }
            (PeerMessage::Pulled { .. } | PeerMessage::Proof { .. }, None) => {}
            (message, answer) => panic!("{message:?} is answered {answer:?}"),
        }
    }
}

#[test]
fn a_page_is_of_one_partition() {
    let mixed = [batches(1, 0, 1), batches(1, 1, 1)].concat();
    let message = PeerMessage::PageOf { read: 1, result: Ok(page(&mixed)) };
    assert!(matches!(taken(frame(&message)), Err(PeerFault::Malformed(_))));
}

#[test]
fn a_code_to_come_is_taken_for_one_that_promises_nothing() {
    let refused = |code: &str, message: &str| {
        built(
            |root| {
                let mut end = root.init_pull_end();
                end.set_pull(1);
                let mut error = end.init_result().init_error();
                error.set_code(code);
                error.set_message(message);
            },
            &[],
        )
    };
    let Ok(Some(PeerMessage::PullEnd { result: Err(refusal), .. })) = taken(refused("TO_COME", "why")) else {
        panic!("no refusal came out");
    };
    assert_eq!((refusal.code, &*refusal.message), (Code::Overloaded, "TO_COME: why"));
    assert!(is_malformed(refused("SERIES_GAP", &"x".repeat(4097))));
    assert!(is_malformed(refused(&"X".repeat(65), "why")));
}
