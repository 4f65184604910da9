//! Those that follow a partition here: each is told what comes, as far as it takes it in, and through whom it comes.

use super::{
    BEFORE_MS, Links,
    behind::{Behind, read_on},
    with,
};
use crate::{OutEvent, PeerBatch, PeerMessage, context::Context, publish::StoredBatch, rule::Rule};
use mainstem_model::{Address, Code, Refusal, StreamPartition};
use std::collections::BTreeMap;

/// Brokers that are named to one that finds no room.
const INSTEAD: usize = 4;

/// Who follows what here.
#[derive(Debug, Default)]
pub(super) struct Followers {
    by_partition: BTreeMap<StreamPartition, BTreeMap<Address, Follower>>,
    len: usize,
    /// Counts up with each redirect, so that they spread.
    turn: usize,
}

/// A broker that follows a partition here.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Follower {
    full: bool,
    /// Bytes told and not taken in yet.
    pub(super) on_its_way: usize,
    /// It was not told all.
    pub(super) behind: Option<Behind>,
}

impl Followers {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn has(&self, peer: Address, at: StreamPartition) -> bool {
        self.by_partition.get(&at).is_some_and(|followers| followers.contains_key(&peer))
    }

    pub(super) fn knows(&self, peer: Address) -> bool {
        self.by_partition.values().any(|followers| followers.contains_key(&peer))
    }

    pub(super) fn find(&mut self, peer: Address, at: StreamPartition) -> Option<&mut Follower> {
        self.by_partition.get_mut(&at).and_then(|followers| followers.get_mut(&peer))
    }

    fn is_of_kind(&self, peer: Address, at: StreamPartition, full: bool) -> bool {
        let follower = self.by_partition.get(&at).and_then(|followers| followers.get(&peer));
        follower.is_some_and(|follower| follower.full == full)
    }

    fn of_kind(&self, at: StreamPartition, full: bool) -> impl Iterator<Item = Address> {
        let all = self.by_partition.get(&at).into_iter().flatten();
        all.filter(move |(_, follower)| follower.full == full).map(|(peer, _)| *peer)
    }

    /// Some of those that are told all batches, now these and now those.
    fn name(&mut self, asker: Address, at: StreamPartition) -> Vec<Address> {
        let all: Vec<_> = self.of_kind(at, true).filter(|peer| *peer != asker).collect();
        let first = self.turn.checked_rem(all.len()).unwrap_or(0);
        self.turn = self.turn.wrapping_add(1);
        all.iter().cycle().skip(first).take(INSTEAD.min(all.len())).copied().collect()
    }

    fn add(&mut self, peer: Address, at: StreamPartition, full: bool) {
        // What was on its way is not waited for.
        let follower = Follower { full, on_its_way: 0, behind: None };
        if self.by_partition.entry(at).or_default().insert(peer, follower).is_none() {
            self.len += 1;
        }
    }

    fn remove(&mut self, peer: Address, at: StreamPartition) {
        if let Some(followers) = self.by_partition.get_mut(&at) {
            if followers.remove(&peer).is_some() {
                self.len -= 1;
            }
            if followers.is_empty() {
                self.by_partition.remove(&at);
            }
        }
    }

    /// A session is over.
    pub(super) fn forget(&mut self, peer: Address) {
        self.by_partition.retain(|_, followers| {
            if followers.remove(&peer).is_some() {
                self.len -= 1;
            }
            !followers.is_empty()
        });
    }
}

impl Links {
    /// Tells those who follow a partition through whom it comes here from now on.
    pub(super) fn tell_path(&self, at: StreamPartition, cx: &mut Context<'_>) {
        let path = if cx.network.is_kept(at) { Some(Vec::new()) } else { self.path(at) };
        let (Some(path), Some(followers)) = (path, self.followers.by_partition.get(&at)) else { return };
        for (peer, follower) in followers {
            cx.tell(*peer, PeerMessage::Followed { at, full: follower.full, path: path.clone() });
        }
    }

    /// Tells those who follow what does not come here any more.
    pub(super) fn end_followers(&mut self, cx: &mut Context<'_>) {
        let comes = |at: &StreamPartition| cx.network.is_kept(*at) || self.following.contains_key(at);
        let over: Vec<_> = self.followers.by_partition.keys().copied().filter(|at| !comes(at)).collect();
        for at in over {
            let followers = self.followers.by_partition.remove(&at).unwrap_or_default();
            self.followers.len -= followers.len();
            for peer in followers.into_keys() {
                not_assigned(peer, at, cx);
            }
        }
    }
}

/// Another broker wants to follow a partition here.
pub(crate) fn handle_follow(
    peer: Address,
    at: StreamPartition,
    full: bool,
    since_ms: u64,
    cx: &mut Context<'_>,
) {
    with(cx, |links, cx| {
        let path = if cx.network.is_kept(at) { Some(Vec::new()) } else { links.path(at) };
        let Some(path) = path else {
            links.followers.remove(peer, at);
            return not_assigned(peer, at, cx);
        };
        // IMPORTANT: what comes from a broker is not told to it: in a ring nobody is told anything.
        if path.contains(&peer) && cx.keeps(Rule::Rings) {
            links.followers.remove(peer, at);
            let refusal = Refusal::new(Code::LimitReached, "it comes from you");
            return cx.tell(peer, PeerMessage::NotFollowed { at, refusal, instead: Vec::new() });
        }
        let most = if full { cx.config.relay_degree } else { cx.config.relay_heads_degree };
        let has_it = links.followers.is_of_kind(peer, at, full);
        let is_full = links.followers.len() >= cx.config.followers_max
            && !links.followers.has(peer, at)
            && cx.keeps(Rule::Followers);
        let told = links.followers.of_kind(at, full).count();
        if !has_it && (is_full || (told >= most && cx.keeps(Rule::RelayDegree))) {
            cx.counters.followers_redirected += 1;
            links.followers.remove(peer, at);
            // Who has followed before may lack something that those who have begun of late do not know of.
            if since_ms > 2 * BEFORE_MS {
                tell_heads(peer, at, since_ms, cx);
            }
            let refusal = Refusal::new(Code::LimitReached, "this broker has as many links as it takes");
            let instead = links.followers.name(peer, at);
            return cx.tell(peer, PeerMessage::NotFollowed { at, refusal, instead });
        }
        links.followers.add(peer, at, full);
        cx.tell(peer, PeerMessage::Followed { at, full, path });
        tell_heads(peer, at, since_ms, cx);
    });
}

fn tell_heads(peer: Address, at: StreamPartition, since_ms: u64, cx: &mut Context<'_>) {
    let after = cx.now.up_ms.saturating_sub(i64::try_from(since_ms).unwrap_or(i64::MAX));
    let heads: Vec<_> = cx
        .changes
        .after(after)
        .filter(|(series, _)| series.stream_partition == at)
        .take(cx.config.heads_per_message_max.min(PeerMessage::HEADS_MAX))
        .collect();
    cx.tell(peer, PeerMessage::Heads { heads });
}

fn not_assigned(peer: Address, at: StreamPartition, cx: &mut Context<'_>) {
    let me = cx.network.me();
    let refusal = Refusal::new(Code::NotAssigned, format!("{at} is not assigned to {me}"));
    let instead = cx.network.keepers(at).filter(|keeper| *keeper != me && *keeper != peer);
    let instead = instead.take(PeerMessage::INSTEAD_MAX).collect();
    cx.tell(peer, PeerMessage::NotFollowed { at, refusal, instead });
}

/// Another broker has seen enough.
pub(crate) fn handle_unfollow(peer: Address, at: StreamPartition, cx: &mut Context<'_>) {
    cx.links.followers.remove(peer, at);
}

/// A link's batches were taken in.
pub(crate) fn handle_fed(peer: Address, at: StreamPartition, bytes: u64, cx: &mut Context<'_>) {
    if let Some(follower) = cx.links.followers.find(peer, at) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        follower.on_its_way = follower.on_its_way.saturating_sub(bytes);
        read_on(peer, at, cx);
    }
}

/// Tells a batch that has reached the journal of this store to those who follow its partition, as far as they take it in.
pub(crate) fn feed(stored: &StoredBatch, log: u64, cx: &mut Context<'_>) {
    if stored.past || cx.links.followers.len == 0 {
        return;
    }
    let (at, bytes) = (stored.batch.header().stream_partition, stored.batch.bytes().len());
    let Some(followers) = cx.links.followers.by_partition.get_mut(&at) else { return };
    for (peer, follower) in followers {
        if !follower.full {
            continue;
        }
        let full = follower.on_its_way > 0
            && follower.on_its_way + bytes > cx.config.link_window_bytes
            && cx.config.keeps(Rule::LinkWindow);
        match &mut follower.behind {
            Some(behind) if full || !behind.is_over(stored.position) => {
                behind.leave_out(stored.position);
                continue;
            }
            None if full => {
                if cx.config.keeps(Rule::LinkGoesOn) {
                    follower.behind = Some(Behind::new(log, stored.position));
                    cx.counters.links_behind += 1;
                }
                continue;
            }
            Some(_) | None => {}
        }
        follower.behind = None;
        follower.on_its_way += bytes;
        cx.counters.batches_fed += 1;
        let message = PeerMessage::Feed { batch: PeerBatch::Proven(stored.batch.clone()) };
        cx.out.push(OutEvent::Tell { peer: *peer, message });
    }
}
