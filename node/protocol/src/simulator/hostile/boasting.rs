use super::{Hostile, Says};
use crate::{PeerBatch, PeerMessage};
use mainstem_model::{Address, SeriesKey, StreamPartition, VerifiedBatch};

/// Between two askings for everything that it hears nothing of, in ticks.
const ASK_TICKS: u64 = 8;

/// Follows everything, and says at once to everybody that it keeps what it has heard of.
#[derive(Debug)]
pub(super) struct Boasting {
    places: Vec<StreamPartition>,
    ticks: u64,
}

impl Boasting {
    pub(super) fn of(places: &[StreamPartition]) -> Self {
        Self { places: places.to_vec(), ticks: 0 }
    }
}

fn held(batch: &VerifiedBatch) -> PeerMessage {
    let header = batch.header();
    let (series, next_sequence) = (SeriesKey::of(header), header.next_sequence());
    PeerMessage::Held { series, next_sequence, last: batch.id(), durable: true }
}

impl Hostile for Boasting {
    fn tell(&mut self, peer: Address, message: PeerMessage, _: &mut dyn FnMut(u64) -> u64, says: &mut Says) {
        let message = match message {
            // It goes on listening to what its honest part has no readers for.
            PeerMessage::Unfollow { .. } | PeerMessage::NotHeld { .. } => return,
            PeerMessage::Hello { log, epoch, .. } => PeerMessage::Hello { log, epoch, ready: true },
            honest => honest,
        };
        says.push((peer, message));
    }

    fn hear(&mut self, peer: Address, message: &PeerMessage, peers: &[Address], says: &mut Says) {
        match message {
            PeerMessage::Store { batch, .. } => says.push((peer, held(batch))),
            PeerMessage::Feed { batch: PeerBatch::Proven(batch) } => {
                says.extend(peers.iter().map(|peer| (*peer, held(batch))))
            }
            _ => {}
        }
    }

    fn tick(&mut self, peers: &[Address], _: &mut dyn FnMut(u64) -> u64, says: &mut Says) {
        self.ticks += 1;
        if self.ticks % ASK_TICKS != 1 {
            return;
        }
        for peer in peers {
            let asks = self.places.iter().map(|at| PeerMessage::Follow { at: *at, full: true, since_ms: 0 });
            says.extend(asks.map(|ask| (*peer, ask)));
        }
    }
}
