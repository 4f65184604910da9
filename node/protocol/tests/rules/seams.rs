//! A reader of the past is told what an owner has, and then what the own log has: where the two meet.

use crate::desk::{Desk, SESSION, STREAM, at, broker, last_read, peer, series, start_read, tell};
use mainstem_model::{
    Address, Batch, BatchId, BatchKey, Cursor, Origin, ReadFilter, ReadStart, SeriesId, VerifiedBatch,
};
use mainstem_protocol::{
    Config, InEvent, LastArrival, OutEvent, Page, PastBatch, PeerMessage, ReadToken, ServerMessage, Subscribe,
};
use std::sync::Arc;

const HERE: Cursor = Cursor::Arrival { log: 7, position: 0, skip: 0 };
/// The end of what the owner has.
const THERE: Cursor = Cursor::Arrival { log: 1, position: 3, skip: 0 };

/// Where the past of the owner's log begins.
fn from() -> Cursor {
    let key =
        BatchKey { timestamp: 0, origin: Origin::ethereum(Address::ZERO), series: SeriesId(0), sequence: 0 };
    Cursor::History { log: 1, until: 3, key, skip: 0 }
}

/// All that a log has.
fn page(batches: &[Arc<VerifiedBatch>], next: Cursor, now: i64) -> Page {
    let past = |batch: &Arc<VerifiedBatch>| PastBatch {
        bytes: batch.bytes().clone(),
        cursor: next,
        count: batch.header().count,
        received_at: now,
    };
    Page { batches: batches.iter().map(past).collect(), next, at_end: true, damaged: 0 }
}

fn delivered(out: &[OutEvent]) -> Vec<BatchId> {
    let told = out.iter().filter_map(|output| match output {
        OutEvent::Send { message: ServerMessage::Deliver { batch, .. }, .. } => Some(batch),
        _ => None,
    });
    told.map(|bytes| Batch::peek_header(bytes).unwrap().id()).collect()
}

/// A reader of everything has read what an owner has; the read of what the own log has of it.
fn comes_home(desk: &mut Desk, there: &[Arc<VerifiedBatch>]) -> ReadToken {
    let owner = peer(1);
    desk.handle(InEvent::PeerUp { peer: owner });
    tell(desk, owner, PeerMessage::Hello { log: 1, epoch: 0, ready: true });
    let subscribe = Subscribe { at: at(STREAM), start: ReadStart::From, filter: ReadFilter::ALL, live: true };
    let out = desk.handle(InEvent::Subscribe { session: SESSION, request: 1, subscribe });
    let read = last_read(&out).unwrap();
    let nothing = LastArrival { end: 0, received_at: i64::MIN, before: i64::MIN };
    desk.handle(InEvent::LastRead { read, result: Ok(nothing) });
    let out = tell(desk, owner, PeerMessage::Followed { at: at(STREAM), full: true, path: Vec::new() });
    let read = start_read(&out).unwrap();
    let out = desk.handle(InEvent::StartResolved { read, result: Ok(HERE) });
    let [OutEvent::Tell { message: PeerMessage::Resolve { read, .. }, .. }] = out[..] else {
        panic!("{out:?}")
    };
    let out = tell(desk, owner, PeerMessage::Resolved { read, result: Ok(from()) });
    let [OutEvent::Tell { message: PeerMessage::Read { read, .. }, .. }] = out[..] else { panic!("{out:?}") };
    let past = page(there, THERE, desk.now);
    let out = tell(desk, owner, PeerMessage::PageOf { read, result: Ok(past) });
    assert_eq!(delivered(&out), there.iter().map(|batch| batch.id()).collect::<Vec<_>>());
    let read = out.iter().find_map(|output| match output {
        OutEvent::ReadPage { read, .. } => Some(*read),
        _ => None,
    });
    read.unwrap_or_else(|| panic!("it goes on in the own log: {out:?}"))
}

#[test]
fn of_a_forked_series_a_reader_is_told_one_branch_also_where_the_other_begins_at_the_seam() {
    let mut desk = broker(Config::default(), &[peer(1)]);
    let [one, another] = ["one branch", "another branch"].map(|text| {
        let mut writer = series(1);
        [text, "goes on", "and on"].map(|text| desk.seal(&mut writer, text))
    });
    let read = comes_home(&mut desk, &one[..1]);
    // Both end their first batch at the same place, so by sequence alone the second of the other branch follows.
    let here = page(&[&another[..], &one[..]].concat(), HERE, desk.now);
    let out = desk.handle(InEvent::PageRead { read, result: Ok(here) });
    assert_eq!(delivered(&out), [], "nothing goes on from what it has: {out:?}");
}

#[test]
fn what_an_owner_told_is_not_told_again_and_what_goes_on_from_it_is() {
    let mut desk = broker(Config::default(), &[peer(1)]);
    let mut writer = series(1);
    let batches = ["1", "2", "3"].map(|text| desk.seal(&mut writer, text));
    let read = comes_home(&mut desk, &batches[..2]);
    let here = page(&batches, HERE, desk.now);
    let out = desk.handle(InEvent::PageRead { read, result: Ok(here) });
    assert_eq!(delivered(&out), [batches[2].id()]);
}
