//! What stands in the records of an event log.
//!
//! | kind | fields | body |
//! |---|---|---|
//! | 1, life | number of the log 8 | |
//! | 2, batch | received at 8, position 8, length of the body 4 | the batch as signed |
//! | 3, head | series 64, next sequence 8, last batch id 32, timestamp 8 | |
//! | 4, proof | series 64, length of the first batch 4, of the second 4 | both batches; none when it is no longer kept |
//!
//! A value is: format u8 = 1 ‖ kind u8 ‖ fields ‖ XXH3-64 over the place and all that its index needs ‖ XXH3-64 over the place and all
//! the rest ‖ body. What the index needs are the fields and, of a batch, the bytes up to the end of its header; they lie within
//! [`PREFIX_BYTES`], so that opening reads no batches. Numbers are big-endian.

use crate::{StoreError, tables};
use bytes::Bytes;
use mainstem_model::{Batch, BatchId, Header, SeriesHead, SeriesKey};
use xxhash_rust::xxh3::Xxh3;

const FORMAT: u8 = 1;

/// Bytes of a batch up to the end of its header: segment table, root pointer, four pointers, header.
const HEADER_END: usize = 8 + 8 + 4 * 8 + Header::LENGTH;

/// Bytes of two checksums.
const SUMS: usize = 16;

/// Bytes of a value that tell all that the index needs to know.
pub(super) const PREFIX_BYTES: usize = 2 + 20 + SUMS + HEADER_END;

const SERIES: usize = 64;

/// What a record says, without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// The log was opened: no position before this record's place is given any more.
    Life { log_id: u64 },
    /// A batch.
    Batch { received_at: i64, position: u64, header: Box<Header>, length: u32 },
    /// How far a series has come, when the batch that told it is trimmed.
    Head { series: SeriesKey, head: SeriesHead },
    /// A series is frozen.
    Proof { series: SeriesKey, first: u32, second: u32 },
}

impl Entry {
    pub(super) fn life(place: u64, log_id: u64) -> Bytes {
        seal(place, 1, &log_id.to_be_bytes(), &[])
    }

    pub(super) fn batch(place: u64, received_at: i64, position: u64, batch: &Batch) -> Bytes {
        // Bounded by the format far below 4 GiB.
        let length = batch.bytes().len() as u32;
        let fields =
            [&received_at.to_be_bytes()[..], &position.to_be_bytes(), &length.to_be_bytes()].concat();
        seal(place, 2, &fields, batch.bytes())
    }

    pub(super) fn head(place: u64, series: &SeriesKey, head: &SeriesHead) -> Bytes {
        let numbers = [head.next_sequence.to_be_bytes(), head.timestamp.to_be_bytes()];
        let fields = [&tables::head_key(series)[..], &numbers[0], &head.last.0, &numbers[1]].concat();
        seal(place, 3, &fields, &[])
    }

    pub(super) fn proof(place: u64, series: &SeriesKey, proof: Option<(&[u8], &[u8])>) -> Bytes {
        let (first, second) = proof.unwrap_or_default();
        let lengths = [(first.len() as u32).to_be_bytes(), (second.len() as u32).to_be_bytes()].concat();
        seal(place, 4, &[&tables::head_key(series)[..], &lengths].concat(), &[first, second].concat())
    }

    /// Reads a value, or its first [`PREFIX_BYTES`].
    pub(super) fn read_prefix(place: u64, value: &[u8]) -> Option<Self> {
        let (kind, fields, sums, body) = split(value)?;
        let reach = body.get(..reach(kind, fields)?)?;
        if checksum(place, &[&value[..2], fields, reach]) != sums[..8] {
            return None;
        }
        let number = |at: usize| Some(u64::from_be_bytes(*fields.get(at..)?.first_chunk()?));
        let length = |at: usize| Some(u32::from_be_bytes(*fields.get(at..)?.first_chunk()?));
        Some(match kind {
            1 => Self::Life { log_id: number(0)? },
            2 => Self::Batch {
                received_at: number(0)? as i64,
                position: number(8)?,
                length: length(16)?,
                header: Box::new(Batch::peek_header(body).ok()?),
            },
            3 => Self::Head {
                series: tables::read_head_key(&fields[..SERIES])?,
                head: SeriesHead {
                    next_sequence: number(SERIES)?,
                    last: BatchId::from_slice(fields.get(SERIES + 8..SERIES + 40)?)?,
                    timestamp: number(SERIES + 40)? as i64,
                    frozen: false,
                },
            },
            _ => Self::Proof {
                series: tables::read_head_key(&fields[..SERIES])?,
                first: length(SERIES)?,
                second: length(SERIES + 4)?,
            },
        })
    }

    /// The body of a value, every byte of which was checked.
    pub(super) fn read_body(place: u64, value: &Bytes) -> Result<Bytes, StoreError> {
        let read = || {
            let (_, fields, sums, body) = split(value)?;
            let at = value.len() - body.len();
            (checksum(place, &[&value[..2], fields, &sums[..8], body]) == sums[8..])
                .then(|| value.slice(at..))
        };
        read().ok_or_else(|| StoreError::Damaged("the checksum of a record does not hold".into()))
    }
}

/// Kind, fields, checksums, and what there is of the body.
type Parts<'a> = (u8, &'a [u8], &'a [u8], &'a [u8]);

fn split(value: &[u8]) -> Option<Parts<'_>> {
    let ([format, kind], rest) = value.split_first_chunk()?;
    let length = match kind {
        1 => 8,
        2 => 20,
        3 => SERIES + 48,
        4 => SERIES + 8,
        _ => return None,
    };
    let (fields, rest) = rest.split_at_checked(length)?;
    let (sums, body) = rest.split_at_checked(SUMS)?;
    (*format == FORMAT).then_some((*kind, fields, sums, body))
}

/// Bytes of the body that the index needs.
fn reach(kind: u8, fields: &[u8]) -> Option<usize> {
    if kind != 2 {
        return Some(0);
    }
    Some(HEADER_END.min(u32::from_be_bytes(*fields.get(16..)?.first_chunk()?) as usize))
}

fn seal(place: u64, kind: u8, fields: &[u8], body: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(2 + fields.len() + SUMS + body.len());
    out.extend_from_slice(&[FORMAT, kind]);
    out.extend_from_slice(fields);
    let reach = reach(kind, fields).unwrap_or(0).min(body.len());
    let index = checksum(place, &[&[FORMAT, kind], fields, &body[..reach]]);
    let all = checksum(place, &[&[FORMAT, kind], fields, &index, body]);
    out.extend_from_slice(&index);
    out.extend_from_slice(&all);
    out.extend_from_slice(body);
    out.into()
}

fn checksum(place: u64, parts: &[&[u8]]) -> [u8; 8] {
    let mut hasher = Xxh3::new();
    hasher.update(&place.to_be_bytes());
    parts.iter().for_each(|part| hasher.update(part));
    hasher.digest().to_be_bytes()
}
