//! Telling subscribers: from the store until they have caught up, live while they keep up, from the store again when not.

mod away;
mod rights;
mod room;
mod start;

use crate::{
    OutEvent, Page, ReadToken, ServerMessage, SessionId, Subscribe, SubscriptionId, context::Context, links,
    publish::StoredBatch, rule::Rule, session::limit,
};
use away::{Away, AwayReads, Seam, Seen};
use mainstem_model::{Code, Cursor, ReadFilter, ReadStart, Refusal, Right, StreamPartition};
use room::{Place, Room};
use start::check_start;
use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

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
    room: Room,
    /// The last second of each subscription's right to read.
    expiries: BTreeSet<(u64, Key)>,
    /// Subscriptions that have ended and still hold something.
    leaving: BTreeMap<Key, Leaving>,
    /// Subscriptions that wait until their partition can be read here.
    held: BTreeMap<StreamPartition, Vec<(Key, ReadStart)>>,
    /// Reads that other brokers do for readers here.
    away_reads: AwayReads,
}

/// What an ended subscription still holds.
#[derive(Debug)]
struct Leaving {
    /// Bytes handed out and not yet taken by its transport.
    queue_bytes: usize,
    /// What the store is reading for it. It counts as one of its session's subscriptions until that is over.
    reading: Option<Reading>,
}

/// Who reads one partition.
#[derive(Debug, Default)]
struct Readers {
    keys: BTreeSet<Key>,
    /// Those of them that are live: a batch costs nothing for the others.
    live: BTreeSet<Key>,
    /// Position behind the last batch that was offered to them live; 0 before the first.
    end: u64,
}

#[derive(Debug)]
struct Subscription {
    at: StreamPartition,
    filter: ReadFilter,
    live: bool,
    /// The last second of its right to read, as the rights stand.
    until: u64,
    /// Where it began.
    start: ReadStart,
    mode: Mode,
    /// Bytes on their way to this subscriber.
    queue_bytes: usize,
    /// What the store is reading for it.
    reading: Option<Reading>,
    /// Where it waits for room for the next page.
    place: Place,
    /// Events sent so far.
    events: u64,
    /// Damaged batches left out so far.
    damaged: u64,
    /// How many of them it was not told of yet.
    untold_damaged: u64,
    told_caught_up: bool,
    /// It reads the past at another broker.
    away: Option<Away>,
    /// What it had there.
    seen: Seen,
}

/// A read that is under way in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// For the cursor to begin at.
    Start,
    /// For a page; it has room.
    Page,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The store is looking for the cursor to begin at.
    Starting,
    /// Reading from the store.
    Reading { cursor: Cursor },
    /// Everything before `next` was sent.
    Live { next: u64 },
}

impl Delivery {
    pub(crate) fn new(log: u64) -> Self {
        Self {
            log,
            subscriptions: BTreeMap::new(),
            by_partition: BTreeMap::new(),
            reads: BTreeMap::new(),
            room: Room::default(),
            expiries: BTreeSet::new(),
            leaving: BTreeMap::new(),
            held: BTreeMap::new(),
            away_reads: AwayReads::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.subscriptions.len()
    }

    pub(crate) const fn queue_bytes(&self) -> usize {
        self.room.used()
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
            .and_then(|()| match cx.keeps(Rule::RightsOfReaders) {
                true => cx.registry.check(at, identity, Right::Subscribe, cx.now.unix_s()).map(|_| ()),
                false => Ok(()),
            })
            .and_then(|()| self.check_count(cx))
            .and_then(|()| match cx.sessions.find(session) {
                Some(session) => session.next_subscription(cx.config),
                None => Err(Refusal::new(Code::ShuttingDown, "the session is closed")),
            });
        let id = match checked {
            Ok(id) => id,
            Err(refusal) => return cx.refuse(session, request, refusal),
        };
        let key = (session, id);
        self.by_partition.entry(at).or_default().keys.insert(key);
        let until = cx.registry.subscribe_until(at.stream, identity);
        self.expiries.insert((until, key));
        self.subscriptions.insert(
            key,
            Subscription {
                at,
                filter,
                live,
                until,
                start,
                mode: Mode::Starting,
                queue_bytes: 0,
                reading: None,
                place: Place::Nowhere,
                events: 0,
                damaged: 0,
                untold_damaged: 0,
                told_caught_up: false,
                away: None,
                seen: Seen::default(),
            },
        );
        cx.out.push(OutEvent::Send {
            session,
            message: ServerMessage::Subscribed { request, subscription: id },
        });
        self.begin(key, start, cx);
    }

    /// Looks for where a subscription begins, once its partition can be read here.
    fn begin(&mut self, key: Key, start: ReadStart, cx: &mut Context<'_>) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        let (at, filter) = (subscription.at, subscription.filter);
        let mine = cx.network.is_mine(at);
        if !mine {
            links::follow(at, cx);
        }
        let readable = if mine { cx.ready || !cx.keeps(Rule::ServesWhenReady) } else { cx.links.stands(at) };
        if !readable {
            return self.held.entry(at).or_default().push((key, start));
        }
        if let ReadStart::Cursor(
            Cursor::Arrival { log, position, .. } | Cursor::History { log, until: position, .. },
        ) = start
            && log == self.log
            && !cx.links.goes_on_from(at, position)
        {
            let why =
                "the cursor is from before this broker followed or kept the partition; read from a time on";
            return self.end(key, None, Some(Refusal::new(Code::InvalidCursor, why)), cx);
        }
        subscription.reading = Some(Reading::Start);
        // A cursor of another broker means nothing here, whoever keeps the partition.
        let foreign = matches!(start, ReadStart::Cursor(cursor) if cursor.log() != self.log)
            && cx.keeps(Rule::ForeignCursors);
        let stays = (mine && !foreign) || !cx.keeps(Rule::SentAway);
        subscription.away = if stays { None } else { Away::of(start, self.log) };
        if subscription.away.is_some() {
            return self.find_home(key, at, filter, cx);
        }
        let read = cx.read_token();
        self.reads.insert(read, key);
        cx.out.push(OutEvent::ResolveStart { read, at, start, filter });
    }

    /// This broker has all that it is to keep, or is to keep something else.
    pub(crate) fn handle_ready(&mut self, cx: &mut Context<'_>) {
        let waiting: Vec<_> = self.held.keys().copied().collect();
        for at in waiting {
            self.handle_followed(at, cx);
        }
    }

    /// Others are to keep partitions that are read here.
    pub(crate) fn handle_assigned(&mut self, cx: &mut Context<'_>) {
        for at in self.by_partition.keys() {
            if !cx.network.is_mine(*at) {
                links::follow(*at, cx);
            }
        }
        self.handle_ready(cx);
    }

    /// A partition may be readable from now on.
    pub(crate) fn handle_followed(&mut self, at: StreamPartition, cx: &mut Context<'_>) {
        for (key, start) in self.held.remove(&at).unwrap_or_default() {
            self.begin(key, start, cx);
        }
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
            self.use_room(session, cx);
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
        let keys: Vec<_> = self.subscriptions.range(range.clone()).map(|(key, _)| *key).collect();
        for key in keys {
            self.remove(key, cx);
        }
        // What was handed out goes with the connection; what the store reads still comes.
        let keys: Vec<_> = self.leaving.range(range).map(|(key, _)| *key).collect();
        for key in keys {
            self.leaving_flushed(key, usize::MAX, cx);
        }
        self.use_room(session, cx);
    }

    fn check_count(&self, cx: &Context<'_>) -> Result<(), Refusal> {
        let max = cx.config.subscriptions_max;
        if self.subscriptions.len() + self.leaving.len() < max {
            return Ok(());
        }
        Err(limit("subscriptions of this broker", max, "try again later or at another broker"))
    }

    /// The cursor to begin at was found.
    pub(crate) fn handle_start(
        &mut self,
        read: ReadToken,
        result: Result<Cursor, Refusal>,
        cx: &mut Context<'_>,
    ) {
        let Some(key) = self.reads.remove(&read) else { return };
        let Some(subscription) = self.subscriptions.get_mut(&key) else {
            return self.leaving_read(key, cx);
        };
        subscription.reading = None;
        let leaves = subscription.away.as_ref().is_some_and(|away| away.peer().is_none());
        match result {
            Ok(home) if leaves => self.send_away(key, Some(home), cx),
            // Nothing of the past was found, and what comes from now on is not asked for.
            Ok(cursor @ Cursor::Arrival { .. }) if !subscription.live && !subscription.resumes() => {
                self.end(key, Some(cursor), None, cx);
            }
            // Nothing of the past was found elsewhere.
            Ok(Cursor::Arrival { .. }) if subscription.away.is_some() && !subscription.resumes() => {
                self.come_home(key, cx);
            }
            Ok(cursor) => {
                subscription.mode = Mode::Reading { cursor };
                self.read_on(key, cx);
            }
            Err(refusal) if self.try_next(key, &refusal, cx) => {}
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
        let Some(subscription) = self.subscriptions.get_mut(&key) else {
            self.leaving_read(key, cx);
            return self.use_room(key.0, cx);
        };
        subscription.reading = None;
        let bytes = result.iter().flat_map(|page| &page.batches).map(|past| past.bytes.len()).sum();
        self.room.page_read(key.0, bytes, cx);
        let Mode::Reading { cursor: before } = subscription.mode else { return };
        let page = match result {
            Ok(page) => page,
            Err(refusal) if self.try_next(key, &refusal, cx) => return self.use_room(key.0, cx),
            Err(refusal) => {
                self.end(key, Some(before), Some(refusal), cx);
                return self.use_room(key.0, cx);
            }
        };
        if subscription.seen.is_full() {
            let why = "the past has more series than can be remembered where it meets what is live; ask for less of it";
            self.end(key, Some(before), Some(Refusal::new(Code::LimitReached, why)), cx);
            return self.use_room(key.0, cx);
        }
        let at_home = subscription.away.is_none();
        subscription.mode = Mode::Reading { cursor: page.next };
        subscription.damaged += page.damaged;
        subscription.untold_damaged += page.damaged;
        cx.counters.batches_damaged += page.damaged;
        let mut again = None;
        for past in page.batches {
            let bytes = past.bytes.len();
            if again.is_some() {
                self.room.take_back(key.0, bytes, cx);
                continue;
            }
            let (seam, header) = subscription.seam(&past.bytes, cx);
            if seam != Seam::New {
                self.room.take_back(key.0, bytes, cx);
                again = header.filter(|_| seam == Seam::Gap).map(|header| (past.cursor, header));
                continue;
            }
            subscription.queue_bytes += bytes;
            let events = u64::from(past.count.saturating_sub(past.cursor.skip()));
            subscription.events += events;
            count_delivery(cx, events, bytes);
            let cursor = subscription.away.as_ref().map_or(past.cursor, |away| away.cursor(past.cursor));
            let message = ServerMessage::Deliver {
                subscription: key.1,
                cursor,
                received_at: past.received_at,
                batch: past.bytes,
            };
            cx.out.push(OutEvent::Send { session: key.0, message });
        }
        if let Some((home, header)) = again {
            self.go_again(key, home, &header, cx);
            return self.use_room(key.0, cx);
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
            self.end(key, Some(page.next), refusal, cx);
            return self.use_room(key.0, cx);
        }
        // What has come there since the reader went, comes here by the link; but not since an earlier reading.
        let reads_on = subscription.away.as_ref().is_some_and(Away::began_earlier);
        if !at_home && (page.at_end || (left_history && !reads_on)) {
            self.come_home(key, cx);
        } else if page.at_end {
            self.go_live(key, page.next, cx);
        }
        self.tell_damage(key, page.next, cx);
        self.read_on(key, cx);
        self.use_room(key.0, cx);
    }

    /// The reader stands at the end of what is stored. Batches may have been offered live while the page was read; only
    /// when there were none behind it is the reader live.
    fn go_live(&mut self, key: Key, cursor: Cursor, cx: &mut Context<'_>) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        let Cursor::Arrival { position, .. } = cursor else { return };
        let readers = self.by_partition.entry(subscription.at).or_default();
        if position < readers.end {
            return;
        }
        readers.live.insert(key);
        subscription.mode = Mode::Live { next: position };
        if !subscription.told_caught_up {
            subscription.told_caught_up = true;
            cx.out.push(subscription.caught_up(key, cursor));
        }
    }

    /// Damage is told of where it is met, with what was read of the same page: a reader that never comes to an end would
    /// else never hear of it.
    fn tell_damage(&mut self, key: Key, cursor: Cursor, cx: &mut Context<'_>) {
        if let Some(subscription) = self.subscriptions.get_mut(&key)
            && subscription.untold_damaged > 0
        {
            cx.out.push(subscription.caught_up(key, cursor));
        }
    }

    /// Asks for room for the next page, if this reader reads, has none coming, and its transport took enough of the last.
    fn read_on(&mut self, key: Key, cx: &mut Context<'_>) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        let reads = matches!(subscription.mode, Mode::Reading { .. }) && subscription.reading.is_none();
        let full = subscription.queue_bytes > 0 && subscription.queue_bytes > self.room.share(cx.config) / 2;
        if !reads || full || subscription.place != Place::Nowhere {
            return;
        }
        subscription.place = self.room.ask(key, cx);
        self.admit(cx);
    }

    /// Gives free room to those who wait for it: a session's own first, as they waited for that too.
    fn use_room(&mut self, session: SessionId, cx: &mut Context<'_>) {
        while let Some((key, ticket)) = self.room.unpark(session, cx) {
            if let Some(subscription) = self.subscriptions.get_mut(&key) {
                subscription.place = Place::Waiting(ticket);
            }
        }
        self.admit(cx);
    }

    /// Asks the store for the pages for which there is room.
    fn admit(&mut self, cx: &mut Context<'_>) {
        while let Some(key) = self.room.admit(cx.config) {
            let reader = self.subscriptions.get_mut(&key);
            let Some((subscription, cursor)) = reader.and_then(|reader| match reader.mode {
                Mode::Reading { cursor } => Some((reader, cursor)),
                Mode::Starting | Mode::Live { .. } => None,
            }) else {
                // Who leaves leaves the queue too, so this is not reached; the room would be lost.
                self.room.page_read(key.0, 0, cx);
                continue;
            };
            subscription.place = Place::Nowhere;
            subscription.reading = Some(Reading::Page);
            let room = self.room.share(cx.config).saturating_sub(subscription.queue_bytes).max(1);
            let read = cx.read_token();
            self.reads.insert(read, key);
            let (at, filter) = (subscription.at, subscription.filter);
            let bytes_max = room.min(PAGE_BYTES_MAX);
            if let Some(peer) = subscription.away.as_ref().and_then(Away::peer) {
                let filter = subscription.away.as_ref().map_or(filter, |away| away.filter(filter));
                // A round trip for each page: as much as there is room reserved for.
                let bytes_max = bytes_max.max(PAGE_BYTES_MAX.min(room::PAGE_ROOM) / 2);
                self.read_away(read, peer, (at, cursor, filter), bytes_max, cx);
                continue;
            }
            cx.out.push(OutEvent::ReadPage { read, at, cursor, filter, bytes_max });
        }
    }

    /// A batch has reached the journal: offer it to the live readers of its partition.
    pub(crate) fn deliver(&mut self, stored: &StoredBatch, cx: &mut Context<'_>) {
        let StoredBatch { batch, position, received_at, .. } = stored;
        let (header, bytes) = (batch.header(), batch.bytes().len());
        let Some(readers) = self.by_partition.get_mut(&header.stream_partition) else { return };
        readers.end = position + 1;
        let (mut lagging, mut again) = (Vec::new(), Vec::new());
        for key in &readers.live {
            let Some(subscription) = self.subscriptions.get_mut(key) else { continue };
            let Mode::Live { next } = subscription.mode else { continue };
            if *position < next {
                continue;
            }
            let seam = if subscription.filter.wants(header) {
                subscription.seen.judge(header, cx.config)
            } else {
                Seam::Had
            };
            if seam == Seam::Gap {
                again.push((*key, Cursor::Arrival { log: self.log, position: next, skip: 0 }));
                continue;
            }
            if seam == Seam::Had {
                subscription.mode = Mode::Live { next: position + 1 };
                continue;
            }
            let cursor = Cursor::Arrival { log: self.log, position: *position, skip: 0 };
            let full =
                subscription.queue_bytes > 0 && subscription.queue_bytes + bytes > self.room.share(cx.config);
            if full || !self.room.hand_out(key.0, bytes, cx) {
                let cursor = Cursor::Arrival { log: self.log, position: next, skip: 0 };
                subscription.mode = Mode::Reading { cursor };
                cx.counters.subscriptions_lagged += 1;
                lagging.push(*key);
                continue;
            }
            subscription.mode = Mode::Live { next: position + 1 };
            // IMPORTANT: only now that it goes out. Who lags reads it again.
            subscription.seen.note(header, cx.now.up_ms, cx.config);
            subscription.queue_bytes += bytes;
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
        for key in lagging.iter().chain(again.iter().map(|(key, _)| key)) {
            readers.live.remove(key);
        }
        for (key, home) in again {
            self.go_again(key, home, header, cx);
        }
        for key in lagging {
            self.read_on(key, cx);
        }
    }

    /// The transport has taken bytes of a subscription, or dropped them.
    pub(crate) fn handle_flushed(&mut self, key: Key, bytes: usize, cx: &mut Context<'_>) {
        if let Some(subscription) = self.subscriptions.get_mut(&key) {
            let bytes = bytes.min(subscription.queue_bytes);
            subscription.queue_bytes -= bytes;
            self.room.take_back(key.0, bytes, cx);
            self.read_on(key, cx);
        } else {
            self.leaving_flushed(key, bytes, cx);
        }
        self.use_room(key.0, cx);
    }

    /// A subscription that has ended still had bytes handed out, and the transport has taken some.
    fn leaving_flushed(&mut self, key: Key, bytes: usize, cx: &mut Context<'_>) {
        let Some(leaving) = self.leaving.get_mut(&key) else { return };
        let bytes = bytes.min(leaving.queue_bytes);
        leaving.queue_bytes -= bytes;
        if leaving.queue_bytes == 0 && leaving.reading.is_none() {
            self.leaving.remove(&key);
        }
        self.room.take_back(key.0, bytes, cx);
    }

    /// A subscription had ended before its read returned.
    fn leaving_read(&mut self, key: Key, cx: &mut Context<'_>) {
        let Some(leaving) = self.leaving.get_mut(&key) else { return };
        let reading = leaving.reading.take();
        if leaving.queue_bytes == 0 {
            self.leaving.remove(&key);
        }
        if reading == Some(Reading::Page) {
            self.room.page_read(key.0, 0, cx);
        }
        if let Some(session) = cx.sessions.find(key.0) {
            session.subscriptions -= 1;
        }
    }

    /// Time has passed: sessions that hold room and do nothing with it end, and subscriptions whose right has run out.
    pub(crate) fn handle_tick(&mut self, cx: &mut Context<'_>) {
        self.room.end_stalled(cx);
        self.end_late_reads(cx);
        let now_s = cx.now.unix_s();
        let over: Vec<_> =
            self.expiries.iter().take_while(|(until, _)| *until < now_s).map(|(_, key)| *key).collect();
        for key in over {
            self.recheck(key, cx);
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
        self.room.leave(key.0, subscription.place, cx);
        self.expiries.remove(&(subscription.until, key));
        if let Some(readers) = self.by_partition.get_mut(&subscription.at) {
            readers.keys.remove(&key);
            readers.live.remove(&key);
            if readers.keys.is_empty() {
                self.by_partition.remove(&subscription.at);
                links::rest(subscription.at, cx);
            }
        }
        // IMPORTANT: what it holds is held until the store and the transport let go of it, or a session could have any number
        // of reads and queues by leaving them behind.
        let Subscription { queue_bytes, reading, .. } = subscription;
        if queue_bytes > 0 || reading.is_some() {
            self.leaving.insert(key, Leaving { queue_bytes, reading });
        }
        if reading.is_none()
            && let Some(session) = cx.sessions.find(key.0)
        {
            session.subscriptions -= 1;
        }
        true
    }
}

impl Subscription {
    /// Began at a reader's own cursor.
    const fn resumes(&self) -> bool {
        matches!(self.start, ReadStart::Cursor(_))
    }

    fn caught_up(&mut self, key: Key, cursor: Cursor) -> OutEvent {
        let message = ServerMessage::CaughtUp {
            subscription: key.1,
            cursor,
            events: self.events,
            damaged: mem::take(&mut self.untold_damaged),
            more: !matches!(self.mode, Mode::Live { .. }),
        };
        OutEvent::Send { session: key.0, message }
    }
}

fn count_delivery(cx: &mut Context<'_>, events: u64, bytes: usize) {
    cx.counters.batches_delivered += 1;
    cx.counters.events_delivered += events;
    cx.counters.bytes_delivered += bytes as u64;
}
