//! What is asked for: which partitions, from where, of whom.

use crate::frame::Subscribe;
use mainstem_model::{Address, Cursor, Origin, ReadFilter, ReadStart, StreamId, StreamPartition};

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
    /// Behind an event, in its one partition: see [`Event::cursor`](crate::Event::cursor).
    Cursor(Cursor),
    /// The same for several partitions: see [`Subscription::cursors`](crate::Subscription::cursors). Partitions without one begin now.
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

impl Start {
    /// What to ask for at one partition.
    pub(crate) fn ask(&self, at: StreamPartition, origin: Option<Address>) -> Subscribe {
        let mut filter = ReadFilter { origin: origin.map(Origin::ethereum), ..ReadFilter::ALL };
        let start = match self {
            Self::Now => ReadStart::Now,
            Self::Last(count) => ReadStart::Last(*count),
            Self::From(timestamp) => {
                filter.from = *timestamp;
                ReadStart::From
            }
            Self::Cursor(cursor) => ReadStart::Cursor(*cursor),
            Self::Cursors(cursors) => {
                let found = cursors.iter().find(|(partition, _)| *partition == at);
                found.map_or(ReadStart::Now, |(_, cursor)| ReadStart::Cursor(*cursor))
            }
        };
        Subscribe { at, start, filter, live: true }
    }
}

impl ResendRange {
    /// What to ask for at one partition.
    pub(crate) fn ask(&self, at: StreamPartition, origin: Option<Address>) -> Subscribe {
        let mut filter = ReadFilter { origin: origin.map(Origin::ethereum), ..ReadFilter::ALL };
        let start = match self {
            Self::Last(count) => ReadStart::Last(*count),
            Self::From(from) => {
                filter.from = *from;
                ReadStart::From
            }
            Self::Range { from, to } => {
                (filter.from, filter.to) = (*from, *to);
                ReadStart::From
            }
            Self::Cursor(cursor) => ReadStart::Cursor(*cursor),
        };
        Subscribe { at, start, filter, live: false }
    }
}
