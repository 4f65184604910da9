//! The event log: what was signed, in the order it arrived, found again by time, by series and by cursor.
//!
//! What it is: one port, [`EventLog`], with two implementations: [`DiskLog`] over fjall, and [`RecordLog`] over whatever keeps
//! records, a [`RecordStore`](mainstem_model::RecordStore), such as memory or a storage plugin; one test suite for all; and the
//! [`Writer`], which commits in groups on its own threads.
//! What it is not: it judges no batch. What it is given is proven, and it hands it out as signed.

mod config;
mod disk;
mod error;
mod log;
mod memory;
mod proofs;
mod record;
mod record_log;
mod summary;
mod tables;
mod writer;

pub use config::{Config, RecordConfig, WriterConfig};
pub use disk::DiskLog;
pub use error::StoreError;
pub use log::{
    Append, DamagedRange, EventLog, LastArrival, NO_POSITION, Page, PartitionStats, SeriesPage, SeriesStart,
    StoredBatch, Trimmed, Verified,
};
pub use memory::{MemoryLog, MemoryRecords};
pub use record_log::RecordLog;
pub use writer::{Completion, Write, Writer};
