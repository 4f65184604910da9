//! What was here of a partition before it was followed. If it is not old it is gone on with, and what has come between is got by comparing
//! it with what those have that keep the partition.

use super::lately::lately_ms;
use crate::{LastArrival, OutEvent, ReadToken, context::Context, rule::Rule};
use mainstem_model::{Address, Refusal, StreamPartition};

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
    let keeps_sound = cx.keeps(Rule::ResumesSound);
    let (at, following) = cx.links.following.iter_mut().find(|(_, following)| following.asked == read)?;
    let (end, age, sound) = match result {
        Ok(last) => {
            // A clock that was set back while the node was down says nothing of how long that was.
            let ages = [last.received_at, last.before].map(|came| cx.clock.longest_since(came, cx.now));
            let [age, sound] = ages.map(|age| age.unwrap_or(cx.config.link_resume_ms));
            (last.end, age, sound)
        }
        // No cursor is believed then.
        Err(_) => (u64::MAX, i64::MAX, i64::MAX),
    };
    following.lately.begin(end, following.since);
    following.before = Some(if age <= cx.config.link_resume_ms {
        // IMPORTANT: a broker that was cut off, and ends while it gets what it lacks, has what came last and not yet all before that.
        let sound = if keeps_sound { sound.min(cx.config.link_resume_ms) } else { age };
        Before::Resumed { age: age.max(sound) }
    } else {
        Before::Fresh { end, first: following.first }
    });
    Some(*at)
}

/// With whom what was here before is to be compared now, if it is gone on with: whoever tells batches, if it keeps the partition, and as
/// many others that do as there are links.
///
/// IMPORTANT: links tell what is new. One broker alone could say that there is nothing of what came before.
pub(crate) fn compares_with(at: StreamPartition, cx: &mut Context<'_>) -> Vec<Address> {
    let Some(following) = cx.links.following.get(&at) else { return Vec::new() };
    let Some(link) = following.full.link.as_ref().filter(|link| link.stands) else { return Vec::new() };
    if !matches!(following.before, Some(Before::Resumed { .. })) {
        return Vec::new();
    }
    let parent = Some(link.peer).filter(|parent| cx.network.is_keeper(*parent, at));
    let mut found: Vec<_> = parent.into_iter().collect();
    let most = most(cx);
    let mut known =
        following.compared.len() + parent.filter(|it| !following.compared.contains(it)).iter().len();
    let others: Vec<_> = cx
        .network
        .sources(at)
        .into_iter()
        .filter(|keeper| Some(*keeper) != parent && !following.compared.contains(keeper))
        .collect();
    for keeper in others {
        if known >= most {
            break;
        }
        if cx.peers.is_up(keeper) {
            found.push(keeper);
            known += 1;
        } else {
            cx.reach(keeper);
        }
    }
    if let Some(following) = cx.links.following.get_mut(&at) {
        for keeper in &found {
            if following.compared.len() < most {
                following.compared.insert(*keeper);
            }
        }
    }
    found
}

/// Partitions that wait for a session with a broker, to be compared with what it has.
pub(crate) fn uncompared_with(peer: Address, cx: &Context<'_>) -> Vec<StreamPartition> {
    let waiting = cx.links.following.iter().filter(|(at, following)| {
        let resumed = matches!(following.before, Some(Before::Resumed { .. }));
        let wanted = following.compared.len() < most(cx) && !following.compared.contains(&peer);
        resumed && wanted && cx.network.is_keeper(peer, **at)
    });
    waiting.map(|(at, _)| *at).collect()
}

/// With how many of those that keep a partition it is compared.
fn most(cx: &Context<'_>) -> usize {
    if cx.keeps(Rule::ResumesByMany) { 1 + cx.config.heads_links } else { 1 }
}
