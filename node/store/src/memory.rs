//! Records in memory.

use crate::{Query, Record, RecordConfig, RecordLog, RecordStore, Records, StoreError};
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
    /// An empty log with this number.
    pub fn new(log_id: u64) -> Self {
        Self::empty(MemoryRecords::default(), &RecordConfig::default(), log_id)
    }
}

impl MemoryRecords {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<u64, Record>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RecordStore for MemoryRecords {
    fn append(&self, records: &[Record]) -> Result<(), StoreError> {
        self.kept().extend(records.iter().map(|record| (record.place, record.clone())));
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn query(&self, query: &Query) -> Result<Records, StoreError> {
        let mut found = Records { next: query.until, ..Records::default() };
        if query.from >= query.until {
            return Ok(found);
        }
        let mut bytes = 0;
        for (place, record) in self.kept().range(query.from..query.until) {
            let is_full = found.records.len() >= query.records_max || bytes >= query.bytes_max;
            if is_full && !found.records.is_empty() {
                found.next = *place;
                break;
            }
            let wanted = if query.prefix_bytes == 0 { usize::MAX } else { query.prefix_bytes };
            let value = record.value.slice(..record.value.len().min(wanted));
            bytes += value.len();
            found.records.push(Record { value, ..record.clone() });
        }
        Ok(found)
    }

    fn fetch(&self, places: &[u64]) -> Result<Records, StoreError> {
        let kept = self.kept();
        let records = places.iter().filter_map(|place| kept.get(place).cloned()).collect();
        Ok(Records { records, ..Records::default() })
    }

    fn trim(&self, places: &[u64]) -> Result<(), StoreError> {
        let mut kept = self.kept();
        for place in places {
            kept.remove(place);
        }
        Ok(())
    }
}
