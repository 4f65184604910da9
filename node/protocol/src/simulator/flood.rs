//! What others do: each broker passes each new batch on to all of its neighbours, and, as gossipsub does, tells some others
//! now and then what it has had of late. It keeps nothing and fills up nothing; it is here to be compared with.

use super::{
    machine::{Machine, Seat},
    random::mix,
};
use crate::{
    Counters, InEvent, Now, OutEvent, PeerBatch, PeerMessage, SeriesFrom, ServerMessage, SessionId,
    SubscriptionId,
};
use mainstem_model::{Ack, AckLevel, Address, BatchId, Cursor, SeriesKey, VerifiedBatch};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Gossipsub's parameters, as networks of thousands have them: neighbours, others that are told what there is, how often they
/// are, and for how long it is told.
const GOSSIP_DEGREE: u64 = 8;
const GOSSIP_LAZY: usize = 6;
const HEARTBEAT_MS: i64 = 1_000;
const TOLD_FOR_MS: i64 = 3 * HEARTBEAT_MS;

/// A broker that floods.
#[derive(Debug)]
pub struct Flood {
    /// Whom it looks for, and whether as a neighbour; about as many others look for it.
    sought: BTreeMap<Address, bool>,
    neighbours: BTreeSet<Address>,
    /// Those with a session who are no neighbours.
    others: BTreeSet<Address>,
    /// How many of the others are told what there is.
    lazy: usize,
    beaten_at: i64,
    recent: BTreeMap<(SeriesKey, u64), (i64, Arc<VerifiedBatch>)>,
    seen: BTreeSet<BatchId>,
    readers: BTreeMap<SessionId, u64>,
    counters: Counters,
    log: u64,
}

impl Flood {
    /// One with about `DEGREE` neighbours drawn at random.
    pub fn with_degree<const DEGREE: u64>(seat: &Seat<'_>) -> Box<dyn Machine> {
        Self::seated(seat, DEGREE, 0)
    }

    /// One that has gossipsub's parameters.
    pub fn gossipsub(seat: &Seat<'_>) -> Box<dyn Machine> {
        Self::seated(seat, GOSSIP_DEGREE, GOSSIP_LAZY)
    }

    fn seated(seat: &Seat<'_>, degree: u64, lazy: usize) -> Box<dyn Machine> {
        let draw =
            |n: u64| mix(mix(seat.number as u64 + 1).wrapping_add(n)) % seat.brokers.len().max(1) as u64;
        let others = (0..u64::MAX).map(|n| draw(n) as usize).filter(|other| *other != seat.number);
        let near = degree as usize / 2;
        let wanted = (near + lazy / 2).min(seat.brokers.len() - 1);
        let mut sought = BTreeMap::new();
        for other in if wanted == 0 { None } else { Some(others) }.into_iter().flatten() {
            if let Some(address) = seat.brokers.get(other).filter(|address| !sought.contains_key(*address)) {
                sought.insert(*address, sought.len() < near);
            }
            if sought.len() >= wanted {
                break;
            }
        }
        Box::new(Self {
            sought,
            neighbours: BTreeSet::new(),
            others: BTreeSet::new(),
            lazy,
            beaten_at: 0,
            recent: BTreeMap::new(),
            seen: BTreeSet::new(),
            readers: BTreeMap::new(),
            counters: Counters::default(),
            log: seat.log,
        })
    }

    fn take(&mut self, from: Option<Address>, batch: &Arc<VerifiedBatch>, now: Now, out: &mut Vec<OutEvent>) {
        if !self.seen.insert(batch.id()) {
            return;
        }
        if self.lazy > 0 {
            let place = (SeriesKey::of(batch.header()), batch.header().next_sequence());
            self.recent.insert(place, (now.up_ms, batch.clone()));
        }
        for neighbour in self.neighbours.iter().filter(|it| Some(**it) != from) {
            let message = PeerMessage::Feed { batch: PeerBatch::Proven(batch.clone()) };
            out.push(OutEvent::Tell { peer: *neighbour, message });
        }
        for (session, position) in &mut self.readers {
            let cursor = Cursor::Arrival { log: self.log, position: *position, skip: 0 };
            *position += 1;
            let message = ServerMessage::Deliver {
                subscription: SubscriptionId(1),
                cursor,
                received_at: now.unix_ms,
                batch: batch.bytes().clone(),
            };
            out.push(OutEvent::Send { session: *session, message });
        }
    }
}

impl Flood {
    /// Tells some of the others what it has had of late.
    fn beat(&mut self, now: Now, out: &mut Vec<OutEvent>) {
        if self.lazy == 0 || now.up_ms - self.beaten_at < HEARTBEAT_MS {
            return;
        }
        self.beaten_at = now.up_ms;
        self.recent.retain(|_, (at, _)| now.up_ms - *at < TOLD_FOR_MS);
        let first = mix(self.log ^ now.up_ms as u64) as usize % self.others.len().max(1);
        let some = self.others.iter().cycle().skip(first).take(self.lazy.min(self.others.len()));
        for peer in some {
            for ((series, next_sequence), (_, batch)) in &self.recent {
                let (series, next_sequence, last) = (*series, *next_sequence, batch.id());
                let message = PeerMessage::Held { series, next_sequence, last, durable: false };
                out.push(OutEvent::Tell { peer: *peer, message });
            }
        }
    }

    fn hear(&mut self, peer: Address, message: PeerMessage, now: Now, out: &mut Vec<OutEvent>) {
        match message {
            PeerMessage::Feed { batch: PeerBatch::Proven(batch) }
            | PeerMessage::Pulled { batch: PeerBatch::Proven(batch), .. } => {
                self.take(Some(peer), &batch, now, out);
            }
            PeerMessage::Follow { .. } => {
                self.others.remove(&peer);
                self.neighbours.insert(peer);
            }
            PeerMessage::Held { series, next_sequence, last, .. } if !self.seen.contains(&last) => {
                let from = SeriesFrom::Sequence(next_sequence);
                let message = PeerMessage::Pull { pull: 0, series, from, until: next_sequence, bytes_max: 0 };
                out.push(OutEvent::Tell { peer, message });
            }
            PeerMessage::Pull { series, until, .. } => {
                if let Some((_, batch)) = self.recent.get(&(series, until)) {
                    let batch = PeerBatch::Proven(batch.clone());
                    out.push(OutEvent::Tell { peer, message: PeerMessage::Pulled { pull: 0, batch } });
                }
            }
            _ => {}
        }
    }
}

impl Machine for Flood {
    fn handle(&mut self, event: InEvent, now: Now, out: &mut Vec<OutEvent>) {
        match event {
            InEvent::SessionOpened { .. } => self.counters.sessions += 1,
            InEvent::SessionClosed { session } => {
                self.counters.sessions -= 1;
                self.readers.remove(&session);
            }
            InEvent::Publish { session, request, batch, .. } => {
                self.take(None, &batch, now, out);
                let ack = Ack::from(AckLevel::Accepted);
                let message = ServerMessage::Ack { request, batch: batch.id(), ack, duplicate: false };
                out.push(OutEvent::Send { session, message });
            }
            InEvent::Subscribe { session, request, .. } => {
                self.readers.insert(session, 0);
                let subscription = SubscriptionId(1);
                let cursor = Cursor::Arrival { log: self.log, position: 0, skip: 0 };
                for message in [
                    ServerMessage::Subscribed { request, subscription },
                    ServerMessage::CaughtUp { subscription, cursor, events: 0, damaged: 0, more: false },
                ] {
                    out.push(OutEvent::Send { session, message });
                }
            }
            InEvent::PeerUp { peer } => {
                if self.lazy == 0 {
                    self.neighbours.insert(peer);
                } else if self.sought.get(&peer) == Some(&true) {
                    self.neighbours.insert(peer);
                    let at = mainstem_model::StreamId(peer).partition(mainstem_model::Partition::ZERO);
                    let message = PeerMessage::Follow { at, full: true, since_ms: 0 };
                    out.push(OutEvent::Tell { peer, message });
                } else {
                    self.others.insert(peer);
                }
            }
            InEvent::PeerDown { peer } => {
                self.neighbours.remove(&peer);
                self.others.remove(&peer);
            }
            InEvent::Peer { peer, message } => self.hear(peer, message, now, out),
            InEvent::Tick => {
                let there = |peer: &&Address| self.neighbours.contains(*peer) || self.others.contains(*peer);
                for peer in self.sought.keys().filter(|peer| !there(peer)) {
                    out.push(OutEvent::Connect { peer: *peer });
                }
                self.beat(now, out);
            }
            _ => {}
        }
    }

    fn counters(&self) -> Counters {
        self.counters.clone()
    }
}
