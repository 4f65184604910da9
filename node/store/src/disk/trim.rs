//! Retention: old batches go, with every row that points at them.

use super::DiskLog;
use crate::{
    DamagedRange, StoreError, Trimmed,
    tables::{self, Place},
};
use mainstem_model::{BatchKey, SeriesKey, StreamPartition};
use std::sync::PoisonError;

/// Rows looked at in one call beyond those removed.
const ROWS_MAX: usize = 1_000;

impl DiskLog {
    pub(super) fn trim_partition(
        &self,
        at: StreamPartition,
        from: Option<BatchKey>,
        before: i64,
        max: usize,
    ) -> Result<Trimmed, StoreError> {
        let _trimming = self.trimming.lock().unwrap_or_else(PoisonError::into_inner);
        let (places, next) = self.find_old(at, from, before, max)?;
        if places.is_empty() {
            return Ok(Trimmed { next, ..Trimmed::default() });
        }
        let mut state = self.begin()?;
        let mut totals = self.totals_now(&state, at)?;
        let mut trimmed = Trimmed { next, ..Trimmed::default() };
        let mut rows = self.tables.database.batch();
        for place in &places {
            let series =
                SeriesKey { stream_partition: at, origin: place.key.origin, series: place.key.series };
            // IMPORTANT: readers see each row go. `arrivals` first, or `history` for what never arrived, by whose row they
            // tell what was trimmed from what is missing; the batch after all that names it.
            if !place.is_past() {
                rows.remove(&self.tables.arrivals, tables::arrival_key(at, place.position));
            }
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

    /// At most `max` places of batches that end before `before`, and where to look on.
    fn find_old(
        &self,
        at: StreamPartition,
        from: Option<BatchKey>,
        before: i64,
        max: usize,
    ) -> Result<(Vec<Place>, Option<BatchKey>), StoreError> {
        let first =
            from.map_or_else(|| tables::history_key_from(at, i64::MIN), |key| tables::history_key(at, &key));
        // IMPORTANT: by the indexes only. What none of them tells is not deleted.
        let mut places = self.history(at, first, self.read_end(at)?);
        let (mut old, mut rows, mut lost) = (Vec::new(), 0, Vec::new());
        while let Some(place) = places.next(&mut lost)? {
            if place.key.timestamp >= before {
                break;
            }
            let is_old = place.timestamp_max < before;
            if rows > ROWS_MAX || is_old && old.len() >= max {
                return Ok((old, Some(place.key)));
            }
            if is_old { old.push(place) } else { rows += 1 }
        }
        for DamagedRange { positions, why, .. } in lost {
            tracing::warn!(%at, ?positions, %why, "a damaged stretch is not trimmed");
        }
        Ok((old, None))
    }
}
