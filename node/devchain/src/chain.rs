//! The chain itself: blocks, the newest state, and the few ways in which they change.

use std::collections::{BTreeSet, HashMap};

use revm::context::result::{ExecutionResult, ResultAndState};
use revm::primitives::{Address, B256, Bytes, Log, U256, keccak256};

use crate::account::dev_accounts;
use crate::block::{Block, Header, Mined, Receipt};
use crate::change::Change;
use crate::clock::Clock;
use crate::config::Config;
use crate::error::RpcError;
use crate::evm::{Mode, execute};
use crate::filter::Filters;
use crate::params::{BlockId, Tag};
use crate::rlp::Encoder;
use crate::state::{State, Undo, View};
use crate::transaction::Transaction;

/// A whole chain in memory. It knows no clock, no file and no socket; [`handle`](Self::handle) is all there is to
/// it.
#[derive(Debug)]
pub struct DevChain {
    pub(crate) config: Config,
    state: State,
    /// By number. Never empty.
    pub(crate) blocks: Vec<Block>,
    /// Numbers by hash.
    numbers: HashMap<B256, u64>,
    /// Numbers of the blocks that transactions stand in, by transaction hash.
    transactions: HashMap<B256, u64>,
    pub(crate) clock: Clock,
    /// How often blocks were dropped; it goes into every later header.
    branch: u64,
    snapshots: Vec<Snapshot>,
    snapshots_made: u64,
    pub(crate) filters: Filters,
    /// What happened since it was last asked, if anybody asks.
    changes: Option<Vec<Change>>,
}

#[derive(Clone, Copy, Debug)]
struct Snapshot {
    id: u64,
    number: u64,
    clock: Clock,
}

impl DevChain {
    /// A chain with nothing but its genesis block, in which the [development accounts](crate::dev_accounts) and
    /// `config.funded` own `config.balance_wei` each.
    pub fn new(config: Config) -> Self {
        let mut state = State::default();
        // The hash of genesis commits to everything that a chain begins with.
        let mut commitment = Encoder::default().u64(config.chain_id).uint(U256::from(config.balance_wei));
        for address in funded(&config) {
            state.fund(address, U256::from(config.balance_wei));
            commitment = commitment.bytes(address.as_slice());
        }
        let header = Header::genesis(
            config.genesis_timestamp_s,
            config.gas_limit,
            config.base_fee_wei,
            keccak256(commitment.list()),
        );
        let genesis = Block::seal(header, None, None, Undo::default());
        Self {
            config,
            state,
            numbers: HashMap::from([(genesis.hash, 0)]),
            blocks: vec![genesis],
            transactions: HashMap::new(),
            clock: Clock::default(),
            branch: 0,
            snapshots: Vec::new(),
            snapshots_made: 0,
            filters: Filters::default(),
            changes: None,
        }
    }

    /// What the chain was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Number and hash of the newest block.
    pub fn head(&self) -> (u64, [u8; 32]) {
        (self.head_block().header.number, self.head_block().hash.0)
    }

    pub(crate) fn head_block(&self) -> &Block {
        self.blocks.last().expect("the genesis block is never dropped")
    }

    /// The number of a block, `None` if it does not exist. `pending` counts as `latest`.
    pub(crate) fn number_of(&self, id: BlockId) -> Option<u64> {
        let head = self.head_block().header.number;
        match id {
            BlockId::Tag(Tag::Earliest) => Some(0),
            BlockId::Tag(Tag::Safe | Tag::Finalized) => {
                Some(head.saturating_sub(self.config.finality_blocks))
            }
            BlockId::Tag(Tag::Latest | Tag::Pending) => Some(head),
            BlockId::Number(number) => (number <= head).then_some(number),
            BlockId::Hash(hash) => self.numbers.get(&hash).copied(),
        }
    }

    pub(crate) fn block(&self, id: BlockId) -> Option<&Block> {
        self.blocks.get(self.number_of(id)? as usize)
    }

    pub(crate) fn block_of_transaction(&self, hash: B256) -> Option<&Block> {
        self.blocks.get(*self.transactions.get(&hash)? as usize)
    }

    /// The state after a block.
    pub(crate) fn view(&self, id: BlockId) -> Result<View<'_>, RpcError> {
        let number = self.number_of(id).ok_or_else(|| RpcError::refused("header not found"))?;
        Ok(View::at(&self.state, &self.blocks, number))
    }

    /// The header that a call on a block sees. For `latest` the time is now, not the time of the last transaction: on
    /// a chain that mines only when something is sent, that may be hours ago.
    pub(crate) fn call_header(&self, id: BlockId, now_s: u64) -> Result<Header, RpcError> {
        let head = self.head_block();
        match id {
            BlockId::Tag(Tag::Pending) => {
                Ok(self.next_header(self.clock.next(now_s, head.header.timestamp_s)))
            }
            BlockId::Tag(Tag::Latest) => {
                let timestamp_s = self.clock.now(now_s, head.header.timestamp_s);
                Ok(Header { timestamp_s, ..head.header.clone() })
            }
            BlockId::Tag(Tag::Earliest | Tag::Finalized | Tag::Safe)
            | BlockId::Number(_)
            | BlockId::Hash(_) => self
                .block(id)
                .map(|block| block.header.clone())
                .ok_or_else(|| RpcError::refused("header not found")),
        }
    }

    fn next_header(&self, timestamp_s: u64) -> Header {
        let head = self.head_block();
        head.header.next(head.hash, timestamp_s, self.branch)
    }

    /// Decodes, executes and mines a raw transaction; gives its hash.
    pub(crate) fn submit(&mut self, raw: Bytes, now_s: u64) -> Result<B256, RpcError> {
        let max = self.config.transaction_bytes_max;
        if raw.len() > max {
            return Err(RpcError::refused(format!(
                "oversized data: transaction size {}, limit {max}",
                raw.len()
            )));
        }
        let transaction = Transaction::decode(raw, self.config.chain_id)?;
        if self.transactions.contains_key(&transaction.hash) {
            return Err(RpcError::refused("already known"));
        }
        let (hash, sender, raw) = (transaction.hash, transaction.from, transaction.raw.clone());
        let timestamp_s = self.clock.next(now_s, self.head_block().header.timestamp_s);
        self.mine_transaction(transaction, timestamp_s)?;
        let block = self.head_block().hash;
        self.note(Change::Transaction { timestamp_s, hash: block, sender, raw });
        self.tick(timestamp_s, now_s);
        Ok(hash)
    }

    fn mine_transaction(&mut self, transaction: Transaction, timestamp_s: u64) -> Result<(), RpcError> {
        let header = self.next_header(timestamp_s);
        let view = View::at(&self.state, &self.blocks, header.number);
        let outcome = execute(&view, &header, self.config.chain_id, Mode::Transaction, transaction.env())?;
        let ResultAndState { result, state } = outcome;
        let (undo, changes) = self.state.commit(state);
        let contract = transaction.to.is_none().then(|| transaction.from.create(transaction.nonce));
        let receipt = Receipt {
            success: result.is_success(),
            gas_used: result.tx_gas_used(),
            contract,
            effective_gas_price: transaction.effective_gas_price(header.base_fee_wei),
            logs: kept_logs(result),
        };
        self.transactions.insert(transaction.hash, header.number);
        self.push(Block::seal(header, Some(changes), Some(Mined { transaction, receipt }), undo));
        Ok(())
    }

    /// Mines a block without a transaction.
    pub(crate) fn mine_empty(&mut self, now_s: u64) {
        let timestamp_s = self.clock.next(now_s, self.head_block().header.timestamp_s);
        self.push(Block::seal(self.next_header(timestamp_s), None, None, Undo::default()));
        let hash = self.head_block().hash;
        self.note(Change::Empty { timestamp_s, hash });
        self.tick(timestamp_s, now_s);
    }

    fn push(&mut self, block: Block) {
        self.numbers.insert(block.hash, block.header.number);
        self.blocks.push(block);
    }

    fn tick(&mut self, timestamp_s: u64, now_s: u64) {
        let before = self.clock.offset_s;
        self.clock.mined(timestamp_s, now_s);
        self.note_offset(before);
    }

    pub(crate) fn increase_time(&mut self, seconds: u64, now_s: u64) -> Result<i64, RpcError> {
        let before = self.clock.offset_s;
        self.clock.increase(seconds, now_s, self.head_block().header.timestamp_s)?;
        self.note_offset(before);
        Ok(self.clock.offset_s)
    }

    fn note_offset(&mut self, before: i64) {
        if self.clock.offset_s != before {
            self.note(Change::Offset { seconds: self.clock.offset_s });
        }
    }

    /// Drops all blocks after `number`. What is mined next has other hashes than what stood there.
    pub(crate) fn cut_back(&mut self, number: u64) {
        let dropped = self.blocks.split_off(self.blocks.len().min(number as usize + 1));
        if dropped.is_empty() {
            return;
        }
        self.filters.drop_blocks(&dropped, self.config.logs_max);
        for block in dropped.into_iter().rev() {
            self.numbers.remove(&block.hash);
            if let Some(mined) = &block.mined {
                self.transactions.remove(&mined.transaction.hash);
            }
            self.state.undo(block.undo);
        }
        self.snapshots.retain(|snapshot| snapshot.number <= number);
        self.branch += 1;
        self.note(Change::CutBack { number });
    }

    /// Remembers the newest block and the clock; gives the snapshot's id.
    pub(crate) fn snapshot(&mut self) -> Result<u64, RpcError> {
        if self.snapshots.len() >= self.config.snapshots_max {
            return Err(RpcError::limit(format!(
                "there are {} snapshots: revert to one first",
                self.config.snapshots_max
            )));
        }
        self.snapshots_made += 1;
        let number = self.head_block().header.number;
        self.snapshots.push(Snapshot { id: self.snapshots_made, number, clock: self.clock });
        Ok(self.snapshots_made)
    }

    /// Goes back to a snapshot and forgets it and all later ones. False if there is none with this id.
    pub(crate) fn revert(&mut self, id: u64) -> bool {
        let Some(at) = self.snapshots.iter().position(|snapshot| snapshot.id == id) else { return false };
        let snapshot = self.snapshots[at];
        self.snapshots.truncate(at);
        self.cut_back(snapshot.number);
        let before = self.clock.offset_s;
        self.clock = snapshot.clock;
        self.note_offset(before);
        true
    }

    fn note(&mut self, change: Change) {
        if let Some(changes) = &mut self.changes {
            changes.push(change);
        }
    }

    /// From now on [`take_changes`](Self::take_changes) must be called after every request.
    pub(crate) fn note_changes(&mut self) {
        self.changes.get_or_insert_default();
    }

    /// What happened since the last call, to be kept before anybody is told.
    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        self.changes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Makes a change happen again.
    ///
    /// # Errors
    /// In words, if the outcome is not the same. The chain is then of no use.
    pub(crate) fn apply(&mut self, change: Change) -> Result<(), String> {
        let expected = match change {
            Change::Transaction { timestamp_s, hash, sender, raw } => {
                let transaction = Transaction::decode_known(raw, self.config.chain_id, sender);
                transaction
                    .and_then(|transaction| self.mine_transaction(transaction, timestamp_s))
                    .map_err(|error| format!("a transaction is refused: {error}"))?;
                hash
            }
            Change::Empty { timestamp_s, hash } => {
                self.push(Block::seal(self.next_header(timestamp_s), None, None, Undo::default()));
                hash
            }
            Change::CutBack { number } => {
                self.cut_back(number);
                return Ok(());
            }
            Change::Offset { seconds } => {
                self.clock = Clock::with_offset(seconds);
                return Ok(());
            }
        };
        let block = self.head_block();
        if block.hash != expected {
            return Err(format!("block {} has hash {}, not {expected}", block.header.number, block.hash));
        }
        Ok(())
    }
}

fn funded(config: &Config) -> BTreeSet<Address> {
    let dev = dev_accounts().iter().filter_map(|account| account.address.parse::<Address>().ok());
    dev.chain(config.funded.iter().map(Address::from)).collect()
}

/// A transaction that failed leaves no logs.
fn kept_logs(result: ExecutionResult) -> Vec<Log> {
    if result.is_success() { result.into_logs() } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_comes_out_otherwise_is_an_error() {
        let mut chain = DevChain::new(Config::default());
        chain.note_changes();
        chain.mine_empty(1_760_000_000);
        let changes = chain.take_changes();
        let [Change::Empty { timestamp_s, hash }] = changes.as_slice() else { panic!("{changes:?}") };
        let change = |timestamp_s, hash| Change::Empty { timestamp_s, hash };
        let apply = |change| DevChain::new(Config::default()).apply(change);
        assert_eq!(apply(change(*timestamp_s, *hash)), Ok(()));
        assert!(apply(change(*timestamp_s + 1, *hash)).is_err());
        assert!(apply(change(*timestamp_s, B256::ZERO)).is_err());
    }
}
