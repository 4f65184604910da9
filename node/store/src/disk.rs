//! The event log on disk, over fjall.

mod append;
mod read;
mod trim;

use crate::{
    Append, Config, EventLog, Page, PartitionStats, StoreError, StoredBatch, Trimmed, Verified, tables,
};
use bytes::Bytes;
use fjall::{
    Database, Keyspace, KeyspaceCreateOptions,
    config::{BlockSizePolicy, CompressionPolicy},
};
use mainstem_model::{Cursor, Equivocation, ReadFilter, ReadStart, SeriesHead, SeriesKey, StreamPartition};
use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock},
};

const FORMAT: u8 = 1;
const META_LOG: &[u8] = b"log";
const META_FORMAT: &[u8] = b"format";

/// A store in a folder. One process at a time.
pub struct DiskLog {
    database: Database,
    path: PathBuf,
    log_id: u64,
    batches: Keyspace,
    times: Keyspace,
    series: Keyspace,
    heads: Keyspace,
    proofs: Keyspace,
    partitions: Keyspace,
    /// Next positions, as far as they were asked for; locked for the whole of an append, which makes appends one at a time.
    ends: Mutex<HashMap<StreamPartition, u64>>,
    /// Set by the first failed write or fsync.
    poisoned: OnceLock<String>,
}

impl DiskLog {
    /// Opens the store in `path`, or makes one in an empty or missing folder. `random` becomes the number of a new store.
    ///
    /// # Errors
    /// [`StoreError::Unopenable`] or [`StoreError::Locked`]; whatever is there stays as it is.
    pub fn open(path: &Path, config: &Config, random: u64) -> Result<Self, StoreError> {
        let unopenable = |why: String| StoreError::Unopenable { path: path.to_owned(), why };
        let failed = |error: fjall::Error| match error {
            fjall::Error::Locked => StoreError::Locked { path: path.to_owned() },
            other => unopenable(other.to_string()),
        };
        let existed = path.read_dir().is_ok_and(|mut entries| entries.next().is_some());
        let database = Database::builder(path)
            .cache_size(config.cache_bytes)
            .max_journaling_size(config.journal_bytes_max)
            .worker_threads(config.worker_threads)
            // Batches are written as they are: they are often encrypted or compressed already.
            .journal_compression(fjall::CompressionType::None)
            // Every append flushes to the operating system itself.
            .manual_journal_persist(true)
            .open()
            .map_err(failed)?;
        let small = || {
            KeyspaceCreateOptions::default()
                .data_block_compression_policy(CompressionPolicy::disabled())
                .manual_journal_persist(true)
                .max_memtable_size(config.memtable_bytes / 4)
        };
        let meta = database.keyspace("meta", small).map_err(failed)?;
        let log_id = match (meta.get(META_LOG).map_err(failed)?, meta.get(META_FORMAT).map_err(failed)?) {
            (Some(log), Some(format)) => {
                if *format != [FORMAT] {
                    return Err(unopenable(format!("its format is {format:?}, this version reads {FORMAT}")));
                }
                u64::from_be_bytes(
                    log[..].try_into().map_err(|_| unopenable("its number is damaged".into()))?,
                )
            }
            // IMPORTANT: a store without its number is damaged, not new; nothing is made over data that is there.
            _ if existed && database.keyspace_exists("batches") => {
                return Err(unopenable("the table `meta` has lost its rows".into()));
            }
            _ => {
                meta.insert(META_FORMAT, [FORMAT]).map_err(failed)?;
                meta.insert(META_LOG, random.to_be_bytes()).map_err(failed)?;
                database.persist(fjall::PersistMode::SyncAll).map_err(failed)?;
                random
            }
        };
        let large = || {
            small()
                .max_memtable_size(config.memtable_bytes)
                // A row is a batch of up to 64 KiB; blocks hold one or many small ones.
                .data_block_size_policy(BlockSizePolicy::all(16 << 10))
        };
        Ok(Self {
            batches: database.keyspace("batches", large).map_err(failed)?,
            times: database.keyspace("times", small).map_err(failed)?,
            series: database.keyspace("series", small).map_err(failed)?,
            heads: database.keyspace("heads", small).map_err(failed)?,
            proofs: database.keyspace("proofs", small).map_err(failed)?,
            partitions: database.keyspace("partitions", small).map_err(failed)?,
            database,
            path: path.to_owned(),
            log_id,
            ends: Mutex::default(),
            poisoned: OnceLock::new(),
        })
    }

    fn check_poison(&self) -> Result<(), StoreError> {
        self.poisoned.get().map_or(Ok(()), |why| Err(StoreError::Poisoned(why.clone())))
    }

    /// A failed write or fsync: from here on nothing is acknowledged.
    fn poison(&self, error: &fjall::Error) -> StoreError {
        StoreError::Poisoned(self.poisoned.get_or_init(|| error.to_string()).clone())
    }

    /// Arrival number of a partition's next batch.
    fn end(&self, at: StreamPartition) -> Result<u64, StoreError> {
        let key = tables::partition_key(at);
        match self.partitions.get(key).map_err(damaged)? {
            Some(row) => tables::decode_number(&key, &row),
            None => Ok(0),
        }
    }
}

fn damaged(error: fjall::Error) -> StoreError {
    StoreError::Damaged(error.to_string())
}

impl fmt::Debug for DiskLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DiskLog({})", self.path.display())
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
        self.check_poison()?;
        self.database.persist(fjall::PersistMode::SyncData).map_err(|error| self.poison(&error))
    }

    fn series_head(&self, series: &SeriesKey) -> Result<Option<SeriesHead>, StoreError> {
        let key = tables::head_key(series);
        self.heads.get(&key).map_err(damaged)?.map(|row| tables::decode_head(&key, &row)).transpose()
    }

    fn batch_at(&self, series: &SeriesKey, sequence: u64) -> Result<Option<StoredBatch>, StoreError> {
        self.find_in_series(series, sequence)
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

    fn freeze(&self, proof: &Equivocation) -> Result<(), StoreError> {
        self.keep_proof(proof)
    }

    fn equivocations(&self, at: StreamPartition) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.read_proofs(at)
    }

    fn trim(&self, at: StreamPartition, before: i64, max: usize) -> Result<Trimmed, StoreError> {
        self.trim_partition(at, before, max)
    }

    fn partitions(&self) -> Result<Vec<StreamPartition>, StoreError> {
        self.list_partitions()
    }

    fn stats(&self, at: StreamPartition) -> Result<PartitionStats, StoreError> {
        self.partition_stats(at)
    }

    fn verify(&self, progress: &mut dyn FnMut(&Verified)) -> Result<Verified, StoreError> {
        self.verify_all(progress)
    }
}
