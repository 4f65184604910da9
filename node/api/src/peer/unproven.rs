use super::decode::fault;
use crate::workers::prove;
use bytes::Bytes;
use mainstem_model::{Batch, BatchError, Refusal, VerifiedBatch, Verifier};
use mainstem_protocol::{Lane, Page, PeerBatch, PeerFault, PeerMessage};
use std::{fmt, sync::Arc};

/// A message as another broker sent it. What it says of itself is well formed; its batches are not proven.
pub struct Unproven(pub(super) Kind);

pub(super) enum Kind {
    /// Without batches.
    Plain(PeerMessage),
    Store {
        durable: bool,
        batch: Bytes,
    },
    Feed {
        batch: Bytes,
    },
    Pulled {
        pull: u64,
        batch: Bytes,
    },
    Proof {
        first: Bytes,
        second: Bytes,
    },
    /// The counts in it are zero until they are proven.
    PageOf {
        read: u64,
        page: Page,
    },
}

impl Unproven {
    /// On which way such a message goes.
    pub const fn lane(&self) -> Lane {
        match &self.0 {
            Kind::Plain(message) => message.lane(),
            Kind::Store { .. } | Kind::Feed { .. } | Kind::Proof { .. } => Lane::Live,
            Kind::Pulled { .. } | Kind::PageOf { .. } => Lane::Bulk,
        }
    }

    /// Bytes that are to be proven.
    pub fn batch_bytes(&self) -> usize {
        match &self.0 {
            Kind::Plain(_) => 0,
            Kind::Store { batch, .. } | Kind::Feed { batch } | Kind::Pulled { batch, .. } => batch.len(),
            Kind::Proof { first, second } => first.len() + second.len(),
            Kind::PageOf { page, .. } => page.batches.iter().map(|batch| batch.bytes.len()).sum(),
        }
    }

    /// Batches that are to be proven.
    pub const fn batch_count(&self) -> usize {
        match &self.0 {
            Kind::Plain(_) => 0,
            Kind::Store { .. } | Kind::Feed { .. } | Kind::Pulled { .. } => 1,
            Kind::Proof { .. } => 2,
            Kind::PageOf { page, .. } => page.batches.len(),
        }
    }

    /// Proves its batches, one after the other. For a worker thread: a page takes up to 200 µs for each of them.
    ///
    /// # Errors
    /// [`PeerFault::InvalidBatch`] for the first that does not hold, [`PeerFault::Malformed`] for batches that do not go
    /// together.
    pub fn prove(self, verifier: &Verifier) -> Result<PeerMessage, PeerFault> {
        let one = |batch: Bytes| -> Result<Arc<VerifiedBatch>, PeerFault> {
            prove(verifier, batch).map_err(invalid)
        };
        Ok(match self.0 {
            Kind::Plain(message) => message,
            Kind::Store { durable, batch } => PeerMessage::Store { durable, batch: one(batch)? },
            Kind::Feed { batch } => PeerMessage::Feed { batch: one(batch)? },
            Kind::Pulled { pull, batch } => {
                PeerMessage::Pulled { pull, batch: PeerBatch::Proven(one(batch)?) }
            }
            Kind::Proof { first, second } => PeerMessage::Proof {
                first: PeerBatch::Proven(one(first)?),
                second: PeerBatch::Proven(one(second)?),
            },
            Kind::PageOf { read, page } => {
                PeerMessage::PageOf { read, result: Ok(proven_page(verifier, page)?) }
            }
        })
    }
}

fn proven_page(verifier: &Verifier, mut page: Page) -> Result<Page, PeerFault> {
    let mut at = None;
    for past in &mut page.batches {
        let batch =
            Batch::decode(past.bytes.clone()).and_then(|batch| verifier.verify(batch)).map_err(invalid)?;
        let header = batch.header();
        if *at.get_or_insert(header.stream_partition) != header.stream_partition {
            return Err(fault("a page has batches of several partitions"));
        }
        past.count = header.count;
    }
    Ok(page)
}

fn invalid(error: BatchError) -> PeerFault {
    PeerFault::InvalidBatch(Refusal::from(error))
}

impl fmt::Debug for Unproven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unproven({:?}, {} batches, <{}b>)", self.lane(), self.batch_count(), self.batch_bytes())
    }
}
