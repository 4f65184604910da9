//! Links that had no room for a batch: what they were not told they are told from the log, in its order, as they take it in.

use super::Links;
use crate::{OutEvent, Page, PeerBatch, PeerMessage, ReadToken, context::Context};
use mainstem_model::{Address, Cursor, ReadFilter, Refusal, StreamPartition};
use std::collections::{BTreeMap, VecDeque};

/// Where a link stands that was not told all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Behind {
    log: u64,
    /// The arrival that it is told next.
    next: u64,
    /// What came up to here it was not told, this one excluded.
    end: u64,
    reading: Reading,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    No,
    /// Others are read for first.
    Waits,
    Under(ReadToken),
}

/// Pages that are read for links.
#[derive(Debug, Default)]
pub(super) struct Reads {
    under: BTreeMap<ReadToken, (Address, StreamPartition)>,
    waiting: VecDeque<(Address, StreamPartition)>,
}

impl Behind {
    /// There is no room for this arrival.
    pub(super) const fn new(log: u64, position: u64) -> Self {
        Self { log, next: position, end: position + 1, reading: Reading::No }
    }

    /// Something has arrived. Gives whether that is what the link is told next, as it was told all that lies before.
    pub(super) fn is_over(&self, position: u64) -> bool {
        !self.lacks() && self.reading == Reading::No && position >= self.next
    }

    /// This arrival is told later. Or it was told before it was known here to be stored: the store is ahead of that.
    pub(super) fn leave_out(&mut self, position: u64) {
        self.end = self.end.max(position + 1);
    }

    const fn lacks(&self) -> bool {
        self.next < self.end
    }
}

/// Asks the store for what a link was not told, if it has taken in half of what it was told.
pub(super) fn read_on(peer: Address, at: StreamPartition, cx: &mut Context<'_>) {
    let window = cx.config.link_window_bytes;
    let read = cx.read_token();
    let Links { followers, reads, .. } = &mut *cx.links;
    let Some(follower) = followers.find(peer, at) else { return };
    let on_its_way = follower.on_its_way;
    let Some(behind) = &mut follower.behind else { return };
    if behind.reading != Reading::No || !behind.lacks() || on_its_way > window / 2 {
        return;
    }
    if reads.under.len() >= cx.config.link_reads_max {
        behind.reading = Reading::Waits;
        return reads.waiting.push_back((peer, at));
    }
    behind.reading = Reading::Under(read);
    reads.under.insert(read, (peer, at));
    let cursor = Cursor::Arrival { log: behind.log, position: behind.next, skip: 0 };
    let bytes_max = (window - on_its_way).min(cx.config.pull_bytes);
    cx.out.push(OutEvent::ReadPage { read, at, cursor, filter: ReadFilter::ALL, bytes_max });
}

/// A page was read. `false` if it was not for a link.
pub(crate) fn handle_page(read: ReadToken, result: &Result<Page, Refusal>, cx: &mut Context<'_>) -> bool {
    let Some((peer, at)) = cx.links.reads.under.remove(&read) else { return false };
    tell_page((peer, at), read, result, cx);
    read_on(peer, at, cx);
    while cx.links.reads.under.len() < cx.config.link_reads_max
        && let Some((peer, at)) = cx.links.reads.waiting.pop_front()
    {
        let follower = cx.links.followers.find(peer, at);
        if let Some(behind) = follower.and_then(|follower| follower.behind.as_mut())
            && behind.reading == Reading::Waits
        {
            behind.reading = Reading::No;
            read_on(peer, at, cx);
        }
    }
    true
}

fn tell_page(
    (peer, at): (Address, StreamPartition),
    read: ReadToken,
    result: &Result<Page, Refusal>,
    cx: &mut Context<'_>,
) {
    let window = cx.config.link_window_bytes;
    // It may have asked anew since.
    let Some(follower) = cx.links.followers.find(peer, at) else { return };
    let Some(behind) = follower.behind.as_mut().filter(|behind| behind.reading == Reading::Under(read))
    else {
        return;
    };
    behind.reading = Reading::No;
    let Ok(page) = result else {
        // Heads tell it what it missed.
        follower.behind = None;
        return;
    };
    let mut next = page.next;
    for past in &page.batches {
        let bytes = past.bytes.len();
        if follower.on_its_way > 0 && follower.on_its_way + bytes > window {
            next = past.cursor;
            break;
        }
        follower.on_its_way += bytes;
        cx.counters.batches_fed += 1;
        let message = PeerMessage::Feed { batch: PeerBatch::Stored(past.bytes.clone()) };
        cx.out.push(OutEvent::Tell { peer, message });
    }
    match next {
        Cursor::Arrival { position, .. } => behind.next = position,
        Cursor::History { .. } => follower.behind = None,
    }
}
