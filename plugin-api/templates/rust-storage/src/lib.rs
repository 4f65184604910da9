//! A storage: what begins here writes all records into one file, one behind the other, and holds in memory where each of them is. It
//! never gives room back: that is yours to add.

use mainstem_plugin_sdk::{Failure, Host, KeptRecord, Parameters, Query, Record, Records, Storage};
use std::collections::BTreeMap;

/// The one file.
const FILE: &str = "records";
/// Bytes before a value: place, timestamp, length, checksum, in little-endian.
const HEAD: usize = 8 + 8 + 4 + 4;
/// Length of a record without a value that says that the one of its place was trimmed.
const TRIMMED: u32 = u32::MAX;

/// Where a value is in the file.
struct Kept {
    timestamp: i64,
    offset: u64,
    length: u32,
    sum: u32,
}

/// The storage.
pub struct File {
    kept: BTreeMap<u64, Kept>,
    size: u64,
}

impl Storage for File {
    fn start(host: &Host<'_>, _: &Parameters<'_>) -> Result<Self, Failure> {
        let (files, mut file) = (host.files(), Self { kept: BTreeMap::new(), size: 0 });
        let end = files.size(FILE)?;
        while let Some((place, kept)) = read_head(&files.read(FILE, file.size, HEAD)?, file.size) {
            let length = if kept.length == TRIMMED { 0 } else { kept.length };
            let next = kept.offset + u64::from(length);
            if next > end {
                break;
            }
            file.size = next;
            if kept.length == TRIMMED { file.kept.remove(&place) } else { file.kept.insert(place, kept) };
        }
        // What a write left that was cut short.
        files.cut(FILE, file.size)?;
        Ok(file)
    }

    fn append(&mut self, host: &Host<'_>, records: &[Record<'_>]) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        for Record { place, timestamp, value } in records {
            let (length, sum) = (value.len() as u32, checksum(value));
            write_head(&mut bytes, *place, *timestamp, length, sum);
            let offset = self.size + bytes.len() as u64;
            bytes.extend_from_slice(value);
            self.kept.insert(*place, Kept { timestamp: *timestamp, offset, length, sum });
        }
        self.size = host.files().append(FILE, &bytes)?;
        Ok(())
    }

    fn sync(&mut self, host: &Host<'_>) -> Result<(), Failure> {
        host.files().sync(FILE)
    }

    fn query(&mut self, host: &Host<'_>, query: &Query) -> Result<Records, Failure> {
        let mut found = Records { next: query.until, ..Records::default() };
        let mut bytes = 0;
        for (place, kept) in self.kept.range(query.from..query.until.max(query.from)) {
            let length = (kept.length as usize).min(query.prefix_bytes);
            if !query.has_room(found.records.len() + found.damaged.len(), bytes, length) {
                found.next = *place;
                break;
            }
            bytes += length;
            match kept.read(host, *place)? {
                Some(mut record) => {
                    record.value.truncate(length);
                    found.records.push(record);
                }
                None => found.damaged.push(*place),
            }
        }
        Ok(found)
    }

    fn fetch(&mut self, host: &Host<'_>, places: &[u64]) -> Result<Records, Failure> {
        let mut found = Records::default();
        for place in places {
            let Some(kept) = self.kept.get(place) else { continue };
            match kept.read(host, *place)? {
                Some(record) => found.records.push(record),
                None => found.damaged.push(*place),
            }
        }
        Ok(found)
    }

    fn trim(&mut self, host: &Host<'_>, places: &[u64]) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        for place in places {
            if self.kept.remove(place).is_some() {
                write_head(&mut bytes, *place, 0, TRIMMED, 0);
            }
        }
        self.size = host.files().append(FILE, &bytes)?;
        Ok(())
    }
}

impl Kept {
    /// Nothing of a record whose bytes have changed.
    fn read(&self, host: &Host<'_>, place: u64) -> Result<Option<KeptRecord>, Failure> {
        let value = host.files().read(FILE, self.offset, self.length as usize)?;
        let whole = value.len() == self.length as usize && checksum(&value) == self.sum;
        Ok(whole.then_some(KeptRecord { place, timestamp: self.timestamp, value }))
    }
}

fn write_head(to: &mut Vec<u8>, place: u64, timestamp: i64, length: u32, sum: u32) {
    to.extend_from_slice(&place.to_le_bytes());
    to.extend_from_slice(&timestamp.to_le_bytes());
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(&sum.to_le_bytes());
}

fn read_head(bytes: &[u8], at: u64) -> Option<(u64, Kept)> {
    let (place, rest) = bytes.split_first_chunk()?;
    let (timestamp, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (sum, _) = rest.split_first_chunk()?;
    let kept = Kept {
        timestamp: i64::from_le_bytes(*timestamp),
        offset: at + HEAD as u64,
        length: u32::from_le_bytes(*length),
        sum: u32::from_le_bytes(*sum),
    };
    Some((u64::from_le_bytes(*place), kept))
}

/// FNV-1a.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

mainstem_plugin_sdk::storage!(File);

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_plugin_sdk::harness::{Harness, Node};

    #[test]
    fn what_was_synced_is_there_after_the_power_failed_and_what_was_trimmed_is_not() {
        let mut plugin = Harness::<Plugin>::default();
        plugin.start("", &[]).expect("it starts");
        let record = |place| Record { place, timestamp: 7, value: b"value" };
        plugin.append(&[record(1), record(2)]).expect("there is room");
        plugin.trim(&[1]).expect("it is there");
        plugin.sync().expect("it has files");
        plugin.append(&[record(3)]).expect("there is room");
        let files = plugin.node.files.without_power();
        let mut plugin = Harness::<Plugin>::new(Node { files, ..Node::default() });
        plugin.start("", &[]).expect("it starts again");
        let found = plugin.fetch(&[1, 2, 3]).expect("it reads");
        assert_eq!(found.records.iter().map(|record| record.place).collect::<Vec<_>>(), [2]);
    }
}
