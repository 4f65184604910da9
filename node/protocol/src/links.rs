//! Links: a broker that does not keep a partition follows it at two that do. One tells each batch, the other heads only, so
//! that what the one leaves out is seen.

use crate::{
    LastArrival, LinkStatus, Misdeed, OutEvent, PeerMessage, ReadToken, context::Context,
    publish::StoredBatch,
};
use mainstem_model::{Address, Code, Refusal, StreamPartition};
use std::collections::{BTreeMap, BTreeSet};

/// The links of this broker, both ways.
#[derive(Debug, Default)]
pub(crate) struct Links {
    following: BTreeMap<StreamPartition, Following>,
    followers: BTreeMap<StreamPartition, BTreeMap<Address, Follower>>,
    followers_len: usize,
    followed: Followed,
}

/// Partitions that were followed in the life of this process.
#[derive(Debug, Default)]
struct Followed {
    known: BTreeSet<StreamPartition>,
    /// There were more than are remembered.
    more: bool,
}

impl Followed {
    /// Partitions that are remembered; with more all count as followed.
    const MAX: usize = 100_000;

    /// Notes a partition; whether it is the first time for certain.
    fn note(&mut self, at: StreamPartition) -> bool {
        if self.known.len() >= Self::MAX {
            (self.known, self.more) = (BTreeSet::new(), true);
        }
        self.known.insert(at) && !self.more
    }
}

/// A partition that is followed at others.
#[derive(Debug)]
struct Following {
    since: i64,
    /// Who tells batches, and who tells heads.
    full: Option<Link>,
    heads: Option<Link>,
    /// Who was left lately, and until when it is passed over.
    left: BTreeMap<Address, i64>,
    /// Nobody here reads it any more, since then.
    idle_since: Option<i64>,
    /// It is the first time in the life of this process.
    first: bool,
    /// Until when nothing was missed for certain: both links stood and were heard, so that what the one lacked the other told.
    sound_at: i64,
    /// What of the partition was here before; `None` until the store has told.
    before: Option<Before>,
    /// The store is asked for that.
    asked: ReadToken,
}

/// What was here of a partition when it began to be followed.
#[derive(Clone, Copy, Debug)]
enum Before {
    /// Nothing that goes on: readers begin here, and series with the first batch that comes.
    Fresh {
        /// Where the own log ended: older cursors lead nowhere.
        end: u64,
        /// It was not followed before in the life of this process, so that a cursor to the end is of this following.
        first: bool,
    },
    /// Something not old: it is gone on with, so that readers who come back miss nothing.
    Resumed {
        /// How long before the following began the last batch came, milliseconds.
        age: i64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Link {
    peer: Address,
    /// The other has said yes.
    stands: bool,
    stands_since: i64,
    asked_at: i64,
}

/// A broker that follows a partition here.
#[derive(Clone, Copy, Debug, Default)]
struct Follower {
    full: bool,
    /// Bytes told and not taken in yet.
    on_its_way: usize,
}

impl Following {
    /// How far back what has changed is asked for.
    fn since_ms(&self, now: i64) -> u64 {
        /// For what was on its way then.
        const BEFORE_MS: i64 = 2_000;
        u64::try_from(now - self.sound_at + BEFORE_MS).unwrap_or(0)
    }

    fn look_whether_sound(&mut self, at: StreamPartition, cx: &Context<'_>) {
        // What has changed before comes right behind the answer.
        let heard = |link: Option<Link>| {
            let link = link.filter(|link| link.stands)?;
            Some(cx.peers.heard_at(link.peer)).filter(|heard| *heard > link.stands_since)
        };
        match (heard(self.full), heard(self.heads)) {
            (Some(full), Some(heads)) => self.sound_at = self.sound_at.max(full.min(heads)),
            // Nobody else keeps it.
            (Some(full), None) if cx.network.sources(at).len() < 2 => self.sound_at = self.sound_at.max(full),
            _ => {}
        }
    }
}

impl Links {
    pub(crate) fn out_len(&self) -> usize {
        self.following.len()
    }

    pub(crate) const fn in_len(&self) -> usize {
        self.followers_len
    }

    /// The partitions that are followed.
    pub(crate) fn status(&self) -> Vec<LinkStatus> {
        let status = |(at, following): (&StreamPartition, &Following)| LinkStatus {
            at: *at,
            full: following.full.map(|link| link.peer),
            heads: following.heads.map(|link| link.peer),
            stands: self.stands(*at),
        };
        self.following.iter().map(status).collect()
    }

    /// Whether a broker follows a partition here.
    pub(crate) fn is_follower(&self, peer: Address, at: StreamPartition) -> bool {
        self.followers.get(&at).is_some_and(|followers| followers.contains_key(&peer))
    }

    pub(crate) fn is_following(&self, at: StreamPartition) -> bool {
        self.following.contains_key(&at)
    }

    /// Whether a partition can be read here: what is told of it comes, and it is known what was here before.
    pub(crate) fn stands(&self, at: StreamPartition) -> bool {
        self.following.get(&at).is_some_and(|following| {
            following.before.is_some() && following.full.is_some_and(|link| link.stands)
        })
    }

    /// Whether a reader can go on from a position of the own log.
    pub(crate) fn goes_on_from(&self, at: StreamPartition, position: u64) -> bool {
        match self.following.get(&at).and_then(|following| following.before) {
            Some(Before::Fresh { end, first }) => position > end || (first && position == end),
            Some(Before::Resumed { .. }) | None => true,
        }
    }

    /// Who tells the batches of a partition.
    pub(crate) fn parent(&self, at: StreamPartition) -> Option<Address> {
        self.following.get(&at).and_then(|following| following.full).map(|link| link.peer)
    }

    /// How old what comes of a partition may be, so that none is missed since it began to be followed, or since what was here
    /// before; milliseconds.
    pub(crate) fn reach_back(&self, at: StreamPartition, now: i64) -> u64 {
        /// For what was on its way then.
        const BEFORE_MS: i64 = 2_000;
        let reach = self.following.get(&at).map_or(0, |following| {
            let age = match following.before {
                Some(Before::Resumed { age }) => age.saturating_add(2 * BEFORE_MS),
                Some(Before::Fresh { .. }) | None => 0,
            };
            now.saturating_sub(following.since).saturating_add(age)
        });
        u64::try_from(reach.saturating_add(BEFORE_MS)).unwrap_or(0)
    }
}

/// Somebody here wants to read a partition that others keep.
pub(crate) fn follow(at: StreamPartition, cx: &mut Context<'_>) {
    with(cx, |links, cx| {
        let since = cx.now.up_ms;
        let following = links.following.entry(at).or_insert_with(|| Following {
            since,
            before: None,
            asked: ask_last(at, cx),
            full: None,
            heads: None,
            left: BTreeMap::new(),
            idle_since: None,
            first: links.followed.note(at),
            sound_at: since,
        });
        following.idle_since = None;
        choose(at, following, cx);
    });
}

fn ask_last(at: StreamPartition, cx: &mut Context<'_>) -> ReadToken {
    let read = cx.read_token();
    cx.out.push(OutEvent::ReadLast { read, at });
    read
}

/// The store has told what was here before. Gives the partition, and whom it can be compared with if it is gone on with.
pub(crate) fn handle_last(
    read: ReadToken,
    result: Result<LastArrival, Refusal>,
    cx: &mut Context<'_>,
) -> Option<StreamPartition> {
    let (at, following) = cx.links.following.iter_mut().find(|(_, following)| following.asked == read)?;
    let (end, age) = match result {
        Ok(last) => (last.end, cx.now.unix_ms.saturating_sub(last.received_at).max(0)),
        // No cursor is believed then.
        Err(_) => (u64::MAX, i64::MAX),
    };
    following.before = Some(if age <= cx.config.link_resume_ms {
        Before::Resumed { age }
    } else {
        Before::Fresh { end, first: following.first }
    });
    Some(*at)
}

/// The broker that tells the batches of a partition, if what was here before is gone on with: what they have is compared.
pub(crate) fn compares_with(at: StreamPartition, cx: &Context<'_>) -> Option<Address> {
    let following = cx.links.following.get(&at)?;
    let link = following.full.filter(|link| link.stands)?;
    matches!(following.before, Some(Before::Resumed { .. })).then_some(link.peer)
}

/// Nobody here reads a partition any more.
pub(crate) fn rest(at: StreamPartition, cx: &mut Context<'_>) {
    if let Some(following) = cx.links.following.get_mut(&at) {
        following.idle_since = following.idle_since.or(Some(cx.now.up_ms));
    }
}

/// Takes the links' place while they act; nothing of that comes back to them.
fn with<T>(cx: &mut Context<'_>, act: impl FnOnce(&mut Links, &mut Context<'_>) -> T) -> T {
    let mut links = std::mem::take(cx.links);
    let result = act(&mut links, cx);
    *cx.links = links;
    result
}

/// Sees to it that a partition has both links, as far as there are brokers for them.
fn choose(at: StreamPartition, following: &mut Following, cx: &mut Context<'_>) {
    let now = cx.now.up_ms;
    following.left.retain(|_, until| *until > now);
    for full in [true, false] {
        let (this, other) =
            if full { (following.full, following.heads) } else { (following.heads, following.full) };
        if this.is_some() {
            continue;
        }
        let usable = |peer: &Address| cx.peers.is_up(*peer) && other.is_none_or(|other| other.peer != *peer);
        let mut sources = cx.network.sources(at);
        sources.retain(usable);
        // Who was left is better than nobody.
        let fresh = sources.iter().find(|peer| !following.left.contains_key(*peer));
        let peer = match (fresh, full) {
            (Some(peer), _) => *peer,
            // The one that tells heads takes over, rather than one that was found wanting.
            (None, true) if following.heads.is_some_and(|link| cx.peers.is_up(link.peer)) => {
                let Some(link) = following.heads.take() else { continue };
                link.peer
            }
            (None, _) => match sources.first() {
                Some(peer) => *peer,
                None => continue,
            },
        };
        let since_ms = following.since_ms(now);
        cx.tell(peer, PeerMessage::Follow { at, full, since_ms });
        let link = Some(Link { peer, stands: false, stands_since: now, asked_at: now });
        if full {
            following.full = link;
        } else {
            following.heads = link;
        }
    }
}

/// Leaves a broker that does not do what a link is for.
fn leave(at: StreamPartition, following: &mut Following, peer: Address, cx: &mut Context<'_>) {
    following.left.insert(peer, cx.now.up_ms + cx.config.link_left_ms);
    let was_full = following.full.is_some_and(|link| link.peer == peer);
    following.full = following.full.filter(|link| link.peer != peer);
    following.heads = following.heads.filter(|link| link.peer != peer);
    cx.tell(peer, PeerMessage::Unfollow { at });
    if was_full {
        cx.counters.links_moved += 1;
        // The other one is known to live: it tells batches from now on.
        if let Some(heads) = following.heads.take() {
            let since_ms = following.since_ms(cx.now.up_ms);
            cx.tell(heads.peer, PeerMessage::Follow { at, full: true, since_ms });
            following.full = Some(heads);
        }
    }
    choose(at, following, cx);
}

/// Another broker wants to follow a partition here.
pub(crate) fn handle_follow(
    peer: Address,
    at: StreamPartition,
    full: bool,
    since_ms: u64,
    cx: &mut Context<'_>,
) {
    let kept = cx.network.is_kept(at);
    with(cx, |links, cx| {
        if !kept {
            not_assigned(peer, at, cx);
        } else if links.followers_len >= cx.config.followers_max && !links.is_follower(peer, at) {
            let refusal = Refusal::new(Code::LimitReached, "this broker has as many links as it takes");
            not_followed(peer, at, refusal, cx);
        } else {
            let followers = links.followers.entry(at).or_default();
            if !followers.contains_key(&peer) {
                links.followers_len += 1;
            }
            // What was on its way is not waited for.
            followers.insert(peer, Follower { full, on_its_way: 0 });
            cx.tell(peer, PeerMessage::Followed { at, full });
        }
    });
    if kept {
        let after = cx.now.up_ms.saturating_sub(i64::try_from(since_ms).unwrap_or(i64::MAX));
        let heads: Vec<_> = cx
            .changes
            .after(after)
            .filter(|(series, _)| series.stream_partition == at)
            .take(cx.config.heads_per_message_max.min(PeerMessage::HEADS_MAX))
            .collect();
        cx.tell(peer, PeerMessage::Heads { heads });
    }
}

fn not_assigned(peer: Address, at: StreamPartition, cx: &mut Context<'_>) {
    let refusal = Refusal::new(Code::NotAssigned, format!("{at} is not assigned to {}", cx.network.me()));
    not_followed(peer, at, refusal, cx);
}

fn not_followed(peer: Address, at: StreamPartition, refusal: Refusal, cx: &mut Context<'_>) {
    let me = cx.network.me();
    let instead = cx.network.keepers(at).filter(|keeper| *keeper != me && *keeper != peer).collect();
    cx.tell(peer, PeerMessage::NotFollowed { at, refusal, instead });
}

/// Another broker has seen enough.
pub(crate) fn handle_unfollow(peer: Address, at: StreamPartition, cx: &mut Context<'_>) {
    let links = &mut *cx.links;
    if let Some(followers) = links.followers.get_mut(&at) {
        if followers.remove(&peer).is_some() {
            links.followers_len -= 1;
        }
        if followers.is_empty() {
            links.followers.remove(&at);
        }
    }
}

/// A broker has said yes. Gives whether the partition can be read from now on.
pub(crate) fn handle_followed(peer: Address, at: StreamPartition, full: bool, cx: &mut Context<'_>) -> bool {
    let now = cx.now.up_ms;
    let Some(following) = cx.links.following.get_mut(&at) else {
        cx.tell(peer, PeerMessage::Unfollow { at });
        return false;
    };
    let link = if full { &mut following.full } else { &mut following.heads };
    match link {
        Some(link) if link.peer == peer => {
            if !link.stands {
                (link.stands, link.stands_since) = (true, now);
            }
            full
        }
        _ => false,
    }
}

/// A broker has said no, or that it is over.
pub(crate) fn handle_not_followed(peer: Address, at: StreamPartition, cx: &mut Context<'_>) {
    with(cx, |links, cx| {
        if let Some(following) = links.following.get_mut(&at) {
            leave(at, following, peer, cx);
        }
    });
}

/// A link's batches were taken in.
pub(crate) fn handle_fed(peer: Address, at: StreamPartition, bytes: u64, cx: &mut Context<'_>) {
    if let Some(follower) = cx.links.followers.get_mut(&at).and_then(|followers| followers.get_mut(&peer)) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        follower.on_its_way = follower.on_its_way.saturating_sub(bytes);
    }
}

/// Tells a batch that has reached the journal to those who follow its partition, as far as they take it in.
pub(crate) fn feed(stored: &StoredBatch, cx: &mut Context<'_>) {
    if stored.past || cx.links.followers_len == 0 {
        return;
    }
    let (at, bytes) = (stored.batch.header().stream_partition, stored.batch.bytes().len());
    let Some(followers) = cx.links.followers.get_mut(&at) else { return };
    for (peer, follower) in followers {
        if !follower.full {
            continue;
        }
        // Heads tell it what it missed.
        if follower.on_its_way > 0 && follower.on_its_way + bytes > cx.config.link_window_bytes {
            cx.counters.batches_unfed += 1;
            continue;
        }
        follower.on_its_way += bytes;
        cx.counters.batches_fed += 1;
        let message = PeerMessage::Feed { batch: stored.batch.clone() };
        cx.out.push(OutEvent::Tell { peer: *peer, message });
    }
}

/// Whether a broker's batches of a partition are wanted: it was asked for them.
pub(crate) fn is_fed_by(peer: Address, at: StreamPartition, cx: &Context<'_>) -> bool {
    cx.links.following.get(&at).is_some_and(|following| {
        following.full.is_some_and(|link| link.peer == peer)
            || following.heads.is_some_and(|link| link.peer == peer)
            || following.left.contains_key(&peer)
    })
}

/// The one that tells batches has left some out that the other one has.
pub(crate) fn withheld(at: StreamPartition, had: Address, cx: &mut Context<'_>) {
    let full = cx.links.following.get(&at).and_then(|following| following.full);
    let Some(full) = full.filter(|link| link.peer != had && link.stands) else { return };
    cx.blame(full.peer, Misdeed::Withheld);
    with(cx, |links, cx| {
        if let Some(following) = links.following.get_mut(&at) {
            leave(at, following, full.peer, cx);
        }
    });
}

/// A session began: there may be links to open.
pub(crate) fn handle_up(cx: &mut Context<'_>) {
    with(cx, |links, cx| {
        for (at, following) in &mut links.following {
            choose(*at, following, cx);
        }
    });
}

/// A session is over.
pub(crate) fn handle_down(peer: Address, cx: &mut Context<'_>) {
    with(cx, |links, cx| {
        links.followers.retain(|_, followers| {
            if followers.remove(&peer).is_some() {
                links.followers_len -= 1;
            }
            !followers.is_empty()
        });
        for (at, following) in &mut links.following {
            let linked =
                [following.full, following.heads].into_iter().flatten().any(|link| link.peer == peer);
            if linked {
                leave(*at, following, peer, cx);
            }
        }
    });
}

/// Time has passed: silent brokers are left, and partitions that nobody reads; followers of what is not kept here any more
/// are told so.
pub(crate) fn handle_tick(cx: &mut Context<'_>) {
    let over: Vec<_> = cx.links.followers.keys().copied().filter(|at| !cx.network.is_kept(*at)).collect();
    for at in over {
        let followers = cx.links.followers.remove(&at).unwrap_or_default();
        cx.links.followers_len -= followers.len();
        for peer in followers.into_keys() {
            not_assigned(peer, at, cx);
        }
    }
    with(cx, |links, cx| {
        let now = cx.now.up_ms;
        links.following.retain(|at, following| {
            let over = cx.network.is_mine(*at) && cx.ready;
            let idle = following.idle_since.is_some_and(|since| now - since >= cx.config.link_linger_ms);
            if over || idle {
                for link in [following.full, following.heads].into_iter().flatten() {
                    cx.tell(link.peer, PeerMessage::Unfollow { at: *at });
                }
                return false;
            }
            let silent = |link: &Link| {
                let heard = cx.peers.heard_at(link.peer).max(link.asked_at);
                // One that does not keep the partition any more is told nothing new of it.
                !cx.network.is_keeper(link.peer, *at)
                    || now - heard >= cx.config.silence_ms
                    || (!link.stands && now - link.asked_at >= cx.config.silence_ms)
            };
            let silent: BTreeSet<Address> = [following.full, following.heads]
                .into_iter()
                .flatten()
                .filter(silent)
                .map(|link| link.peer)
                .collect();
            for peer in silent {
                leave(*at, following, peer, cx);
            }
            following.look_whether_sound(*at, cx);
            choose(*at, following, cx);
            true
        });
    });
}
