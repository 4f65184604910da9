//! A full check: every batch by every index, for `mainstem doctor`.

use super::{DiskLog, arrivals::Arrivals, guarded, read::damaged};
use crate::{
    StoreError, Verified,
    tables::{self, Place},
};
use mainstem_model::{SeriesKey, StreamPartition};
use std::sync::PoisonError;

impl DiskLog {
    pub(super) fn verify_all(&self, progress: &mut dyn FnMut(&Verified)) -> Result<Verified, StoreError> {
        let mut verified = Verified::default();
        for at in self.list_partitions()? {
            if let Err(error) = self.tables.totals(at) {
                verified.faults.push(format!("{at}: {error}"));
            }
            let end = self.read_end(at)?;
            let mut arrivals = Arrivals::new(&self.tables, at, 0, end);
            while let Some(place) = arrivals.next(&mut verified.damaged)? {
                if let Some(why) = arrivals.take_damage() {
                    verified.faults.push(format!("{at}, position {}, table arrivals: {why}", place.position));
                }
                self.verify_batch(at, &place, &mut verified)?;
                progress(&verified);
            }
            if let Some(why) = arrivals.take_damage() {
                verified.faults.push(format!("{at}, table arrivals: {why}"));
            }
            self.verify_past(at, &mut verified, progress)?;
            if let Err(error) = self.tables.check_proofs(at) {
                verified.faults.push(format!("{at}: {error}"));
            }
        }
        Ok(verified)
    }

    /// What fills up history has two rows that lead to it: all by the one index, and those that it lacks by the other.
    fn verify_past(
        &self,
        at: StreamPartition,
        verified: &mut Verified,
        progress: &mut dyn FnMut(&Verified),
    ) -> Result<(), StoreError> {
        let fault = |table: &str, why: String| format!("{at}, what fills up history, table {table}: {why}");
        let (mut walked, mut is_whole) = (tables::history_key_from(at, i64::MIN), true);
        for place in self.tables.places(at, tables::history_key_from(at, i64::MIN)) {
            if let Ok(place) = &place {
                walked = tables::history_key(at, &place.key);
            }
            match place {
                Ok(place) if place.is_past() => {
                    self.verify_past_batch(at, &place, verified)?;
                    progress(verified);
                }
                Ok(_) => {}
                Err(StoreError::Damaged(why)) => {
                    verified.faults.push(fault("history", why));
                    is_whole = false;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        // Collected, as they are few unless the other index is gone.
        let mut unseen = Vec::new();
        let damage = self.each_past(at, |place| {
            let key = tables::history_key(at, &place.key);
            let row = guarded(|| self.tables.history.get(&key));
            let in_history = row.and_then(|row| row.map(|row| Place::read_history(&key, &row)).transpose());
            let is_seen = is_whole || key <= walked;
            if !(is_seen && matches!(in_history, Ok(Some(found)) if found == place)) {
                unseen.push(place);
            }
        })?;
        if let Some(why) = damage {
            verified.faults.push(fault("series", why));
        }
        for place in unseen {
            self.verify_past_batch(at, &place, verified)?;
            progress(verified);
        }
        Ok(())
    }

    fn verify_past_batch(
        &self,
        at: StreamPartition,
        place: &Place,
        verified: &mut Verified,
    ) -> Result<(), StoreError> {
        // IMPORTANT: nothing is trimmed meanwhile, so that a row that is missing is lost.
        let _trimming = self.trimming.lock().unwrap_or_else(PoisonError::into_inner);
        let is_there = guarded(|| self.tables.batches.contains_key(place.number.to_be_bytes()));
        let is_named = guarded(|| self.tables.history.contains_key(tables::history_key(at, &place.key)));
        // Trimmed before.
        if matches!((is_there, is_named), (Ok(false), Ok(false))) {
            return Ok(());
        }
        self.verify_batch(at, place, verified)
    }

    fn verify_batch(
        &self,
        at: StreamPartition,
        place: &Place,
        verified: &mut Verified,
    ) -> Result<(), StoreError> {
        match self.read_record(at, place) {
            Ok(Some(record)) => {
                verified.batches += 1;
                verified.bytes += record.bytes.len() as u64;
            }
            // Trimmed meanwhile.
            Ok(None) => return Ok(()),
            Err(error) => verified.damaged.push(damaged(at, place.position, Some(place), error)?),
        }
        let series = SeriesKey { stream_partition: at, origin: place.key.origin, series: place.key.series };
        let history = tables::history_key(at, &place.key);
        let in_history = guarded(|| self.tables.history.get(&history))
            .and_then(|row| row.map(|row| Place::read_history(&history, &row)).transpose());
        let sequence = tables::series_key(&series, place.key.sequence);
        let in_series = guarded(|| self.tables.series.get(&sequence))
            .and_then(|row| row.map(|row| Place::read_series(&sequence, &row)).transpose());
        for (table, found) in [("history", in_history), ("series", in_series)] {
            let fault = match found {
                Ok(Some(found)) if found == *place => continue,
                Ok(Some(_)) => "its row there is of another batch".to_owned(),
                // Trimmed meanwhile, or lost.
                Ok(None)
                    if !place.is_past() && matches!(self.tables.arrival(at, place.position), Ok(None)) =>
                {
                    continue;
                }
                Ok(None) => "it is missing there".to_owned(),
                Err(error) => error.to_string(),
            };
            let which = if place.is_past() {
                format!(
                    "what fills up history at sequence {} of series {}",
                    place.key.sequence, series.series
                )
            } else {
                format!("position {}", place.position)
            };
            verified.faults.push(format!("{at}, {which}, table {table}: {fault}"));
        }
        if let Err(error) = self.tables.head(&series) {
            verified.faults.push(format!("{at}, series {}: {error}", series.series));
        }
        Ok(())
    }
}
