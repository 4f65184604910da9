//! Retention: old batches go, with every row that points at them.

use super::{DiskLog, damaged};
use crate::{StoreError, Trimmed, tables};
use fjall::PersistMode;
use mainstem_model::{SeriesKey, StreamPartition};
use std::sync::PoisonError;

impl DiskLog {
    pub(super) fn trim_partition(
        &self,
        at: StreamPartition,
        before: i64,
        max: usize,
    ) -> Result<Trimmed, StoreError> {
        let _ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_poison()?;
        let mut trimmed = Trimmed::default();
        let mut rows = self.database.batch().durability(Some(PersistMode::Buffer));
        for row in self.times.prefix(tables::partition_key(at)) {
            let (key, value) = row.into_inner().map_err(damaged)?;
            let time = tables::read_time_key(&key)
                .ok_or_else(|| StoreError::Damaged("a key of table times is no place in history".into()))?;
            if time.timestamp >= before {
                break;
            }
            if trimmed.batches >= max as u64 {
                trimmed.more = true;
                break;
            }
            let row = tables::TimeRow::decode(&key, &value)?;
            let batch = tables::batch_key(at, row.position);
            trimmed.bytes += u64::from(self.batches.size_of(&batch).map_err(damaged)?.unwrap_or(0));
            trimmed.batches += 1;
            let series = SeriesKey { stream_partition: at, origin: time.origin, series: time.series };
            rows.remove(&self.series, tables::series_key(&series, time.sequence));
            rows.remove(&self.batches, batch);
            rows.remove(&self.times, key);
        }
        rows.commit().map_err(|error| self.poison(&error))?;
        Ok(trimmed)
    }
}
