use crate::WriteToken;
use mainstem_model::{BatchId, SeriesHead, SeriesKey};
use std::{
    collections::{BTreeMap, VecDeque},
    mem,
};

/// Batches of a series whose ids are remembered, so that a publisher's resend after a reconnect needs no read. Those on their
/// way to the journal come on top; the journal's queue bounds them.
const RECENT_MAX: usize = 64;

/// One series as the broker knows it.
#[derive(Debug)]
pub(crate) struct SeriesState {
    pub(crate) head: SeriesHead,
    /// In order of their sequences. The last `in_flight` of them are on their way to the journal.
    recent: VecDeque<Recent>,
    /// Its batches that are not in the journal yet.
    pub(crate) in_flight: usize,
}

/// A batch taken in not long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recent {
    pub(crate) sequence: u64,
    pub(crate) next_sequence: u64,
    pub(crate) id: BatchId,
    pub(crate) write: WriteToken,
}

impl SeriesState {
    pub(crate) const fn new(head: SeriesHead) -> Self {
        Self { head, recent: VecDeque::new(), in_flight: 0 }
    }

    /// A batch of it sets out for the journal.
    ///
    /// IMPORTANT: one that has not arrived there is never forgotten. The store does not know it, so its resend would be taken
    /// for a batch that is no longer kept.
    pub(crate) fn remember(&mut self, recent: Recent) {
        while self.recent.len() >= RECENT_MAX && self.recent.len() > self.in_flight {
            self.recent.pop_front();
        }
        self.recent.push_back(recent);
        self.in_flight += 1;
    }

    /// The remembered batch that holds event `sequence`.
    pub(crate) fn recall(&self, sequence: u64) -> Option<Recent> {
        let at = self.recent.partition_point(|recent| recent.next_sequence <= sequence);
        self.recent.get(at).filter(|recent| recent.sequence <= sequence).copied()
    }
}

/// Series in two generations: when the young one is full, the old one is forgotten, but for series with batches on their
/// way to the journal, whose stored head would be behind.
#[derive(Debug)]
pub(crate) struct SeriesCache {
    young: BTreeMap<SeriesKey, SeriesState>,
    old: BTreeMap<SeriesKey, SeriesState>,
    generation_max: usize,
}

impl SeriesCache {
    pub(crate) fn new(max: usize) -> Self {
        Self { young: BTreeMap::new(), old: BTreeMap::new(), generation_max: (max / 2).max(1) }
    }

    pub(crate) fn find(&mut self, key: &SeriesKey) -> Option<&mut SeriesState> {
        if let Some(state) = self.old.remove(key) {
            self.insert(*key, state);
        }
        self.young.get_mut(key)
    }

    pub(crate) fn insert(&mut self, key: SeriesKey, state: SeriesState) {
        if self.young.len() >= self.generation_max {
            let before = mem::replace(&mut self.old, mem::take(&mut self.young));
            self.old.extend(before.into_iter().filter(|(_, state)| state.in_flight > 0));
        }
        self.young.insert(key, state);
    }

    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}
