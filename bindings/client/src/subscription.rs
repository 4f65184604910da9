use crate::{
    ClientError, ErrorKind, Event, EventBatch,
    connection::Hold,
    feed::{Ended, Feed, Item, Output},
    frame::Subscribe,
};
use futures_util::Stream;
use mainstem_model::{
    Address, BatchId, Cursor, Origin, ReadFilter, ReadStart, SeriesId, StreamId, StreamPartition,
};
use std::{
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::{mpsc, oneshot, watch};

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
/// Also a [`Stream`] of events.
#[derive(Debug)]
pub struct Subscription {
    items: mpsc::UnboundedReceiver<Item>,
    /// Events of a batch that was begun by `next`.
    events: VecDeque<Event>,
    cursors: BTreeMap<StreamPartition, Cursor>,
    /// Partitions that have not ended.
    open: usize,
    ended: Ended,
    live: bool,
    completion: Option<Completion>,
    finished: bool,
    stop: watch::Sender<bool>,
    /// Keeps the connection.
    _hold: Arc<Hold>,
}

impl Subscription {
    /// Begins to read every one of `partitions`; returns when the broker has taken all of them.
    pub(crate) async fn begin(
        hold: Arc<Hold>,
        asks: Vec<Subscribe>,
        check_publishers: bool,
    ) -> Result<Self, ClientError> {
        let core = hold.0.clone();
        let (out, items) = Output::new(core.config.subscribe.queue_bytes_max);
        let (stop, stopped) = watch::channel(false);
        let live = asks.iter().any(|ask| ask.live);
        let open = asks.len();
        let mut starts = Vec::with_capacity(open);
        for ask in asks {
            let (started, start) = oneshot::channel();
            let feed = Feed::new(core.clone(), ask, check_publishers, out.clone(), stopped.clone(), started);
            core.publishing.runtime().spawn(feed.run());
            starts.push(start);
        }
        drop(out);
        let subscription = Self {
            items,
            events: VecDeque::new(),
            cursors: BTreeMap::new(),
            open,
            ended: Ended { events: 0, complete: true },
            live,
            completion: None,
            finished: false,
            stop,
            _hold: hold,
        };
        for start in starts {
            start.await.map_err(|_| ClientError::closed())??;
        }
        Ok(subscription)
    }

    /// The next event. `None` after the end. After an error of kind `Gap`, `Equivocation`, or of something that the broker
    /// sent wrongly, events go on; after any other comes `None`.
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Result<Event, ClientError>> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// The next batch: no allocation for each event. Errors as [`Subscription::next`].
    ///
    /// Cancel safe.
    pub async fn next_batch(&mut self) -> Option<Result<EventBatch, ClientError>> {
        poll_fn(|cx| self.poll_batch(cx)).await
    }

    /// The next batch or notice. An error is the end.
    ///
    /// Cancel safe.
    pub async fn next_delivery(&mut self) -> Option<Result<Delivery, ClientError>> {
        poll_fn(|cx| self.poll_delivery(cx)).await
    }

    /// Where to go on behind everything that was taken so far, for each partition of which anything was.
    pub fn cursors(&self) -> Vec<(StreamPartition, Cursor)> {
        self.cursors.iter().map(|(at, cursor)| (*at, *cursor)).collect()
    }

    /// The end of a resend, once it was reached.
    pub const fn completion(&self) -> Option<Completion> {
        self.completion
    }

    /// Ends it, and waits until nothing of it is under way here.
    pub async fn unsubscribe(mut self) {
        self.stop.send_replace(true);
        while self.items.recv().await.is_some() {}
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event, ClientError>>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                self.cursors.insert(event.stream_partition(), event.cursor());
                return Poll::Ready(Some(Ok(event)));
            }
            match self.poll_item(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Some(Ok(Delivery::Batch(batch)))) => self.events.extend(Event::all_of(&batch)),
                Poll::Ready(Some(Ok(notice))) => {
                    if let Some(error) = error_of(notice) {
                        return Poll::Ready(Some(Err(error)));
                    }
                }
            }
        }
    }

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<EventBatch, ClientError>>> {
        loop {
            match self.poll_delivery(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Some(Ok(Delivery::Batch(batch)))) => return Poll::Ready(Some(Ok(batch))),
                Poll::Ready(Some(Ok(notice))) => {
                    if let Some(error) = error_of(notice) {
                        return Poll::Ready(Some(Err(error)));
                    }
                }
            }
        }
    }

    fn poll_delivery(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Delivery, ClientError>>> {
        // What `next` has begun is brought to its end first.
        if let Some(event) = self.events.pop_front() {
            self.events.clear();
            let batch = event.batch().rest(event.index());
            self.cursors.insert(batch.stream_partition(), batch.cursor());
            return Poll::Ready(Some(Ok(Delivery::Batch(batch))));
        }
        let polled = self.poll_item(cx);
        if let Poll::Ready(Some(Ok(Delivery::Batch(batch)))) = &polled {
            self.cursors.insert(batch.stream_partition(), batch.cursor());
        }
        polled
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Delivery, ClientError>>> {
        if self.finished {
            return Poll::Ready(None);
        }
        loop {
            let item = match self.items.poll_recv(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(item) => item,
            };
            match item {
                // IMPORTANT: the room is free as soon as the application has the batch.
                Some(Item::Batch(batch, _room)) => return Poll::Ready(Some(Ok(Delivery::Batch(batch)))),
                Some(Item::Notice(notice)) => return Poll::Ready(Some(Ok(notice))),
                Some(Item::CaughtUp { at, cursor }) => {
                    self.cursors.insert(at, cursor);
                    return Poll::Ready(Some(Ok(Delivery::CaughtUp { at })));
                }
                Some(Item::Ended { result: Err(error) }) => {
                    self.finish();
                    return Poll::Ready(Some(Err(error)));
                }
                Some(Item::Ended { result: Ok(ended) }) => {
                    self.open = self.open.saturating_sub(1);
                    self.ended.events += ended.events;
                    self.ended.complete &= ended.complete;
                    if self.open == 0 && !self.live {
                        self.finish();
                        let Ended { events, complete } = self.ended;
                        let completion = Completion { events, complete };
                        self.completion = Some(completion);
                        return Poll::Ready(Some(Ok(Delivery::Completed(completion))));
                    }
                }
                None => {
                    self.finish();
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn finish(&mut self) {
        self.finished = true;
        self.stop.send_replace(true);
    }
}

impl Stream for Subscription {
    type Item = Result<Event, ClientError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_event(cx)
    }
}

/// What is told to those who take events only.
fn error_of(notice: Delivery) -> Option<ClientError> {
    match notice {
        Delivery::Gap(gap) => Some(ClientError::new(
            ErrorKind::Gap,
            format!(
                "events {} to {} of series {} of {} in {} are missing",
                gap.from,
                gap.to.saturating_sub(1),
                gap.series,
                gap.origin,
                gap.at
            ),
        )),
        Delivery::Fork(fork) => Some(ClientError::new(
            ErrorKind::Equivocation,
            format!(
                "{} has signed two batches for sequence {} of series {} in {}",
                fork.origin, fork.sequence, fork.series, fork.at
            ),
        )),
        Delivery::Rejected { error, .. } => Some(error),
        Delivery::Batch(_) | Delivery::CaughtUp { .. } | Delivery::Completed(_) => None,
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
