//! A batch as a row: what the store knows of it, a checksum over all, the batch as signed.

use crate::{StoreError, tables::Place};
use bytes::Bytes;
use mainstem_model::{Batch, BatchId};
use xxhash_rust::xxh3::Xxh3;

/// Length of what stands before the batch.
const PREFIX: usize = 1 + 8 + 8 + 32 + 8;

const FORMAT: u8 = 1;

/// format u8 ‖ received at i64 ‖ position u64 ‖ batch id 32 ‖ XXH3-64 over all the rest and the row's key ‖ batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) received_at: i64,
    pub(crate) position: u64,
    pub(crate) id: BatchId,
    pub(crate) bytes: Bytes,
}

impl Record {
    pub(crate) fn encode(&self, number: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(PREFIX + self.bytes.len());
        out.push(FORMAT);
        out.extend_from_slice(&self.received_at.to_be_bytes());
        out.extend_from_slice(&self.position.to_be_bytes());
        out.extend_from_slice(&self.id.0);
        let sum = checksum(number, &out, &self.bytes);
        out.extend_from_slice(&sum.to_be_bytes());
        out.extend_from_slice(&self.bytes);
        out
    }

    /// Reads the row that `place` points to, and checks every byte of it, and that it is that batch.
    pub(crate) fn decode(place: &Place, row: Bytes) -> Result<Self, StoreError> {
        let record = Self::read(place.number, row)
            .ok_or_else(|| StoreError::Damaged("the checksum of a batch does not hold".into()))?;
        let header = Batch::peek_header(&record.bytes);
        let same = record.id == place.id
            && record.position == place.position
            && header.is_ok_and(|header| header.id() == record.id);
        if same {
            Ok(record)
        } else {
            Err(StoreError::Damaged("an index points to a batch that is another".into()))
        }
    }

    fn read(number: u64, row: Bytes) -> Option<Self> {
        let prefix: &[u8; PREFIX] = row.first_chunk()?;
        let (fields, sum) = prefix.split_at(PREFIX - 8);
        let batch = row.slice(PREFIX..);
        if fields[0] != FORMAT || checksum(number, fields, &batch).to_be_bytes() != *sum {
            return None;
        }
        Some(Self {
            received_at: i64::from_be_bytes(*fields[1..].first_chunk()?),
            position: u64::from_be_bytes(*fields[9..].first_chunk()?),
            id: BatchId::from_slice(&fields[17..])?,
            bytes: batch,
        })
    }
}

fn checksum(number: u64, fields: &[u8], batch: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&number.to_be_bytes());
    hasher.update(fields);
    hasher.update(batch);
    hasher.digest()
}
