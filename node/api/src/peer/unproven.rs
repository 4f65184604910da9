use super::decode::fault;
use crate::{Workers, workers::prove};
use bytes::Bytes;
use mainstem_model::{
    Batch, BatchError, Code, Header, Refusal, SeriesKey, SignatureType, VerifiedBatch, Verifier,
};
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

/// What keeps its order on a lane, whatever goes on beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// What brings batches of one series.
    Series(SeriesKey),
    /// What answers one pull.
    Pull(u64),
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

    /// The first of its batches' signature types that has workers of its own, so that it is not known when it is proven.
    pub fn waits_for(&self, workers: &Workers) -> Option<SignatureType> {
        let own =
            |batch: &Bytes| plugin_type(batch).filter(|signed| workers.of_plugin(Some(*signed)).is_some());
        match &self.0 {
            Kind::Plain(_) => None,
            Kind::Store { batch, .. } | Kind::Feed { batch } | Kind::Pulled { batch, .. } => own(batch),
            Kind::Proof { first, second } => own(first).or_else(|| own(second)),
            Kind::PageOf { page, .. } => page.batches.iter().find_map(|batch| own(&batch.bytes)),
        }
    }

    /// Within what it keeps its place on its lane; `None`: it may come before what was sent before it, and behind what was sent
    /// behind it.
    pub fn order(&self) -> Option<Order> {
        match &self.0 {
            Kind::Store { batch, .. } | Kind::Feed { batch } | Kind::Proof { first: batch, .. } => {
                let header = Batch::peek_header(batch).ok()?;
                Some(Order::Series(SeriesKey::of(&header)))
            }
            Kind::Pulled { pull, .. } | Kind::Plain(PeerMessage::PullEnd { pull, .. }) => {
                Some(Order::Pull(*pull))
            }
            Kind::Plain(_) | Kind::PageOf { .. } => None,
        }
    }

    /// Refuses it, as there is no room for its proof. A batch to be kept is sent again; what a link told is told by heads, and pulled.
    pub fn refuse(&self) -> PeerFault {
        let refusal =
            || Refusal::new(Code::Overloaded, "a plugin's proofs are behind; send it again in a moment");
        let answer = match &self.0 {
            Kind::Store { batch, .. } => {
                let header = Batch::peek_header(batch).ok();
                header.map(|header| not_held(&header, batch.len(), &refusal()))
            }
            Kind::Feed { batch } => {
                let header = Batch::peek_header(batch).ok();
                header.map(|header| fed(&header, batch.len(), &refusal()))
            }
            Kind::Plain(_) | Kind::Pulled { .. } | Kind::Proof { .. } | Kind::PageOf { .. } => None,
        };
        PeerFault::NoRoom { answer: answer.map(Box::new) }
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

    /// Its batches, in order.
    pub(super) fn batches(&self) -> Vec<Bytes> {
        match &self.0 {
            Kind::Plain(_) => Vec::new(),
            Kind::Store { batch, .. } | Kind::Feed { batch } | Kind::Pulled { batch, .. } => {
                vec![batch.clone()]
            }
            Kind::Proof { first, second } => vec![first.clone(), second.clone()],
            Kind::PageOf { page, .. } => page.batches.iter().map(|batch| batch.bytes.clone()).collect(),
        }
    }

    /// Proves its batches, one after the other. For a worker thread: it takes up to 200 µs for each of them, and what a plugin may
    /// take for each of its types. A page is better proven by [`Unproven::prove_by`].
    ///
    /// # Errors
    /// [`PeerFault::InvalidBatch`] for the first that does not hold, [`PeerFault::Unprovable`] if that cannot be told, [`PeerFault::Malformed`] for batches that do not go
    /// together.
    pub fn prove(self, verifier: &Verifier) -> Result<PeerMessage, PeerFault> {
        self.proven(|batch| prove(verifier, batch))
    }

    /// What it is with proofs of its batches, which are asked for in order, up to the first that does not hold.
    pub(super) fn proven(
        self,
        mut proof: impl FnMut(Bytes) -> Result<Arc<VerifiedBatch>, BatchError>,
    ) -> Result<PeerMessage, PeerFault> {
        Ok(match self.0 {
            Kind::Plain(message) => message,
            Kind::Store { durable, batch } => {
                let proof = proof(batch.clone());
                PeerMessage::Store {
                    durable,
                    batch: proof.map_err(|error| refused(error, &batch, not_held))?,
                }
            }
            Kind::Feed { batch } => {
                let proof = proof(batch.clone());
                let batch = PeerBatch::Proven(proof.map_err(|error| refused(error, &batch, fed))?);
                PeerMessage::Feed { batch }
            }
            Kind::Pulled { pull, batch } => {
                PeerMessage::Pulled { pull, batch: PeerBatch::Proven(proof(batch).map_err(invalid)?) }
            }
            Kind::Proof { first, second } => PeerMessage::Proof {
                first: PeerBatch::Proven(proof(first).map_err(invalid)?),
                second: PeerBatch::Proven(proof(second).map_err(invalid)?),
            },
            Kind::PageOf { read, page } => match proven_page(page, proof) {
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

/// The signature type that a batch names, if it is of a plugin's.
pub(super) fn plugin_type(batch: &[u8]) -> Option<SignatureType> {
    let signed = Batch::peek_header(batch).ok()?.signature_type;
    signed.is_of_plugin().then_some(signed)
}

fn proven_page(
    mut page: Page,
    mut proof: impl FnMut(Bytes) -> Result<Arc<VerifiedBatch>, BatchError>,
) -> Result<Page, PeerFault> {
    let mut at = None;
    for past in &mut page.batches {
        let batch = proof(past.bytes.clone()).map_err(invalid)?;
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
