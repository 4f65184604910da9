//! Where partitions and series stand: their rows, and what the indexes tell when those are damaged.

use super::{DiskLog, Tables, guarded};
use crate::{
    StoreError,
    tables::{self, Group, Place, Totals},
};
use mainstem_model::{BatchKey, SeriesHead, SeriesKey, StreamPartition};
use std::{collections::BTreeSet, ops::Bound};

impl Tables {
    pub(super) fn totals(&self, at: StreamPartition) -> Result<Totals, StoreError> {
        let key = tables::partition_key(at);
        let row = guarded(|| self.partitions.get(key))?;
        row.map_or(Ok(Totals::default()), |row| Totals::decode(&key, &row))
    }

    pub(super) fn head(&self, series: &SeriesKey) -> Result<Option<SeriesHead>, StoreError> {
        let key = tables::head_key(series);
        guarded(|| self.heads.get(&key))?.map(|row| tables::decode_head(&key, &row)).transpose()
    }

    pub(super) fn group(&self) -> Result<Group, StoreError> {
        let row = guarded(|| self.meta.get(tables::GROUP))?;
        Group::decode(&row.ok_or_else(|| StoreError::Damaged("table meta has lost its row".into()))?)
    }

    fn partitions(&self) -> Result<Vec<StreamPartition>, StoreError> {
        self.partitions.iter().map(|row| read_partition(&guarded(|| row.key())?)).collect()
    }

    /// At most `max` of them behind `after`, in order.
    fn partitions_after(
        &self,
        after: Option<StreamPartition>,
        max: usize,
    ) -> Result<Vec<StreamPartition>, StoreError> {
        let after = after.map(tables::partition_key);
        let from = after.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(&key[..]));
        let rows = self.partitions.range::<&[u8], _>((from, Bound::Unbounded)).take(max);
        rows.map(|row| read_partition(&guarded(|| row.key())?)).collect()
    }

    /// Every partition that has a batch now.
    fn partitions_with_batches(&self) -> Result<Vec<StreamPartition>, StoreError> {
        let (mut found, mut from) = (BTreeSet::new(), Vec::new());
        while let Some(key) =
            guarded(|| self.history.range(from..).next().map(fjall::Guard::key).transpose())?
        {
            let at = read_partition(key.get(..tables::PARTITION).unwrap_or_default())?;
            found.insert(at);
            // Behind the last key that it can have.
            from = [&tables::partition_key(at)[..], &[0xff; BatchKey::LENGTH]].concat();
        }
        Ok(found.into_iter().collect())
    }
}

fn read_partition(key: &[u8]) -> Result<StreamPartition, StoreError> {
    tables::read_partition_key(key).ok_or_else(|| StoreError::Damaged("a key is of no partition".into()))
}

impl DiskLog {
    /// Position of a partition's next batch. When its row is damaged, a number that no position has reached: positions in
    /// between are as if trimmed.
    pub(super) fn read_end(&self, at: StreamPartition) -> Result<u64, StoreError> {
        match self.tables.totals(at) {
            Err(StoreError::Damaged(_)) => Ok(self.tables.group()?.next_batch),
            other => other.map(|totals| totals.end.max(self.floor)),
        }
    }

    /// A partition's totals from its index.
    pub(super) fn recount(&self, at: StreamPartition) -> Result<Totals, StoreError> {
        let end = self.tables.group()?.next_batch;
        tracing::warn!(%at, end, "the totals of a partition are damaged; counting again");
        let mut totals = Totals { end, ..Totals::default() };
        let mut count = |place: Place| {
            totals.batches += 1;
            totals.events += u64::from(place.count);
            totals.bytes += u64::from(place.length);
        };
        self.each_arrival(at, end, &mut Vec::new(), &mut count)?;
        self.each_past(at, &mut count)?;
        Ok(totals)
    }

    /// A series' head. When its row is damaged, what its last batch tells.
    pub(super) fn read_head(&self, series: &SeriesKey) -> Result<Option<SeriesHead>, StoreError> {
        let error = match self.tables.head(series) {
            Err(StoreError::Damaged(why)) => StoreError::Damaged(why),
            other => return other,
        };
        let prefix = tables::head_key(series);
        let last = guarded(|| {
            self.tables.series.prefix(prefix).next_back().map(fjall::Guard::into_inner).transpose()
        })?;
        // Trimmed to the last batch: nothing tells any more.
        let (key, row) = last.ok_or(error)?;
        let place = Place::read_series(&key, &row)?;
        let proof = guarded(|| self.tables.proofs.contains_key(tables::head_key(series)))?;
        Ok(Some(SeriesHead {
            next_sequence: place.next_sequence(),
            last: place.id,
            timestamp: place.key.timestamp,
            frozen: proof,
        }))
    }

    pub(super) fn list_partitions(&self) -> Result<Vec<StreamPartition>, StoreError> {
        match self.tables.partitions() {
            Err(StoreError::Damaged(_)) => self.tables.partitions_with_batches(),
            other => other,
        }
    }

    pub(super) fn list_partitions_after(
        &self,
        after: Option<StreamPartition>,
        max: usize,
    ) -> Result<Vec<StreamPartition>, StoreError> {
        match self.tables.partitions_after(after, max) {
            Err(StoreError::Damaged(_)) => {
                let all = self.tables.partitions_with_batches()?;
                Ok(all.into_iter().filter(|at| Some(*at) > after).take(max).collect())
            }
            other => other,
        }
    }
}
