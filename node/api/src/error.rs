use std::{io, net::SocketAddr, path::PathBuf};

/// Why a listener could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; is another program using the port?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A key or certificate is not what it should be.
    #[error("the TLS {what} cannot be used: {reason}")]
    Tls {
        /// Key or certificate.
        what: &'static str,
        /// What is wrong with it; no key material.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A bound in the configuration is not what it must be.
    #[error("{key} {reason}")]
    Config {
        /// Which.
        key: &'static str,
        /// What it must be.
        reason: String,
    },
    /// The system gives no threads.
    #[error("the worker threads cannot be started: {0}")]
    Threads(#[from] io::Error),
}
