use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a node keeps its log, and bounds of that.
///
/// The bounds from `cache_bytes` on are those of the built-in store, scheme `disk`. What it holds in memory is at most `cache_bytes`, and for every table its newest rows: `memtable_bytes` for batches and
/// `index_memtable_bytes` and up to half more for each of three indexes; twice that for a moment while they are written out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `disk`, the built-in store, or the scheme of a storage plugin that is installed. What one keeps another does not see.
    pub scheme: String,
    /// Bytes of blocks kept in memory for reading, for all tables together. Small by default: history is read in long runs,
    /// and the page cache of the operating system holds it too.
    pub cache_bytes: u64,
    /// Bytes of the newest batches held in memory before they are written out as one table file. More makes fewer, larger
    /// files, and an idle node that holds more.
    pub memtable_bytes: u64,
    /// The same for each index: `arrivals`; a quarter more for `history`, and half as much again for `series`, as their rows are as many and
    /// as large, and all three would be written out in the same moment.
    pub index_memtable_bytes: u64,
    /// Bytes of journals before the oldest are written out. Bounds the time that opening takes: they are read twice then.
    /// At least 64 MiB, the size of one.
    pub journal_bytes_max: u64,
    /// Bytes of one block, the unit that is read and checked, in the table of batches.
    pub block_bytes: u32,
    /// Threads that write tables out and compact them.
    pub worker_threads: usize,
    /// Table files held open.
    pub open_files_max: usize,
    /// Batches looked at, from the newest back, to find where the last n events begin; those of other origins count. What
    /// lies further back is not found: the answer begins at the oldest that was.
    pub start_rows_max: usize,
    /// Batches of one series read, from the newest back, to find the first that came since some time. What lies further back
    /// is not found: the answer begins at the oldest that was.
    pub since_rows_max: usize,
    /// Bounds of a log that a storage plugin keeps.
    pub records: RecordConfig,
    /// What is set when a storage plugin starts. `disk` has none.
    pub parameters: BTreeMap<String, String>,
}

impl Config {
    /// The scheme of the built-in store.
    pub const DISK: &str = "disk";
}

impl Default for Config {
    fn default() -> Self {
        Self {
            scheme: Self::DISK.into(),
            cache_bytes: 16 << 20,
            // At 70 MB/s a file every half second. fjall halts appends for 100 ms when four of these wait to be written.
            memtable_bytes: 32 << 20,
            // A batch has some 200 bytes of rows in each: at 1,000 batches a second a file every 40 seconds. Nothing is appended while fjall
            // ends one, some six fsyncs (3.1: it holds the journal's lock, then the table's).
            index_memtable_bytes: 8 << 20,
            // A second or so of opening.
            journal_bytes_max: 256 << 20,
            // A batch of 64 KiB is a block of its own whatever stands here; small ones share. A smaller block makes the index
            // larger, a larger one makes a single small batch cost more to read.
            block_bytes: 16 << 10,
            // One writes out while the other compacts; more would take the cores from everything else. The first spins while the other
            // compacts and more is to be compacted (fjall 3.1), a tenth of what a busy broker takes; with one alone appends would wait.
            worker_threads: 2,
            open_files_max: 256,
            // A tenth of a second or so.
            start_rows_max: 100_000,
            // Full ones are 64 MiB: a second of reading at most, and minutes of a busy publisher.
            since_rows_max: 1_024,
            records: RecordConfig::default(),
            parameters: BTreeMap::new(),
        }
    }
}

/// Bounds of a [`RecordLog`](crate::RecordLog).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordConfig {
    /// Rows of the index in memory: one of about 0.5 KB for each batch that is kept, and one of 0.2 KB for each series that ever was. At
    /// the bound the log takes no more writes, as on a full disk; a store that has more is not opened.
    pub index_rows_max: usize,
}

impl Default for RecordConfig {
    fn default() -> Self {
        // Half a gigabyte at the most; a batch a second for twelve days.
        Self { index_rows_max: 1 << 20 }
    }
}

/// Bounds of the [`Writer`](crate::Writer). What waits to be appended is bounded by who submits it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WriterConfig {
    /// Batches appended as one group at most.
    pub group_batches_max: usize,
    /// Bytes appended as one group at most. Bounds how long the first of it waits for the rest.
    pub group_bytes_max: usize,
    /// Bytes appended before an fsync is made although nobody asked for one.
    pub unsynced_bytes_max: usize,
}

impl Default for WriterConfig {
    fn default() -> Self {
        Self {
            group_batches_max: 256,
            // About 5 ms of copying and hashing.
            group_bytes_max: 2 << 20,
            // fjall fsyncs a journal before it begins the next one, and holds up appends while it does: little must be left
            // to write out by then. It also bounds what a power cut takes from those who did not ask for durable.
            unsynced_bytes_max: 8 << 20,
        }
    }
}
