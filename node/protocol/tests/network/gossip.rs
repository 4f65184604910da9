//! Brokers that tell each other everything they know, whenever they meet: too dear to be of use, and right by its simplicity.
//! What holds of them must hold in the simulator, and what they do wrong must be found.

use crate::seeds::{check_of, run_of};
use bytes::Bytes;
use mainstem_model::{
    Ack, AckLevel, Address, Batch, BatchId, Code, HeadsSummary, Origin, SeriesId, SeriesKey, SeriesRange,
    VerifiedBatch, Verifier,
};
use mainstem_protocol::{
    Counters, InEvent, Node, Now, OutEvent, PeerMessage, ReadToken, SeriesStart, ServerMessage, SessionId,
    simulator::{CHAIN, FaultKind, Faults, Machine, Seat, Settings},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
};

/// Others publish here as if they were one client.
const OTHERS: SessionId = SessionId(u64::MAX);

/// What it can bear: it passes on no proof of an equivocation, and does not know which batches came before a right was taken.
const FAULTS: [FaultKind; 13] = [
    FaultKind::Kill,
    FaultKind::PowerLoss,
    FaultKind::Wipe,
    FaultKind::Pause,
    FaultKind::SlowDisk,
    FaultKind::ClockStep,
    FaultKind::Reset,
    FaultKind::Stall,
    FaultKind::Partition,
    FaultKind::Epoch,
    FaultKind::RevokeSubscriber,
    FaultKind::ClientsMove,
    FaultKind::SlowReader,
];

/// Its own reads, which the broker within never asks for.
const LOOK: ReadToken = ReadToken(u64::MAX);
/// Few, so that it meets summaries in parts.
const HEADS_MAX: usize = 2;

#[derive(Debug)]
struct Gossip {
    node: Node,
    peers: BTreeSet<Address>,
    known: Vec<Arc<VerifiedBatch>>,
    ids: BTreeSet<BatchId>,
    /// Told by others and not taken in yet, maybe for want of those before.
    waiting: BTreeMap<(SeriesKey, u64), Arc<VerifiedBatch>>,
    requests: BTreeMap<u64, (SeriesKey, u64)>,
    last_request: u64,
    verifier: Verifier,
    /// Has begun to look for what its disk holds.
    looked: bool,
    /// Of so many batches one is told to nobody.
    silent_one_in: usize,
}

fn gossip<const SILENT_ONE_IN: usize>(seat: &Seat<'_>) -> Box<dyn Machine> {
    let mut node = Node::new(seat.config.clone(), seat.log);
    let opened = InEvent::SessionOpened { session: OTHERS, identity: None };
    node.handle(opened, Now { unix_ms: 0, up_ms: 0 }, &mut Vec::new());
    Box::new(Gossip {
        node,
        peers: BTreeSet::new(),
        known: Vec::new(),
        ids: BTreeSet::new(),
        waiting: BTreeMap::new(),
        requests: BTreeMap::new(),
        last_request: 0,
        verifier: Verifier::new(CHAIN),
        looked: false,
        silent_one_in: SILENT_ONE_IN,
    })
}

impl Gossip {
    fn publish(&mut self, place: (SeriesKey, u64), now: Now, out: &mut Vec<OutEvent>) {
        let Some(batch) = self.waiting.get(&place).cloned() else { return };
        self.last_request += 1;
        self.requests.insert(self.last_request, place);
        let (request, ack) = (self.last_request, AckLevel::Accepted.into());
        self.pass(InEvent::Publish { session: OTHERS, request, ack, batch }, now, out);
    }

    /// Lets the broker alone handle an event, and tells everybody what it takes in.
    fn pass(&mut self, event: InEvent, now: Now, out: &mut Vec<OutEvent>) {
        let mut own = Vec::new();
        self.node.handle(event, now, &mut own);
        for output in own {
            match output {
                OutEvent::Send { session: OTHERS, message } => self.hear(message),
                OutEvent::Append { ref batch, .. } => {
                    let batch = batch.clone();
                    out.push(output);
                    self.tell(batch, out);
                }
                other => out.push(other),
            }
        }
    }

    fn hear(&mut self, message: ServerMessage) {
        match message {
            ServerMessage::Ack { request, .. } => {
                if let Some(place) = self.requests.remove(&request) {
                    self.waiting.remove(&place);
                }
            }
            ServerMessage::Refused { request, refusal } => {
                let place = self.requests.remove(&request);
                if refusal.code == Code::MissingPermission {
                    // Only a liar passes on what nobody may publish.
                    place.map(|place| self.waiting.remove(&place));
                } else {
                    assert_eq!(refusal.code, Code::SeriesGap, "{refusal}");
                }
            }
            _ => {}
        }
    }

    fn prove(&self, bytes: Bytes) -> Arc<VerifiedBatch> {
        Arc::new(self.verifier.verify(Batch::decode(bytes).unwrap()).unwrap())
    }

    fn tell(&mut self, batch: Arc<VerifiedBatch>, out: &mut Vec<OutEvent>) {
        if !self.ids.insert(batch.id()) {
            return;
        }
        self.known.push(batch.clone());
        if self.silent_one_in > 0 && self.known.len().is_multiple_of(self.silent_one_in) {
            self.known.pop();
            return;
        }
        for peer in &self.peers {
            out.push(OutEvent::Tell { peer: *peer, message: store(&batch) });
        }
    }
}

fn read_series(series: SeriesKey, from: u64) -> OutEvent {
    let from = SeriesStart::Sequence(from);
    OutEvent::ReadSeries { read: LOOK, series, from, until: u64::MAX, bytes_max: 2_000 }
}

fn store(batch: &Arc<VerifiedBatch>) -> PeerMessage {
    PeerMessage::Store { durable: false, batch: batch.clone() }
}

impl Machine for Gossip {
    fn handle(&mut self, event: InEvent, now: Now, out: &mut Vec<OutEvent>) {
        match event {
            InEvent::PeerUp { peer } => {
                self.peers.insert(peer);
                out.extend(self.known.iter().map(|it| OutEvent::Tell { peer, message: store(it) }));
            }
            InEvent::PeerDown { peer } => {
                self.peers.remove(&peer);
            }
            // The broker within is alone, and keeps everything once.
            InEvent::Publish { session, request, ack, batch } => {
                let ack = ack.level.into();
                self.pass(InEvent::Publish { session, request, ack, batch }, now, out);
            }
            InEvent::Assigned(_) => {}
            InEvent::Peer { message: PeerMessage::Store { batch, .. }, .. } => {
                let place = (SeriesKey::of(batch.header()), batch.header().sequence);
                if !self.ids.contains(&batch.id()) && self.waiting.insert(place, batch).is_none() {
                    self.publish(place, now, out);
                }
            }
            InEvent::Tick => {
                if !mem::replace(&mut self.looked, true) {
                    out.push(OutEvent::ListPartitions { read: LOOK, after: None, max: usize::MAX });
                }
                let asked: BTreeSet<_> = self.requests.values().copied().collect();
                let places: Vec<_> =
                    self.waiting.keys().filter(|place| !asked.contains(place)).copied().collect();
                for place in places {
                    self.publish(place, now, out);
                }
                self.pass(InEvent::Tick, now, out);
            }
            InEvent::PartitionsListed { result, .. } => {
                let (none, all) = (Address::ZERO, Address([0xFF; 20]));
                for at in result.unwrap() {
                    let first = (Origin::ethereum(none), SeriesId(0));
                    let last = (Origin::ethereum(all), SeriesId(u64::MAX));
                    let range = SeriesRange { at, first, last };
                    out.push(OutEvent::SummarizeHeads { read: LOOK, range, heads_max: HEADS_MAX, parts: 3 });
                }
            }
            InEvent::HeadsSummarized { result, .. } => match result.unwrap() {
                HeadsSummary::Heads(heads) => {
                    for (series, _) in heads {
                        out.push(read_series(series, 0));
                    }
                }
                HeadsSummary::Parts(parts) => {
                    for (range, _) in parts {
                        out.push(OutEvent::SummarizeHeads {
                            read: LOOK,
                            range,
                            heads_max: HEADS_MAX,
                            parts: 3,
                        });
                    }
                }
            },
            InEvent::SeriesRead { result, .. } => {
                let page = result.unwrap();
                let batches: Vec<_> = page.batches.into_iter().map(|bytes| self.prove(bytes)).collect();
                if let Some(last) = batches.last().filter(|_| page.more) {
                    let header = last.header();
                    out.push(read_series(SeriesKey::of(header), header.next_sequence()));
                }
                for batch in batches {
                    self.tell(batch, out);
                }
            }
            other => self.pass(other, now, out),
        }
    }

    fn counters(&self) -> Counters {
        let counters = self.node.counters();
        Counters { sessions: counters.sessions - 1, ..counters }
    }
}

fn settings(seed: u64) -> Settings {
    let kinds: Vec<_> = Settings::swarm(seed).faults.kinds().filter(|kind| FAULTS.contains(kind)).collect();
    let (faults, hostile) = (Faults::of(&kinds), Settings::swarm(seed).hostile);
    let ack = Some(Ack::new(AckLevel::Durable, 1));
    Settings { replicas: Some(7), ack, faults, hostile, ..Settings::quiet(seed) }
}

#[test]
fn brokers_that_tell_each_other_everything_hold_and_deliver_everything() {
    check_of(gossip::<0>, 10, 30, settings);
}

#[test]
fn brokers_that_keep_some_batches_to_themselves_are_found() {
    let found = (0..3).find_map(|seed| run_of(gossip::<50>, settings(seed), 20).0.err());
    println!("{}", found.expect("nothing was found"));
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| run_of(gossip::<0>, settings(seed), 10).1.trace();
    for seed in 100..104 {
        assert_eq!(trace(seed), trace(seed), "SEED={seed}");
    }
    assert_ne!(trace(100), trace(101));
}
