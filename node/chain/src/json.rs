//! The hex forms of Ethereum's JSON-RPC, read strictly, and the objects in use, read into our types.

use crate::{BlockHeader, Log, Receipt};
use mainstem_crypto::{Address, Hash};
use serde::{Deserialize, Deserializer, de::Error};

/// A number as `0x` and hex digits without leading zeros.
pub(crate) fn quantity(number: impl Into<u128>) -> String {
    format!("{:#x}", number.into())
}

/// Bytes as `0x` and two hex digits each.
pub(crate) fn data(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

/// Reads what [`data`] writes.
pub(crate) fn read_data(text: &str) -> Option<Vec<u8>> {
    hex::decode(text.strip_prefix("0x")?).ok()
}

/// Reads what [`quantity`] writes; leading zeros are let pass.
pub(crate) fn read_quantity(text: &str) -> Option<u128> {
    let digits = text.strip_prefix("0x")?;
    (!digits.is_empty() && !digits.starts_with('+')).then(|| u128::from_str_radix(digits, 16).ok()).flatten()
}

#[derive(Clone, Copy)]
pub(crate) struct Quantity(pub(crate) u128);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        read_quantity(&text).map(Self).ok_or_else(|| D::Error::custom("a quantity is not 0x and hex digits"))
    }
}

/// A quantity that fits 64 bits.
#[derive(Clone, Copy)]
pub(crate) struct Quantity64(pub(crate) u64);

impl<'de> Deserialize<'de> for Quantity64 {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Quantity(number) = Quantity::deserialize(from)?;
        number.try_into().map(Self).map_err(|_| D::Error::custom("a quantity is over 64 bits"))
    }
}

pub(crate) struct Data(pub(crate) Vec<u8>);

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        read_data(&text).map(Self).ok_or_else(|| D::Error::custom("data is not 0x and hex digits in pairs"))
    }
}

/// Exactly `N` bytes.
#[derive(Clone, Copy)]
pub(crate) struct Fixed<const N: usize>(pub(crate) [u8; N]);

impl<'de, const N: usize> Deserialize<'de> for Fixed<N> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Data(bytes) = Data::deserialize(from)?;
        bytes.try_into().map(Self).map_err(|_| D::Error::custom(format!("data is not {N} bytes")))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockJson {
    number: Quantity64,
    hash: Fixed<32>,
    parent_hash: Fixed<32>,
    timestamp: Quantity64,
    gas_limit: Quantity64,
    base_fee_per_gas: Option<Quantity>,
}

impl<'de> Deserialize<'de> for BlockHeader {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let json = BlockJson::deserialize(from)?;
        Ok(Self {
            number: json.number.0,
            hash: json.hash.0,
            parent: json.parent_hash.0,
            timestamp_s: json.timestamp.0,
            gas_limit: json.gas_limit.0,
            base_fee_wei: json.base_fee_per_gas.map(|fee| fee.0),
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogJson {
    address: Fixed<20>,
    topics: Vec<Fixed<32>>,
    data: Data,
    block_number: Quantity64,
    block_hash: Fixed<32>,
    #[serde(default)]
    block_timestamp: Option<Quantity64>,
    transaction_hash: Fixed<32>,
    log_index: Quantity64,
    #[serde(default)]
    removed: bool,
}

impl<'de> Deserialize<'de> for Log {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let json = LogJson::deserialize(from)?;
        if json.topics.len() > 4 {
            return Err(D::Error::custom("a log has at most four topics"));
        }
        if json.removed {
            return Err(D::Error::custom("a log of a dropped block"));
        }
        Ok(Self {
            address: Address(json.address.0),
            topics: json.topics.iter().map(|topic| topic.0).collect(),
            data: json.data.0,
            block_number: json.block_number.0,
            block_hash: json.block_hash.0,
            block_timestamp_s: json.block_timestamp.map(|at| at.0),
            transaction: json.transaction_hash.0,
            index: json.log_index.0,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReceiptJson {
    transaction_hash: Fixed<32>,
    block_number: Quantity64,
    block_hash: Fixed<32>,
    status: Quantity64,
    gas_used: Quantity64,
    #[serde(default)]
    effective_gas_price: Option<Quantity>,
    #[serde(default)]
    contract_address: Option<Fixed<20>>,
    logs: Vec<Log>,
}

impl<'de> Deserialize<'de> for Receipt {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let json = ReceiptJson::deserialize(from)?;
        Ok(Self {
            transaction: json.transaction_hash.0,
            block_number: json.block_number.0,
            block_hash: json.block_hash.0,
            success: json.status.0 == 1,
            gas_used: json.gas_used.0,
            effective_gas_price_wei: json.effective_gas_price.map_or(0, |price| price.0),
            contract: json.contract_address.map(|address| Address(address.0)),
            logs: json.logs,
        })
    }
}

/// A hash as JSON-RPC writes it.
pub(crate) fn hash(hash: &Hash) -> String {
    data(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_strictly() {
        assert_eq!(read_quantity("0x0"), Some(0));
        assert_eq!(read_quantity("0x1f"), Some(31));
        for text in ["", "0x", "1", "0xg", "0x-1", "0x+1", "-0x1", "0x1ffffffffffffffffffffffffffffffff"] {
            assert_eq!(read_quantity(text), None, "{text}");
        }
        assert_eq!(quantity(0_u64), "0x0");
    }
}
