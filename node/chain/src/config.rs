use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// Which JSON-RPC endpoints to ask, and how patiently.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RpcConfig {
    /// `http://` or `https://` addresses, the preferred one first. What comes after the port is never logged: it may
    /// be an access key.
    pub urls: Vec<String>,
    /// The chain that every endpoint must serve. Without it the first answer decides, for the life of the program.
    pub chain_id: Option<u64>,
    /// How many endpoints must give the same answer before the follower believes it. 0 is "two, or one if there is
    /// only one"; more than there are endpoints is an error.
    pub agree_min: usize,
    /// How long the others may take to contradict once so many have answered alike. Slower ones are passed over, as those
    /// that time out are, for `rest_ms`.
    pub grace_ms: u64,
    /// How long an endpoint that did not answer in time is not waited for, as long as enough others are left.
    pub rest_ms: u64,
    /// For one request, connecting included. Public endpoints answer large log queries within a few seconds.
    pub timeout_ms: u64,
    /// Bytes of one answer; a longer one is cut off unread and counts as no answer.
    pub response_bytes_max: usize,
    /// How often a read is tried again, over all endpoints, after it got no answer. Writes are never repeated.
    pub retries: u32,
    /// Wait before the first repetition; it doubles every time.
    pub backoff_ms: u64,
}

impl Default for RpcConfig {
    fn default() -> Self {
        Self {
            urls: vec!["http://127.0.0.1:8545".to_owned()],
            chain_id: None,
            agree_min: 0,
            // Twice a slow answer's way around the world.
            grace_ms: 500,
            rest_ms: 30_000,
            timeout_ms: 10_000,
            response_bytes_max: 16 * 1024 * 1024,
            retries: 2,
            backoff_ms: 100,
        }
    }
}

impl RpcConfig {
    /// One endpoint, all else by default.
    pub fn one(url: impl Into<String>) -> Self {
        Self { urls: vec![url.into()], ..Self::default() }
    }

    pub(crate) const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    pub(crate) fn backoff(&self, attempt: u32) -> Duration {
        Duration::from_millis(self.backoff_ms.saturating_mul(1 << attempt.min(10)))
    }
}

impl fmt::Debug for RpcConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcConfig")
            .field("urls", &format_args!("{} urls", self.urls.len()))
            .field("chain_id", &self.chain_id)
            .field("agree_min", &self.agree_min)
            .field("timeout_ms", &self.timeout_ms)
            .finish_non_exhaustive()
    }
}

/// How a wallet prices its transactions and waits for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WalletConfig {
    /// Added to the estimate of gas, in percent: the state may have moved when the transaction is mined.
    pub gas_margin_percent: u64,
    /// The most to pay for one gas; a transaction that would need more is not sent. `None` is no limit.
    pub fee_wei_max: Option<u128>,
    /// How often to ask for a receipt. Public chains have a block every 2 to 12 seconds, a development chain at once.
    pub receipt_interval_ms: u64,
    /// How long to wait for a receipt. After that the transaction may still be mined.
    pub receipt_wait_ms: u64,
}

impl Default for WalletConfig {
    fn default() -> Self {
        Self { gas_margin_percent: 20, fee_wei_max: None, receipt_interval_ms: 250, receipt_wait_ms: 120_000 }
    }
}

/// How the view of streams and rights follows the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FollowerConfig {
    /// The view shows the chain as of head minus so many blocks, grants and revocations alike. 0 follows the head,
    /// which suits a development chain; on a public chain each block of depth makes a reorg that takes a right back
    /// rarer and every change later.
    pub confirmations: u64,
    /// How many of the newest blocks can be undone. A deeper reorg is answered with a full resync.
    pub undo_blocks: u64,
    /// Wait between two looks at the chain. [`Follower::step`](crate::Follower::step) does not wait itself: its caller does.
    pub poll_ms: u64,
    /// Blocks of one log query while catching up. Halved when an endpoint says that it is too much, down to 1.
    pub log_blocks_max: u64,
    /// Log queries of one step while catching up, and single blocks of one step after that, so that a step ends and
    /// its changes are handed out.
    pub step_queries_max: u64,
    /// A step hands out its changes once there are so many; one block's more may come on top.
    pub step_changes_max: usize,
}

impl Default for FollowerConfig {
    fn default() -> Self {
        Self {
            confirmations: 0,
            undo_blocks: 128,
            poll_ms: 500,
            log_blocks_max: 10_000,
            step_queries_max: 256,
            step_changes_max: 10_000,
        }
    }
}
