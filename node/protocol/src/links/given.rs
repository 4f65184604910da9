//! Partitions that this broker was given to keep, and had batches of already: it followed or kept them before. Readers go on from there, so
//! what has come since is news to them, though all that is older is history.

use super::{
    Links,
    resumed::{Before, ask_last},
};
use crate::{ReadToken, context::Context, rule::Rule};
use mainstem_model::StreamPartition;

/// A partition that is new to this broker, and that it does not follow.
#[derive(Debug)]
pub(super) struct Given {
    since: i64,
    /// The store is asked what was here before.
    asked: ReadToken,
    pub(super) before: Option<Before>,
}

impl Given {
    /// How old what comes of it may be, so that none is missed since what was here before; milliseconds.
    pub(super) fn reach(&self, now: i64) -> i64 {
        self.before.map_or(0, |before| now.saturating_sub(self.since).saturating_add(before.reach()))
    }
}

/// A batch is on its way into the log of a partition that is new here, or what others have of it is: what was here before is looked up, while
/// what comes now is not yet old.
pub(crate) fn look_up(at: StreamPartition, cx: &mut Context<'_>) {
    let has_room = cx.links.given.len() < cx.config.behind_max;
    if !cx.fills_up(at) || cx.links.is_following(at) || cx.links.given.contains_key(&at) || !has_room {
        return;
    }
    let given = Given { since: cx.now.up_ms, asked: ask_last(at, cx), before: None };
    cx.links.given.insert(at, given);
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
    pub(super) fn find_given(&self, read: ReadToken) -> Option<StreamPartition> {
        self.given.iter().find_map(|(at, given)| (given.asked == read).then_some(*at))
    }

    pub(super) fn note_given(&mut self, at: StreamPartition, before: Before) {
        if let Some(given) = self.given.get_mut(&at) {
            given.before = Some(before);
        }
    }

    /// What is not new here any more needs no looking up; that older cursors lead nowhere is remembered.
    pub(super) fn end_given(&mut self, cx: &Context<'_>) {
        self.given.retain(|at, given| match given.before {
            Some(Before::Fresh { end, .. }) => end > 0 && cx.network.is_mine(*at) || cx.fills_up(*at),
            Some(Before::Resumed { .. }) | None => cx.fills_up(*at),
        });
    }
}
