use mainstem_crypto::Address;
use std::{fmt, time::Instant};

/// Reads of contracts, for plugins that have `chain`. The daemon brings the node's own chain, tests bring their own.
pub trait ContractReads: fmt::Debug + Send + Sync {
    /// What a contract answers at the last block before the second of the call's time, once that block is final: the same
    /// whenever and wherever it is asked. Blocks the thread, until then at most; what takes longer may go on and be there
    /// when it is asked for again.
    ///
    /// # Errors
    /// Why there is no answer now. None of them says anything about what the answer would be.
    fn read(&self, call: &ContractCall, until: Instant) -> Result<ContractAnswer, NoAnswer>;
}

/// A call of a contract that changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContractCall {
    /// The contract.
    pub to: Address,
    /// Its call data.
    pub input: Vec<u8>,
    /// ms since 1970.
    pub at_ms: i64,
    /// Gas that it has.
    pub gas: u64,
}

/// What a contract answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContractAnswer {
    /// Its output, or what it reverted with. Empty if there is no contract.
    pub output: Vec<u8>,
    /// It refused.
    pub reverted: bool,
    /// The block that it was read at.
    pub block_number: u64,
    /// The time of that block, ms since 1970.
    pub block_ms: i64,
}

/// Why a contract's answer is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoAnswer {
    /// It may be known later.
    #[error("{0}")]
    Unavailable(String),
    /// The call makes no sense: it will never be known.
    #[error("{0}")]
    Invalid(String),
}

/// Of a node without a chain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoChain;

impl ContractReads for NoChain {
    fn read(&self, _: &ContractCall, _: Instant) -> Result<ContractAnswer, NoAnswer> {
        Err(NoAnswer::Unavailable("no chain is read here: give this program an endpoint of one".into()))
    }
}
