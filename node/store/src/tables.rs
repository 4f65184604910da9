//! Every table of the store: what its keys and values are. Numbers are big-endian, so that rows sort as they should.
//!
//! | table | key | value |
//! |---|---|---|
//! | `batches` | number 8 | [`Record`](crate::record::Record): the batch as signed |
//! | `arrivals` | stream 20, partition 2, position 8 | [`Place`] |
//! | `history` | stream 20, partition 2, [`BatchKey`] 58 | [`Place`] |
//! | `series` | stream 20, partition 2, origin 34, series 8, sequence of the first event 8 | [`Place`] |
//! | `heads` | stream 20, partition 2, origin 34, series 8 | next sequence 8, last batch id 32, timestamp 8, frozen 1 |
//! | `proofs` | as `heads` | length of the first batch 4, first batch, second batch; all empty when the proof is no longer kept |
//! | `partitions` | stream 20, partition 2 | [`Totals`]: next position, batches, events, bytes; 8 each |
//! | `meta` | `group` | [`Group`]: number of the last write, next batch number, least sequence number of it in fjall; 8 each |
//!
//! A batch that fills up history has rows in `batches`, `history` and `series` like any other, but none in `arrivals`, and
//! [`NO_POSITION`] where its position would stand: it is no arrival, takes no number from one, and nothing that counts or
//! compares positions comes near it. Its `history` row does for it what the row in `arrivals` does for others: it goes first
//! when the batch is trimmed. See `disk/past.rs`.
//!
//! A batch's *number* counts the batches of the whole store, its *position* those of its partition; both leap when the store
//! is opened (see `disk/floor.rs`). Batches lie under their number because it only grows: their table files never overlap,
//! so a batch is written to the journal and to one file, and not rewritten by compaction, however many partitions are mixed.
//! The indexes, half a kilobyte a batch, are compacted.
//!
//! Every row ends in an XXH3-64 of its key and value; every index row carries the id of the batch that it points to, so that
//! a row can never pass for another.

use crate::{NO_POSITION, StoreError};
use mainstem_model::{
    Address, BatchId, BatchKey, Origin, Partition, SeriesHead, SeriesId, SeriesKey, StreamId, StreamPartition,
};
use std::ops::RangeInclusive;
use xxhash_rust::xxh3::Xxh3;

pub(crate) const BATCHES: &str = "batches";
pub(crate) const ARRIVALS: &str = "arrivals";
pub(crate) const HISTORY: &str = "history";
pub(crate) const SERIES: &str = "series";
pub(crate) const HEADS: &str = "heads";
pub(crate) const PROOFS: &str = "proofs";
pub(crate) const PARTITIONS: &str = "partitions";
pub(crate) const META: &str = "meta";
/// How many there are.
pub(crate) const TABLES: usize = 8;

/// Key of the one row of `meta`. Every write of the store has it, numbered without a gap: by it the journal is checked.
pub(crate) const GROUP: &[u8] = b"group";

/// Length of a partition's key, which begins most keys.
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

pub(crate) fn arrival_key(at: StreamPartition, position: u64) -> Vec<u8> {
    [&partition_key(at)[..], &position.to_be_bytes()].concat()
}

pub(crate) fn history_key(at: StreamPartition, key: &BatchKey) -> Vec<u8> {
    [&partition_key(at)[..], &key.encode()].concat()
}

/// The least key of `history` at or after `timestamp`.
pub(crate) fn history_key_from(at: StreamPartition, timestamp: i64) -> Vec<u8> {
    let sortable = ((timestamp as u64) ^ (1 << 63)).to_be_bytes();
    [&partition_key(at)[..], &sortable, &[0; BatchKey::LENGTH - 8]].concat()
}

pub(crate) fn origin_key(at: StreamPartition, origin: &Origin) -> Vec<u8> {
    [&partition_key(at)[..], &origin.to_bytes()].concat()
}

pub(crate) fn head_key(series: &SeriesKey) -> Vec<u8> {
    let origin = origin_key(series.stream_partition, &series.origin);
    [&origin[..], &series.series.0.to_be_bytes()].concat()
}

pub(crate) fn read_head_key(key: &[u8]) -> Option<SeriesKey> {
    let (partition, rest) = key.split_at_checked(PARTITION)?;
    let (origin, series) = rest.split_first_chunk::<{ Origin::ENCODED_LENGTH }>()?;
    Some(SeriesKey {
        stream_partition: read_partition_key(partition)?,
        origin: Origin::from_bytes(origin)?,
        series: SeriesId(u64::from_be_bytes(series.try_into().ok()?)),
    })
}

/// The least and the greatest key that a series of a partition can have in `heads`.
pub(crate) fn head_keys(at: StreamPartition) -> RangeInclusive<Vec<u8>> {
    let key = |byte| [&partition_key(at)[..], &[byte; Origin::ENCODED_LENGTH + 8]].concat();
    key(0)..=key(0xff)
}

pub(crate) fn series_key(series: &SeriesKey, sequence: u64) -> Vec<u8> {
    [&head_key(series)[..], &sequence.to_be_bytes()].concat()
}

/// Where a batch is and what can be said of it without reading it: a row of any of the three indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) number: u64,
    pub(crate) position: u64,
    pub(crate) id: BatchId,
    pub(crate) key: BatchKey,
    pub(crate) timestamp_max: i64,
    pub(crate) count: u16,
    pub(crate) length: u32,
}

impl Place {
    /// It fills up history and never arrived.
    pub(crate) const fn is_past(&self) -> bool {
        self.position == NO_POSITION
    }

    /// Whether a reader of history up to the arrival `until` is to see it there.
    pub(crate) const fn is_history(&self, until: u64) -> bool {
        self.position < until || self.is_past()
    }

    /// Sequence of the event behind its last one.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.key.sequence.saturating_add(u64::from(self.count))
    }

    fn common(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&self.id.0);
        out.extend_from_slice(&self.timestamp_max.to_be_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        out.extend_from_slice(&self.length.to_be_bytes());
        out
    }

    fn read(row: &[u8], position: u64, key: BatchKey) -> Self {
        let mut length = [0; 4];
        length.copy_from_slice(&row[50..54]);
        Self {
            number: number(row, 0),
            position,
            id: id(row, 8),
            key,
            timestamp_max: number(row, 40) as i64,
            count: u16::from_be_bytes([row[48], row[49]]),
            length: u32::from_be_bytes(length),
        }
    }

    /// Row of `arrivals`: number 8, id 32, greatest timestamp 8, count 2, length 4, [`BatchKey`] 58.
    pub(crate) fn arrival(&self, key: &[u8]) -> Vec<u8> {
        let mut out = self.common();
        out.extend_from_slice(&self.key.encode());
        seal(key, out)
    }

    pub(crate) fn read_arrival(key: &[u8], row: &[u8]) -> Result<Self, StoreError> {
        let row: &[u8; 112] = open(key, row, ARRIVALS)?;
        let position =
            key.get(PARTITION..).filter(|rest| rest.len() == 8).ok_or_else(|| damaged(ARRIVALS))?;
        let mut place = [0; BatchKey::LENGTH];
        place.copy_from_slice(&row[54..]);
        let place = BatchKey::decode(&place).ok_or_else(|| damaged(ARRIVALS))?;
        Ok(Self::read(row, number(position, 0), place))
    }

    /// Row of `history`: number 8, id 32, greatest timestamp 8, count 2, length 4, position 8.
    pub(crate) fn history(&self, key: &[u8]) -> Vec<u8> {
        let mut out = self.common();
        out.extend_from_slice(&self.position.to_be_bytes());
        seal(key, out)
    }

    pub(crate) fn read_history(key: &[u8], row: &[u8]) -> Result<Self, StoreError> {
        let row: &[u8; 62] = open(key, row, HISTORY)?;
        let place = key.get(PARTITION..).and_then(|rest| rest.try_into().ok()).and_then(BatchKey::decode);
        Ok(Self::read(row, number(row, 54), place.ok_or_else(|| damaged(HISTORY))?))
    }

    /// Row of `series`: number 8, id 32, greatest timestamp 8, count 2, length 4, position 8, least timestamp 8.
    pub(crate) fn series(&self, key: &[u8]) -> Vec<u8> {
        let mut out = self.common();
        out.extend_from_slice(&self.position.to_be_bytes());
        out.extend_from_slice(&self.key.timestamp.to_be_bytes());
        seal(key, out)
    }

    pub(crate) fn read_series(key: &[u8], row: &[u8]) -> Result<Self, StoreError> {
        let row: &[u8; 70] = open(key, row, SERIES)?;
        let (head, sequence) = key.split_last_chunk::<8>().ok_or_else(|| damaged(SERIES))?;
        let series = read_head_key(head).ok_or_else(|| damaged(SERIES))?;
        let place = BatchKey {
            timestamp: number(row, 62) as i64,
            origin: series.origin,
            series: series.series,
            sequence: u64::from_be_bytes(*sequence),
        };
        Ok(Self::read(row, number(row, 54), place))
    }
}

/// Figures of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Position of the next batch.
    pub(crate) end: u64,
    pub(crate) batches: u64,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
}

impl Totals {
    pub(crate) fn encode(&self, key: &[u8]) -> Vec<u8> {
        seal(key, [self.end, self.batches, self.events, self.bytes].map(u64::to_be_bytes).concat())
    }

    pub(crate) fn decode(key: &[u8], row: &[u8]) -> Result<Self, StoreError> {
        let row: &[u8; 32] = open(key, row, PARTITIONS)?;
        Ok(Self {
            end: number(row, 0),
            batches: number(row, 8),
            events: number(row, 16),
            bytes: number(row, 24),
        })
    }
}

/// The last write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Group {
    /// Its number.
    pub(crate) number: u64,
    /// Number of the next batch.
    pub(crate) next_batch: u64,
    /// What fjall would have given as sequence number when the write began. fjall's own checksum leaves it out.
    pub(crate) seqno_min: u64,
}

impl Group {
    pub(crate) fn encode(&self) -> Vec<u8> {
        seal(GROUP, [self.number, self.next_batch, self.seqno_min].map(u64::to_be_bytes).concat())
    }

    pub(crate) fn decode(row: &[u8]) -> Result<Self, StoreError> {
        let row: &[u8; 24] = open(GROUP, row, META)?;
        Ok(Self { number: number(row, 0), next_batch: number(row, 8), seqno_min: number(row, 16) })
    }
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
    let row: &[u8; 49] = open(key, row, HEADS)?;
    Ok(SeriesHead {
        next_sequence: number(row, 0),
        last: id(row, 8),
        timestamp: number(row, 40) as i64,
        frozen: row[48] != 0,
    })
}

/// Both batches of a proof.
type Proof = (Vec<u8>, Vec<u8>);

/// The proof for which a series is frozen, if it is kept.
pub(crate) fn encode_proof(key: &[u8], proof: Option<(&[u8], &[u8])>) -> Vec<u8> {
    let (first, second) = proof.unwrap_or_default();
    // A batch is bounded far below 4 GiB.
    seal(key, [&(first.len() as u32).to_be_bytes()[..], first, second].concat())
}

pub(crate) fn decode_proof(key: &[u8], row: &[u8]) -> Result<Option<Proof>, StoreError> {
    let body = open_any(key, row, PROOFS)?;
    let read = || {
        let (length, rest) = body.split_first_chunk::<4>()?;
        let (first, second) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        Some((!first.is_empty()).then(|| (first.to_vec(), second.to_vec())))
    };
    read().ok_or_else(|| damaged(PROOFS))
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

fn number(row: &[u8], at: usize) -> u64 {
    let mut out = [0; 8];
    out.copy_from_slice(&row[at..at + 8]);
    u64::from_be_bytes(out)
}

fn id(row: &[u8], at: usize) -> BatchId {
    let mut out = [0; 32];
    out.copy_from_slice(&row[at..at + 32]);
    BatchId(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (StreamPartition, Place) {
        let at = StreamId(Address([2; 20])).partition(Partition::ZERO);
        let origin = Origin::ethereum(Address([3; 20]));
        let key = BatchKey { timestamp: -5, origin, series: SeriesId(6), sequence: 7 };
        let id = BatchId([8; 32]);
        (at, Place { number: 1, position: 2, id, key, timestamp_max: 9, count: 10, length: 11 })
    }

    #[test]
    fn each_index_reads_what_it_wrote_and_no_flipped_bit_passes() {
        let (at, place) = place();
        let series = SeriesKey { stream_partition: at, origin: place.key.origin, series: place.key.series };
        type Read = fn(&[u8], &[u8]) -> Result<Place, StoreError>;
        let (a, h, s) = (arrival_key(at, 2), history_key(at, &place.key), series_key(&series, 7));
        let cases: [(Vec<u8>, Vec<u8>, Read); 3] = [
            (a.clone(), place.arrival(&a), Place::read_arrival),
            (h.clone(), place.history(&h), Place::read_history),
            (s.clone(), place.series(&s), Place::read_series),
        ];
        for (key, row, read) in cases {
            assert_eq!(read(&key, &row).unwrap(), place);
            for bit in 0..row.len() * 8 {
                let mut flipped = row.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(read(&key, &flipped).is_err(), "bit {bit}");
            }
            assert!(read(&key, &row[1..]).is_err() && read(&key, &[]).is_err());
        }
    }

    #[test]
    fn a_row_under_another_key_is_refused() {
        let (at, place) = place();
        let row = place.arrival(&arrival_key(at, 2));
        assert!(Place::read_arrival(&arrival_key(at, 3), &row).is_err());
    }

    #[test]
    fn series_lie_in_the_table_in_the_order_that_they_are_compared_and_digested_in() {
        let origin = |kind, length: usize, fill: u8| {
            let mut bytes = [0; Origin::ENCODED_LENGTH];
            (bytes[0], bytes[1]) = (kind, length as u8);
            bytes[2..][..length].fill(fill);
            Origin::from_bytes(&bytes).unwrap()
        };
        let mut keys = Vec::new();
        for (stream, partition) in [(2, 0), (2, 1), (2, 99), (3, 0), (0xff, 7)] {
            let at = StreamId(Address([stream; 20])).partition(Partition::try_from(partition).unwrap());
            for origin in [
                origin(1, 20, 0),
                origin(1, 20, 0x80),
                origin(16, 0, 0),
                origin(16, 9, 0xff),
                origin(200, 32, 1),
            ] {
                for series in [0, 1, 255, 256, 1 << 63, u64::MAX] {
                    keys.push(SeriesKey { stream_partition: at, origin, series: SeriesId(series) });
                }
            }
        }
        let by_table = |key: &SeriesKey| head_key(key);
        // What a digest takes in of a key.
        let by_digest =
            |key: &SeriesKey| (key.stream_partition, key.origin.to_bytes(), key.series.0.to_be_bytes());
        // From an order that is none of them.
        keys.sort_by_key(|key| key.series.0.reverse_bits());
        let (mut table, mut digest) = (keys.clone(), keys.clone());
        table.sort_by_key(by_table);
        digest.sort_by_key(by_digest);
        keys.sort();
        assert_eq!((&table, &digest), (&keys, &keys));
        for key in &keys {
            assert_eq!(read_head_key(&head_key(key)), Some(*key));
            assert!(head_keys(key.stream_partition).contains(&head_key(key)));
        }
    }
}
