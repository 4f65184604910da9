use crate::{
    ClientError, ErrorKind, Event, EventBatch,
    connection::Hold,
    feed::Feed,
    frame::Subscribe,
    output::{Ended, Item, Output},
};
use futures_util::Stream;
use mainstem_model::{BatchId, Cursor, Origin, SeriesId, StreamPartition};
use std::{
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::{mpsc, oneshot, watch};

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
    /// Batches are damaged at the broker and were left out. Whose they were cannot be told; a [`Gap`] follows where a series
    /// shows the hole.
    Damaged(Damage),
    /// The broker sent something that does not hold; the client connects anew and reads on where it stood. Or, where
    /// publishers are checked, a live batch of somebody who may not publish: it is passed over.
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

/// Batches that the broker cannot read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where.
    pub at: StreamPartition,
    /// How many were left out.
    pub batches: u64,
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
        Delivery::Damaged(damage) => Some(ClientError::new(
            ErrorKind::Storage,
            format!(
                "{} batches of {} are damaged at the broker and were left out",
                damage.batches, damage.at
            ),
        )),
        Delivery::Rejected { error, .. } => Some(error),
        Delivery::Batch(_) | Delivery::CaughtUp { .. } | Delivery::Completed(_) => None,
    }
}
