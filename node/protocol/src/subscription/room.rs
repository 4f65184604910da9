//! Room for batches on their way to subscribers: one bound for the node, one for each session, first come, first served.

use super::Key;
use crate::{Config, SessionId, SubscriptionId, context::Context, rule::Rule};
use mainstem_model::{Code, Refusal, limits::BATCH_BYTES_MAX};
use std::collections::BTreeMap;

/// Room that a page takes while it is read: it is within what was asked for, or one batch.
pub(super) const PAGE_ROOM: usize = BATCH_BYTES_MAX;

/// A subscription may hold the free room divided by this. Of n that take nothing each comes to hold 1/(n + 64) of the room,
/// and 64/(n + 64) of it stay free.
const SHARES: usize = 64;

/// A place in a queue; smaller is earlier.
pub(super) type Ticket = u64;

/// Who holds room, and who waits for it.
///
/// IMPORTANT: `used` never exceeds `delivery_queue_bytes_max`, or one batch where that is less: nothing is handed out and no
/// page is asked for that does not fit. What does not fit waits in a queue, and nobody overtakes it, so that it gets its turn
/// as soon as others' bytes are taken by their transports.
#[derive(Debug, Default)]
pub(super) struct Room {
    used: usize,
    next: Ticket,
    /// Those who wait for the node's room. Each holds room for a page in its session already.
    waiting: BTreeMap<Ticket, Waiting>,
    /// Those who wait for their session's room.
    parked: BTreeMap<(SessionId, Ticket), SubscriptionId>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    key: Key,
    since_ms: i64,
}

impl Room {
    pub(super) const fn used(&self) -> usize {
        self.used
    }

    fn fits(&self, bytes: usize, config: &Config) -> bool {
        let fits = self.used + bytes <= config.delivery_queue_bytes_max;
        self.used == 0 || fits || !config.keeps(Rule::DeliveryQueue)
    }

    /// How many bytes one subscription may hold now, besides one batch: its bound, or less as the room fills up. So readers
    /// that take nothing, however many, never hold all of it, and who reads does not wait for them (dynamic thresholds:
    /// Choudhury and Hahne, 1998).
    pub(super) const fn share(&self, config: &Config) -> usize {
        let free = config.delivery_queue_bytes_max.saturating_sub(self.used) / SHARES;
        if free < config.subscription_queue_bytes_max { free } else { config.subscription_queue_bytes_max }
    }

    fn fits_session(&self, id: SessionId, bytes: usize, cx: &mut Context<'_>) -> bool {
        let max = cx.config.session_queue_bytes_max;
        cx.sessions.find(id).is_some_and(|session| {
            let held = session.handed_bytes + session.reserved_bytes;
            held == 0 || held + bytes <= max
        })
    }

    fn first_parked(&self, id: SessionId) -> Option<(Ticket, SubscriptionId)> {
        let mut parked = self.parked.range((id, Ticket::MIN)..=(id, Ticket::MAX));
        parked.next().map(|((_, ticket), subscription)| (*ticket, *subscription))
    }

    /// Takes room for a batch that goes out at once; `false` when there is none, or others wait for it.
    pub(super) fn hand_out(&mut self, id: SessionId, bytes: usize, cx: &mut Context<'_>) -> bool {
        let free = self.waiting.is_empty()
            && self.fits(bytes, cx.config)
            && self.first_parked(id).is_none()
            && self.fits_session(id, bytes, cx);
        if free {
            self.hand(id, bytes, cx);
        }
        free
    }

    fn hand(&mut self, id: SessionId, bytes: usize, cx: &mut Context<'_>) {
        self.used += bytes;
        if let Some(session) = cx.sessions.find(id) {
            if session.handed_bytes == 0 {
                session.flushed_at = cx.now.unix_ms;
            }
            session.handed_bytes += bytes;
        }
    }

    /// A page that holds `bytes` of batches was read: they go out, the room for the page is free.
    pub(super) fn page_read(&mut self, id: SessionId, bytes: usize, cx: &mut Context<'_>) {
        self.used = self.used.saturating_sub(PAGE_ROOM);
        self.unreserve(id, cx);
        if bytes > 0 {
            self.hand(id, bytes, cx);
        }
    }

    /// Handed out bytes were taken by the transport, or are wanted no more.
    pub(super) fn take_back(&mut self, id: SessionId, bytes: usize, cx: &mut Context<'_>) {
        self.used = self.used.saturating_sub(bytes);
        if let Some(session) = cx.sessions.find(id) {
            session.handed_bytes = session.handed_bytes.saturating_sub(bytes);
            session.flushed_at = cx.now.unix_ms;
        }
    }

    /// A subscription wants room for a page. Says where it waits for it, if only for a moment.
    pub(super) fn ask(&mut self, key: Key, cx: &mut Context<'_>) -> Place {
        if self.first_parked(key.0).is_some() || !self.fits_session(key.0, PAGE_ROOM, cx) {
            let ticket = self.ticket();
            self.parked.insert((key.0, ticket), key.1);
            return Place::Parked(ticket);
        }
        Place::Waiting(self.wait(key, cx))
    }

    /// The first one of a session that waits for the session's room, if there is some: it waits for the node's now.
    pub(super) fn unpark(&mut self, id: SessionId, cx: &mut Context<'_>) -> Option<(Key, Ticket)> {
        let (ticket, subscription) = self.first_parked(id)?;
        if !self.fits_session(id, PAGE_ROOM, cx) {
            return None;
        }
        self.parked.remove(&(id, ticket));
        let key = (id, subscription);
        Some((key, self.wait(key, cx)))
    }

    /// The first one that waits for the node's room, if there is some: it may have its page read now.
    pub(super) fn admit(&mut self, config: &Config) -> Option<Key> {
        if !self.fits(PAGE_ROOM, config) {
            return None;
        }
        let (_, Waiting { key, .. }) = self.waiting.pop_first()?;
        self.used += PAGE_ROOM;
        Some(key)
    }

    /// Who waits waits no more.
    pub(super) fn leave(&mut self, id: SessionId, place: Place, cx: &mut Context<'_>) {
        match place {
            Place::Nowhere => {}
            Place::Parked(ticket) => drop(self.parked.remove(&(id, ticket))),
            Place::Waiting(ticket) => {
                self.waiting.remove(&ticket);
                self.unreserve(id, cx);
            }
        }
    }

    fn wait(&mut self, key: Key, cx: &mut Context<'_>) -> Ticket {
        if let Some(session) = cx.sessions.find(key.0) {
            session.reserved_bytes += PAGE_ROOM;
        }
        let ticket = self.ticket();
        self.waiting.insert(ticket, Waiting { key, since_ms: cx.now.unix_ms });
        ticket
    }

    fn unreserve(&self, id: SessionId, cx: &mut Context<'_>) {
        if let Some(session) = cx.sessions.find(id) {
            session.reserved_bytes = session.reserved_bytes.saturating_sub(PAGE_ROOM);
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.next += 1;
        self.next
    }

    /// When somebody has waited for long, ends the sessions that hold room and take nothing: theirs is the room that does
    /// not come back by itself.
    pub(super) fn end_stalled(&self, cx: &mut Context<'_>) {
        let (now, longest) = (cx.now.unix_ms, cx.config.stalled_session_ms);
        let waits = self.waiting.first_key_value();
        if waits.is_none_or(|(_, first)| now.saturating_sub(first.since_ms) < longest) {
            return;
        }
        for id in cx.sessions.stalled(now.saturating_sub(longest)) {
            cx.refuse(
                id,
                0,
                Refusal::new(
                    Code::Overloaded,
                    format!(
                        "nothing was read here for {longest} ms while others waited for room; connect again"
                    ),
                ),
            );
        }
    }
}

/// Where a subscription waits for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It does not wait.
    Nowhere,
    /// For its session's room.
    Parked(Ticket),
    /// For the node's room.
    Waiting(Ticket),
}
