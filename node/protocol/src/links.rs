//! Links: a broker that does not keep a partition follows it at some that have it. One tells each batch, the others heads only,
//! so that what the one leaves out is seen.
//!
//! A broker serves a bounded number of links of a partition; whoever comes then is told to ask one of those that have them. So
//! below each owner there is a tree of relays, in which each broker has one parent. The links of a broker are in the trees
//! of different owners: what withholds on one way is not on the others, and of three owners two can hide nothing.

mod began;
mod behind;
mod followed;
mod followers;
mod given;
mod lately;
mod owed;
mod resumed;

pub(crate) use began::handle_heads;
pub(crate) use behind::handle_page;
pub(crate) use followers::{feed, handle_fed, handle_follow, handle_unfollow};
pub(crate) use given::goes_on;
pub(crate) use lately::note_stored;
pub(crate) use owed::{Missed, excuse, forgive, handle_feed, handle_new};
pub(crate) use resumed::{compares_with, forget_compared, handle_last, note_compared, uncompared};

use crate::{Config, LinkStatus, PeerMessage, ReadToken, context::Context, rule::Rule};
use began::Began;
use behind::Reads;
use followed::Followed;
use followers::Followers;
use given::Given;
use lately::{Lately, lately_ms};
use mainstem_model::{Address, Code, Refusal, StreamPartition};
use owed::Owed;
use resumed::{Before, ask_last};
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
    reads: Reads,
    followed: Followed,
    /// Partitions that are new to this broker and are not followed.
    given: BTreeMap<StreamPartition, Given>,
    given_reads: BTreeMap<ReadToken, StreamPartition>,
    /// Links that began with a broker's last word; the next one says where series stand then.
    answered: BTreeMap<Address, BTreeSet<StreamPartition>>,
}

/// A partition that is followed at others.
#[derive(Debug)]
struct Following {
    since: i64,
    /// How its batches come here.
    full: Way,
    /// How its heads come here: what the one that tells batches leaves out, one of these tells.
    heads: Vec<Way>,
    /// Who was left lately, and until when it is passed over.
    left: BTreeMap<Address, i64>,
    /// Nobody here reads it any more, since then.
    idle_since: Option<i64>,
    /// It is the first time in the life of this process.
    first: bool,
    /// Until when nothing was missed for certain: two links stood and were heard, so that what the one lacked the other told.
    sound_at: i64,
    /// What the one that tells batches has not told, and had to be pulled: some of it.
    owed: Vec<Owed>,
    /// Until when nobody owes anything: some of what was told found no room here.
    excused_until: i64,
    /// What of the partition was here before; `None` until the store has told.
    before: Option<Before>,
    /// The store is asked for that.
    asked: ReadToken,
    /// With whom what was here before is compared, of those that keep the partition, and whether they have answered.
    compared: BTreeMap<Address, bool>,
    /// Where the own log has gone on lately.
    lately: Lately,
}

/// A way that a partition comes by: through a broker, or through one that is still looked for.
#[derive(Debug, Default)]
struct Way {
    link: Option<Link>,
    search: Search,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Link {
    peer: Address,
    /// The other has said yes.
    stands: bool,
    /// It tells what it was asked for since then.
    stands_since: i64,
    /// Where series stood when that began.
    began: Began,
    asked_at: i64,
    /// When it last told a batch.
    told_at: i64,
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
    /// Those by which batches come first.
    fn ways(&self) -> impl Iterator<Item = &Way> {
        std::iter::once(&self.full).chain(&self.heads)
    }

    fn ways_mut(&mut self) -> impl Iterator<Item = &mut Way> {
        std::iter::once(&mut self.full).chain(&mut self.heads)
    }

    fn links(&self) -> impl Iterator<Item = &Link> {
        self.ways().filter_map(|way| way.link.as_ref())
    }

    fn is_fed_by(&self, peer: Address) -> bool {
        self.full.link.as_ref().is_some_and(|link| link.peer == peer)
    }

    /// Takes the link to one that tells heads, so that it tells batches.
    fn take_standing(&mut self, cx: &Context<'_>) -> Option<Link> {
        let stands = |link: &mut Link| link.stands && cx.peers.is_up(link.peer);
        self.heads.iter_mut().find_map(|way| way.link.take_if(stands))
    }

    /// One that tells heads is the first to take over.
    fn prefer(&mut self, peer: Address) {
        if let Some(index) = self.heads.iter().position(|way| way.goes_by(peer)) {
            self.heads.swap(0, index);
        }
    }

    /// A link that comes from the tree of one that is before it.
    fn redundant(&self) -> Option<&Link> {
        let standing = |link: &&Link| link.stands;
        let mut roots = BTreeSet::new();
        self.links().filter(standing).find(|link| !roots.insert(link.root()))
    }
}

impl Way {
    fn goes_by(&self, peer: Address) -> bool {
        self.link.as_ref().is_some_and(|link| link.peer == peer)
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
        let heard = |way: &Way| {
            let link = way.link.as_ref().filter(|link| link.stands)?;
            Some(cx.peers.heard_at(link.peer)).filter(|heard| *heard > link.stands_since)
        };
        let Some(full) = heard(&self.full) else { return };
        let heads: Vec<i64> = self.heads.iter().filter_map(heard).collect();
        let others = self.heads.len().min(cx.network.sources(at).len().saturating_sub(1));
        let until = if heads.len() >= others {
            heads.into_iter().fold(full, i64::min)
        } else if let Some(last) = heads.into_iter().max() {
            // One that is away for long is not waited for.
            full.min(last) - cx.config.link_left_ms
        } else {
            return;
        };
        self.sound_at = self.sound_at.max(until);
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
            full: following.full.link.as_ref().map(|link| link.peer),
            heads: following.heads.iter().filter_map(|way| Some(way.link.as_ref()?.peer)).collect(),
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
        let goes_by = |way: &Way| way.goes_by(peer) || way.search.named.contains(&peer);
        self.followers.knows(peer) || self.following.values().any(|following| following.ways().any(goes_by))
    }

    pub(crate) fn is_following(&self, at: StreamPartition) -> bool {
        self.following.contains_key(&at)
    }

    /// Whether a partition can be read here: what is told of it comes, and it is known what was here before.
    pub(crate) fn stands(&self, at: StreamPartition) -> bool {
        self.following.get(&at).is_some_and(|following| {
            following.before.is_some() && following.full.link.as_ref().is_some_and(|link| link.stands)
        })
    }

    /// Through whom a partition that is followed comes here, nearest first; `None` while it does not.
    fn path(&self, at: StreamPartition) -> Option<Vec<Address>> {
        let link = self.following.get(&at)?.full.link.as_ref().filter(|link| link.stands)?;
        Some(std::iter::once(link.peer).chain(link.path.iter().copied()).collect())
    }

    /// The brokers at which a partition is followed.
    pub(crate) fn tellers(&self, at: StreamPartition) -> impl Iterator<Item = Address> {
        self.following.get(&at).into_iter().flat_map(Following::links).map(|link| link.peer)
    }

    /// Who tells the batches of a partition.
    pub(crate) fn parent(&self, at: StreamPartition) -> Option<Address> {
        self.following.get(&at).and_then(|following| following.full.link.as_ref()).map(|link| link.peer)
    }

    /// Who tells batches of a partition at this moment.
    pub(crate) fn telling(&self, at: StreamPartition, config: &Config, now: i64) -> Option<Address> {
        let link = self.following.get(&at).and_then(|following| following.full.link.as_ref());
        let tells = |link: &&Link| link.stands && now.saturating_sub(link.told_at) < config.repair_grace_ms;
        link.filter(tells).map(|link| link.peer)
    }

    /// How old what comes of a partition may be, so that none is missed since it began to be followed, or since what was here
    /// before; milliseconds.
    ///
    /// IMPORTANT: of what came lately before that, the one at which readers read the past may have had nothing yet.
    pub(crate) fn reach_back(&self, at: StreamPartition, now: i64, config: &Config) -> u64 {
        let reach = match (self.following.get(&at), self.given.get(&at)) {
            (Some(following), _) => {
                let before = following.before.map_or(0, Before::reach);
                now.saturating_sub(following.since).saturating_add(before)
            }
            (None, given) => given.map_or(0, |given| given.reach(now)),
        };
        let lately = if config.keeps(Rule::ReachesBack) { lately_ms(config) } else { 0 };
        u64::try_from(reach.saturating_add(lately)).unwrap_or(0).saturating_add(BEFORE_MS)
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
            compared: BTreeMap::new(),
            full: Way::default(),
            heads: std::iter::repeat_with(Way::default).take(cx.config.heads_links).collect(),
            left: BTreeMap::new(),
            idle_since: None,
            first: links.followed.note(at),
            sound_at: since,
            owed: Vec::new(),
            excused_until: i64::MIN,
            lately: Lately::default(),
        });
        following.idle_since = None;
        choose(at, following, cx);
    });
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

/// Sees to it that a partition has all links, as far as there are brokers for them.
fn choose(at: StreamPartition, following: &mut Following, cx: &mut Context<'_>) {
    let now = cx.now.up_ms;
    following.left.retain(|_, until| *until > now);
    for place in 0..=following.heads.len() {
        let keeps = (place < 1 || cx.keeps(Rule::SecondLink)) && (place < 2 || cx.keeps(Rule::FurtherLinks));
        let is_missing = following.ways().nth(place).is_some_and(|way| way.link.is_none());
        if keeps
            && is_missing
            && let Some(peer) = seek(at, following, place, cx)
        {
            ask(at, following, place, peer, cx);
        }
    }
}

fn ask(at: StreamPartition, following: &mut Following, place: usize, peer: Address, cx: &mut Context<'_>) {
    let now = cx.now.up_ms;
    let since_ms = following.since_ms(cx);
    cx.tell(peer, PeerMessage::Follow { at, full: place == 0, since_ms });
    if let Some(way) = following.ways_mut().nth(place) {
        way.link = Some(Link {
            peer,
            stands: false,
            stands_since: now,
            began: Began::Asked,
            asked_at: now,
            told_at: i64::MIN,
            path: Vec::new(),
        });
    }
}

/// Whom to ask for a link next. Sessions are asked for where there is none.
fn seek(
    at: StreamPartition,
    following: &mut Following,
    place: usize,
    cx: &mut Context<'_>,
) -> Option<Address> {
    let (now, me) = (cx.now.up_ms, cx.network.me());
    let others: Vec<(Address, Address)> = following.links().map(|link| (link.peer, link.root())).collect();
    let is_other = |peer: Address| others.iter().any(|(other, _)| *other == peer);
    let left = &following.left;
    let way = if place == 0 { &mut following.full } else { following.heads.get_mut(place - 1)? };
    let search = &mut way.search;
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
    let mut keepers = cx.network.sources(at);
    let is_elsewhere = |peer: &Address| !others.iter().any(|(_, root)| root == peer);
    // One that only tells again what the others tell is no use.
    if place > 1 {
        keepers.retain(is_elsewhere);
    }
    let mut sources = keepers.clone();
    sources.retain(|peer| cx.peers.is_up(*peer) && !is_other(*peer));
    let fresh = sources.iter().filter(|peer| !left.contains_key(*peer));
    if let Some(peer) = fresh.clone().find(|peer| is_elsewhere(peer)).or_else(|| fresh.clone().next()) {
        return Some(*peer);
    }
    for peer in &keepers {
        if !is_other(*peer) {
            cx.reach(*peer);
        }
    }
    // One that tells heads takes over, rather than one that was found wanting.
    if place == 0
        && let Some(link) = following.take_standing(cx)
    {
        return Some(link.peer);
    }
    // Who was left is better than nobody, and who was left first is better than who was just now; but not again and again.
    let again = sources.into_iter().min_by_key(|peer| following.left.get(peer))?;
    if let Some(way) = following.ways_mut().nth(place) {
        way.search.next_round_at = now + ROUND_MS;
    }
    Some(again)
}

/// Leaves a broker that does not do what a link is for.
fn leave(at: StreamPartition, following: &mut Following, peer: Address, cx: &mut Context<'_>) {
    following.left.insert(peer, cx.now.up_ms + cx.config.link_left_ms);
    let was_full = following.is_fed_by(peer);
    for way in following.ways_mut() {
        way.link.take_if(|link| link.peer == peer);
    }
    following.owed.retain(|owed| owed.by != peer);
    cx.tell(peer, PeerMessage::Unfollow { at });
    if was_full {
        cx.counters.links_moved += 1;
        // Another one is known to live, if it has answered: it tells batches from now on.
        if let Some(heads) = following.take_standing(cx) {
            let since_ms = following.since_ms(cx);
            cx.tell(heads.peer, PeerMessage::Follow { at, full: true, since_ms });
            // What it was not asked for yet it does not owe.
            following.full.link = Some(Link { stands_since: cx.now.up_ms, began: Began::Asked, ..heads });
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
        let mut ways = following.ways_mut().enumerate();
        let Some((place, way)) = ways.find(|(_, way)| way.goes_by(peer)) else { return false };
        drop(ways);
        // It was asked for something else since.
        if (place == 0) != full {
            return false;
        }
        let Some(link) = &mut way.link else { return false };
        // IMPORTANT: what comes from here does not come here: of a ring of brokers each believes to be told.
        if (path.contains(&me) || path.len() >= PeerMessage::PATH_MAX) && cx.keeps(Rule::Rings) {
            leave(at, following, peer, cx);
            return false;
        }
        let changed = !link.stands || link.path != path;
        if !link.stands {
            (link.stands, link.stands_since) = (true, now);
        }
        link.path = path;
        let first = link.began.answer();
        if first && full {
            links.answered.entry(peer).or_default().insert(at);
        }
        way.search = Search::default();
        if full && (changed || first) {
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
        let mut ways = following.ways_mut();
        let Some(way) = ways.find(|way| way.goes_by(peer)) else { return };
        drop(ways);
        let search = &mut way.search;
        search.redirects += 1;
        // It is full, and names those that it tells.
        let too_many = search.redirects > REDIRECTS_MAX && cx.keeps(Rule::Redirects);
        if refusal.code != Code::LimitReached || instead.is_empty() || too_many {
            *search = Search { next_round_at: now + ROUND_MS, ..Search::default() };
            return leave(at, following, peer, cx);
        }
        let mut named = instead;
        named.extend(search.named.iter().filter(|peer| !named.contains(peer)).copied().collect::<Vec<_>>());
        named.truncate(NAMED_MAX);
        search.named = named;
        search.next_round_at = now + ROUND_MS;
        way.link = None;
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
        links.answered.remove(&peer);
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
            let idle = following.idle_since.is_some_and(|since| now - since >= cx.config.link_linger_ms)
                && cx.keeps(Rule::IdleLinks);
            if over || idle {
                for link in following.links() {
                    cx.tell(link.peer, PeerMessage::Unfollow { at: *at });
                }
                kept.extend(over.then_some((*at, following.before)));
                return false;
            }
            let silent = |link: &&Link| {
                let heard = cx.peers.heard_at(link.peer).max(link.asked_at);
                let direct = link.stands && link.path.is_empty();
                // One that does not keep the partition any more, nor follows it, is told nothing new of it.
                let moved = direct && !cx.network.is_keeper(link.peer, *at);
                let silent = now - heard >= cx.config.silence_ms
                    || (!link.stands && now - link.asked_at >= cx.config.silence_ms);
                (moved && cx.keeps(Rule::LeavesFormer)) || (silent && cx.keeps(Rule::SilentLinks))
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
        for (at, before) in kept {
            links.keep(at, before, cx.now.up_ms);
            links.tell_path(at, cx);
        }
        links.end_followers(cx);
        links.end_given(cx);
    });
}

/// Looks for another one to tell heads instead of one that is in the tree of another link, if there are other trees.
fn part_ways(at: StreamPartition, following: &mut Following, cx: &mut Context<'_>) {
    let now = cx.now.up_ms;
    let Some(link) = following.redundant() else { return };
    if now - link.asked_at < cx.config.link_left_ms {
        return;
    }
    let (peer, roots) = (link.peer, following.links().map(Link::root).collect::<BTreeSet<_>>());
    let mut others = cx.network.sources(at);
    others.retain(|keeper| !roots.contains(keeper) && !following.left.contains_key(keeper));
    if others.iter().any(|keeper| cx.peers.is_up(*keeper)) {
        for way in &mut following.heads {
            way.link.take_if(|link| link.peer == peer);
        }
        cx.tell(peer, PeerMessage::Unfollow { at });
        return;
    }
    for keeper in others {
        cx.reach(keeper);
    }
}
