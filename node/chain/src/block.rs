use mainstem_crypto::{Address, Hash};
use std::fmt;

/// A block, by number or by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockTag {
    /// The newest.
    Latest,
    /// What the chain promises never to take back.
    Finalized,
    /// The one with this number.
    Number(u64),
}

impl BlockTag {
    pub(crate) fn json(self) -> serde_json::Value {
        match self {
            Self::Latest => "latest".into(),
            Self::Finalized => "finalized".into(),
            Self::Number(number) => crate::json::quantity(number).into(),
        }
    }
}

/// What is needed of a block's header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BlockHeader {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: Hash,
    /// Hash of the block before.
    pub parent: Hash,
    /// Unix seconds.
    pub timestamp_s: u64,
    /// The most gas that its transactions may use together.
    pub gas_limit: u64,
    /// EIP-1559 base fee; `None` on a chain without one.
    pub base_fee_wei: Option<u128>,
}

impl fmt::Debug for BlockHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {} 0x{}", self.number, hex::encode(self.hash))
    }
}

/// A log as a contract wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The contract.
    pub address: Address,
    /// Up to four indexed words, the event's signature first.
    pub topics: Vec<Hash>,
    /// The other words.
    pub data: Vec<u8>,
    /// Number of its block.
    pub block_number: u64,
    /// Hash of its block.
    pub block_hash: Hash,
    /// Unix second of its block, from nodes that say it.
    pub block_timestamp_s: Option<u64>,
    /// Hash of its transaction.
    pub transaction: Hash,
    /// Its place among the logs of its block.
    pub index: u64,
}

/// What became of a mined transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Hash of the transaction.
    pub transaction: Hash,
    /// Number of its block.
    pub block_number: u64,
    /// Hash of its block.
    pub block_hash: Hash,
    /// Whether it did what it was to do; otherwise it changed nothing but cost its gas.
    pub success: bool,
    /// Gas that was paid for.
    pub gas_used: u64,
    /// What each gas cost.
    pub effective_gas_price_wei: u128,
    /// The contract that it created.
    pub contract: Option<Address>,
    /// What contracts logged.
    pub logs: Vec<Log>,
}
