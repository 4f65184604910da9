//! Batches that fill up history: what another broker has and this one has missed, or what it had before this one came.
//!
//! Such a batch is in every index but `arrivals`, and its position is [`NO_POSITION`](crate::NO_POSITION): a reader of what arrives is not
//! told of the past, and its cursor passes over nothing. Everything that goes by arrivals, to read around a damaged index or
//! to count again, asks [`DiskLog::each_past`] for the rest.
//!
//! Appending one costs two reads that no other batch pays for: whether its place is taken, and how far its series has come.

use super::{DiskLog, guarded};
use crate::{
    Append, StoreError,
    tables::{self, Place},
};
use mainstem_model::{BatchId, Header, SeriesKey, StreamPartition};
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

/// What is to be known before batches that fill up history are written.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Batches of the group, by their place in it, that are kept already.
    pub(super) kept: BTreeSet<usize>,
    /// The sequence that the head of a series is not to fall below.
    reached: BTreeMap<SeriesKey, u64>,
}

impl Known {
    /// Whether the head of a series moves with this batch; `now` is the next sequence by what the group has of it so far.
    pub(super) fn is_ahead(&self, series: &SeriesKey, header: &Header, now: Option<u64>) -> bool {
        let reached = now.or_else(|| self.reached.get(series).copied()).unwrap_or(0);
        header.next_sequence() > reached
    }
}

impl DiskLog {
    /// Looks up what must be known of a group. Reads nothing for batches that are not `past`.
    pub(super) fn look_up(&self, group: &[Append]) -> Result<Known, StoreError> {
        let (mut known, mut places) = (Known::default(), BTreeSet::new());
        if !group.iter().any(|append| append.past) {
            return Ok(known);
        }
        for (n, Append { batch, past, .. }) in group.iter().enumerate() {
            let series = SeriesKey::of(batch.header());
            let is_new = places.insert((series, batch.header().sequence));
            if !past {
                continue;
            }
            if !is_new || self.is_kept(&series, batch.header().sequence, batch.id())? {
                known.kept.insert(n);
            } else if let Entry::Vacant(entry) = known.reached.entry(series) {
                let reached = match self.read_head(&series) {
                    Ok(head) => head.map_or(0, |head| head.next_sequence),
                    // IMPORTANT: how far it came is not known, so its row is not written: it would say less than there was.
                    Err(StoreError::Damaged(_)) => u64::MAX,
                    Err(error) => return Err(error),
                };
                entry.insert(reached);
            }
        }
        Ok(known)
    }

    /// Whether there is a batch at this place of a series already.
    fn is_kept(&self, series: &SeriesKey, sequence: u64, id: BatchId) -> Result<bool, StoreError> {
        let look = || {
            let Some(place) = self.tables.place_of(series, sequence)? else { return Ok(false) };
            if place.id != id {
                tracing::warn!(?series, sequence, kept = %place.id, %id, "another batch is kept at this place");
            }
            // A power failure can take a batch and leave the row that leads to it.
            guarded(|| self.tables.batches.contains_key(place.number.to_be_bytes()))
        };
        match look() {
            Err(StoreError::Damaged(why)) => {
                // IMPORTANT: what cannot be looked up may be there, and is not written over.
                tracing::warn!(?series, sequence, %why, "history is not filled up where its index is damaged");
                Ok(true)
            }
            other => other,
        }
    }

    /// Hands over the place of every batch of a partition that fills up history, and tells what is wrong with the index if some of
    /// them may be missing.
    pub(super) fn each_past(
        &self,
        at: StreamPartition,
        mut found: impl FnMut(Place),
    ) -> Result<Option<String>, StoreError> {
        let mut damage = None;
        for row in self.tables.series.prefix(tables::partition_key(at)) {
            let place = match guarded(|| row.into_inner()) {
                Ok((key, row)) => Place::read_series(&key, &row),
                // What follows cannot be reached.
                Err(StoreError::Damaged(why)) => return Ok(Some(why)),
                Err(error) => return Err(error),
            };
            match place {
                Ok(place) if place.is_past() => found(place),
                Ok(_) => {}
                Err(error) => damage = Some(error.to_string()),
            }
        }
        Ok(damage)
    }
}
