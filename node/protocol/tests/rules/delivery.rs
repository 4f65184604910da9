use crate::desk::{Desk, SESSION, START_MS, STREAM, appended, at, refused, series, start_read};
use bytes::Bytes;
use mainstem_crypto::Address;
use mainstem_model::{
    Code, Cursor, Grant, ReadFilter, ReadStart, RegistryChange, StreamId, limits::BATCH_BYTES_MAX,
};
use mainstem_protocol::{
    Config, InEvent, OutEvent, Page, PastBatch, ReadToken, ServerMessage, SessionId, Subscribe,
    SubscriptionId,
};
use std::collections::{BTreeMap, VecDeque};

const MIB: usize = 1 << 20;
const HERE: Cursor = Cursor::Arrival { log: 7, position: 0, skip: 0 };

fn everything() -> Subscribe {
    Subscribe { at: at(STREAM), start: ReadStart::From, filter: ReadFilter::ALL, live: true }
}

fn page(batch: &Bytes) -> Page {
    let batch = PastBatch { bytes: batch.clone(), cursor: HERE, count: 1, received_at: START_MS };
    Page { batches: vec![batch], next: HERE, at_end: false, damaged: 0 }
}

fn subscription(out: &[OutEvent]) -> SubscriptionId {
    out.iter()
        .find_map(|output| match output {
            OutEvent::Send { message: ServerMessage::Subscribed { subscription, .. }, .. } => {
                Some(*subscription)
            }
            _ => None,
        })
        .unwrap()
}

fn pages(out: &[OutEvent]) -> Vec<ReadToken> {
    out.iter()
        .filter_map(|output| if let OutEvent::ReadPage { read, .. } = output { Some(*read) } else { None })
        .collect()
}

fn subscribe(desk: &mut Desk, session: SessionId) -> (SubscriptionId, Vec<OutEvent>) {
    let out = desk.handle(InEvent::Subscribe { session, request: 1, subscribe: everything() });
    let (id, read) = (subscription(&out), start_read(&out).unwrap());
    (id, desk.handle(InEvent::StartResolved { read, result: Ok(HERE) }))
}

#[test]
fn a_thousand_readers_of_large_batches_share_the_nodes_room_and_each_gets_its_turn() {
    let config = Config { delivery_queue_bytes_max: 16 * MIB, ..Config::default() };
    let mut desk = Desk::new(config);
    let batch = Bytes::from(vec![0; MIB]);
    let mut reads = VecDeque::new();
    for n in 0..1_000 {
        desk.open(SessionId(10 + n));
        let (_, out) = subscribe(&mut desk, SessionId(10 + n));
        reads.extend(pages(&out));
    }
    // Read as they ask, flush the oldest only when no read is under way.
    let mut handed: VecDeque<(SessionId, SubscriptionId)> = VecDeque::new();
    let mut got: BTreeMap<SessionId, u32> = BTreeMap::new();
    for _ in 0..20_000 {
        let out = match reads.pop_front() {
            Some(read) => desk.handle(InEvent::PageRead { read, result: Ok(page(&batch)) }),
            None => {
                let (session, subscription) =
                    handed.pop_front().expect("nobody reads and nobody has anything");
                desk.handle(InEvent::Flushed { session, subscription, bytes: MIB })
            }
        };
        reads.extend(pages(&out));
        for output in &out {
            if let OutEvent::Send { session, message: ServerMessage::Deliver { subscription, .. } } = output {
                handed.push_back((*session, *subscription));
                *got.entry(*session).or_default() += 1;
            }
        }
        // A page under way may bring the greatest batch there is.
        let held = handed.len() * MIB + reads.len() * BATCH_BYTES_MAX;
        assert!(held <= 16 * MIB, "{held} bytes are on their way");
        assert_eq!(desk.node.counters().delivery_queue_bytes, held as u64);
    }
    let (least, most) = (got.values().min().unwrap(), got.values().max().unwrap());
    assert!(
        got.len() == 1_000 && most - least <= 1,
        "from {least} to {most} batches for {} readers",
        got.len()
    );
}

#[test]
fn a_newcomer_reads_at_once_beside_a_thousand_readers_that_take_nothing() {
    let mut desk = Desk::new(Config { delivery_queue_bytes_max: 64 * MIB, ..Config::default() });
    let small = PastBatch { bytes: vec![0; 16 << 10].into(), cursor: HERE, count: 1, received_at: START_MS };
    let mut reads = VecDeque::new();
    let asked = |out: &[OutEvent]| -> Vec<_> {
        let page = |output: &OutEvent| match output {
            OutEvent::ReadPage { read, bytes_max, .. } => Some((*read, *bytes_max)),
            _ => None,
        };
        out.iter().filter_map(page).collect()
    };
    for n in 0..1_000 {
        desk.open(SessionId(10 + n));
        reads.extend(asked(&subscribe(&mut desk, SessionId(10 + n)).1));
    }
    // As the store reads: as much as may be, at least one batch. Nobody flushes anything.
    while let Some((read, bytes_max)) = reads.pop_front() {
        let batches = vec![small.clone(); (bytes_max / small.bytes.len()).max(1)];
        let page = Page { batches, next: HERE, at_end: false, damaged: 0 };
        reads.extend(asked(&desk.handle(InEvent::PageRead { read, result: Ok(page) })));
    }
    let held = desk.node.counters().delivery_queue_bytes;
    assert!(held < 62 * MIB as u64, "{held} bytes are held by readers that take nothing");
    desk.open(SessionId(2));
    assert_eq!(pages(&subscribe(&mut desk, SessionId(2)).1).len(), 1, "the newcomer waits");
}

#[test]
fn a_session_at_its_bound_does_not_keep_others_waiting() {
    let mut desk = Desk::new(Config { session_queue_bytes_max: 2 * BATCH_BYTES_MAX, ..Config::default() });
    let reads: usize = (0..10).map(|_| pages(&subscribe(&mut desk, SESSION).1).len()).sum();
    assert_eq!(reads, 2);
    desk.open(SessionId(2));
    assert_eq!(pages(&subscribe(&mut desk, SessionId(2)).1).len(), 1);
}

#[test]
fn sessions_that_read_nothing_end_when_others_wait_for_their_room() {
    let mut desk = Desk::new(Config { delivery_queue_bytes_max: BATCH_BYTES_MAX, ..Config::default() });
    let (_, out) = subscribe(&mut desk, SESSION);
    let [read] = pages(&out)[..] else { panic!("{out:?}") };
    desk.handle(InEvent::PageRead { read, result: Ok(page(&Bytes::from(vec![0; MIB]))) });
    desk.now += 60_000;
    assert_eq!(refused(&desk.handle(InEvent::Tick)), None, "nobody waits");
    desk.open(SessionId(2));
    assert_eq!(pages(&subscribe(&mut desk, SessionId(2)).1), []);
    desk.now += 9_000;
    assert_eq!(refused(&desk.handle(InEvent::Tick)), None, "nobody has waited for long");
    desk.now += 1_000;
    let out = desk.handle(InEvent::Tick);
    assert_eq!(refused(&out), Some(Code::Overloaded));
    assert!(matches!(out[..], [OutEvent::Send { session: SESSION, .. }]), "{out:?}");
    assert_eq!(pages(&desk.handle(InEvent::SessionClosed { session: SESSION })).len(), 1);
}

#[test]
fn what_an_ended_subscription_still_holds_counts_until_it_is_let_go() {
    let config = Config { subscriptions_per_session_max: 1, ..Config::default() };
    let mut desk = Desk::new(config);
    let again = InEvent::Subscribe { session: SESSION, request: 9, subscribe: everything() };

    // A read for the start.
    let out = desk.handle(again.clone());
    let (subscription, read) = (subscription(&out), start_read(&out).unwrap());
    desk.handle(InEvent::Unsubscribe { session: SESSION, request: 2, subscription });
    assert_eq!(refused(&desk.handle(again.clone())), Some(Code::LimitReached));
    desk.handle(InEvent::StartResolved { read, result: Ok(HERE) });

    // A page, and its room.
    let (subscription, out) = subscribe(&mut desk, SESSION);
    let [read] = pages(&out)[..] else { panic!("{out:?}") };
    desk.handle(InEvent::Unsubscribe { session: SESSION, request: 2, subscription });
    assert_eq!(refused(&desk.handle(again.clone())), Some(Code::LimitReached));
    assert_eq!(desk.node.counters().delivery_queue_bytes, BATCH_BYTES_MAX as u64);
    assert_eq!(
        desk.handle(InEvent::PageRead { read, result: Ok(page(&Bytes::from(vec![0; MIB]))) }).len(),
        0
    );
    assert_eq!(desk.node.counters().delivery_queue_bytes, 0);

    // What was handed out, until the transport took it.
    let (subscription, out) = subscribe(&mut desk, SESSION);
    let [read] = pages(&out)[..] else { panic!("{out:?}") };
    desk.handle(InEvent::PageRead { read, result: Ok(page(&Bytes::from(vec![0; MIB]))) });
    desk.handle(InEvent::Unsubscribe { session: SESSION, request: 2, subscription });
    assert_eq!(desk.node.counters().delivery_queue_bytes, MIB as u64);
    desk.handle(InEvent::Flushed { session: SESSION, subscription, bytes: usize::MAX });
    assert_eq!(desk.node.counters().delivery_queue_bytes, 0);
}

#[test]
fn the_node_has_a_bound_of_subscriptions() {
    let mut desk = Desk::new(Config { subscriptions_max: 1, ..Config::default() });
    subscribe(&mut desk, SESSION);
    desk.open(SessionId(2));
    let more = InEvent::Subscribe { session: SessionId(2), request: 1, subscribe: everything() };
    assert_eq!(refused(&desk.handle(more)), Some(Code::LimitReached));
}

#[test]
fn a_reader_whose_grant_runs_out_ends_at_that_second_and_one_whose_grant_was_prolonged_does_not() {
    let mut desk = Desk::new(Config::default());
    let until = START_MS as u64 / 1000 + 10;
    let grant = |until| Grant { subscribe_until: until, ..Grant::NONE };
    let change = |who, until| InEvent::Registry(RegistryChange::Grant(STREAM, who, grant(until)));
    desk.handle(change(Address::ZERO, 0));
    let (early, late) = (Address([5; 20]), Address([6; 20]));
    for (who, session) in [(early, SessionId(5)), (late, SessionId(6))] {
        desk.handle(change(who, until));
        desk.handle(InEvent::SessionOpened { session, identity: Some(who) });
        subscribe(&mut desk, session);
    }
    desk.handle(change(late, until + 10));
    let ended = |out: &[OutEvent]| -> Vec<SessionId> {
        out.iter()
            .filter_map(|output| match output {
                OutEvent::Send { session, message: ServerMessage::Ended { refusal: Some(_), .. } } => {
                    Some(*session)
                }
                _ => None,
            })
            .collect()
    };
    desk.now += 10_999;
    assert_eq!(ended(&desk.handle(InEvent::Tick)), [], "the last second is included");
    desk.now += 1;
    assert_eq!(ended(&desk.handle(InEvent::Tick)), [SessionId(5)]);
    desk.now += 10_000;
    assert_eq!(ended(&desk.handle(InEvent::Tick)), [SessionId(6)]);
}

#[test]
fn a_change_of_one_streams_rights_costs_nothing_for_readers_of_another() {
    // Forty million looks at readers of another stream take several seconds, none take milliseconds.
    let mut desk = Desk::new(Config { subscriptions_per_session_max: 10_000, ..Config::default() });
    let other = StreamId(Address([8; 20]));
    desk.add_stream(other);
    for _ in 0..10_000 {
        subscribe(&mut desk, SESSION);
    }
    let began = std::time::Instant::now();
    for _ in 0..2_000 {
        desk.handle(InEvent::Registry(RegistryChange::Grant(other, Address([5; 20]), Grant::NONE)));
        desk.handle(InEvent::Tick);
    }
    assert!(began.elapsed().as_secs() < 2, "{:?}", began.elapsed());
}

#[test]
fn a_live_reader_hears_of_damage_in_the_page_where_it_is_met() {
    let told = |out: &[OutEvent]| -> Vec<(u64, bool)> {
        out.iter()
            .filter_map(|output| match output {
                OutEvent::Send { message: ServerMessage::CaughtUp { damaged, more, .. }, .. } => {
                    Some((*damaged, *more))
                }
                _ => None,
            })
            .collect()
    };
    // So small that a reader with one batch on its way falls behind with the next.
    let config = Config { session_queue_bytes_max: 0, ..Config::default() };
    let mut desk = Desk::new(config);
    let (subscription, out) = subscribe(&mut desk, SESSION);
    let mut read = pages(&out)[0];
    // In the middle of the past, at its end without damage, and after it was caught up and fell behind.
    for (damaged, at_end, expected) in [(2, false, (2, true)), (0, true, (0, false))] {
        let page = Page { batches: vec![], next: HERE, at_end, damaged };
        let out = desk.handle(InEvent::PageRead { read, result: Ok(page) });
        assert_eq!(told(&out), [expected]);
        read = pages(&out).first().copied().unwrap_or(read);
    }
    let mut writer = series(1);
    let mut stored = |desk: &mut Desk, number: u64| {
        let batch = desk.seal(&mut writer, "live");
        let out = if number == 0 { desk.begin(SESSION, &batch) } else { desk.publish(SESSION, &batch) };
        desk.handle(InEvent::Stored { writes: vec![(appended(&out), number)] })
    };
    let out = stored(&mut desk, 0);
    assert_eq!(desk.node.counters().batches_delivered, 1, "{out:?}");
    let next = Cursor::Arrival { log: 7, position: 2, skip: 0 };
    stored(&mut desk, 1);
    assert_eq!(desk.node.counters().subscriptions_lagged, 1);
    let out = desk.handle(InEvent::Flushed { session: SESSION, subscription, bytes: usize::MAX });
    let [read] = pages(&out)[..] else { panic!("{out:?}") };
    let page = Page { batches: vec![], next, at_end: true, damaged: 1 };
    assert_eq!(told(&desk.handle(InEvent::PageRead { read, result: Ok(page) })), [(1, false)]);
}
