//! The beginning of a link that tells batches: where series stood then, and what it has told since. What is new is for that link
//! to tell, from the first batch on, though it may come here by the one before it as well.

use super::owed::Owed;
use crate::{PeerMessage, context::Context, rule::Rule};
use mainstem_model::{Address, Header, SeriesHead, SeriesKey, StreamPartition};
use std::{collections::BTreeMap, mem};

/// What is known of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Began {
    /// The other broker was asked for the link and has not answered.
    Asked,
    /// It has said yes. What has changed lately comes right behind.
    Answered,
    /// What it has told of series that have changed since shortly before. At most as many as fit into a message of heads.
    At(BTreeMap<SeriesKey, Told>),
    /// It is over, or was too much to be remembered.
    Over,
}

/// What a link has told of a series, or had not to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// What lies before was not told: it is from before the link, or was left out.
    from: u64,
    next: u64,
    /// It has all come since the link began.
    is_current: bool,
}

impl Told {
    /// Nothing yet; the series stands here.
    const fn before(head: &SeriesHead) -> Self {
        Self { from: 0, next: head.next_sequence, is_current: false }
    }
}

impl Began {
    /// The other one has said yes. Gives whether it was the first time.
    pub(super) fn answer(&mut self) -> bool {
        let first = *self == Self::Asked;
        if first {
            *self = Self::Answered;
        }
        first
    }

    /// Whether a batch that came by another way came into being after the link began and has not been told by it. `is_new`: it
    /// has, as far as one can tell, for a series that had not changed lately then. `None`: that is not known any more.
    pub(super) fn lacks(&self, series: &SeriesKey, sequence: u64, is_new: bool) -> Option<bool> {
        match self {
            Self::At(told) => Some(match told.get(series) {
                Some(told) if sequence < told.from => told.is_current || is_new,
                Some(told) => sequence >= told.next,
                None => is_new,
            }),
            Self::Asked | Self::Answered => Some(false),
            Self::Over => None,
        }
    }

    /// The link has told a batch. Gives where it has left something out before it. `is_current`: what was there when the link
    /// began is here, so that what comes before this batch is new as well.
    pub(super) fn tell(&mut self, header: &Header, is_current: bool, most: usize) -> Option<u64> {
        let Self::At(told) = self else { return None };
        let series = told.entry(SeriesKey::of(header));
        let first = header.sequence;
        let series = series.or_insert(Told { from: first, next: first, is_current });
        // IMPORTANT: one that waited for others is placed again, when those behind it have come long ago.
        let next = series.next.max(header.next_sequence());
        let last = mem::replace(&mut series.next, next);
        if told.len() > most {
            *self = Self::Over;
        }
        Some(last).filter(|next| header.sequence > *next)
    }

    pub(super) fn end(&mut self) {
        *self = Self::Over;
    }
}

/// A broker says how far series are: right behind its answer, where they stand as the link begins.
pub(crate) fn handle_heads(peer: Address, heads: &[(SeriesKey, SeriesHead)], cx: &mut Context<'_>) {
    for at in cx.links.answered.remove(&peer).unwrap_or_default() {
        // There may be more that are not named.
        let told: Option<BTreeMap<_, _>> = if heads.len()
            < cx.config.heads_per_message_max.min(PeerMessage::HEADS_MAX)
            && cx.keeps(Rule::OwedFromTheStart)
        {
            let here = heads.iter().filter(|(series, _)| series.stream_partition == at);
            Some(here.map(|(series, head)| (*series, Told::before(head))).collect())
        } else {
            None
        };
        let on_its_way = told.as_ref().and_then(|told| on_its_way(at, peer, told, cx));
        let Some(following) = cx.links.following.get_mut(&at) else { continue };
        let link = following.full.link.as_mut().filter(|link| link.peer == peer);
        if let Some(link) = link.filter(|link| link.began == Began::Answered) {
            link.began = told.map_or(Began::Over, Began::At);
            following.owed.extend(on_its_way);
        }
    }
}

/// What has come here by the link before, and is not there yet.
fn on_its_way(
    at: StreamPartition,
    by: Address,
    told: &BTreeMap<SeriesKey, Told>,
    cx: &Context<'_>,
) -> Option<Owed> {
    // One that does not have all that it is to keep may get it as history, which is not told.
    if cx.network.is_keeper(by, at) && !cx.has_all(by, at) {
        return None;
    }
    let since = cx.now.up_ms;
    let came = cx.changes.after(since - cx.config.withheld_ms);
    let more = came.filter_map(|(series, head)| {
        let next = told.get(&series).filter(|_| series.stream_partition == at)?.next;
        (head.next_sequence > next).then_some((series, next, head.next_sequence))
    });
    more.min().map(|(series, sequence, until)| Owed { by, told_by: by, series, sequence, until, since })
}
