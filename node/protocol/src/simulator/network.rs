//! Sessions between brokers: what is told on a lane comes in order or the session ends; sessions end on each side at a time of
//! its own.

use super::{meter::wire_bytes, random::Random, regions::one_way_ms, settings::Settings};
use crate::PeerMessage;
use std::collections::BTreeMap;

/// Number of a session.
pub(crate) type SessionNumber = u64;

/// Who tells whom.
pub(crate) type Pair = (usize, usize);

/// What is between brokers.
#[derive(Debug)]
pub(crate) struct Network {
    /// The session that the first one has with the second, as it sees it.
    ends: Vec<BTreeMap<usize, SessionNumber>>,
    /// By who tells and who is told.
    ways: Vec<BTreeMap<usize, Way>>,
    /// Who has nothing to do with whom until when.
    bans: BTreeMap<Pair, i64>,
    regions: Vec<usize>,
    nearer: i64,
    loss_one_in: u64,
    bytes_per_ms: i64,
    queue_bytes_max: i64,
    last_session: SessionNumber,
}

/// One direction between two brokers.
#[derive(Debug, Default)]
struct Way {
    lanes: [Line; 2],
    /// Partitions that this way is cut by.
    cuts: u32,
    stalled_until: i64,
    /// What came while it was cut.
    held: Vec<Letter>,
}

/// One lane in one direction.
#[derive(Debug, Default, Clone, Copy)]
struct Line {
    /// When the last byte set out, microseconds.
    busy_until_us: i64,
    /// When the last message arrives, milliseconds.
    arrives: i64,
}

/// A message on its way.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) session: SessionNumber,
    pub(crate) message: PeerMessage,
}

/// What became of a message.
#[derive(Debug)]
pub(crate) enum Sent {
    /// It comes at this time, if the session lives.
    Arrives(i64, Box<Letter>),
    /// There is no session.
    Nowhere,
    /// More waits than may: the session is to end.
    Full(SessionNumber),
}

impl Network {
    pub(crate) fn new(settings: &Settings, regions: Vec<usize>) -> Self {
        Self {
            ends: vec![BTreeMap::new(); regions.len()],
            ways: regions.iter().map(|_| BTreeMap::new()).collect(),
            bans: BTreeMap::new(),
            regions,
            nearer: settings.nearer.max(1),
            loss_one_in: settings.loss_one_in,
            bytes_per_ms: settings.bytes_per_ms.max(1),
            queue_bytes_max: settings.queue_bytes_max,
            last_session: 0,
        }
    }

    /// How long a message takes at least, milliseconds.
    pub(crate) fn distance(&self, (from, to): Pair) -> i64 {
        let region = |broker: usize| self.regions.get(broker).copied().unwrap_or_default();
        (one_way_ms(region(from), region(to)) / self.nearer).max(1)
    }

    pub(crate) fn session(&self, here: usize, there: usize) -> Option<SessionNumber> {
        self.ends.get(here)?.get(&there).copied()
    }

    /// With whom a broker has sessions.
    pub(crate) fn peers(&self, here: usize) -> Vec<usize> {
        self.ends.get(here).into_iter().flat_map(BTreeMap::keys).copied().collect()
    }

    pub(crate) fn are_joined(&self, a: usize, b: usize) -> bool {
        self.session(a, b).is_some() && self.session(a, b) == self.session(b, a)
    }

    /// Whether two brokers could have a session: each hears the other, and neither has banned the other.
    pub(crate) fn can_join(&self, a: usize, b: usize, now: i64) -> bool {
        let open = |pair| !self.is_cut(pair) && self.bans.get(&pair).is_none_or(|until| *until <= now);
        open((a, b)) && open((b, a))
    }

    pub(crate) fn is_cut(&self, pair: Pair) -> bool {
        let (from, to) = pair;
        self.ways.get(from).and_then(|ways| ways.get(&to)).is_some_and(|way| way.cuts > 0)
    }

    fn way(&mut self, (from, to): Pair) -> Option<&mut Way> {
        self.ways.get_mut(from)?.get_mut(&to)
    }

    fn way_anew(&mut self, (from, to): Pair) -> &mut Way {
        self.ways[from].entry(to).or_default()
    }

    pub(crate) const fn next_session(&mut self) -> SessionNumber {
        self.last_session += 1;
        self.last_session
    }

    /// One side has a session now; the number of one that it takes the place of.
    pub(crate) fn open(
        &mut self,
        here: usize,
        there: usize,
        session: SessionNumber,
    ) -> Option<SessionNumber> {
        // What the new session brings does not wait behind what the old one would have.
        if let Some(way) = self.way((here, there)) {
            way.lanes = Default::default();
            way.held.clear();
        }
        self.ends[here].insert(there, session)
    }

    /// One side ends its session; whether it had this one.
    pub(crate) fn close(&mut self, here: usize, there: usize, session: SessionNumber) -> bool {
        let had = self.session(here, there) == Some(session);
        if had {
            self.ends[here].remove(&there);
        }
        had
    }

    pub(crate) fn ban(&mut self, here: usize, there: usize, until: i64) {
        self.bans.insert((here, there), until);
    }

    /// A broker's process has ended: it knows of no session and bans nobody.
    pub(crate) fn forget(&mut self, here: usize) -> Vec<(usize, SessionNumber)> {
        let had = std::mem::take(&mut self.ends[here]).into_iter().collect();
        self.bans.retain(|(who, _), _| *who != here);
        had
    }

    /// A message sets out.
    pub(crate) fn send(&mut self, pair: Pair, message: PeerMessage, now: i64, random: &mut Random) -> Sent {
        let (from, to) = pair;
        let Some(session) = self.session(from, to) else { return Sent::Nowhere };
        let distance = self.distance(pair);
        let bytes = wire_bytes(&message) as i64;
        let way = self.ways[from].entry(to).or_default();
        let live = way.lanes[0].busy_until_us;
        let index = message.lane() as usize;
        // What somebody waits for goes first.
        let ahead = if index == 0 { live } else { live.max(way.lanes[1].busy_until_us) };
        let begins_us = (now * 1000).max(ahead);
        if (begins_us - now * 1000) * self.bytes_per_ms / 1000 + bytes > self.queue_bytes_max.max(bytes) {
            return Sent::Full(session);
        }
        let line = &mut way.lanes[index];
        line.busy_until_us = begins_us + (bytes * 1000).div_euclid(self.bytes_per_ms);
        let mut takes = distance + random.span(0, distance / 10 + 1);
        if self.loss_one_in > 0 && random.one_in(self.loss_one_in) {
            takes += 2 * distance;
        }
        let arrives = (line.busy_until_us.div_euclid(1000) + takes).max(line.arrives).max(way.stalled_until);
        line.arrives = arrives;
        Sent::Arrives(arrives, Box::new(Letter { from, to, session, message }))
    }

    /// A message has come: gives it to who has the session still. A cut way holds it.
    pub(crate) fn arrive(&mut self, letter: Letter) -> Option<Letter> {
        if let Some(way) = self.way((letter.from, letter.to))
            && way.cuts > 0
        {
            way.held.push(letter);
            return None;
        }
        (self.session(letter.to, letter.from) == Some(letter.session)).then_some(letter)
    }

    pub(crate) fn stall(&mut self, pair: Pair, until: i64) {
        let way = self.way_anew(pair);
        way.stalled_until = way.stalled_until.max(until);
    }

    pub(crate) fn cut(&mut self, pair: Pair) {
        self.way_anew(pair).cuts += 1;
    }

    /// A partition of this way ends; what it held back comes now, before all that is on its way.
    pub(crate) fn heal(&mut self, pair: Pair) -> Vec<Letter> {
        let Some(way) = self.way(pair) else { return Vec::new() };
        way.cuts = way.cuts.saturating_sub(1);
        if way.cuts > 0 { Vec::new() } else { std::mem::take(&mut way.held) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lane;

    /// Two brokers far apart whose messages come back in the order of their times.
    struct Echo {
        network: Network,
        random: Random,
        under_way: BTreeMap<(i64, u64), Letter>,
        sent: u64,
    }

    fn live(bytes: u64) -> PeerMessage {
        let at = mainstem_model::StreamId(mainstem_model::Address([2; 20]))
            .partition(mainstem_model::Partition::ZERO);
        PeerMessage::Fed { at, bytes }
    }

    fn bulk(ask: u64) -> PeerMessage {
        PeerMessage::Inventory { ask, after: None }
    }

    fn number(letter: &Letter) -> u64 {
        match &letter.message {
            PeerMessage::Fed { bytes, .. } => *bytes,
            PeerMessage::Inventory { ask, .. } => *ask,
            other => panic!("{other:?}"),
        }
    }

    impl Echo {
        fn new(seed: u64) -> Self {
            let settings = Settings { bytes_per_ms: 40, loss_one_in: 5, ..Settings::quiet(seed) };
            let mut network = Network::new(&settings, vec![0, 12]);
            let session = network.next_session();
            network.open(0, 1, session);
            network.open(1, 0, session);
            Self { network, random: Random::new(seed), under_way: BTreeMap::new(), sent: 0 }
        }

        fn send(&mut self, from: usize, message: PeerMessage, now: i64) {
            match self.network.send((from, 1 - from), message, now, &mut self.random) {
                Sent::Arrives(at, letter) => {
                    self.sent += 1;
                    self.under_way.insert((at, self.sent), *letter);
                }
                Sent::Nowhere => {}
                Sent::Full(_) => panic!("little was sent"),
            }
        }

        fn come(&mut self, until: i64) -> Vec<Letter> {
            let later = self.under_way.split_off(&(until, 0));
            let come = std::mem::replace(&mut self.under_way, later);
            come.into_values().filter_map(|letter| self.network.arrive(letter)).collect()
        }
    }

    fn numbers(letters: &[Letter], lane: Lane) -> Vec<u64> {
        letters.iter().filter(|letter| letter.message.lane() == lane).map(number).collect()
    }

    #[test]
    fn each_lane_keeps_its_order_and_neither_waits_for_the_other() {
        let mut overtook = [0, 0];
        for seed in 0..50 {
            let mut echo = Echo::new(seed);
            for n in 0..40 {
                echo.send(0, bulk(n), n as i64);
                echo.send(0, live(n), n as i64);
            }
            let come = echo.come(i64::MAX);
            let all: Vec<_> = (0..40).collect();
            assert_eq!(numbers(&come, Lane::Live), all, "SEED={seed}");
            assert_eq!(numbers(&come, Lane::Bulk), all, "SEED={seed}");
            for (index, letter) in come.iter().enumerate() {
                let sent_before = |other: &&Letter| number(other) < number(letter);
                overtook[letter.message.lane() as usize] += come[index..].iter().filter(sent_before).count();
            }
        }
        assert!(
            overtook.iter().all(|count| *count > 0),
            "one waits for what was lost of the other: {overtook:?}"
        );
    }

    #[test]
    fn what_is_in_flight_is_lost_with_its_session_and_does_not_come_in_the_next() {
        let mut echo = Echo::new(1);
        echo.send(0, live(1), 0);
        let session = echo.network.session(1, 0).unwrap();
        assert!(echo.network.close(1, 0, session));
        assert!(!echo.network.close(1, 0, session), "it ends once");
        let next = echo.network.next_session();
        assert_eq!(echo.network.open(0, 1, next), Some(session), "the other side had not heard of it");
        echo.network.open(1, 0, next);
        echo.send(0, live(2), 10);
        assert_eq!(numbers(&echo.come(i64::MAX), Lane::Live), [2]);
    }

    #[test]
    fn a_cut_way_holds_what_is_told_while_the_other_way_carries() {
        let mut echo = Echo::new(2);
        echo.send(0, live(0), 0);
        echo.network.cut((0, 1));
        echo.send(0, live(1), 1);
        echo.send(1, live(7), 1);
        let come = echo.come(1_000_000);
        assert_eq!(come.iter().map(|letter| (letter.from, number(letter))).collect::<Vec<_>>(), [(1, 7)]);
        assert!(!echo.network.can_join(0, 1, 0) && !echo.network.can_join(1, 0, 0));
        let held = echo.network.heal((0, 1));
        let come: Vec<_> = held.into_iter().filter_map(|letter| echo.network.arrive(letter)).collect();
        assert_eq!(numbers(&come, Lane::Live), [0, 1]);
        assert!(echo.network.can_join(0, 1, 0));
    }

    #[test]
    fn a_ban_holds_until_its_end_and_ends_with_the_process() {
        let mut echo = Echo::new(3);
        echo.network.ban(1, 0, 500);
        assert!(!echo.network.can_join(0, 1, 499));
        assert!(echo.network.can_join(0, 1, 500));
        assert_eq!(echo.network.forget(1).len(), 1);
        assert!(echo.network.can_join(0, 1, 0));
        assert!(echo.network.session(0, 1).is_some(), "the other side does not know yet");
    }

    #[test]
    fn a_session_ends_when_more_waits_than_may() {
        let settings = Settings { bytes_per_ms: 1, queue_bytes_max: 1_000, ..Settings::quiet(4) };
        let mut network = Network::new(&settings, vec![0, 1]);
        network.open(0, 1, 9);
        let mut random = Random::new(4);
        let full = (0..100).find(|n| matches!(network.send((0, 1), live(*n), 0, &mut random), Sent::Full(9)));
        let bytes = full.unwrap() as usize * wire_bytes(&live(0));
        assert!((900..=1_000).contains(&bytes), "{bytes}");
    }
}
