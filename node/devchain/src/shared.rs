//! A chain that several callers use at a time, and that outlives the process.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::chain::DevChain;
use crate::config::Config;
use crate::error::{Error, RpcError};
use crate::journal::Journal;

/// A [`DevChain`] behind a lock. Clones share it.
///
/// With a file ([`open`](Self::open)) every transaction, mined block, cut and shift of the clock is on the disk (written
/// and synced) before its request is answered, so neither a kill nor a loss of power takes back what was answered. Not
/// kept are filters, snapshots and a time set for the next block. Requests that wait for the disk at the same time
/// share one sync. After the first failure to write every request is answered with an error, as memory is then ahead
/// of the disk: restart.
///
/// All methods block (for the lock, the EVM and the disk): call them off the async threads.
#[derive(Clone, Debug)]
pub struct SharedDevChain(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    core: Mutex<Core>,
    disk: Option<Disk>,
    failed: OnceLock<String>,
}

#[derive(Debug)]
struct Core {
    chain: DevChain,
    journal: Option<Journal>,
}

/// Syncs, in groups.
#[derive(Debug)]
struct Disk {
    file: Arc<File>,
    written: AtomicU64,
    synced: Mutex<u64>,
}

impl SharedDevChain {
    /// A fresh chain that is gone when the last clone is.
    pub fn in_memory(config: Config) -> Self {
        Self::new(DevChain::new(config), None)
    }

    /// The chain of a file, or a fresh one if there is no file. The folder must exist.
    ///
    /// # Errors
    /// See [`Error`]. A file that is damaged or of another chain is left as it is, and no fresh chain is begun.
    pub fn open(config: Config, path: impl AsRef<Path>) -> Result<Self, Error> {
        let (mut chain, journal) = Journal::open(config, path.as_ref())?;
        chain.note_changes();
        tracing::info!(path = %path.as_ref().display(), block = chain.head().0, "opened the development chain");
        Ok(Self::new(chain, Some(journal)))
    }

    fn new(chain: DevChain, journal: Option<Journal>) -> Self {
        let disk = journal.as_ref().map(|journal| Disk {
            file: journal.file(),
            written: AtomicU64::new(0),
            synced: Mutex::new(0),
        });
        let config = chain.config().clone();
        Self(Arc::new(Inner {
            config,
            core: Mutex::new(Core { chain, journal }),
            disk,
            failed: OnceLock::new(),
        }))
    }

    /// What the chain was made with.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Answers one request at the time of day, see [`DevChain::handle`].
    ///
    /// # Errors
    /// As [`DevChain::handle`]; besides -32603 if the disk fails.
    pub fn request(&self, method: &str, params: &Value) -> Result<Value, RpcError> {
        // A clock before 1970 is a clock that was never set.
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.request_at(method, params, now_s)
    }

    /// Answers one request as if it were `now_s`.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub fn request_at(&self, method: &str, params: &Value, now_s: u64) -> Result<Value, RpcError> {
        let (answer, written) = {
            let mut core = self.0.core.lock().map_err(|_| {
                // A panic may have left the state half changed; what is on the disk is whole.
                RpcError::internal("the development chain failed before: restart the node")
            })?;
            self.check_disk()?;
            let answer = core.chain.handle(method, params, now_s);
            let changes = core.chain.take_changes();
            let written = match &mut core.journal {
                Some(journal) if !changes.is_empty() => {
                    let len = journal.append(&changes).map_err(|error| self.disk_failed(&error))?;
                    Some(len)
                }
                _ => None,
            };
            (answer, written)
        };
        // IMPORTANT: outside of the lock, so that others are served, and their writes join the next sync.
        if let (Some(disk), Some(len)) = (&self.0.disk, written) {
            disk.sync_to(len).map_err(|error| self.disk_failed(&error))?;
        }
        answer
    }

    fn check_disk(&self) -> Result<(), RpcError> {
        match self.0.failed.get() {
            None => Ok(()),
            Some(error) => Err(RpcError::internal(format!("the chain file could not be written: {error}"))),
        }
    }

    fn disk_failed(&self, error: &std::io::Error) -> RpcError {
        tracing::error!(%error, "the chain file could not be written; the development chain stops");
        let _ = self.0.failed.set(error.to_string());
        RpcError::internal(format!("the chain file could not be written: {error}"))
    }
}

impl Disk {
    fn sync_to(&self, len: u64) -> std::io::Result<()> {
        self.written.fetch_max(len, Ordering::AcqRel);
        // The number is a mere high-water mark, right even if a holder of the lock panicked.
        let mut synced = self.synced.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *synced < len {
            let reached = self.written.load(Ordering::Acquire);
            self.file.sync_data()?;
            *synced = reached;
        }
        Ok(())
    }
}
