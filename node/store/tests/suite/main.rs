//! One suite for both logs: the store on disk and the one in memory must tell the same.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod batches;
mod reading;
mod restart;
mod writing;

use mainstem_store::{Config, DiskLog, EventLog, MemoryLog};
use std::sync::Arc;

/// A log under test, and the folder that it lives in.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) log: Arc<dyn EventLog>,
    _folder: Option<tempfile::TempDir>,
}

pub(crate) fn subjects() -> Vec<Subject> {
    let folder = tempfile::tempdir().unwrap();
    let disk = DiskLog::open(folder.path(), &Config::default(), 7).unwrap();
    vec![
        Subject { name: "memory", log: Arc::new(MemoryLog::new(7)), _folder: None },
        Subject { name: "disk", log: Arc::new(disk), _folder: Some(folder) },
    ]
}
