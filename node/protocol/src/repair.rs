//! What other brokers have and this one lacks: noticed by heads, brought by pulls, and what came too early until then.

mod behind;
mod parked;
mod past;
mod recent;

use crate::{
    Misdeed, OutEvent, PeerBatch, PeerMessage, PullEnd, ReadToken, SeriesFrom, SeriesPage, SeriesStart,
    context::Context,
    links,
    offer::{Offer, Source},
    publish::Ingest,
    rule::Rule,
};
use behind::{Behind, Lack};
use bytes::Bytes;
use mainstem_model::{Address, Refusal, SeriesHead, SeriesKey, VerifiedBatch};
use parked::Parked;
use past::{Filled, Past, with_room};
use recent::Begun;
use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
};

/// Proofs read for others at once; comparing brings up the rest.
const PROVING_MAX: usize = 64;

/// Series that are behind, and what is done about it.
#[derive(Debug, Default)]
pub(crate) struct Repair {
    /// Batches that lack those before them, by sequence.
    parked: BTreeMap<SeriesKey, BTreeMap<u64, Parked>>,
    parked_bytes: usize,
    /// What others say of series whose own head is being read.
    claims: BTreeMap<SeriesKey, Vec<Claim>>,
    behind: BTreeMap<SeriesKey, Behind>,
    pulls: BTreeMap<u64, Pull>,
    next_pull: u64,
    /// Where series begin here is being read, to fill up what lies before.
    basing: BTreeMap<ReadToken, (SeriesKey, Claim)>,
    /// Proofs that are being read for others.
    proving: BTreeMap<ReadToken, Address>,
    /// Brokers whose comparison has shown something that could not be got.
    given_up: BTreeSet<Address>,
}

/// What a broker says of a series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) peer: Address,
    pub(crate) head: SeriesHead,
    /// It came from comparing all that both keep.
    pub(crate) compared: bool,
}

#[derive(Debug)]
struct Pull {
    series: SeriesKey,
    peer: Address,
    /// Sequence that the next batch should have, where that is known.
    next: Option<u64>,
    past: bool,
    /// What came of what lies before, or of late: it is placed when it is known to fit.
    stretch: Vec<Arc<VerifiedBatch>>,
    stretch_bytes: usize,
    /// What another broker says the series begins with of late; this one is asked what lies before.
    begun: Option<Begun>,
    /// It asks for what lies before.
    fills: bool,
    /// It asks for the other batch of a place.
    conflicts: bool,
    /// It asks for what is not older than this broker's interest: the first batch may be any.
    by_age: bool,
    got: bool,
    /// A batch came that leaves some out.
    beyond: bool,
    heard_at: i64,
}

impl Pull {
    const fn new(series: SeriesKey, peer: Address, heard_at: i64) -> Self {
        Self {
            series,
            peer,
            next: None,
            past: false,
            stretch: Vec::new(),
            stretch_bytes: 0,
            begun: None,
            fills: false,
            conflicts: false,
            by_age: false,
            got: false,
            beyond: false,
            heard_at,
        }
    }
}

impl Repair {
    pub(crate) fn behind_len(&self) -> usize {
        self.behind.len()
    }

    pub(crate) const fn parked_bytes(&self) -> usize {
        self.parked_bytes
    }

    /// Pulls from a broker that are under way.
    pub(crate) fn pulls_from(&self, peer: Address) -> usize {
        self.pulls.values().filter(|pull| pull.peer == peer).count()
    }

    /// Whether everything is settled that comparing with a broker has shown.
    pub(crate) fn is_settled(&self, peer: Address) -> bool {
        !self.behind.values().any(|behind| behind.compared.contains_key(&peer))
            && !self.claims.values().flatten().any(|claim| claim.compared && claim.peer == peer)
            && !self.basing.values().any(|(_, claim)| claim.compared && claim.peer == peer)
    }

    /// Whether something that comparing with a broker has shown could not be got. Tells so once.
    pub(crate) fn has_given_up(&mut self, peer: Address) -> bool {
        self.given_up.remove(&peer)
    }

    /// Other brokers say how far series have come.
    pub(crate) fn claim(
        &mut self,
        heads: impl IntoIterator<Item = (SeriesKey, SeriesHead)>,
        peer: Address,
        compared: bool,
        ingest: &mut Ingest,
        cx: &mut Context<'_>,
    ) {
        for (series, head) in heads {
            let claim = Claim { peer, head, compared };
            match ingest.head(&series, cx) {
                Some(own) => self.weigh(series, own, claim, ingest, cx),
                None if self.claims.len() < cx.config.claims_max => {
                    self.claims.entry(series).or_default().push(claim);
                }
                None => {}
            }
        }
    }

    /// The own head of a series is known now.
    pub(crate) fn handle_head(&mut self, series: SeriesKey, ingest: &mut Ingest, cx: &mut Context<'_>) {
        let claims = self.claims.remove(&series).unwrap_or_default();
        let waits = self.behind.get(&series).is_some_and(|behind| behind.pull.is_none());
        if claims.is_empty() && !waits {
            return;
        }
        let Some(own) = ingest.head(&series, cx) else { return };
        for claim in claims {
            self.weigh(series, own, claim, ingest, cx);
        }
        // At the next tick the head may be forgotten again.
        if waits {
            self.finish(series, ingest, cx);
        }
    }

    /// Compares what a broker says of a series with what is here.
    fn weigh(
        &mut self,
        series: SeriesKey,
        own: SeriesHead,
        claim: Claim,
        ingest: &mut Ingest,
        cx: &mut Context<'_>,
    ) {
        let at = series.stream_partition;
        if own.frozen || claim.head.frozen {
            // Who has not heard of it goes on with the series.
            let answers = self.proving.len() < PROVING_MAX && cx.keeps(Rule::ProofsAnswered);
            if own.frozen && !claim.head.frozen && answers {
                let read = cx.read_token();
                self.proving.insert(read, claim.peer);
                cx.out.push(OutEvent::ReadProof { read, series });
            }
            // Whoever has frozen it answers with the proof.
            if !own.frozen {
                cx.tell(claim.peer, PeerMessage::Heads { heads: vec![(series, own)] });
            }
            return;
        }
        let sources = BTreeSet::from([claim.peer]);
        let compared = claim.compared.then_some(claim.peer);
        // What is here may begin later than what is there.
        if claim.compared && own.next_sequence > 0 && cx.may_lack_past(at) {
            let read = cx.read_token();
            self.basing.insert(read, (series, claim));
            cx.out.push(OutEvent::ReadSeries {
                read,
                series,
                from: SeriesStart::Sequence(0),
                until: u64::MAX,
                bytes_max: 1,
            });
        }
        let until = claim.head.next_sequence;
        if until > own.next_sequence {
            self.fall_behind(series, Lack::Forward { until }, false, sources, compared, ingest, cx);
        } else if until == own.next_sequence && claim.head.last != own.last && cx.keeps(Rule::DifferingHeads)
        {
            self.fall_behind(series, Lack::Conflict { until }, false, sources, compared, ingest, cx);
        }
        if let Some(behind) = self.behind.get_mut(&series) {
            behind.claimers.insert(claim.peer);
        }
    }

    /// Where a series begins here was read.
    pub(crate) fn handle_based(
        &mut self,
        read: ReadToken,
        result: &Result<SeriesPage, Refusal>,
        ingest: &mut Ingest,
        cx: &mut Context<'_>,
    ) -> bool {
        let Some((series, claim)) = self.basing.remove(&read) else { return false };
        if let Ok(page) = result
            && page.base > 0
        {
            // Whoever keeps it: this one may have begun in the middle as well.
            let mut sources: BTreeSet<Address> =
                cx.network.sources(series.stream_partition).into_iter().collect();
            sources.insert(claim.peer);
            let compared = Some(claim.peer);
            let lack = Lack::Past(Past::before(page.base, cx.config));
            self.fall_behind(series, lack, false, sources, compared, ingest, cx);
        }
        true
    }

    /// A broker's batch goes on from another one than is here: its batch at this place is got, to have the proof.
    pub(crate) fn handle_fork(
        &mut self,
        (series, stands_at, peer): (SeriesKey, u64, Address),
        ingest: &mut Ingest,
        cx: &mut Context<'_>,
    ) {
        let lack = Lack::Conflict { until: stands_at };
        self.fall_behind(series, lack, true, BTreeSet::from([peer]), None, ingest, cx);
    }

    /// A proof was read for another broker.
    pub(crate) fn handle_proof(
        &mut self,
        read: ReadToken,
        result: Result<Option<(Bytes, Bytes)>, Refusal>,
        cx: &mut Context<'_>,
    ) {
        let Some(peer) = self.proving.remove(&read) else { return };
        if let Ok(Some((first, second))) = result {
            let (first, second) = (PeerBatch::Stored(first), PeerBatch::Stored(second));
            cx.tell(peer, PeerMessage::Proof { first, second });
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what is known of a series, each of its own kind")]
    fn fall_behind(
        &mut self,
        series: SeriesKey,
        lack: Lack,
        urgent: bool,
        sources: BTreeSet<Address>,
        compared: Option<Address>,
        ingest: &mut Ingest,
        cx: &mut Context<'_>,
    ) {
        if self.behind.len() >= cx.config.behind_max && !self.behind.contains_key(&series) {
            return;
        }
        let since = cx.now.up_ms;
        let behind = self.behind.entry(series).or_insert_with(|| Behind { since, ..Behind::default() });
        match lack {
            Lack::Forward { until } => behind.until = behind.until.max(until),
            // What is here begins where the store says.
            Lack::Past(past) => {
                let other = behind.past.is_none_or(|before| before.until != past.until);
                behind.past = if other { Some(past) } else { behind.past };
            }
            Lack::Conflict { until } => behind.conflict = Some(until),
        }
        behind.urgent |= urgent;
        for source in &sources {
            behind.failed.remove(source);
        }
        behind.sources.extend(sources);
        if let Some(peer) = compared {
            let until = match lack {
                Lack::Forward { until } | Lack::Conflict { until } => until,
                Lack::Past(past) => past.until,
            };
            behind.compared.insert(peer, until);
        }
        self.start(series, ingest, cx);
    }

    /// Asks for the next part of what a series lacks, if it is time and there is room.
    fn start(&mut self, series: SeriesKey, ingest: &mut Ingest, cx: &mut Context<'_>) {
        let Some(behind) = self.behind.get_mut(&series) else { return };
        if behind.pull.is_some() || behind.waits(&series, cx) {
            return;
        }
        if self.pulls.len() >= cx.config.pulls_max && cx.keeps(Rule::Pulls) {
            return;
        }
        let Some(own) = ingest.head(&series, cx) else { return };
        let usable = |source: &&Address| {
            !behind.failed.contains(*source)
                && !behind.trimmed.contains_key(*source)
                && cx.peers.is_up(**source)
        };
        // Whoever has the fewest on their way, of those that are heard.
        let busy = |source: &Address| {
            let silent = cx.peers.is_silent(*source, cx.now.up_ms, cx.config);
            (silent, self.pulls.values().filter(|pull| pull.peer == *source).count())
        };
        let source = behind.sources.iter().filter(usable).min_by_key(|source| busy(source)).copied();
        let Some(peer) = source else { return };
        let (at, kept) = (series.stream_partition, cx.network.is_kept(series.stream_partition));
        let unknown = own == SeriesHead::START;
        let forward = matches!(behind.lack(), Lack::Forward { .. }) && behind.leap.is_none();
        let fills_up = forward && cx.fills_up(at);
        // IMPORTANT: readers here are told what has come since they follow, or since what was here when this broker was given the
        // partition. Only what lies before is history.
        let is_recent = match fills_up && unknown && !behind.aged {
            true => links::goes_on(at, cx),
            false => Some(false),
        };
        let Some(is_recent) = is_recent else { return };
        // What came before this broker asked for the partition is of no interest.
        let kept = kept && cx.keeps(Rule::KeepersBySequence);
        // IMPORTANT: what came since it asked is gone on with, however old: an answer by age would begin with that again and again.
        let reach = i64::try_from(cx.links.reach_back(at, cx.now.up_ms, cx.config)).unwrap_or(i64::MAX);
        let oldest = cx
            .now
            .unix_ms
            .saturating_sub(cx.config.link_resume_ms.max(reach * i64::from(cx.keeps(Rule::GoesOnFromOwn))));
        let stale = !kept && own.timestamp < oldest;
        let (from, until, next, past) = match behind.lack() {
            Lack::Past(past) => (SeriesFrom::Sequence(past.from()), past.until, None, true),
            Lack::Conflict { until } => (SeriesFrom::Sequence(until.saturating_sub(1)), until, None, false),
            Lack::Forward { until } if forward && (stale || is_recent) => {
                // IMPORTANT: up to what came by the link and has to wait, that included. One that knows nothing of that is behind
                // itself, and that it has nothing before is no news.
                let parked = self.parked.get(&series).and_then(|parked| parked.first_key_value());
                let parked = parked.map_or(0, |(_, parked)| parked.next_sequence());
                (
                    SeriesFrom::Age(cx.links.reach_back(at, cx.now.up_ms, cx.config)),
                    until.max(parked),
                    None,
                    false,
                )
            }
            Lack::Forward { until } => {
                let next = behind.leap.unwrap_or(own.next_sequence).max(own.next_sequence);
                // A series that is new here before this broker serves what it is to keep is history, however long that takes.
                if fills_up && unknown {
                    behind.history = until;
                }
                let past = forward && next < behind.history;
                (SeriesFrom::Sequence(next), if past { behind.history } else { until }, Some(next), past)
            }
        };
        self.next_pull += 1;
        let (pull, heard_at) = (self.next_pull, cx.now.up_ms);
        behind.pull = Some(pull);
        let by_age = matches!(from, SeriesFrom::Age(_));
        let fills = matches!(behind.lack(), Lack::Past(_));
        let conflicts = matches!(behind.lack(), Lack::Conflict { .. });
        let asked = Pull { next, past, fills, conflicts, by_age, ..Pull::new(series, peer, heard_at) };
        self.pulls.insert(pull, asked);
        let bytes_max = cx.config.pull_bytes as u64;
        cx.tell(peer, PeerMessage::Pull { pull, series, from, until, bytes_max });
    }

    /// A batch that was asked for.
    pub(crate) fn handle_pulled(
        &mut self,
        peer: Address,
        number: u64,
        batch: Arc<VerifiedBatch>,
        ingest: &mut Ingest,
        cx: &mut Context<'_>,
    ) {
        let Some(pull) = self.pulls.get_mut(&number).filter(|pull| pull.peer == peer) else {
            // One that was given up; its batches may come for a while.
            return;
        };
        let header = batch.header();
        if SeriesKey::of(header) != pull.series && cx.keeps(Rule::PulledWasAsked) {
            return cx.blame(peer, Misdeed::Unasked);
        }
        pull.heard_at = cx.now.up_ms;
        if pull.fills || pull.by_age {
            // One that is larger than an answer comes alone.
            let bytes = batch.bytes().len();
            if pull.stretch_bytes > 0 && pull.stretch_bytes + bytes > 2 * cx.config.pull_bytes {
                return cx.blame(peer, Misdeed::Unasked);
            }
            pull.stretch_bytes += bytes;
            pull.stretch.push(batch);
            return;
        }
        if pull.next.is_some_and(|next| header.sequence > next) && !pull.got {
            pull.beyond = true;
        }
        if pull.beyond {
            return;
        }
        pull.next = pull.next.map(|_| header.next_sequence());
        let past = pull.past;
        let leap = self.behind.get(&pull.series).and_then(|behind| behind.leap);
        let anchor = leap == Some(header.sequence);
        pull.got = true;
        // Something that was on its way: the link leaves it out, or brings it yet.
        let missed = self.behind.get(&pull.series).filter(|_| !past).map(Behind::missed);
        ingest.handle_offer(Offer { source: Source::Repair { peer, past, anchor, missed }, batch }, cx);
    }

    /// A pull is over.
    pub(crate) fn handle_pull_end(
        &mut self,
        peer: Address,
        number: u64,
        result: Result<PullEnd, Refusal>,
        ingest: &mut Ingest,
        cx: &mut Context<'_>,
    ) {
        if self.pulls.get(&number).is_none_or(|pull| pull.peer != peer) {
            return;
        }
        let Some(mut pull) = self.pulls.remove(&number) else { return };
        let series = pull.series;
        if pull.fills {
            let stretch = mem::take(&mut pull.stretch);
            if self.fill(series, peer, &stretch, result, ingest, cx) {
                self.finish(series, ingest, cx);
            }
            return;
        }
        if pull.by_age {
            let recent = mem::take(&mut pull.stretch);
            match pull.begun.take() {
                Some(begun) if result.is_ok() => {
                    self.begin(series, begun.after(peer, recent, cx), ingest, cx)
                }
                Some(begun) => self.ask_another(series, begun, ingest, cx),
                None => self.take_recent(series, peer, recent, result, ingest, cx),
            }
            return self.finish(series, ingest, cx);
        }
        // IMPORTANT: who only follows the partition, or does not have all that it is to keep, may have begun the series in the
        // middle. To leap there would leave a hole that is never looked for again; while this broker fills up, it is.
        let at = series.stream_partition;
        let looks_again = !cx.network.is_mine(at) || cx.may_lack_past(at);
        let begins = looks_again && ingest.head(&series, cx) == Some(SeriesHead::START);
        let is_ready = cx.has_all(peer, at);
        let keeps = cx.network.is_keeper(peer, at);
        let believed = (keeps && (is_ready || begins)) || !cx.keeps(Rule::BegunByReady);
        let Some(behind) = self.behind.get_mut(&series) else { return };
        behind.pull = None;
        match result {
            // It says that what was asked for is gone. One that has what lies before has left it out.
            Ok(end) if pull.beyond && believed && pull.next.is_none_or(|next| end.base > next) => {
                behind.trimmed.insert(peer, end.base);
            }
            Ok(_) if pull.got => {}
            Ok(_) | Err(_) if !cx.keeps(Rule::PullElsewhere) => {}
            // It said to have it.
            Ok(_) | Err(_) => {
                behind.failed.insert(peer);
            }
        }
        // IMPORTANT: a conflict that shows while something else is pulled is still to be asked for.
        if pull.conflicts || !cx.keeps(Rule::ConflictsAsked) {
            behind.conflict = None;
        }
        self.finish(series, ingest, cx);
    }

    /// A stretch of what lies before has come, or not. Gives whether it can be gone on at once.
    fn fill(
        &mut self,
        series: SeriesKey,
        peer: Address,
        stretch: &[Arc<VerifiedBatch>],
        result: Result<PullEnd, Refusal>,
        ingest: &mut Ingest,
        cx: &mut Context<'_>,
    ) -> bool {
        let Some(behind) = self.behind.get_mut(&series) else { return false };
        behind.pull = None;
        let Some(past) = &mut behind.past else { return true };
        // IMPORTANT: what is taken counts as being here, so nothing of it may be refused. The rest is asked for again.
        let came = stretch.len();
        let stretch = if cx.keeps(Rule::FillsWithRoom) { with_room(stretch, ingest, cx) } else { stretch };
        if stretch.is_empty() && came > 0 {
            return false;
        }
        let taken = stretch.len();
        let filled = result.as_ref().map_or(Filled::Nothing, |end| past.take(stretch, end.more, cx.config));
        match (filled, result) {
            (Filled::TooMuch, _) => {}
            (Filled::Stretch, _) => {
                let mut stretch = stretch.to_vec();
                if cx.keeps(Rule::FillsBackwards) {
                    stretch.reverse();
                }
                for batch in stretch {
                    let source = Source::Repair { peer, past: true, anchor: false, missed: None };
                    ingest.handle_offer(Offer { source, batch }, cx);
                }
            }
            // It begins no earlier.
            (Filled::Nothing, Ok(end))
                if end.base >= past.until && cx.network.is_keeper(peer, series.stream_partition) =>
            {
                behind.trimmed.insert(peer, end.base);
            }
            (Filled::Nothing, _) => {
                behind.failed.insert(peer);
            }
        }
        behind.past = behind.past.filter(|past| !past.is_filled());
        taken == came
    }

    /// Looks whether a series has what it lacked; else asks on, or gives up.
    pub(crate) fn finish(&mut self, series: SeriesKey, ingest: &mut Ingest, cx: &mut Context<'_>) {
        let Some(own) = ingest.head(&series, cx) else { return };
        self.unpark(series, own, ingest, cx);
        let Some(behind) = self.behind.get_mut(&series) else { return };
        if matches!(behind.lack(), Lack::Forward { .. }) {
            behind.compared.retain(|_, until| own.next_sequence < *until);
        }
        let whole = matches!(behind.lack(), Lack::Forward { until } if own.next_sequence >= until);
        let at = series.stream_partition;
        let failed = |behind: &Behind, cx: &Context<'_>| {
            let fails = |source: &Address| behind.failed.contains(source) || cx.is_lost(*source);
            behind.sources.iter().all(fails)
        };
        // A relay may have begun later than this one. Whoever keeps the partition has all.
        if failed(behind, cx) && cx.links.is_following(at) {
            for keeper in cx.network.sources(at) {
                if behind.sources.insert(keeper) {
                    cx.reach(keeper);
                }
            }
        }
        let hopeless = failed(behind, cx);
        if own.frozen || whole || (hopeless && behind.pull.is_none()) {
            if let Some(behind) = self.behind.remove(&series) {
                self.given_up.extend(behind.compared.keys().filter(|_| !own.frozen && !whole));
                if let Some(pull) = behind.pull {
                    self.pulls.remove(&pull);
                }
            }
            return self.refuse_parked(series, own.next_sequence, cx);
        }
        let all_trimmed = behind.sources.iter().all(|source| {
            behind.trimmed.contains_key(source) || behind.failed.contains(source) || !cx.peers.is_up(*source)
        });
        if all_trimmed && behind.pull.is_none() {
            self.pull_trimmed(series, own, cx);
        }
        self.start(series, ingest, cx);
    }

    /// Nobody has what comes next any more: goes on with the first that is kept.
    fn pull_trimmed(&mut self, series: SeriesKey, own: SeriesHead, cx: &Context<'_>) {
        let Some(behind) = self.behind.get_mut(&series) else { return };
        // IMPORTANT: one that does not have all itself may have begun in the middle. It is believed of where a series begins that
        // is new here, as what lies before that is looked for again; inside a series nobody would.
        let at = series.stream_partition;
        let looks_again = !cx.network.is_mine(at) || cx.may_lack_past(at);
        let begins = looks_again && own == SeriesHead::START && behind.past.is_none();
        let knows = |peer: &Address| begins || cx.has_all(*peer, at) || !cx.keeps(Rule::BegunByReady);
        let usable = behind.trimmed.iter().filter(|(peer, _)| cx.peers.is_up(**peer) && knows(peer));
        let Some((_, base)) = usable.min_by_key(|(_, base)| **base) else {
            behind.failed.extend(mem::take(&mut behind.trimmed).into_keys());
            return;
        };
        let base = *base;
        if behind.past.is_some() {
            // It has gone everywhere.
            behind.past = None;
        } else {
            behind.leap = Some(base);
        }
        behind.trimmed.clear();
    }

    /// A session with a broker is over, and with it what it was asked for.
    pub(crate) fn handle_down(&mut self, peer: Address, ingest: &mut Ingest, cx: &mut Context<'_>) {
        self.given_up.remove(&peer);
        for claims in self.claims.values_mut() {
            claims.retain(|claim| claim.peer != peer);
        }
        self.claims.retain(|_, claims| !claims.is_empty());
        self.basing.retain(|_, (_, claim)| claim.peer != peer);
        let over: Vec<u64> =
            self.pulls.iter().filter(|(_, pull)| pull.peer == peer).map(|(number, _)| *number).collect();
        for number in over {
            if let Some(Pull { series, begun: Some(begun), .. }) = self.pulls.remove(&number) {
                self.ask_another(series, begun, ingest, cx);
            }
        }
        let touched: Vec<SeriesKey> = self
            .behind
            .iter_mut()
            .filter_map(|(series, behind)| {
                let was = behind.sources.remove(&peer);
                // It may come back without what it had.
                behind.claimers.remove(&peer);
                behind.compared.remove(&peer);
                behind.trimmed.remove(&peer);
                if behind.pull.is_some_and(|pull| !self.pulls.contains_key(&pull)) {
                    behind.pull = None;
                }
                was.then_some(*series)
            })
            .collect();
        for series in touched {
            self.finish(series, ingest, cx);
        }
    }

    /// Time has passed: pulls that are not answered are given to others, and what waits may be asked for.
    pub(crate) fn handle_tick(&mut self, ingest: &mut Ingest, cx: &mut Context<'_>) {
        let now = cx.now.up_ms;
        let late: Vec<u64> = self
            .pulls
            .iter()
            .filter(|(_, pull)| {
                let wait = cx.peers.answers_within_ms(pull.peer, now, cx.config);
                now - pull.heard_at >= wait && cx.keeps(Rule::LatePulls)
            })
            .map(|(number, _)| *number)
            .collect();
        for number in late {
            let Some(pull) = self.pulls.remove(&number) else { continue };
            // One that is not heard at all is paused or gone, and does nothing wrong.
            if !cx.peers.is_silent(pull.peer, now, cx.config) {
                cx.blame(pull.peer, Misdeed::Late);
            }
            if let Some(begun) = pull.begun {
                self.ask_another(pull.series, begun, ingest, cx);
            } else if let Some(behind) = self.behind.get_mut(&pull.series) {
                behind.pull = None;
                behind.failed.insert(pull.peer);
            }
        }
        let waiting: Vec<SeriesKey> = self
            .behind
            .iter()
            .filter(|(_, behind)| behind.pull.is_none())
            .map(|(series, _)| *series)
            .collect();
        for series in waiting {
            self.finish(series, ingest, cx);
        }
        self.end_parked(ingest, cx);
    }
}
