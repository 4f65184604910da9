//! Plugins for Mainstem in Rust: the module's exports, typed requests and replies, and typed calls of the node.
//!
//! What a plugin is and what is said between it and its node stands in `plugin-api/ABI.md`; this crate is that page in Rust. It
//! is not the node's side, and knows no WebAssembly engine.
//!
//! A plugin is a `cdylib` with one line that names its type: [`signature!`] with a type that is [`Signature`], [`encryption!`] with one
//! that is [`Encryption`], [`storage!`] with one that is [`Storage`], or [`operators!`] with types that are [`Operator`].
//!
//! ```
//! use mainstem_plugin_sdk::{Failure, Host, Signature, Signed, Verdict};
//!
//! /// "Signed" by writing the batch's id again: of no use but here.
//! struct Echo;
//!
//! impl Signature for Echo {
//!     fn verify(_: &Host<'_>, items: &[Signed<'_>]) -> Result<Vec<Verdict>, Failure> {
//!         let verdict = |item: &Signed<'_>| {
//!             if item.signature == item.batch_id { Verdict::Valid } else { Verdict::Invalid }
//!         };
//!         Ok(items.iter().map(verdict).collect())
//!     }
//! }
//!
//! mainstem_plugin_sdk::signature!(Echo);
//! ```
//!
//! With the feature `harness` the same plugin runs in a plain test: see [`harness`].

mod batch;
mod blob;
mod configuration;
mod encryption;
#[doc(hidden)]
pub mod exports;
mod failure;
#[cfg(all(feature = "harness", not(target_arch = "wasm32")))]
pub mod harness;
mod host;
mod instance;
mod macros;
mod operator;
mod parameters;
mod rows;
mod signature;
mod state;
mod storage;

pub use batch::{Batch, Column, Datas, Event, Number, Texts, Values};
pub use blob::Files;
pub use configuration::Configuration;
pub use encryption::{Encryption, EncryptionModule, Opened, Plain, Sealed};
pub use failure::Failure;
pub use host::{Check, ContractAnswer, Host, HostCalls, HttpRequest, HttpResponse};
pub use instance::Instance;
pub use mainstem_plugin_abi::plugin_capnp::{
    FailureCode, LogLevel, OpenFault, SignatureScheme as Scheme, Verdict,
};
pub use operator::{Operator, OperatorModule, OperatorSet, Running};
pub use parameters::Parameters;
pub use rows::{RowContent, RowValues, Rows};
pub use signature::{Origin, Signature, SignatureModule, Signed};
pub use state::{StateReader, StateWriter};
pub use storage::{KeptRecord, Page, Query, Record, Records, Storage, StorageModule};
