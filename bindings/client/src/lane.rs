//! One publisher's way into one partition: events fill a batch, batches are sealed in order, sent in order, and kept until they
//! are acked.

mod linger;
mod restart;
mod state;

use crate::{
    ClientError, ErrorKind, PublishConfig, PublishReceipt, Published,
    encryption::{SEALABLE_BYTES_MAX, Sealing},
    publishing::{Publishing, Sending},
    session::Session,
    ticket::Ticket,
};
use bytes::Bytes;
use linger::linger;
use mainstem_model::{
    Ack, Batch, BatchError, Code, EncryptionType, Network, NewEvent, SeriesId, SeriesWriter, Signer,
    StreamPartition, limits,
};
use state::{Item, Open, State};
use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};
use tokio::sync::Notify;

/// A batch up to this size is sealed by whoever publishes, when nothing else is being sealed: that takes less than waking
/// the sealing thread and being woken by it.
const SEALED_HERE_BYTES_MAX: usize = 2 << 10;

/// Bytes that an event takes in a batch besides its content.
const EVENT_BYTES: usize = 24;

#[derive(Debug)]
pub(crate) struct Lane {
    at: StreamPartition,
    network: Network,
    signer: Signer,
    /// How contents are sealed, if they are.
    sealing: Option<Sealing>,
    pub(crate) config: PublishConfig,
    publishing: Arc<Publishing>,
    state: Mutex<State>,
    /// Locked before the state, if both are.
    writer: Mutex<SeriesWriter>,
    /// Something was acked, or failed.
    progress: Notify,
    linger: Arc<Notify>,
    /// No publisher holds it any more.
    released: AtomicBool,
}

impl Lane {
    pub(crate) fn start(
        publishing: Arc<Publishing>,
        network: Network,
        at: StreamPartition,
        signer: Signer,
        sealing: Option<Sealing>,
        config: PublishConfig,
    ) -> Arc<Self> {
        let writer = SeriesWriter::new(network, at, signer.clone(), SeriesId(rand::random()));
        let lane = Arc::new(Self {
            at,
            network,
            signer,
            sealing,
            config,
            publishing,
            state: Mutex::new(State { parked: true, ..State::default() }),
            writer: Mutex::new(writer),
            progress: Notify::new(),
            linger: Arc::new(Notify::new()),
            released: AtomicBool::new(false),
        });
        lane.publishing.runtime().spawn(linger(Arc::downgrade(&lane), lane.linger.clone()));
        lane
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an event in; gives it back when there is no room.
    pub(crate) fn offer(
        self: &Arc<Self>,
        event: NewEvent,
    ) -> Result<Result<PublishReceipt, NewEvent>, ClientError> {
        let content = event.content.len();
        let sealing = self.sealing.as_ref().filter(|_| event.encryption_type == EncryptionType::NONE);
        let size = content + EVENT_BYTES + sealing.map_or(0, |sealing| sealing.overhead);
        let max = sealing.map_or(limits::CONTENT_BYTES_MAX, |_| SEALABLE_BYTES_MAX);
        let mut state = self.state();
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        if content > max {
            return Err(ClientError::new(
                ErrorKind::TooLarge,
                format!("the event has {content} bytes of content, at most {max} are allowed"),
            ));
        }
        if state.bytes > 0 && state.bytes + size > self.config.buffer_bytes_max {
            return Ok(Err(event));
        }
        let open = &state.open;
        let apart = open.greatest.max(event.timestamp).saturating_sub(open.least.min(event.timestamp));
        let fits = open.bytes + size <= self.config.batch_bytes_max && apart <= limits::BATCH_SPAN_MS_MAX;
        if !open.events.is_empty() && !fits {
            self.cut(&mut state);
        }
        state.bytes += size;
        let idle = state.sealing == 0 && state.items.is_empty();
        let open = &mut state.open;
        let index = open.events.len();
        if index == 0 {
            (open.least, open.greatest) = (event.timestamp, event.timestamp);
        } else {
            open.least = open.least.min(event.timestamp);
            open.greatest = open.greatest.max(event.timestamp);
        }
        open.bytes += size;
        open.events.push(event);
        // At most EVENTS_PER_BATCH_MAX.
        let receipt = PublishReceipt::new(open.ticket.clone(), index as u16);
        let events_max = self.config.batch_events_max.clamp(1, limits::EVENTS_PER_BATCH_MAX);
        if idle || index + 1 >= events_max || open.bytes >= self.config.batch_bytes_max {
            let here = state.sealing == 0
                && state.open.bytes <= SEALED_HERE_BYTES_MAX
                && !self.signer.signature_type().is_of_plugin()
                && !self.sealing.as_ref().is_some_and(Sealing::is_of_plugin);
            // IMPORTANT: the writer is locked before the state is let go, so that what is cut next is sealed behind this.
            match self.writer.try_lock() {
                Ok(writer) if here => {
                    let open = state.take_open();
                    drop(state);
                    self.seal(open, writer);
                }
                _ => self.cut(&mut state),
            }
        } else if index == 0 {
            open.since = Some(Instant::now());
            if mem::take(&mut state.parked) {
                self.linger.notify_one();
            }
        }
        Ok(Ok(receipt))
    }

    /// Hands the filling batch to the sealing thread. IMPORTANT: under the lock, so that batches are sealed in order.
    fn cut(self: &Arc<Self>, state: &mut State) {
        let open = state.take_open();
        let lane = self.clone();
        self.publishing.sealer().run(move || lane.seal(open, lane.writer()));
    }

    /// When nothing is on its way any more, nothing waits.
    fn cut_if_idle(self: &Arc<Self>, state: &mut State) {
        if state.items.is_empty() && state.sealing == 0 && !state.open.events.is_empty() {
            self.cut(state);
        }
    }

    fn writer(&self) -> MutexGuard<'_, SeriesWriter> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// IMPORTANT: `writer` is held until the batch is among the items, so that they are in the order of their sequences.
    fn seal(self: &Arc<Self>, mut open: Open, mut writer: MutexGuard<'_, SeriesWriter>) {
        let events = mem::take(&mut open.events);
        let events = match &self.sealing {
            Some(sealing) => sealing.seal(events),
            None => Ok(events),
        };
        let sealed = events.and_then(|events| Ok(self.seal_next(&events, &mut writer)?));
        let mut state = self.state();
        state.sealing -= 1;
        let batch = match (sealed, state.failed.clone()) {
            (Ok(batch), None) => batch,
            (_, Some(error)) => {
                drop(state);
                return open.ticket.resolve(Err(error));
            }
            (Err(error), None) => {
                drop(state);
                open.ticket.resolve(Err(error.clone()));
                return self.fail(error);
            }
        };
        state.items.push_back(Item::new(batch, Some(open.ticket.clone()), open.bytes));
        self.enqueue(&mut state);
    }

    fn seal_next(&self, events: &[NewEvent], writer: &mut SeriesWriter) -> Result<Batch, BatchError> {
        match writer.seal(events) {
            // The caller's time goes back: within a series it must not, so another one begins.
            Err(BatchError::Timestamps(_)) if writer.head().next_sequence > 0 => {
                let series = SeriesId(rand::random());
                *writer = SeriesWriter::new(self.network, self.at, self.signer.clone(), series);
                writer.seal(events)
            }
            sealed => sealed,
        }
    }

    fn enqueue(self: &Arc<Self>, state: &mut State) {
        if !state.queued && !state.is_held() && state.sent < state.items.len() {
            state.queued = true;
            self.publishing.enqueue(self.clone());
        }
    }

    /// Puts batches to send into `chunks`.
    pub(crate) fn send(
        self: &Arc<Self>,
        session: &Arc<Session>,
        window_bytes: usize,
        budget: &mut usize,
        chunks: &mut Vec<Bytes>,
    ) -> Sending {
        let mut state = self.state();
        if !self.publishing.is_current(session) {
            // IMPORTANT: it stays queued, as who began the new session may have left it alone for that.
            return Sending::Stale;
        }
        if state.is_held() {
            state.queued = false;
            return Sending::Done;
        }
        while state.sent < state.items.len() {
            let serial = state.first + state.sent as u64;
            let place = state.sent;
            let item = &mut state.items[place];
            if !item.acked {
                if *budget == 0 {
                    return Sending::Enough;
                }
                let bytes = item.batch.bytes().clone();
                let used = session.publish_bytes.load(Ordering::SeqCst);
                if used > 0 && used + bytes.len() > window_bytes {
                    return Sending::WindowFull;
                }
                let (request, front) =
                    session.publish(self.clone(), serial, item.batch.id(), bytes.len(), self.config.ack);
                item.request = request;
                *budget = budget.saturating_sub(bytes.len());
                chunks.extend([front, bytes]);
                state.outstanding += 1;
            }
            state.sent += 1;
        }
        state.queued = false;
        Sending::Done
    }

    /// The broker has a batch.
    pub(crate) fn handle_ack(self: &Arc<Self>, serial: u64, request: u64, ack: Ack) {
        let mut state = self.state();
        let Some(item) = state.item(serial) else { return };
        if item.request == request {
            item.request = 0;
            state.outstanding -= 1;
        }
        let Some(item) = state.item(serial).filter(|item| !item.acked) else { return };
        item.acked = true;
        let header = item.batch.header();
        let published = Published {
            stream_partition: header.stream_partition,
            series: header.series,
            sequence: header.sequence,
            batch: item.batch.id(),
            ack,
        };
        let ticket = item.ticket.take();
        state.bring_back_next = 1;
        state.settle(ack.level, self.config.retained_bytes_max);
        self.cut_if_idle(&mut state);
        self.end_rewind(&mut state);
        drop(state);
        if let Some(ticket) = ticket {
            ticket.resolve(Ok(published));
        }
        self.progress.notify_waiters();
    }

    /// The broker refuses a batch.
    pub(crate) fn handle_refusal(
        self: &Arc<Self>,
        serial: u64,
        request: u64,
        error: ClientError,
        session: &Session,
    ) {
        let mut state = self.state();
        let Some(item) = state.item(serial).filter(|item| item.request == request && !item.acked) else {
            return;
        };
        item.request = 0;
        state.outstanding -= 1;
        let is_first =
            state.items.iter().position(|item| !item.acked) == usize::try_from(serial - state.first).ok();
        match error.code {
            // The brokers that are to keep it are behind, too few of them answer, or they do not know yet that it is theirs:
            // they may have it all the same.
            Some(Code::Overloaded | Code::TooFewCopies | Code::NotAssigned | Code::SignatureUnavailable) => {
                state.rewinding = true;
                state.delay = true;
            }
            // Another one before it was refused, or its answer is still to come.
            Some(Code::SeriesGap) if !is_first => state.rewinding = true,
            // The broker has lost what it had acked: it gets the last of it again, then more of it.
            Some(Code::SeriesGap) if state.bring_back() => {
                tracing::warn!(at = %self.at, "the broker has lost acked batches; they are sent again");
                state.rewinding = true;
            }
            // What lies between is lost: it was too old to be taken again.
            Some(Code::SeriesGap) if state.too_old => {
                if let Some(item) = state.item(serial) {
                    let series = item.batch.header().series;
                    state.breaks(series);
                }
            }
            Some(Code::InvalidTimestamp) => {
                self.drop_refused(&mut state, serial, error);
                self.cut_if_idle(&mut state);
            }
            // Nothing about the batch itself: the same on another connection, in a while.
            Some(
                Code::ShuttingDown | Code::StoreUnavailable | Code::ChainUnavailable | Code::LimitReached,
            ) => {
                drop(state);
                return session.fail(error);
            }
            _ => {
                self.fail_from(&mut state, serial, &error);
                drop(state);
                return self.progress.notify_waiters();
            }
        }
        self.end_rewind(&mut state);
    }

    /// When everything that was sent is answered, it begins again at the first that is not acked.
    fn end_rewind(self: &Arc<Self>, state: &mut State) {
        if state.restarting || state.outstanding > 0 {
            return;
        }
        if !state.broken.is_empty() {
            state.restarting = true;
            let lane = self.clone();
            return self.publishing.sealer().run(move || lane.restart());
        }
        if !state.rewinding {
            return;
        }
        state.rewinding = false;
        state.sent = 0;
        if mem::take(&mut state.delay) {
            state.rewinding = true;
            let (lane, wait) = (self.clone(), self.config.overload_backoff);
            self.publishing.runtime().spawn(async move {
                tokio::time::sleep(wait).await;
                let mut state = lane.state();
                state.rewinding = false;
                lane.enqueue(&mut state);
            });
        } else {
            self.enqueue(state);
        }
    }

    /// A new session begins: nothing is on its way.
    pub(crate) fn rewind(self: &Arc<Self>) {
        let mut state = self.state();
        for item in &mut state.items {
            item.request = 0;
        }
        (state.sent, state.outstanding) = (0, 0);
        (state.rewinding, state.delay) = (false, false);
        self.end_rewind(&mut state);
        self.enqueue(&mut state);
    }

    /// Nothing more is taken, and nothing that is not acked will be.
    pub(crate) fn fail(&self, error: ClientError) {
        let mut state = self.state();
        let first = state.first;
        self.fail_from(&mut state, first, &error);
        drop(state);
        self.progress.notify_waiters();
    }

    fn fail_from(&self, state: &mut State, serial: u64, error: &ClientError) {
        state.failed.get_or_insert_with(|| error.clone());
        let keep =
            usize::try_from(serial.saturating_sub(state.first)).unwrap_or(usize::MAX).min(state.items.len());
        for item in state.items.drain(keep..) {
            if item.request != 0 && !item.acked {
                state.outstanding -= 1;
            }
            if let Some(ticket) = item.ticket {
                ticket.resolve(Err(error.clone()));
            }
        }
        state.sent = state.sent.min(keep);
        mem::take(&mut state.open).ticket.resolve(Err(error.clone()));
    }

    /// Waits until an event may fit, or the lane has failed.
    pub(crate) async fn room(self: &Arc<Self>, event: NewEvent) -> Result<PublishReceipt, ClientError> {
        let mut event = event;
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            // IMPORTANT: waits from here on, so that room made after the offer below is noticed.
            progress.as_mut().enable();
            match self.offer(event)? {
                Ok(receipt) => return Ok(receipt),
                Err(back) => event = back,
            }
            progress.await;
        }
    }

    /// Waits until everything taken so far is acked.
    pub(crate) async fn flush(self: &Arc<Self>) -> Result<(), ClientError> {
        let mut until = None;
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            {
                let mut state = self.state();
                if let Some(error) = &state.failed {
                    return Err(error.clone());
                }
                if !state.open.events.is_empty() && until.is_none() {
                    self.cut(&mut state);
                }
                let until = *until.get_or_insert(state.cut);
                if state.first >= until {
                    return state.refused.take().map_or(Ok(()), Err);
                }
            }
            progress.await;
        }
    }

    /// The last publisher is gone: what it handed in still goes out.
    pub(crate) fn release(self: &Arc<Self>) {
        let mut state = self.state();
        if !state.open.events.is_empty() {
            self.cut(&mut state);
        }
        drop(state);
        self.released.store(true, Ordering::Release);
        self.linger.notify_one();
    }

    pub(crate) fn is_in_use(&self) -> bool {
        let state = self.state();
        state.sealing > 0 || !state.items.is_empty() || !self.released.load(Ordering::Acquire)
    }

    /// When the open batch must go; parks the linger task when there is none.
    fn linger_deadline(&self) -> Option<Instant> {
        let mut state = self.state();
        let since = state.open.since.filter(|_| !state.open.events.is_empty());
        state.parked = since.is_none();
        since.map(|since| since + self.config.linger)
    }

    fn linger_over(self: &Arc<Self>) {
        let mut state = self.state();
        let due = state.open.since.is_some_and(|since| since.elapsed() >= self.config.linger);
        if due && !state.open.events.is_empty() {
            self.cut(&mut state);
        }
    }
}

/// What lanes are to a publisher: the last one dropped releases them.
#[derive(Debug)]
pub(crate) struct LaneHold(pub(crate) Arc<Lane>);

impl Drop for LaneHold {
    fn drop(&mut self) {
        self.0.release();
    }
}
