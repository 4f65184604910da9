use crate::{BatchError, BatchId, NetworkId, Origin, Partition, SeriesId, StreamId, StreamPartition, limits};
use mainstem_crypto::{Address, Hash, sha256};

/// Who signs how. Types 0 and 3..=15 are reserved, 16 and up belong to plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignatureType(pub u8);

impl SignatureType {
    /// secp256k1 ECDSA over EIP-191 of the batch id, by the origin's own key.
    pub const SECP256K1: Self = Self(1);
    /// The same, by a session key that the origin named in a [`Delegation`](crate::Delegation).
    pub const DELEGATED: Self = Self(2);

    /// Whether plugins know it: what checking it costs is not known here.
    pub const fn is_of_plugin(self) -> bool {
        self.0 >= Origin::PLUGINS
    }
}

/// What is signed of a batch. All integers big-endian, at fixed places:
///
/// ```text
///   0  domain tag and version, ASCII "mainstem/batch/1"   16
///  16  network id                                         32
///  48  stream                                             20
///  68  partition, u16                                      2
///  70  origin type, u8                                     1
///  71  length of the origin, u8                            1
///  72  origin, padded with zeros                          32
/// 104  series, u64                                         8
/// 112  sequence of the first event, u64                    8
/// 120  count of events, u16 (1..=1024)                     2
/// 122  id of the previous batch, zeros for the first      32
/// 154  Merkle root over the events                        32
/// 186  least timestamp of the events, i64 ms               8
/// 194  greatest timestamp of the events, i64 ms            8
/// 202  signature type, u8                                  1
/// 203
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Chain and registry.
    pub network: NetworkId,
    /// Stream and partition.
    pub stream_partition: StreamPartition,
    /// Who made the events.
    pub origin: Origin,
    /// The origin's run of batches.
    pub series: SeriesId,
    /// Number of the batch's first event in the series, from 0.
    pub sequence: u64,
    /// How many events.
    pub count: u16,
    /// Id of the batch before, [`BatchId::NONE`] for the first.
    pub previous: BatchId,
    /// Root of the Merkle tree over the events.
    pub merkle_root: Hash,
    /// Least timestamp, milliseconds.
    pub timestamp_min: i64,
    /// Greatest timestamp, milliseconds.
    pub timestamp_max: i64,
    /// How it is signed.
    pub signature_type: SignatureType,
}

/// The domain tag: what this is, and its version.
const DOMAIN: &[u8; 16] = b"mainstem/batch/1";

impl Header {
    /// Length in bytes.
    pub const LENGTH: usize = 203;

    /// SHA-256 of the encoded header.
    pub fn id(&self) -> BatchId {
        BatchId(sha256(&self.encode()))
    }

    /// Sequence of the event after the batch's last.
    pub const fn next_sequence(&self) -> u64 {
        // IMPORTANT: decode refuses headers for which this would overflow.
        self.sequence.saturating_add(self.count as u64)
    }

    /// The signed bytes.
    pub fn encode(&self) -> [u8; Self::LENGTH] {
        let mut out = [0; Self::LENGTH];
        out[..16].copy_from_slice(DOMAIN);
        out[16..48].copy_from_slice(&self.network.0);
        out[48..68].copy_from_slice(self.stream_partition.stream.0.as_bytes());
        out[68..70].copy_from_slice(&self.stream_partition.partition.number().to_be_bytes());
        out[70..104].copy_from_slice(&self.origin.to_bytes());
        out[104..112].copy_from_slice(&self.series.0.to_be_bytes());
        out[112..120].copy_from_slice(&self.sequence.to_be_bytes());
        out[120..122].copy_from_slice(&self.count.to_be_bytes());
        out[122..154].copy_from_slice(&self.previous.0);
        out[154..186].copy_from_slice(&self.merkle_root);
        out[186..194].copy_from_slice(&self.timestamp_min.to_be_bytes());
        out[194..202].copy_from_slice(&self.timestamp_max.to_be_bytes());
        out[202] = self.signature_type.0;
        out
    }

    /// Reads signed bytes.
    ///
    /// # Errors
    /// Another length or domain tag, a value out of its range.
    pub fn decode(bytes: &[u8]) -> Result<Self, BatchError> {
        let bytes: &[u8; Self::LENGTH] =
            bytes.try_into().map_err(|_| BatchError::Malformed("the header is not 203 bytes"))?;
        if field::<0, 16>(bytes) != *DOMAIN {
            return Err(BatchError::Malformed("the header does not begin with mainstem/batch/1"));
        }
        let partition = u16::from_be_bytes(field::<68, 2>(bytes));
        let header = Self {
            network: NetworkId(field::<16, 32>(bytes)),
            stream_partition: StreamId(Address(field::<48, 20>(bytes)))
                .partition(Partition::try_from(partition).map_err(|_| BatchError::Partition(partition))?),
            origin: Origin::from_bytes(&field::<70, 34>(bytes))
                .ok_or(BatchError::Malformed("the origin is not in its one encoding"))?,
            series: SeriesId(u64::from_be_bytes(field::<104, 8>(bytes))),
            sequence: u64::from_be_bytes(field::<112, 8>(bytes)),
            count: u16::from_be_bytes(field::<120, 2>(bytes)),
            previous: BatchId(field::<122, 32>(bytes)),
            merkle_root: field::<154, 32>(bytes),
            timestamp_min: i64::from_be_bytes(field::<186, 8>(bytes)),
            timestamp_max: i64::from_be_bytes(field::<194, 8>(bytes)),
            signature_type: SignatureType(bytes[202]),
        };
        header.check()?;
        Ok(header)
    }

    fn check(&self) -> Result<(), BatchError> {
        let count = usize::from(self.count);
        if count == 0 || count > limits::EVENTS_PER_BATCH_MAX {
            return Err(BatchError::EventCount(count));
        }
        if self.sequence.checked_add(count as u64).is_none() {
            return Err(BatchError::Malformed("the sequence is past the end of 64 bits"));
        }
        if (self.sequence == 0) != (self.previous == BatchId::NONE) {
            return Err(BatchError::Malformed(
                "the first batch of a series, and only it, has no previous one",
            ));
        }
        match self.timestamp_max.checked_sub(self.timestamp_min) {
            Some(0..=limits::BATCH_SPAN_MS_MAX) => Ok(()),
            Some(i64::MIN..0) => Err(BatchError::Timestamps("the greatest timestamp is before the least")),
            _ => Err(BatchError::Timestamps("the events of one batch span more than 60 seconds")),
        }
    }
}

/// The `N` bytes at `AT`.
fn field<const AT: usize, const N: usize>(bytes: &[u8; Header::LENGTH]) -> [u8; N] {
    const { assert!(AT + N <= Header::LENGTH) };
    let mut out = [0; N];
    out.copy_from_slice(&bytes[AT..AT + N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn header() -> Header {
        Header {
            network: NetworkId([1; 32]),
            stream_partition: StreamId(Address([2; 20])).partition(Partition::try_from(7).unwrap()),
            origin: Origin::ethereum(Address([3; 20])),
            series: SeriesId(4),
            sequence: 5,
            count: 6,
            previous: BatchId([7; 32]),
            merkle_root: [8; 32],
            timestamp_min: 9,
            timestamp_max: 10,
            signature_type: SignatureType::SECP256K1,
        }
    }

    #[test]
    fn decode_reads_what_encode_wrote() {
        assert_eq!(Header::decode(&header().encode()), Ok(header()));
    }

    #[test]
    fn a_header_one_byte_shorter_or_longer_is_refused() {
        let bytes = header().encode();
        assert!(Header::decode(&bytes[..202]).is_err());
        assert!(Header::decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        type Change = fn(&mut Header);
        let cases: &[(Change, BatchError)] = &[
            (|h| h.count = 0, BatchError::EventCount(0)),
            (|h| h.count = 1025, BatchError::EventCount(1025)),
            (|h| h.sequence = u64::MAX, BatchError::Malformed("the sequence is past the end of 64 bits")),
            (|h| h.timestamp_max = 8, BatchError::Timestamps("the greatest timestamp is before the least")),
            (
                |h| h.timestamp_max = 9 + 60_001,
                BatchError::Timestamps("the events of one batch span more than 60 seconds"),
            ),
        ];
        for (change, error) in cases {
            let mut header = header();
            change(&mut header);
            assert_eq!(Header::decode(&header.encode()).as_ref(), Err(error));
        }
        let mut wide = header();
        (wide.count, wide.timestamp_max) = (1024, 9 + 60_000);
        assert!(Header::decode(&wide.encode()).is_ok());
    }

    #[test]
    fn only_the_first_batch_has_no_previous_one() {
        let mut first = header();
        first.sequence = 0;
        assert!(Header::decode(&first.encode()).is_err());
        first.previous = BatchId::NONE;
        assert!(Header::decode(&first.encode()).is_ok());
    }
}
