//! Partitions that this broker was given to keep, and had batches of already: it followed or kept them before. Readers go on from there, so
//! what has come since is news to them, though all that is older is history.

use super::{
    Links,
    resumed::{Before, ask_last},
};
use crate::{context::Context, rule::Rule};
use mainstem_model::StreamPartition;

/// A partition that is new to this broker, and that it does not follow.
#[derive(Debug)]
pub(super) struct Given {
    since: i64,
    /// What was here before; `None` until the store has told.
    pub(super) before: Option<Before>,
}

impl Given {
    /// How old what comes of it may be, so that none is missed since what was here before; milliseconds.
    pub(super) fn reach(&self, now: i64) -> i64 {
        self.before.map_or(0, |before| now.saturating_sub(self.since).saturating_add(before.reach()))
    }
}

/// A batch of a partition that is new here was stored, or what others have of it is to be asked for: what was here before is looked up, while
/// what comes now is not yet old.
pub(crate) fn look_up(at: StreamPartition, cx: &mut Context<'_>) {
    let has_room = cx.links.given.len() < cx.config.behind_max;
    if !cx.fills_up(at) || cx.links.is_following(at) || cx.links.given.contains_key(&at) || !has_room {
        return;
    }
    let asked = ask_last(at, cx);
    cx.links.given_reads.insert(asked, at);
    cx.links.given.insert(at, Given { since: cx.now.up_ms, before: None });
}

/// Whether readers go on here from what was there of a partition before this broker was given it. `None`: the store has not told yet.
pub(crate) fn goes_on(at: StreamPartition, cx: &mut Context<'_>) -> Option<bool> {
    if cx.links.is_following(at) {
        return Some(true);
    }
    if !cx.keeps(Rule::GivenGoesOn) {
        return Some(false);
    }
    look_up(at, cx);
    // Without room for it all counts as history.
    let Some(given) = cx.links.given.get(&at) else { return Some(false) };
    given.before.map(|before| matches!(before, Before::Resumed { .. }))
}

impl Links {
    pub(super) fn note_given(&mut self, at: StreamPartition, before: Before) {
        if let Some(given) = self.given.get_mut(&at) {
            given.before = Some(before);
        }
    }

    /// A partition that was followed is kept here from now on: cursors that led nowhere then lead nowhere now.
    pub(super) fn keep(&mut self, at: StreamPartition, followed: Option<Before>, now: i64) {
        if let Some(before @ Before::Fresh { .. }) = followed {
            self.given.insert(at, Given { since: now, before: Some(before) });
        }
    }

    /// What is not new here any more needs no looking up. That older cursors lead nowhere is remembered, if there is room for it.
    pub(super) fn end_given(&mut self, cx: &Context<'_>) {
        let remembers = self.given.len() <= cx.config.behind_max / 2;
        self.given.retain(|at, given| {
            let leads_nowhere = match given.before {
                // The store has failed to tell.
                Some(Before::Fresh { end: u64::MAX, .. }) => false,
                Some(Before::Fresh { end, .. }) => end > 0,
                Some(Before::Resumed { .. }) | None => false,
            };
            cx.fills_up(*at) || (leads_nowhere && remembers && cx.network.is_mine(*at))
        });
    }
}
