//! The event log over records: all that an event log means, above a store that knows none of it.
//!
//! The indices are in memory and are read anew from the prefixes of all records when the log is opened. What must outlive the
//! batches that told it has records of its own: the heads of trimmed series, proofs, and each opening, by which no arrival number
//! is given twice (see [`LOST_MAX`]).

mod entry;
mod index;
mod read;
mod write;

use crate::{
    Append, EventLog, LastArrival, Page, PartitionStats, Query, Record, RecordConfig, RecordStore,
    SeriesPage, SeriesStart, StoreError, StoredBatch, Trimmed, Verified,
};
use bytes::Bytes;
use entry::{Entry, PREFIX_BYTES};
use index::Index;
use mainstem_model::{
    BatchKey, Cursor, Equivocation, HeadsDigest, HeadsSummary, ReadFilter, ReadStart, SeriesHead, SeriesKey,
    SeriesRange, StreamPartition,
};
use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};
use write::Writing;

/// More batches than one life can append and lose. Every opening leaves so many places out, durably and before anything is
/// appended, and no partition gives an arrival number below the first place of this life. A place is never below the number of its
/// batch, so no number is given again, though a power failure took the batch that had it.
const LOST_MAX: u64 = 1 << 32;

/// Records of one answer while a log is opened or checked.
const SCAN_RECORDS: usize = 4_096;

/// Bytes of one answer: what a store can give at once, with room to spare.
const ANSWER_BYTES: usize = 1 << 20;

/// An event log whose batches are records of `R`.
///
/// Two locks: `writing` for the whole of a write, which makes writes one at a time; `index` for as long as memory is looked at,
/// and never while the store is called.
#[derive(Debug)]
pub struct RecordLog<R> {
    store: R,
    log_id: u64,
    /// Arrival numbers below were given in an earlier life of this log, or never.
    floor: u64,
    batches_max: usize,
    index: Mutex<Index>,
    writing: Mutex<Writing>,
    /// Set by the first failed write or fsync.
    poisoned: OnceLock<String>,
}

impl<R: RecordStore> RecordLog<R> {
    /// Opens the log that `store` keeps, or begins one where it keeps nothing. `random` becomes the number of a new log. `path` is
    /// where people find the store, for errors.
    ///
    /// # Errors
    /// [`StoreError::Unopenable`] when no record tells the log's number or the index has no room; whatever the store says. Nothing
    /// is deleted.
    pub fn open(
        store: R,
        config: &RecordConfig,
        random: u64,
        path: impl Into<PathBuf>,
    ) -> Result<Self, StoreError> {
        let path = path.into();
        let (mut index, mut lives, mut last) = (Index::default(), Vec::new(), None);
        let mut log_id = None;
        let mut from = 0;
        while from < u64::MAX {
            let query = Query {
                from,
                until: u64::MAX,
                records_max: SCAN_RECORDS,
                bytes_max: ANSWER_BYTES,
                prefix_bytes: PREFIX_BYTES,
            };
            let found = store.query(&query)?;
            if found.next <= from {
                return Err(StoreError::Damaged(format!(
                    "the store of records does not go on behind place {from}"
                )));
            }
            from = found.next;
            last = last.max(found.damaged.iter().max().copied());
            index.damaged.extend(found.damaged);
            for Record { place, value, .. } in found.records {
                last = last.max(Some(place));
                match Entry::read_prefix(place, &value) {
                    Some(Entry::Life { log_id: number }) => {
                        log_id = Some(number);
                        lives.push(place);
                    }
                    Some(entry) => index.take(place, entry),
                    None => {
                        tracing::warn!(place, "a record is damaged");
                        index.damaged.insert(place);
                    }
                }
            }
            if index.batches + index.damaged.len() > config.index_batches_max {
                let why = format!(
                    "it has more batches than store.records.index_batches_max, {}: raise that",
                    config.index_batches_max
                );
                return Err(StoreError::Unopenable { path, why });
            }
        }
        let Some(last) = last else {
            let log = Self::empty(store, config, random);
            log.begin_life(0)?;
            return Ok(log);
        };
        let Some(log_id) = log_id else {
            let why = "no record tells its number".into();
            return Err(StoreError::Unopenable { path, why });
        };
        let floor = last + LOST_MAX;
        let log = Self { index: Mutex::new(index), floor, ..Self::empty(store, config, log_id) };
        log.begin_life(floor)?;
        // One more is kept, should this one be damaged.
        lives.pop();
        log.store.trim(&lives)?;
        Ok(log)
    }

    /// A log that was never open before, over a store that keeps nothing.
    pub(crate) fn empty(store: R, config: &RecordConfig, log_id: u64) -> Self {
        Self {
            store,
            log_id,
            floor: 0,
            batches_max: config.index_batches_max,
            index: Mutex::default(),
            writing: Mutex::default(),
            poisoned: OnceLock::new(),
        }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: RecordStore> EventLog for RecordLog<R> {
    fn log_id(&self) -> u64 {
        self.log_id
    }

    fn append(&self, group: &[Append]) -> Result<Vec<u64>, StoreError> {
        self.append_group(group)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.check_poison()?;
        self.store.sync().map_err(|error| self.poison(&error))
    }

    fn end(&self, at: StreamPartition) -> Result<u64, StoreError> {
        Ok(self.end_in(&self.index(), at))
    }

    fn series_head(&self, series: &SeriesKey) -> Result<Option<SeriesHead>, StoreError> {
        Ok(self.index().heads.get(series).copied())
    }

    fn batch_at(&self, series: &SeriesKey, sequence: u64) -> Result<Option<StoredBatch>, StoreError> {
        self.find_in_series(series, sequence)
    }

    fn series_range(
        &self,
        series: &SeriesKey,
        from: SeriesStart,
        until: u64,
        batches_max: usize,
        bytes_max: usize,
    ) -> Result<SeriesPage, StoreError> {
        self.read_series(series, from, until, batches_max, bytes_max)
    }

    fn digest(&self, at: StreamPartition) -> Result<HeadsDigest, StoreError> {
        Ok(self.digest_heads(at))
    }

    fn summarize(
        &self,
        range: &SeriesRange,
        heads_max: usize,
        parts: usize,
    ) -> Result<HeadsSummary, StoreError> {
        Ok(self.summarize_heads(range, heads_max, parts))
    }

    fn start(
        &self,
        at: StreamPartition,
        start: ReadStart,
        filter: &ReadFilter,
    ) -> Result<Cursor, StoreError> {
        self.find_start(at, start, filter)
    }

    fn page(
        &self,
        at: StreamPartition,
        cursor: Cursor,
        filter: &ReadFilter,
        batches_max: usize,
        bytes_max: usize,
    ) -> Result<Page, StoreError> {
        self.read_page(at, cursor, filter, batches_max, bytes_max)
    }

    fn freeze(&self, proof: &Equivocation, bytes_max: usize) -> Result<(), StoreError> {
        self.keep_proof(proof, bytes_max)
    }

    fn equivocation(&self, series: &SeriesKey) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        self.read_proof(series)
    }

    fn trim(
        &self,
        at: StreamPartition,
        from: Option<BatchKey>,
        before: i64,
        max: usize,
    ) -> Result<Trimmed, StoreError> {
        self.trim_partition(at, from, before, max)
    }

    fn partitions(&self) -> Result<Vec<StreamPartition>, StoreError> {
        Ok(self.index().partitions.keys().copied().collect())
    }

    fn partitions_after(
        &self,
        after: Option<StreamPartition>,
        max: usize,
    ) -> Result<Vec<StreamPartition>, StoreError> {
        Ok(self.list_partitions_after(after, max))
    }

    fn last(&self, at: StreamPartition) -> Result<Option<LastArrival>, StoreError> {
        Ok(self.last_arrival(at))
    }

    fn stats(&self, at: StreamPartition) -> Result<PartitionStats, StoreError> {
        Ok(self.partition_stats(at))
    }

    fn verify(&self, progress: &mut dyn FnMut(&Verified)) -> Result<Verified, StoreError> {
        self.verify_all(progress)
    }
}
