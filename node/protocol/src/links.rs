//! Links: a broker that does not keep a partition follows it at two that have it. One tells each batch, the other heads only,
//! so that what the one leaves out is seen.
//!
//! A broker serves a bounded number of links of a partition; whoever comes then is told to ask one of those that have them. So
//! below each owner there is a tree of relays, in which each broker has one parent. The two links of a broker are in the trees
//! of different owners: what withholds on one way is not on the other.

mod followed;
mod followers;
mod owed;

pub(crate) use followers::{feed, handle_fed, handle_follow, handle_unfollow};
pub(crate) use owed::{owe, pay};

use crate::{LastArrival, LinkStatus, OutEvent, PeerMessage, ReadToken, context::Context, rule::Rule};
use followed::Followed;
use followers::Followers;
use mainstem_model::{Address, Code, Refusal, StreamPartition};
use owed::Owed;
use std::collections::{BTreeMap, BTreeSet};

/// Brokers to which a session is sought at once, of those that may have a link: the nearest answers first.
const SOUGHT: usize = 3;
/// Brokers that others have named and that are still to be asked.
const NAMED_MAX: usize = 32;
/// Redirects in a row. An honest tree is less deep.
const REDIRECTS_MAX: u32 = 64;
/// Between two rounds through the trees, milliseconds.
const ROUND_MS: i64 = 500;
/// For what was on its way when a link began, milliseconds.
const BEFORE_MS: u64 = 2_000;

/// The links of this broker, both ways.
#[derive(Debug, Default)]
pub(crate) struct Links {
    following: BTreeMap<StreamPartition, Following>,
    followers: Followers,
    followed: Followed,
}

/// A partition that is followed at others.
#[derive(Debug)]
struct Following {
    since: i64,
    /// Who tells batches, and who tells heads.
    full: Option<Link>,
    heads: Option<Link>,
    /// How the one that is missing is looked for.
    full_search: Search,
    heads_search: Search,
    /// Who was left lately, and until when it is passed over.
    left: BTreeMap<Address, i64>,
    /// Nobody here reads it any more, since then.
    idle_since: Option<i64>,
    /// It is the first time in the life of this process.
    first: bool,
    /// Until when nothing was missed for certain: both links stood and were heard, so that what the one lacked the other told.
    sound_at: i64,
    /// What the one that tells batches has not told, and had to be pulled: the first of it.
    owed: Option<Owed>,
    /// What of the partition was here before; `None` until the store has told.
    before: Option<Before>,
    /// The store is asked for that.
    asked: ReadToken,
    /// What was here before is to be compared with what a broker has that keeps the partition.
    uncompared: bool,
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

#[derive(Clone, Debug, PartialEq, Eq)]
struct Link {
    peer: Address,
    /// The other has said yes.
    stands: bool,
    /// It tells what it was asked for since then.
    stands_since: i64,
    asked_at: i64,
    /// Through whom it comes to the other, nearest first; the last one keeps the partition.
    path: Vec<Address>,
}

/// Going down the trees for a place that is free.
#[derive(Debug, Default)]
struct Search {
    /// Who was named and not asked yet.
    named: Vec<Address>,
    redirects: u32,
    /// The owners are not asked again before this.
    next_round_at: i64,
}

impl Link {
    /// In whose tree it is.
    fn root(&self) -> Address {
        self.path.last().copied().unwrap_or(self.peer)
    }
}

impl Following {
    const fn link(&mut self, full: bool) -> &mut Option<Link> {
        if full { &mut self.full } else { &mut self.heads }
    }

    const fn search(&mut self, full: bool) -> &mut Search {
        if full { &mut self.full_search } else { &mut self.heads_search }
    }

    fn links(&self) -> impl Iterator<Item = &Link> {
        self.full.iter().chain(&self.heads)
    }

    /// Whether both links are in one tree.
    fn is_one_way(&self) -> bool {
        let both = self.full.as_ref().zip(self.heads.as_ref());
        both.is_some_and(|(full, heads)| full.stands && heads.stands && full.root() == heads.root())
    }
}

impl Following {
    /// How far back what has changed is asked for.
    fn since_ms(&self, cx: &Context<'_>) -> u64 {
        let sound_at = if cx.keeps(Rule::AsksBack) { self.sound_at } else { cx.now.up_ms };
        u64::try_from(cx.now.up_ms - sound_at).unwrap_or(0).saturating_add(BEFORE_MS)
    }

    fn look_whether_sound(&mut self, at: StreamPartition, cx: &Context<'_>) {
        // What has changed before comes right behind the answer.
        let heard = |link: &Option<Link>| {
            let link = link.as_ref().filter(|link| link.stands)?;
            Some(cx.peers.heard_at(link.peer)).filter(|heard| *heard > link.stands_since)
        };
        match (heard(&self.full), heard(&self.heads)) {
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
        self.followers.len()
    }

    /// The partitions that are followed.
    pub(crate) fn status(&self) -> Vec<LinkStatus> {
        let status = |(at, following): (&StreamPartition, &Following)| LinkStatus {
            at: *at,
            full: following.full.as_ref().map(|link| link.peer),
            heads: following.heads.as_ref().map(|link| link.peer),
            stands: self.stands(*at),
        };
        self.following.iter().map(status).collect()
    }

    /// Whether a broker follows a partition here.
    pub(crate) fn is_follower(&self, peer: Address, at: StreamPartition) -> bool {
        self.followers.has(peer, at)
    }

    /// Whether a session with a broker carries a link, or may soon.
    pub(crate) fn needs(&self, peer: Address) -> bool {
        let named = |search: &Search| search.named.contains(&peer);
        self.followers.knows(peer)
            || self.following.values().any(|following| {
                following.links().any(|link| link.peer == peer)
                    || named(&following.full_search)
                    || named(&following.heads_search)
            })
    }

    pub(crate) fn is_following(&self, at: StreamPartition) -> bool {
        self.following.contains_key(&at)
    }

    /// Whether a partition can be read here: what is told of it comes, and it is known what was here before.
    pub(crate) fn stands(&self, at: StreamPartition) -> bool {
        self.following.get(&at).is_some_and(|following| {
            following.before.is_some() && following.full.as_ref().is_some_and(|link| link.stands)
        })
    }

    /// Through whom a partition that is followed comes here, nearest first; `None` while it does not.
    fn path(&self, at: StreamPartition) -> Option<Vec<Address>> {
        let link = self.following.get(&at)?.full.as_ref().filter(|link| link.stands)?;
        Some(std::iter::once(link.peer).chain(link.path.iter().copied()).collect())
    }

    /// The brokers at which a partition is followed.
    pub(crate) fn tellers(&self, at: StreamPartition) -> impl Iterator<Item = Address> {
        self.following.get(&at).into_iter().flat_map(Following::links).map(|link| link.peer)
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
        self.following.get(&at).and_then(|following| following.full.as_ref()).map(|link| link.peer)
    }

    /// How old what comes of a partition may be, so that none is missed since it began to be followed, or since what was here
    /// before; milliseconds.
    pub(crate) fn reach_back(&self, at: StreamPartition, now: i64) -> u64 {
        let before_ms = i64::try_from(BEFORE_MS).unwrap_or(i64::MAX);
        let reach = self.following.get(&at).map_or(0, |following| {
            let age = match following.before {
                Some(Before::Resumed { age }) => age.saturating_add(2 * before_ms),
                Some(Before::Fresh { .. }) | None => 0,
            };
            now.saturating_sub(following.since).saturating_add(age)
        });
        u64::try_from(reach.saturating_add(before_ms)).unwrap_or(0)
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
            uncompared: true,
            full: None,
            heads: None,
            full_search: Search::default(),
            heads_search: Search::default(),
            left: BTreeMap::new(),
            idle_since: None,
            first: links.followed.note(at),
            sound_at: since,
            owed: None,
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
        Ok(last) => {
            // A clock that was set back while the node was down says nothing of how long that was.
            let age = cx.clock.longest_since(last.received_at, cx.now);
            (last.end, age.unwrap_or(cx.config.link_resume_ms))
        }
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

/// With whom what was here before is to be compared, if it is gone on with: whoever tells batches, or, where that is a relay,
/// which may have begun later, one that keeps the partition.
pub(crate) fn compares_with(at: StreamPartition, cx: &mut Context<'_>) -> Option<Address> {
    let following = cx.links.following.get(&at)?;
    let link = following.full.as_ref().filter(|link| link.stands)?;
    let resumed = matches!(following.before, Some(Before::Resumed { .. }));
    if !resumed {
        return None;
    }
    let parent = link.peer;
    let found = if cx.network.is_keeper(parent, at) {
        Some(parent)
    } else if following.uncompared {
        let keepers = cx.network.sources(at);
        let up = keepers.iter().copied().find(|keeper| cx.peers.is_up(*keeper));
        if up.is_none() {
            for keeper in keepers {
                cx.reach(keeper);
            }
        }
        up
    } else {
        None
    };
    if found.is_some()
        && let Some(following) = cx.links.following.get_mut(&at)
    {
        following.uncompared = false;
    }
    found
}

/// Partitions that wait for a session with a broker, to be compared with what it has.
pub(crate) fn uncompared_with(peer: Address, cx: &Context<'_>) -> Vec<StreamPartition> {
    let waiting = cx.links.following.iter().filter(|(at, following)| {
        let resumed = matches!(following.before, Some(Before::Resumed { .. }));
        following.uncompared && resumed && cx.network.is_keeper(peer, **at)
    });
    waiting.map(|(at, _)| *at).collect()
}

/// Whether what a broker says of a partition is listened to: it was asked to tell of it, or keeps what is followed.
pub(crate) fn is_heard(peer: Address, at: StreamPartition, cx: &Context<'_>) -> bool {
    is_fed_by(peer, at, cx) || (cx.links.is_following(at) && cx.network.is_keeper(peer, at))
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
        if following.link(full).is_none()
            && (full || cx.keeps(Rule::SecondLink))
            && let Some(peer) = seek(at, following, full, cx)
        {
            ask(at, following, full, peer, cx);
        }
    }
}

fn ask(at: StreamPartition, following: &mut Following, full: bool, peer: Address, cx: &mut Context<'_>) {
    let now = cx.now.up_ms;
    let since_ms = following.since_ms(cx);
    cx.tell(peer, PeerMessage::Follow { at, full, since_ms });
    *following.link(full) =
        Some(Link { peer, stands: false, stands_since: now, asked_at: now, path: Vec::new() });
}

/// Whom to ask for a link next. Sessions are asked for where there is none.
fn seek(at: StreamPartition, following: &mut Following, full: bool, cx: &mut Context<'_>) -> Option<Address> {
    let (now, me) = (cx.now.up_ms, cx.network.me());
    let other = following.link(!full).clone();
    let is_other = |peer: Address| other.as_ref().is_some_and(|other| other.peer == peer);
    let Following { left, full_search, heads_search, .. } = following;
    let search = if full { full_search } else { heads_search };
    search.named.retain(|peer| {
        *peer != me
            && !is_other(*peer)
            && !left.contains_key(peer)
            && !cx.peers.is_out_of_reach(*peer, now, cx.config)
    });
    if let Some(index) = search.named.iter().position(|peer| cx.peers.is_up(*peer)) {
        return Some(search.named.remove(index));
    }
    if !search.named.is_empty() {
        for peer in search.named.iter().take(SOUGHT) {
            cx.reach(*peer);
        }
        return None;
    }
    if now < search.next_round_at {
        return None;
    }
    let keepers = cx.network.sources(at);
    let is_fresh = |peer: &&Address| !left.contains_key(*peer);
    let mut sources = keepers.clone();
    sources.retain(|peer| cx.peers.is_up(*peer) && !is_other(*peer));
    let elsewhere = |peer: &&Address| other.as_ref().is_none_or(|other| other.root() != **peer);
    let fresh = sources.iter().filter(is_fresh);
    if let Some(peer) = fresh.clone().find(elsewhere).or_else(|| fresh.clone().next()) {
        return Some(*peer);
    }
    for peer in &keepers {
        if !is_other(*peer) {
            cx.reach(*peer);
        }
    }
    // The one that tells heads takes over, rather than one that was found wanting.
    if full && other.is_some_and(|other| other.stands && cx.peers.is_up(other.peer)) {
        return following.heads.take().map(|link| link.peer);
    }
    // Who was left is better than nobody, and who was left first is better than who was just now.
    sources.iter().min_by_key(|peer| following.left.get(*peer)).copied()
}

/// Leaves a broker that does not do what a link is for.
fn leave(at: StreamPartition, following: &mut Following, peer: Address, cx: &mut Context<'_>) {
    following.left.insert(peer, cx.now.up_ms + cx.config.link_left_ms);
    let was_full = following.full.as_ref().is_some_and(|link| link.peer == peer);
    following.full.take_if(|link| link.peer == peer);
    following.heads.take_if(|link| link.peer == peer);
    following.owed.take_if(|owed| owed.is_by(peer));
    cx.tell(peer, PeerMessage::Unfollow { at });
    if was_full {
        cx.counters.links_moved += 1;
        // The other one is known to live, if it has answered: it tells batches from now on.
        if let Some(heads) = following.heads.take_if(|link| link.stands) {
            let since_ms = following.since_ms(cx);
            cx.tell(heads.peer, PeerMessage::Follow { at, full: true, since_ms });
            // What it was not asked for yet it does not owe.
            following.full = Some(Link { stands_since: cx.now.up_ms, ..heads });
        }
    }
    choose(at, following, cx);
}

/// A broker has said yes, or by which way the partition comes to it from now on. Gives whether the partition can be read.
pub(crate) fn handle_followed(
    peer: Address,
    at: StreamPartition,
    full: bool,
    path: Vec<Address>,
    cx: &mut Context<'_>,
) -> bool {
    let (now, me) = (cx.now.up_ms, cx.network.me());
    with(cx, |links, cx| {
        let Some(following) = links.following.get_mut(&at) else {
            cx.tell(peer, PeerMessage::Unfollow { at });
            return false;
        };
        let Some(link) = following.link(full).as_mut().filter(|link| link.peer == peer) else { return false };
        // IMPORTANT: what comes from here does not come here: of a ring of brokers each believes to be told.
        if path.contains(&me) || path.len() >= PeerMessage::PATH_MAX {
            leave(at, following, peer, cx);
            return false;
        }
        let changed = !link.stands || link.path != path;
        if !link.stands {
            (link.stands, link.stands_since) = (true, now);
        }
        link.path = path;
        *following.search(full) = Search::default();
        if full && changed {
            links.tell_path(at, cx);
        }
        full
    })
}

/// A broker has said no, or that it is over. It may name others.
pub(crate) fn handle_not_followed(
    peer: Address,
    at: StreamPartition,
    refusal: &Refusal,
    instead: Vec<Address>,
    cx: &mut Context<'_>,
) {
    let now = cx.now.up_ms;
    with(cx, |links, cx| {
        let Some(following) = links.following.get_mut(&at) else { return };
        if !following.links().any(|link| link.peer == peer) {
            return;
        }
        let full = following.full.as_ref().is_some_and(|link| link.peer == peer);
        let search = following.search(full);
        search.redirects += 1;
        // It is full, and names those that it tells.
        if refusal.code != Code::LimitReached || instead.is_empty() || search.redirects > REDIRECTS_MAX {
            *search = Search { next_round_at: now + ROUND_MS, ..Search::default() };
            return leave(at, following, peer, cx);
        }
        let mut named = instead;
        named.extend(search.named.iter().filter(|peer| !named.contains(peer)).copied().collect::<Vec<_>>());
        named.truncate(NAMED_MAX);
        search.named = named;
        search.next_round_at = now + ROUND_MS;
        following.link(full).take_if(|link| link.peer == peer);
        choose(at, following, cx);
    });
}

/// Whether a broker's batches of a partition are wanted: it was asked for them.
pub(crate) fn is_fed_by(peer: Address, at: StreamPartition, cx: &Context<'_>) -> bool {
    cx.links.following.get(&at).is_some_and(|following| {
        following.links().any(|link| link.peer == peer) || following.left.contains_key(&peer)
    })
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
        links.followers.forget(peer);
        for (at, following) in &mut links.following {
            if following.links().any(|link| link.peer == peer) {
                leave(*at, following, peer, cx);
            }
        }
    });
}

/// Time has passed: silent brokers are left, and partitions that nobody reads; followers of what does not come here any more
/// are told so.
pub(crate) fn handle_tick(cx: &mut Context<'_>) {
    owed::end_late(cx);
    with(cx, |links, cx| {
        let now = cx.now.up_ms;
        let mut kept = Vec::new();
        links.following.retain(|at, following| {
            let over = cx.network.is_mine(*at) && cx.ready;
            let idle = following.idle_since.is_some_and(|since| now - since >= cx.config.link_linger_ms);
            if over || idle {
                for link in following.links() {
                    cx.tell(link.peer, PeerMessage::Unfollow { at: *at });
                }
                kept.extend(over.then_some(*at));
                return false;
            }
            let silent = |link: &&Link| {
                let heard = cx.peers.heard_at(link.peer).max(link.asked_at);
                let direct = link.stands && link.path.is_empty();
                // One that does not keep the partition any more, nor follows it, is told nothing new of it.
                let moved = direct && !cx.network.is_keeper(link.peer, *at);
                let silent = now - heard >= cx.config.silence_ms
                    || (!link.stands && now - link.asked_at >= cx.config.silence_ms);
                moved || (silent && cx.keeps(Rule::SilentLinks))
            };
            let silent: BTreeSet<Address> = following.links().filter(silent).map(|link| link.peer).collect();
            for peer in silent {
                leave(*at, following, peer, cx);
            }
            following.look_whether_sound(*at, cx);
            part_ways(*at, following, cx);
            choose(*at, following, cx);
            true
        });
        for at in kept {
            links.tell_path(at, cx);
        }
        links.end_followers(cx);
    });
}

/// Looks for another one to tell heads, if both links are in one tree and there are others.
fn part_ways(at: StreamPartition, following: &mut Following, cx: &mut Context<'_>) {
    let now = cx.now.up_ms;
    let Some(heads) = following.heads.as_ref().filter(|_| following.is_one_way()) else { return };
    if now - heads.asked_at < cx.config.link_left_ms {
        return;
    }
    let root = heads.root();
    let others = cx.network.sources(at).into_iter().filter(|keeper| *keeper != root);
    let others: Vec<_> = others.filter(|keeper| !following.left.contains_key(keeper)).collect();
    if others.iter().any(|keeper| cx.peers.is_up(*keeper)) {
        let heads = following.heads.take();
        if let Some(peer) = heads.map(|link| link.peer) {
            cx.tell(peer, PeerMessage::Unfollow { at });
        }
        return;
    }
    for keeper in others {
        cx.reach(keeper);
    }
}
