use serde::{Deserialize, Serialize};

/// Bounds of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Bytes of blocks kept in memory for reading. Small by default: history is read in long runs, and the page cache of
    /// the operating system holds it too.
    pub cache_bytes: u64,
    /// Bytes of one table's newest rows held in memory before they are written out. More makes fewer, larger files.
    pub memtable_bytes: u64,
    /// Bytes of journals before the oldest are written out. Bounds the time that recovery takes.
    pub journal_bytes_max: u64,
    /// Threads that write tables out and compact them.
    pub worker_threads: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cache_bytes: 16 << 20,
            // 64 MiB at 70 MB/s is one flush a second.
            memtable_bytes: 64 << 20,
            journal_bytes_max: 512 << 20,
            // Flushes and compactions share the machine with everything else; one of each at a time is enough.
            worker_threads: 2,
        }
    }
}
