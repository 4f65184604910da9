//! A full check: every batch by every index, for `mainstem doctor`.

use super::{DiskLog, arrivals::Arrivals, guarded, read::damaged};
use crate::{
    StoreError, Verified,
    tables::{self, Place},
};
use mainstem_model::{Cursor, SeriesKey, StreamPartition};

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
            if let Err(error) = self.tables.read_proofs(at) {
                verified.faults.push(format!("{at}: {error}"));
            }
        }
        Ok(verified)
    }

    fn verify_batch(
        &self,
        at: StreamPartition,
        place: &Place,
        verified: &mut Verified,
    ) -> Result<(), StoreError> {
        let cursor = Cursor::Arrival { log: self.log_id, position: place.position, skip: 0 };
        match self.read(at, place, cursor) {
            Ok(Some(batch)) => {
                verified.batches += 1;
                verified.bytes += batch.bytes.len() as u64;
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
                Ok(None) if matches!(self.tables.arrival(at, place.position), Ok(None)) => continue,
                Ok(None) => "it is missing there".to_owned(),
                Err(error) => error.to_string(),
            };
            verified.faults.push(format!("{at}, position {}, table {table}: {fault}", place.position));
        }
        if let Err(error) = self.tables.head(&series) {
            verified.faults.push(format!("{at}, series {}: {error}", series.series));
        }
        Ok(())
    }
}
