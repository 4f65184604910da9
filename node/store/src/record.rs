//! A batch as a row: what the store knows of it, a checksum over all, the batch as signed.

use crate::StoreError;
use bytes::Bytes;
use mainstem_model::{BatchId, Header};
use xxhash_rust::xxh3::Xxh3;

/// Length of what stands before the batch.
pub(crate) const PREFIX: usize = 1 + 8 + 32 + 8 + 8 + 2 + 8;

const FORMAT: u8 = 1;

/// format u8 ‖ received at i64 ‖ batch id 32 ‖ least and greatest timestamp i64 ‖ count u16 ‖ XXH3-64 over all the rest
/// and the row's key ‖ batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) received_at: i64,
    pub(crate) id: BatchId,
    pub(crate) timestamp_min: i64,
    pub(crate) timestamp_max: i64,
    pub(crate) count: u16,
    pub(crate) bytes: Bytes,
}

impl Record {
    pub(crate) fn new(header: &Header, id: BatchId, bytes: Bytes, received_at: i64) -> Self {
        Self {
            received_at,
            id,
            timestamp_min: header.timestamp_min,
            timestamp_max: header.timestamp_max,
            count: header.count,
            bytes,
        }
    }

    pub(crate) fn encode(&self, key: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(PREFIX + self.bytes.len());
        out.push(FORMAT);
        out.extend_from_slice(&self.received_at.to_be_bytes());
        out.extend_from_slice(&self.id.0);
        out.extend_from_slice(&self.timestamp_min.to_be_bytes());
        out.extend_from_slice(&self.timestamp_max.to_be_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        let sum = checksum(key, &out, &self.bytes);
        out.extend_from_slice(&sum.to_be_bytes());
        out.extend_from_slice(&self.bytes);
        out
    }

    /// Reads a row and checks every byte of it, and that it is the row of this key.
    pub(crate) fn decode(key: &[u8], row: Bytes) -> Result<Self, StoreError> {
        Self::read(key, row)
            .ok_or_else(|| StoreError::Damaged("the checksum of a batch does not hold".into()))
    }

    fn read(key: &[u8], row: Bytes) -> Option<Self> {
        let prefix: &[u8; PREFIX] = row.first_chunk()?;
        let (fields, sum) = prefix.split_at(PREFIX - 8);
        let batch = row.slice(PREFIX..);
        if fields[0] != FORMAT || checksum(key, fields, &batch).to_be_bytes() != *sum {
            return None;
        }
        let number = |at: usize| fields[at..].first_chunk::<8>().map(|bytes| i64::from_be_bytes(*bytes));
        Some(Self {
            received_at: number(1)?,
            id: BatchId::from_slice(&fields[9..41])?,
            timestamp_min: number(41)?,
            timestamp_max: number(49)?,
            count: u16::from_be_bytes(*fields[57..].first_chunk()?),
            bytes: batch,
        })
    }
}

fn checksum(key: &[u8], fields: &[u8], batch: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(key);
    hasher.update(fields);
    hasher.update(batch);
    hasher.digest()
}
