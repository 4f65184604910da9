//! Proving what was received, for the proving threads.

use crate::{
    ClientError,
    encryption::{Keyring, reading::Contents},
};
use bytes::Bytes;
use mainstem_model::{Batch, Cursor, VerifiedBatch, Verifier};

/// A batch as it came.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) cursor: Cursor,
    pub(crate) received_at: i64,
    pub(crate) batch: Bytes,
}

/// What proving gave.
#[derive(Debug, Default)]
pub(crate) struct Proven {
    pub(crate) batches: Vec<(VerifiedBatch, Contents, Cursor, i64)>,
    /// Batches of signature types that nobody here knows. They are passed over: what else a stream has is read all the same.
    pub(crate) unknown: Vec<Unknown>,
    /// What did not hold of the batch behind them.
    pub(crate) error: Option<ClientError>,
}

/// A batch that cannot be told from a forged one.
#[derive(Debug)]
pub(crate) struct Unknown {
    /// So many batches stand before it.
    pub(crate) at: usize,
    /// Where reading goes on behind it.
    pub(crate) cursor: Cursor,
    /// Its events that were to be read.
    pub(crate) count: u64,
    pub(crate) error: ClientError,
}

/// Proves batches in order, up to the first that does not hold, and opens their contents.
pub(crate) fn prove(verifier: &Verifier, keyring: &Keyring, raws: Vec<Raw>) -> Proven {
    let mut proven = Proven { batches: Vec::with_capacity(raws.len()), ..Proven::default() };
    for Raw { cursor, received_at, batch } in raws {
        let count = Batch::peek_header(&batch).map_or(0, |header| header.count);
        match Batch::decode(batch).and_then(|batch| verifier.verify(batch)) {
            Ok(batch) => {
                let contents = keyring.open(&batch, cursor.skip().into());
                proven.batches.push((batch, contents, cursor, received_at));
            }
            Err(error) if error.is_unknown_scheme() => {
                let (at, left) = (proven.batches.len(), u64::from(count.saturating_sub(cursor.skip())));
                let cursor = cursor.with_skip(count);
                proven.unknown.push(Unknown { at, cursor, count: left, error: error.into() });
            }
            Err(error) => return Proven { error: Some(error.into()), ..proven },
        }
    }
    proven
}
