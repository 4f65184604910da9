//! The file of a chain: everything that happened to it, appended, and executed again when it is opened.
//!
//! Why a log and not a snapshot: what has been answered must be on the disk, and one record of some hundred bytes is the
//! least that can be written for it. There is one format and one way to read it, so nothing can disagree with
//! anything; a kill loses at most records that nobody was told of. Executing again costs some 30 µs a transaction
//! (senders are kept, so that no signature is recovered again), and every block must come out with the hash that was
//! written, which proves that file and program still agree.
//!
//! Layout, numbers big-endian: `MSDEVCHN`, version u32; then records of `length u32 · check of the length (4 bytes) ·
//! payload · check of the payload (8 bytes)`. The checks are cut from keccak-256 chained over all records before, so
//! that none can be changed, left out or moved. The first payload is the genesis configuration as JSON, each other
//! one a [`Change`].

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use revm::primitives::{B256, keccak256};
use serde::{Deserialize, Serialize};

use crate::chain::DevChain;
use crate::change::Change;
use crate::config::Config;
use crate::error::Error;

const MAGIC: &[u8; 8] = b"MSDEVCHN";
const VERSION: u32 = 1;
const PREAMBLE_LEN: usize = 12;
const LENGTH_LEN: usize = 8;
const SUM_LEN: usize = 8;

/// The part of [`Config`] that makes the genesis block.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Genesis {
    chain_id: u64,
    genesis_timestamp_s: u64,
    gas_limit: u64,
    base_fee_wei: u64,
    balance_wei: u128,
    funded: Vec<[u8; 20]>,
}

/// An open, locked file, ready to append to.
#[derive(Debug)]
pub(crate) struct Journal {
    file: Arc<File>,
    /// The chained hash after the last record.
    sum: B256,
    /// Bytes in the file.
    len: u64,
}

impl Journal {
    /// Opens the file and brings back its chain, or makes both if there is no file. A record that was cut short at the
    /// end (nobody was told of it) is dropped; anything else that does not fit is an error, and nothing is written.
    pub(crate) fn open(config: Config, path: &Path) -> Result<(DevChain, Self), Error> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        if !path.try_exists().map_err(io)? {
            create(&config, path).map_err(io)?;
        }
        let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;

        let (chain, good, sum) = replay(config, path, &bytes)?;
        let len = good as u64;
        if len < bytes.len() as u64 {
            tracing::warn!(path = %path.display(), bytes = bytes.len() as u64 - len, "dropped a torn tail of the chain file");
            file.set_len(len).and_then(|()| file.sync_all()).map_err(io)?;
        }
        file.seek(SeekFrom::Start(len)).map_err(io)?;
        Ok((chain, Self { file: Arc::new(file), sum, len }))
    }

    /// Writes changes; they are safe from a kill when this returns, from a loss of power after a sync of
    /// [`file`](Self::file). Gives the length of the file.
    pub(crate) fn append(&mut self, changes: &[Change]) -> io::Result<u64> {
        let mut bytes = Vec::new();
        for change in changes {
            self.sum = put_record(&mut bytes, self.sum, &change.encode());
        }
        // IMPORTANT: one write, so that a kill leaves a beginning of it and never a hole.
        (&*self.file).write_all(&bytes)?;
        self.len += bytes.len() as u64;
        Ok(self.len)
    }

    pub(crate) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }
}

/// Makes the file with the genesis record under another name, then gives it its name: it is whole or not there.
fn create(config: &Config, path: &Path) -> io::Result<()> {
    let genesis = Genesis {
        chain_id: config.chain_id,
        genesis_timestamp_s: config.genesis_timestamp_s,
        gas_limit: config.gas_limit,
        base_fee_wei: config.base_fee_wei,
        balance_wei: config.balance_wei,
        funded: config.funded.clone(),
    };
    let mut bytes = preamble();
    put_record(&mut bytes, seed(), &serde_json::to_vec(&genesis)?);

    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let mut file = File::create(&temporary)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// The chain, the length of the good part, and the chained hash at its end.
fn replay(config: Config, path: &Path, bytes: &[u8]) -> Result<(DevChain, usize, B256), Error> {
    let not_a_chain = |reason: &str| Error::NotAChain { path: path.to_owned(), reason: reason.to_owned() };
    let version = bytes
        .strip_prefix(MAGIC)
        .and_then(|rest| rest.first_chunk::<4>())
        .map(|version| u32::from_be_bytes(*version))
        .ok_or_else(|| not_a_chain("it does not begin like one"))?;
    if version != VERSION {
        return Err(Error::Version { path: path.to_owned(), expected: VERSION, found: version });
    }
    let Ok(Some((payload, mut at, mut sum))) = record(bytes, PREAMBLE_LEN, seed()) else {
        return Err(not_a_chain("its first record is damaged"));
    };
    let genesis: Genesis =
        serde_json::from_slice(payload).map_err(|_| not_a_chain("its first record is not a genesis"))?;
    if genesis.chain_id != config.chain_id {
        return Err(Error::OtherChain {
            path: path.to_owned(),
            expected: config.chain_id,
            found: genesis.chain_id,
        });
    }
    let mut chain = DevChain::new(Config {
        genesis_timestamp_s: genesis.genesis_timestamp_s,
        gas_limit: genesis.gas_limit,
        base_fee_wei: genesis.base_fee_wei,
        balance_wei: genesis.balance_wei,
        funded: genesis.funded,
        ..config
    });

    while at < bytes.len() {
        let damaged = |chain: &DevChain, reason: &str| Error::Damaged {
            path: path.to_owned(),
            offset: at as u64,
            blocks: chain.head().0,
            reason: reason.to_owned(),
        };
        let Some((payload, end, next)) = record(bytes, at, sum).map_err(|reason| damaged(&chain, reason))?
        else {
            break;
        };
        let change = Change::decode(payload).ok_or_else(|| damaged(&chain, "a record of an unknown kind"))?;
        chain.apply(change).map_err(|reason| damaged(&chain, &reason))?;
        (at, sum) = (end, next);
    }
    Ok((chain, at, sum))
}

fn preamble() -> Vec<u8> {
    [MAGIC.as_slice(), &VERSION.to_be_bytes()].concat()
}

/// The chained hash before the first record.
fn seed() -> B256 {
    keccak256(preamble())
}

fn length_check(sum: B256, length: [u8; 4]) -> B256 {
    keccak256([sum.as_slice(), b"length", &length].concat())
}

fn payload_check(sum: B256, payload: &[u8]) -> B256 {
    keccak256([sum.as_slice(), b"payload", payload].concat())
}

/// Appends a record and gives the chained hash after it.
fn put_record(out: &mut Vec<u8>, sum: B256, payload: &[u8]) -> B256 {
    // A payload is one transaction at most, which is bounded far below this.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let next = payload_check(sum, payload);
    out.extend_from_slice(&length);
    out.extend_from_slice(&length_check(sum, length)[..4]);
    out.extend_from_slice(payload);
    out.extend_from_slice(&next[..SUM_LEN]);
    next
}

/// Payload, where the next record begins, the chained hash there.
type Record<'a> = (&'a [u8], usize, B256);

/// The record at `at`; `None` if it was cut short. The length has
/// its own check, so that a damaged length is not taken for a cut.
fn record(bytes: &[u8], at: usize, sum: B256) -> Result<Option<Record<'_>>, &'static str> {
    let rest = &bytes[at..];
    // After a loss of power a file may have grown by zeros that were never written.
    if rest.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let (Some(length), Some(check)) = (rest.first_chunk::<4>(), rest.get(4..LENGTH_LEN)) else {
        return Ok(None);
    };
    if length_check(sum, *length)[..4] != *check {
        return Err("the length of a record does not fit its check");
    }
    let length = u32::from_be_bytes(*length) as usize;
    let (Some(payload), Some(check)) = (
        rest.get(LENGTH_LEN..LENGTH_LEN + length),
        rest.get(LENGTH_LEN + length..LENGTH_LEN + length + SUM_LEN),
    ) else {
        return Ok(None);
    };
    let next = payload_check(sum, payload);
    if next[..SUM_LEN] != *check {
        return Err("a record does not fit its check");
    }
    Ok(Some((payload, at + LENGTH_LEN + length + SUM_LEN, next)))
}
