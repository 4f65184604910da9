//! Writing: a group of batches is one append of records. Readers are told of a batch when its record is kept.

use super::{
    RecordLog,
    entry::Entry,
    index::{Proof, Row},
};
use crate::{Append, NO_POSITION, StoreError, Trimmed, proofs};
use mainstem_model::{BatchKey, Equivocation, Record, RecordStore, SeriesHead, SeriesKey, StreamPartition};
use std::{
    collections::BTreeMap,
    sync::{MutexGuard, PoisonError},
};

/// What the next write follows.
#[derive(Debug, Default)]
pub(super) struct Writing {
    next_place: u64,
}

impl<R: RecordStore> RecordLog<R> {
    /// Writes down that the log is open, durably, before anything is appended.
    pub(super) fn begin_life(&self, place: u64) -> Result<(), StoreError> {
        let mut writing = self.begin()?;
        writing.next_place = place;
        let value = Entry::life(place, self.log_id);
        self.put(&mut writing, vec![Record { place, timestamp: 0, value }])?;
        self.sync_store()
    }

    pub(super) fn check_poison(&self) -> Result<(), StoreError> {
        self.poisoned.get().map_or(Ok(()), |why| Err(StoreError::Poisoned(why.clone())))
    }

    pub(super) fn sync_store(&self) -> Result<(), StoreError> {
        self.store.sync().map_err(|fault| self.poison(&fault.into()))
    }

    /// A failed write or fsync: from here on nothing is acknowledged.
    pub(super) fn poison(&self, error: &StoreError) -> StoreError {
        let why = self.poisoned.get_or_init(|| {
            tracing::error!(%error, "the store takes no more writes");
            error.to_string()
        });
        StoreError::Poisoned(why.clone())
    }

    /// Begins a write: nothing else is written until it is over.
    fn begin(&self) -> Result<MutexGuard<'_, Writing>, StoreError> {
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        // IMPORTANT: looked at behind the lock, so that no write slips in between a failure and its notice.
        self.check_poison()?;
        Ok(writing)
    }

    /// Appends records whose places begin with the next one.
    fn put(&self, writing: &mut Writing, records: Vec<Record>) -> Result<(), StoreError> {
        let Some(last) = records.last() else { return Ok(()) };
        self.store.append(&records).map_err(|fault| self.poison(&fault.into()))?;
        writing.next_place = last.place + 1;
        Ok(())
    }

    pub(super) fn append_group(&self, group: &[Append]) -> Result<Vec<u64>, StoreError> {
        let mut writing = self.begin()?;
        let mut positions = Vec::with_capacity(group.len());
        let (mut records, mut rows) = (Vec::new(), Vec::new());
        let mut ends: BTreeMap<StreamPartition, u64> = BTreeMap::new();
        {
            let index = self.index();
            if index.rows().saturating_add(group.len()) > self.rows_max {
                return Err(self.poison(&StoreError::Full { rows_max: self.rows_max }));
            }
            for append in group {
                let Append { batch, received_at, past } = append;
                let header = batch.header();
                let (at, series) = (header.stream_partition, SeriesKey::of(header));
                let holds = |row: &(&Append, Row)| {
                    let other = row.0.batch.header();
                    SeriesKey::of(other) == series
                        && (other.sequence..other.next_sequence()).contains(&header.sequence)
                };
                let is_kept = || {
                    let kept = index.partitions.get(&at).and_then(|kept| kept.at(&series, header.sequence));
                    kept.is_some() || rows.iter().any(holds)
                };
                if *past && is_kept() {
                    positions.push(NO_POSITION);
                    continue;
                }
                let end = ends.entry(at).or_insert_with(|| self.end_in(&index, at));
                let position = if *past { NO_POSITION } else { *end };
                *end += u64::from(!past);
                positions.push(position);
                let place = writing.next_place + records.len() as u64;
                let value = Entry::batch(place, *received_at, position, batch);
                records.push(Record { place, timestamp: header.timestamp_max, value });
                // Bounded by the format far below 4 GiB.
                let row = Row::new(place, *received_at, position, header, batch.bytes().len() as u32);
                rows.push((append, row));
            }
        }
        self.put(&mut writing, records)?;
        let mut index = self.index();
        for (append, row) in rows {
            index.insert(append.batch.header(), row);
        }
        Ok(positions)
    }

    pub(super) fn keep_proof(&self, proof: &Equivocation, bytes_max: usize) -> Result<(), StoreError> {
        let series = proof.series();
        let mut writing = self.begin()?;
        let (first, second) = (proof.first.bytes(), proof.second.bytes());
        let gone: Vec<(SeriesKey, u64)> = {
            let index = self.index();
            if index.proofs.contains_key(&series) {
                return Ok(());
            }
            let of_origin = index.proofs.range(series.of_same_origin());
            let kept = of_origin.map(|(series, proof)| (*series, proof.first + proof.second)).collect();
            let gone = proofs::too_much(kept, first.len() + second.len(), bytes_max);
            gone.into_iter().filter_map(|series| Some((series, index.proofs.get(&series)?.place))).collect()
        };
        let place = writing.next_place;
        let value = Entry::proof(place, &series, Some((first, second)));
        let mut records = vec![Record { place, timestamp: proof.first.header().timestamp_max, value }];
        for (series, _) in &gone {
            let place = place + records.len() as u64;
            records.push(Record { place, timestamp: 0, value: Entry::proof(place, series, None) });
        }
        self.put(&mut writing, records)?;
        self.sync_store()?;
        let mut old = Vec::new();
        {
            let mut index = self.index();
            index.heads.entry(series).or_insert(SeriesHead::START).frozen = true;
            index.proofs.insert(series, Proof { place, first: first.len(), second: second.len() });
            for ((series, before), place) in gone.into_iter().zip(place + 1..) {
                index.proofs.insert(series, Proof { place, first: 0, second: 0 });
                old.push(before);
            }
        }
        self.forget(&old)
    }

    pub(super) fn trim_partition(
        &self,
        at: StreamPartition,
        from: Option<BatchKey>,
        before: i64,
        max: usize,
    ) -> Result<Trimmed, StoreError> {
        let mut writing = self.begin()?;
        let (old, heads, next) = {
            let index = self.index();
            let Some(kept) = index.partitions.get(&at) else { return Ok(Trimmed::default()) };
            let from = from.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Included);
            let mut old: Vec<_> = kept
                .batches
                .range((from, std::ops::Bound::Unbounded))
                .take_while(|(key, _)| key.timestamp < before)
                .filter(|(_, row)| row.timestamp_max < before)
                .take(max.saturating_add(1))
                .map(|(key, row)| (*key, row.id))
                .collect();
            let next = old.get(max).map(|(key, _)| *key);
            old.truncate(max);
            // What tells how far a series has come must not go with its last batch.
            let heads: Vec<_> = old
                .iter()
                .filter_map(|(key, id)| {
                    let series = SeriesKey { stream_partition: at, origin: key.origin, series: key.series };
                    let head = index.heads.get(&series)?;
                    (head.last == *id).then_some((series, *head))
                })
                .collect();
            (old, heads, next)
        };
        let first = writing.next_place;
        let records = (first..).zip(&heads).map(|(place, (series, head))| Record {
            place,
            timestamp: head.timestamp,
            value: Entry::head(place, series, head),
        });
        self.put(&mut writing, records.collect())?;
        if !heads.is_empty() {
            // IMPORTANT: before the batches go, so that no power failure takes both.
            self.sync_store()?;
        }
        let (mut trimmed, mut places) = (Trimmed { next, ..Trimmed::default() }, Vec::new());
        {
            let mut index = self.index();
            for ((series, _), place) in heads.into_iter().zip(first..) {
                places.extend(index.head_places.insert(series, place));
            }
            for (key, _) in old {
                let Some(row) = index.partitions.get_mut(&at).and_then(|kept| kept.remove(&key)) else {
                    continue;
                };
                index.batches -= 1;
                trimmed.batches += 1;
                trimmed.bytes += u64::from(row.length);
                places.push(row.place);
            }
        }
        self.forget(&places)?;
        Ok(trimmed)
    }

    /// Lets records go.
    pub(super) fn forget(&self, places: &[u64]) -> Result<(), StoreError> {
        if places.is_empty() {
            return Ok(());
        }
        self.store.trim(places).map_err(|fault| self.poison(&fault.into()))
    }
}
