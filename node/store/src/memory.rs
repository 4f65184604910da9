mod kept;

use crate::{
    Append, EventLog, LastArrival, NO_POSITION, Page, PartitionStats, SeriesPage, SeriesStart, StoreError,
    StoredBatch, Trimmed, Verified, proofs, summary::Parts,
};
use bytes::Bytes;
use kept::{Kept, Row};
use mainstem_model::{
    Batch, BatchKey, Cursor, Equivocation, HeadsDigest, HeadsDigester, HeadsSummary, ReadFilter, ReadStart,
    SeriesHead, SeriesKey, SeriesRange, StreamPartition, limits::BATCH_SPAN_MS_MAX,
};
use std::{
    collections::BTreeMap,
    ops::Bound,
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
    /// Of frozen series, as far as they are kept.
    proofs: BTreeMap<SeriesKey, Option<(Bytes, Bytes)>>,
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
        for Append { batch, received_at, past } in group {
            let header = batch.header().clone();
            let series = SeriesKey::of(&header);
            let frozen = state.proofs.contains_key(&series);
            let reached = state.heads.get(&series).map_or(0, |head| head.next_sequence);
            let kept = state.partitions.entry(header.stream_partition).or_default();
            if *past && kept.at(&series, header.sequence).is_some() {
                positions.push(NO_POSITION);
                continue;
            }
            let position = if *past { NO_POSITION } else { kept.end };
            kept.end += u64::from(!past);
            positions.push(position);
            let is_ahead = header.next_sequence() > reached;
            kept.insert(Row { header, batch: Batch::clone(batch), received_at: *received_at, position });
            if !past || is_ahead {
                state.heads.insert(series, SeriesHead { frozen, ..SeriesHead::after(batch) });
            }
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
        let Some(row) = kept.at(series, sequence) else { return Ok(None) };
        let (log, position) = (self.log_id, row.position);
        Ok(Some(row.stored(if position == NO_POSITION {
            Cursor::History { log, until: kept.end, key: BatchKey::of(&row.header), skip: 0 }
        } else {
            Cursor::Arrival { log, position, skip: 0 }
        })))
    }

    fn series_range(
        &self,
        series: &SeriesKey,
        from: SeriesStart,
        until: u64,
        batches_max: usize,
        bytes_max: usize,
    ) -> Result<SeriesPage, StoreError> {
        let (state, empty) = (self.state(), Kept::default());
        let kept = state.partitions.get(&series.stream_partition).unwrap_or(&empty);
        let base = match kept.of_series(series, 0..=u64::MAX).next() {
            Some(row) => row.header.sequence,
            None => state.heads.get(series).map_or(0, |head| head.next_sequence),
        };
        let mut page = SeriesPage { base, ..SeriesPage::default() };
        let Some(last) = until.checked_sub(1) else { return Ok(page) };
        let first = match from {
            SeriesStart::Sequence(sequence) => {
                Some(kept.at(series, sequence).map_or(sequence, |row| row.header.sequence))
            }
            SeriesStart::ReceivedAt(time) => {
                let newest = kept.of_series(series, 0..=last).rev();
                newest.take_while(|row| row.received_at >= time).last().map(|row| row.header.sequence)
            }
        };
        let Some(first) = first.filter(|first| *first <= last) else { return Ok(page) };
        let (mut bytes, mut next) = (0, None);
        for row in kept.of_series(series, first..=last) {
            let is_full = bytes >= bytes_max || page.batches.len() >= batches_max;
            if next.is_some_and(|next| is_full || next != row.header.sequence) {
                page.more = true;
                break;
            }
            bytes += row.batch.bytes().len();
            page.batches.push(row.batch.bytes().clone());
            next = Some(row.header.next_sequence());
        }
        Ok(page)
    }

    fn digest(&self, at: StreamPartition) -> Result<HeadsDigest, StoreError> {
        let state = self.state();
        let mut digester = HeadsDigester::default();
        for (series, head) in state.heads.iter().filter(|(series, _)| series.stream_partition == at) {
            digester.add(series, head);
        }
        Ok(digester.finish())
    }

    fn summarize(
        &self,
        range: &SeriesRange,
        heads_max: usize,
        parts: usize,
    ) -> Result<HeadsSummary, StoreError> {
        let state = self.state();
        let SeriesRange { at, first, last } = *range;
        if first > last {
            return Ok(HeadsSummary::Heads(Vec::new()));
        }
        let key = |(origin, series)| SeriesKey { stream_partition: at, origin, series };
        let heads = || state.heads.range(key(first)..=key(last));
        let count = heads().count();
        if count <= heads_max {
            return Ok(HeadsSummary::Heads(heads().map(|(series, head)| (*series, *head)).collect()));
        }
        let mut cut = Parts::new(*range, count, parts);
        for (series, head) in heads() {
            cut.add(series, head);
        }
        Ok(HeadsSummary::Parts(cut.finish()))
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
                let first = kept.batches.keys().find(|key| key.timestamp >= least);
                first.map_or(here, |key| Cursor::History { log, until, key: *key, skip: 0 })
            }
            ReadStart::Last(n) => {
                let (mut left, mut cursor) = (n, here);
                for (key, row) in kept.batches.iter().rev() {
                    if left == 0 {
                        break;
                    }
                    if filter.origin.is_some_and(|origin| origin != row.header.origin) {
                        continue;
                    }
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
        let mut take = |row: &Row, here: Cursor| {
            if !filter.wants(&row.header) || here.skip() >= row.header.count {
                return true;
            }
            if !batches.is_empty() && (bytes >= bytes_max || batches.len() >= batches_max) {
                return false;
            }
            bytes += row.batch.bytes().len();
            batches.push(row.stored(here));
            true
        };
        let next = match cursor {
            Cursor::History { log, until, key, skip } => {
                let mut next = Cursor::Arrival { log, position: until, skip: 0 };
                for (found, row) in kept.batches.range(key..) {
                    if found.timestamp > filter.to {
                        break;
                    }
                    let here = Cursor::History {
                        log,
                        until,
                        key: *found,
                        skip: if *found == key { skip } else { 0 },
                    };
                    if row.is_history(until) && !take(row, here) {
                        next = here;
                        break;
                    }
                }
                next
            }
            Cursor::Arrival { log, position: first, skip } => {
                let mut next = kept.end;
                for (position, key) in kept.arrivals.range(first..) {
                    let skip = if *position == first { skip } else { 0 };
                    let here = Cursor::Arrival { log, position: *position, skip };
                    if kept.batches.get(key).is_some_and(|row| !take(row, here)) {
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

    fn freeze(&self, proof: &Equivocation, bytes_max: usize) -> Result<(), StoreError> {
        let mut state = self.state();
        let series = proof.series();
        if state.proofs.contains_key(&series) {
            return Ok(());
        }
        let bytes = |proof: &Option<(Bytes, Bytes)>| proof.as_ref().map_or(0, |(a, b)| a.len() + b.len());
        let kept = state.proofs.range(series.of_same_origin()).map(|(series, proof)| (*series, bytes(proof)));
        let new = proof.first.bytes().len() + proof.second.bytes().len();
        for series in proofs::too_much(kept.collect(), new, bytes_max) {
            state.proofs.insert(series, None);
        }
        state.heads.entry(series).or_insert(SeriesHead::START).frozen = true;
        state.proofs.insert(series, Some((proof.first.bytes().clone(), proof.second.bytes().clone())));
        Ok(())
    }

    fn equivocation(&self, series: &SeriesKey) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        Ok(self.state().proofs.get(series).cloned().flatten())
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
        let old: Vec<_> = kept
            .batches
            .iter()
            .skip_while(|(key, _)| from.is_some_and(|from| **key < from))
            .take_while(|(key, _)| key.timestamp < before)
            .filter(|(_, row)| row.header.timestamp_max < before)
            .take(max.saturating_add(1))
            .map(|(key, _)| *key)
            .collect();
        let mut trimmed = Trimmed { next: old.get(max).copied(), ..Trimmed::default() };
        for key in old.into_iter().take(max) {
            if let Some(row) = kept.remove(&key) {
                trimmed.batches += 1;
                trimmed.bytes += row.batch.bytes().len() as u64;
            }
        }
        Ok(trimmed)
    }

    fn partitions(&self) -> Result<Vec<StreamPartition>, StoreError> {
        Ok(self.state().partitions.keys().copied().collect())
    }

    fn partitions_after(
        &self,
        after: Option<StreamPartition>,
        max: usize,
    ) -> Result<Vec<StreamPartition>, StoreError> {
        let state = self.state();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(state.partitions.range((from, Bound::Unbounded)).take(max).map(|(at, _)| *at).collect())
    }

    fn last(&self, at: StreamPartition) -> Result<Option<LastArrival>, StoreError> {
        let state = self.state();
        let Some(kept) = state.partitions.get(&at) else { return Ok(None) };
        let last = kept.arrivals.last_key_value().and_then(|(_, key)| kept.batches.get(key));
        Ok(last.map(|row| LastArrival { end: kept.end, received_at: row.received_at }))
    }

    fn stats(&self, at: StreamPartition) -> Result<PartitionStats, StoreError> {
        let state = self.state();
        Ok(state.partitions.get(&at).map_or_else(PartitionStats::default, |kept| PartitionStats {
            end: kept.end,
            batches: kept.batches.len() as u64,
            events: kept.batches.values().map(|row| u64::from(row.header.count)).sum(),
            bytes: kept.batches.values().map(|row| row.batch.bytes().len() as u64).sum(),
            first_timestamp: kept.batches.first_key_value().map(|(key, _)| key.timestamp),
            last_timestamp: kept.batches.last_key_value().map(|(key, _)| key.timestamp),
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
