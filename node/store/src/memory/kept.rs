//! What is kept of one partition.

use crate::{NO_POSITION, StoredBatch};
use mainstem_model::{Batch, BatchKey, Cursor, Header, Origin, SeriesId, SeriesKey};
use std::{collections::BTreeMap, ops::RangeInclusive};

#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) end: u64,
    pub(super) batches: BTreeMap<BatchKey, Row>,
    /// What fills up history is not among them.
    pub(super) arrivals: BTreeMap<u64, BatchKey>,
    /// By the sequence of the first event.
    series: BTreeMap<(Origin, SeriesId, u64), BatchKey>,
}

impl Kept {
    /// The batches of a series that begin in `range`, in order.
    pub(super) fn of_series(
        &self,
        series: &SeriesKey,
        range: RangeInclusive<u64>,
    ) -> impl DoubleEndedIterator<Item = &Row> {
        let key = |sequence| (series.origin, series.series, sequence);
        let rows = self.series.range(key(*range.start())..=key(*range.end()));
        rows.filter_map(|(_, key)| self.batches.get(key))
    }

    /// The batch that holds an event.
    pub(super) fn at(&self, series: &SeriesKey, sequence: u64) -> Option<&Row> {
        let row = self.of_series(series, 0..=sequence).next_back()?;
        (sequence < row.header.next_sequence()).then_some(row)
    }

    pub(super) fn insert(&mut self, row: Row) {
        let Header { origin, series, sequence, .. } = row.header;
        let key = BatchKey::of(&row.header);
        if row.position != NO_POSITION {
            self.arrivals.insert(row.position, key);
        }
        self.series.insert((origin, series, sequence), key);
        self.batches.insert(key, row);
    }

    pub(super) fn remove(&mut self, key: &BatchKey) -> Option<Row> {
        let row = self.batches.remove(key)?;
        self.arrivals.remove(&row.position);
        self.series.remove(&(key.origin, key.series, key.sequence));
        Some(row)
    }
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) header: Header,
    pub(super) batch: Batch,
    pub(super) received_at: i64,
    pub(super) position: u64,
}

impl Row {
    pub(super) fn is_history(&self, until: u64) -> bool {
        self.position < until || self.position == NO_POSITION
    }

    pub(super) fn stored(&self, cursor: Cursor) -> StoredBatch {
        StoredBatch {
            bytes: self.batch.bytes().clone(),
            id: self.batch.id(),
            count: self.header.count,
            received_at: self.received_at,
            position: self.position,
            cursor,
        }
    }
}
