//! A look through fjall's journals before fjall sees them.
//!
//! fjall ends a journal at the first entry that it cannot read and cuts off the rest. That is right for the torn write of a
//! crash and wrong for a damaged bit in the middle. Here the two are told apart: every write of the store is numbered
//! without a gap, and the file `synced` says up to which number an fsync has returned. fjall's checksum leaves out the
//! sequence number, by which rows hide older ones; every write says within which bounds its own must lie.
//!
//! Layout of one write: start (1, items u32, seqno u64), items (2, kind u8, compression u8, table u64, key length u16,
//! value length u32, length on disk u32, key, value), end (3, XXH3-64 of the items u64, `FJL` 3); integers little-endian.

use super::folder::Folder;
use crate::{
    StoreError,
    tables::{self, Group},
};
use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};
use xxhash_rust::xxh3::xxh3_64;

/// How many sequence numbers fjall's own threads may take while one write waits for its own.
const SEQNO_SLACK: u64 = 1 << 16;

/// The journals of a folder, oldest first.
pub(super) fn list(log: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(log)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            let id = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            let name = || io::Error::other(format!("{} is no journal's name", path.display()));
            found.push((id.ok_or_else(name)?, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Checks all journals. A torn tail of the newest is cut off, unless it was fsynced.
pub(super) fn check(folder: &Folder, synced: u64) -> Result<(), StoreError> {
    let journals = list(&folder.log()).map_err(|error| folder.unopenable(error))?;
    // fjall would begin an empty one. Its tables are written out one by one, so they do not tell what is missing.
    let newest = journals
        .len()
        .checked_sub(1)
        .ok_or_else(|| folder.unopenable("there is no journal (`log/*.jnl`)"))?;
    let mut last = None;
    for (n, (_, path)) in journals.iter().enumerate() {
        let name = path.file_name().unwrap_or_default().display().to_string();
        let bytes = fs::read(path).map_err(|error| folder.unopenable(format!("log/{name}: {error}")))?;
        let whole = read_journal(&bytes, &mut last)
            .map_err(|(at, why)| folder.unopenable(format!("log/{name} is damaged at byte {at}: {why}")))?;
        let rest = &bytes[whole..];
        let torn = !is_zero(rest);
        let behind = if torn { first_write(rest) } else { None };
        // What lies behind counts only when nothing lies before: a payload may look like a write.
        let lost = match last {
            Some(last) => last.number < synced,
            None => behind.is_some_and(|write| write.number <= synced),
        };
        if torn && (n < newest || lost) {
            return Err(folder.unopenable(format!(
                "log/{name} is damaged at byte {whole}, and data behind it was durable"
            )));
        }
        if n == newest && lost {
            return Err(folder.unopenable(format!(
                "log/{name} ends at byte {whole} with write {}, but writes up to {synced} were durable",
                last.unwrap_or_default().number
            )));
        }
        if torn {
            let keep = behind.is_some() || last.is_none();
            cut(folder, path, &name, whole, keep.then_some(rest))
                .map_err(|error| folder.unopenable(format!("log/{name}: {error}")))?;
        }
    }
    Ok(())
}

/// Reads writes as long as they are whole and follow each other; gives where they end.
fn read_journal(bytes: &[u8], last: &mut Option<Group>) -> Result<usize, (usize, String)> {
    let mut at = 0;
    while let Some((length, seqno, group)) = read_write(&bytes[at..]) {
        // IMPORTANT: a crash leaves no such thing. To cut it off would lose what another version wrote.
        let group =
            group.ok_or_else(|| (at, "a whole write that this version does not know how to read".into()))?;
        if let Some(last) = *last {
            if group.number != last.number + 1 {
                return Err((at, format!("write {} follows write {}", group.number, last.number)));
            }
            if group.seqno_min < last.seqno_min {
                return Err((at, "its sequence numbers go back".into()));
            }
        }
        let least = group.seqno_min;
        if seqno < least || seqno - least > SEQNO_SLACK {
            return Err((at, format!("sequence number {seqno} is not near {least}")));
        }
        // The next one began when this one had its number.
        *last = Some(Group { seqno_min: seqno.saturating_add(1), ..group });
        at += length;
    }
    Ok(at)
}

/// The first whole write in bytes that do not begin with one.
fn first_write(bytes: &[u8]) -> Option<Group> {
    let begins = (0..bytes.len()).filter(|at| bytes[*at] == 1);
    begins.filter_map(|at| read_write(&bytes[at..])).find_map(|(_, _, group)| group)
}

/// One whole write: its length, its sequence number, what it says of itself in a form that this version reads.
fn read_write(bytes: &[u8]) -> Option<(usize, u64, Option<Group>)> {
    let mut input = Input { bytes, at: 0 };
    if input.take::<1>()? != [1] {
        return None;
    }
    let items = u32::from_le_bytes(input.take()?);
    let seqno = u64::from_le_bytes(input.take()?);
    let begin = input.at;
    let mut group = None;
    for _ in 0..items {
        let [tag, _kind, compression] = input.take()?;
        if (tag, compression) != (2, 0) {
            return None;
        }
        input.take::<8>()?;
        let key = usize::from(u16::from_le_bytes(input.take()?));
        input.take::<4>()?;
        let value = u32::from_le_bytes(input.take()?) as usize;
        let (key, value) = (input.slice(key)?, input.slice(value)?);
        if key == tables::GROUP {
            group = Group::decode(value).ok();
        }
    }
    let sum = xxh3_64(&bytes[begin..input.at]);
    let whole = input.take::<1>()? == [3]
        && u64::from_le_bytes(input.take()?) == sum
        && input.take::<4>()? == *b"FJL\x03";
    whole.then_some((input.at, seqno, group))
}

/// Cuts off what lies behind the whole writes of a journal. `keep` is kept aside: there are whole writes in it, when the
/// power failed before an fsync.
fn cut(folder: &Folder, path: &Path, name: &str, whole: usize, keep: Option<&[u8]>) -> io::Result<()> {
    if let Some(rest) = keep {
        let kept = folder.quarantine();
        fs::create_dir_all(&kept)?;
        let kept = kept.join(format!("{name}-{whole}"));
        fs::write(&kept, rest)?;
        File::open(&kept)?.sync_all()?;
        tracing::warn!(file = %kept.display(), "writes that were not durable are cut off the journal and kept aside");
    } else {
        tracing::info!(journal = %name, at = whole, "the journal ends in a torn write, which is cut off");
    }
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(whole as u64)?;
    file.sync_all()
}

fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| *chunk == ZEROS[..chunk.len()])
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let slice = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(slice)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.slice(N)?.try_into().ok()
    }
}
