//! A batch that somebody brings, and what that leads to.

use crate::{SessionId, links::Missed, rule::Rule};
use bytes::Bytes;
use mainstem_model::{Ack, Address, SeriesKey, VerifiedBatch};
use std::sync::Arc;

/// A batch, and who brought it.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) source: Source,
    pub(crate) batch: Arc<VerifiedBatch>,
}

/// Who brought a batch.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A client that waits for an ack.
    Client { session: SessionId, request: u64, ack: Ack },
    /// A broker that asks to keep it, and waits to hear of that.
    Store { peer: Address, durable: bool },
    /// A link.
    Feed { peer: Address },
    /// Repair. `past`: it fills up history. `anchor`: its series may begin here, or go on, with it: what lies before is from before this broker asked.
    /// `missed`: since when it was missed, if it may be for a link to tell.
    Repair { peer: Address, past: bool, anchor: bool, missed: Option<Missed> },
}

impl Source {
    /// The rule by which its origin's right is looked up.
    pub(crate) const fn right(&self) -> Rule {
        match self {
            Self::Client { .. } => Rule::RightsOfClients,
            Self::Store { .. } => Rule::RightsOfStores,
            Self::Feed { .. } => Rule::RightsOfFeeds,
            Self::Repair { .. } => Rule::RightsOfRepairs,
        }
    }

    /// The broker that brought it.
    pub(crate) const fn peer(&self) -> Option<Address> {
        match self {
            Self::Client { .. } => None,
            Self::Store { peer, .. } | Self::Feed { peer } | Self::Repair { peer, .. } => Some(*peer),
        }
    }
}

/// What taking in a batch leads to beyond this broker's own log.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    /// Batches whose series lacks what lies before them, and the sequence that it stands at.
    pub(crate) gaps: Vec<(Offer, u64)>,
    /// Batches that go on from another one than is here: of which series, where it stands, and who sent it.
    pub(crate) forks: Vec<(SeriesKey, u64, Address)>,
    /// Proofs that were just kept here: both batches.
    pub(crate) proofs: Vec<(SeriesKey, Bytes, Bytes)>,
}
