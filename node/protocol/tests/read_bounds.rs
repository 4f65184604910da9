//! What one session can make the store read.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on should say where, and with what"
)]

use mainstem_model::{
    Address, Code, Cursor, Grant, Partition, ReadFilter, ReadStart, RegistryChange, StreamId,
    StreamPartition, StreamRecord,
};
use mainstem_protocol::{
    Config, InEvent, Node, Now, OutEvent, ReadToken, ServerMessage, SessionId, Subscribe, SubscriptionId,
};

const SESSION: SessionId = SessionId(1);

fn at() -> StreamPartition {
    StreamId(Address([2; 20])).partition(Partition::ZERO)
}

/// A node with one public stream and one session.
fn node(config: Config) -> Node {
    let mut node = Node::new(config, 7);
    let record = StreamRecord {
        id: at().stream,
        owner: Address([9; 20]),
        metadata: "{}".into(),
        partitions: 1,
        storage_days: None,
        path: None,
        key_epoch: 0,
        created_at: 0,
    };
    let read = Grant { subscribe_until: Grant::FOREVER, ..Grant::NONE };
    give(&mut node, InEvent::Registry(RegistryChange::Stream(record)));
    give(&mut node, InEvent::Registry(RegistryChange::Grant(at().stream, Address::ZERO, read)));
    give(&mut node, InEvent::SessionOpened { session: SESSION, identity: None });
    node
}

fn give(node: &mut Node, event: InEvent) -> Vec<OutEvent> {
    let mut out = Vec::new();
    node.handle(event, Now { unix_ms: 1_000, up_ms: 1_000 }, &mut out);
    out
}

/// The subscription and the read that it waits for, or why there is none.
fn subscribe(node: &mut Node, start: ReadStart) -> Result<(SubscriptionId, ReadToken), Code> {
    let subscribe = Subscribe { at: at(), start, filter: ReadFilter::ALL, live: true };
    let out = give(node, InEvent::Subscribe { session: SESSION, request: 1, subscribe });
    let (mut subscription, mut read) = (None, None);
    for output in out {
        match output {
            OutEvent::Send { message: ServerMessage::Refused { refusal, .. }, .. } => {
                return Err(refusal.code);
            }
            OutEvent::Send { message: ServerMessage::Subscribed { subscription: id, .. }, .. } => {
                subscription = Some(id);
            }
            OutEvent::ResolveStart { read: token, .. } => read = Some(token),
            other => panic!("{other:?}"),
        }
    }
    Ok((subscription.unwrap(), read.unwrap()))
}

#[test]
fn the_last_n_events_are_bounded_at_exactly_the_published_number() {
    let mut node = node(Config { last_events_max: 10, ..Config::default() });
    assert!(subscribe(&mut node, ReadStart::Last(10)).is_ok());
    assert_eq!(subscribe(&mut node, ReadStart::Last(11)), Err(Code::InvalidArgument));
    assert_eq!(subscribe(&mut node, ReadStart::Last(1 << 60)), Err(Code::InvalidArgument));
}

#[test]
fn a_subscription_that_ended_keeps_its_place_until_the_store_has_read_for_it() {
    let mut node = node(Config { subscriptions_per_session_max: 2, ..Config::default() });
    let end = |node: &mut Node, subscription| {
        give(node, InEvent::Unsubscribe { session: SESSION, request: 2, subscription });
    };
    let here = Cursor::Arrival { log: 7, position: 0, skip: 0 };
    let (first, searching) = subscribe(&mut node, ReadStart::Last(5)).unwrap();
    let (second, resolved) = subscribe(&mut node, ReadStart::Last(5)).unwrap();
    end(&mut node, first);
    assert_eq!(subscribe(&mut node, ReadStart::Now), Err(Code::LimitReached));
    // The other one has a page on its way.
    let out = give(&mut node, InEvent::StartResolved { read: resolved, result: Ok(here) });
    let [OutEvent::ReadPage { read: page, .. }] = out[..] else { panic!("{out:?}") };
    end(&mut node, second);
    assert_eq!(subscribe(&mut node, ReadStart::Now), Err(Code::LimitReached));
    give(&mut node, InEvent::StartResolved { read: searching, result: Ok(here) });
    let (third, _) = subscribe(&mut node, ReadStart::Now).unwrap();
    assert_eq!(subscribe(&mut node, ReadStart::Now), Err(Code::LimitReached));
    let read = mainstem_protocol::Page { batches: Vec::new(), next: here, at_end: true, damaged: 0 };
    give(&mut node, InEvent::PageRead { read: page, result: Ok(read) });
    assert!(subscribe(&mut node, ReadStart::Now).is_ok());
    assert_ne!(third, second);
}
