//! What brokers say to each other. Nothing here is trusted for more than it proves: batches come proven or not at all, and
//! of heads, digests and promises the worst a lying broker gets is that this one asks another.

use crate::Page;
use bytes::Bytes;
use mainstem_model::{
    Batch, BatchId, Cursor, HeadsDigest, HeadsSummary, ReadFilter, ReadStart, Refusal, SeriesHead, SeriesKey,
    SeriesRange, StreamPartition, VerifiedBatch, limits,
};
use std::sync::Arc;

/// A message from one broker to another. The shell keeps the order of what is sent on one [`Lane`] while a session lasts, but
/// for what waits for the proofs of a plugin's signature type: that keeps its order within its series (batches, and of `Heads` what is
/// said of it), within its pull, and among what is signed so, and all else may come before it. It may lose any of them, with
/// the session or where a queue is full: whoever waits for an answer asks again.
#[derive(Clone, Debug)]
pub enum PeerMessage {
    /// First in every session, and again when it changes. `log` is the number of the sender's store; `ready`: it has all that it
    /// is to keep as of this epoch.
    Hello { log: u64, epoch: u32, ready: bool },

    // ------------------------------------------------ a batch to those who are to keep it
    /// Keep this batch. `durable`: somebody waits for its fsync.
    Store { durable: bool, batch: Arc<VerifiedBatch> },
    /// The batch `last`, which ends before `next_sequence`, is kept.
    Held { series: SeriesKey, next_sequence: u64, last: BatchId, durable: bool },
    /// The batch of a `Store` is not kept and will not be.
    NotHeld { series: SeriesKey, batch: BatchId, refusal: Refusal },

    // ------------------------------------------------ links: who tells whom what comes
    /// Tell me of this partition: with `full` each batch, else heads only. Asked again, it changes that. `since_ms`: also tell
    /// the heads that have changed in so many milliseconds.
    Follow { at: StreamPartition, full: bool, since_ms: u64 },
    /// The link stands; told again when the path changes. `path`: through whom the partition comes to the sender, nearest first;
    /// the last one keeps it. Empty where the sender does.
    Followed { at: StreamPartition, full: bool, path: Vec<mainstem_model::Address> },
    /// There is no such link, or no longer. `instead` names brokers that may have one.
    NotFollowed { at: StreamPartition, refusal: Refusal, instead: Vec<mainstem_model::Address> },
    /// Tell me no more.
    Unfollow { at: StreamPartition },
    /// The next batch that arrived at the sender. It may leave out some; heads tell.
    Feed { batch: PeerBatch },
    /// So many bytes of a link's batches were taken in: there is room for others.
    Fed { at: StreamPartition, bytes: u64 },
    /// How far series have come that have changed since the last of these. Empty: the sender lives.
    Heads { heads: Vec<(SeriesKey, SeriesHead)> },

    // ------------------------------------------------ repair
    /// Send the batches of a series from the one that holds `from` up to before `until`; about `bytes_max` of them.
    Pull { pull: u64, series: SeriesKey, from: SeriesFrom, until: u64, bytes_max: u64 },
    /// One of them, in order.
    Pulled { pull: u64, batch: PeerBatch },
    /// That was all of this pull. `more`: there are others before `until`; ask again.
    PullEnd { pull: u64, result: Result<PullEnd, Refusal> },
    /// Which partitions, behind `after`, have you for both of us to keep?
    Inventory { ask: u64, after: Option<StreamPartition> },
    /// These, in order; `more`: and others.
    Inventoried { ask: u64, partitions: Vec<(StreamPartition, HeadsDigest)>, more: bool },
    /// What have you in this range?
    Compare { ask: u64, range: SeriesRange },
    /// This.
    Compared { ask: u64, summary: HeadsSummary },
    /// Two batches for one place: whoever keeps the series freezes it.
    Proof { first: PeerBatch, second: PeerBatch },

    // ------------------------------------------------ history for a broker that does not keep it
    /// Find the cursor for a start.
    Resolve { read: u64, at: StreamPartition, start: ReadStart, filter: ReadFilter },
    /// It.
    Resolved { read: u64, result: Result<Cursor, Refusal> },
    /// Read on from a cursor.
    Read { read: u64, at: StreamPartition, cursor: Cursor, filter: ReadFilter, bytes_max: u64 },
    /// A page. Its batches are proven by who hands this to the state machine, and are of one partition: whether of the one that
    /// was asked for is for the state machine to see.
    PageOf { read: u64, result: Result<Page, Refusal> },
}

/// A batch that one broker keeps and another asked for.
#[derive(Clone, Debug)]
pub enum PeerBatch {
    /// On its way out: as it lies in the store.
    Stored(Bytes),
    /// Come in: proven.
    Proven(Arc<VerifiedBatch>),
}

impl PeerBatch {
    /// As signed.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Stored(bytes) => bytes,
            Self::Proven(batch) => batch.bytes(),
        }
    }

    /// Where it belongs; `None` if what lies in the store is no batch.
    pub fn stream_partition(&self) -> Option<StreamPartition> {
        match self {
            Self::Stored(bytes) => Batch::peek_header(bytes).ok().map(|header| header.stream_partition),
            Self::Proven(batch) => Some(batch.header().stream_partition),
        }
    }

    /// Its id; `None` if what lies in the store is no batch.
    pub fn id(&self) -> Option<BatchId> {
        match self {
            Self::Stored(bytes) => Batch::peek_header(bytes).ok().map(|header| header.id()),
            Self::Proven(batch) => Some(batch.id()),
        }
    }
}

/// Where a pull begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeriesFrom {
    /// With the batch that holds this event number, or, if that is no longer kept, with the first after it.
    Sequence(u64),
    /// With the first batch that came in so many milliseconds.
    Age(u64),
}

/// How a pull ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullEnd {
    /// The first sequence that is kept at all: what lies before is gone by age.
    pub base: u64,
    /// There is more before `until`.
    pub more: bool,
}

/// The two ways of a session, independent of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// What somebody waits for.
    Live,
    /// Repair and history.
    Bulk,
}

impl PeerMessage {
    /// Entries of `Heads`, and of a `Compared` that has heads. A message with more cannot be told, nor one over any bound below.
    pub const HEADS_MAX: usize = 1024;
    /// Partitions of `Inventoried`.
    pub const INVENTORIED_MAX: usize = 1024;
    /// Parts of a `Compared`.
    pub const PARTS_MAX: usize = 64;
    /// Brokers that `NotFollowed` names.
    pub const INSTEAD_MAX: usize = 16;
    /// Brokers of the path of `Followed`.
    pub const PATH_MAX: usize = 16;
    /// Batches of `PageOf`.
    pub const PAGE_BATCHES_MAX: usize = 1024;
    /// Bytes of the batches of `PageOf`.
    pub const PAGE_BYTES_MAX: usize = 2 * limits::BATCH_BYTES_MAX;

    /// Whether it is told every so often, whatever happens.
    pub(crate) const fn is_sign_of_life(&self) -> bool {
        matches!(self, Self::Hello { .. } | Self::Heads { .. })
    }

    /// On which way it goes.
    pub const fn lane(&self) -> Lane {
        match self {
            Self::Hello { .. }
            | Self::Store { .. }
            | Self::Held { .. }
            | Self::NotHeld { .. }
            | Self::Follow { .. }
            | Self::Followed { .. }
            | Self::NotFollowed { .. }
            | Self::Unfollow { .. }
            | Self::Feed { .. }
            | Self::Fed { .. }
            | Self::Heads { .. }
            | Self::Proof { .. } => Lane::Live,
            Self::Pull { .. }
            | Self::Pulled { .. }
            | Self::PullEnd { .. }
            | Self::Inventory { .. }
            | Self::Inventoried { .. }
            | Self::Compare { .. }
            | Self::Compared { .. }
            | Self::Resolve { .. }
            | Self::Resolved { .. }
            | Self::Read { .. }
            | Self::PageOf { .. } => Lane::Bulk,
        }
    }
}

/// What is wrong with something that a broker sent.
#[derive(Clone, Debug)]
pub enum PeerFault {
    /// A frame that is no message.
    Malformed(&'static str),
    /// A batch that does not hold.
    InvalidBatch(Refusal),
    /// No fault of its sender: whether a batch holds cannot be told here.
    Unprovable {
        /// What it is answered.
        answer: Option<Box<PeerMessage>>,
        /// Why.
        refusal: Refusal,
    },
    /// No fault of its sender: there is no room here for what it takes to prove it.
    NoRoom {
        /// What it is answered.
        answer: Option<Box<PeerMessage>>,
    },
}
