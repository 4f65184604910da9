//! Proving what was received, for the proving threads.

use crate::ClientError;
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
#[derive(Debug)]
pub(crate) struct Proven {
    pub(crate) batches: Vec<(VerifiedBatch, Cursor, i64)>,
    /// What did not hold of the batch behind them.
    pub(crate) error: Option<ClientError>,
}

/// Proves batches in order, up to the first that does not hold.
pub(crate) fn prove(verifier: &Verifier, raws: Vec<Raw>) -> Proven {
    let mut batches = Vec::with_capacity(raws.len());
    for Raw { cursor, received_at, batch } in raws {
        match Batch::decode(batch).and_then(|batch| verifier.verify(batch)) {
            Ok(batch) => batches.push((batch, cursor, received_at)),
            Err(error) => return Proven { batches, error: Some(error.into()) },
        }
    }
    Proven { batches, error: None }
}
