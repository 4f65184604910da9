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
    Append, EventLog, LastArrival, Page, PartitionStats, RecordConfig, SeriesPage, SeriesStart, StoreError,
    StoredBatch, Trimmed, Verified,
};
use bytes::Bytes;
use entry::{Entry, PREFIX_BYTES};
use index::Index;
use mainstem_model::{
    BatchKey, Cursor, Equivocation, HeadsDigest, HeadsSummary, Query, ReadFilter, ReadStart, Record,
    RecordStore, Records, SeriesHead, SeriesKey, SeriesRange, StreamPartition,
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

/// Answers in a row without a record, after which a store is believed to have no end.
const EMPTY_MAX: usize = 10_000;

/// Bytes of one answer: what a store can give at once, with room to spare.
const ANSWER_BYTES: usize = 1 << 20;

/// An event log whose batches are records of `R`.
///
/// Two locks: `writing` for the whole of a write, which makes writes one at a time; `index` for as long as memory is looked at,
/// and never while the store is called.
#[derive(Debug)]
pub struct RecordLog<R: RecordStore> {
    store: R,
    log_id: u64,
    /// Arrival numbers below were given in an earlier life of this log, or never.
    floor: u64,
    rows_max: usize,
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
        let mut opening = Opening::default();
        let (mut from, mut empty) = (0, 0);
        while from < u64::MAX {
            let found = store.query(&Query {
                from,
                until: u64::MAX,
                records_max: SCAN_RECORDS,
                bytes_max: ANSWER_BYTES,
                prefix_bytes: PREFIX_BYTES,
            })?;
            empty = if found.records.is_empty() && found.damaged.is_empty() { empty + 1 } else { 0 };
            if empty > EMPTY_MAX && found.next < u64::MAX {
                let why =
                    format!("the store of records has none in {empty} answers before place {}", found.next);
                return Err(StoreError::Damaged(why));
            }
            from = opening.take(from, found)?;
            let rows_max = config.index_rows_max;
            if opening.index.rows() > rows_max {
                let why = format!(
                    "its index has more rows than store.records.index_rows_max, {rows_max}: raise that"
                );
                return Err(StoreError::Unopenable { path, why });
            }
        }
        let Some(last) = opening.last else {
            let log = Self::empty(store, config, random);
            log.begin_life(0)?;
            return Ok(log);
        };
        let Some(log_id) = opening.log_id else {
            let why = "no record that can be read tells its number".into();
            return Err(StoreError::Unopenable { path, why });
        };
        let Some(floor) = last.checked_add(LOST_MAX) else {
            let why = format!("a record has the place {last}, and there are none behind it");
            return Err(StoreError::Unopenable { path, why });
        };
        let mut log = Self::empty(store, config, log_id);
        (log.index, log.floor) = (Mutex::new(opening.index), floor);
        log.begin_life(floor)?;
        // One more is kept, should this one be damaged.
        opening.lives.pop();
        log.forget(&[opening.lives, opening.replaced].concat())?;
        Ok(log)
    }

    /// A log that was never open before, over a store that keeps nothing.
    pub(crate) fn empty(store: R, config: &RecordConfig, log_id: u64) -> Self {
        Self {
            store,
            log_id,
            floor: 0,
            rows_max: config.index_rows_max,
            index: Mutex::default(),
            writing: Mutex::default(),
            poisoned: OnceLock::new(),
        }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who ends in order leaves nothing to the power.
impl<R: RecordStore> Drop for RecordLog<R> {
    fn drop(&mut self) {
        if let Err(error) = self.check_poison().and_then(|()| self.sync_store()) {
            tracing::error!(%error, "the store was closed without a last sync");
        }
    }
}

/// What was found so far while a log is opened.
#[derive(Debug, Default)]
struct Opening {
    index: Index,
    log_id: Option<u64>,
    /// Places of the openings before.
    lives: Vec<u64>,
    /// Places of records that later ones stand for: what was going to be trimmed when the last life ended.
    replaced: Vec<u64>,
    /// The greatest place that has a record.
    last: Option<u64>,
}

impl Opening {
    /// Takes in an answer; gives where to go on.
    fn take(&mut self, from: u64, found: Records) -> Result<u64, StoreError> {
        let next = found.next;
        if next <= from {
            let why = format!("the store of records does not go on behind place {from}");
            return Err(StoreError::Damaged(why));
        }
        let mut damaged = found.damaged;
        for Record { place, value, .. } in found.records {
            self.last = self.last.max(Some(place));
            match Entry::read_prefix(place, &value) {
                Some(Entry::Life { log_id }) => {
                    self.log_id = Some(log_id);
                    self.lives.push(place);
                }
                Some(entry) => self.replaced.extend(self.index.take(place, entry)),
                None => damaged.push(place),
            }
        }
        for place in damaged {
            tracing::warn!(place, "a record cannot be read");
            self.last = self.last.max(Some(place));
            self.index.damaged.insert(place);
        }
        Ok(next)
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
        self.sync_store()
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

    fn last_before(&self, at: StreamPartition, time: i64) -> Result<Option<i64>, StoreError> {
        self.find_last_before(at, time)
    }

    fn stats(&self, at: StreamPartition) -> Result<PartitionStats, StoreError> {
        Ok(self.partition_stats(at))
    }

    fn verify(&self, progress: &mut dyn FnMut(&Verified)) -> Result<Verified, StoreError> {
        self.verify_all(progress)
    }
}
