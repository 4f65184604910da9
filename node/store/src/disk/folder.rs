//! The store's folder: who may open it, and whether fjall may be let at what is in it.
//!
//! ```text
//! lock         locked while the store is open
//! new/         a store in the making; holds no batch, so it is made again if that was interrupted
//! log/         fjall's folder, with two files of ours:
//!   manifest   `mainstem-store 3 <number of the log> <checksum>`
//!   synced     how much of the journal was fsynced, see [`super::sync`]
//! quarantine/  what was cut off a journal when the power failed
//! ```

use crate::{StoreError, tables};
use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// What the manifest begins with. The number goes up whenever a row or a file changes its form.
const FORMAT: &str = "mainstem-store 3";

/// A locked store folder.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    pub(super) fn lock(path: &Path) -> Result<Self, StoreError> {
        let lock = || {
            fs::create_dir_all(path)?;
            OpenOptions::new().create(true).truncate(false).write(true).open(path.join("lock"))
        };
        let lock = lock().map_err(|error| unopenable(path, error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => Err(unopenable(path, error)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    pub(super) fn unfinished(&self) -> PathBuf {
        self.path.join("new")
    }

    pub(super) fn quarantine(&self) -> PathBuf {
        self.path.join("quarantine")
    }

    pub(super) fn unopenable(&self, why: impl fmt::Display) -> StoreError {
        unopenable(&self.path, why)
    }

    /// Whether there never was a store here. The beginnings of one are cleared away.
    pub(super) fn is_new(&self) -> Result<bool, StoreError> {
        if self.log().exists() {
            return Ok(false);
        }
        let names = || -> io::Result<Vec<_>> {
            fs::read_dir(&self.path)?.map(|entry| entry.map(|e| e.file_name())).collect()
        };
        let names = names().map_err(|error| self.unopenable(error))?;
        // IMPORTANT: a folder that has lost its `log` is damaged, not new.
        if let Some(name) = names.iter().find(|name| *name != "lock" && *name != "new") {
            return Err(self.unopenable(format!("there is no `log` in it, but there is {}", name.display())));
        }
        if names.iter().any(|name| name == "new") {
            // No batch was ever taken by it: it was not opened yet.
            fs::remove_dir_all(self.unfinished()).map_err(|error| self.unopenable(error))?;
        }
        Ok(true)
    }

    /// Makes the store in `new` the store.
    pub(super) fn finish(&self, log_id: u64) -> Result<(), StoreError> {
        let finish = || {
            let new = self.unfinished();
            let text = format!("{FORMAT} {log_id:016x}");
            fs::write(new.join("manifest"), format!("{text} {:016x}\n", xxh3_64(text.as_bytes())))?;
            super::sync::Mark::create(&new)?;
            for file in ["manifest", "synced"] {
                File::open(new.join(file))?.sync_all()?;
            }
            File::open(&new)?.sync_all()?;
            fs::rename(&new, self.log())?;
            File::open(&self.path)?.sync_all()
        };
        finish().map_err(|error| self.unopenable(error))
    }

    /// Checks that what fjall is to open is all there, and gives the number of the log.
    pub(super) fn check(&self) -> Result<u64, StoreError> {
        let log = self.log();
        let log_id = self.read_manifest()?;
        if !log.join("version").is_file() {
            return Err(self.unopenable("log/version is missing"));
        }
        // fjall numbers its own table 0.
        for table in 0..=tables::TABLES {
            let folder = log.join("keyspaces").join(table.to_string());
            check_version(&folder)
                .and_then(|()| check_contents(&folder.join("tables")))
                .map_err(|why| self.unopenable(format!("log/keyspaces/{table}: {why}")))?;
        }
        Ok(log_id)
    }

    fn read_manifest(&self) -> Result<u64, StoreError> {
        let text = fs::read_to_string(self.log().join("manifest"))
            .map_err(|error| self.unopenable(format!("log/manifest: {error}")))?;
        let read = || {
            let (text, sum) = text.strip_suffix('\n')?.rsplit_once(' ')?;
            let sum = u64::from_str_radix(sum, 16).ok()?;
            let (name, log_id) = text.rsplit_once(' ')?;
            let log_id = u64::from_str_radix(log_id, 16).ok()?;
            (sum == xxh3_64(text.as_bytes())).then_some((name.to_owned(), log_id))
        };
        match read() {
            Some((name, log_id)) if name == FORMAT => Ok(log_id),
            Some((name, _)) => Err(self.unopenable(format!(
                "log/manifest says {name:?}, this version reads {FORMAT:?}; open it with the version that wrote it"
            ))),
            None => Err(self.unopenable("log/manifest is damaged")),
        }
    }
}

/// Whether a table's `current` names a list of files, and that list is as it was written. fjall takes both on trust, and
/// deletes table files that the list does not name.
fn check_version(folder: &Path) -> Result<(), String> {
    let current = fs::read(folder.join("current")).map_err(|error| format!("current: {error}"))?;
    let read = || {
        let (version, rest) = current.split_first_chunk::<8>()?;
        let (sum, rest) = rest.split_first_chunk::<16>()?;
        (rest == [0]).then_some((u64::from_le_bytes(*version), u128::from_le_bytes(*sum)))
    };
    let (version, sum) = read().ok_or("current is damaged")?;
    let name = format!("v{version}");
    let list = fs::read(folder.join(&name)).map_err(|error| format!("{name}: {error}"))?;
    if xxh3_128(&list) == sum { Ok(()) } else { Err(format!("{name} or current is damaged")) }
}

/// Bytes behind the table of contents of a table file: `SFA!`, version, kind of checksum, checksum 16, place of the table of
/// contents u64 (little-endian), its length u64.
const TRAILER: u64 = 38;
/// Least bytes of an entry in it: place, length, length of the name.
const ENTRY: u64 = 18;

/// Whether every table file's table of contents can have as many entries as it says. fjall makes room for them before it
/// checks anything, and the process would end. Everything else in these files it checks itself; files that were not
/// finished when the power failed it throws away, so what is no table of contents is not looked at here.
fn check_contents(tables: &Path) -> Result<(), String> {
    let entries = match fs::read_dir(tables) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("tables: {error}")),
    };
    for entry in entries {
        let path = entry.map_err(|error| format!("tables: {error}"))?.path();
        let name = path.file_name().unwrap_or_default().display().to_string();
        let (count, room) = match contents(&path) {
            Ok(Some(contents)) => contents,
            Ok(None) => continue,
            Err(error) => return Err(format!("tables/{name}: {error}")),
        };
        if count.saturating_mul(ENTRY) > room {
            return Err(format!(
                "tables/{name} is damaged: its table of contents cannot have {count} entries"
            ));
        }
    }
    Ok(())
}

/// How many entries a table file's table of contents says it has, and the bytes that there are for them.
fn contents(path: &Path) -> io::Result<Option<(u64, u64)>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let Some(end) = length.checked_sub(TRAILER) else { return Ok(None) };
    let (mut trailer, mut head) = ([0; TRAILER as usize], [0; 8]);
    file.seek(SeekFrom::Start(end))?;
    file.read_exact(&mut trailer)?;
    let [.., p0, p1, p2, p3, p4, p5, p6, p7, _, _, _, _, _, _, _, _] = trailer;
    let at = u64::from_le_bytes([p0, p1, p2, p3, p4, p5, p6, p7]);
    let Some(room) = end.checked_sub(at).and_then(|bytes| bytes.checked_sub(8)) else { return Ok(None) };
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut head)?;
    let [b'T', b'O', b'C', b'!', count @ ..] = head else { return Ok(None) };
    Ok(Some((u32::from_le_bytes(count).into(), room)))
}

fn unopenable(path: &Path, why: impl fmt::Display) -> StoreError {
    StoreError::Unopenable { path: path.to_owned(), why: why.to_string() }
}
