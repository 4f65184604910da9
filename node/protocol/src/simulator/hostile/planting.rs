use super::{Hostile, SEEN_MAX, Says};
use crate::{PastBatch, PeerBatch, PeerMessage};
use mainstem_model::{Address, Cursor, SeriesHead, SeriesKey, VerifiedBatch};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// Puts batches of those who may not publish, and of other series, among those that it was asked for.
#[derive(Debug)]
pub(super) struct Planting {
    unlawful: Vec<Arc<VerifiedBatch>>,
    seen: VecDeque<Arc<VerifiedBatch>>,
    planted: usize,
}

impl Planting {
    pub(super) fn of(unlawful: &[Arc<VerifiedBatch>]) -> Self {
        Self { unlawful: unlawful.to_vec(), seen: VecDeque::new(), planted: 0 }
    }

    /// Something of somebody else's: the unlawful in order, as their series would be pulled, else what was seen.
    fn plant(&mut self, draw: &mut dyn FnMut(u64) -> u64) -> Option<Arc<VerifiedBatch>> {
        if draw(2) == 0 && !self.seen.is_empty() {
            return self.seen.get(draw(self.seen.len() as u64) as usize).cloned();
        }
        self.planted += 1;
        self.unlawful.get(self.planted % self.unlawful.len().max(1)).cloned()
    }
}

fn stored(batch: &VerifiedBatch) -> PeerBatch {
    PeerBatch::Stored(batch.bytes().clone())
}

impl Hostile for Planting {
    fn tell(
        &mut self,
        peer: Address,
        message: PeerMessage,
        draw: &mut dyn FnMut(u64) -> u64,
        says: &mut Says,
    ) {
        match message {
            PeerMessage::PullEnd { pull, result } => {
                if draw(2) == 0 {
                    let all = self.unlawful.iter();
                    says.extend(all.map(|batch| (peer, PeerMessage::Pulled { pull, batch: stored(batch) })));
                }
                says.push((peer, PeerMessage::PullEnd { pull, result }));
            }
            PeerMessage::Pulled { pull, batch } => {
                if draw(3) == 0
                    && let Some(planted) = self.plant(draw)
                {
                    says.push((peer, PeerMessage::Pulled { pull, batch: stored(&planted) }));
                }
                says.push((peer, PeerMessage::Pulled { pull, batch }));
            }
            PeerMessage::PageOf { read, result: Ok(mut page) } => {
                if draw(2) == 0
                    && let Some(planted) = self.plant(draw)
                {
                    let cursor = page.batches.last().map_or(page.next, |last| last.cursor);
                    page.batches.push(past(&planted, cursor));
                }
                says.push((peer, PeerMessage::PageOf { read, result: Ok(page) }));
            }
            honest => says.push((peer, honest)),
        }
    }

    fn hear(&mut self, _: Address, message: &PeerMessage, _: &[Address], _: &mut Says) {
        if let PeerMessage::Store { batch, .. } | PeerMessage::Feed { batch: PeerBatch::Proven(batch) } =
            message
        {
            if self.seen.len() == SEEN_MAX {
                self.seen.pop_front();
            }
            self.seen.push_back(batch.clone());
        }
    }

    /// It says that there is something to ask for.
    fn tick(&mut self, peers: &[Address], draw: &mut dyn FnMut(u64) -> u64, says: &mut Says) {
        if draw(4) > 0 {
            return;
        }
        let heads = self.unlawful.iter().map(|it| (SeriesKey::of(it.header()), SeriesHead::after(it)));
        let heads: Vec<_> = heads.collect();
        says.extend(peers.iter().map(|peer| (*peer, PeerMessage::Heads { heads: heads.clone() })));
    }
}

fn past(batch: &VerifiedBatch, cursor: Cursor) -> PastBatch {
    let header = batch.header();
    let bytes = batch.bytes().clone();
    PastBatch { bytes, cursor, count: header.count, received_at: header.timestamp_max }
}

/// Tells two honest batches as the proof of an equivocation.
#[derive(Debug, Default)]
pub(super) struct Framing {
    last: BTreeMap<SeriesKey, [Option<Arc<VerifiedBatch>>; 2]>,
}

impl Hostile for Framing {
    fn tell(&mut self, peer: Address, message: PeerMessage, _: &mut dyn FnMut(u64) -> u64, says: &mut Says) {
        says.push((peer, message));
    }

    fn hear(&mut self, _: Address, message: &PeerMessage, _: &[Address], _: &mut Says) {
        if let PeerMessage::Store { batch, .. } | PeerMessage::Feed { batch: PeerBatch::Proven(batch) } =
            message
        {
            let [last, before] = self.last.entry(SeriesKey::of(batch.header())).or_default();
            if last.as_ref().is_none_or(|last| last.id() != batch.id()) {
                *before = last.replace(batch.clone());
            }
        }
    }

    fn tick(&mut self, peers: &[Address], draw: &mut dyn FnMut(u64) -> u64, says: &mut Says) {
        if draw(8) > 0 {
            return;
        }
        let pairs: Vec<_> =
            self.last.values().filter_map(|[last, before]| last.as_deref().zip(before.as_deref())).collect();
        let Some((first, second)) = pairs.get(draw(pairs.len().max(1) as u64) as usize) else { return };
        for peer in peers {
            let (first, second) = (stored(first), stored(second));
            says.push((*peer, PeerMessage::Proof { first, second }));
        }
    }
}
