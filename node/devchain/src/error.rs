//! The two ways to fail: an answer to a caller, and a file that cannot be used.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

/// A JSON-RPC error object, with the codes that geth and anvil give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message} ({code})")]
#[non_exhaustive]
pub struct RpcError {
    /// -32700 parse, -32600 request, -32601 method, -32602 parameters, -32603 internal, -32000 refused by the chain,
    /// -32003 reply too large, -32005 limit exceeded, 3 reverted.
    pub code: i64,
    /// One sentence for people.
    pub message: String,
    /// For code 3: what the contract reverted with, as hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

impl RpcError {
    pub(crate) fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// The request is not a JSON-RPC request.
    pub(crate) fn request(message: impl Into<String>) -> Self {
        Self::new(-32600, message)
    }

    /// No such method.
    pub(crate) fn method(name: &str) -> Self {
        let shown: String = name.chars().take(64).collect();
        Self::new(-32601, format!("the method {shown} does not exist/is not available"))
    }

    /// The parameters are malformed.
    pub(crate) fn params(message: impl Into<String>) -> Self {
        Self::new(-32602, message)
    }

    /// Our own failure.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(-32603, message)
    }

    /// Well-formed, but the chain refuses it.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(-32000, message)
    }

    /// One of the bounds of `Config`.
    pub(crate) fn limit(message: impl Into<String>) -> Self {
        Self::new(-32005, message)
    }
}

/// Why a chain could not be opened from its file, or served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read or write.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process has the file open.
    #[error("{path} is in use by another process: stop that one, or give this one another data folder")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file holds the chain of another chain id.
    #[error(
        "{path} holds a chain with id {found}, the configuration says {expected}: change the configuration, or \
         move the file away to begin a new chain"
    )]
    OtherChain {
        /// The file.
        path: PathBuf,
        /// In the configuration.
        expected: u64,
        /// In the file.
        found: u64,
    },
    /// The file is of another version of this program.
    #[error("{path} has format {found}, this program reads format {expected}: use the program that wrote it")]
    Version {
        /// The file.
        path: PathBuf,
        /// The format of this program.
        expected: u32,
        /// The format of the file.
        found: u32,
    },
    /// The file is something else, empty, or damaged at its very beginning.
    #[error(
        "{path} is not the file of a development chain ({reason}): restore it from a backup, or move it away to begin a \
         new chain"
    )]
    NotAChain {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file was changed or damaged, or this program executes it differently. Nothing was written.
    #[error(
        "{path} is damaged at byte {offset} after {blocks} good blocks ({reason}): restore it from a backup, cut it \
         there (truncate -s {offset}) to go on with those blocks, or move it away to begin a new chain"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the first bad record begins.
        offset: u64,
        /// How many blocks stand before it.
        blocks: u64,
        /// What is wrong with it.
        reason: String,
    },
}
