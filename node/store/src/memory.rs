use crate::{Append, EventLog, Page, PartitionStats, StoreError, StoredBatch, Trimmed, Verified};
use bytes::Bytes;
use mainstem_model::{
    Batch, BatchKey, Cursor, Equivocation, Header, ReadFilter, ReadStart, SeriesHead, SeriesKey,
    StreamPartition, limits::BATCH_SPAN_MS_MAX,
};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The event log in memory: for tests and for brokers that keep nothing. `sync` has nothing to do.
#[derive(Debug)]
pub struct MemoryLog {
    log_id: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    partitions: BTreeMap<StreamPartition, Kept>,
    heads: BTreeMap<SeriesKey, SeriesHead>,
    proofs: BTreeMap<SeriesKey, (Bytes, Bytes)>,
}

#[derive(Debug, Default)]
struct Kept {
    end: u64,
    batches: BTreeMap<u64, Row>,
    times: BTreeMap<BatchKey, u64>,
}

#[derive(Debug)]
struct Row {
    header: Header,
    batch: Batch,
    received_at: i64,
}

impl Row {
    fn stored(&self, position: u64, cursor: Cursor) -> StoredBatch {
        StoredBatch {
            bytes: self.batch.bytes().clone(),
            id: self.batch.id(),
            count: self.header.count,
            received_at: self.received_at,
            position,
            cursor,
        }
    }
}

impl MemoryLog {
    /// An empty log with this number.
    pub fn new(log_id: u64) -> Self {
        Self { log_id, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_cursor(&self, cursor: Cursor, end: u64) -> Result<(), StoreError> {
        let (Cursor::Arrival { position, .. } | Cursor::History { until: position, .. }) = cursor;
        if cursor.log() == self.log_id && position <= end { Ok(()) } else { Err(StoreError::ForeignCursor) }
    }
}

impl EventLog for MemoryLog {
    fn log_id(&self) -> u64 {
        self.log_id
    }

    fn end(&self, at: StreamPartition) -> Result<u64, StoreError> {
        Ok(self.state().partitions.get(&at).map_or(0, |kept| kept.end))
    }

    fn append(&self, group: &[Append]) -> Result<Vec<u64>, StoreError> {
        let mut state = self.state();
        let mut positions = Vec::with_capacity(group.len());
        for Append { batch, received_at } in group {
            let header = batch.header().clone();
            let series = SeriesKey::of(&header);
            let frozen = state.proofs.contains_key(&series);
            state.heads.insert(series, SeriesHead { frozen, ..SeriesHead::after(batch) });
            let kept = state.partitions.entry(header.stream_partition).or_default();
            let position = kept.end;
            kept.end += 1;
            kept.times.insert(BatchKey::of(&header), position);
            kept.batches
                .insert(position, Row { header, batch: Batch::clone(batch), received_at: *received_at });
            positions.push(position);
        }
        Ok(positions)
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn series_head(&self, series: &SeriesKey) -> Result<Option<SeriesHead>, StoreError> {
        Ok(self.state().heads.get(series).copied())
    }

    fn batch_at(&self, series: &SeriesKey, sequence: u64) -> Result<Option<StoredBatch>, StoreError> {
        let state = self.state();
        let Some(kept) = state.partitions.get(&series.stream_partition) else { return Ok(None) };
        let found = kept.batches.iter().find(|(_, row)| {
            SeriesKey::of(&row.header) == *series
                && (row.header.sequence..row.header.next_sequence()).contains(&sequence)
        });
        Ok(found.map(|(position, row)| {
            row.stored(*position, Cursor::Arrival { log: self.log_id, position: *position, skip: 0 })
        }))
    }

    fn start(
        &self,
        at: StreamPartition,
        start: ReadStart,
        filter: &ReadFilter,
    ) -> Result<Cursor, StoreError> {
        let (log, empty) = (self.log_id, Kept::default());
        let state = self.state();
        let kept = state.partitions.get(&at).unwrap_or(&empty);
        let until = kept.end;
        let here = Cursor::Arrival { log, position: until, skip: 0 };
        Ok(match start {
            ReadStart::Now => here,
            ReadStart::Cursor(cursor) => {
                self.check_cursor(cursor, until)?;
                cursor
            }
            ReadStart::From => {
                let least = filter.from.saturating_sub(BATCH_SPAN_MS_MAX);
                let first = kept.times.keys().find(|key| key.timestamp >= least);
                first.map_or(here, |key| Cursor::History { log, until, key: *key, skip: 0 })
            }
            ReadStart::Last(n) => {
                let (mut left, mut cursor) = (n, here);
                for (key, position) in kept.times.iter().rev() {
                    if left == 0 {
                        break;
                    }
                    let wanted = |row: &&Row| filter.origin.is_none_or(|origin| origin == row.header.origin);
                    let Some(row) = kept.batches.get(position).filter(wanted) else {
                        continue;
                    };
                    let count = u64::from(row.header.count);
                    cursor =
                        Cursor::History { log, until, key: *key, skip: count.saturating_sub(left) as u16 };
                    left = left.saturating_sub(count);
                }
                cursor
            }
        })
    }

    fn page(
        &self,
        at: StreamPartition,
        cursor: Cursor,
        filter: &ReadFilter,
        batches_max: usize,
        bytes_max: usize,
    ) -> Result<Page, StoreError> {
        let (state, empty) = (self.state(), Kept::default());
        let kept = state.partitions.get(&at).unwrap_or(&empty);
        self.check_cursor(cursor, kept.end)?;
        let (mut batches, mut bytes) = (Vec::new(), 0);
        let mut take = |row: &Row, position: u64, here: Cursor| {
            if !filter.wants(&row.header) || here.skip() >= row.header.count {
                return true;
            }
            if !batches.is_empty() && (bytes >= bytes_max || batches.len() >= batches_max) {
                return false;
            }
            bytes += row.batch.bytes().len();
            batches.push(row.stored(position, here));
            true
        };
        let next = match cursor {
            Cursor::History { log, until, key, skip } => {
                let mut next = Cursor::Arrival { log, position: until, skip: 0 };
                for (found, position) in kept.times.range(key..) {
                    if found.timestamp > filter.to {
                        break;
                    }
                    let here = Cursor::History {
                        log,
                        until,
                        key: *found,
                        skip: if *found == key { skip } else { 0 },
                    };
                    let row = kept.batches.get(position).filter(|_| *position < until);
                    if row.is_some_and(|row| !take(row, *position, here)) {
                        next = here;
                        break;
                    }
                }
                next
            }
            Cursor::Arrival { log, position: first, skip } => {
                let mut next = kept.end;
                for (position, row) in kept.batches.range(first..) {
                    let skip = if *position == first { skip } else { 0 };
                    if !take(row, *position, Cursor::Arrival { log, position: *position, skip }) {
                        next = *position;
                        break;
                    }
                }
                Cursor::Arrival { log, position: next, skip: 0 }
            }
        };
        let at_end = matches!(next, Cursor::Arrival { position, .. } if position >= kept.end);
        Ok(Page { batches, next, at_end, damaged: Vec::new() })
    }

    fn freeze(&self, proof: &Equivocation, kept_max: usize) -> Result<bool, StoreError> {
        let mut state = self.state();
        let series = proof.series();
        if !state.proofs.contains_key(&series)
            && state.proofs.range(series.of_same_origin()).count() >= kept_max
        {
            return Ok(false);
        }
        state.heads.entry(series).or_insert(SeriesHead::START).frozen = true;
        let kept = || (proof.first.bytes().clone(), proof.second.bytes().clone());
        state.proofs.entry(series).or_insert_with(kept);
        Ok(true)
    }

    fn equivocations(&self, at: StreamPartition) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let state = self.state();
        let proofs = state.proofs.iter().filter(|(series, _)| series.stream_partition == at);
        Ok(proofs.map(|(_, proof)| proof.clone()).collect())
    }

    fn trim(
        &self,
        at: StreamPartition,
        from: Option<BatchKey>,
        before: i64,
        max: usize,
    ) -> Result<Trimmed, StoreError> {
        let mut state = self.state();
        let Some(kept) = state.partitions.get_mut(&at) else { return Ok(Trimmed::default()) };
        let is_old =
            |position: &u64| kept.batches.get(position).is_some_and(|row| row.header.timestamp_max < before);
        let old: Vec<_> = kept
            .times
            .iter()
            .skip_while(|(key, _)| from.is_some_and(|from| **key < from))
            .take_while(|(key, _)| key.timestamp < before)
            .filter(|(_, position)| is_old(position))
            .take(max.saturating_add(1))
            .map(|(key, position)| (*key, *position))
            .collect();
        let mut trimmed = Trimmed { next: old.get(max).map(|(key, _)| *key), ..Trimmed::default() };
        for (key, position) in old.into_iter().take(max) {
            kept.times.remove(&key);
            if let Some(row) = kept.batches.remove(&position) {
                trimmed.batches += 1;
                trimmed.bytes += row.batch.bytes().len() as u64;
            }
        }
        Ok(trimmed)
    }

    fn partitions(&self) -> Result<Vec<StreamPartition>, StoreError> {
        Ok(self.state().partitions.keys().copied().collect())
    }

    fn stats(&self, at: StreamPartition) -> Result<PartitionStats, StoreError> {
        let state = self.state();
        Ok(state.partitions.get(&at).map_or_else(PartitionStats::default, |kept| PartitionStats {
            end: kept.end,
            batches: kept.batches.len() as u64,
            events: kept.batches.values().map(|row| u64::from(row.header.count)).sum(),
            bytes: kept.batches.values().map(|row| row.batch.bytes().len() as u64).sum(),
            first_timestamp: kept.times.first_key_value().map(|(key, _)| key.timestamp),
            last_timestamp: kept.times.last_key_value().map(|(key, _)| key.timestamp),
        }))
    }

    fn verify(&self, progress: &mut dyn FnMut(&Verified)) -> Result<Verified, StoreError> {
        let mut verified = Verified::default();
        for kept in self.state().partitions.values() {
            for row in kept.batches.values() {
                verified.batches += 1;
                verified.bytes += row.batch.bytes().len() as u64;
                progress(&verified);
            }
        }
        Ok(verified)
    }
}
