//! A broker is given a partition of which it had something already, as it followed or kept it before.

use crate::desk::{Desk, ME, SESSION, STREAM, assign, at, broker, last_read, peer, series, tell};
use mainstem_crypto::Address;
use mainstem_model::{Code, Cursor, HeadsDigest, HeadsSummary, ReadFilter, ReadStart, SeriesHead, SeriesKey};
use mainstem_protocol::{
    Config, InEvent, LastArrival, OutEvent, PeerMessage, ReadToken, SeriesFrom, ServerMessage, Subscribe,
};

const RESUME_MS: i64 = 60_000;

const OWNER: Address = Address([1; 20]);

fn config() -> Config {
    Config { link_resume_ms: RESUME_MS, ..Config::default() }
}

/// A broker is given what others kept.
fn given() -> (Desk, ReadToken) {
    let mut desk = broker(config(), &[OWNER, peer(2)]);
    desk.now += 1_000;
    let out = assign(&mut desk, 1, &[ME, OWNER]);
    compares(desk, 1, out)
}

/// A broker is given what it kept before.
fn given_again() -> (Desk, ReadToken) {
    let mut desk = broker(config(), &[ME, OWNER]);
    assign(&mut desk, 1, &[OWNER, peer(2)]);
    desk.now += 1_000;
    let out = assign(&mut desk, 2, &[ME, OWNER]);
    compares(desk, 2, out)
}

/// It compares what it was given with an owner that has a series which is unknown here. Gives the question what was here before.
fn compares(mut desk: Desk, epoch: u32, mut out: Vec<OutEvent>) -> (Desk, ReadToken) {
    let owner = OWNER;
    out.extend(desk.handle(InEvent::PeerUp { peer: owner }));
    out.extend(tell(&mut desk, owner, PeerMessage::Hello { log: 1, epoch, ready: true }));
    let ask = out.iter().find_map(|output| match output {
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
    let from = out.iter().find_map(|output| match output {
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
    out.iter().find_map(|output| match output {
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
    // Positions of an earlier life of the process lie before the end.
    let first = [(6, Some(Code::InvalidCursor)), (7, None)].map(|of| (given as fn() -> _, of));
    let again = [(7, Some(Code::InvalidCursor)), (8, None)].map(|of| (given_again as fn() -> _, of));
    for (given, (position, ended)) in first.into_iter().chain(again) {
        let (mut desk, read) = given();
        assert_eq!(pulled(&mut desk, read, RESUME_MS + 1), SeriesFrom::Sequence(0));
        assert_eq!(comes_back(&mut desk, position), ended, "at {position}");
        assert_eq!(comes_back(&mut desk, position), ended, "at {position}, again");
    }
}

#[test]
fn cursors_that_led_nowhere_while_it_followed_lead_nowhere_when_it_is_given_that() {
    for (position, ended) in [(5, Some(Code::InvalidCursor)), (8, None)] {
        let mut desk = broker(config(), &[OWNER, peer(2)]);
        desk.handle(InEvent::PeerUp { peer: OWNER });
        let subscribe =
            Subscribe { at: at(STREAM), start: ReadStart::Now, filter: ReadFilter::ALL, live: true };
        let out = desk.handle(InEvent::Subscribe { session: SESSION, request: 9, subscribe });
        let read = last_read(&out).unwrap();
        let received_at = desk.now - RESUME_MS - 1;
        let last = LastArrival { end: 7, received_at, before: received_at };
        desk.handle(InEvent::LastRead { read, result: Ok(last) });
        desk.now += 1_000;
        assign(&mut desk, 1, &[ME, OWNER]);
        assert!(!desk.node.is_ready());
        assert_eq!(comes_back(&mut desk, position), ended, "at {position}");
        assert_eq!(comes_back(&mut desk, position), ended, "at {position}, as it is ready");
    }
}

#[test]
fn what_has_come_since_it_was_given_is_not_what_was_here_before() {
    let (mut desk, read) = given();
    desk.now += 5_000;
    assert_eq!(pulled(&mut desk, read, 1_000), SeriesFrom::Sequence(0), "nothing was here before");
    assert_eq!(comes_back(&mut desk, 0), None);
}
