use crate::Revert;
use mainstem_crypto::Hash;

/// What can go wrong between us and the chain. Endpoints are named by scheme, host and port only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The configuration cannot work; nothing was asked.
    #[error("chain configuration: {0}")]
    Config(String),
    /// The endpoint could not be reached or broke off. Try again later.
    #[error("{endpoint} could not be reached: {reason}")]
    Transport {
        /// Which endpoint.
        endpoint: String,
        /// What the connection said.
        reason: String,
    },
    /// The endpoint did not answer in time. Try again later.
    #[error("{endpoint} did not answer within {after_ms} ms")]
    Timeout {
        /// Which endpoint.
        endpoint: String,
        /// How long it had.
        after_ms: u64,
    },
    /// The endpoint answered something that is not JSON-RPC, or has fields that make no sense.
    #[error("{endpoint} gave an answer that cannot be used: {reason}")]
    Answer {
        /// Which endpoint.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The endpoint's answer is longer than the configuration allows; the rest was not read.
    #[error("{endpoint} gave an answer longer than {bytes_max} bytes")]
    TooLong {
        /// Which endpoint.
        endpoint: String,
        /// `response_bytes_max` of the configuration.
        bytes_max: usize,
    },
    /// The chain's node refused the request.
    #[error("the chain's node refused: {message} ({code})")]
    Rpc {
        /// JSON-RPC code.
        code: i64,
        /// The node's own words.
        message: String,
    },
    /// A contract refused.
    #[error(transparent)]
    Revert(Box<Revert>),
    /// An endpoint serves another chain. Nothing of what it says is used: correct the configuration.
    #[error("{endpoint} serves chain {found}, expected chain {expected}")]
    WrongChain {
        /// Which endpoint.
        endpoint: String,
        /// The pinned chain id.
        expected: u64,
        /// What it serves.
        found: u64,
    },
    /// Endpoints contradict each other. Nothing is believed until they agree.
    #[error("the endpoints contradict each other about {0}")]
    Disagreement(String),
    /// The chain changed while it was read. The next step reads it anew.
    #[error("the chain changed while it was read: {0}")]
    Moved(String),
    /// The last block before a time is not known yet, or not final.
    #[error(
        "which block is the last before second {before_s} is not final yet: the newest final one is of second {final_s}"
    )]
    NotFinal {
        /// Unix second that was asked for.
        before_s: u64,
        /// Unix second of the newest block that is final.
        final_s: u64,
    },
    /// The transaction was sent and is not mined yet; it may still be.
    #[error("transaction 0x{} is not mined after {after_ms} ms; it may still be", hex::encode(transaction))]
    NotMined {
        /// Its hash.
        transaction: Hash,
        /// How long was waited.
        after_ms: u64,
    },
    /// Whether the transaction was sent is not known, as no answer came. Look for its receipt before sending again.
    #[error("whether transaction 0x{} was sent is not known: {cause}", hex::encode(transaction))]
    Unsure {
        /// Its hash.
        transaction: Hash,
        /// Why.
        cause: Box<Self>,
    },
    /// A fee limit of the configuration would be exceeded; nothing was sent.
    #[error("the fee would be up to {needed_wei} wei for each gas, the limit is {limit_wei}")]
    FeeTooHigh {
        /// What the chain asks for.
        needed_wei: u128,
        /// `fee_wei_max` of the wallet's configuration.
        limit_wei: u128,
    },
    /// An argument that the contract would refuse; nothing was sent.
    #[error("{0}")]
    Argument(String),
}

impl ChainError {
    /// Whether the same request may succeed later without anybody changing anything.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Transport { .. }
            | Self::Timeout { .. }
            | Self::Answer { .. }
            | Self::TooLong { .. }
            | Self::Disagreement(_)
            | Self::Moved(_)
            | Self::NotFinal { .. }
            | Self::NotMined { .. } => true,
            Self::Config(_)
            | Self::Rpc { .. }
            | Self::Revert(_)
            | Self::WrongChain { .. }
            | Self::Unsure { .. }
            | Self::FeeTooHigh { .. }
            | Self::Argument(_) => false,
        }
    }

    /// Whether no answer came, so that asking another endpoint makes sense.
    pub(crate) fn is_no_answer(&self) -> bool {
        // "internal error" and "limit exceeded": this endpoint cannot now, another one may.
        let busy = matches!(self, Self::Rpc { code: -32603 | -32005 | 429, .. });
        matches!(
            self,
            Self::Transport { .. } | Self::Timeout { .. } | Self::Answer { .. } | Self::TooLong { .. }
        ) || (busy && !self.is_too_many_results())
    }

    /// Whether a log query asked for more than the endpoint gives at once.
    pub(crate) fn is_too_many_results(&self) -> bool {
        // An answer that is too long or took too long is too many results in other words.
        matches!(self, Self::TooLong { .. } | Self::Timeout { .. })
            || matches!(self, Self::Rpc { message, .. } if is_too_many_results(message))
    }
}

/// The words that the known nodes and providers have for it; there is no common code.
fn is_too_many_results(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    [
        "too many",
        "more than",
        "response size",
        "block range",
        "range is too",
        "range too",
        "exceeds the range",
        "query timeout",
        "limited to",
        "logs are larger",
        "exceed maximum block range",
    ]
    .iter()
    .any(|words| message.contains(words))
}
