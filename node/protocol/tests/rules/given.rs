//! A broker is given a partition of which it had something already, as it followed or kept it before.

use crate::desk::{Desk, ME, SESSION, STREAM, assign, at, broker, peer, series, tell};
use mainstem_model::{Code, Cursor, HeadsDigest, HeadsSummary, ReadFilter, ReadStart, SeriesHead, SeriesKey};
use mainstem_protocol::{
    Config, InEvent, LastArrival, OutEvent, PeerMessage, ReadToken, SeriesFrom, ServerMessage, Subscribe,
};

const RESUME_MS: i64 = 60_000;

/// What is asked of a question that is among these outputs.
fn found<T>(out: &[OutEvent], of: impl Fn(&OutEvent) -> Option<T>) -> Option<T> {
    out.iter().find_map(of)
}

/// A broker that others kept everything for is given it, and compares it with one that has a series which is unknown here. Gives the question
/// what was here before.
fn given() -> (Desk, ReadToken) {
    let (owner, config) = (peer(1), Config { link_resume_ms: RESUME_MS, ..Config::default() });
    let mut desk = broker(config, &[owner, peer(2)]);
    desk.now += 1_000;
    let mut out = assign(&mut desk, 1, &[ME, owner]);
    out.extend(desk.handle(InEvent::PeerUp { peer: owner }));
    out.extend(tell(&mut desk, owner, PeerMessage::Hello { log: 1, epoch: 1, ready: true }));
    let ask = found(&out, |output| match output {
        OutEvent::Tell { message: PeerMessage::Inventory { ask, .. }, .. } => Some(*ask),
        _ => None,
    });
    let digest = HeadsDigest { count: 1, ..HeadsDigest::default() };
    let partitions = vec![(at(STREAM), digest)];
    let inventory = PeerMessage::Inventoried { ask: ask.unwrap(), partitions, more: false };
    let out = tell(&mut desk, owner, inventory);
    let [OutEvent::DigestHeads { read, .. }] = out[..] else { panic!("{out:?}") };
    let out = desk.handle(InEvent::HeadsDigested { read, result: Ok(vec![HeadsDigest::default()]) });
    let [OutEvent::Tell { message: PeerMessage::Compare { ask, .. }, .. }] = out[..] else {
        panic!("{out:?}")
    };
    let batch = desk.seal(&mut series(1), "while nobody looked");
    let key = SeriesKey::of(batch.header());
    let summary = HeadsSummary::Heads(vec![(key, SeriesHead::after(&batch))]);
    tell(&mut desk, owner, PeerMessage::Compared { ask, summary });
    let out = desk.handle(InEvent::HeadRead { series: key, result: Ok(None) });
    let [OutEvent::ReadLast { read, .. }] = out[..] else { panic!("{out:?}") };
    (desk, read)
}

/// The store has told what came last; what is pulled then.
fn pulled(desk: &mut Desk, read: ReadToken, age_ms: i64) -> SeriesFrom {
    let received_at = desk.now - age_ms;
    let last = LastArrival { end: 7, received_at, before: received_at };
    assert!(desk.handle(InEvent::LastRead { read, result: Ok(last) }).is_empty());
    desk.now += 200;
    let out = desk.handle(InEvent::Tick);
    let from = found(&out, |output| match output {
        OutEvent::Tell { message: PeerMessage::Pull { from, .. }, .. } => Some(*from),
        _ => None,
    });
    from.unwrap_or_else(|| panic!("{out:?}"))
}

/// A reader comes back with a cursor of this log; how that ends, once the broker is ready.
fn comes_back(desk: &mut Desk, position: u64) -> Option<Code> {
    let start = ReadStart::Cursor(Cursor::Arrival { log: 7, position, skip: 0 });
    let subscribe = Subscribe { at: at(STREAM), start, filter: ReadFilter::ALL, live: true };
    let mut out = desk.handle(InEvent::Subscribe { session: SESSION, request: 1, subscribe });
    while !desk.node.is_ready() {
        desk.now += 500;
        tell(desk, peer(1), PeerMessage::Heads { heads: Vec::new() });
        out.extend(desk.handle(InEvent::Tick));
    }
    found(&out, |output| match output {
        OutEvent::Send { message: ServerMessage::Ended { refusal: Some(refusal), .. }, .. } => {
            Some(refusal.code)
        }
        _ => None,
    })
}

#[test]
fn what_has_come_since_it_had_something_is_news_to_readers_that_go_on_there() {
    let (mut desk, read) = given();
    let SeriesFrom::Age(age) = pulled(&mut desk, read, 30_000) else { panic!("it counts as history") };
    assert!((30_000..60_000).contains(&age), "{age}");
    assert_eq!(comes_back(&mut desk, 7), None);
}

#[test]
fn what_has_come_since_too_long_is_history_and_cursors_of_then_are_refused() {
    let (mut desk, read) = given();
    let from = pulled(&mut desk, read, RESUME_MS);
    assert!(matches!(from, SeriesFrom::Age(_)), "that is not too long: {from:?}");
    for (position, ended) in [(7, Some(Code::InvalidCursor)), (8, None)] {
        let (mut desk, read) = given();
        assert_eq!(pulled(&mut desk, read, RESUME_MS + 1), SeriesFrom::Sequence(0));
        assert_eq!(comes_back(&mut desk, position), ended, "at {position}");
    }
}

#[test]
fn what_has_come_since_it_was_given_is_not_what_was_here_before() {
    let (mut desk, read) = given();
    desk.now += 5_000;
    assert_eq!(pulled(&mut desk, read, 1_000), SeriesFrom::Sequence(0), "nothing was here before");
    assert_eq!(comes_back(&mut desk, 0), None);
}
