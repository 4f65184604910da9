//! fsync of the journal, past fjall: its own `persist` holds the lock that every write needs for as long as the disk takes.
//!
//! Only the newest journal can have anything unsynced: fjall fsyncs one before it begins the next, under the lock of writes.
//! After each fsync the number of the last write that it covers goes into the file `synced`, without an fsync of its own: two
//! slots of number 8 and XXH3-64 8, written in turn. So what was durable is known apart from the journal itself, and a
//! journal that has lost its tail is told from one that was cut short by a power failure.

use super::{DiskLog, folder::Folder, journal};
use crate::StoreError;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{PoisonError, atomic::Ordering},
};
use xxhash_rust::xxh3::xxh3_64;

const SLOT: usize = 16;

/// The file `synced`.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    slot: u64,
}

impl Mark {
    pub(super) fn create(log: &Path) -> io::Result<()> {
        fs::write(log.join("synced"), [slot(0), slot(0)].concat())
    }

    /// The last write known to be fsynced.
    pub(super) fn read(folder: &Folder) -> Result<u64, StoreError> {
        let bytes = fs::read(folder.log().join("synced"))
            .map_err(|error| folder.unopenable(format!("log/synced: {error}")))?;
        let (slots, _) = bytes.as_chunks::<SLOT>();
        let read = |bytes: &[u8; SLOT]| {
            let group = u64::from_be_bytes(*bytes.first_chunk()?);
            (slot(group) == *bytes).then_some(group)
        };
        slots.iter().filter_map(read).max().ok_or_else(|| folder.unopenable("log/synced is damaged"))
    }

    fn write(&mut self, group: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.slot * SLOT as u64))?;
        self.file.write_all(&slot(group))?;
        self.slot = 1 - self.slot;
        Ok(())
    }
}

fn slot(group: u64) -> [u8; SLOT] {
    let number = group.to_be_bytes();
    let mut out = [0; SLOT];
    out[..8].copy_from_slice(&number);
    out[8..].copy_from_slice(&xxh3_64(&number).to_be_bytes());
    out
}

/// What an fsync needs.
#[derive(Debug)]
pub(super) struct Syncer {
    log: PathBuf,
    /// The newest journal as of the last fsync.
    journal: Option<(u64, File)>,
    mark: Mark,
    synced: u64,
}

impl Syncer {
    pub(super) fn open(folder: &Folder) -> Result<Self, StoreError> {
        let open = || OpenOptions::new().write(true).open(folder.log().join("synced"));
        let file = open().map_err(|error| folder.unopenable(format!("log/synced: {error}")))?;
        Ok(Self { log: folder.log(), journal: None, mark: Mark { file, slot: 0 }, synced: 0 })
    }

    fn sync(&mut self) -> io::Result<()> {
        loop {
            let newest = journal::list(&self.log)?.pop();
            let (id, path) = newest.ok_or_else(|| io::Error::other("the journal is gone"))?;
            match &self.journal {
                Some((open, file)) if *open == id => return file.sync_data(),
                // IMPORTANT: the one before was fsynced by fjall, or this one would not be here.
                _ => match OpenOptions::new().append(true).open(path) {
                    Ok(file) => self.journal = Some((id, file)),
                    // Written out and removed in this moment; there is a newer one.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                },
            }
        }
    }
}

impl DiskLog {
    pub(super) fn sync_journal(&self) -> Result<(), StoreError> {
        let mut syncer = self.syncer.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_poison()?;
        // IMPORTANT: read before the fsync, which covers at least this.
        let written = self.written.load(Ordering::Acquire);
        if written == syncer.synced {
            return Ok(());
        }
        syncer.sync().map_err(|error| self.poison(error))?;
        // A failure that fjall saw first, when it wrote out a table or began the next journal.
        let mode = fjall::PersistMode::Buffer;
        self.tables.database.persist(mode).map_err(|error| self.refused(error))?;
        syncer.synced = written;
        // Without it damage would go unnoticed; what was asked for holds nevertheless.
        if let Err(error) = syncer.mark.write(written) {
            tracing::warn!(%error, "how much of the journal is durable could not be noted");
        }
        Ok(())
    }
}
