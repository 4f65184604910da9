use super::decode::fault;
use crate::workers::prove;
use bytes::Bytes;
use mainstem_model::{Batch, BatchError, Header, Refusal, SeriesKey, VerifiedBatch, Verifier};
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

    /// Whether any of its batches is of a plugin's signature type, so that it is not known what proving it costs.
    pub fn is_of_plugin(&self) -> bool {
        match &self.0 {
            Kind::Plain(_) => false,
            Kind::Store { batch, .. } | Kind::Feed { batch } | Kind::Pulled { batch, .. } => {
                Batch::is_of_plugin(batch)
            }
            Kind::Proof { first, second } => Batch::is_of_plugin(first) || Batch::is_of_plugin(second),
            Kind::PageOf { page, .. } => page.batches.iter().any(|batch| Batch::is_of_plugin(&batch.bytes)),
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

    /// Proves its batches, one after the other. For a worker thread: a page takes up to 200 µs for each of them,
    /// and what a plugin may take for each of its types.
    ///
    /// # Errors
    /// [`PeerFault::InvalidBatch`] for the first that does not hold, [`PeerFault::Unprovable`] if that cannot be told, [`PeerFault::Malformed`] for batches that do not go
    /// together.
    pub fn prove(self, verifier: &Verifier) -> Result<PeerMessage, PeerFault> {
        let one = |batch: Bytes| -> Result<Arc<VerifiedBatch>, PeerFault> {
            prove(verifier, batch).map_err(invalid)
        };
        Ok(match self.0 {
            Kind::Plain(message) => message,
            Kind::Store { durable, batch } => {
                let proof = prove(verifier, batch.clone());
                PeerMessage::Store {
                    durable,
                    batch: proof.map_err(|error| refused(error, &batch, not_held))?,
                }
            }
            Kind::Feed { batch } => {
                let proof = prove(verifier, batch.clone());
                let batch = PeerBatch::Proven(proof.map_err(|error| refused(error, &batch, fed))?);
                PeerMessage::Feed { batch }
            }
            Kind::Pulled { pull, batch } => {
                PeerMessage::Pulled { pull, batch: PeerBatch::Proven(one(batch)?) }
            }
            Kind::Proof { first, second } => PeerMessage::Proof {
                first: PeerBatch::Proven(one(first)?),
                second: PeerBatch::Proven(one(second)?),
            },
            Kind::PageOf { read, page } => match proven_page(verifier, page) {
                Ok(page) => PeerMessage::PageOf { read, result: Ok(page) },
                // The reader is told, and waits no longer.
                Err(PeerFault::Unprovable { refusal, .. }) => {
                    PeerMessage::PageOf { read, result: Err(refusal) }
                }
                Err(fault) => return Err(fault),
            },
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
    if error.is_unprovable() {
        return PeerFault::Unprovable { answer: None, refusal: error.into() };
    }
    PeerFault::InvalidBatch(error.into())
}

/// [`invalid`], of a batch that is answered for though it cannot be proven: its sender waits for that.
fn refused(
    error: BatchError,
    batch: &[u8],
    answer: impl FnOnce(&Header, usize, &Refusal) -> PeerMessage,
) -> PeerFault {
    match (invalid(error), Batch::peek_header(batch)) {
        (PeerFault::Unprovable { refusal, .. }, Ok(header)) => {
            let answer = Some(Box::new(answer(&header, batch.len(), &refusal)));
            PeerFault::Unprovable { answer, refusal }
        }
        (fault, _) => fault,
    }
}

fn not_held(header: &Header, _: usize, refusal: &Refusal) -> PeerMessage {
    PeerMessage::NotHeld { series: SeriesKey::of(header), batch: header.id(), refusal: refusal.clone() }
}

fn fed(header: &Header, bytes: usize, _: &Refusal) -> PeerMessage {
    PeerMessage::Fed { at: header.stream_partition, bytes: bytes as u64 }
}

impl fmt::Debug for Unproven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unproven({:?}, {} batches, <{}b>)", self.lane(), self.batch_count(), self.batch_bytes())
    }
}
