use crate::{ClientError, Event, EventBatch};
use mainstem_model::{Address, BatchId, Cursor, Origin, SeriesId, StreamId, StreamPartition};

/// Which partitions to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partitions {
    /// One.
    One(StreamPartition),
    /// These.
    Some(Vec<StreamPartition>),
    /// All of a stream, as many as the chain says that it has.
    All(StreamId),
}

impl From<StreamPartition> for Partitions {
    fn from(at: StreamPartition) -> Self {
        Self::One(at)
    }
}

impl From<StreamId> for Partitions {
    fn from(stream: StreamId) -> Self {
        Self::All(stream)
    }
}

impl From<Vec<StreamPartition>> for Partitions {
    fn from(all: Vec<StreamPartition>) -> Self {
        Self::Some(all)
    }
}

/// Where a subscription begins.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Start {
    /// Nothing of the past: what the broker takes in after `subscribe` has returned.
    #[default]
    Now,
    /// The last n events of each partition.
    Last(u64),
    /// Events of this timestamp (milliseconds) and later.
    From(i64),
    /// Behind an event, in its one partition: see [`Event::cursor`].
    Cursor(Cursor),
    /// The same for several partitions: see [`Subscription::cursors`]. Partitions without one begin now.
    Cursors(Vec<(StreamPartition, Cursor)>),
}

/// What to subscribe to.
///
/// ```
/// use mainstem_client::{Start, SubscribeOptions};
/// use mainstem_model::{Address, Partition, StreamId};
/// let stream = StreamId(Address([2; 20]));
/// let options = SubscribeOptions::new(stream.partition(Partition::ZERO)).start(Start::Last(100));
/// # let _ = options;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// What to read.
    pub partitions: Partitions,
    /// Where to begin.
    pub start: Start,
    /// Only events of this origin.
    pub origin: Option<Address>,
    /// Ask the chain, too, whether each origin may publish. Takes a chain in the configuration; else it is the broker's word.
    pub check_publishers: bool,
}

impl SubscribeOptions {
    /// Everything from now on.
    pub fn new(partitions: impl Into<Partitions>) -> Self {
        Self { partitions: partitions.into(), start: Start::Now, origin: None, check_publishers: false }
    }

    /// Begins elsewhere.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Only events of one origin.
    #[must_use]
    pub const fn origin(mut self, origin: Address) -> Self {
        self.origin = Some(origin);
        self
    }
}

/// Which part of the past to resend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResendRange {
    /// The last n events of each partition.
    Last(u64),
    /// Events of this timestamp (milliseconds) up to now.
    From(i64),
    /// Events between two timestamps, both included.
    Range {
        /// First millisecond.
        from: i64,
        /// Last millisecond.
        to: i64,
    },
    /// What came behind a cursor, up to now.
    Cursor(Cursor),
}

/// What to resend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResendOptions {
    /// What to read.
    pub partitions: Partitions,
    /// Which part of it.
    pub range: ResendRange,
    /// Only events of this origin.
    pub origin: Option<Address>,
}

impl ResendOptions {
    /// Of every origin.
    pub fn new(partitions: impl Into<Partitions>, range: ResendRange) -> Self {
        Self { partitions: partitions.into(), range, origin: None }
    }
}

/// What a subscription brings.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// Proven events, each series in its order, none twice.
    Batch(EventBatch),
    /// The past of a partition was told; from here on events are live.
    CaughtUp {
        /// Which partition.
        at: StreamPartition,
    },
    /// Events of a series are missing, and the broker could not fill the hole. What follows is behind it.
    Gap(Gap),
    /// An origin signed two batches for one place. The second was dropped, and so is what builds on it.
    Fork(Fork),
    /// The broker sent something that does not hold; the client connects anew and reads on where it stood.
    Rejected {
        /// Which partition.
        at: StreamPartition,
        /// What did not hold.
        error: ClientError,
    },
    /// All that was asked for was told: the end of a resend.
    Completed(Completion),
}

/// A hole in a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Where.
    pub at: StreamPartition,
    /// Whose series.
    pub origin: Origin,
    /// Which series.
    pub series: SeriesId,
    /// First missing sequence.
    pub from: u64,
    /// First sequence that is there again.
    pub to: u64,
}

/// Two batches for one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fork {
    /// Where.
    pub at: StreamPartition,
    /// Whose series.
    pub origin: Origin,
    /// Which series.
    pub series: SeriesId,
    /// Sequence at which the second branch shows.
    pub sequence: u64,
    /// The batch that was taken; [`BatchId::NONE`] when it is not remembered any more.
    pub first: BatchId,
    /// The batch that was dropped.
    pub second: BatchId,
}

/// The end of a resend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Events that were brought.
    pub events: u64,
    /// Whether the broker had damaged or missing parts.
    pub complete: bool,
}

/// A running subscription or resend. Ends when dropped.
///
/// Also a [`Stream`](futures_util::Stream) of events.
#[derive(Debug)]
pub struct Subscription {}

impl Subscription {
    /// The next event. `None` after the end. After an error of kind `Gap`, `Equivocation`, or of a batch that the broker
    /// sent wrongly, events go on; after any other comes `None`.
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Result<Event, ClientError>> {
        todo!()
    }

    /// The next batch: no allocation for each event. Errors as [`Subscription::next`].
    ///
    /// Cancel safe.
    pub async fn next_batch(&mut self) -> Option<Result<EventBatch, ClientError>> {
        todo!()
    }

    /// The next batch or notice. An error is the end.
    ///
    /// Cancel safe.
    pub async fn next_delivery(&mut self) -> Option<Result<Delivery, ClientError>> {
        todo!()
    }

    /// Where to go on behind everything that was taken so far, for each partition of which anything was.
    pub fn cursors(&self) -> Vec<(StreamPartition, Cursor)> {
        todo!()
    }

    /// The end of a resend, once it was reached.
    pub fn completion(&self) -> Option<Completion> {
        todo!()
    }

    /// Ends it, and waits until the broker knows.
    pub async fn unsubscribe(self) {
        todo!()
    }
}
