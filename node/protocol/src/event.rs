use crate::{PeerFault, PeerMessage};
use bytes::Bytes;
use mainstem_model::{
    Ack, Address, Assignment, BatchId, Cursor, Equivocation, HeadsDigest, HeadsSummary, ReadFilter,
    ReadStart, Refusal, RegistryChange, SeriesHead, SeriesKey, SeriesRange, StreamPartition, VerifiedBatch,
};
use std::sync::Arc;

/// One connection, or one HTTP request that behaves like one. Chosen by the edge, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// A subscription of one session; chosen by the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(pub u32);

/// A write that is under way in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteToken(pub u64);

/// A read that is under way in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadToken(pub u64);

/// The time, read by the driver once for each event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Milliseconds since 1970-01-01 UTC. It may be set, forth and back.
    pub unix_ms: i64,
    /// Milliseconds since some moment: never goes back, never leaps. What waits waits by this one.
    pub up_ms: i64,
}

impl Now {
    /// Whole Unix seconds, as the chain counts; 0 before 1970.
    pub fn unix_s(self) -> u64 {
        u64::try_from(self.unix_ms.div_euclid(1000)).unwrap_or(0)
    }
}

/// Where reading a series begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeriesStart {
    /// With the batch that holds this event number, or, if that is no longer kept, with the first after it.
    Sequence(u64),
    /// With the first batch whose time of receipt is this or later, milliseconds since 1970-01-01 UTC.
    ReceivedAt(i64),
}

/// What a subscriber asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// What to read.
    pub at: StreamPartition,
    /// Where to begin.
    pub start: ReadStart,
    /// What to leave out.
    pub filter: ReadFilter,
    /// Go on with live batches; else end where the past ends.
    pub live: bool,
}

/// Everything that can happen to a node. The driver turns I/O into these; nothing else changes the state.
#[derive(Clone, Debug)]
pub enum InEvent {
    /// A client came. `identity` is set when the edge knows it already (an API key).
    SessionOpened { session: SessionId, identity: Option<Address> },
    /// A client went; what it waited for is forgotten.
    SessionClosed { session: SessionId },
    /// A client proved an address against its connection's challenge.
    SignedIn { session: SessionId, request: u64, address: Address },
    /// A proven batch. It needs no sign-in: the batch itself says who made it.
    Publish { session: SessionId, request: u64, ack: Ack, batch: Arc<VerifiedBatch> },
    /// A client wants to read.
    Subscribe { session: SessionId, request: u64, subscribe: Subscribe },
    /// A client has read enough.
    Unsubscribe { session: SessionId, request: u64, subscription: SubscriptionId },
    /// The edge has handed this much of a subscription's deliveries to the transport: bytes of batches.
    Flushed { session: SessionId, subscription: SubscriptionId, bytes: usize },
    /// Answer to [`OutEvent::ReadHead`].
    HeadRead { series: SeriesKey, result: Result<Option<SeriesHead>, Refusal> },
    /// Answer to [`OutEvent::ReadBatch`]: the stored batch that holds the asked-for event number.
    BatchRead { read: ReadToken, result: Result<Option<Bytes>, Refusal> },
    /// These writes are in the journal, at these arrival positions of their partitions; `u64::MAX` for those that are `past`,
    /// which have none. In the order of `Append`.
    Stored { writes: Vec<(WriteToken, u64)> },
    /// Answer to [`OutEvent::Freeze`]: the proof is kept, and the series is frozen.
    Frozen { write: WriteToken, result: Result<(), Refusal> },
    /// fsync returned for these writes.
    Durable { writes: Vec<WriteToken> },
    /// The store has failed for good: these writes, and all later ones, are lost.
    StoreFailed { refusal: Refusal },
    /// Answer to [`OutEvent::ResolveStart`].
    StartResolved { read: ReadToken, result: Result<Cursor, Refusal> },
    /// Answer to [`OutEvent::ReadPage`].
    PageRead { read: ReadToken, result: Result<Page, Refusal> },
    /// One step of the view of streams and rights.
    Registry(RegistryChange),
    /// Who carries what from now on. Before the first one the node carries everything and knows no other broker.
    Assigned(Arc<Assignment>),
    /// A session with another broker began.
    PeerUp { peer: Address },
    /// It ended. What was on its way may be lost.
    PeerDown { peer: Address },
    /// Another broker says something.
    Peer { peer: Address, message: PeerMessage },
    /// Another broker sent what no honest one sends.
    PeerFaulty { peer: Address, fault: PeerFault },
    /// Answer to [`OutEvent::ReadSeries`].
    SeriesRead { read: ReadToken, result: Result<SeriesPage, Refusal> },
    /// Answer to [`OutEvent::ReadProof`]: both batches, as signed.
    ProofRead { read: ReadToken, result: Result<Option<(Bytes, Bytes)>, Refusal> },
    /// Answer to [`OutEvent::ReadLast`].
    LastRead { read: ReadToken, result: Result<LastArrival, Refusal> },
    /// Answer to [`OutEvent::ListPartitions`].
    PartitionsListed { read: ReadToken, result: Result<Vec<StreamPartition>, Refusal> },
    /// Answer to [`OutEvent::DigestHeads`]: one for each, in order.
    HeadsDigested { read: ReadToken, result: Result<Vec<HeadsDigest>, Refusal> },
    /// Answer to [`OutEvent::SummarizeHeads`].
    HeadsSummarized { read: ReadToken, result: Result<HeadsSummary, Refusal> },
    /// Time passes; sent a few times a second.
    Tick,
}

/// Everything a node can ask for. The driver performs these in order and reports back as [`InEvent`]s.
#[derive(Clone, Debug)]
pub enum OutEvent {
    /// Write to the journal, in the order of these; report `Stored`, and with `durable` also `Durable`. One that is `past` fills
    /// up history: it lies before what the series has here already, or readers are not to be told of it.
    Append { write: WriteToken, batch: Arc<VerifiedBatch>, received_at: i64, durable: bool, past: bool },
    /// Report `Durable` for this write once everything appended before has been fsynced.
    Sync { write: WriteToken },
    /// Read how far a series has come.
    ReadHead { series: SeriesKey },
    /// Read the stored batch that holds event `sequence` of a series.
    ReadBatch { read: ReadToken, series: SeriesKey, sequence: u64 },
    /// Keep the proof, durably, and mark the series frozen. Of one origin so many bytes are kept for a
    /// partition; others go then, and their series stay frozen.
    Freeze { write: WriteToken, proof: Box<Equivocation>, bytes_max: usize },
    /// Find the cursor for a start.
    ResolveStart { read: ReadToken, at: StreamPartition, start: ReadStart, filter: ReadFilter },
    /// Read stored batches from a cursor on.
    ReadPage { read: ReadToken, at: StreamPartition, cursor: Cursor, filter: ReadFilter, bytes_max: usize },
    /// Read stored batches of a series, from the one that holds `from` up to before `until`, about `bytes_max` bytes of them and
    /// at least one if there is one.
    ReadSeries { read: ReadToken, series: SeriesKey, from: SeriesStart, until: u64, bytes_max: usize },
    /// Read the proof for which a series was frozen.
    ReadProof { read: ReadToken, series: SeriesKey },
    /// Look what arrived last in a partition, and what so long before that.
    ReadLast { read: ReadToken, at: StreamPartition, before_ms: i64 },
    /// List at most `max` partitions behind `after` that have a series, in order.
    ListPartitions { read: ReadToken, after: Option<StreamPartition>, max: usize },
    /// Digest the heads of each of these partitions.
    DigestHeads { read: ReadToken, partitions: Vec<StreamPartition> },
    /// The heads in a range if they are at most `heads_max`, else the digests of that many `parts`.
    SummarizeHeads { read: ReadToken, range: SeriesRange, heads_max: usize, parts: usize },
    /// Tell another broker. What cannot be sent is lost, as with a session that ends.
    Tell { peer: Address, message: PeerMessage },
    /// Have a session with a broker: this one has something to ask of it. A shell that has sessions with all brokers at all
    /// times passes over this and [`Part`](Self::Part).
    Connect { peer: Address },
    /// That session is of no more use here; it may end.
    Part { peer: Address },
    /// End the session with a broker and have none with it for so long: why, in one sentence.
    Drop { peer: Address, for_ms: u64, why: &'static str },
    /// Tell a client.
    Send { session: SessionId, message: ServerMessage },
}

/// Stored batches, in reading order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The batches.
    pub batches: Vec<PastBatch>,
    /// Where to read on.
    pub next: Cursor,
    /// Nothing lies behind `next` as of this read.
    pub at_end: bool,
    /// How many batches of this stretch are damaged here and were left out.
    pub damaged: u64,
}

/// A stored batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastBatch {
    /// As signed.
    pub bytes: Bytes,
    /// Reading from here gives this batch again; its skip counts leading events that are not part of the answer.
    pub cursor: Cursor,
    /// How many events it has.
    pub count: u16,
    /// When it was taken in, milliseconds.
    pub received_at: i64,
}

/// Where a partition's log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastArrival {
    /// Arrival position of the next batch. Since the store was opened it is above every position that was given before.
    pub end: u64,
    /// When the last one was taken in, milliseconds since 1970; `i64::MIN` when there is none, or it is not kept any more.
    pub received_at: i64,
    /// The same of the last of those that came more than `before_ms` before it, or of the first that is kept if none did.
    pub before: i64,
}

/// Stored batches of one series, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesPage {
    /// As signed.
    pub batches: Vec<Bytes>,
    /// The first sequence that is kept at all; the head's when nothing is.
    pub base: u64,
    /// There is more before what was asked for ends.
    pub more: bool,
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerMessage {
    /// The sign-in holds.
    SignedIn { request: u64 },
    /// A batch reached what was asked for, or more.
    Ack { request: u64, batch: BatchId, ack: Ack, duplicate: bool },
    /// The subscription stands; what follows carries its number.
    Subscribed { request: u64, subscription: SubscriptionId },
    /// A batch.
    Deliver { subscription: SubscriptionId, cursor: Cursor, received_at: i64, batch: Bytes },
    /// The past is told, if any was asked for; from here on batches are live. `events` were sent so far. Also told whenever
    /// `damaged` batches were left out; with `more` the past goes on.
    CaughtUp { subscription: SubscriptionId, cursor: Cursor, events: u64, damaged: u64, more: bool },
    /// Nothing more comes: all was told (`refusal` is `None`), or why not.
    Ended { subscription: SubscriptionId, cursor: Option<Cursor>, refusal: Option<Refusal> },
    /// The subscription is gone, as asked.
    Unsubscribed { request: u64 },
    /// A request was refused.
    Refused { request: u64, refusal: Refusal },
}
