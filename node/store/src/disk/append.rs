//! Writing: a group of batches is one atomic write of fjall, rows of every table together.

use super::DiskLog;
use crate::{
    Append, StoreError,
    record::Record,
    tables::{self, TimeRow},
};
use fjall::PersistMode;
use mainstem_model::{BatchKey, Equivocation, SeriesHead, SeriesKey};
use std::{collections::HashMap, sync::PoisonError};

impl DiskLog {
    pub(super) fn append_group(&self, group: &[Append]) -> Result<Vec<u64>, StoreError> {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        // IMPORTANT: looked at behind the lock, so that no append slips in between a failure and its notice.
        self.check_poison()?;
        let mut positions = Vec::with_capacity(group.len());
        let mut heads: HashMap<SeriesKey, SeriesHead> = HashMap::new();
        let mut rows = self.database.batch().durability(Some(PersistMode::Buffer));
        for Append { batch, received_at } in group {
            let header = batch.header();
            let at = header.stream_partition;
            let position = match ends.get(&at) {
                Some(end) => *end,
                None => self.end(at)?,
            };
            ends.insert(at, position + 1);
            positions.push(position);

            let key = tables::batch_key(at, position);
            let record = Record::new(header, batch.id(), batch.bytes().clone(), *received_at).encode(&key);
            rows.insert(&self.batches, key, record);

            let key = tables::time_key(at, &BatchKey::of(header));
            let row = TimeRow {
                position,
                id: batch.id(),
                timestamp_max: header.timestamp_max,
                count: header.count,
            };
            let row = row.encode(&key);
            rows.insert(&self.times, key, row);

            let series = SeriesKey::of(header);
            let key = tables::series_key(&series, header.sequence);
            let row = tables::encode_place(&key, position, batch.id());
            rows.insert(&self.series, key, row);

            heads.insert(series, SeriesHead::after(batch));
            let key = tables::partition_key(at);
            rows.insert(&self.partitions, key, tables::encode_number(&key, position + 1));
        }
        #[allow(
            clippy::iter_over_hash_type,
            reason = "the rows have different keys, so their order says nothing"
        )]
        for (series, head) in &heads {
            let key = tables::head_key(series);
            let row = tables::encode_head(&key, head);
            rows.insert(&self.heads, key, row);
        }
        rows.commit().map_err(|error| self.poison(&error))?;
        Ok(positions)
    }

    pub(super) fn keep_proof(&self, proof: &Equivocation) -> Result<(), StoreError> {
        let _ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_poison()?;
        let key = tables::head_key(&proof.series());
        let head = match self.heads.get(&key).map_err(super::damaged)? {
            Some(row) => tables::decode_head(&key, &row)?,
            None => SeriesHead::START,
        };
        let mut rows = self.database.batch().durability(Some(PersistMode::SyncData));
        let row = tables::encode_proof(&key, proof.first.bytes(), proof.second.bytes());
        rows.insert(&self.proofs, key.clone(), row);
        let row = tables::encode_head(&key, &SeriesHead { frozen: true, ..head });
        rows.insert(&self.heads, key, row);
        rows.commit().map_err(|error| self.poison(&error))
    }
}
