//! What a development chain is made with, and every bound that it holds.

use serde::{Deserialize, Serialize};

/// The chain id that tools expect of a local development chain.
pub const DEV_CHAIN_ID: u64 = 31_337;

/// How a chain is born and how much it does for one caller.
///
/// `chain_id`, `genesis_timestamp_s`, `gas_limit`, `base_fee_wei`, `balance_wei` and `funded` make the genesis
/// block. A chain that is opened from a file keeps the genesis it was made with: of those six only a
/// different `chain_id` is an error, the others are then taken from the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// EIP-155 chain id; a transaction signed for another one is refused.
    pub chain_id: u64,
    /// Time of block 0 in seconds. Fixed, so that two fresh chains of the same configuration have the same
    /// genesis hash. The first mined block jumps to the time of day.
    pub genesis_timestamp_s: u64,
    /// Gas of one block, which is also the most that one transaction, call or estimate may use.
    pub gas_limit: u64,
    /// Base fee of every block; it never moves. 0, so that nothing on a development chain costs gas unless the
    /// sender offers a tip.
    pub base_fee_wei: u64,
    /// What each of [`dev_accounts`](crate::dev_accounts) and of `funded` owns at genesis.
    pub balance_wei: u128,
    /// Further addresses to fund at genesis.
    pub funded: Vec<[u8; 20]>,
    /// How many blocks the tags `safe` and `finalized` stay behind `latest`. 0, since instant mining would
    /// otherwise leave the newest transactions unfinished for ever. Tests of reorganisations set it.
    pub finality_blocks: u64,
    /// Bytes of one raw transaction (geth's number). A longer one is refused.
    pub transaction_bytes_max: usize,
    /// Logs in one answer of `eth_getLogs`, `eth_getFilterLogs` or `eth_getFilterChanges`. A query with more is
    /// refused with code -32005, never cut short.
    pub logs_max: usize,
    /// Addresses, or alternatives in one topic position, of one log query. More are refused.
    pub log_alternatives_max: usize,
    /// Installed filters. When full, a new one is refused until one is uninstalled or expires.
    pub filters_max: usize,
    /// A filter that nobody polled for so many seconds is forgotten when room is needed (geth: 5 minutes).
    pub filter_idle_s_max: u64,
    /// Live snapshots. When full, `evm_snapshot` is refused until one is reverted to.
    pub snapshots_max: usize,
    /// Blocks of one `evm_mine`, and of one `eth_feeHistory`.
    pub blocks_max: u64,
    /// Requests in one JSON-RPC batch. A longer batch is refused as a whole.
    pub batch_requests_max: usize,
    /// Bytes of one HTTP request body. A longer one is answered with status 413.
    pub body_bytes_max: usize,
    /// Bytes of the answers to one batch. The requests after that are answered with an error each.
    pub reply_bytes_max: usize,
    /// HTTP requests worked on at a time. The others wait.
    pub requests_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            chain_id: DEV_CHAIN_ID,
            genesis_timestamp_s: 1_735_689_600, // 2025-01-01
            gas_limit: 30_000_000,
            base_fee_wei: 0,
            balance_wei: 10_000_000_000_000_000_000_000, // 10,000 ether
            funded: Vec::new(),
            finality_blocks: 0,
            transaction_bytes_max: 128 * 1024,
            logs_max: 10_000,
            log_alternatives_max: 1_000,
            filters_max: 1_000,
            filter_idle_s_max: 300,
            snapshots_max: 1_000,
            blocks_max: 1_024,
            batch_requests_max: 100,
            body_bytes_max: 5 * 1024 * 1024,
            reply_bytes_max: 32 * 1024 * 1024,
            requests_max: 16,
        }
    }
}
