use crate::{Code, Refusal, limits};
use mainstem_crypto::{Address, keccak256_of};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The chain and the contract that a network of brokers stands on.
///
/// The contract is the `StreamRegistry`: it is what gives stream ids and rights their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Address of the `StreamRegistry`.
    pub registry: Address,
}

impl Network {
    /// `keccak256(chain id as uint256 ‖ registry)`; part of every signed header, so that nothing can be replayed elsewhere.
    pub fn id(&self) -> NetworkId {
        NetworkId(keccak256_of(&[&uint256(self.chain_id), self.registry.as_bytes()]))
    }
}

/// `value` as the 32 big-endian bytes of a `uint256`.
pub(crate) fn uint256(value: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[24..].copy_from_slice(&value.to_be_bytes());
    bytes
}

macro_rules! hash_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// Reads exactly 32 bytes.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "0x{}", hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

hash_id!(
    /// What tells networks apart: see [`Network::id`].
    NetworkId
);
hash_id!(
    /// SHA-256 of a batch's signed header.
    BatchId
);

impl BatchId {
    /// Stands for "no batch before": the `previous` of a series' first batch.
    pub const NONE: Self = Self([0; 32]);
}

/// A stream, named by the 20-byte address of its contract. Text: `0x` and 40 hex digits, lower case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub Address);

impl StreamId {
    /// One partition of this stream.
    pub const fn partition(self, partition: Partition) -> StreamPartition {
        StreamPartition { stream: self, partition }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for StreamId {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let shown: String = text.chars().take(64).collect();
        text.parse().map(Self).map_err(|_| {
            Refusal::new(Code::InvalidStreamId, format!("stream id {shown:?} is not 0x and 40 hex digits"))
        })
    }
}

/// Number of a partition, 0..=99.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Partition(u16);

impl Partition {
    /// The first partition, which every stream has.
    pub const ZERO: Self = Self(0);

    /// The number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The partition of `key` in a stream of `partitions` (1..=100) partitions: the rule Streamr users have,
    /// `abs(int32LE(md5(key))) % n` for text and `abs(key) % n` for numbers.
    pub fn of_key(key: &PartitionKey, partitions: u16) -> Self {
        let number = match key {
            PartitionKey::Text(text) => {
                let digest = Md5::digest(text.as_bytes());
                u64::from(i32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]).unsigned_abs())
            }
            PartitionKey::Number(number) => number.unsigned_abs(),
        };
        // Below `partitions`, so it fits 16 bits.
        Self((number % u64::from(partitions.max(1))) as u16)
    }
}

impl TryFrom<u16> for Partition {
    type Error = Refusal;

    fn try_from(number: u16) -> Result<Self, Refusal> {
        if number < limits::PARTITIONS_MAX {
            Ok(Self(number))
        } else {
            Err(Refusal::new(
                Code::InvalidPartition,
                format!("partition {number} is out of range, expected 0 to {}", limits::PARTITIONS_MAX - 1),
            ))
        }
    }
}

impl From<Partition> for u16 {
    fn from(partition: Partition) -> Self {
        partition.0
    }
}

/// What an event is filed under when its stream has several partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionKey {
    /// UTF-8 text.
    Text(String),
    /// A whole number.
    Number(i64),
}

/// One ordered part of one stream. Text: `0x…#3`; without `#` it is partition 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamPartition {
    /// The stream.
    pub stream: StreamId,
    /// Its part.
    pub partition: Partition,
}

impl fmt::Display for StreamPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.stream, self.partition.0)
    }
}

impl fmt::Debug for StreamPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for StreamPartition {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let (stream, partition) = text.split_once('#').unwrap_or((text, "0"));
        let number: u16 = partition.parse().map_err(|_| {
            let shown: String = partition.chars().take(16).collect();
            Refusal::new(Code::InvalidPartition, format!("partition {shown:?} is not a number from 0 to 99"))
        })?;
        Ok(stream.parse::<StreamId>()?.partition(number.try_into()?))
    }
}

/// A publisher's name for one contiguous run of batches; drawn at random when the publisher starts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SeriesId(pub u64);

impl fmt::Display for SeriesId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What the hash of an origin that is no address begins with.
const ACCOUNT_TAG: &[u8] = b"mainstem/origin/1";

/// Who made an event: a type and up to 32 bytes. Type 1 is an Ethereum address; 16 and up belong to plugins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    kind: u8,
    length: u8,
    bytes: [u8; 32],
}

impl Origin {
    /// Origin type of an Ethereum address.
    pub const ETHEREUM: u8 = 1;
    /// The least origin type, and signature type, that belongs to plugins.
    pub const PLUGINS: u8 = 16;
    /// Length of [`Origin::to_bytes`].
    pub const ENCODED_LENGTH: usize = 34;

    /// Before every other, in the order of origins.
    pub const LEAST: Self = Self { kind: Self::ETHEREUM, length: 20, bytes: [0; 32] };
    /// Behind every other.
    pub const GREATEST: Self = Self { kind: u8::MAX, length: 32, bytes: [u8::MAX; 32] };

    /// The origin of an Ethereum address.
    pub fn ethereum(address: Address) -> Self {
        let mut bytes = [0; 32];
        bytes[..20].copy_from_slice(address.as_bytes());
        Self { kind: Self::ETHEREUM, length: 20, bytes }
    }

    /// The address, when this is one.
    pub fn address(&self) -> Option<Address> {
        (self.kind == Self::ETHEREUM).then(|| Address::from_slice(&self.bytes[..20]).ok()).flatten()
    }

    /// An origin that a plugin knows. `None` for types below 16 and for what is not 1 to 32 bytes.
    pub fn of_plugin(kind: u8, value: &[u8]) -> Option<Self> {
        if kind < Self::PLUGINS || value.is_empty() || value.len() > 32 {
            return None;
        }
        let mut bytes = [0; 32];
        bytes[..value.len()].copy_from_slice(value);
        // At most 32.
        Some(Self { kind, length: value.len() as u8, bytes })
    }

    /// The account that its rights are those of: the address itself, or for other types the last 20 bytes of
    /// keccak256(`mainstem/origin/1` ‖ type ‖ origin), as an address is that of a public key.
    pub fn account(&self) -> Address {
        self.address().unwrap_or_else(|| {
            let hash = keccak256_of(&[ACCOUNT_TAG, &[self.kind], self.value()]);
            let mut address = [0; 20];
            address.copy_from_slice(&hash[12..]);
            Address(address)
        })
    }

    /// Its bytes, without padding.
    pub fn value(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// The origin's type.
    pub const fn kind(&self) -> u8 {
        self.kind
    }

    /// Type, length, 32 bytes padded with zeros: as in the signed header.
    pub fn to_bytes(&self) -> [u8; Self::ENCODED_LENGTH] {
        let mut out = [0; Self::ENCODED_LENGTH];
        out[0] = self.kind;
        out[1] = self.length;
        out[2..].copy_from_slice(&self.bytes);
        out
    }

    /// Reads what [`Origin::to_bytes`] wrote. `None` for a length over 32, padding that is not zero, type 0,
    /// or an Ethereum address that is not 20 bytes: there is one encoding of each origin.
    pub fn from_bytes(bytes: &[u8; Self::ENCODED_LENGTH]) -> Option<Self> {
        let (kind, length) = (bytes[0], bytes[1]);
        let mut value = [0; 32];
        value.copy_from_slice(&bytes[2..]);
        let used = usize::from(length);
        if used > 32
            || kind == 0
            || (kind == Self::ETHEREUM && used != 20)
            || value[used..].iter().any(|b| *b != 0)
        {
            return None;
        }
        Some(Self { kind, length, bytes: value })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind != Self::ETHEREUM {
            write!(f, "{}:", self.kind)?;
        }
        write!(f, "0x{}", hex::encode(&self.bytes[..usize::from(self.length)]))
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_partition_reads_what_it_writes() {
        let text = "0x00000000000000000000000000000000000000ff#99";
        assert_eq!(text.parse::<StreamPartition>().unwrap().to_string(), text);
        assert_eq!(
            "0x00000000000000000000000000000000000000ff".parse::<StreamPartition>().unwrap().partition,
            Partition::ZERO
        );
    }

    #[test]
    fn partition_100_is_refused_and_99_is_not() {
        assert!(Partition::try_from(99).is_ok());
        assert_eq!(Partition::try_from(100).unwrap_err().code, Code::InvalidPartition);
    }

    #[test]
    fn an_origin_has_one_encoding() {
        let good = Origin::ethereum(Address([9; 20])).to_bytes();
        assert!(Origin::from_bytes(&good).is_some());
        for (at, value) in [(0, 0), (1, 19), (1, 33), (33, 1)] {
            let mut bad = good;
            bad[at] = value;
            assert!(Origin::from_bytes(&bad).is_none(), "byte {at} = {value}");
        }
    }

    #[test]
    fn negative_number_keys_and_the_least_one_have_a_partition() {
        assert_eq!(Partition::of_key(&PartitionKey::Number(-7), 5).number(), 2);
        assert!(Partition::of_key(&PartitionKey::Number(i64::MIN), 100).number() < 100);
    }
}
