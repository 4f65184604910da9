//! JSON-RPC parameters: read once, here, into types; and values back to hex.

use revm::primitives::{Address, B256, Bytes, U256, hex};
use serde_json::Value;

use crate::error::RpcError;

/// A number as hex without leading zeros.
pub(crate) fn quantity<T>(value: T) -> Value
where
    U256: revm::primitives::ruint::UintTryFrom<T>,
{
    Value::String(format!("{:#x}", U256::from(value)))
}

/// Bytes as hex.
pub(crate) fn data(bytes: &[u8]) -> Value {
    Value::String(hex::encode_prefixed(bytes))
}

/// The parameters of one request: a list, in which what is missing at the end counts as null.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Params<'a>(&'a [Value]);

impl<'a> Params<'a> {
    pub(crate) fn of(params: &'a Value) -> Result<Self, RpcError> {
        match params {
            Value::Null => Ok(Self(&[])),
            Value::Array(list) => Ok(Self(list)),
            Value::Object(map) if map.is_empty() => Ok(Self(&[])),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                Err(RpcError::params("params must be an array"))
            }
        }
    }

    /// The parameter at a position, `None` if it is missing or null.
    pub(crate) fn optional(self, at: usize) -> Option<&'a Value> {
        self.0.get(at).filter(|value| !value.is_null())
    }

    pub(crate) fn required(self, at: usize) -> Result<&'a Value, RpcError> {
        self.optional(at).ok_or_else(|| RpcError::params(format!("missing value for required argument {at}")))
    }

    pub(crate) fn address(self, at: usize) -> Result<Address, RpcError> {
        parse_address(self.required(at)?)
    }

    pub(crate) fn hash(self, at: usize) -> Result<B256, RpcError> {
        parse_hash(self.required(at)?)
    }

    pub(crate) fn u256(self, at: usize) -> Result<U256, RpcError> {
        parse_u256(self.required(at)?)
    }

    pub(crate) fn u64(self, at: usize) -> Result<u64, RpcError> {
        parse_u64(self.required(at)?)
    }

    pub(crate) fn bytes(self, at: usize) -> Result<Bytes, RpcError> {
        parse_bytes(self.required(at)?)
    }

    /// True if it is true; false if it is false or missing.
    pub(crate) fn flag(self, at: usize) -> Result<bool, RpcError> {
        match self.optional(at) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(unexpected("a boolean", other)),
        }
    }

    /// A block, `latest` if it is missing.
    pub(crate) fn block(self, at: usize) -> Result<BlockId, RpcError> {
        self.optional(at).map_or(Ok(BlockId::Tag(Tag::Latest)), BlockId::parse)
    }
}

/// How a request names a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockId {
    Tag(Tag),
    Number(u64),
    Hash(B256),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    Earliest,
    Finalized,
    Safe,
    Latest,
    Pending,
}

impl BlockId {
    /// A tag, a number, or an object of EIP-1898.
    pub(crate) fn parse(value: &Value) -> Result<Self, RpcError> {
        if let Value::Object(map) = value {
            return match (map.get("blockHash"), map.get("blockNumber")) {
                (Some(hash), None) => Ok(Self::Hash(parse_hash(hash)?)),
                (None, Some(number)) => Self::parse_number(number),
                _ => Err(RpcError::params("a block is named by either blockHash or blockNumber")),
            };
        }
        Self::parse_number(value)
    }

    /// A tag or a number.
    pub(crate) fn parse_number(value: &Value) -> Result<Self, RpcError> {
        let tag = match value.as_str() {
            Some("earliest") => Tag::Earliest,
            Some("finalized") => Tag::Finalized,
            Some("safe") => Tag::Safe,
            Some("latest") => Tag::Latest,
            Some("pending") => Tag::Pending,
            _ => return parse_u64(value).map(Self::Number),
        };
        Ok(Self::Tag(tag))
    }
}

pub(crate) fn parse_address(value: &Value) -> Result<Address, RpcError> {
    parse_fixed(value).map(Address::from)
}

pub(crate) fn parse_hash(value: &Value) -> Result<B256, RpcError> {
    parse_fixed(value).map(B256::from)
}

pub(crate) fn parse_bytes(value: &Value) -> Result<Bytes, RpcError> {
    let decoded = prefixed(value).and_then(|digits| hex::decode(digits).ok());
    decoded.map(Bytes::from).ok_or_else(|| unexpected("0x and an even number of hex digits", value))
}

/// A hex quantity (leading zeros are tolerated) or a JSON number.
pub(crate) fn parse_u256(value: &Value) -> Result<U256, RpcError> {
    if let Some(number) = value.as_u64() {
        return Ok(U256::from(number));
    }
    let digits = prefixed(value).filter(|digits| (1..=64).contains(&digits.len()));
    digits
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .and_then(|digits| U256::from_str_radix(digits, 16).ok())
        .ok_or_else(|| unexpected("a quantity (0x and at most 64 hex digits)", value))
}

pub(crate) fn parse_u64(value: &Value) -> Result<u64, RpcError> {
    u64::try_from(parse_u256(value)?).map_err(|_| unexpected("a quantity below 2^64", value))
}

pub(crate) fn parse_u128(value: &Value) -> Result<u128, RpcError> {
    u128::try_from(parse_u256(value)?).map_err(|_| unexpected("a quantity below 2^128", value))
}

fn parse_fixed<const N: usize>(value: &Value) -> Result<[u8; N], RpcError> {
    let decoded = prefixed(value)
        .filter(|digits| digits.len() == 2 * N)
        .and_then(|digits| hex::decode_to_array::<_, N>(digits).ok());
    decoded.ok_or_else(|| unexpected(&format!("0x and {} hex digits", 2 * N), value))
}

fn prefixed(value: &Value) -> Option<&str> {
    let digits = value.as_str()?.strip_prefix("0x")?;
    // The decoder would take a second prefix.
    (!digits.starts_with("0x")).then_some(digits)
}

fn unexpected(wanted: &str, value: &Value) -> RpcError {
    let shown: String = value.to_string().chars().take(80).collect();
    RpcError::params(format!("expected {wanted}, not {shown}"))
}
