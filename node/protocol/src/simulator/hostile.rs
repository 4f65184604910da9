//! Brokers that are not what they seem: around an honest state machine stands one that changes what it says.

mod boasting;
mod hiding;
mod misleading;
mod planting;

use crate::{PeerBatch, PeerMessage};
use boasting::Boasting;
use hiding::Hiding;
use mainstem_model::{
    Address, BatchId, HeadsDigest, HeadsSummary, SeriesHead, SeriesKey, StreamPartition, VerifiedBatch,
};
use misleading::Misleading;
use planting::{Framing, Planting};
use std::{collections::VecDeque, fmt, sync::Arc};

/// What is going to be said, and to whom.
pub type Says = Vec<(Address, PeerMessage)>;

/// A broker's dishonesty.
pub trait Hostile: fmt::Debug {
    /// The honest part wants to say this; what is said instead.
    fn tell(
        &mut self,
        peer: Address,
        message: PeerMessage,
        draw: &mut dyn FnMut(u64) -> u64,
        says: &mut Says,
    );

    /// It has heard this, which the honest part is going to handle; what it says to that before.
    fn hear(&mut self, peer: Address, message: &PeerMessage, peers: &[Address], says: &mut Says) {
        let _ = (peer, message, peers, says);
    }

    /// Some time has passed; what it says unasked to those it has sessions with.
    fn tick(&mut self, peers: &[Address], draw: &mut dyn FnMut(u64) -> u64, says: &mut Says) {
        let _ = (peers, draw, says);
    }
}

/// The kinds of dishonesty that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostileKind {
    /// Greets and says nothing more.
    Silent,
    /// Keeps some batches back, and acts as if it had sent them.
    Withholding,
    /// Says that it holds what it does not, sends batches of those who may not publish and in wrong order, and lies about heads.
    Forging,
    /// Asks for everything all the time.
    Flooding,
    /// Agrees to everything and hides that there is anything: no batch, no head, no page. Several of them are an eclipse.
    Hiding,
    /// Follows everything, and says at once to everybody that it keeps what it has heard of.
    Boasting,
    /// Puts batches of those who may not publish, and of other series, among those that it was asked for.
    Planting,
    /// Tells two honest batches as the proof of an equivocation.
    Framing,
    /// Sends whoever wants to follow something on to its accomplices, or to itself.
    Misleading,
}

impl HostileKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Silent,
        Self::Withholding,
        Self::Forging,
        Self::Flooding,
        Self::Hiding,
        Self::Boasting,
        Self::Planting,
        Self::Framing,
        Self::Misleading,
    ];
    /// Those that are drawn from for a swarm.
    pub(crate) const SWARM: [Self; 4] = [Self::Silent, Self::Withholding, Self::Forging, Self::Flooding];

    /// One of this kind, in a stream of these partitions; `unlawful` are batches of one who may not publish, `liars` the hostile
    /// brokers.
    pub(crate) fn make(
        self,
        places: &[StreamPartition],
        unlawful: &[Arc<VerifiedBatch>],
        liars: &[Address],
    ) -> Box<dyn Hostile> {
        match self {
            Self::Silent => Box::new(Silent),
            Self::Withholding => Box::new(Withholding),
            Self::Forging => Box::new(Forging { unlawful: unlawful.to_vec(), seen: VecDeque::new() }),
            Self::Flooding => Box::new(Flooding { places: places.to_vec(), asked: 0 }),
            Self::Hiding => Box::new(Hiding),
            Self::Boasting => Box::new(Boasting::of(places)),
            Self::Planting => Box::new(Planting::of(unlawful)),
            Self::Framing => Box::new(Framing::default()),
            Self::Misleading => Box::new(Misleading::among(liars)),
        }
    }
}

#[derive(Debug)]
struct Silent;

impl Hostile for Silent {
    fn tell(&mut self, peer: Address, message: PeerMessage, _: &mut dyn FnMut(u64) -> u64, says: &mut Says) {
        if matches!(message, PeerMessage::Hello { .. }) {
            says.push((peer, message));
        }
    }
}

#[derive(Debug)]
struct Withholding;

impl Hostile for Withholding {
    fn tell(
        &mut self,
        peer: Address,
        message: PeerMessage,
        draw: &mut dyn FnMut(u64) -> u64,
        says: &mut Says,
    ) {
        let carries = matches!(
            message,
            PeerMessage::Feed { .. } | PeerMessage::Store { .. } | PeerMessage::Pulled { .. }
        );
        if !carries || draw(4) > 0 {
            says.push((peer, message));
        }
    }
}

/// Batches that are remembered to be sent in wrong order.
const SEEN_MAX: usize = 32;

#[derive(Debug)]
struct Forging {
    unlawful: Vec<Arc<VerifiedBatch>>,
    seen: VecDeque<Arc<VerifiedBatch>>,
}

impl Hostile for Forging {
    fn tell(
        &mut self,
        peer: Address,
        message: PeerMessage,
        draw: &mut dyn FnMut(u64) -> u64,
        says: &mut Says,
    ) {
        if let PeerMessage::Store { batch, .. } | PeerMessage::Feed { batch: PeerBatch::Proven(batch) } =
            &message
        {
            if self.seen.len() == SEEN_MAX {
                self.seen.pop_front();
            }
            self.seen.push_back(batch.clone());
        }
        let lie = draw(3) == 0;
        let message = match message {
            PeerMessage::Held { series, next_sequence, .. } if lie => PeerMessage::Held {
                series,
                next_sequence: next_sequence + draw(50),
                last: BatchId([draw(256) as u8; 32]),
                durable: true,
            },
            PeerMessage::Heads { mut heads } if lie => {
                for (_, head) in &mut heads {
                    head.next_sequence += draw(50);
                }
                PeerMessage::Heads { heads }
            }
            PeerMessage::Inventoried { ask, mut partitions, more } if lie => {
                for (_, digest) in &mut partitions {
                    *digest = false_digest(draw);
                }
                PeerMessage::Inventoried { ask, partitions, more }
            }
            PeerMessage::Compared { ask, summary } if lie => {
                PeerMessage::Compared { ask, summary: falsified(summary, draw) }
            }
            honest => honest,
        };
        says.push((peer, message));
    }

    fn tick(&mut self, peers: &[Address], draw: &mut dyn FnMut(u64) -> u64, says: &mut Says) {
        for peer in peers {
            let forged = draw(2) == 0 || self.seen.is_empty();
            let from: &[_] = if forged { &self.unlawful } else { self.seen.make_contiguous() };
            let Some(batch) = from.get(draw(from.len() as u64) as usize).cloned() else { continue };
            let series = SeriesKey::of(batch.header());
            says.push((
                *peer,
                match draw(4) {
                    0 => PeerMessage::Feed { batch: PeerBatch::Proven(batch) },
                    1 => PeerMessage::Store { durable: true, batch },
                    2 => {
                        PeerMessage::Held { series, next_sequence: u64::MAX, last: batch.id(), durable: true }
                    }
                    _ => PeerMessage::Heads { heads: vec![(series, SeriesHead::after(&batch))] },
                },
            ));
        }
    }
}

fn false_digest(draw: &mut dyn FnMut(u64) -> u64) -> HeadsDigest {
    HeadsDigest { count: draw(1_000_000), hash: [draw(256) as u8; 32] }
}

fn falsified(summary: HeadsSummary, draw: &mut dyn FnMut(u64) -> u64) -> HeadsSummary {
    match summary {
        HeadsSummary::Heads(mut heads) => {
            for (_, head) in &mut heads {
                head.next_sequence += draw(50);
                head.frozen = draw(2) == 0;
            }
            HeadsSummary::Heads(heads)
        }
        HeadsSummary::Parts(mut parts) => {
            for (_, digest) in &mut parts {
                *digest = false_digest(draw);
            }
            HeadsSummary::Parts(parts)
        }
    }
}

#[derive(Debug)]
struct Flooding {
    places: Vec<StreamPartition>,
    asked: u64,
}

impl Hostile for Flooding {
    fn tell(&mut self, peer: Address, message: PeerMessage, _: &mut dyn FnMut(u64) -> u64, says: &mut Says) {
        says.push((peer, message));
    }

    fn tick(&mut self, peers: &[Address], draw: &mut dyn FnMut(u64) -> u64, says: &mut Says) {
        for peer in peers {
            for _ in 0..10 {
                self.asked += 1;
                let ask = self.asked;
                let Some(at) = self.places.first().copied() else { continue };
                says.push((
                    *peer,
                    match draw(4) {
                        0 => PeerMessage::Inventory { ask, after: None },
                        1 => PeerMessage::Follow { at, full: true, since_ms: u64::MAX },
                        2 => PeerMessage::Fed { at, bytes: u64::MAX },
                        _ => PeerMessage::Hello { log: ask, epoch: ask as u32, ready: false },
                    },
                ));
            }
        }
    }
}
