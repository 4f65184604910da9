//! Where partitions and series stand: their rows, and what the indexes tell when those are damaged.

use super::{DiskLog, Tables, guarded};
use crate::{
    StoreError,
    tables::{self, Group, Place, Totals},
};
use mainstem_model::{SeriesHead, SeriesKey, StreamPartition};
use std::collections::BTreeSet;

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

    /// Every partition that has a batch now.
    fn partitions_with_batches(&self) -> Result<Vec<StreamPartition>, StoreError> {
        let (mut found, mut from) = (BTreeSet::new(), Vec::new());
        while let Some(key) =
            guarded(|| self.arrivals.range(from..).next().map(fjall::Guard::key).transpose())?
        {
            let at = read_partition(key.get(..tables::PARTITION).unwrap_or_default())?;
            found.insert(at);
            from = tables::arrival_key(at, u64::MAX);
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
        self.each_arrival(at, end, &mut Vec::new(), |place| {
            totals.batches += 1;
            totals.events += u64::from(place.count);
            totals.bytes += u64::from(place.length);
        })?;
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
            next_sequence: place.key.sequence.saturating_add(u64::from(place.count)),
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
}
