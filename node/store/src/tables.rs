//! Every table of the store: what its keys and values are. Numbers are big-endian, so that rows sort as they should.
//!
//! | table | key | value |
//! |---|---|---|
//! | `batches` | stream 20, partition 2, position 8 | [`Record`](crate::record::Record): the batch as signed, checksummed |
//! | `times` | stream 20, partition 2, [`BatchKey`] 58 | position 8, batch id 32, greatest timestamp 8, count 2 |
//! | `series` | stream 20, partition 2, origin 34, series 8, sequence 8 | position 8, batch id 32 |
//! | `heads` | stream 20, partition 2, origin 34, series 8 | next sequence 8, last batch id 32, timestamp 8, frozen 1 |
//! | `proofs` | as `heads` | length of the first batch 4, first batch, second batch |
//! | `partitions` | stream 20, partition 2 | next position 8 |
//! | `meta` | name | `log`: 8; `format`: 1 |
//!
//! Small rows end in an XXH3-64 of key and value, since they are read without the batch that they speak of.

use crate::StoreError;
use mainstem_model::{
    Address, BatchId, BatchKey, Origin, Partition, SeriesHead, SeriesKey, StreamId, StreamPartition,
};
use xxhash_rust::xxh3::Xxh3;

/// Length of a partition's key, which begins all keys.
pub(crate) const PARTITION: usize = 22;

pub(crate) fn partition_key(at: StreamPartition) -> [u8; PARTITION] {
    let mut key = [0; PARTITION];
    key[..20].copy_from_slice(at.stream.0.as_bytes());
    key[20..].copy_from_slice(&at.partition.number().to_be_bytes());
    key
}

pub(crate) fn read_partition_key(key: &[u8]) -> Option<StreamPartition> {
    let (stream, number) = key.split_at_checked(20)?;
    let partition = Partition::try_from(u16::from_be_bytes(number.try_into().ok()?)).ok()?;
    Some(StreamId(Address::from_slice(stream).ok()?).partition(partition))
}

pub(crate) fn batch_key(at: StreamPartition, position: u64) -> Vec<u8> {
    [&partition_key(at)[..], &position.to_be_bytes()].concat()
}

pub(crate) fn time_key(at: StreamPartition, key: &BatchKey) -> Vec<u8> {
    [&partition_key(at)[..], &key.encode()].concat()
}

pub(crate) fn read_time_key(key: &[u8]) -> Option<BatchKey> {
    BatchKey::decode(key.get(PARTITION..)?.try_into().ok()?)
}

pub(crate) fn head_key(series: &SeriesKey) -> Vec<u8> {
    [
        &partition_key(series.stream_partition)[..],
        &series.origin.to_bytes()[..Origin::ENCODED_LENGTH],
        &series.series.0.to_be_bytes(),
    ]
    .concat()
}

pub(crate) fn series_key(series: &SeriesKey, sequence: u64) -> Vec<u8> {
    [&head_key(series)[..], &sequence.to_be_bytes()].concat()
}

/// A row of `times`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeRow {
    pub(crate) position: u64,
    pub(crate) id: BatchId,
    pub(crate) timestamp_max: i64,
    pub(crate) count: u16,
}

impl TimeRow {
    pub(crate) fn encode(&self, key: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(58);
        out.extend_from_slice(&self.position.to_be_bytes());
        out.extend_from_slice(&self.id.0);
        out.extend_from_slice(&self.timestamp_max.to_be_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        seal(key, out)
    }

    pub(crate) fn decode(key: &[u8], row: &[u8]) -> Result<Self, StoreError> {
        let row: &[u8; 50] = open(key, row, "times")?;
        Ok(Self {
            position: number(row, 0),
            id: id(row, 8),
            timestamp_max: number(row, 40) as i64,
            count: u16::from_be_bytes([row[48], row[49]]),
        })
    }
}

/// A row of `series`.
pub(crate) fn encode_place(key: &[u8], position: u64, id: BatchId) -> Vec<u8> {
    seal(key, [&position.to_be_bytes()[..], &id.0].concat())
}

pub(crate) fn decode_place(key: &[u8], row: &[u8]) -> Result<(u64, BatchId), StoreError> {
    let row: &[u8; 40] = open(key, row, "series")?;
    Ok((number(row, 0), id(row, 8)))
}

pub(crate) fn encode_head(key: &[u8], head: &SeriesHead) -> Vec<u8> {
    let mut out = Vec::with_capacity(57);
    out.extend_from_slice(&head.next_sequence.to_be_bytes());
    out.extend_from_slice(&head.last.0);
    out.extend_from_slice(&head.timestamp.to_be_bytes());
    out.push(u8::from(head.frozen));
    seal(key, out)
}

pub(crate) fn decode_head(key: &[u8], row: &[u8]) -> Result<SeriesHead, StoreError> {
    let row: &[u8; 49] = open(key, row, "heads")?;
    Ok(SeriesHead {
        next_sequence: number(row, 0),
        last: id(row, 8),
        timestamp: number(row, 40) as i64,
        frozen: row[48] != 0,
    })
}

pub(crate) fn encode_number(key: &[u8], value: u64) -> Vec<u8> {
    seal(key, value.to_be_bytes().to_vec())
}

pub(crate) fn decode_number(key: &[u8], row: &[u8]) -> Result<u64, StoreError> {
    let row: &[u8; 8] = open(key, row, "partitions")?;
    Ok(u64::from_be_bytes(*row))
}

pub(crate) fn encode_proof(key: &[u8], first: &[u8], second: &[u8]) -> Vec<u8> {
    // A batch is bounded far below 4 GiB.
    seal(key, [&(first.len() as u32).to_be_bytes()[..], first, second].concat())
}

pub(crate) fn decode_proof(key: &[u8], row: &[u8]) -> Result<(Vec<u8>, Vec<u8>), StoreError> {
    let body = open_any(key, row, "proofs")?;
    let read = || {
        let (length, rest) = body.split_first_chunk::<4>()?;
        let (first, second) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        Some((first.to_vec(), second.to_vec()))
    };
    read().ok_or_else(|| damaged("proofs"))
}

fn checksum(key: &[u8], row: &[u8]) -> [u8; 8] {
    let mut hasher = Xxh3::new();
    hasher.update(key);
    hasher.update(row);
    hasher.digest().to_be_bytes()
}

fn seal(key: &[u8], mut row: Vec<u8>) -> Vec<u8> {
    let sum = checksum(key, &row);
    row.extend_from_slice(&sum);
    row
}

fn open_any<'a>(key: &[u8], row: &'a [u8], table: &str) -> Result<&'a [u8], StoreError> {
    match row.split_last_chunk::<8>() {
        Some((body, sum)) if checksum(key, body) == *sum => Ok(body),
        _ => Err(damaged(table)),
    }
}

fn open<'a, const N: usize>(key: &[u8], row: &'a [u8], table: &str) -> Result<&'a [u8; N], StoreError> {
    open_any(key, row, table)?.try_into().map_err(|_| damaged(table))
}

fn damaged(table: &str) -> StoreError {
    StoreError::Damaged(format!("a row of table {table} does not hold its checksum"))
}

fn number<const N: usize>(row: &[u8; N], at: usize) -> u64 {
    let mut out = [0; 8];
    out.copy_from_slice(&row[at..at + 8]);
    u64::from_be_bytes(out)
}

fn id<const N: usize>(row: &[u8; N], at: usize) -> BatchId {
    let mut out = [0; 32];
    out.copy_from_slice(&row[at..at + 32]);
    BatchId(out)
}
