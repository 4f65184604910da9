//! What a node and a plugin share: the messages of `schema/plugin.capnp`, how they lie in memory, and the manifest.
//!
//! The prose is `plugin-api/ABI.md`. Plugins in Rust use `mainstem-plugin-sdk`, which stands on this crate.
#![no_std]

extern crate alloc;

pub mod configuration;
mod generated;
pub mod layout;
mod manifest;
mod message;
mod place;
mod version;

pub use generated::plugin_capnp;
pub use manifest::{
    Capability, Claim, ColumnClaim, ColumnType, EncryptionClaim, Limits, MANIFEST_BYTES_MAX, Manifest,
    ManifestError, OperatorClaim, Parameter, Port, SECTION, SignatureClaim, StorageClaim,
};
pub use message::{Message, MessageError, Segment, read, write};
pub use place::Place;
pub use version::{ABI, Version};

/// Names of what a module exports and imports.
pub mod names {
    /// Its memory.
    pub const MEMORY: &str = "memory";
    /// `() -> u32`: the version that it was built against.
    pub const ABI: &str = "mainstem_abi";
    /// `(len) -> ptr`.
    pub const ALLOC: &str = "mainstem_alloc";
    /// `(ptr, len)`.
    pub const FREE: &str = "mainstem_free";
    /// `(ptr, len) -> place`.
    pub const CALL: &str = "mainstem_call";
    /// `()`; may be missing.
    pub const INITIALIZE: &str = "_initialize";
    /// The one module that is imported from.
    pub const IMPORT: &str = "mainstem";
    /// `(ptr, len) -> place`, of [`IMPORT`].
    pub const HOST_CALL: &str = "host_call";
}

/// Bounds of the ABI itself; what a node bounds is in its configuration.
pub mod limits {
    /// Items of a host request for hashes.
    pub const HASHED_MAX: u32 = 4_096;
    /// Items of a host request to check signatures.
    pub const CHECKED_MAX: u32 = 1_024;
    /// Bytes of one request for random bytes.
    pub const RANDOM_BYTES_MAX: u32 = 1_024;
    /// Bytes of the input of a call of a contract.
    pub const CHAIN_INPUT_BYTES_MAX: u32 = 32_768;
    /// Gas of a call of a contract. The same at every node, as what a contract answers may depend on it.
    pub const CHAIN_GAS: u64 = 5_000_000;
    /// Headers of a request to a server.
    pub const HTTP_HEADERS_MAX: u32 = 64;
    /// Bytes of all of them, names and values.
    pub const HTTP_HEADER_BYTES_MAX: u32 = 16_384;
    /// Bytes of its URL.
    pub const HTTP_URL_BYTES_MAX: u32 = 8_192;
    /// Bytes of a name of a file that a plugin keeps.
    pub const BLOB_NAME_BYTES_MAX: usize = 128;
    /// Bytes of one read of a file that a plugin keeps.
    pub const BLOB_READ_BYTES_MAX: u32 = 1 << 20;
    /// Names of one list of files that a plugin keeps.
    pub const BLOB_NAMES_MAX: u32 = 1_024;
    /// Bytes of a text for people that are kept: a failure's sentence, a line of the log.
    pub const TEXT_BYTES_MAX: usize = 1_024;
}
