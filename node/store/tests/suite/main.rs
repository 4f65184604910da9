//! One suite for both logs: the store on disk and the one in memory must tell the same. And what only a disk can do to one:
//! restarts, kills, flipped bits, no more room.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on should say where, and how to go there again"
)]

mod batches;
mod comparing;
mod crash;
mod damage;
mod filling;
mod full_disk;
mod reading;
mod restart;
mod series;
mod writing;

use mainstem_store::{Config, DiskLog, EventLog, MemoryLog};
use proptest::{
    strategy::Strategy,
    test_runner::{TestCaseResult, TestRunner},
};
use std::{path::Path, sync::Arc};
use tempfile::TempDir;

/// A log under test, and the folder that it lives in.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) log: Arc<dyn EventLog>,
    folder: Option<Folder>,
}

impl Subject {
    pub(crate) fn memory() -> Self {
        Self { name: "memory", log: Arc::new(MemoryLog::new(7)), folder: None }
    }

    pub(crate) fn close(self) -> Folder {
        drop(self.log);
        self.folder.unwrap()
    }

    pub(crate) fn reopen(self) -> Self {
        self.close().open()
    }
}

/// A store that is closed.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn filled_by(fill: impl FnOnce(&DiskLog)) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        fill(&DiskLog::open(folder.path(), &tiny(), 7).unwrap());
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn open(self) -> Subject {
        let log = DiskLog::open(self.path(), &tiny(), 7).unwrap();
        Subject { name: "disk", log: Arc::new(log), folder: Some(self) }
    }
}

/// Memory so small that a few batches are written out to table files.
pub(crate) fn tiny() -> Config {
    Config { memtable_bytes: 64 << 10, index_memtable_bytes: 8 << 10, ..Config::default() }
}

/// Both logs, new: their positions begin at 0.
pub(crate) fn subjects() -> Vec<Subject> {
    vec![Subject::memory(), Folder(tempfile::tempdir().unwrap()).open()]
}

/// Runs a property; a failure prints the case, shrunk, and `PROPTEST_RNG_SEED` replays a run.
pub(crate) fn check<S: Strategy>(cases: u32, strategy: S, mut test: impl FnMut(S::Value) -> TestCaseResult) {
    let test = std::cell::RefCell::new(&mut test);
    let config = proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() };
    println!("PROPTEST_RNG_SEED={:?}", config.rng_seed);
    if let Err(error) = TestRunner::new(config).run(&strategy, |case| (test.borrow_mut())(case)) {
        panic!("{error}");
    }
}
