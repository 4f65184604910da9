//! A plugin in a plain test: the same requests and replies as in a node, byte for byte, without WebAssembly.
//!
//! [`Harness`] asks, [`Node`] answers what the plugin asks back: its clock, randomness, contracts and servers are the
//! test's, its cryptography is native. What it does not show are the limits of a node: fuel, time and memory.
//!
//! ```
//! use mainstem_plugin_sdk::{Batch, Failure, Host, Operator, Parameters, RowValues, Rows, harness::Harness};
//!
//! /// Passes rows on as they are.
//! struct Pass;
//!
//! impl Operator for Pass {
//!     const NAME: &'static str = "pass";
//!
//!     fn start(_: &Parameters<'_>) -> Result<Self, Failure> {
//!         Ok(Self)
//!     }
//!
//!     fn on_batch(&mut self, _: &Host<'_>, _: u16, batch: &Batch<'_>) -> Result<Vec<Rows>, Failure> {
//!         let values = batch.float64(0)?.iter().collect();
//!         let timestamps = batch.timestamps().iter().collect();
//!         Ok(Rows::columns(0, timestamps, vec![RowValues::Float64(values)]).if_any())
//!     }
//! }
//!
//! mainstem_plugin_sdk::operators!(Pass);
//!
//! # fn main() -> Result<(), Failure> {
//! let mut harness = Harness::<Plugin>::default();
//! harness.start("pass", &[])?;
//! let rows = Rows::columns(0, vec![1, 2], vec![RowValues::Float64(vec![0.5, 1.5])]);
//! assert_eq!(harness.on_batch(&rows)?, [rows]);
//! # Ok(())
//! # }
//! ```

mod files;
mod node;
mod primitives;
mod wire;

pub use files::Files;
pub use node::{Capability, Contracts, Node, Servers};
pub use primitives::check;

use crate::{Failure, Host, Instance, Opened, Origin, Plain, Query, Record, Records, Rows, Sealed, Verdict};

/// An instance of a plugin and the node that calls it.
#[derive(Debug, Default)]
pub struct Harness<P> {
    plugin: P,
    /// What the plugin calls.
    pub node: Node,
}

/// A header and its signature, as a test writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// The header's bytes.
    pub header: Vec<u8>,
    /// SHA-256 of the header.
    pub batch_id: Vec<u8>,
    /// One that the manifest claims.
    pub origin_type: u8,
    /// 1 to 32 bytes.
    pub origin: Vec<u8>,
    /// In ms since 1970.
    pub timestamp: i64,
    /// The signature.
    pub signature: Vec<u8>,
}

impl<P: Instance> Harness<P> {
    /// A new instance that calls this node.
    pub fn new(node: Node) -> Self {
        Self { plugin: P::default(), node }
    }

    /// Hands over a request as it is, and gives the reply as it is.
    pub fn call(&mut self, request: &[u8]) -> Vec<u8> {
        self.plugin.handle(&Host::new(&self.node), request)
    }

    /// Asks for verdicts.
    ///
    /// # Errors
    /// What the plugin answers with `failed`.
    pub fn verify(&mut self, items: &[Item]) -> Result<Vec<Verdict>, Failure> {
        wire::verdicts(&self.call(&wire::verify(items)))
    }

    /// Asks for signatures.
    ///
    /// # Errors
    /// What the plugin answers with `failed`.
    pub fn sign(&mut self, key: &[u8], batch_ids: &[&[u8]]) -> Result<Vec<Vec<u8>>, Failure> {
        wire::signatures(&self.call(&wire::sign(key, batch_ids)))
    }

    /// Whose signatures a key makes.
    ///
    /// # Errors
    /// What the plugin answers with `failed`.
    pub fn origin(&mut self, key: &[u8]) -> Result<Origin, Failure> {
        wire::origin(&self.call(&wire::whose(key)))
    }

    /// Asks for contents to be sealed.
    ///
    /// # Errors
    /// What the plugin answers with `failed`.
    pub fn seal(&mut self, key: &[u8], items: &[Plain<'_>]) -> Result<Vec<Vec<u8>>, Failure> {
        wire::sealed(&self.call(&wire::seal(key, items)))
    }

    /// Asks for contents to be opened.
    ///
    /// # Errors
    /// What the plugin answers with `failed`.
    pub fn open(&mut self, key: &[u8], items: &[Sealed<'_>]) -> Result<Vec<Opened>, Failure> {
        wire::opened(&self.call(&wire::open(key, items)))
    }

    /// Asks for a content key to be wrapped, with 32 random bytes for each recipient.
    ///
    /// # Errors
    /// What the plugin answers with `failed`.
    pub fn wrap(&mut self, key: &[u8], recipients: &[&[u8]], random: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
        wire::wrapped(&self.call(&wire::wrap(key, recipients, random)))
    }

    /// Asks for a content key that was wrapped.
    ///
    /// # Errors
    /// What the plugin answers with `failed`.
    pub fn unwrap(&mut self, private_key: &[u8], wrapped: &[u8]) -> Result<Vec<u8>, Failure> {
        wire::unwrapped(&self.call(&wire::unwrap(private_key, wrapped)))
    }

    /// Gives records to be kept.
    ///
    /// # Errors
    /// What the plugin answers with `failed`.
    pub fn append(&mut self, records: &[Record<'_>]) -> Result<(), Failure> {
        wire::done(&self.call(&wire::append(records)))
    }

    /// Asks for what was appended and trimmed to outlive the power.
    ///
    /// # Errors
    /// What the plugin answers with `failed`.
    pub fn sync(&mut self) -> Result<(), Failure> {
        wire::done(&self.call(&wire::sync()))
    }

    /// Asks for records.
    ///
    /// # Errors
    /// What the plugin answers with `failed`.
    pub fn query(&mut self, query: &Query) -> Result<Records, Failure> {
        wire::records(&self.call(&wire::query(query)))
    }

    /// Asks for the records of these places.
    ///
    /// # Errors
    /// What the plugin answers with `failed`.
    pub fn fetch(&mut self, places: &[u64]) -> Result<Records, Failure> {
        wire::records(&self.call(&wire::fetch(places)))
    }

    /// Lets records go.
    ///
    /// # Errors
    /// What the plugin answers with `failed`.
    pub fn trim(&mut self, places: &[u64]) -> Result<(), Failure> {
        wire::done(&self.call(&wire::trim(places)))
    }

    /// Starts an operator, or a storage, which has no operator's name, with these parameters: all that the manifest names.
    ///
    /// # Errors
    /// What the plugin answers with `failed`.
    pub fn start(&mut self, operator: &str, parameters: &[(&str, &str)]) -> Result<(), Failure> {
        wire::done(&self.call(&wire::start(operator, parameters)))
    }

    /// Gives rows at the input that they name.
    ///
    /// # Errors
    /// What the plugin answers with `failed`.
    pub fn on_batch(&mut self, rows: &Rows) -> Result<Vec<Rows>, Failure> {
        wire::emitted(&self.call(&wire::on_batch(rows)?))
    }

    /// Says that no row before `time` comes any more.
    ///
    /// # Errors
    /// What the plugin answers with `failed`.
    pub fn on_watermark(&mut self, time: i64) -> Result<Vec<Rows>, Failure> {
        wire::emitted(&self.call(&wire::on_watermark(time)))
    }

    /// Asks for the state.
    ///
    /// # Errors
    /// What the plugin answers with `failed`.
    pub fn snapshot(&mut self) -> Result<Vec<u8>, Failure> {
        wire::state(&self.call(&wire::snapshot()))
    }

    /// Gives a state back.
    ///
    /// # Errors
    /// What the plugin answers with `failed`.
    pub fn restore(&mut self, state: &[u8]) -> Result<(), Failure> {
        wire::done(&self.call(&wire::restore(state)))
    }
}
