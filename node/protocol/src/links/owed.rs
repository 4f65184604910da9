//! What a link should have told and did not: for how long it is waited for.

use super::{BEFORE_MS, Following, leave, with};
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

/// Series of a partition of which something is owed at once; others are seen when they owe again.
const OWED_MAX: usize = 32;
/// For so many times the grace nobody owes of a partition of which something found no room here.
const EXCUSED: i64 = 10;
/// A link that has stood for so many times the grace does not begin any more.
const LONG_STANDING: i64 = 3;

/// A batch is new here that a broker has told, or that was pulled from it if it was `missed`. If it is for the link to tell, that owes
/// it for a while: what is late comes yet.
pub(crate) fn handle_new(header: &Header, told_by: Address, missed: Option<Missed>, cx: &mut Context<'_>) {
    let (at, grace, now) = (header.stream_partition, cx.config.withheld_ms, cx.now);
    let Some(following) = cx.links.following.get_mut(&at) else { return };
    if now.up_ms < following.excused_until {
        return;
    }
    let Some(full) = following.full.link.as_ref().filter(|link| link.stands) else { return };
    let missed = match missed {
        Some(missed) => missed,
        None if full.peer == told_by => return,
        // The link before told it, which did not know yet that it was left.
        None => Missed { since: now.up_ms, compared: false },
    };
    let (series, sequence) = (SeriesKey::of(header), header.sequence);
    // What came before the link stood was not for it to tell. Comparing shows that too: the batch must have been made since, by
    // the publisher's clock.
    let (stood, stood_at) = (missed.since - full.stands_since, now.unix_ms - (now.up_ms - full.stands_since));
    let is_new = stood >= 0 && (!missed.compared || header.timestamp_min >= stood_at);
    let is_owed = match full.began.lacks(&series, sequence, is_new) {
        Some(lacks) => lacks && (is_new || !missed.compared),
        None => is_new && (missed.compared || stood >= grace / 2),
    };
    if !is_owed {
        return;
    }
    if let Some(owed) = following.owed.iter_mut().find(|owed| owed.series == series) {
        if owed.until == sequence {
            owed.until = header.next_sequence();
        }
    } else if following.owed.len() < OWED_MAX {
        // It was not made before the one that it goes on from came here.
        let since = cx.changes.at(&series).map_or(missed.since, |came| missed.since.max(came));
        let until = header.next_sequence();
        following.owed.push(Owed { by: full.peer, told_by, series, sequence, until, since });
    }
}

/// A link has told a batch.
pub(crate) fn handle_feed(header: &Header, peer: Address, cx: &mut Context<'_>) {
    pay(header, peer, cx);
    let (at, now) = (header.stream_partition, cx.now.up_ms);
    let Some(following) = cx.links.following.get_mut(&at) else { return };
    let Some(full) = following.full.link.as_mut().filter(|link| link.peer == peer) else { return };
    full.told_at = now;
    // One that was as far as others shortly before the link has nothing to catch up with.
    let series = SeriesKey::of(header);
    let before = full.stands_since - i64::try_from(BEFORE_MS).unwrap_or(0);
    let is_current = cx.changes.at(&series).is_some_and(|came| came >= before);
    if let Some(sequence) = full.began.tell(header, is_current, cx.config.heads_per_message_max) {
        let left_out = Owed { by: peer, told_by: peer, series, sequence, until: header.sequence, since: now };
        if following.owed.len() < OWED_MAX && !following.owed.iter().any(|owed| owed.series == series) {
            following.owed.push(left_out);
        }
    }
}

/// A link has told a batch for which there was no room here: it is pulled later, and no link has left it out. A link can only bring
/// that about while this broker is behind.
pub(crate) fn excuse(at: StreamPartition, cx: &mut Context<'_>) {
    let until = cx.now.up_ms + EXCUSED * cx.config.withheld_ms;
    let Some(following) = cx.links.following.get_mut(&at) else { return };
    following.excused_until = until;
    following.owed.clear();
    if let Some(link) = &mut following.full.link {
        link.began.end();
    }
}

/// A series takes no more: nobody owes of it.
pub(crate) fn forgive(series: &SeriesKey, cx: &mut Context<'_>) {
    if let Some(following) = cx.links.following.get_mut(&series.stream_partition) {
        following.owed.retain(|owed| owed.series != *series);
    }
}

/// Whether a link has left out the batch before this one that was owed, as it keeps its order.
fn pay(header: &Header, peer: Address, cx: &mut Context<'_>) {
    let at = header.stream_partition;
    let Some(following) = cx.links.following.get_mut(&at) else { return };
    let series = SeriesKey::of(header);
    let Some(index) = following.owed.iter().position(|owed| owed.by == peer && owed.series == series) else {
        return;
    };
    let owed = following.owed.swap_remove(index);
    if header.sequence > owed.sequence {
        return withheld(at, owed, cx);
    }
    let told = header.sequence == owed.sequence;
    let rest =
        if told { Owed { sequence: header.next_sequence(), since: cx.now.up_ms, ..owed } } else { owed };
    following.owed.extend(Some(rest).filter(|rest| rest.sequence < rest.until));
}

/// Leaves those who have owed something for too long.
pub(super) fn end_late(cx: &mut Context<'_>) {
    let (now, grace) = (cx.now.up_ms, cx.config.withheld_ms);
    let late = now - grace;
    let links = cx.links.following.values_mut().filter_map(|following| following.full.link.as_mut());
    for link in links.filter(|link| link.stands && now - link.stands_since >= LONG_STANDING * grace) {
        link.began.end();
    }
    let first = |following: &Following| following.owed.iter().find(|owed| owed.since <= late).copied();
    let owing = cx.links.following.iter().filter_map(|(at, following)| Some((*at, first(following)?)));
    let owing: Vec<_> = owing.collect();
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
