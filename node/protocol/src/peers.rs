//! The other brokers: who is there, what each has on its way, and how it behaves.

use crate::{Config, Counters, OutEvent, PeerMessage, PeerStatus, context::Context, rule::Rule};
use mainstem_model::{Address, SeriesKey};
use std::collections::{BTreeMap, BTreeSet};

/// Points at which a broker is dropped. They go down by [`SCORE_FADE`] a second.
pub(crate) const SCORE_MAX: u32 = 100;
const SCORE_FADE: u32 = 2;
/// How long a broker is dropped for, times how often it was.
const DROP_MS: u64 = 10_000;
/// The longest time, in such times.
const DROPS_MAX: u32 = 30;

/// Every broker that was heard of since it was last gone from the network.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    known: BTreeMap<Address, Peer>,
    /// To whom a session was asked for, and when.
    reached: BTreeMap<Address, i64>,
    faded_at: i64,
}

/// Another broker.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    /// There is a session.
    pub(crate) up: bool,
    /// What it said of itself.
    pub(crate) hello: Option<Hello>,
    /// The log that it last said to have, in this session or one before.
    log: Option<u64>,
    /// Since when it says that it does not have all that it is to keep.
    unready_since: Option<i64>,
    /// The last change of heads that it was told.
    pub(crate) told: u64,
    /// When it last said something.
    pub(crate) heard_at: i64,
    /// When something was last said, by either, that is no sign of life.
    pub(crate) used_at: i64,
    /// When this broker last sent it heads.
    pub(crate) beaten_at: i64,
    /// When this broker last said what it is.
    pub(crate) greeted_at: i64,
    /// Batches sent to it for keeping and not answered: bytes, by series and end.
    outstanding: BTreeMap<(SeriesKey, u64), Outstanding>,
    outstanding_bytes: usize,
    /// When it last answered for any of them, and when the newest that it has answered for was sent.
    answered_at: i64,
    answered_up_to: i64,
    score: u32,
    drops: u32,
}

#[derive(Clone, Copy, Debug)]
struct Outstanding {
    bytes: usize,
    /// When it was sent first.
    since: i64,
    durable: bool,
}

impl Peer {
    /// It has said what it is. Gives whether it has another log than before: its disk is another one.
    pub(crate) fn greet(&mut self, hello: Hello, now: i64) -> bool {
        self.unready_since = if hello.ready { None } else { self.unready_since.or(Some(now)) };
        self.hello = Some(hello);
        self.log.replace(hello.log).is_some_and(|before| before != hello.log)
    }
}

/// What a broker says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) log: u64,
    pub(crate) epoch: u32,
    pub(crate) ready: bool,
}

/// Something that costs a broker points: how many, and the reason that metrics show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Misdeed {
    /// A frame that is no message.
    Malformed,
    /// A batch that does not hold.
    InvalidBatch,
    /// Something that nobody asked for.
    Unasked,
    /// It did not send what it says it has.
    Withheld,
    /// It did not answer in time.
    Late,
}

impl Misdeed {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Malformed, Self::InvalidBatch, Self::Unasked, Self::Withheld, Self::Late];

    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::InvalidBatch => "invalid_batch",
            Self::Unasked => "unasked",
            Self::Withheld => "withheld",
            Self::Late => "late",
        }
    }

    const fn points(self) -> u32 {
        match self {
            // No honest broker sends these, however its network fares.
            Self::Malformed | Self::InvalidBatch => SCORE_MAX,
            Self::Unasked => 1,
            // It may be slow, or this one is: the link is moved, and that is all.
            Self::Withheld => 2,
            Self::Late => 5,
        }
    }
}

impl Peers {
    /// A session begins. What had changed up to `told` it gets by comparing.
    pub(crate) fn begin(&mut self, peer: Address, told: u64, now: i64) {
        let known = self.known.entry(peer).or_default();
        let (score, drops, log) = (known.score, known.drops, known.log);
        *known = Peer { up: true, told, heard_at: now, used_at: now, score, drops, log, ..Peer::default() };
    }

    pub(crate) fn end(&mut self, peer: Address) {
        self.reached.remove(&peer);
        if let Some(known) = self.known.get_mut(&peer) {
            known.up = false;
            known.hello = None;
            known.outstanding.clear();
            known.outstanding_bytes = 0;
        }
    }

    /// The session with a broker; `None` when there is none.
    pub(crate) fn find(&mut self, peer: Address) -> Option<&mut Peer> {
        self.known.get_mut(&peer).filter(|peer| peer.up)
    }

    pub(crate) fn is_up(&self, peer: Address) -> bool {
        self.known.get(&peer).is_some_and(|peer| peer.up)
    }

    /// Whether a broker has lacked something for so long that the past is read there all the same. What it fills up while
    /// somebody reads may lie behind the reader.
    pub(crate) fn lacks_for_long(&self, peer: Address, now: i64, config: &Config) -> bool {
        let known = self.known.get(&peer).filter(|peer| peer.up && peer.hello.is_some());
        let since = known.and_then(|known| known.unready_since);
        since.is_some_and(|since| now - since >= config.ready_after_ms)
    }

    pub(crate) fn hello(&self, peer: Address) -> Option<Hello> {
        self.known.get(&peer).filter(|peer| peer.up).and_then(|peer| peer.hello)
    }

    /// Notes that a session is wanted; whether it is to be asked for: there is none, and it was not asked for just now.
    fn reach(&mut self, peer: Address, now: i64, config: &Config) -> bool {
        if self.is_up(peer) || self.reached.get(&peer).is_some_and(|at| now - at < config.silence_ms) {
            return false;
        }
        self.reached.insert(peer, now);
        true
    }

    /// Whether a session was asked for just now.
    pub(crate) fn is_reached_for(&self, peer: Address, now: i64, config: &Config) -> bool {
        self.reached.get(&peer).is_some_and(|at| now - at < config.silence_ms)
    }

    /// Whether a session was asked for and has not come.
    pub(crate) fn is_out_of_reach(&self, peer: Address, now: i64, config: &Config) -> bool {
        let waited = self.reached.get(&peer).map_or(0, |at| now - at);
        !self.is_up(peer) && waited >= config.silence_ms
    }

    /// Brokers with which a session was asked for that nobody has used for long. Forgets who could not be reached.
    pub(crate) fn idle(&mut self, now: i64, config: &Config) -> Vec<Address> {
        let known = &self.known;
        self.reached.retain(|peer, at| {
            known.get(peer).is_some_and(|peer| peer.up) || now - *at < config.link_left_ms
        });
        let unused = |peer: &Address| {
            known.get(peer).is_some_and(|peer| peer.up && now - peer.used_at >= config.session_linger_ms)
        };
        self.reached.keys().copied().filter(unused).collect()
    }

    /// When a broker was last heard; long ago if there is no session.
    pub(crate) fn heard_at(&self, peer: Address) -> i64 {
        self.known.get(&peer).filter(|peer| peer.up).map_or(i64::MIN, |peer| peer.heard_at)
    }

    /// Whether a broker has said nothing for so long that it is paused or gone.
    pub(crate) fn is_silent(&self, peer: Address, now: i64, config: &Config) -> bool {
        now.saturating_sub(self.heard_at(peer)) >= config.silence_ms
    }

    /// How long a broker's answer is waited for, milliseconds: one that is silent gives none.
    pub(crate) fn answers_within_ms(&self, peer: Address, now: i64, config: &Config) -> i64 {
        if self.is_silent(peer, now, config) { config.silence_ms } else { config.pull_wait_ms }
    }

    pub(crate) fn up(&self) -> impl Iterator<Item = Address> {
        self.known.iter().filter(|(_, peer)| peer.up).map(|(address, _)| *address)
    }

    /// Those that say to have all that they are to keep as of an epoch.
    pub(crate) fn ready_since(&self, epoch: u32) -> BTreeSet<Address> {
        let ready = |hello: Hello| hello.ready && hello.epoch >= epoch;
        let up = self.known.iter().filter(|(_, peer)| peer.up && peer.hello.is_some_and(ready));
        up.map(|(address, _)| *address).collect()
    }

    pub(crate) fn up_len(&self) -> usize {
        self.known.values().filter(|peer| peer.up).count()
    }

    /// What there is to say of a broker.
    pub(crate) fn status(&self, address: Address, now: i64, pulls: usize) -> PeerStatus {
        let Some(peer) = self.known.get(&address) else {
            let (up, ready, silent_ms, score, outstanding_bytes) = (false, false, None, 0, 0);
            return PeerStatus { address, up, ready, silent_ms, score, outstanding_bytes, pulls };
        };
        PeerStatus {
            address,
            up: peer.up,
            ready: peer.hello.is_some_and(|hello| hello.ready),
            silent_ms: peer.up.then_some(now - peer.heard_at),
            score: peer.score,
            outstanding_bytes: peer.outstanding_bytes,
            pulls,
        }
    }

    /// Notes that a broker misbehaved; drops it if that was too much.
    pub(crate) fn blame(
        &mut self,
        peer: Address,
        misdeed: Misdeed,
        drops: bool,
        counters: &mut Counters,
        out: &mut Vec<OutEvent>,
    ) {
        *counters.misdeeds.entry(misdeed).or_default() += 1;
        let Some(known) = self.known.get_mut(&peer) else { return };
        known.score += misdeed.points();
        if known.score < SCORE_MAX || !drops {
            return;
        }
        known.score = 0;
        known.drops = (known.drops + 1).min(DROPS_MAX);
        counters.peers_dropped += 1;
        out.push(OutEvent::Drop { peer, for_ms: DROP_MS * u64::from(known.drops), why: misdeed.as_str() });
    }

    /// Forgives with time.
    pub(crate) fn fade(&mut self, now: i64) {
        if now - self.faded_at < 1_000 {
            return;
        }
        self.faded_at = now;
        for peer in self.known.values_mut() {
            peer.score = peer.score.saturating_sub(SCORE_FADE);
        }
    }

    /// Forgets brokers that are gone from the network and from here.
    pub(crate) fn retain(&mut self, known: impl Fn(Address) -> bool) {
        self.known.retain(|address, peer| peer.up || known(*address));
    }
}

impl Peer {
    /// Takes room for a batch that is to be kept there; `false` if there is none. One may always be on its way.
    pub(crate) fn take_room(
        &mut self,
        key: (SeriesKey, u64),
        bytes: usize,
        durable: bool,
        now: i64,
        config: &Config,
    ) -> bool {
        if let Some(sent) = self.outstanding.get_mut(&key) {
            sent.durable |= durable;
            return true;
        }
        let full = self.outstanding_bytes > 0 && self.outstanding_bytes + bytes > config.replica_window_bytes;
        if full && config.keeps(Rule::CopyWindow) {
            return false;
        }
        self.outstanding.insert(key, Outstanding { bytes, since: now, durable });
        self.outstanding_bytes += bytes;
        true
    }

    /// Whether a batch is still on its way there, as far as can be told: what was sent before it is being answered, and nothing
    /// that was sent after it.
    ///
    /// IMPORTANT: a broker that is behind is not sent the same again. It would prove that, too, before it comes to what it has
    /// not seen: beyond some load all that it does is answer for the second time.
    pub(crate) fn is_on_its_way(
        &self,
        key: (SeriesKey, u64),
        durable: bool,
        now: i64,
        config: &Config,
    ) -> bool {
        let Some(sent) = self.outstanding.get(&key).filter(|sent| sent.durable || !durable) else {
            return false;
        };
        sent.since >= self.answered_up_to && now - self.answered_at.max(sent.since) < config.copies_resend_ms
    }

    /// It has answered for a batch.
    pub(crate) fn give_room(&mut self, key: (SeriesKey, u64), now: i64) {
        if let Some(gone) = self.outstanding.remove(&key) {
            self.outstanding_bytes -= gone.bytes;
            self.answered_at = now;
            self.answered_up_to = self.answered_up_to.max(gone.since);
        }
    }

    /// It has refused a batch of a series; those behind it are answered or time out.
    pub(crate) fn give_series_room(&mut self, series: SeriesKey, now: i64) {
        let done: Vec<_> =
            self.outstanding.range((series, 0)..=(series, u64::MAX)).map(|(key, _)| *key).collect();
        for key in done {
            self.give_room(key, now);
        }
    }

    /// Gives back the room of what was never answered.
    pub(crate) fn forget_older(&mut self, now: i64, config: &Config) {
        let is_answering = now - self.answered_at < config.copies_resend_ms;
        let up_to = self.answered_up_to;
        self.outstanding.retain(|_, sent| {
            sent.since > now - config.outstanding_ms || (is_answering && sent.since >= up_to)
        });
        self.outstanding_bytes = self.outstanding.values().map(|batch| batch.bytes).sum();
    }
}

impl Context<'_> {
    /// Tells another broker, if there is a session with it.
    pub(crate) fn tell(&mut self, peer: Address, message: PeerMessage) {
        let Some(known) = self.peers.find(peer) else { return };
        if !message.is_sign_of_life() {
            known.used_at = self.now.up_ms;
        }
        self.out.push(OutEvent::Tell { peer, message });
    }

    /// Asks for a session with a broker, unless there is one or it was asked for just now.
    pub(crate) fn reach(&mut self, peer: Address) {
        if self.peers.reach(peer, self.now.up_ms, self.config) {
            self.out.push(OutEvent::Connect { peer });
        }
    }

    /// Gives up sessions that were asked for and are of no use any more.
    pub(crate) fn part(&mut self) {
        for peer in self.peers.idle(self.now.up_ms, self.config) {
            if !self.links.needs(peer) && !self.network.is_fellow(peer) {
                self.out.push(OutEvent::Part { peer });
            }
        }
    }

    pub(crate) fn blame(&mut self, peer: Address, misdeed: Misdeed) {
        self.peers.blame(peer, misdeed, self.keeps(Rule::Drops), self.counters, self.out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_model::{Origin, Partition, SeriesId, StreamId};

    fn end(series: u64) -> (SeriesKey, u64) {
        let stream_partition = StreamId(Address([1; 20])).partition(Partition::ZERO);
        let origin = Origin::ethereum(Address([2; 20]));
        (SeriesKey { stream_partition, origin, series: SeriesId(series) }, 1)
    }

    #[test]
    fn what_a_broker_has_not_come_to_yet_is_on_its_way_as_long_as_it_answers_for_what_came_before() {
        let config = Config { copies_resend_ms: 1_000, outstanding_ms: 5_000, ..Config::default() };
        let mut peer = Peer::default();
        for (series, sent_at) in [(1, 0), (2, 10), (3, 20), (4, 20)] {
            assert!(!peer.is_on_its_way(end(series), false, sent_at, &config), "it was not sent");
            assert!(peer.take_room(end(series), 100, false, sent_at, &config));
        }
        let on_its_way = |peer: &Peer, series, now| peer.is_on_its_way(end(series), false, now, &config);
        assert!(on_its_way(&peer, 1, 999) && !on_its_way(&peer, 1, 1_000), "it says nothing");
        for now in (900..9_000).step_by(900) {
            peer.give_room(end(1), now);
            peer.take_room(end(1), 100, false, 0, &config);
            peer.forget_older(now, &config);
            assert!(on_its_way(&peer, 3, now + 900), "it is behind, and at work");
        }
        assert!(!peer.is_on_its_way(end(3), true, 8_200, &config), "more is asked for now");
        peer.give_room(end(3), 9_000);
        assert!(!on_its_way(&peer, 2, 9_001), "what was sent after it was answered");
        assert!(on_its_way(&peer, 4, 9_001), "it was sent with what was answered");
        peer.forget_older(9_001, &config);
        assert_eq!(peer.outstanding_bytes, 100);
        peer.forget_older(10_000, &config);
        assert_eq!(peer.outstanding_bytes, 0, "it says nothing");
    }
}
