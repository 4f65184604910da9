//! Writing: a group of batches is one atomic write of fjall, rows of every table together.

use super::{DiskLog, Tables, guarded};
use crate::{
    Append, NO_POSITION, StoreError, proofs,
    record::Record,
    tables::{self, Group, Place, Totals},
};
use fjall::{OwnedWriteBatch as WriteBatch, PersistMode};
use mainstem_model::{BatchKey, Equivocation, SeriesHead, SeriesKey, StreamPartition};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{MutexGuard, PoisonError, atomic::Ordering},
};

/// Partitions whose totals are remembered, so that they need not be read for each group.
const TOTALS_MAX: usize = 10_000;

/// What the next write follows.
#[derive(Debug)]
pub(super) struct State {
    group: u64,
    next_number: u64,
    totals: BTreeMap<StreamPartition, Totals>,
    /// Frozen series, and the bytes of the proof that is kept.
    frozen: BTreeMap<SeriesKey, usize>,
}

impl State {
    pub(super) fn load(tables: &Tables) -> Result<Self, StoreError> {
        let group = tables.group()?;
        let mut frozen = BTreeMap::new();
        let mut proofs = tables.proofs.iter();
        while let Some((key, row)) = guarded(|| proofs.next().map(fjall::Guard::into_inner).transpose())? {
            let series = tables::read_head_key(&key)
                .ok_or_else(|| StoreError::Damaged("a key of table proofs is no series".into()))?;
            frozen.insert(series, row.len().saturating_sub(tables::encode_proof(&key, None).len()));
        }
        Ok(Self { group: group.number, next_number: group.next_batch, totals: BTreeMap::new(), frozen })
    }

    /// Leaves numbers out; gives the next.
    pub(super) const fn leap(&mut self, numbers: u64) -> u64 {
        self.next_number += numbers;
        self.next_number
    }

    pub(super) const fn group(&self) -> u64 {
        self.group
    }
}

impl DiskLog {
    /// Begins a write: nothing else is written until it is over.
    pub(super) fn begin(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // IMPORTANT: looked at behind the lock, so that no write slips in between a failure and its notice.
        self.check_poison()?;
        Ok(state)
    }

    /// Ends it: all rows or none are in the journal, and visible.
    pub(super) fn commit(&self, state: &mut State, mut rows: WriteBatch) -> Result<(), StoreError> {
        let number = state.group + 1;
        let seqno_min = self.tables.database.seqno();
        let group = Group { number, next_batch: state.next_number, seqno_min };
        rows.insert(&self.tables.meta, tables::GROUP, group.encode());
        rows.durability(Some(PersistMode::Buffer)).commit().map_err(|error| self.refused(error))?;
        state.group = number;
        self.written.store(number, Ordering::Release);
        Ok(())
    }

    /// The totals of a partition as of this write.
    pub(super) fn totals_now(&self, state: &State, at: StreamPartition) -> Result<Totals, StoreError> {
        if let Some(totals) = state.totals.get(&at) {
            return Ok(*totals);
        }
        match self.tables.totals(at) {
            Err(StoreError::Damaged(_)) => self.recount(at),
            other => other.map(|totals| Totals { end: totals.end.max(self.floor), ..totals }),
        }
    }

    pub(super) fn put_totals(
        &self,
        state: &mut State,
        rows: &mut WriteBatch,
        at: StreamPartition,
        totals: Totals,
    ) {
        let key = tables::partition_key(at);
        rows.insert(&self.tables.partitions, key, totals.encode(&key));
        if state.totals.len() >= TOTALS_MAX {
            state.totals.clear();
        }
        state.totals.insert(at, totals);
    }

    pub(super) fn append_group(&self, group: &[Append]) -> Result<Vec<u64>, StoreError> {
        let mut state = self.begin()?;
        let mut positions = Vec::with_capacity(group.len());
        let mut heads: BTreeMap<SeriesKey, SeriesHead> = BTreeMap::new();
        let mut totals: BTreeMap<StreamPartition, Totals> = BTreeMap::new();
        let known = self.look_up(group)?;
        for (n, Append { batch, .. }) in group.iter().enumerate() {
            let at = batch.header().stream_partition;
            if known.kept.contains(&n) {
                continue;
            }
            if let Entry::Vacant(entry) = totals.entry(at) {
                entry.insert(self.totals_now(&state, at)?);
            }
        }
        if totals.is_empty() {
            return Ok(vec![NO_POSITION; group.len()]);
        }
        // IMPORTANT: from here on nothing fails but the write itself, so positions and numbers have no gaps within one life.
        let mut rows = WriteBatch::with_capacity(self.tables.database.clone(), group.len() * 4 + 8);
        for (n, Append { batch, received_at, past }) in group.iter().enumerate() {
            if known.kept.contains(&n) {
                positions.push(NO_POSITION);
                continue;
            }
            let header = batch.header();
            let total = totals.entry(header.stream_partition).or_default();
            let place = Place {
                number: state.next_number,
                position: if *past { NO_POSITION } else { total.end },
                id: batch.id(),
                key: BatchKey::of(header),
                timestamp_max: header.timestamp_max,
                count: header.count,
                // Bounded by the format far below 4 GiB.
                length: batch.bytes().len() as u32,
            };
            state.next_number += 1;
            total.end += u64::from(!past);
            total.batches += 1;
            total.events += u64::from(place.count);
            total.bytes += u64::from(place.length);
            positions.push(place.position);
            let series = SeriesKey::of(header);
            let frozen = state.frozen.contains_key(&series);
            let reached = || heads.get(&series).map(|head| head.next_sequence);
            if !past || known.is_ahead(&series, header, reached()) {
                heads.insert(series, SeriesHead { frozen, ..SeriesHead::after(batch) });
            }
            self.put_batch(
                &mut rows,
                &series,
                &place,
                &Record {
                    received_at: *received_at,
                    position: place.position,
                    id: place.id,
                    bytes: batch.bytes().clone(),
                },
            );
        }
        for (series, head) in &heads {
            let key = tables::head_key(series);
            let row = tables::encode_head(&key, head);
            rows.insert(&self.tables.heads, key, row);
        }
        for (at, total) in totals {
            self.put_totals(&mut state, &mut rows, at, total);
        }
        self.commit(&mut state, rows)?;
        Ok(positions)
    }

    fn put_batch(&self, rows: &mut WriteBatch, series: &SeriesKey, place: &Place, record: &Record) {
        let at = series.stream_partition;
        // IMPORTANT: readers see each row come: the batch before what names it, and the partition's end after all.
        rows.insert(&self.tables.batches, place.number.to_be_bytes(), record.encode(place.number));
        if !place.is_past() {
            let key = tables::arrival_key(at, place.position);
            let row = place.arrival(&key);
            rows.insert(&self.tables.arrivals, key, row);
        }
        let key = tables::history_key(at, &place.key);
        let row = place.history(&key);
        rows.insert(&self.tables.history, key, row);
        let key = tables::series_key(series, place.key.sequence);
        let row = place.series(&key);
        rows.insert(&self.tables.series, key, row);
    }

    pub(super) fn keep_proof(&self, proof: &Equivocation, bytes_max: usize) -> Result<(), StoreError> {
        let series = proof.series();
        {
            let mut state = self.begin()?;
            if state.frozen.contains_key(&series) {
                return Ok(());
            }
            let bytes = proof.first.bytes().len() + proof.second.bytes().len();
            let kept = state.frozen.range(series.of_same_origin()).map(|(series, bytes)| (*series, *bytes));
            let gone = proofs::too_much(kept.collect(), bytes, bytes_max);
            let head = self.read_head(&series)?.unwrap_or(SeriesHead::START);
            let key = tables::head_key(&series);
            let mut rows = self.tables.database.batch();
            let row = tables::encode_proof(&key, Some((proof.first.bytes(), proof.second.bytes())));
            rows.insert(&self.tables.proofs, key.clone(), row);
            for series in &gone {
                let key = tables::head_key(series);
                let row = tables::encode_proof(&key, None);
                rows.insert(&self.tables.proofs, key, row);
            }
            let row = tables::encode_head(&key, &SeriesHead { frozen: true, ..head });
            rows.insert(&self.tables.heads, key, row);
            self.commit(&mut state, rows)?;
            state.frozen.insert(series, bytes);
            state.frozen.extend(gone.into_iter().map(|series| (series, 0)));
        }
        self.sync_journal()
    }
}
