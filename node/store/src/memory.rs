//! Records in memory.

use crate::{RecordConfig, RecordLog};
use mainstem_model::{Query, Record, RecordFault, RecordStore, Records};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Keeps records as long as the process lives. `sync` has nothing to do.
#[derive(Debug, Default)]
pub struct MemoryRecords(Mutex<BTreeMap<u64, Record>>);

/// The event log in memory: for tests and for brokers that keep nothing.
pub type MemoryLog = RecordLog<MemoryRecords>;

impl MemoryLog {
    /// An empty log with this number. Its batches are in memory anyway, so its index has no bound of its own.
    pub fn new(log_id: u64) -> Self {
        Self::empty(MemoryRecords::default(), &RecordConfig { index_rows_max: usize::MAX }, log_id)
    }
}

impl MemoryRecords {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<u64, Record>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RecordStore for MemoryRecords {
    fn append(&self, records: &[Record]) -> Result<(), RecordFault> {
        self.kept().extend(records.iter().map(|record| (record.place, record.clone())));
        Ok(())
    }

    fn sync(&self) -> Result<(), RecordFault> {
        Ok(())
    }

    fn query(&self, query: &Query) -> Result<Records, RecordFault> {
        let mut found = Records { next: query.until, ..Records::default() };
        if query.from >= query.until {
            return Ok(found);
        }
        let mut bytes = 0;
        for (place, record) in self.kept().range(query.from..query.until) {
            let wanted = if query.prefix_bytes == 0 { usize::MAX } else { query.prefix_bytes };
            let value = record.value.slice(..record.value.len().min(wanted));
            let is_full = found.records.len() >= query.records_max || bytes + value.len() > query.bytes_max;
            if is_full && !found.records.is_empty() {
                found.next = *place;
                break;
            }
            bytes += value.len();
            found.records.push(Record { value, ..record.clone() });
        }
        Ok(found)
    }

    fn fetch(&self, places: &[u64]) -> Result<Records, RecordFault> {
        let kept = self.kept();
        let records = places.iter().filter_map(|place| kept.get(place).cloned()).collect();
        Ok(Records { records, ..Records::default() })
    }

    fn trim(&self, places: &[u64]) -> Result<(), RecordFault> {
        let mut kept = self.kept();
        for place in places {
            kept.remove(place);
        }
        Ok(())
    }
}
