//! The event log on disk, over fjall.

mod append;
mod arrivals;
mod floor;
mod folder;
mod heads;
mod history;
mod journal;
mod past;
mod read;
mod series;
mod summary;
mod sync;
mod trim;
mod verify;

use crate::{
    Append, Config, EventLog, LastArrival, Page, PartitionStats, SeriesPage, SeriesStart, StoreError,
    StoredBatch, Trimmed, Verified, tables,
};
use append::State;
use bytes::Bytes;
use fjall::{
    Database, Keyspace, KeyspaceCreateOptions,
    config::{BlockSizePolicy, CompressionPolicy, FilterPolicy},
};
use folder::Folder;
use mainstem_model::{
    BatchKey, Cursor, Equivocation, HeadsDigest, HeadsSummary, ReadFilter, ReadStart, SeriesHead, SeriesKey,
    SeriesRange, StreamPartition,
};
use std::{
    error::Error,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Mutex, OnceLock, atomic::AtomicU64},
};
use sync::Syncer;

/// A store in a folder. One process at a time.
///
/// Three locks: `state` for the whole of a write, which makes writes one at a time; `syncer` for the whole of an fsync;
/// `trimming` for the whole of a trim, which takes `state` last. An fsync holds up no write.
pub struct DiskLog {
    tables: Tables,
    log_id: u64,
    /// Positions below were given in an earlier life of this store, or never. See [`floor`].
    floor: u64,
    start_rows_max: usize,
    since_rows_max: usize,
    state: Mutex<State>,
    syncer: Mutex<Syncer>,
    trimming: Mutex<()>,
    /// Number of the last write that is in the journal.
    written: AtomicU64,
    /// Set by the first failed write or fsync.
    poisoned: OnceLock<String>,
    // IMPORTANT: last, so that the folder stays locked until fjall has closed.
    folder: Folder,
}

/// fjall's handles.
struct Tables {
    batches: Keyspace,
    arrivals: Keyspace,
    history: Keyspace,
    series: Keyspace,
    heads: Keyspace,
    proofs: Keyspace,
    partitions: Keyspace,
    meta: Keyspace,
    database: Database,
}

impl DiskLog {
    /// Opens the store in `path`, or makes one in an empty or missing folder. `random` becomes the number of a new store.
    ///
    /// Before fjall touches anything its files are checked: fjall takes a damaged journal entry for the journal's end and
    /// cuts off the rest, and deletes what its own lists do not name.
    ///
    /// # Errors
    /// [`StoreError::Unopenable`] or [`StoreError::Locked`]; nothing is deleted. [`StoreError::Poisoned`] when the disk takes
    /// no write.
    pub fn open(path: &Path, config: &Config, random: u64) -> Result<Self, StoreError> {
        let folder = Folder::lock(path)?;
        let is_new = folder.is_new()?;
        if is_new {
            let tables = Tables::open(&folder, &folder.unfinished(), config)?;
            let first = tables::Group { seqno_min: tables.database.seqno(), ..Default::default() };
            tables.meta.insert(tables::GROUP, first.encode()).map_err(|error| folder.unopenable(error))?;
            tables.database.persist(fjall::PersistMode::SyncAll).map_err(|e| folder.unopenable(e))?;
            drop(tables);
            folder.finish(random)?;
        }
        let log_id = folder.check()?;
        let synced = sync::Mark::read(&folder)?;
        journal::check(&folder, synced)?;
        let tables = Tables::open(&folder, &folder.log(), config)?;
        let state = State::load(&tables).map_err(|error| folder.unopenable(error))?;
        if state.group() < synced {
            return Err(folder.unopenable(format!(
                "writes {} to {synced} were fsynced and are gone; journals (`*.jnl`) are missing or damaged",
                state.group() + 1
            )));
        }
        let syncer = Mutex::new(Syncer::open(&folder)?);
        let mut log = Self {
            tables,
            log_id,
            floor: 0,
            start_rows_max: config.start_rows_max,
            since_rows_max: config.since_rows_max,
            written: AtomicU64::new(state.group()),
            state: Mutex::new(state),
            syncer,
            trimming: Mutex::default(),
            poisoned: OnceLock::new(),
            folder,
        };
        // A store that was never open has given no number.
        if !is_new {
            log.raise_floor()?;
        }
        Ok(log)
    }

    fn check_poison(&self) -> Result<(), StoreError> {
        self.poisoned.get().map_or(Ok(()), |why| Err(StoreError::Poisoned(why.clone())))
    }

    /// fjall refused a write.
    fn refused(&self, error: fjall::Error) -> StoreError {
        if matches!(error, fjall::Error::Poisoned) {
            // It does not say why. A write or an fsync that fails is named; so what is left is its merging.
            return self.poison(
                "its background work has stopped, most likely at a damaged table file; if that happens again after a restart, \
                 move the store's folder away and let the other replicas fill an empty one",
            );
        }
        self.poison(error)
    }

    /// A failed write or fsync: from here on nothing is acknowledged.
    fn poison(&self, error: impl fmt::Display) -> StoreError {
        let why = self.poisoned.get_or_init(|| {
            let why = error.to_string();
            tracing::error!(%why, folder = %self.folder.path().display(), "the store takes no more writes");
            why
        });
        StoreError::Poisoned(why.clone())
    }
}

impl Tables {
    fn open(folder: &Folder, log: &Path, config: &Config) -> Result<Self, StoreError> {
        let open = || {
            let database = Database::builder(log)
                .cache_size(config.cache_bytes)
                .max_journaling_size(config.journal_bytes_max.max(64 << 20))
                .worker_threads(config.worker_threads.max(1))
                .max_cached_files(Some(config.open_files_max.max(16)))
                // Batches are written as they are: they are often encrypted or compressed already.
                .journal_compression(fjall::CompressionType::None)
                // Every write of ours says what it wants.
                .manual_journal_persist(true)
                .open()?;
            // Rows of a few hundred bytes: fjall's own block size and filters fit them.
            let index = || {
                KeyspaceCreateOptions::default()
                    .data_block_compression_policy(CompressionPolicy::disabled())
                    .manual_journal_persist(true)
                    .max_memtable_size(config.index_memtable_bytes)
            };
            // One row for a series or a partition, written again and again: a few megabytes are many versions of many rows.
            let small =
                || index().max_memtable_size(config.index_memtable_bytes / 8).expect_point_read_hits(false);
            let batches = || {
                index()
                    .max_memtable_size(config.memtable_bytes)
                    .data_block_size_policy(BlockSizePolicy::all(config.block_bytes))
                    // What an index names is there, and in one file only: a filter would answer yes always.
                    .filter_policy(FilterPolicy::disabled())
                    .expect_point_read_hits(true)
            };
            // Read by ranges; of other sizes, so that tables are not written out at once.
            let ranges = |quarters| {
                index()
                    .filter_policy(FilterPolicy::disabled())
                    .max_memtable_size(config.index_memtable_bytes / 4 * quarters)
            };
            Ok(Self {
                batches: database.keyspace(tables::BATCHES, batches)?,
                arrivals: database.keyspace(tables::ARRIVALS, index)?,
                history: database.keyspace(tables::HISTORY, || ranges(5))?,
                series: database.keyspace(tables::SERIES, || ranges(6))?,
                heads: database.keyspace(tables::HEADS, small)?,
                proofs: database.keyspace(tables::PROOFS, small)?,
                partitions: database.keyspace(tables::PARTITIONS, small)?,
                meta: database.keyspace(tables::META, small)?,
                database,
            })
        };
        match catch_unwind(AssertUnwindSafe(open)) {
            Ok(Ok(tables)) => Ok(tables),
            Ok(Err(fjall::Error::Locked)) => Err(StoreError::Locked { path: folder.path().to_owned() }),
            Ok(Err(error)) => Err(folder.unopenable(error)),
            // fjall asserts on what it reads here and there.
            Err(_) => Err(folder.unopenable("its files contradict each other")),
        }
    }
}

/// Runs a read of fjall, whose failure is damage to what was read unless the operating system gives another reason.
fn guarded<T>(read: impl FnOnce() -> fjall::Result<T>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(read_error(&error)),
        Err(_) => Err(StoreError::Damaged("reading it ended in a panic".into())),
    }
}

fn read_error(error: &fjall::Error) -> StoreError {
    const EIO: i32 = 5;
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(next) = cause {
        if let Some(io) = next.downcast_ref::<io::Error>()
            && let Some(code) = io.raw_os_error()
            && code != EIO
        {
            return StoreError::Read(io::Error::from_raw_os_error(code));
        }
        cause = next.source();
    }
    StoreError::Damaged(error.to_string())
}

impl fmt::Debug for DiskLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DiskLog({})", self.folder.path().display())
    }
}

impl Drop for DiskLog {
    fn drop(&mut self) {
        if let Err(error) = self.sync_journal() {
            tracing::error!(%error, "the store was closed without a last fsync");
        }
    }
}

impl EventLog for DiskLog {
    fn log_id(&self) -> u64 {
        self.log_id
    }

    fn append(&self, group: &[Append]) -> Result<Vec<u64>, StoreError> {
        self.append_group(group)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.sync_journal()
    }

    fn end(&self, at: StreamPartition) -> Result<u64, StoreError> {
        self.read_end(at)
    }

    fn series_head(&self, series: &SeriesKey) -> Result<Option<SeriesHead>, StoreError> {
        self.read_head(series)
    }

    fn batch_at(&self, series: &SeriesKey, sequence: u64) -> Result<Option<StoredBatch>, StoreError> {
        self.find_in_series(series, sequence)
    }

    fn series_range(
        &self,
        series: &SeriesKey,
        from: SeriesStart,
        until: u64,
        batches_max: usize,
        bytes_max: usize,
    ) -> Result<SeriesPage, StoreError> {
        self.read_series(series, from, until, batches_max, bytes_max)
    }

    fn digest(&self, at: StreamPartition) -> Result<HeadsDigest, StoreError> {
        self.digest_heads(at)
    }

    fn summarize(
        &self,
        range: &SeriesRange,
        heads_max: usize,
        parts: usize,
    ) -> Result<HeadsSummary, StoreError> {
        self.summarize_heads(range, heads_max, parts)
    }

    fn start(
        &self,
        at: StreamPartition,
        start: ReadStart,
        filter: &ReadFilter,
    ) -> Result<Cursor, StoreError> {
        self.find_start(at, start, filter)
    }

    fn page(
        &self,
        at: StreamPartition,
        cursor: Cursor,
        filter: &ReadFilter,
        batches_max: usize,
        bytes_max: usize,
    ) -> Result<Page, StoreError> {
        self.read_page(at, cursor, filter, batches_max, bytes_max)
    }

    fn freeze(&self, proof: &Equivocation, bytes_max: usize) -> Result<(), StoreError> {
        self.keep_proof(proof, bytes_max)
    }

    fn equivocation(&self, series: &SeriesKey) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        self.tables.proof(series)
    }

    fn trim(
        &self,
        at: StreamPartition,
        from: Option<BatchKey>,
        before: i64,
        max: usize,
    ) -> Result<Trimmed, StoreError> {
        self.trim_partition(at, from, before, max)
    }

    fn partitions(&self) -> Result<Vec<StreamPartition>, StoreError> {
        self.list_partitions()
    }

    fn partitions_after(
        &self,
        after: Option<StreamPartition>,
        max: usize,
    ) -> Result<Vec<StreamPartition>, StoreError> {
        self.list_partitions_after(after, max)
    }

    fn last(&self, at: StreamPartition) -> Result<Option<LastArrival>, StoreError> {
        self.read_last(at)
    }

    fn stats(&self, at: StreamPartition) -> Result<PartitionStats, StoreError> {
        self.partition_stats(at)
    }

    fn verify(&self, progress: &mut dyn FnMut(&Verified)) -> Result<Verified, StoreError> {
        self.verify_all(progress)
    }
}
