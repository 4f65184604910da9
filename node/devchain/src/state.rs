//! Accounts, code and storage: the newest state, and what each block changed, so that it can be taken back.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;

use revm::DatabaseRef;
use revm::bytecode::Bytecode;
use revm::primitives::{Address, B256, KECCAK_EMPTY, U256, keccak256};
use revm::state::{Account, AccountInfo, EvmState};

use crate::block::Block;

/// One account. Its code stands in [`State::codes`].
#[derive(Clone, Debug, Default)]
struct Stored {
    info: AccountInfo,
    /// Without zeros.
    storage: HashMap<U256, U256>,
}

/// The state after the newest block.
#[derive(Debug, Default)]
pub(crate) struct State {
    accounts: HashMap<Address, Stored>,
    /// By hash. Code stays when the block that brought it is taken back: nothing refers to it then.
    codes: HashMap<B256, Bytecode>,
}

/// What one block overwrote.
#[derive(Debug, Default)]
pub(crate) struct Undo(BTreeMap<Address, AccountUndo>);

#[derive(Debug)]
struct AccountUndo {
    /// `None`: there was no such account.
    info: Option<AccountInfo>,
    /// The former values of the slots that changed.
    slots: Vec<(U256, U256)>,
}

impl State {
    /// Gives an account its balance at genesis.
    pub(crate) fn fund(&mut self, address: Address, balance: U256) {
        let info = AccountInfo { balance, code: None, ..AccountInfo::default() };
        self.accounts.insert(address, Stored { info, storage: HashMap::new() });
    }

    /// Takes in what a transaction changed. Gives back how to undo it, and a hash of the changes.
    pub(crate) fn commit(&mut self, changes: EvmState) -> (Undo, B256) {
        // Sorted, since the hash must not depend on the order in a hash map.
        let changes: BTreeMap<Address, Account> = changes.into_iter().collect();
        let mut undo = BTreeMap::new();
        let mut digest = Vec::new();
        for (address, account) in changes {
            if account.is_touched() {
                digest.extend_from_slice(address.as_slice());
                undo.insert(address, self.commit_account(address, account, &mut digest));
            }
        }
        (Undo(undo), keccak256(digest))
    }

    fn commit_account(
        &mut self,
        address: Address,
        mut account: Account,
        digest: &mut Vec<u8>,
    ) -> AccountUndo {
        let before = self.accounts.get(&address).map(|stored| stored.info.clone());
        // EIP-161: an account that is touched and left empty goes. Since EIP-6780 nothing that goes had storage in the
        // block before: it was made in this very transaction, or has no code that could have written any.
        if account.is_selfdestructed() || account.is_empty() {
            self.accounts.remove(&address);
            digest.push(0);
            return AccountUndo { info: before, slots: Vec::new() };
        }

        if let Some(code) = account.info.code.take().filter(|_| account.info.code_hash != KECCAK_EMPTY) {
            self.codes.entry(account.info.code_hash).or_insert(code);
        }
        digest.push(1);
        digest.extend_from_slice(&account.info.nonce.to_be_bytes());
        digest.extend_from_slice(&account.info.balance.to_be_bytes::<32>());
        digest.extend_from_slice(account.info.code_hash.as_slice());

        let stored = self.accounts.entry(address).or_default();
        stored.info = account.info;

        let slots: BTreeMap<U256, U256> = account
            .storage
            .into_iter()
            .filter(|(_, slot)| slot.is_changed())
            .map(|(key, slot)| (key, slot.present_value))
            .collect();
        let mut former = Vec::with_capacity(slots.len());
        for (key, value) in slots {
            digest.extend_from_slice(&key.to_be_bytes::<32>());
            digest.extend_from_slice(&value.to_be_bytes::<32>());
            former.push((key, set_slot(&mut stored.storage, key, value)));
        }
        AccountUndo { info: before, slots: former }
    }

    /// Takes back the newest block. Undos must be given newest first.
    pub(crate) fn undo(&mut self, undo: Undo) {
        for (address, change) in undo.0 {
            let Some(info) = change.info else {
                self.accounts.remove(&address);
                continue;
            };
            let stored = self.accounts.entry(address).or_default();
            stored.info = info;
            for (key, value) in change.slots {
                set_slot(&mut stored.storage, key, value);
            }
        }
    }
}

/// Sets a slot and gives its former value. Zeros are not kept.
fn set_slot(storage: &mut HashMap<U256, U256>, key: U256, value: U256) -> U256 {
    if value.is_zero() { storage.remove(&key) } else { storage.insert(key, value) }.unwrap_or_default()
}

/// The state as it was after one block, for reading.
#[derive(Debug)]
pub(crate) struct View<'a> {
    state: &'a State,
    /// Blocks up to and including the one that is looked at (BLOCKHASH reads them).
    blocks: &'a [Block],
    /// What later blocks overwrote.
    overlay: BTreeMap<Address, Overlay<'a>>,
}

#[derive(Debug, Default)]
struct Overlay<'a> {
    info: Option<&'a AccountInfo>,
    slots: HashMap<U256, U256>,
}

impl<'a> View<'a> {
    /// The state after block `number`, which must exist. Costs as much time as there are later changes.
    pub(crate) fn at(state: &'a State, blocks: &'a [Block], number: u64) -> Self {
        let (blocks, later) = blocks.split_at(blocks.len().min(number as usize + 1));
        let mut overlay: BTreeMap<Address, Overlay<'a>> = BTreeMap::new();
        for (address, change) in later.iter().rev().flat_map(|block| &block.undo.0) {
            let entry = overlay.entry(*address).or_default();
            entry.info = change.info.as_ref();
            entry.slots.extend(change.slots.iter().copied());
        }
        Self { state, blocks, overlay }
    }

    pub(crate) fn account(&self, address: Address) -> Option<&AccountInfo> {
        match self.overlay.get(&address) {
            Some(overlay) => overlay.info,
            None => self.state.accounts.get(&address).map(|stored| &stored.info),
        }
    }

    pub(crate) fn slot(&self, address: Address, key: U256) -> U256 {
        let former = self.overlay.get(&address).and_then(|overlay| overlay.slots.get(&key));
        let newest = || self.state.accounts.get(&address).and_then(|stored| stored.storage.get(&key));
        former.or_else(newest).copied().unwrap_or_default()
    }

    pub(crate) fn code(&self, address: Address) -> Bytecode {
        self.account(address).map(|info| self.code_of(info.code_hash)).unwrap_or_default()
    }

    fn code_of(&self, hash: B256) -> Bytecode {
        self.state.codes.get(&hash).cloned().unwrap_or_default()
    }
}

impl DatabaseRef for View<'_> {
    type Error = Infallible;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self.account(address).cloned())
    }

    fn code_by_hash_ref(&self, hash: B256) -> Result<Bytecode, Infallible> {
        Ok(self.code_of(hash))
    }

    fn storage_ref(&self, address: Address, key: U256) -> Result<U256, Infallible> {
        Ok(self.slot(address, key))
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Infallible> {
        Ok(usize::try_from(number)
            .ok()
            .and_then(|at| self.blocks.get(at))
            .map(|block| block.hash)
            .unwrap_or_default())
    }
}
