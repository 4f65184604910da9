use crate::samples::*;
use mainstem_api::peer::{FRAME_BYTES_MAX, Unsendable, decode, encode};
use mainstem_model::{Address, Code, HeadsSummary, Refusal};
use mainstem_protocol::{Lane, PeerBatch, PeerMessage};
use std::collections::BTreeSet;

#[test]
fn every_kind_of_message_comes_out_as_it_went_in() {
    for message in messages() {
        let frame = frame(&message);
        let again = taken(frame.clone()).unwrap().expect("a kind that is known");
        assert_eq!(format!("{again:?}"), format!("{message:?}"));
        assert_eq!(encode(&again).unwrap(), frame, "{message:?}");
    }
}

#[test]
fn every_kind_has_a_sample_and_its_number_in_the_schema() {
    let samples: BTreeSet<_> = messages().iter().map(kind).collect();
    assert_eq!(samples, (0..KINDS).collect());
    for message in messages() {
        // Behind the length, the segment table and the root's pointer.
        let frame = frame(&message);
        assert_eq!(u16::from_le_bytes([frame[20], frame[21]]), kind(&message), "{message:?}");
    }
}

#[test]
fn the_lane_is_known_before_the_proof() {
    for message in messages() {
        assert_eq!(decode(frame(&message)).unwrap().unwrap().lane(), message.lane(), "{message:?}");
    }
    assert_eq!(decode(frame(&messages()[1])).unwrap().unwrap().lane(), Lane::Live);
}

#[test]
fn batches_stay_in_the_frames_memory() {
    for message in messages() {
        let frame = frame(&message);
        let within = |bytes: &[u8]| frame.as_ptr_range().contains(&bytes.as_ptr());
        match taken(frame.clone()).unwrap().unwrap() {
            PeerMessage::Store { batch, .. } => assert!(within(batch.bytes())),
            PeerMessage::Feed { batch } | PeerMessage::Pulled { batch, .. } => {
                assert!(within(batch.bytes()));
            }
            PeerMessage::Proof { first, second } => {
                assert!(within(first.bytes()) && within(second.bytes()));
            }
            PeerMessage::PageOf { result: Ok(page), .. } => {
                assert!(page.batches.iter().all(|batch| within(&batch.bytes)));
            }
            PeerMessage::Hello { .. }
            | PeerMessage::Held { .. }
            | PeerMessage::NotHeld { .. }
            | PeerMessage::Follow { .. }
            | PeerMessage::Followed { .. }
            | PeerMessage::NotFollowed { .. }
            | PeerMessage::Unfollow { .. }
            | PeerMessage::Fed { .. }
            | PeerMessage::Heads { .. }
            | PeerMessage::Pull { .. }
            | PeerMessage::PullEnd { .. }
            | PeerMessage::Inventory { .. }
            | PeerMessage::Inventoried { .. }
            | PeerMessage::Compare { .. }
            | PeerMessage::Compared { .. }
            | PeerMessage::Resolve { .. }
            | PeerMessage::Resolved { .. }
            | PeerMessage::Read { .. }
            | PeerMessage::PageOf { result: Err(_), .. } => {}
        }
    }
}

#[test]
fn the_longest_lists_are_told_and_one_more_is_not() {
    let check = |max: usize, message: &dyn Fn(usize) -> PeerMessage| {
        let longest = message(max);
        let frame = frame(&longest);
        assert!(frame.len() <= FRAME_BYTES_MAX);
        assert_eq!(format!("{:?}", taken(frame).unwrap().unwrap()), format!("{longest:?}"));
        let Unsendable { count, max: bound, .. } = encode(&message(max + 1)).unwrap_err();
        assert_eq!((count, bound), (max + 1, max));
    };
    let heads = |count: usize| (0..count as u64).map(head).collect();
    check(1024, &|count| PeerMessage::Heads { heads: heads(count) });
    check(1024, &|count| PeerMessage::Compared { ask: 1, summary: HeadsSummary::Heads(heads(count)) });
    check(64, &|count| {
        let parts = (0..count).map(|number| (range(number as u64), digest(1))).collect();
        PeerMessage::Compared { ask: 1, summary: HeadsSummary::Parts(parts) }
    });
    check(1024, &|count| {
        let partitions = vec![(at(9), digest(2)); count];
        PeerMessage::Inventoried { ask: 1, partitions, more: false }
    });
    check(16, &|count| {
        let refusal = Refusal::new(Code::LimitReached, "語".repeat(800));
        PeerMessage::NotFollowed { at: at(9), refusal, instead: vec![Address([9; 20]); count] }
    });
    check(16, &|count| PeerMessage::Followed { at: at(9), full: true, path: vec![Address([9; 20]); count] });
    let batch = batches(1, 0, 0);
    check(1024, &|count| {
        let mut page = page(&batch);
        page.batches = vec![page.batches[0].clone(); count];
        PeerMessage::PageOf { read: 1, result: Ok(page) }
    });
}

#[test]
fn two_of_the_largest_batches_fit_a_frame_and_three_do_not() {
    let mut large = batches(3, 0, 1 << 20);
    let proof = PeerMessage::Proof {
        first: PeerBatch::Proven(large[0].clone()),
        second: PeerBatch::Proven(large[1].clone()),
    };
    assert!(frame(&proof).len() > 2 << 20);
    assert!(taken(frame(&proof)).unwrap().is_some());
    let over = PeerMessage::PageOf { read: 1, result: Ok(page(&large)) };
    assert_eq!(encode(&over).unwrap_err().what, "the body");
    large.pop();
    let fits = PeerMessage::PageOf { read: 1, result: Ok(page(&large)) };
    assert!(taken(frame(&fits)).unwrap().is_some());
}

#[test]
fn a_long_refusal_is_cut_and_its_code_stays() {
    let refusal = Refusal::new(Code::DamagedHistory, "é".repeat(100_000));
    let told = PeerMessage::PullEnd { pull: 1, result: Err(refusal) };
    let Some(PeerMessage::PullEnd { result: Err(refusal), .. }) = taken(frame(&told)).unwrap() else {
        panic!("another message came out");
    };
    assert_eq!(refusal.code, Code::DamagedHistory);
    assert_eq!(refusal.message, "é".repeat(800));
}
