//! Who tells whom: owners that are full, brokers that pass on what they are told, and what must not close to a ring.

use crate::desk::{
    Desk, ME, SESSION, STREAM, appended, at, broker, broker_beside, last_read, peer, series, start_read, tell,
};
use mainstem_crypto::Address;
use mainstem_model::{
    Code, Cursor, HeadsSummary, ReadFilter, ReadStart, Refusal, SeriesHead, SeriesKey, VerifiedBatch,
};
use mainstem_protocol::{
    Config, InEvent, LastArrival, Misdeed, OutEvent, PeerBatch, PeerFault, PeerMessage, PullEnd, SeriesFrom,
    ServerMessage, Subscribe,
};
use std::{collections::BTreeSet, sync::Arc};

fn follow(desk: &mut Desk, peer: Address, full: bool) -> Vec<OutEvent> {
    desk.handle(InEvent::PeerUp { peer });
    tell(desk, peer, PeerMessage::Follow { at: at(STREAM), full, since_ms: 0 })
}

fn followed(full: bool, path: &[Address]) -> PeerMessage {
    PeerMessage::Followed { at: at(STREAM), full, path: path.to_vec() }
}

fn full(instead: &[Address]) -> PeerMessage {
    let refusal = Refusal::new(Code::LimitReached, "full");
    PeerMessage::NotFollowed { at: at(STREAM), refusal, instead: instead.to_vec() }
}

fn subscribe(desk: &mut Desk) -> Vec<OutEvent> {
    let subscribe = Subscribe { at: at(STREAM), start: ReadStart::Now, filter: ReadFilter::ALL, live: true };
    desk.handle(InEvent::Subscribe { session: SESSION, request: 1, subscribe })
}

/// The path that a link was granted with.
fn granted(out: &[OutEvent]) -> Option<Vec<Address>> {
    out.iter().find_map(|output| match output {
        OutEvent::Tell { message: PeerMessage::Followed { path, .. }, .. } => Some(path.clone()),
        _ => None,
    })
}

/// Who was named instead of a link.
fn named(out: &[OutEvent]) -> Option<Vec<Address>> {
    out.iter().find_map(|output| match output {
        OutEvent::Tell { message: PeerMessage::NotFollowed { instead, .. }, .. } => Some(instead.clone()),
        _ => None,
    })
}

/// Whom it asks, and whether for all batches.
fn asked(out: &[OutEvent]) -> Vec<(Address, bool)> {
    let asked = out.iter().filter_map(|output| match output {
        OutEvent::Tell { peer, message: PeerMessage::Follow { full, .. } } => Some((*peer, *full)),
        _ => None,
    });
    asked.collect()
}

fn connects(out: &[OutEvent]) -> BTreeSet<Address> {
    let wanted = out.iter().filter_map(|output| match output {
        OutEvent::Connect { peer } => Some(*peer),
        _ => None,
    });
    wanted.collect()
}

/// A reader came, the owner was full, and a relay that it named has said yes.
fn below_a_relay(owner: Address, relay: Address) -> Desk {
    let mut desk = broker(Config::default(), &[owner]);
    assert_eq!(connects(&subscribe(&mut desk)), [owner].into());
    assert_eq!(asked(&desk.handle(InEvent::PeerUp { peer: owner })), [(owner, true)]);
    assert_eq!(connects(&tell(&mut desk, owner, full(&[relay]))), [relay].into());
    assert!(asked(&desk.handle(InEvent::PeerUp { peer: relay })).contains(&(relay, true)));
    tell(&mut desk, relay, followed(true, &[owner]));
    desk
}

/// A reader came: the first of these owners tells batches, the other one heads. Nothing was here before.
fn linked() -> (Desk, [Address; 2]) {
    let owners = [peer(1), peer(2)];
    let mut desk = broker(Config::default(), &owners);
    for (owner, log) in owners.into_iter().zip([1, 2]) {
        desk.handle(InEvent::PeerUp { peer: owner });
        tell(&mut desk, owner, PeerMessage::Hello { log, epoch: 0, ready: true });
    }
    let out = subscribe(&mut desk);
    let links = asked(&out);
    let [(link, true), (other, false)] = links[..] else { panic!("{links:?}") };
    let read = last_read(&out).expect("it looks what is here");
    let result = Ok(LastArrival { end: 5, received_at: i64::MIN, before: i64::MIN });
    desk.handle(InEvent::LastRead { read, result });
    tell(&mut desk, link, followed(true, &[]));
    tell(&mut desk, other, followed(false, &[]));
    (desk, [link, other])
}

#[test]
fn an_owner_that_is_full_names_those_that_it_tells_and_not_always_the_same_first() {
    let config = Config { relay_degree: 2, relay_heads_degree: 1, ..Config::default() };
    let mut desk = broker(config, &[ME]);
    for number in [1, 2] {
        assert_eq!(granted(&follow(&mut desk, peer(number), true)), Some(vec![]));
    }
    let names = [3, 4].map(|number| named(&follow(&mut desk, peer(number), true)).unwrap());
    assert!(names.iter().all(|names| names.len() == 2), "{names:?}");
    assert_ne!(names[0][0], names[1][0]);
    assert_eq!(granted(&follow(&mut desk, peer(3), false)), Some(vec![]), "heads have a bound of their own");
    assert!(named(&follow(&mut desk, peer(4), false)).is_some());
    let again = PeerMessage::Follow { at: at(STREAM), full: true, since_ms: 0 };
    assert!(granted(&tell(&mut desk, peer(1), again)).is_some(), "who has a link keeps it");
    desk.handle(InEvent::PeerDown { peer: peer(1) });
    assert!(granted(&follow(&mut desk, peer(4), true)).is_some(), "there is room again");
}

#[test]
fn a_broker_that_follows_passes_it_on_and_says_by_which_way_it_comes() {
    let (owner, relay) = (peer(1), peer(2));
    let mut desk = broker(Config::default(), &[owner]);
    subscribe(&mut desk);
    assert!(granted(&follow(&mut desk, peer(3), true)).is_none(), "nothing comes here yet");
    let mut desk = below_a_relay(owner, relay);
    assert_eq!(granted(&follow(&mut desk, peer(3), true)), Some(vec![relay, owner]));
    let moved = tell(&mut desk, relay, followed(true, &[peer(9), owner]));
    assert_eq!(granted(&moved), Some(vec![relay, peer(9), owner]), "its own followers hear of it");
    assert_eq!(granted(&tell(&mut desk, relay, followed(true, &[peer(9), owner]))), None, "it is no news");
}

#[test]
fn no_ring_closes() {
    let (owner, relay) = (peer(1), peer(2));
    let mut desk = below_a_relay(owner, relay);
    assert_eq!(named(&follow(&mut desk, relay, true)), Some(vec![]), "it comes from there");
    let mut desk = below_a_relay(owner, relay);
    let out = tell(&mut desk, relay, followed(true, &[ME, owner]));
    let left = |output: &OutEvent| matches!(output, OutEvent::Tell { peer, message: PeerMessage::Unfollow { .. } } if *peer == relay);
    assert!(out.iter().any(left), "{out:?}");
}

#[test]
fn the_links_are_in_the_trees_of_different_owners() {
    let owners = [peer(1), peer(2), peer(3), peer(4)];
    let mut desk = broker_beside(&owners);
    let links = asked(&subscribe(&mut desk));
    let [(root, true), (other, false), (third, false)] = links[..] else { panic!("{links:?}") };
    assert_eq!(BTreeSet::from([root, other, third]).len(), 3);
    // One that tells heads goes, and the one that tells all is a relay of the first owner's.
    tell(&mut desk, root, full(&[peer(9)]));
    desk.handle(InEvent::PeerUp { peer: peer(9) });
    tell(&mut desk, peer(9), followed(true, &[root]));
    let links = asked(&desk.handle(InEvent::PeerDown { peer: other }));
    let [(another, false)] = links[..] else { panic!("{links:?}") };
    assert!(![root, other, third].contains(&another), "{another} is on the way of what comes");
}

#[test]
fn a_session_that_was_asked_for_and_is_of_no_more_use_is_given_up() {
    let (owner, relay) = (peer(1), peer(2));
    let mut desk = below_a_relay(owner, relay);
    // The owner tells no heads: it is of no use any more.
    let refusal = Refusal::new(Code::NotAssigned, "no");
    tell(&mut desk, owner, PeerMessage::NotFollowed { at: at(STREAM), refusal, instead: Vec::new() });
    let mut parted = BTreeSet::new();
    for _ in 0..40 {
        desk.now += 500;
        for peer in [owner, relay] {
            tell(&mut desk, peer, PeerMessage::Heads { heads: Vec::new() });
        }
        let out = desk.handle(InEvent::Tick);
        parted.extend(out.iter().filter_map(|output| match output {
            OutEvent::Part { peer } => Some(*peer),
            _ => None,
        }));
        // It is asked for heads again and again, as there is no other owner.
        for (peer, _) in asked(&out) {
            tell(&mut desk, peer, full(&[]));
        }
    }
    assert!(!parted.contains(&relay), "it tells what comes");
}

/// Time passes in which these are heard. Gives what was asked for.
fn live(desk: &mut Desk, peers: [Address; 2], ms: i64) -> Vec<OutEvent> {
    let mut out = Vec::new();
    for _ in 0..ms / 100 {
        desk.now += 100;
        for peer in peers {
            out.extend(tell(desk, peer, PeerMessage::Heads { heads: Vec::new() }));
        }
        out.extend(desk.handle(InEvent::Tick));
    }
    out
}

#[test]
fn a_link_whose_batch_found_no_room_here_has_withheld_nothing() {
    let owners = [peer(1), peer(2)];
    let mut desk = broker_beside(&owners);
    let links = asked(&subscribe(&mut desk));
    let [(link, true), (other, false)] = links[..] else { panic!("{links:?}") };
    tell(&mut desk, link, followed(true, &[]));
    tell(&mut desk, other, followed(false, &[]));
    live(&mut desk, owners, 5_000);
    let mut writer = series(1);
    let [first, second, third] = ["1", "2", "3"].map(|text| desk.seal(&mut writer, text));
    let key = SeriesKey::of(first.header());
    let feed = |batch: &Arc<VerifiedBatch>| PeerMessage::Feed { batch: PeerBatch::Proven(batch.clone()) };
    tell(&mut desk, link, feed(&first));
    desk.handle(InEvent::HeadRead { series: key, result: Ok(None) });

    let answer = PeerMessage::Fed { at: at(STREAM), bytes: second.bytes().len() as u64 };
    let fault = PeerFault::NoRoom { answer: Some(Box::new(answer)) };
    let out = desk.handle(InEvent::PeerFaulty { peer: link, fault });
    assert!(matches!(out[..], [OutEvent::Tell { message: PeerMessage::Fed { .. }, .. }]), "{out:?}");
    tell(&mut desk, other, PeerMessage::Heads { heads: vec![(key, SeriesHead::after(&second))] });
    let out = live(&mut desk, owners, 1_000);
    let pull = out.iter().find_map(|output| match output {
        OutEvent::Tell { peer, message: PeerMessage::Pull { pull, .. } } => Some((*peer, *pull)),
        _ => None,
    });
    let (source, pull) = pull.expect("what found no room is pulled");
    tell(&mut desk, source, PeerMessage::Pulled { pull, batch: PeerBatch::Proven(second) });
    tell(&mut desk, source, PeerMessage::PullEnd { pull, result: Ok(PullEnd { base: 0, more: false }) });
    let mut out = tell(&mut desk, link, feed(&third));
    assert!(out.iter().any(|output| matches!(output, OutEvent::Append { .. })), "{out:?}");
    out.extend(live(&mut desk, owners, 3_000));
    let left =
        |output: &OutEvent| matches!(output, OutEvent::Tell { message: PeerMessage::Unfollow { .. }, .. });
    assert!(!out.iter().any(left), "the link is left");
    assert_eq!(desk.node.counters().misdeeds.get(&Misdeed::Withheld), None);
}

#[test]
fn a_reader_of_the_past_is_told_what_came_lately_and_was_lacking_where_it_was() {
    let (mut desk, [link, _]) = linked();
    let batch = desk.seal(&mut series(1), "not yet at all owners");
    tell(&mut desk, link, PeerMessage::Feed { batch: PeerBatch::Proven(batch.clone()) });
    let write =
        appended(&desk.handle(InEvent::HeadRead { series: SeriesKey::of(batch.header()), result: Ok(None) }));
    desk.handle(InEvent::Stored { writes: vec![(write, 5)] });

    let subscribe = Subscribe { at: at(STREAM), start: ReadStart::From, filter: ReadFilter::ALL, live: true };
    let out = desk.handle(InEvent::Subscribe { session: SESSION, request: 2, subscribe });
    let end = Cursor::Arrival { log: 7, position: 6, skip: 0 };
    let read = start_read(&out).expect("it looks where the own log ends");
    let out = desk.handle(InEvent::StartResolved { read, result: Ok(end) });
    let [OutEvent::Tell { peer, message: PeerMessage::Resolve { read, .. } }] = out[..] else {
        panic!("{out:?}")
    };
    // There is nothing there.
    let nothing = Ok(Cursor::Arrival { log: 1, position: 0, skip: 0 });
    let out = tell(&mut desk, peer, PeerMessage::Resolved { read, result: nothing });
    let [OutEvent::ReadPage { cursor, .. }] = &out[..] else { panic!("{out:?}") };
    assert_eq!(*cursor, Cursor::Arrival { log: 7, position: 5, skip: 0 }, "it goes on behind what it lacks");
}

#[test]
fn a_follower_that_comes_back_compares_with_as_many_owners_as_links_and_again_where_nobody_has_answered() {
    let owners = [peer(1), peer(2), peer(3), peer(4)];
    let mut desk = broker_beside(&owners);
    let out = subscribe(&mut desk);
    let links = asked(&out);
    let (read, received_at) = (last_read(&out).expect("it looks what is here"), desk.now - 1_000);
    let result = Ok(LastArrival { end: 5, received_at, before: received_at });
    desk.handle(InEvent::LastRead { read, result });
    let compared = |out: &[OutEvent]| -> Vec<_> {
        let asks = out.iter().filter_map(|output| match output {
            OutEvent::Tell { peer, message: PeerMessage::Compare { ask, .. } } => Some((*peer, *ask)),
            _ => None,
        });
        asks.collect()
    };
    let asks = compared(&tell(&mut desk, links[0].0, followed(true, &[])));
    let [(link, _), (other, _), (silent, _)] = asks[..] else { panic!("{asks:?}") };
    assert_eq!(link, links[0].0, "also who tells batches");
    assert_eq!(compared(&desk.handle(InEvent::Tick)), [], "they are asked");
    for (owner, ask) in &asks[..2] {
        let summary = HeadsSummary::Heads(Vec::new());
        tell(&mut desk, *owner, PeerMessage::Compared { ask: *ask, summary });
    }
    desk.handle(InEvent::PeerDown { peer: other });
    assert_eq!(compared(&desk.handle(InEvent::PeerUp { peer: other })), [], "it has answered");
    desk.handle(InEvent::PeerDown { peer: silent });
    // Nobody says that it has to be the same one.
    assert_eq!(compared(&desk.handle(InEvent::Tick)).len(), 1);
}

#[test]
fn a_cursor_of_a_broker_that_does_not_answer_is_not_called_nobodys() {
    for (log, why) in [(9, Code::InvalidCursor), (1, Code::Overloaded), (2, Code::Overloaded)] {
        let (mut desk, _) = linked();
        let start = ReadStart::Cursor(Cursor::Arrival { log, position: 3, skip: 0 });
        let subscribe = Subscribe { at: at(STREAM), start, filter: ReadFilter::ALL, live: true };
        let mut out = desk.handle(InEvent::Subscribe { session: SESSION, request: 2, subscribe });
        if let Some(read) = start_read(&out) {
            let end = Cursor::Arrival { log: 7, position: 6, skip: 0 };
            out.extend(desk.handle(InEvent::StartResolved { read, result: Ok(end) }));
        }
        desk.now += Config::default().pull_wait_ms;
        out.extend(desk.handle(InEvent::Tick));
        let ended = out.iter().find_map(|output| match output {
            OutEvent::Send { message: ServerMessage::Ended { refusal: Some(refusal), .. }, .. } => {
                Some(refusal.code)
            }
            _ => None,
        });
        assert_eq!(ended, Some(why), "of the log {log}: {out:?}");
    }
}

#[test]
fn a_fork_that_shows_while_a_series_is_pulled_has_its_other_batch_asked_for() {
    let (mut desk, [link, other]) = linked();
    let owners = [link, other];
    live(&mut desk, owners, 5_000);
    let mine = desk.seal(&mut series(1), "one branch");
    let mut writer = series(1);
    let [_, second] = ["another branch", "goes on"].map(|text| desk.seal(&mut writer, text));
    let key = SeriesKey::of(mine.header());
    tell(&mut desk, link, PeerMessage::Feed { batch: PeerBatch::Proven(mine) });
    desk.handle(InEvent::HeadRead { series: key, result: Ok(None) });

    let heads = vec![(key, SeriesHead::after(&second))];
    let mut out = tell(&mut desk, other, PeerMessage::Heads { heads });
    out.extend(live(&mut desk, owners, 1_000));
    let pulled = |out: &[OutEvent]| {
        out.iter().find_map(|output| match output {
            OutEvent::Tell { peer, message: PeerMessage::Pull { pull, from, until, .. } } => {
                Some((*peer, *pull, *from, *until))
            }
            _ => None,
        })
    };
    let (source, pull, from, _) = pulled(&out).expect("what is behind it is pulled");
    assert_eq!(from, SeriesFrom::Sequence(1));
    let mut out = tell(&mut desk, source, PeerMessage::Pulled { pull, batch: PeerBatch::Proven(second) });
    let end = PullEnd { base: 0, more: false };
    out.extend(tell(&mut desk, source, PeerMessage::PullEnd { pull, result: Ok(end) }));
    let (_, _, from, until) =
        pulled(&out).unwrap_or_else(|| panic!("the other batch is not asked for: {out:?}"));
    assert_eq!((from, until), (SeriesFrom::Sequence(0), 1));
}
