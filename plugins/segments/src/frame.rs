//! A frame: records that were appended together.
//!
//! | at | field | bytes |
//! |---|---|---|
//! | 0 | `MSF1` (ASCII) | 4 |
//! | 4 | count of records, 1 or more | 4 |
//! | 8 | length of the values, one behind the other | 4 |
//! | 12 | length of the body | 4 |
//! | 16 | XXH3-64 of the body | 8 |
//! | 24 | XXH3-64 of the bytes before and of the table | 8 |
//! | 32 | table: of each record its place 8, timestamp 8, length 4 | 20 × count |
//! | | body: the values as one block of LZ4, or as they are if that is no shorter | |
//!
//! Numbers are little-endian. Places rise.

use crate::places::Places;
use mainstem_plugin_sdk::Record;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Bytes of values in one frame, unless one is longer: who wants one record unpacks them all.
pub(crate) const FRAME_BYTES: usize = 64 << 10;

const MAGIC: [u8; 4] = *b"MSF1";
const HEAD: usize = 32;
const ROW: usize = 20;

/// What a frame holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// Place, timestamp and end of each value.
    rows: Vec<(u64, i64, usize)>,
    values: Vec<u8>,
}

impl Content {
    /// Timestamp and value of a record.
    pub(crate) fn record(&self, place: u64) -> Option<(i64, &[u8])> {
        let at = self.rows.binary_search_by_key(&place, |row| row.0).ok()?;
        let (_, timestamp, end) = self.rows[at];
        let start = if at == 0 { 0 } else { self.rows[at - 1].2 };
        Some((timestamp, self.values.get(start..end)?))
    }

    /// Bytes of all values.
    pub(crate) const fn length(&self) -> usize {
        self.values.len()
    }
}

/// The head of a frame, which was checked.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) places: Places,
    /// Bytes of the whole frame.
    pub(crate) length: usize,
}

pub(crate) fn encode(records: &[Record<'_>]) -> Vec<u8> {
    let values: Vec<u8> = records.iter().flat_map(|record| record.value).copied().collect();
    let packed = lz4_flex::block::compress(&values);
    let body = if packed.len() < values.len() { &packed } else { &values };
    let mut frame = Vec::with_capacity(HEAD + ROW * records.len() + body.len());
    frame.extend_from_slice(&MAGIC);
    for number in [records.len(), values.len(), body.len()] {
        frame.extend_from_slice(&(number as u32).to_le_bytes());
    }
    frame.extend_from_slice(&xxh3_64(body).to_le_bytes());
    frame.extend_from_slice(&[0; 8]);
    for record in records {
        frame.extend_from_slice(&record.place.to_le_bytes());
        frame.extend_from_slice(&record.timestamp.to_le_bytes());
        frame.extend_from_slice(&(record.value.len() as u32).to_le_bytes());
    }
    let sum = head_sum(&frame);
    frame[24..HEAD].copy_from_slice(&sum.to_le_bytes());
    frame.extend_from_slice(body);
    frame
}

/// The frame that `bytes` begin with, if its head is whole. Its body may be damaged, or not all there.
pub(crate) fn read_head(bytes: &[u8]) -> Option<Head> {
    let (rows, body) = split(bytes)?;
    let places = Places::of(rows.iter().map(|row| number(&row[..8])))?;
    Some(Head { places, length: HEAD + ROW * rows.len() + body })
}

/// What a whole frame holds; nothing if any byte of it has changed.
pub(crate) fn decode(bytes: &[u8]) -> Option<Content> {
    let (rows, length) = split(bytes)?;
    let body = bytes.get(HEAD + ROW * rows.len()..)?;
    if body.len() != length || xxh3_64(body) != number(&bytes[16..24]) {
        return None;
    }
    let values = word(bytes, 8)?;
    let values =
        if values == length { body.to_vec() } else { lz4_flex::block::decompress(body, values).ok()? };
    let mut end = 0;
    let row = |row: &[u8; ROW]| {
        end += word(row, 16)?;
        Some((number(&row[..8]), number(&row[8..16]).cast_signed(), end))
    };
    let rows = rows.iter().map(row).collect::<Option<Vec<_>>>()?;
    (end == values.len()).then_some(Content { rows, values })
}

/// The table of a frame whose head is whole, and the length of its body.
fn split(bytes: &[u8]) -> Option<(&[[u8; ROW]], usize)> {
    if !bytes.starts_with(&MAGIC) {
        return None;
    }
    let (count, values, body) = (word(bytes, 4)?, word(bytes, 8)?, word(bytes, 12)?);
    let until = HEAD.checked_add(ROW.checked_mul(count)?)?;
    let head = bytes.get(..until)?;
    let whole = head_sum(head) == number(&head[24..HEAD]) && count > 0 && body <= values;
    let (rows, _) = head[HEAD..].as_chunks();
    whole.then_some((rows, body))
}

fn head_sum(head: &[u8]) -> u64 {
    let mut sum = Xxh3::new();
    sum.update(&head[..24]);
    sum.update(&head[HEAD..]);
    sum.digest()
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?) as usize)
}

/// The first 8 bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_it_was_written_and_no_flipped_bit_passes() {
        let long = vec![7; 5_000];
        let noise: Vec<u8> = (0..50_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for values in [&[&b""[..], &long, b"x"][..], &[&noise], &[b""]] {
            let records: Vec<_> = values
                .iter()
                .zip([3, 9, 10])
                .map(|(value, place)| Record { place, timestamp: -(place as i64), value })
                .collect();
            let frame = encode(&records);
            let content = decode(&frame).expect("it is whole");
            for record in &records {
                assert_eq!(content.record(record.place), Some((record.timestamp, record.value)));
            }
            assert_eq!((content.record(4), content.record(11)), (None, None));
            assert_eq!(read_head(&[&frame[..], &[0; 9]].concat()).map(|head| head.length), Some(frame.len()));
            for bit in 0..frame.len() * 8 {
                let mut other = frame.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(decode(&other), None, "bit {bit}");
            }
            for length in 0..frame.len() {
                assert_eq!(decode(&frame[..length]), None, "{length} bytes");
            }
        }
    }
}
