//! Blocks: a real header with a real hash, at most one transaction, and its receipt.

use revm::primitives::alloy_primitives::{Bloom, logs_bloom};
use revm::primitives::{Address, B256, Log, b256, keccak256};
use serde_json::{Value, json};

use crate::params::{data, quantity};
use crate::rlp::{Encoder, list};
use crate::state::Undo;
use crate::transaction::Transaction;

/// Root of a trie with nothing in it.
const EMPTY_ROOT: B256 = b256!("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421");
/// Hash of the empty list of uncles.
const NO_UNCLES: B256 = b256!("1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347");

/// The fields of a Cancun header that are not constant here.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub(crate) number: u64,
    pub(crate) timestamp_s: u64,
    pub(crate) parent_hash: B256,
    /// A running hash over all changes of the state, not the root of a trie.
    pub(crate) state_root: B256,
    pub(crate) transactions_root: B256,
    pub(crate) receipts_root: B256,
    pub(crate) logs_bloom: Bloom,
    pub(crate) gas_limit: u64,
    pub(crate) gas_used: u64,
    pub(crate) base_fee_wei: u64,
    pub(crate) prevrandao: B256,
    /// How often the chain was cut back before this block, so that a block which takes the place of another one
    /// has another hash even if all else is equal.
    pub(crate) branch: u64,
}

impl Header {
    pub(crate) fn genesis(timestamp_s: u64, gas_limit: u64, base_fee_wei: u64, state_root: B256) -> Self {
        Self {
            number: 0,
            timestamp_s,
            parent_hash: B256::ZERO,
            state_root,
            transactions_root: EMPTY_ROOT,
            receipts_root: EMPTY_ROOT,
            logs_bloom: Bloom::ZERO,
            gas_limit,
            gas_used: 0,
            base_fee_wei,
            prevrandao: B256::ZERO,
            branch: 0,
        }
    }

    /// The header of an empty block on top of this one.
    pub(crate) fn next(&self, hash: B256, timestamp_s: u64, branch: u64) -> Self {
        let mut seed = hash.to_vec();
        seed.extend_from_slice(&branch.to_be_bytes());
        Self {
            number: self.number + 1,
            timestamp_s,
            parent_hash: hash,
            transactions_root: EMPTY_ROOT,
            receipts_root: EMPTY_ROOT,
            logs_bloom: Bloom::ZERO,
            gas_used: 0,
            prevrandao: keccak256(seed),
            branch,
            ..self.clone()
        }
    }

    fn extra_data(&self) -> Vec<u8> {
        format!("mainstem/{}", self.branch).into_bytes()
    }

    /// RLP in the order of the yellow paper with EIP-1559, 4895, 4844 and 4788.
    fn encode(&self) -> Vec<u8> {
        Encoder::default()
            .hash(&self.parent_hash)
            .hash(&NO_UNCLES)
            .bytes(Address::ZERO.as_slice())
            .hash(&self.state_root)
            .hash(&self.transactions_root)
            .hash(&self.receipts_root)
            .bytes(self.logs_bloom.as_slice())
            .u64(0) // difficulty
            .u64(self.number)
            .u64(self.gas_limit)
            .u64(self.gas_used)
            .u64(self.timestamp_s)
            .bytes(&self.extra_data())
            .hash(&self.prevrandao)
            .bytes(&[0; 8]) // nonce
            .u64(self.base_fee_wei)
            .hash(&EMPTY_ROOT) // withdrawals
            .u64(0) // blob gas used
            .u64(0) // excess blob gas
            .hash(&B256::ZERO) // parent beacon block
            .list()
    }

    pub(crate) fn hash(&self) -> B256 {
        keccak256(self.encode())
    }
}

/// Where a transaction stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) block_number: u64,
    pub(crate) block_hash: B256,
    pub(crate) block_timestamp_s: u64,
}

/// The outcome of a transaction.
#[derive(Clone, Debug)]
pub(crate) struct Receipt {
    pub(crate) success: bool,
    pub(crate) gas_used: u64,
    pub(crate) logs: Vec<Log>,
    pub(crate) contract: Option<Address>,
    pub(crate) effective_gas_price: u128,
}

impl Receipt {
    pub(crate) fn bloom(&self) -> Bloom {
        logs_bloom(&self.logs)
    }

    /// As it goes into the receipts trie (EIP-2718).
    fn encode(&self, kind: u8) -> Vec<u8> {
        let mut logs = Vec::new();
        for log in &self.logs {
            let topics = log.data.topics().iter().fold(Encoder::default(), |list, topic| list.hash(topic));
            let log =
                Encoder::default().bytes(log.address.as_slice()).raw(&topics.list()).bytes(&log.data.data);
            logs.extend_from_slice(&log.list());
        }
        let body = Encoder::default()
            .u64(u64::from(self.success))
            .u64(self.gas_used)
            .bytes(self.bloom().as_slice())
            .raw(&list(&logs))
            .list();
        if kind == 0 { body } else { [&[kind], body.as_slice()].concat() }
    }
}

/// A transaction with its receipt.
#[derive(Debug)]
pub(crate) struct Mined {
    pub(crate) transaction: Transaction,
    pub(crate) receipt: Receipt,
}

/// A block of the chain.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) header: Header,
    pub(crate) hash: B256,
    pub(crate) mined: Option<Mined>,
    /// How to take it back.
    pub(crate) undo: Undo,
}

impl Block {
    /// Completes the header of a block with no or one transaction.
    pub(crate) fn seal(mut header: Header, changes: Option<B256>, mined: Option<Mined>, undo: Undo) -> Self {
        if let Some(changes) = changes {
            header.state_root = keccak256([header.state_root.as_slice(), changes.as_slice()].concat());
        }
        if let Some(Mined { transaction, receipt }) = &mined {
            header.transactions_root = root_of_one(&transaction.raw);
            header.receipts_root = root_of_one(&receipt.encode(transaction.kind));
            header.logs_bloom = receipt.bloom();
            header.gas_used = receipt.gas_used;
        }
        Self { hash: header.hash(), header, mined, undo }
    }

    pub(crate) fn place(&self) -> Place {
        Place {
            block_number: self.header.number,
            block_hash: self.hash,
            block_timestamp_s: self.header.timestamp_s,
        }
    }

    /// The logs of the block, each with its index.
    pub(crate) fn logs(&self) -> impl Iterator<Item = (usize, &Log)> {
        self.mined.iter().flat_map(|mined| mined.receipt.logs.iter().enumerate())
    }

    /// As `eth_getBlockByNumber` gives it.
    pub(crate) fn json(&self, full: bool) -> Value {
        let transactions: Vec<Value> = self
            .mined
            .iter()
            .map(|mined| match full {
                true => mined.transaction.json(&self.place(), self.header.base_fee_wei),
                false => json!(mined.transaction.hash),
            })
            .collect();
        let header = &self.header;
        json!({
            "number": quantity(header.number),
            "hash": self.hash,
            "parentHash": header.parent_hash,
            "sha3Uncles": NO_UNCLES,
            "miner": Address::ZERO,
            "stateRoot": header.state_root,
            "transactionsRoot": header.transactions_root,
            "receiptsRoot": header.receipts_root,
            "logsBloom": header.logs_bloom,
            "difficulty": "0x0",
            "totalDifficulty": "0x0",
            "gasLimit": quantity(header.gas_limit),
            "gasUsed": quantity(header.gas_used),
            "timestamp": quantity(header.timestamp_s),
            "extraData": data(&header.extra_data()),
            "mixHash": header.prevrandao,
            "nonce": "0x0000000000000000",
            "baseFeePerGas": quantity(header.base_fee_wei),
            "withdrawalsRoot": EMPTY_ROOT,
            "blobGasUsed": "0x0",
            "excessBlobGas": "0x0",
            "parentBeaconBlockRoot": B256::ZERO,
            "size": quantity(self.size()),
            "uncles": [],
            "transactions": transactions,
            "withdrawals": [],
        })
    }

    /// The block that would be mined now: as a block, but what is not known yet is null.
    pub(crate) fn pending_json(header: Header) -> Value {
        let mut out = Self::seal(header, None, None, Undo::default()).json(false);
        for unknown in ["hash", "nonce", "logsBloom"] {
            out[unknown] = Value::Null;
        }
        out
    }

    /// As `eth_getTransactionReceipt` gives it.
    pub(crate) fn receipt_json(&self) -> Option<Value> {
        let Mined { transaction, receipt } = self.mined.as_ref()?;
        let place = self.place();
        let logs: Vec<Value> =
            self.logs().map(|(index, log)| log_json(log, index, transaction.hash, &place, false)).collect();
        Some(json!({
            "type": quantity(transaction.kind),
            "transactionHash": transaction.hash,
            "transactionIndex": "0x0",
            "blockHash": place.block_hash,
            "blockNumber": quantity(place.block_number),
            "from": transaction.from,
            "to": transaction.to,
            "contractAddress": receipt.contract,
            "status": quantity(u64::from(receipt.success)),
            "gasUsed": quantity(receipt.gas_used),
            "cumulativeGasUsed": quantity(receipt.gas_used),
            "effectiveGasPrice": quantity(receipt.effective_gas_price),
            "logs": logs,
            "logsBloom": receipt.bloom(),
        }))
    }

    fn size(&self) -> usize {
        let transactions = match &self.mined {
            None => Encoder::default(),
            Some(Mined { transaction, .. }) if transaction.kind == 0 => {
                Encoder::default().raw(&transaction.raw)
            }
            Some(Mined { transaction, .. }) => Encoder::default().bytes(&transaction.raw),
        };
        let none = list(&[]);
        Encoder::default()
            .raw(&self.header.encode())
            .raw(&transactions.list())
            .raw(&none)
            .raw(&none)
            .list()
            .len()
    }
}

/// One log as `eth_getLogs` gives it; `removed` if its block was dropped.
pub(crate) fn log_json(log: &Log, index: usize, transaction: B256, place: &Place, removed: bool) -> Value {
    json!({
        "address": log.address,
        "topics": log.data.topics(),
        "data": data(&log.data.data),
        "blockNumber": quantity(place.block_number),
        "blockHash": place.block_hash,
        "blockTimestamp": quantity(place.block_timestamp_s),
        "transactionHash": transaction,
        "transactionIndex": "0x0",
        "logIndex": quantity(index),
        "removed": removed,
    })
}

/// Root of a trie with one item at index 0: a single leaf, whose path is the nibbles of `rlp(0) = 0x80`.
fn root_of_one(item: &[u8]) -> B256 {
    keccak256(Encoder::default().bytes(&[0x20, 0x80]).bytes(item).list())
}
