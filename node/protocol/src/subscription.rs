//! Telling subscribers: from the store until they have caught up, live while they keep up, from the store again when not.

use crate::{
    OutEvent, Page, ReadToken, ServerMessage, SessionId, Subscribe, SubscriptionId,
    publish::{Context, StoredBatch},
};
use mainstem_model::{Code, Cursor, ReadFilter, ReadStart, Refusal, Right, StreamId, StreamPartition};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes asked of the store at once for one subscription.
const PAGE_BYTES_MAX: usize = 512 << 10;

type Key = (SessionId, SubscriptionId);

/// Every subscription, and what each has on its way.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// The store's number, part of cursors.
    log: u64,
    subscriptions: BTreeMap<Key, Subscription>,
    by_partition: BTreeMap<StreamPartition, Readers>,
    reads: BTreeMap<ReadToken, Key>,
    /// Bytes on their way to all subscriptions, pages asked for included.
    queue_bytes: usize,
}

/// Who reads one partition.
#[derive(Debug, Default)]
struct Readers {
    keys: BTreeSet<Key>,
    /// Position behind the last batch that was offered to them live; 0 before the first.
    end: u64,
}

#[derive(Debug)]
struct Subscription {
    at: StreamPartition,
    filter: ReadFilter,
    live: bool,
    /// Began at a reader's own cursor.
    resumed: bool,
    mode: Mode,
    /// Bytes on their way to this subscriber.
    queue_bytes: usize,
    /// Bytes of the page that is being read for it.
    reserved: usize,
    /// Events sent so far.
    events: u64,
    /// Damaged batches left out so far.
    damaged: u64,
    told_caught_up: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The store is looking for the cursor to begin at.
    Starting,
    /// Reading from the store; `in_history` when what is read now lies in the order of history.
    Reading { cursor: Cursor, busy: bool },
    /// Everything before `next` was sent.
    Live { next: u64 },
}

impl Delivery {
    pub(crate) const fn new(log: u64) -> Self {
        Self {
            log,
            subscriptions: BTreeMap::new(),
            by_partition: BTreeMap::new(),
            reads: BTreeMap::new(),
            queue_bytes: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.subscriptions.len()
    }

    pub(crate) const fn queue_bytes(&self) -> usize {
        self.queue_bytes
    }

    /// A session wants to read.
    pub(crate) fn handle_subscribe(
        &mut self,
        session: SessionId,
        request: u64,
        subscribe: Subscribe,
        cx: &mut Context<'_>,
    ) {
        let Subscribe { at, start, filter, live } = subscribe;
        let identity = cx.sessions.identity(session);
        let checked = check_start(start, &filter, live, cx.config.last_events_max)
            .and_then(|()| cx.registry.check(at, identity, Right::Subscribe, cx.now.unix_s()).map(|_| ()))
            .and_then(|()| match cx.sessions.find(session) {
                Some(session) => session.next_subscription(cx.config),
                None => Err(Refusal::new(Code::ShuttingDown, "the session is closed")),
            });
        let id = match checked {
            Ok(id) => id,
            Err(refusal) => return cx.refuse(session, request, refusal),
        };
        let key = (session, id);
        let read = cx.read_token();
        self.reads.insert(read, key);
        self.by_partition.entry(at).or_default().keys.insert(key);
        self.subscriptions.insert(
            key,
            Subscription {
                at,
                filter,
                live,
                resumed: matches!(start, ReadStart::Cursor(_)),
                mode: Mode::Starting,
                queue_bytes: 0,
                reserved: 0,
                events: 0,
                damaged: 0,
                told_caught_up: false,
            },
        );
        cx.out.push(OutEvent::Send {
            session,
            message: ServerMessage::Subscribed { request, subscription: id },
        });
        cx.out.push(OutEvent::ResolveStart { read, at, start, filter });
    }

    /// A session has read enough.
    pub(crate) fn handle_unsubscribe(
        &mut self,
        session: SessionId,
        request: u64,
        subscription: SubscriptionId,
        cx: &mut Context<'_>,
    ) {
        if self.remove((session, subscription), cx) {
            cx.out.push(OutEvent::Send { session, message: ServerMessage::Unsubscribed { request } });
        } else {
            let refusal = Refusal::new(
                Code::UnknownSubscription,
                format!("this connection has no subscription {}", subscription.0),
            );
            cx.refuse(session, request, refusal);
        }
    }

    /// A session is gone.
    pub(crate) fn handle_closed(&mut self, session: SessionId, cx: &mut Context<'_>) {
        let range = (session, SubscriptionId(0))..=(session, SubscriptionId(u32::MAX));
        let keys: Vec<_> = self.subscriptions.range(range).map(|(key, _)| *key).collect();
        for key in keys {
            self.remove(key, cx);
        }
    }

    /// The cursor to begin at was found.
    pub(crate) fn handle_start(
        &mut self,
        read: ReadToken,
        result: Result<Cursor, Refusal>,
        cx: &mut Context<'_>,
    ) {
        let Some(key) = self.reads.remove(&read) else { return };
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return release(key, cx) };
        match result {
            // Nothing of the past was found, and what comes from now on is not asked for.
            Ok(cursor @ Cursor::Arrival { .. }) if !subscription.live && !subscription.resumed => {
                self.end(key, Some(cursor), None, cx);
            }
            Ok(cursor) => {
                subscription.mode = Mode::Reading { cursor, busy: false };
                self.read_on(key, cx);
            }
            Err(refusal) => self.end(key, None, Some(refusal), cx),
        }
    }

    /// A page of the past was read.
    pub(crate) fn handle_page(
        &mut self,
        read: ReadToken,
        result: Result<Page, Refusal>,
        cx: &mut Context<'_>,
    ) {
        let Some(key) = self.reads.remove(&read) else { return };
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return release(key, cx) };
        self.queue_bytes -= subscription.reserved;
        subscription.reserved = 0;
        let Mode::Reading { cursor: before, .. } = subscription.mode else { return };
        let page = match result {
            Ok(page) => page,
            Err(refusal) => return self.end(key, Some(before), Some(refusal), cx),
        };
        subscription.mode = Mode::Reading { cursor: page.next, busy: false };
        subscription.damaged += page.damaged;
        cx.counters.batches_damaged += page.damaged;
        for past in page.batches {
            let bytes = past.bytes.len();
            subscription.queue_bytes += bytes;
            self.queue_bytes += bytes;
            let events = u64::from(past.count.saturating_sub(past.cursor.skip()));
            subscription.events += events;
            count_delivery(cx, events, bytes);
            let message = ServerMessage::Deliver {
                subscription: key.1,
                cursor: past.cursor,
                received_at: past.received_at,
                batch: past.bytes,
            };
            cx.out.push(OutEvent::Send { session: key.0, message });
        }
        let left_history = matches!((before, page.next), (Cursor::History { .. }, Cursor::Arrival { .. }));
        if !subscription.live && (page.at_end || left_history) {
            let refusal = (subscription.damaged > 0).then(|| {
                Refusal::new(
                    Code::DamagedHistory,
                    format!(
                        "{} batches of this stretch are damaged here; the others were sent",
                        subscription.damaged
                    ),
                )
            });
            return self.end(key, Some(page.next), refusal, cx);
        }
        if page.at_end {
            self.go_live(key, page.next, cx);
        }
        self.read_on(key, cx);
    }

    /// The reader stands at the end of what is stored. Batches may have been offered live while the page was read; only
    /// when there were none behind it is the reader live.
    fn go_live(&mut self, key: Key, cursor: Cursor, cx: &mut Context<'_>) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        let Cursor::Arrival { position, .. } = cursor else { return };
        let offered = self.by_partition.get(&subscription.at).map_or(0, |readers| readers.end);
        if position < offered {
            return;
        }
        subscription.mode = Mode::Live { next: position };
        if !subscription.told_caught_up {
            subscription.told_caught_up = true;
            let message =
                ServerMessage::CaughtUp { subscription: key.1, cursor, events: subscription.events };
            cx.out.push(OutEvent::Send { session: key.0, message });
        }
    }

    /// Asks the store for the next page, if this reader reads, has none coming, and has room.
    fn read_on(&mut self, key: Key, cx: &mut Context<'_>) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        let Mode::Reading { cursor, busy: false } = subscription.mode else { return };
        let max = cx.config.subscription_queue_bytes_max;
        let crowded = self.queue_bytes >= cx.config.delivery_queue_bytes_max;
        if subscription.queue_bytes > 0 && (crowded || subscription.queue_bytes > max / 2) {
            return;
        }
        let room = max.saturating_sub(subscription.queue_bytes).min(PAGE_BYTES_MAX);
        let bytes_max = if crowded { 0 } else { room };
        subscription.reserved = bytes_max;
        self.queue_bytes += bytes_max;
        subscription.mode = Mode::Reading { cursor, busy: true };
        let read = cx.read_token();
        self.reads.insert(read, key);
        let (at, filter) = (subscription.at, subscription.filter);
        cx.out.push(OutEvent::ReadPage { read, at, cursor, filter, bytes_max });
    }

    /// A batch has reached the journal: offer it to the live readers of its partition.
    pub(crate) fn deliver(&mut self, stored: &StoredBatch, cx: &mut Context<'_>) {
        let StoredBatch { batch, position, received_at } = stored;
        let (header, bytes) = (batch.header(), batch.bytes().len());
        let Some(readers) = self.by_partition.get_mut(&header.stream_partition) else { return };
        readers.end = position + 1;
        for key in &readers.keys {
            let Some(subscription) = self.subscriptions.get_mut(key) else { continue };
            let Mode::Live { next } = subscription.mode else { continue };
            if *position < next {
                continue;
            }
            if !subscription.filter.wants(header) {
                subscription.mode = Mode::Live { next: position + 1 };
                continue;
            }
            let cursor = Cursor::Arrival { log: self.log, position: *position, skip: 0 };
            let full = subscription.queue_bytes + bytes > cx.config.subscription_queue_bytes_max
                || self.queue_bytes + bytes > cx.config.delivery_queue_bytes_max;
            if subscription.queue_bytes > 0 && full {
                let cursor = Cursor::Arrival { log: self.log, position: next, skip: 0 };
                subscription.mode = Mode::Reading { cursor, busy: false };
                cx.counters.subscriptions_lagged += 1;
                continue;
            }
            subscription.mode = Mode::Live { next: position + 1 };
            subscription.queue_bytes += bytes;
            self.queue_bytes += bytes;
            subscription.events += u64::from(header.count);
            count_delivery(cx, u64::from(header.count), bytes);
            let message = ServerMessage::Deliver {
                subscription: key.1,
                cursor,
                received_at: *received_at,
                batch: batch.bytes().clone(),
            };
            cx.out.push(OutEvent::Send { session: key.0, message });
        }
    }

    /// The transport has taken bytes of a subscription.
    pub(crate) fn handle_flushed(&mut self, key: Key, bytes: usize, cx: &mut Context<'_>) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        let bytes = bytes.min(subscription.queue_bytes);
        subscription.queue_bytes -= bytes;
        self.queue_bytes -= bytes;
        self.read_on(key, cx);
    }

    /// Ends every subscription whose holder may no longer read: of one stream after a change of its rights, of all as
    /// time passes.
    pub(crate) fn recheck(&mut self, stream: Option<StreamId>, cx: &mut Context<'_>) {
        let now_s = cx.now.unix_s();
        let mut lost = Vec::new();
        for (key, subscription) in &self.subscriptions {
            if stream.is_some_and(|stream| stream != subscription.at.stream) {
                continue;
            }
            let identity = cx.sessions.identity(key.0);
            if let Err(refusal) = cx.registry.check(subscription.at, identity, Right::Subscribe, now_s) {
                lost.push((*key, refusal));
            }
        }
        for (key, refusal) in lost {
            self.end(key, None, Some(refusal), cx);
        }
    }

    fn end(&mut self, key: Key, cursor: Option<Cursor>, refusal: Option<Refusal>, cx: &mut Context<'_>) {
        if let Some(refusal) = &refusal {
            cx.counters.count_refusal(refusal.code);
        }
        self.remove(key, cx);
        let message = ServerMessage::Ended { subscription: key.1, cursor, refusal };
        cx.out.push(OutEvent::Send { session: key.0, message });
    }

    fn remove(&mut self, key: Key, cx: &mut Context<'_>) -> bool {
        let Some(subscription) = self.subscriptions.remove(&key) else { return false };
        self.queue_bytes -= subscription.queue_bytes + subscription.reserved;
        if let Some(readers) = self.by_partition.get_mut(&subscription.at) {
            readers.keys.remove(&key);
            if readers.keys.is_empty() {
                self.by_partition.remove(&subscription.at);
            }
        }
        // Who ends subscriptions as fast as they begin must not make the store read for more than it may have.
        if !matches!(subscription.mode, Mode::Starting | Mode::Reading { busy: true, .. }) {
            release(key, cx);
        }
        true
    }
}

/// Gives a subscription's place back to its session.
fn release(key: Key, cx: &mut Context<'_>) {
    if let Some(session) = cx.sessions.find(key.0) {
        session.subscriptions -= 1;
    }
}

fn check_start(start: ReadStart, filter: &ReadFilter, live: bool, last_max: u64) -> Result<(), Refusal> {
    if matches!(start, ReadStart::Last(n) if n > last_max) {
        return Err(Refusal::new(
            Code::InvalidArgument,
            format!(
                "the last n events can be asked for up to n = {last_max}; ask for a range of time instead"
            ),
        ));
    }
    if matches!(start, ReadStart::Last(_)) && (filter.from, filter.to) != (i64::MIN, i64::MAX) {
        return Err(Refusal::new(
            Code::InvalidArgument,
            "ask for the last n events or for a range of time, not for both",
        ));
    }
    if live && filter.to != i64::MAX {
        return Err(Refusal::new(
            Code::InvalidArgument,
            "a range has an end and cannot go on live; ask with live = false, or from a time on",
        ));
    }
    if filter.from > filter.to {
        return Err(Refusal::new(Code::InvalidArgument, "the range ends before it begins"));
    }
    Ok(())
}

fn count_delivery(cx: &mut Context<'_>, events: u64, bytes: usize) {
    cx.counters.batches_delivered += 1;
    cx.counters.events_delivered += events;
    cx.counters.bytes_delivered += bytes as u64;
}
