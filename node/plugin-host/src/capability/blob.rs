//! Files of a plugin's own folder.

use super::{Answer, Meter, Stop};
use crate::Config;
use mainstem_plugin_abi::{
    limits::{BLOB_NAME_BYTES_MAX, BLOB_NAMES_MAX, BLOB_READ_BYTES_MAX},
    plugin_capnp::{FailureCode, blob_request},
};
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    ops::Bound,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Bytes that are read or written for one fuel, beside that of the call.
const BYTES_PER_FUEL: u64 = 8;

/// Locked as long as the folder is in use. No plugin can name it, as names begin with a letter or a digit.
const LOCK: &str = ".lock";

/// Where a file is written that is put whole.
const PUT: &str = ".put";

/// The folder of a plugin. It is opened when it is first used.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    bytes_max: u64,
    files_max: usize,
    open: Mutex<Option<Open>>,
}

/// What is in the folder. Nobody else changes it.
#[derive(Debug)]
struct Open {
    /// Bytes of each file.
    sizes: BTreeMap<String, u64>,
    /// Of all of them.
    bytes: u64,
    /// The folder, to make its names outlive the power.
    folder: File,
    /// Names came or went since that was done.
    unsynced_names: bool,
    /// After the first failed fsync nothing that was written can be relied on.
    broken: Option<String>,
    _lock: File,
}

/// Does what a request for a file asks for.
pub(super) fn blob(
    files: Option<&Files>,
    request: blob_request::Reader<'_>,
    meter: &mut Meter,
) -> Result<Answer, Stop> {
    let files = files.ok_or_else(|| {
        Stop::Failed(FailureCode::Unsupported, "this node has no folder for this plugin's files".into())
    })?;
    let name = request.get_name()?.to_str().unwrap_or("\u{fffd}");
    let which = request.which().map_err(|error| {
        Stop::Failed(FailureCode::Unsupported, format!("this node knows no request for a file {}", error.0))
    })?;
    match which {
        blob_request::List(count) => {
            if count > BLOB_NAMES_MAX {
                return Err(Stop::limit(count, "names", BLOB_NAMES_MAX));
            }
            meter.charge(count.into())?;
            files.list(name, count as usize)
        }
        blob_request::Size(()) => files.size(check_name(name)?),
        blob_request::Append(bytes) => {
            let (name, bytes) = (check_name(name)?, bytes?);
            meter.charge(bytes.len() as u64 / BYTES_PER_FUEL)?;
            meter.wait(|| files.append(name, bytes))
        }
        blob_request::Read(range) => {
            let (name, range) = (check_name(name)?, range?);
            let length = range.get_length();
            if length > BLOB_READ_BYTES_MAX {
                return Err(Stop::limit(length, "bytes", BLOB_READ_BYTES_MAX));
            }
            meter.charge(u64::from(length) / BYTES_PER_FUEL)?;
            meter.wait(|| files.read(name, range.get_offset(), length as usize))
        }
        blob_request::Put(bytes) => {
            let (name, bytes) = (check_name(name)?, bytes?);
            meter.charge(bytes.len() as u64 / BYTES_PER_FUEL)?;
            meter.wait(|| files.put(name, bytes))
        }
        blob_request::Sync(()) => {
            let name = check_name(name)?;
            meter.wait(|| files.sync(name))
        }
        blob_request::Cut(size) => {
            let name = check_name(name)?;
            meter.wait(|| files.cut(name, size))
        }
        blob_request::Delete(()) => {
            let name = check_name(name)?;
            meter.wait(|| files.delete(name))
        }
    }
}

/// IMPORTANT: what passes is one component of a path that leads nowhere else, and is none of the node's own names.
fn check_name(name: &str) -> Result<&str, Stop> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    let begins = name.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit());
    if begins && name.len() <= BLOB_NAME_BYTES_MAX && name.bytes().all(fits) {
        return Ok(name);
    }
    let shown: String = name.chars().take(BLOB_NAME_BYTES_MAX).collect();
    Err(Stop::Failed(
        FailureCode::Invalid,
        format!(
            "{shown:?} is no name of a file: take 1 to {BLOB_NAME_BYTES_MAX} of a-z 0-9 . - and _, a letter or digit first"
        ),
    ))
}

impl Files {
    pub(super) fn new(folder: PathBuf, config: &Config) -> Self {
        let (bytes_max, files_max) = (config.blob_bytes_max, config.blob_files_max);
        Self { folder, bytes_max, files_max, open: Mutex::new(None) }
    }

    fn open(&self) -> Result<MappedMutexGuard<'_, Open>, Stop> {
        let mut open = self.open.lock();
        if open.is_none() {
            let opened = Open::at(&self.folder).map_err(|error| self.unusable(&error.to_string()))?;
            *open = Some(opened);
        }
        MutexGuard::try_map(open, Option::as_mut).map_err(|_| self.unusable("it is not open"))
    }

    /// The same, for what changes something.
    fn open_to_write(&self) -> Result<MappedMutexGuard<'_, Open>, Stop> {
        let open = self.open()?;
        match &open.broken {
            None => Ok(open),
            Some(why) => Err(Stop::Failed(
                FailureCode::Internal,
                format!(
                    "files take no more writes after a failed one, {why}: check the disk and start the node again"
                ),
            )),
        }
    }

    fn unusable(&self, why: &str) -> Stop {
        let folder = self.folder.display();
        tracing::error!(%folder, why, "the files of a plugin cannot be used");
        Stop::Failed(FailureCode::Unavailable, format!("the folder {folder} cannot be used: {why}"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn list(&self, after: &str, count: usize) -> Result<Answer, Stop> {
        let open = self.open()?;
        let names = open.sizes.range::<str, _>((Bound::Excluded(after), Bound::Unbounded)).take(count);
        Ok(Answer::Names(names.map(|(name, size)| (name.clone(), *size)).collect()))
    }

    fn size(&self, name: &str) -> Result<Answer, Stop> {
        Ok(Answer::Size(self.open()?.sizes.get(name).copied().unwrap_or(0)))
    }

    fn read(&self, name: &str, offset: u64, length: usize) -> Result<Answer, Stop> {
        let open = self.open()?;
        let there = open.sizes.get(name).map_or(0, |size| size.saturating_sub(offset));
        let mut bytes = vec![0; length.min(usize::try_from(there).unwrap_or(usize::MAX))];
        if !bytes.is_empty() {
            let read = options().read(true).open(self.path(name));
            read.and_then(|file| file.read_exact_at(&mut bytes, offset))
                .map_err(|error| failed("read", name, &error))?;
        }
        Ok(Answer::Bytes(bytes))
    }

    fn append(&self, name: &str, bytes: &[u8]) -> Result<Answer, Stop> {
        let mut open = self.open_to_write()?;
        let size = open.sizes.get(name).copied();
        self.check_room(&open, size, size.unwrap_or(0) + bytes.len() as u64)?;
        let path = self.path(name);
        let file = options().append(true).create(true).open(&path);
        let file = file.map_err(|error| failed("written", name, &error))?;
        open.unsynced_names |= size.is_none();
        let size = size.unwrap_or(0);
        open.set_size(name, size);
        if let Err(error) = (&file).write_all(bytes) {
            // What was written of it must not stay in the way of what comes next.
            if let Err(error) = file.set_len(size) {
                open.break_off(name, &error);
            }
            return Err(failed("written", name, &error));
        }
        open.set_size(name, size + bytes.len() as u64);
        Ok(Answer::Size(size + bytes.len() as u64))
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<Answer, Stop> {
        let mut open = self.open_to_write()?;
        self.check_room(&open, open.sizes.get(name).copied(), bytes.len() as u64)?;
        let (new, path) = (self.path(PUT), self.path(name));
        let file = options().write(true).create(true).truncate(true).open(&new);
        let written = file.and_then(|mut file| file.write_all(bytes).map(|()| file));
        let file = written.map_err(|error| failed("written", name, &error))?;
        if let Err(error) = file.sync_all() {
            open.break_off(name, &error);
            return Err(failed("synced", name, &error));
        }
        fs::rename(&new, &path).map_err(|error| failed("written", name, &error))?;
        open.set_size(name, bytes.len() as u64);
        open.unsynced_names = true;
        open.sync_names(name)?;
        Ok(Answer::Done)
    }

    fn sync(&self, name: &str) -> Result<Answer, Stop> {
        let mut open = self.open_to_write()?;
        if open.sizes.contains_key(name) {
            let file = options().write(true).open(self.path(name));
            if let Err(error) = file.and_then(|file| file.sync_all()) {
                open.break_off(name, &error);
                return Err(failed("synced", name, &error));
            }
        }
        open.sync_names(name)?;
        Ok(Answer::Done)
    }

    fn cut(&self, name: &str, size: u64) -> Result<Answer, Stop> {
        let mut open = self.open_to_write()?;
        if open.sizes.get(name).is_some_and(|before| *before > size) {
            let file = options().write(true).open(self.path(name));
            file.and_then(|file| file.set_len(size)).map_err(|error| failed("cut", name, &error))?;
            open.set_size(name, size);
        }
        Ok(Answer::Done)
    }

    fn delete(&self, name: &str) -> Result<Answer, Stop> {
        let mut open = self.open_to_write()?;
        if open.sizes.contains_key(name) {
            fs::remove_file(self.path(name)).map_err(|error| failed("deleted", name, &error))?;
            open.forget(name);
        }
        Ok(Answer::Done)
    }

    /// Whether a file of so many bytes fits where one of `before` is.
    fn check_room(&self, open: &Open, before: Option<u64>, size: u64) -> Result<(), Stop> {
        let limit = |fault| Err(Stop::Failed(FailureCode::Limit, fault));
        if before.is_none() && open.sizes.len() >= self.files_max {
            return limit(format!(
                "there are {} files, as many as plugins.blob_files_max allows: raise that, or delete some",
                self.files_max
            ));
        }
        let bytes = (open.bytes - before.unwrap_or(0)).saturating_add(size);
        if bytes > self.bytes_max {
            return limit(format!(
                "all files would have {bytes} bytes, more than plugins.blob_bytes_max, {}: raise that, or delete some",
                self.bytes_max
            ));
        }
        Ok(())
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let lock = options().write(true).create(true).truncate(false).open(path.join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => {
                io::Error::other("it is open in another process; stop that one first")
            }
            fs::TryLockError::Error(error) => error,
        })?;
        let mut sizes = BTreeMap::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            // What is none of a plugin's files is nothing to it.
            if let Some(name) = entry.file_name().to_str()
                && check_name(name).is_ok()
                && entry.file_type()?.is_file()
            {
                sizes.insert(name.to_owned(), entry.metadata()?.len());
            }
        }
        let bytes = sizes.values().sum();
        let folder = File::open(path)?;
        // Its own name too.
        if let Some(parent) = path.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(Self { sizes, bytes, folder, unsynced_names: true, broken: None, _lock: lock })
    }

    fn set_size(&mut self, name: &str, size: u64) {
        self.bytes += size;
        match self.sizes.get_mut(name) {
            Some(before) => self.bytes -= std::mem::replace(before, size),
            None => _ = self.sizes.insert(name.to_owned(), size),
        }
    }

    fn forget(&mut self, name: &str) {
        self.bytes -= self.sizes.remove(name).unwrap_or(0);
        self.unsynced_names = true;
    }

    fn sync_names(&mut self, name: &str) -> Result<(), Stop> {
        if !self.unsynced_names {
            return Ok(());
        }
        if let Err(error) = self.folder.sync_all() {
            self.break_off(name, &error);
            return Err(failed("synced", name, &error));
        }
        self.unsynced_names = false;
        Ok(())
    }

    fn break_off(&mut self, name: &str, error: &io::Error) {
        tracing::error!(name, %error, "a file of a plugin takes no more writes");
        self.broken = Some(format!("{name}: {error}"));
    }
}

/// Opens a file, and no other that a link leads to.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    options
}

fn failed(what: &str, name: &str, error: &io::Error) -> Stop {
    tracing::warn!(name, %error, "a file of a plugin cannot be {what}");
    Stop::Failed(FailureCode::Internal, format!("the file {name} cannot be {what}: {error}"))
}

#[cfg(test)]
mod tests;
