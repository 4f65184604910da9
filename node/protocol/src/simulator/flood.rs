//! What others do: each broker passes each new batch on to all of its neighbours. It keeps nothing and repairs nothing; it is
//! here to be compared with.

use super::{
    machine::{Machine, Seat},
    random::mix,
};
use crate::{Counters, InEvent, Now, OutEvent, PeerMessage, ServerMessage, SessionId, SubscriptionId};
use mainstem_model::{Ack, AckLevel, Address, BatchId, Cursor, VerifiedBatch};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A broker that floods.
#[derive(Debug)]
pub struct Flood {
    /// Whom it looks for; about as many others look for it.
    sought: Vec<Address>,
    neighbours: BTreeSet<Address>,
    seen: BTreeSet<BatchId>,
    readers: BTreeMap<SessionId, u64>,
    counters: Counters,
    log: u64,
}

impl Flood {
    /// One with about `DEGREE` neighbours drawn at random.
    pub fn with_degree<const DEGREE: u64>(seat: &Seat<'_>) -> Box<dyn Machine> {
        let draw =
            |n: u64| mix(mix(seat.number as u64 + 1).wrapping_add(n)) % seat.brokers.len().max(1) as u64;
        let others = (0..u64::MAX).map(|n| draw(n) as usize).filter(|other| *other != seat.number);
        let wanted = (DEGREE / 2).min(seat.brokers.len() as u64 - 1) as usize;
        let mut sought = Vec::new();
        for other in if wanted == 0 { None } else { Some(others) }.into_iter().flatten() {
            if let Some(address) = seat.brokers.get(other).filter(|address| !sought.contains(*address)) {
                sought.push(*address);
            }
            if sought.len() >= wanted {
                break;
            }
        }
        Box::new(Self {
            sought,
            neighbours: BTreeSet::new(),
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
        for neighbour in self.neighbours.iter().filter(|it| Some(**it) != from) {
            let message = PeerMessage::Feed { batch: batch.clone() };
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
                self.neighbours.insert(peer);
            }
            InEvent::PeerDown { peer } => {
                self.neighbours.remove(&peer);
            }
            InEvent::Peer { peer, message: PeerMessage::Feed { batch } } => {
                self.take(Some(peer), &batch, now, out);
            }
            InEvent::Tick => {
                for peer in self.sought.iter().filter(|peer| !self.neighbours.contains(*peer)) {
                    out.push(OutEvent::Connect { peer: *peer });
                }
            }
            _ => {}
        }
    }

    fn counters(&self) -> Counters {
        self.counters.clone()
    }
}
