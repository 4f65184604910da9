//! One suite for all logs: the store on disk, the one in memory and those over records, of storage plugins too, must tell the same. And
//! what only a disk can do to one: restarts, kills, flipped bits, no more room. The plugins are those that `tools/plugins.sh` builds.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on should say where, and how to go there again"
)]

mod batches;
mod buckets;
mod comparing;
mod crash;
mod damage;
mod filling;
mod full_disk;
mod plugins;
mod reading;
mod records;
mod restart;
mod series;
mod writing;

use mainstem_model::RecordStore;
use mainstem_store::{Config, DiskLog, EventLog, MemoryLog, RecordConfig, RecordLog};
use proptest::{
    strategy::Strategy,
    test_runner::{TestCaseResult, TestRunner},
};
use records::Tape;
use std::{path::Path, sync::Arc};
use tempfile::TempDir;

/// A log under test, and what outlives it.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) log: Arc<dyn EventLog>,
    home: Home,
}

enum Home {
    Nothing,
    Folder(Folder),
    Records(Arc<dyn RecordStore>),
    Segments(TempDir),
    /// Objects with this prefix.
    Bucket(String),
}

impl Subject {
    pub(crate) fn memory() -> Self {
        Self { name: "memory", log: Arc::new(MemoryLog::new(7)), home: Home::Nothing }
    }

    pub(crate) fn disk() -> Self {
        Folder(tempfile::tempdir().unwrap()).open()
    }

    /// A log over the plugin `segments` whose files are in `folder`.
    pub(crate) fn segments(folder: TempDir) -> Self {
        let Self { name, log, .. } = Self::over("segments", Arc::new(plugins::segments(folder.path())));
        Self { name, log, home: Home::Segments(folder) }
    }

    /// A log over the plugin `s3` whose objects have names with a prefix.
    pub(crate) fn s3(prefix: String) -> Self {
        let Self { name, log, .. } = Self::over("s3", Arc::new(plugins::s3(&prefix)));
        Self { name, log, home: Home::Bucket(prefix) }
    }

    pub(crate) fn over(name: &'static str, records: Arc<dyn RecordStore>) -> Self {
        let log = RecordLog::open(Arc::clone(&records), &RecordConfig::default(), 7, "records").unwrap();
        Self { name, log: Arc::new(log), home: Home::Records(records) }
    }

    /// Whether anything outlives the log.
    pub(crate) const fn has_home(&self) -> bool {
        !matches!(self.home, Home::Nothing)
    }

    pub(crate) fn reopen(self) -> Self {
        let Self { name, log, home } = self;
        match home {
            Home::Nothing => Self { name, log, home },
            Home::Folder(folder) => {
                drop(log);
                folder.open()
            }
            Home::Records(records) => {
                drop(log);
                Self::over(name, records)
            }
            Home::Segments(folder) => {
                drop(log);
                Self::segments(folder)
            }
            Home::Bucket(prefix) => {
                drop(log);
                Self::s3(prefix)
            }
        }
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
        Subject { name: "disk", log: Arc::new(log), home: Home::Folder(self) }
    }
}

/// Memory so small that a few batches are written out to table files.
pub(crate) fn tiny() -> Config {
    Config { memtable_bytes: 64 << 10, index_memtable_bytes: 8 << 10, ..Config::default() }
}

/// All logs, new: their positions begin at 0.
pub(crate) fn subjects() -> Vec<Subject> {
    let mut subjects = vec![
        Subject::memory(),
        Subject::disk(),
        Subject::over("records", Arc::new(Tape::default())),
        Subject::over("memory plugin", Arc::new(plugins::memory())),
        Subject::segments(tempfile::tempdir().unwrap()),
    ];
    // Of a server that speaks S3 there is one if `tools/s3.sh` runs the suite.
    subjects.extend(plugins::s3_server().map(|_| Subject::s3(plugins::s3_prefix())));
    subjects
}

/// One case of so many is run beside a server that speaks S3: it takes some ms for each request, and there are thousands. All of them run without.
const CASES_BY_S3: u32 = 8;

/// Runs a property; a failure prints the case, shrunk, and `PROPTEST_RNG_SEED` replays a run.
pub(crate) fn check<S: Strategy>(cases: u32, strategy: S, mut test: impl FnMut(S::Value) -> TestCaseResult) {
    let cases = if plugins::s3_server().is_some() { cases.div_ceil(CASES_BY_S3) } else { cases };
    let test = std::cell::RefCell::new(&mut test);
    let config = proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() };
    println!("PROPTEST_RNG_SEED={:?}", config.rng_seed);
    if let Err(error) = TestRunner::new(config).run(&strategy, |case| (test.borrow_mut())(case)) {
        panic!("{error}");
    }
}
