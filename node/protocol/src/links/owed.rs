//! What a link should have told and did not: for how long it is waited for.

use super::{leave, with};
use crate::{Misdeed, context::Context, rule::Rule};
use mainstem_model::{Address, Header, SeriesKey, StreamPartition};

/// Batches of a series that a link should have told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owed {
    pub(super) by: Address,
    /// Who had it.
    pub(super) told_by: Address,
    pub(super) series: SeriesKey,
    pub(super) sequence: u64,
    pub(super) until: u64,
    pub(super) since: i64,
}

/// Since when it was seen that something is missing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Missed {
    pub(crate) since: i64,
    /// Comparing has shown it, which also shows what is from before the link.
    pub(crate) compared: bool,
}

/// Links that have stood for so many times the grace: comparing shows nothing from before them any more.
const LONG_STANDING: i64 = 3;

/// A batch had to be pulled from another one that had been missed since then. The one that tells batches owes it for a while: what
/// is late comes yet.
pub(crate) fn owe(header: &Header, told_by: Address, missed: Missed, cx: &mut Context<'_>) {
    let (at, grace) = (header.stream_partition, cx.config.withheld_ms);
    let Some(following) = cx.links.following.get_mut(&at) else { return };
    let Some(full) = following.full.link.as_ref().filter(|link| link.stands) else { return };
    let (series, sequence) = (SeriesKey::of(header), header.sequence);
    // What came before the link stood was not for it to tell.
    let stood = missed.since - full.stands_since;
    let is_new = if missed.compared {
        stood >= LONG_STANDING * grace
    } else {
        stood >= grace / 2 || full.began.lacks(&series, sequence)
    };
    if !is_new {
        return;
    }
    if let Some(owed) = &mut following.owed {
        if owed.by == full.peer && owed.series == series && owed.until == sequence {
            owed.until = header.next_sequence();
        }
    } else {
        // It was not made before the one that it goes on from came here.
        let since = cx.changes.at(&series).map_or(missed.since, |came| missed.since.max(came));
        following.owed =
            Some(Owed { by: full.peer, told_by, series, sequence, until: header.next_sequence(), since });
    }
}

/// A broker has told a batch.
pub(crate) fn handle_feed(header: &Header, peer: Address, cx: &mut Context<'_>) {
    let (at, now) = (header.stream_partition, cx.now.up_ms);
    let Some(following) = cx.links.following.get_mut(&at) else { return };
    let Some(full) = following.full.link.as_mut() else { return };
    if full.peer == peer {
        let series = SeriesKey::of(header);
        if let Some(sequence) = full.began.tell(header, cx.config.heads_per_message_max) {
            let until = header.sequence;
            let left_out = Owed { by: peer, told_by: peer, series, sequence, until, since: now };
            return withheld(at, left_out, cx);
        }
        pay(header, peer, cx);
    } else if full.began.lacks(&SeriesKey::of(header), header.sequence) {
        // It was told before this broker heard that it was left.
        owe(header, peer, Missed { since: now, compared: false }, cx);
    }
}

/// Whether a link has left out the batch before this one that was owed, as it keeps its order.
fn pay(header: &Header, peer: Address, cx: &mut Context<'_>) {
    let at = header.stream_partition;
    let Some(following) = cx.links.following.get_mut(&at) else { return };
    let Some(owed) = following.owed.filter(|owed| owed.by == peer) else { return };
    if owed.series != SeriesKey::of(header) || header.sequence < owed.sequence {
        return;
    }
    if header.sequence == owed.sequence {
        let rest = Owed { sequence: header.next_sequence(), since: cx.now.up_ms, ..owed };
        following.owed = Some(rest).filter(|rest| rest.sequence < rest.until);
    } else {
        withheld(at, owed, cx);
    }
}

/// Leaves those who have owed something for too long.
pub(super) fn end_late(cx: &mut Context<'_>) {
    let (now, grace) = (cx.now.up_ms, cx.config.withheld_ms);
    let late = now - grace;
    let links = cx.links.following.values_mut().filter_map(|following| following.full.link.as_mut());
    for link in links.filter(|link| link.stands && now - link.stands_since >= LONG_STANDING * grace) {
        link.began.end();
    }
    let owing = cx.links.following.iter().filter_map(|(at, following)| Some((*at, following.owed?)));
    let owing: Vec<_> = owing.filter(|(_, owed)| owed.since <= late).collect();
    for (at, owed) in owing {
        withheld(at, owed, cx);
    }
}

/// One that tells batches has left some out that another has.
fn withheld(at: StreamPartition, owed: Owed, cx: &mut Context<'_>) {
    if !cx.keeps(Rule::Withheld) {
        return;
    }
    cx.blame(owed.by, Misdeed::Withheld);
    with(cx, |links, cx| {
        if let Some(following) = links.following.get_mut(&at) {
            following.prefer(owed.told_by);
            leave(at, following, owed.by, cx);
        }
    });
}
