//! The view against a chain that changes its mind: whatever happened, it equals a view built from scratch, and so does
//! the copy of whoever applied its changes.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test prints its figures and fails by panicking"
)]

mod common;

use mainstem_chain::{BlockId, Epoch, NetworkEvent, RegistryEvent, Segment, View};
use mainstem_crypto::{Address, keccak256};
use mainstem_model::{EpochNumber, Grant, Registry, Seed, ShardCount, StreamId};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::collections::{BTreeMap, BTreeSet};

/// What the contracts would hold: so that the events are ones that they could write.
#[derive(Clone, Default)]
struct Contracts {
    owners: BTreeMap<StreamId, Address>,
    labels: BTreeMap<StreamId, (Address, String)>,
    removed: BTreeSet<StreamId>,
    created: u64,
    epochs: EpochNumber,
    /// Who is registered: active from, and leaving at.
    brokers: BTreeMap<Address, (EpochNumber, Option<EpochNumber>)>,
}

#[derive(Clone)]
struct Block {
    id: BlockId,
    parent: [u8; 32],
    events: Vec<RegistryEvent>,
    network: Vec<NetworkEvent>,
    after: Contracts,
}

struct Chain {
    rng: StdRng,
    blocks: Vec<Block>,
    made: u64,
}

fn account(n: u8) -> Address {
    Address([n; 20])
}

impl Chain {
    fn new(seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), blocks: Vec::new(), made: 0 }
    }

    fn mine(&mut self) {
        let number = self.blocks.len() as u64;
        let mut state = self.blocks.last().map(|block| block.after.clone()).unwrap_or_default();
        let mut events = Vec::new();
        for _ in 0..self.rng.random_range(0..5) {
            self.happen(&mut state, &mut events, number);
        }
        let mut network = Vec::new();
        for _ in 0..self.rng.random_range(0..3) {
            network.extend(self.network(&mut state));
        }
        self.made += 1;
        let hash = keccak256(&self.made.to_be_bytes());
        let parent = self.blocks.last().map_or([0; 32], |block| block.id.hash);
        self.blocks.push(Block { id: BlockId { number, hash }, parent, events, network, after: state });
    }

    fn happen(&mut self, state: &mut Contracts, events: &mut Vec<RegistryEvent>, number: u64) {
        let rng = &mut self.rng;
        let who = account(rng.random_range(0..4));
        let grant = Grant {
            subscribe_until: rng.random_range(0..3),
            publish_until: rng.random_range(0..3),
            flags: rng.random_range(0..3),
        };
        let streams: Vec<StreamId> = state.owners.keys().copied().collect();
        if streams.is_empty() || rng.random_bool(0.2) {
            // The salt is reused after a reorg, so the same address is born anew.
            state.created += 1;
            let stream = StreamId(Address([0x40 + (state.created % 64) as u8; 20]));
            if state.owners.contains_key(&stream) {
                return;
            }
            let owner = account(rng.random_range(1..4));
            state.owners.insert(stream, owner);
            events.push(RegistryEvent::Created { stream, owner, at_s: number * 10 });
            events.push(RegistryEvent::Owner(stream, owner));
            events.push(RegistryEvent::Metadata(
                stream,
                format!("{{\"partitions\":{}}}", rng.random_range(0..9)),
            ));
            events.push(RegistryEvent::Granted(stream, owner, grant));
            return;
        }
        let stream = streams[rng.random_range(0..streams.len())];
        let gone = state.removed.contains(&stream);
        // Of a contract that is no stream.
        let hostile = StreamId(account(0xee));
        match rng.random_range(0..12) {
            0 => events.push(RegistryEvent::Revoked(who, [rng.random_range(0..4); 32])),
            1 => {
                let label = (state.owners[&stream], ["a", "b", "c"][rng.random_range(0..3)].to_owned());
                let taken = state.labels.values().any(|other| *other == label);
                if !taken && !state.labels.contains_key(&stream) {
                    events.push(RegistryEvent::Listed(stream, label.0, label.1.clone()));
                    state.labels.insert(stream, label);
                }
            }
            2 if state.labels.remove(&stream).is_some() => events.push(RegistryEvent::Unlisted(stream)),
            3 => events.push(RegistryEvent::Granted(hostile, who, grant)),
            4 => events.push(RegistryEvent::Owner(hostile, who)),
            5 => events.push(RegistryEvent::Metadata(hostile, "{}".to_owned())),
            6 => events.push(RegistryEvent::Removed(hostile)),
            _ if gone => {}
            7 => {
                let from = state.owners.insert(stream, who).unwrap();
                events.push(RegistryEvent::Owner(stream, who));
                events.push(RegistryEvent::Granted(stream, from, Grant::NONE));
                events.push(RegistryEvent::Granted(stream, who, grant));
            }
            8 => events.push(RegistryEvent::KeyEpoch(stream, number)),
            9 => events.push(RegistryEvent::Metadata(stream, format!("{{\"storageDays\":{number}}}"))),
            10 if rng.random_bool(0.3) => {
                state.removed.insert(stream);
                events.push(RegistryEvent::Removed(stream));
            }
            _ => events.push(RegistryEvent::Granted(stream, who, grant)),
        }
    }

    /// What the coordinator could log next.
    fn network(&mut self, state: &mut Contracts) -> Vec<NetworkEvent> {
        let (rng, epoch) = (&mut self.rng, state.epochs.saturating_sub(1));
        let broker = account(rng.random_range(1..6));
        let weight = rng.random_range(32..=255);
        let endpoint = NetworkEvent::EndpointSet {
            broker,
            peer_addresses: vec![format!("/ip4/127.0.0.1/udp/{}", rng.random_range(1..9))],
            metadata: "{}".to_owned(),
        };
        let what = if state.epochs == 0 { 0 } else { rng.random_range(0..7) };
        match (what, state.brokers.get(&broker).copied()) {
            (0 | 1, _) => {
                let number = state.epochs;
                state.epochs += 1;
                vec![NetworkEvent::EpochBegan(Epoch {
                    number,
                    // Another one whenever it begins anew.
                    seed: Seed(rng.random()),
                    started_at_s: number.into(),
                    shards: ShardCount::new(8 << (number / 16).min(4)).unwrap(),
                    active: 0,
                })]
            }
            (2, None) => {
                state.brokers.insert(broker, (epoch + 2, None));
                vec![NetworkEvent::Registered { broker, weight, active_from: epoch + 2 }, endpoint]
            }
            (3, Some((_, None))) => vec![endpoint],
            (4, Some((active_from, None))) if active_from <= epoch => {
                vec![NetworkEvent::WeightSet { broker, weight, from_epoch: epoch + 1 }]
            }
            (5, Some((active_from, None))) => {
                let leave_at = if active_from <= epoch { epoch + 1 } else { epoch };
                state.brokers.insert(broker, (active_from, Some(leave_at)));
                vec![NetworkEvent::Left { broker, leave_at }]
            }
            (6, Some((_, Some(leave_at)))) if leave_at <= epoch => {
                state.brokers.remove(&broker);
                vec![NetworkEvent::StakeWithdrawn(broker)]
            }
            _ => Vec::new(),
        }
    }

    /// Blocks `first` to `last` as one segment.
    fn segment(&self, first: u64, last: u64) -> Segment {
        let blocks = &self.blocks[first as usize..=last as usize];
        Segment {
            first,
            parent: blocks[0].parent,
            last: blocks.last().unwrap().id,
            events: blocks.iter().flat_map(|block| block.events.clone()).collect(),
            network: blocks.iter().flat_map(|block| block.network.clone()).collect(),
        }
    }

    fn head(&self) -> u64 {
        self.blocks.len() as u64 - 1
    }

    /// A view built from the first block, in segments of random lengths.
    fn fresh(&mut self, undo_blocks: u64) -> View {
        let mut view = View::new(undo_blocks);
        let mut first = 0;
        while first <= self.head() {
            let last = (first + self.rng.random_range(0..4)).min(self.head());
            view.apply(self.segment(first, last)).unwrap();
            first = last + 1;
        }
        view
    }
}

#[test]
fn through_any_reorg_the_view_and_its_consumer_equal_a_fresh_resync() {
    let seed = common::seed(1);
    let (mut undone, mut overflown, mut members) = (0, 0, 0);
    for round in 0..300 {
        let undo_blocks = [0, 1, 4, 16][round % 4];
        let mut chain = Chain::new(seed + round as u64);
        chain.mine();
        let mut view = View::new(undo_blocks);
        let mut consumer = Registry::default();
        for _ in 0..60 {
            if chain.rng.random_bool(0.3) {
                let keep = chain.blocks.len().saturating_sub(chain.rng.random_range(1..9)).max(1);
                chain.blocks.truncate(keep);
            }
            for _ in 0..chain.rng.random_range(1..4) {
                chain.mine();
            }
            let on_chain = |block: &BlockId| {
                chain.blocks.get(block.number as usize).is_some_and(|other| other.id == *block)
            };
            let base = view.known().find(on_chain);
            let head = chain.head();
            let changes = match base {
                None if view.head().is_some() => {
                    overflown += 1;
                    assert!(view.apply(chain.segment(1, head)).is_err());
                    let fresh = chain.fresh(undo_blocks);
                    let changes = view.difference(&fresh);
                    view = fresh;
                    changes
                }
                base => {
                    undone += usize::from(base != view.head());
                    let first = base.map_or(0, |base| base.number + 1);
                    if first > head {
                        continue;
                    }
                    let middle = chain.rng.random_range(first..=head);
                    let mut changes = view.apply(chain.segment(first, middle)).unwrap();
                    if middle < head {
                        changes.extend(view.apply(chain.segment(middle + 1, head)).unwrap());
                    }
                    changes
                }
            };
            for change in changes {
                consumer.apply(change);
            }
            let fresh = chain.fresh(undo_blocks);
            assert_eq!(view.registry(), fresh.registry(), "SEED={seed} round {round}");
            assert_eq!(&consumer, fresh.registry(), "SEED={seed} round {round}: the consumer");
            assert_eq!(view.brokers(), fresh.brokers(), "SEED={seed} round {round}: the brokers");
            members += view.brokers().network(3, 8).map_or(0, |network| network.assignment.members.len());
            assert_eq!(view.head(), fresh.head());
            assert!(view.known().count() as u64 <= undo_blocks + 1, "the ring is bounded");
            assert!(view.difference(&fresh).is_empty());
        }
    }
    println!("{undone} reorgs undone, {overflown} deeper than the ring");
    assert!(undone > 1_000 && overflown > 500 && members > 10_000, "{members} members");
}

#[test]
fn events_of_contracts_that_are_no_streams_change_nothing() {
    let hostile = StreamId(account(0xee));
    let grant = Grant { flags: 7, subscribe_until: Grant::FOREVER, publish_until: Grant::FOREVER };
    let mut view = View::new(8);
    let events = vec![
        RegistryEvent::Owner(hostile, account(1)),
        RegistryEvent::Metadata(hostile, "{}".to_owned()),
        RegistryEvent::Granted(hostile, account(1), grant),
        RegistryEvent::KeyEpoch(hostile, 9),
        RegistryEvent::Removed(hostile),
    ];
    let last = BlockId { number: 0, hash: [1; 32] };
    let changes =
        view.apply(Segment { first: 0, parent: [0; 32], last, events, network: Vec::new() }).unwrap();
    assert_eq!(changes, []);
    assert_eq!(view.registry(), &Registry::default());
}

#[test]
fn a_stream_has_its_path_only_while_it_belongs_to_who_listed_it() {
    let (stream, alice, bob) = (StreamId(account(9)), account(1), account(2));
    let mut view = View::new(8);
    let mut parent = [0; 32];
    let mut number = 0;
    let mut apply = |view: &mut View, events| {
        let last = BlockId { number, hash: keccak256(&parent) };
        view.apply(Segment { first: number, parent, last, events, network: Vec::new() }).unwrap();
        (parent, number) = (last.hash, number + 1);
    };
    let created = RegistryEvent::Created { stream, owner: alice, at_s: 5 };
    apply(&mut view, vec![created, RegistryEvent::Listed(stream, alice, "p".to_owned())]);
    assert_eq!(view.registry().alias(alice, "p"), Some(stream));
    apply(&mut view, vec![RegistryEvent::Owner(stream, bob)]);
    assert_eq!((view.registry().alias(alice, "p"), view.registry().alias(bob, "p")), (None, None));
    apply(&mut view, vec![RegistryEvent::Owner(stream, alice)]);
    assert_eq!(view.registry().alias(alice, "p"), Some(stream));
}

#[test]
fn a_block_that_stands_on_no_known_block_is_refused_and_changes_nothing() {
    let mut chain = Chain::new(3);
    for _ in 0..10 {
        chain.mine();
    }
    let mut view = chain.fresh(4);
    let before = view.registry().clone();
    for (first, parent) in
        [(10, [9; 32]), (9, [9; 32]), (12, chain.blocks[9].id.hash), (3, chain.blocks[2].id.hash)]
    {
        let last = BlockId { number: first, hash: [8; 32] };
        let events = vec![RegistryEvent::Revoked(account(1), [1; 32])];
        let segment = Segment { first, parent, last, events, network: Vec::new() };
        assert!(view.apply(segment).is_err(), "block {first}");
        assert_eq!((view.registry(), view.head()), (&before, Some(chain.blocks[9].id)));
    }
}
