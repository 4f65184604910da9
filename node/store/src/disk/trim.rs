//! Retention: old batches go, with every row that points at them.

use super::DiskLog;
use crate::{
    StoreError, Trimmed,
    tables::{self, Place},
};
use mainstem_model::{SeriesKey, StreamPartition};
use std::sync::PoisonError;

/// Rows looked at in one call beyond those removed.
const ROWS_MAX: usize = 10_000;

impl DiskLog {
    pub(super) fn trim_partition(
        &self,
        at: StreamPartition,
        before: i64,
        max: usize,
    ) -> Result<Trimmed, StoreError> {
        let _trimming = self.trimming.lock().unwrap_or_else(PoisonError::into_inner);
        let (places, more) = self.find_old(at, before, max)?;
        if places.is_empty() {
            return Ok(Trimmed { more, ..Trimmed::default() });
        }
        let mut state = self.begin()?;
        let mut totals = self.totals_now(&state, at)?;
        let mut trimmed = Trimmed { more, ..Trimmed::default() };
        let mut rows = self.tables.database.batch();
        for place in &places {
            let series =
                SeriesKey { stream_partition: at, origin: place.key.origin, series: place.key.series };
            // IMPORTANT: readers see each row go. `arrivals` first, by whose row they tell what was trimmed from what is
            // missing; the batch after all that names it.
            rows.remove(&self.tables.arrivals, tables::arrival_key(at, place.position));
            rows.remove(&self.tables.history, tables::history_key(at, &place.key));
            rows.remove(&self.tables.series, tables::series_key(&series, place.key.sequence));
            rows.remove(&self.tables.batches, place.number.to_be_bytes());
            trimmed.batches += 1;
            trimmed.bytes += u64::from(place.length);
            totals.events = totals.events.saturating_sub(u64::from(place.count));
        }
        totals.batches = totals.batches.saturating_sub(trimmed.batches);
        totals.bytes = totals.bytes.saturating_sub(trimmed.bytes);
        self.put_totals(&mut state, &mut rows, at, totals);
        self.commit(&mut state, rows)?;
        Ok(trimmed)
    }

    /// At most `max` places of batches that end before `before`, and whether there may be more.
    fn find_old(
        &self,
        at: StreamPartition,
        before: i64,
        max: usize,
    ) -> Result<(Vec<Place>, bool), StoreError> {
        let mut old = Vec::new();
        for (n, place) in self.tables.places(at, tables::history_key_from(at, i64::MIN)).enumerate() {
            // IMPORTANT: by the index only. What it does not tell is not deleted.
            let place = place?;
            if place.key.timestamp >= before {
                break;
            }
            if place.timestamp_max < before {
                if old.len() >= max || n - old.len() >= ROWS_MAX {
                    return Ok((old, true));
                }
                old.push(place);
            }
        }
        Ok((old, false))
    }
}
