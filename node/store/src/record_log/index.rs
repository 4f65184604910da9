//! The indices of the log, in memory.

use super::entry::Entry;
use crate::{DamagedRange, NO_POSITION, StoredBatch};
use bytes::Bytes;
use mainstem_model::{
    BatchId, BatchKey, Cursor, Header, Origin, ReadFilter, SeriesHead, SeriesId, SeriesKey, StreamPartition,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Range, RangeInclusive},
};

/// Arrival numbers that lie further apart than this are of two lives of the log.
const LIFE_APART: u64 = super::LOST_MAX;

#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) partitions: BTreeMap<StreamPartition, Kept>,
    pub(super) heads: BTreeMap<SeriesKey, SeriesHead>,
    /// Places of heads that are records of their own.
    pub(super) head_places: BTreeMap<SeriesKey, u64>,
    /// Of frozen series.
    pub(super) proofs: BTreeMap<SeriesKey, Proof>,
    /// Records that cannot be read and that say not even what they are.
    pub(super) damaged: BTreeSet<u64>,
    pub(super) batches: usize,
}

/// Where a proof is, and how many bytes its batches have: none when they are no longer kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proof {
    pub(super) place: u64,
    pub(super) first: usize,
    pub(super) second: usize,
}

impl Index {
    /// What its bound bounds.
    pub(super) fn rows(&self) -> usize {
        self.batches + self.heads.len() + self.damaged.len()
    }

    /// Takes in what a record says; records come by ascending place. Gives the place of the record that it stands for.
    pub(super) fn take(&mut self, place: u64, entry: Entry) -> Option<u64> {
        match entry {
            Entry::Life { .. } => None,
            Entry::Batch { received_at, position, header, length } => {
                self.insert(&header, Row::new(place, received_at, position, &header, length))
            }
            Entry::Head { series, head } => {
                self.partitions.entry(series.stream_partition).or_default();
                let frozen = self.proofs.contains_key(&series);
                self.heads.insert(series, SeriesHead { frozen, ..head });
                self.head_places.insert(series, place)
            }
            Entry::Proof { series, first, second } => {
                self.heads.entry(series).or_insert(SeriesHead::START).frozen = true;
                let (first, second) = (first as usize, second as usize);
                self.proofs.insert(series, Proof { place, first, second }).map(|before| before.place)
            }
        }
    }

    /// Takes in a batch. One that is there already was trimmed, and a power failure undid that: its place is given.
    pub(super) fn insert(&mut self, header: &Header, row: Row) -> Option<u64> {
        let series = SeriesKey::of(header);
        let reached = self.heads.get(&series).map_or(0, |head| head.next_sequence);
        if row.position != NO_POSITION || header.next_sequence() > reached {
            let head = SeriesHead {
                next_sequence: header.next_sequence(),
                last: row.id,
                timestamp: header.timestamp_min,
                frozen: self.proofs.contains_key(&series),
            };
            self.heads.insert(series, head);
        }
        let before =
            self.partitions.entry(header.stream_partition).or_default().insert(BatchKey::of(header), row);
        self.batches += usize::from(before.is_none());
        before.map(|before| before.place)
    }

    /// Stretches of a partition's arrivals among which records lie that cannot be read, as far as they lie in `within`.
    pub(super) fn lost(&self, at: StreamPartition, within: Range<u64>) -> Vec<DamagedRange> {
        let mut lost = Vec::new();
        if self.damaged.is_empty() {
            return lost;
        }
        let empty = Kept::default();
        let kept = self.partitions.get(&at).unwrap_or(&empty);
        let places = kept
            .arrivals
            .iter()
            .filter_map(|(position, key)| Some((*position, kept.batches.get(key)?.place)));
        // The position and the place behind the last one that can be read.
        let mut behind = (0, 0);
        for (position, place) in places.chain([(u64::MAX, u64::MAX)]) {
            let damaged = self.damaged.range(behind.1..place).count() as u64;
            let gap = position - behind.0;
            if damaged > 0 && gap > 0 {
                let ranges = if gap < LIFE_APART {
                    [behind.0..position, 0..0]
                } else if position == u64::MAX {
                    [behind.0..behind.0 + damaged, 0..0]
                } else {
                    [behind.0..behind.0 + damaged, position.saturating_sub(damaged)..position]
                };
                for range in ranges {
                    let positions = range.start.max(within.start)..range.end.min(within.end);
                    if positions.start < positions.end {
                        let why = "records that cannot be read lie where these came".into();
                        lost.push(DamagedRange { at, positions, batch: None, why });
                    }
                }
            }
            behind = (position.saturating_add(1), place.saturating_add(1));
        }
        lost
    }
}

/// What is kept of one partition.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Behind the last arrival that is known.
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
    ) -> impl DoubleEndedIterator<Item = (&BatchKey, &Row)> {
        let key = |sequence| (series.origin, series.series, sequence);
        let rows = self.series.range(key(*range.start())..=key(*range.end()));
        rows.filter_map(|(_, key)| Some((key, self.batches.get(key)?)))
    }

    /// The batch that holds an event.
    pub(super) fn at(&self, series: &SeriesKey, sequence: u64) -> Option<(&BatchKey, &Row)> {
        let (key, row) = self.of_series(series, 0..=sequence).next_back()?;
        (sequence < key.sequence + u64::from(row.count)).then_some((key, row))
    }

    fn insert(&mut self, key: BatchKey, row: Row) -> Option<Row> {
        let before = self.remove(&key);
        if row.position != NO_POSITION {
            self.arrivals.insert(row.position, key);
            self.end = self.end.max(row.position + 1);
        }
        self.series.insert((key.origin, key.series, key.sequence), key);
        self.batches.insert(key, row);
        before
    }

    pub(super) fn remove(&mut self, key: &BatchKey) -> Option<Row> {
        let row = self.batches.remove(key)?;
        self.arrivals.remove(&row.position);
        self.series.remove(&(key.origin, key.series, key.sequence));
        Some(row)
    }
}

/// What is known of a batch without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) place: u64,
    pub(super) position: u64,
    pub(super) received_at: i64,
    pub(super) timestamp_max: i64,
    pub(super) id: BatchId,
    pub(super) count: u16,
    pub(super) length: u32,
}

impl Row {
    pub(super) fn new(place: u64, received_at: i64, position: u64, header: &Header, length: u32) -> Self {
        let (timestamp_max, id, count) = (header.timestamp_max, header.id(), header.count);
        Self { place, position, received_at, timestamp_max, id, count, length }
    }

    pub(super) const fn is_history(&self, until: u64) -> bool {
        self.position < until || self.position == NO_POSITION
    }

    pub(super) fn is_wanted(&self, key: &BatchKey, filter: &ReadFilter) -> bool {
        filter.origin.is_none_or(|origin| origin == key.origin)
            && self.timestamp_max >= filter.from
            && key.timestamp <= filter.to
    }

    pub(super) const fn stored(&self, bytes: Bytes, cursor: Cursor) -> StoredBatch {
        let Self { received_at, position, id, count, .. } = *self;
        StoredBatch { bytes, id, count, received_at, position, cursor }
    }
}
