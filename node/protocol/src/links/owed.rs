//! What a link should have told and did not: for how long it is waited for.

use super::{leave, with};
use crate::{Misdeed, context::Context, rule::Rule};
use mainstem_model::{Address, Header, SeriesKey, StreamPartition};

/// A batch that a link should have told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owed {
    by: Address,
    series: SeriesKey,
    sequence: u64,
    since: i64,
}

impl Owed {
    pub(super) fn is_by(&self, peer: Address) -> bool {
        self.by == peer
    }
}

/// A batch had to be pulled that had been missed since then. The one that tells batches owes it for a while: what is late comes
/// yet.
pub(crate) fn owe(header: &Header, missed_since: i64, cx: &mut Context<'_>) {
    let (at, grace) = (header.stream_partition, cx.config.withheld_ms);
    let Some(following) = cx.links.following.get_mut(&at) else { return };
    let Some(full) = following.full.as_ref().filter(|link| link.stands) else { return };
    // What came before the link stood was not for it to tell.
    if following.owed.is_some() || missed_since - full.stands_since < grace / 2 {
        return;
    }
    let (series, sequence) = (SeriesKey::of(header), header.sequence);
    following.owed = Some(Owed { by: full.peer, series, sequence, since: missed_since });
}

/// A link has told a batch. Whether it has left out the one before that was owed, as a link keeps its order.
pub(crate) fn pay(header: &Header, peer: Address, cx: &mut Context<'_>) {
    let at = header.stream_partition;
    let Some(following) = cx.links.following.get_mut(&at) else { return };
    let Some(owed) = following.owed.filter(|owed| owed.by == peer) else { return };
    if owed.series != SeriesKey::of(header) || header.sequence < owed.sequence {
        return;
    }
    if header.sequence == owed.sequence {
        following.owed = None;
    } else {
        withheld(at, peer, cx);
    }
}

/// Leaves those who have owed something for too long.
pub(super) fn end_late(cx: &mut Context<'_>) {
    let late = cx.now.up_ms - cx.config.withheld_ms;
    let owing = cx.links.following.iter().filter_map(|(at, following)| Some((*at, following.owed?)));
    let owing: Vec<_> = owing.filter(|(_, owed)| owed.since <= late).collect();
    for (at, owed) in owing {
        withheld(at, owed.by, cx);
    }
}

/// One that tells batches has left some out that another has.
fn withheld(at: StreamPartition, peer: Address, cx: &mut Context<'_>) {
    if !cx.keeps(Rule::Withheld) {
        return;
    }
    cx.blame(peer, Misdeed::Withheld);
    with(cx, |links, cx| {
        if let Some(following) = links.following.get_mut(&at) {
            leave(at, following, peer, cx);
        }
    });
}
