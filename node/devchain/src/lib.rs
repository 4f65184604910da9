//! An Ethereum chain inside the program: what `mainstem dev` and the tests run on.
//!
//! [`DevChain`] is the pure core: it takes the name and the parameters of a JSON-RPC method and the time in
//! seconds, and gives the answer. Every transaction is executed by revm and mined at once, in a block of its
//! own, under the rules of the Cancun hard fork. [`SharedDevChain`] puts a lock and (if wanted) a file around it,
//! so that no acknowledged transaction is lost; [`serve`] answers the same methods over HTTP.
//!
//! It is not a node: no peers, no mempool (a transaction whose nonce is ahead is refused, not queued), no
//! merkleised state (`stateRoot` is a running hash, so there is no `eth_getProof`), no tracing.
//!
//! ```
//! use mainstem_devchain::{Config, DevChain, dev_accounts};
//! use serde_json::json;
//!
//! let mut chain = DevChain::new(Config::default());
//! let now_s = 1_750_000_000;
//! let alice = dev_accounts()[0].address;
//! let balance = chain.handle("eth_getBalance", &json!([alice, "latest"]), now_s)?;
//! assert_eq!(balance, json!("0x21e19e0c9bab2400000")); // 10,000 ether
//!
//! chain.handle("evm_mine", &json!([]), now_s)?;
//! assert_eq!(chain.handle("eth_blockNumber", &json!([]), now_s)?, json!("0x1"));
//! # Ok::<(), mainstem_devchain::RpcError>(())
//! ```

mod account;
mod block;
mod call;
mod chain;
mod change;
mod clock;
mod config;
mod error;
mod evm;
mod filter;
mod journal;
mod logs;
mod params;
mod rlp;
mod rpc;
mod server;
mod shared;
mod state;
mod transaction;

pub use account::{DEV_MNEMONIC, DevAccount, dev_accounts};
pub use chain::DevChain;
pub use config::{Config, DEV_CHAIN_ID};
pub use error::{Error, RpcError};
pub use server::serve;
pub use shared::SharedDevChain;
