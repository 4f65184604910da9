//! What was here of a partition before it was followed. If it is not old it is gone on with, and what has come between is got by comparing
//! it with what those have that keep the partition.

use super::{BEFORE_MS, Following, lately::lately_ms};
use crate::{LastArrival, OutEvent, ReadToken, context::Context, rule::Rule};
use mainstem_model::{Address, Refusal, StreamPartition};
use std::collections::{BTreeMap, BTreeSet};

/// Of the questions that a broker answers another one at once, what part is for comparing partitions that are followed again.
const ASKED_PART: usize = 8;

/// What was here of a partition when it began to be followed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Before {
    /// Nothing that goes on: readers begin here, and series with the first batch that comes.
    Fresh {
        /// Where the own log ended: older cursors lead nowhere.
        end: u64,
        /// It was not followed before in the life of this process, so that a cursor to the end is of this following.
        first: bool,
    },
    /// Something not old: it is gone on with, so that readers who come back miss nothing.
    Resumed {
        /// How long before the following began it was certain that nothing lacked here, milliseconds.
        age: i64,
    },
}

impl Before {
    /// By what the store has told, looked up because of an event so long ago, milliseconds: what has come since is not of before; `first`: a
    /// cursor to the end cannot be of before. Gives where the own log ended, too.
    fn look(
        result: Result<LastArrival, Refusal>,
        mut first: bool,
        ago: Option<i64>,
        cx: &Context<'_>,
    ) -> (Self, u64) {
        // No cursor is believed if the store fails.
        let Ok(last) = result else { return (Self::Fresh { end: u64::MAX, first }, u64::MAX) };
        // A clock that was set back while the node was down says nothing of how long that was.
        let ages = [last.received_at, last.before].map(|came| cx.clock.longest_since(came, cx.now));
        let [mut age, sound] = ages.map(|age| age.unwrap_or(cx.config.link_resume_ms));
        let is_since = |age: i64| ago.is_some_and(|ago| age <= ago);
        if is_since(sound) {
            return (Self::Fresh { end: 0, first }, last.end);
        }
        if is_since(age) {
            (age, first) = (sound, true);
        }
        if age > cx.config.link_resume_ms {
            return (Self::Fresh { end: last.end, first }, last.end);
        }
        // IMPORTANT: a broker that was cut off, and ends while it gets what it lacks, has what came last and not yet all before that. What
        // is older than all that is gone on with is of another time that it followed.
        let of_now = sound <= cx.config.link_resume_ms;
        let sound = if of_now { sound } else { age.saturating_add(lately_ms(cx.config)) };
        (Self::Resumed { age: if cx.keeps(Rule::ResumesSound) { age.max(sound) } else { age } }, last.end)
    }

    /// How much older than the asking for it what comes may be, so that none is missed since then; milliseconds.
    pub(super) fn reach(self) -> i64 {
        match self {
            Self::Resumed { age } => age.saturating_add(2 * BEFORE_MS.cast_signed()),
            Self::Fresh { .. } => 0,
        }
    }
}

pub(super) fn ask_last(at: StreamPartition, cx: &mut Context<'_>) -> ReadToken {
    let read = cx.read_token();
    cx.out.push(OutEvent::ReadLast { read, at, before_ms: lately_ms(cx.config) });
    read
}

/// The store has told what was here before. Gives the partition, if somebody waits for that.
pub(crate) fn handle_last(
    read: ReadToken,
    result: Result<LastArrival, Refusal>,
    cx: &mut Context<'_>,
) -> Option<StreamPartition> {
    if let Some(at) = cx.links.given_reads.remove(&read) {
        let ago = cx.network.given_at(at).map(|given| cx.now.up_ms - given);
        let first = cx.links.followed.note(at) && !cx.network.has_left();
        let (before, _) = Before::look(result, first, ago, cx);
        cx.links.note_given(at, before);
        return None;
    }
    let of = cx.links.following.iter().find(|(_, following)| following.asked == read);
    let (at, first) = of.map(|(at, following)| (*at, following.first))?;
    let (before, end) = Before::look(result, first, None, cx);
    let following = cx.links.following.get_mut(&at)?;
    following.lately.begin(end, following.since);
    following.before = Some(before);
    Some(at)
}

/// Whoever tells batches of a partition now, if it keeps it, and what was here before is gone on with: it is compared with that again as a
/// link begins.
pub(crate) fn compares_with(at: StreamPartition, cx: &mut Context<'_>) -> Option<Address> {
    let most = most(at, cx);
    let following = cx.links.following.get_mut(&at).filter(|following| following.compares())?;
    let parent = following.full.link.as_ref().map(|link| link.peer)?;
    if !cx.network.is_keeper(parent, at) {
        return None;
    }
    if following.compared.contains_key(&parent) || following.compared.len() < most {
        following.compared.insert(parent, false);
    }
    Some(parent)
}

/// What was here before is to be compared with these, of those that keep each partition: with as many as there are links. They count as asked.
///
/// IMPORTANT: links tell what is new. One broker alone could say that there is nothing of what came before.
pub(crate) fn uncompared(cx: &mut Context<'_>) -> Vec<(StreamPartition, Address)> {
    let lacks = |(at, following): &(&StreamPartition, &Following)| {
        following.compares() && following.compared.len() < most(**at, cx)
    };
    let lacking: Vec<_> = cx.links.following.iter().filter(lacks).map(|(at, _)| *at).collect();
    if lacking.is_empty() {
        return Vec::new();
    }
    let asked_max = (cx.config.answers_per_peer_max / ASKED_PART).max(1);
    let mut asked = BTreeMap::new();
    let all = cx.links.following.values().flat_map(|following| &following.compared);
    for (keeper, _) in all.filter(|(_, answered)| !**answered) {
        *asked.entry(*keeper).or_insert(0) += 1;
    }
    let (mut found, mut away) = (Vec::new(), BTreeSet::new());
    for at in lacking {
        let Some(following) = cx.links.following.get(&at) else { continue };
        let mut known = following.compared.len();
        let others = cx.network.sources(at).into_iter();
        for keeper in others.filter(|keeper| !following.compared.contains_key(keeper)) {
            if known >= most(at, cx) {
                break;
            }
            let asked = asked.entry(keeper).or_insert(0);
            if !cx.peers.is_up(keeper) {
                away.insert(keeper);
            } else if *asked < asked_max {
                (*asked, known) = (*asked + 1, known + 1);
                found.push((at, keeper));
            }
        }
    }
    away.into_iter().for_each(|keeper| cx.reach(keeper));
    for (at, keeper) in &found {
        if let Some(following) = cx.links.following.get_mut(at) {
            following.compared.insert(*keeper, false);
        }
    }
    found
}

/// With how many of those that keep a partition it is compared.
fn most(at: StreamPartition, cx: &Context<'_>) -> usize {
    let keepers = cx.network.keepers(at).filter(|keeper| *keeper != cx.network.me()).count();
    let links = if cx.keeps(Rule::ResumesByMany) { 1 + cx.config.heads_links } else { 1 };
    links.min(keepers)
}

/// A broker has answered.
pub(crate) fn note_compared(peer: Address, at: StreamPartition, cx: &mut Context<'_>) {
    let compared = cx.links.following.get_mut(&at).and_then(|following| following.compared.get_mut(&peer));
    if let Some(answered) = compared {
        *answered = true;
    }
}

/// What a broker was asked is not answered any more, or not to the end.
pub(crate) fn forget_compared(peer: Address, at: StreamPartition, cx: &mut Context<'_>) {
    if let Some(following) = cx.links.following.get_mut(&at) {
        following.compared.remove(&peer);
    }
}

impl Following {
    /// What was here before is gone on with, and somebody tells what is new.
    fn compares(&self) -> bool {
        let stands = self.full.link.as_ref().is_some_and(|link| link.stands);
        stands && matches!(self.before, Some(Before::Resumed { .. }))
    }
}
