//! Runs plugins: WebAssembly modules that check signatures of a new type, seal and open contents, keep records, or
//! are operators.
//!
//! What it is: the node's side of `plugin-api/ABI.md`. A [`Host`] loads modules as [`Plugin`]s and calls them within the bounds
//! of its [`Config`]; what a plugin asks for in return it gets as its [`Grants`] say.
//! What it is not: it opens no file but its cache of compiled modules and the folders that plugins were granted, reaches no server but
//! those that a plugin was granted ([`HttpHost`]), and does not say which plugins there are: that is the daemon's configuration.
//! Contracts it reads through [`ContractReads`], which somebody brings.
//!
//! Calls block the thread that makes them, for as long as the plugin's deadline: make them on worker threads with at least 1 MiB of
//! stack.
//!
//! ```
//! use mainstem_plugin_host::{Compiler, Config, Grants, Host, LoadError};
//! let host = Host::new(Config::default(), None, Compiler::InProcess)?;
//! let error = host.load(b"no module", Grants::default()).expect_err("it is no WebAssembly");
//! assert!(matches!(error, LoadError::NotWasm(_)));
//! # Ok::<(), mainstem_plugin_host::HostError>(())
//! ```

mod ambient;
mod cache;
mod capability;
mod clock;
mod compiler;
mod config;
mod conformance;
mod contract_reads;
mod counters;
mod encryption;
mod engine;
mod error;
mod faults;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod grants;
mod host;
mod host_call;
mod http_host;
mod id;
mod instance;
mod native;
#[cfg(test)]
mod next_minor;
mod operator;
mod patience;
mod plugin;
mod pool;
mod request;
mod rows;
mod section;
mod sentence;
mod shape;
mod signature;
mod start;
mod stint;
mod storage;
mod ticker;

pub use ambient::{Ambient, SystemAmbient};
pub use compiler::{Compiler, compile_in_child};
pub use config::Config;
pub use conformance::{Finding, conformance};
pub use contract_reads::{ContractAnswer, ContractCall, ContractReads, NoAnswer};
pub use counters::{Counters, FaultCounts, HostCounters};
pub use encryption::EncryptionPlugin;
pub use error::{CallError, CompileError, Fault, HostError, LoadError, PluginIdError};
pub use faults::Status;
pub use grants::Grants;
pub use host::Host;
pub use http_host::{HttpHost, HttpHostError};
pub use id::PluginId;
pub use mainstem_plugin_abi::{
    Capability, Claim, EncryptionClaim, Manifest, SignatureClaim, StorageClaim, plugin_capnp::FailureCode,
};
pub use operator::Operator;
pub use plugin::Plugin;
pub use rows::{Column, Emitted, Event, Rows, Values};
pub use section::inspect;
pub use signature::{PluginSigner, SignaturePlugin, SignedItem, Verdict};
pub use storage::StoragePlugin;
