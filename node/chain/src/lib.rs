//! Mainstem's face to Ethereum: JSON-RPC, wallets, the contracts, and a view of streams, rights and brokers that follows the chain.
//!
//! What it is: the only crate that knows `ethers-*`; everything in its API is a type of ours. [`Rpc`] asks, [`Wallet`]
//! sends, [`StreamRegistry`] calls the contracts, [`Follower`] turns their events into
//! [`RegistryChange`](mainstem_model::RegistryChange)s and [`NetworkView`]s.
//! What it is not: it runs no loop and keeps no file; the daemon drives [`Follower::step`].
//!
//! ```no_run
//! # async fn example() -> Result<(), mainstem_chain::ChainError> {
//! use mainstem_chain::*;
//! use mainstem_crypto::SecretKey;
//! let rpc = Rpc::new(RpcConfig::one("http://127.0.0.1:8545"))?;
//! let key = SecretKey::from_bytes(&[7; 32]).expect("7…7 is below the curve order");
//! let wallet = Wallet::new(rpc.clone(), key, WalletConfig::default());
//! let deployment = deploy(&wallet, &NetworkRules::default()).await?;
//! let registry = StreamRegistry::new(rpc.clone(), &deployment);
//! let stream = NewStream { metadata: r#"{"partitions":3}"#.to_owned(), ..NewStream::default() };
//! let (id, _receipt) = registry.create_stream(&wallet, &stream).await?;
//! let mut follower = Follower::new(rpc, FollowerConfig::default(), &deployment)?;
//! while !follower.step().await?.synced {}
//! assert!(follower.view().registry().stream(id).is_some());
//! # Ok(()) }
//! ```

mod block;
mod config;
mod contracts;
mod coordinator;
mod error;
mod event;
mod finalised;
mod follower;
mod http;
mod json;
mod logs;
mod network;
mod record;
mod registry;
mod revert;
mod rpc;
mod transaction;
mod verify;
mod view;
mod wallet;

pub use block::{BlockHeader, BlockTag, Log, Receipt};
pub use config::{FollowerConfig, RpcConfig, WalletConfig};
pub use contracts::{DATA_SUPPLY, Deployment, NetworkRules, deploy};
pub use coordinator::{Epoch, NetworkCoordinator};
pub use error::ChainError;
pub use event::RegistryEvent;
pub use finalised::{FinalisedAnswer, FinalisedCall, FinalisedReads};
pub use follower::{Follower, Step};
pub use network::{Brokers, NetworkEvent, NetworkView};
pub use registry::{METADATA_BYTES_MAX, NewStream, PATH_BYTES_MAX, StreamRegistry};
pub use revert::Revert;
pub use rpc::Rpc;
pub use transaction::Call;
pub use verify::{EventVerifier, ProvenEvent};
pub use view::{BlockId, Detached, Segment, View};
pub use wallet::Wallet;
