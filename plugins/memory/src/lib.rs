//! Storage scheme `memory`: what the built-in log in memory keeps, as a plugin, so that the two can be compared.

use mainstem_plugin_sdk::{Failure, Host, KeptRecord, Page, Parameters, Query, Record, Records, Storage};
use std::collections::BTreeMap;

/// Bytes that a record takes beside its value, about.
const RECORD_BYTES: usize = 64;

/// Records by their places.
#[derive(Debug)]
pub struct Memory {
    kept: BTreeMap<u64, (i64, Vec<u8>)>,
    bytes: usize,
    bytes_max: usize,
}

impl Storage for Memory {
    fn start(_: &Host<'_>, parameters: &Parameters<'_>) -> Result<Self, Failure> {
        let bytes_max = parameters.int64("bytes_max")?;
        let bytes_max = usize::try_from(bytes_max).map_err(|_| {
            Failure::invalid(format!(
                "the parameter bytes_max is {bytes_max}; it must be 0 or more, such as 33554432"
            ))
        })?;
        Ok(Self { kept: BTreeMap::new(), bytes: 0, bytes_max })
    }

    fn append(&mut self, _: &Host<'_>, records: &[Record<'_>]) -> Result<(), Failure> {
        let bytes = self.bytes + records.iter().map(|record| size(record.value)).sum::<usize>();
        if bytes > self.bytes_max {
            return Err(Failure::limit(format!(
                "the records would have {bytes} bytes, more than bytes_max, {}: let streams be kept for fewer days, or take \
                 another store",
                self.bytes_max
            )));
        }
        self.bytes = bytes;
        let kept = records.iter().map(|record| (record.place, (record.timestamp, record.value.to_vec())));
        self.kept.extend(kept);
        Ok(())
    }

    /// Nothing outlives the process, so there is nothing to do.
    fn sync(&mut self, _: &Host<'_>) -> Result<(), Failure> {
        Ok(())
    }

    fn query(&mut self, _: &Host<'_>, query: &Query) -> Result<Records, Failure> {
        let mut page = Page::new(*query);
        for (place, (timestamp, value)) in self.kept.range(query.from..query.until.max(query.from)) {
            if !page.take(*place, Some((*timestamp, value))) {
                break;
            }
        }
        Ok(page.into_records())
    }

    fn fetch(&mut self, _: &Host<'_>, places: &[u64]) -> Result<Records, Failure> {
        let record = |place: &u64| {
            let (timestamp, value) = self.kept.get(place)?;
            Some(KeptRecord { place: *place, timestamp: *timestamp, value: value.clone() })
        };
        Ok(Records { records: places.iter().filter_map(record).collect(), ..Records::default() })
    }

    fn trim(&mut self, _: &Host<'_>, places: &[u64]) -> Result<(), Failure> {
        for place in places {
            if let Some((_, value)) = self.kept.remove(place) {
                self.bytes -= size(&value);
            }
        }
        Ok(())
    }
}

const fn size(value: &[u8]) -> usize {
    RECORD_BYTES + value.len()
}

mainstem_plugin_sdk::storage!(Memory);
