//! Reading the past of a partition that this broker does not keep: at one that does, until the reader stands where the own
//! log goes on.

use super::{Delivery, Key, Mode, Reading, Subscription};
use crate::{Config, Misdeed, OutEvent, Page, PeerMessage, ReadToken, context::Context, rule::Rule};
use mainstem_model::{
    Address, Batch, BatchId, BatchKey, Code, Cursor, Header, ReadFilter, ReadStart, Refusal, SeriesKey,
    StreamPartition,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

/// Series of which a reader of the past remembers how far it has come. With more, some batch could come twice at the seam, so
/// the reading is ended instead.
const SEEN_MAX: usize = 10_000;

/// Brokers at which a reader looks for the beginning of a series.
const SOUGHT_MAX: u8 = 3;

/// How often a reader goes away again for what it lacks; then it is gone for good, and the reader goes on.
const AGAIN_MAX: u32 = 50;

/// A reader that is sent to another broker.
#[derive(Debug)]
pub(super) struct Away {
    start: ReadStart,
    /// Whom it reads at; `None` until the own log's end is known.
    peer: Option<Address>,
    /// Who failed it.
    failed: BTreeSet<Address>,
    /// Whose cursor it is has said that it is none.
    denied: bool,
    /// Where the own log goes on.
    local: Option<Cursor>,
    /// It has been away before: the past goes on from the last batch it got, at this time.
    from: Option<i64>,
    /// It goes for what it lacks of one series.
    only: Option<SeriesKey>,
}

/// How far a reader has come in each series, so that nothing comes twice or is left out where two logs meet.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// IMPORTANT: of every series that was told since, wherever: a reader that goes away again is told it there again.
    series: BTreeMap<SeriesKey, Told>,
    /// Series read elsewhere of which the own log has not told anything new yet. While there are some, the reader may have to
    /// go away again.
    open: usize,
    /// When the reader last came home; `None` if it never was away, or all that follows is new.
    home_at: Option<i64>,
    /// It had nothing before it went: a series that it does not know it should have met there.
    anew: bool,
    /// Least timestamp of the last batch, and of all.
    last: Option<i64>,
    first: Option<i64>,
    /// How often the reader had to go away again.
    again: u32,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    until: u64,
    /// Its last batch.
    last: BatchId,
    open: bool,
    /// Least timestamp of its last batch.
    at: i64,
    /// How often it was looked for elsewhere, and nothing of it was found.
    sought: u8,
    /// Another branch of it was met: nothing goes on from what the reader has.
    split: bool,
}

impl Told {
    /// Nothing of it yet.
    const NOTHING: Self =
        Self { until: 0, last: BatchId::NONE, open: false, at: i64::MIN, sought: 0, split: false };

    /// Up to and with a batch.
    fn up_to(header: &Header) -> Self {
        let (until, at) = (header.next_sequence(), header.timestamp_min);
        Self { until, last: header.id(), at, ..Self::NOTHING }
    }

    /// Whether a batch is of another branch: it begins before what was told ends, and goes on behind that, or does not go on from it.
    fn splits(&self, header: &Header) -> bool {
        let reaches_beyond = header.sequence < self.until && self.until < header.next_sequence();
        let goes_on = header.sequence == self.until && self.until > 0;
        reaches_beyond || (goes_on && header.previous != self.last)
    }
}

/// What a batch is to a reader that has come home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seam {
    /// It is new.
    New,
    /// It was had.
    Had,
    /// Something before it was not had: where the reader was did not have it yet.
    Gap,
}

/// What other brokers were asked for readers here.
#[derive(Debug, Default)]
pub(super) struct AwayReads {
    asked: BTreeMap<ReadToken, (Address, i64)>,
}

impl Seen {
    /// Nothing was read elsewhere, or all that follows is new.
    pub(super) const fn is_over(&self) -> bool {
        self.home_at.is_none()
    }

    /// What a batch of the own log is to the reader.
    pub(super) fn judge(&mut self, header: &Header, config: &Config) -> Seam {
        if self.is_over() || !config.keeps(Rule::Seam) {
            return Seam::New;
        }
        let may_go = self.again < AGAIN_MAX && config.keeps(Rule::SeamAgain);
        self.look_whether_split(header, config);
        match self.series.get(&SeriesKey::of(header)) {
            // Or a second branch.
            Some(told) if told.split || header.sequence < told.until => Seam::Had,
            Some(told) if told.open && header.sequence > told.until && may_go => Seam::Gap,
            // Where the reader was it may not have been known yet, nor at the next one.
            None if self.anew && header.sequence > 0 && may_go => Seam::Gap,
            Some(told) if told.until == 0 && told.sought < SOUGHT_MAX && may_go => Seam::Gap,
            Some(_) | None => Seam::New,
        }
    }

    /// Whether nothing goes on from what the reader has of a series, as a batch shows or one before has shown.
    fn look_whether_split(&mut self, header: &Header, config: &Config) -> bool {
        let Some(told) = self.series.get_mut(&SeriesKey::of(header)) else { return false };
        told.split |= told.splits(header) && config.keeps(Rule::SeamSplit);
        if told.split {
            self.open -= usize::from(mem::take(&mut told.open));
        }
        told.split
    }

    /// The reader was told a batch of the own log that was new to it.
    pub(super) fn note(&mut self, header: &Header, now: i64, config: &Config) {
        let Some(home_at) = self.home_at else { return };
        let before = self.series.insert(SeriesKey::of(header), Told::up_to(header));
        self.open -= usize::from(before.is_some_and(|before| before.open));
        // What the other broker lacked it has got by comparing since.
        if self.open == 0 && now - home_at >= config.compare_ms {
            *self = Self::default();
        } else if self.is_full() {
            self.series.retain(|_, told| told.open || told.split);
            self.again = AGAIN_MAX;
        }
    }

    /// The reader lacks what lies before a batch: since when.
    fn lack(&mut self, header: &Header, filter: &ReadFilter, start: ReadStart) -> i64 {
        self.again += 1;
        let series = SeriesKey::of(header);
        // Not for ever: there may be nothing of it that the reader asked for.
        let told = self.series.entry(series).or_insert(Told::NOTHING);
        if told.until > 0 {
            return told.at;
        }
        told.sought += 1;
        match start {
            ReadStart::From => filter.from,
            ReadStart::Now | ReadStart::Last(_) | ReadStart::Cursor(_) => {
                header.timestamp_min.min(self.first.unwrap_or(i64::MAX))
            }
        }
    }

    /// Takes a batch that is read elsewhere, maybe for one series `only`; whether it is new.
    fn take(&mut self, header: &Header, only: Option<SeriesKey>, config: &Config) -> bool {
        let series = SeriesKey::of(header);
        if only.is_some_and(|only| only != series) {
            return false;
        }
        self.last = self.last.max(Some(header.timestamp_min));
        self.first = Some(self.first.map_or(header.timestamp_min, |first| first.min(header.timestamp_min)));
        if self.look_whether_split(header, config) {
            return false;
        }
        let told = self.series.entry(series).or_insert(Told::NOTHING);
        // It is lacking here too.
        if only.is_some() && told.until > 0 && header.sequence > told.until {
            return false;
        }
        if !mem::replace(&mut told.open, true) {
            self.open += 1;
        }
        let new = header.sequence >= told.until;
        if new {
            *told = Told { open: true, ..Told::up_to(header) };
        }
        new
    }

    /// More than can be remembered was read.
    pub(super) fn is_full(&self) -> bool {
        self.series.len() > SEEN_MAX
    }
}

impl Away {
    /// Whether a reader must be sent away for this start: what it asks for may lie elsewhere only.
    pub(super) fn of(start: ReadStart, log: u64) -> Option<Self> {
        let here = match start {
            ReadStart::Now => true,
            ReadStart::Cursor(cursor) => cursor.log() == log,
            ReadStart::Last(_) | ReadStart::From => false,
        };
        (!here).then(|| Self {
            start,
            peer: None,
            failed: BTreeSet::new(),
            denied: false,
            local: None,
            from: None,
            only: None,
        })
    }

    /// It goes on from a cursor that was given there before.
    pub(super) const fn began_earlier(&self) -> bool {
        matches!(self.start, ReadStart::Cursor(_)) && self.from.is_none()
    }

    /// What is wanted of another broker.
    pub(super) fn filter(&self, mut filter: ReadFilter) -> ReadFilter {
        if let (Some(from), Some(only)) = (self.from, self.only) {
            filter.from = filter.from.max(from);
            filter.origin = Some(only.origin);
        }
        filter
    }

    pub(super) const fn peer(&self) -> Option<Address> {
        self.peer
    }

    /// The cursor of what is read there.
    ///
    /// IMPORTANT: who comes back after it went for one series goes on where that lacked at home, not behind what it was told of
    /// that series. There is no history at this key, so that no batch is taken for one that was had in part.
    pub(super) fn cursor(&self, there: Cursor) -> Cursor {
        match (self.only, self.local) {
            (Some(only), Some(Cursor::Arrival { log, position, .. })) => {
                let key = BatchKey {
                    timestamp: i64::MAX,
                    origin: only.origin,
                    series: only.series,
                    sequence: u64::MAX,
                };
                Cursor::History { log, until: position, key, skip: 0 }
            }
            _ => there,
        }
    }
}

impl Subscription {
    /// What a stored batch is to this reader, at home or away. One that is new will be had.
    pub(super) fn seam(&mut self, bytes: &[u8], cx: &Context<'_>) -> (Seam, Option<Header>) {
        let only = self.away.as_ref().map(|away| away.only);
        if only.is_none() && self.seen.is_over() {
            return (Seam::New, None);
        }
        let Ok(header) = Batch::peek_header(bytes) else { return (Seam::New, None) };
        let seam = match only {
            Some(only) if self.seen.take(&header, only, cx.config) => Seam::New,
            Some(_) => Seam::Had,
            None => self.seen.judge(&header, cx.config),
        };
        if only.is_none() && seam == Seam::New {
            self.seen.note(&header, cx.now.up_ms, cx.config);
        }
        (seam, Some(header))
    }
}

/// Where a reader that goes away will go on in the own log, which ends at `end`.
///
/// IMPORTANT: of what came here lately the broker where it reads may lack something, and may have it only when the reader has left.
/// So what came lately, since the partition is followed, is gone through at home. One that comes back with a cursor may be told some of it
/// again, as what it had before is not known. Not for the last batches, which are those of one log.
fn home(end: Cursor, at: StreamPartition, start: ReadStart, cx: &Context<'_>) -> Cursor {
    let lately = cx.links.lately(at, cx.now.up_ms, cx.config);
    match (end, start, lately) {
        (Cursor::Arrival { log, position, .. }, ReadStart::From | ReadStart::Cursor(_), Some(lately))
            if cx.keeps(Rule::SeamLately) =>
        {
            Cursor::Arrival { log, position: position.min(lately), skip: 0 }
        }
        _ => end,
    }
}

impl Delivery {
    /// The end of the own log is known: the reader goes to another broker for what lies before.
    pub(super) fn send_away(&mut self, key: Key, local: Option<Cursor>, cx: &mut Context<'_>) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        let (at, again) = (subscription.at, subscription.seen.again);
        let Some(away) = &mut subscription.away else { return };
        let mut filter = away.filter(subscription.filter);
        away.local = away.local.or_else(|| local.map(|end| home(end, at, away.start, cx)));
        let mut start = away.start;
        // Cursors mean something to the broker that gave them only.
        let only = match (start, away.from) {
            (_, Some(from)) => {
                filter.from = filter.from.max(from);
                start = ReadStart::From;
                None
            }
            (ReadStart::Cursor(cursor), None) => Some(cursor.log()),
            (ReadStart::Now | ReadStart::Last(_) | ReadStart::From, None) => None,
        };
        let can_tell = |peer: &Address| {
            cx.peers.hello(*peer).is_some_and(|hello| {
                only.is_none_or(|log| hello.log == log) || !cx.keeps(Rule::ForeignCursors)
            })
        };
        let ready = |peer: &Address| cx.has_all(*peer, at);
        // A relay has what has come since it follows, and not what was before.
        let parent = cx.links.parent(at).filter(|parent| cx.network.is_keeper(*parent, at));
        let others = cx.network.sources(at).into_iter().filter(|peer| Some(*peer) != parent);
        let mut peers: Vec<_> = parent.into_iter().chain(others).filter(can_tell).collect();
        let unknown = peers.is_empty();
        // IMPORTANT: whose cursor it is may just not have answered.
        peers.retain(|peer| !away.failed.contains(peer));
        if away.only.is_some() && cx.keeps(Rule::SeamAnywhere) {
            // What goes on with one series is known by its sequence, so it may be had of those too that do not have all. Those
            // before may be ready and have nothing new.
            peers.sort_by_key(|peer| !ready(peer));
        } else if peers.iter().any(ready) {
            peers.retain(ready);
        } else {
            // One that does not have all for long is better than none.
            peers.retain(|peer| cx.peers.lacks_for_long(*peer, cx.now.up_ms, cx.config));
        }
        // One that is silent would have the reader wait.
        peers.sort_by_key(|peer| cx.peers.is_silent(*peer, cx.now.up_ms, cx.config));
        // Each time at another one: what is lacking was lacking where the reader was before.
        let Some(peer) = peers.iter().cycle().nth(again as usize).copied() else {
            for keeper in cx.network.sources(at) {
                cx.reach(keeper);
            }
            // One that is not there may come back, as long as it is of the network.
            let all_there = cx.network.others().all(|other| cx.peers.hello(other).is_some());
            let refusal = if only.is_some() && (unknown && all_there || away.denied) {
                Refusal::new(Code::InvalidCursor, "the cursor is of no broker's store; read from a time on")
            } else {
                Refusal::new(
                    Code::Overloaded,
                    "no broker that keeps this partition answers; try again in a moment",
                )
            };
            return self.end(key, None, Some(refusal), cx);
        };
        away.peer = Some(peer);
        subscription.mode = Mode::Starting;
        subscription.reading = Some(Reading::Start);
        let read = cx.read_token();
        self.reads.insert(read, key);
        self.away_reads.asked.insert(read, (peer, cx.now.up_ms));
        cx.tell(peer, PeerMessage::Resolve { read: read.0, at, start, filter });
    }

    /// Asks another broker for a page.
    pub(super) fn read_away(
        &mut self,
        read: ReadToken,
        peer: Address,
        (at, cursor, filter): (StreamPartition, Cursor, ReadFilter),
        bytes_max: usize,
        cx: &mut Context<'_>,
    ) {
        self.away_reads.asked.insert(read, (peer, cx.now.up_ms));
        let bytes_max = bytes_max as u64;
        cx.tell(peer, PeerMessage::Read { read: read.0, at, cursor, filter, bytes_max });
    }

    /// Another broker has found a start.
    pub(crate) fn handle_resolved(
        &mut self,
        peer: Address,
        read: u64,
        result: Result<Cursor, Refusal>,
        cx: &mut Context<'_>,
    ) {
        if self.is_asked(peer, ReadToken(read)) {
            self.handle_start(ReadToken(read), result, cx);
        }
    }

    /// Another broker has read a page.
    pub(crate) fn handle_page_of(
        &mut self,
        peer: Address,
        read: u64,
        result: Result<Page, Refusal>,
        cx: &mut Context<'_>,
    ) {
        if !self.is_asked(peer, ReadToken(read)) {
            return;
        }
        // The shell has proven them; that they are what was asked for, and of somebody who may publish, is said here.
        let key = self.reads.get(&ReadToken(read));
        let asked = key.and_then(|key| self.subscriptions.get(key));
        let sound = |page: &Page| {
            page.batches.iter().all(|past| {
                Batch::peek_header(&past.bytes).is_ok_and(|header| {
                    asked.is_none_or(|of| header.stream_partition == of.at && of.filter.wants(&header))
                        && cx.check_past(header.stream_partition, Some(header.origin.account())).is_ok()
                })
            })
        };
        let result = match result {
            Ok(page) if !sound(&page) && cx.keeps(Rule::RightsOfPages) => {
                cx.blame(peer, Misdeed::Unasked);
                Err(Refusal::new(
                    Code::MalformedBatch,
                    "another broker answered with batches that were not asked for",
                ))
            }
            result => result,
        };
        self.handle_page(ReadToken(read), result, cx);
    }

    fn is_asked(&mut self, peer: Address, read: ReadToken) -> bool {
        let asked = self.away_reads.asked.get(&read).is_some_and(|(who, _)| *who == peer);
        if asked {
            self.away_reads.asked.remove(&read);
        }
        asked
    }

    /// A broker is gone, or does not answer: its readers go to another one.
    pub(crate) fn handle_peer_down(&mut self, peer: Address, cx: &mut Context<'_>) {
        let lost: Vec<_> = self
            .away_reads
            .asked
            .iter()
            .filter(|(_, (who, _))| *who == peer)
            .map(|(read, _)| *read)
            .collect();
        for read in lost {
            self.fail_away(read, cx);
        }
    }

    pub(super) fn end_late_reads(&mut self, cx: &mut Context<'_>) {
        if !cx.keeps(Rule::LateReads) {
            return;
        }
        let now = cx.now.up_ms;
        let is_late = |who, at| now - at >= cx.peers.answers_within_ms(who, now, cx.config);
        let late: Vec<_> = self
            .away_reads
            .asked
            .iter()
            .filter(|(_, (who, at))| is_late(*who, *at))
            .map(|(read, _)| *read)
            .collect();
        for read in late {
            self.fail_away(read, cx);
        }
    }

    fn fail_away(&mut self, read: ReadToken, cx: &mut Context<'_>) {
        self.away_reads.asked.remove(&read);
        let Some(key) = self.reads.get(&read).copied() else { return };
        let refusal = Refusal::new(Code::Overloaded, "the broker that was asked does not answer");
        let starting = self.subscriptions.get(&key).is_some_and(|it| it.reading == Some(Reading::Start));
        if starting || self.leaving.get(&key).is_some_and(|it| it.reading == Some(Reading::Start)) {
            self.handle_start(read, Err(refusal), cx);
        } else {
            self.handle_page(read, Err(refusal), cx);
        }
    }

    /// Another broker did not do what it was asked for a reader: goes to the next. `false` if the reader is not away.
    pub(super) fn try_next(&mut self, key: Key, refusal: &Refusal, cx: &mut Context<'_>) -> bool {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return false };
        let Some(away) = &mut subscription.away else { return false };
        let Some(peer) = away.peer.take() else { return false };
        away.denied |= refusal.code == Code::InvalidCursor;
        away.failed.insert(peer);
        let seen = &subscription.seen;
        // In the order of arrival the past goes on anywhere.
        let reached = if away.began_earlier() { seen.first } else { seen.last };
        // IMPORTANT: what the first one lacked may be older than what it told, by as much as clocks and publishers may be off.
        let reached = reached.map(|reached| reached.saturating_sub(2 * cx.config.timestamp_window_ms));
        if away.only.is_none() {
            away.from = reached.or(away.from);
        }
        self.send_away(key, None, cx);
        true
    }

    /// The reader lacks something before the batch at `home`: goes for it again.
    pub(super) fn go_again(&mut self, key: Key, home: Cursor, lacking: &Header, cx: &mut Context<'_>) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        let from = Some(subscription.seen.lack(lacking, &subscription.filter, subscription.start));
        let (start, only) = (ReadStart::From, Some(SeriesKey::of(lacking)));
        let failed = BTreeSet::new();
        let denied = false;
        subscription.away = Some(Away { start, peer: None, failed, denied, local: Some(home), from, only });
        self.send_away(key, None, cx);
    }

    /// The past is told: the reader goes on in the own log.
    pub(super) fn come_home(&mut self, key: Key, cx: &mut Context<'_>) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        let Some(cursor) = subscription.away.take().and_then(|away| away.local) else { return };
        subscription.seen.home_at = Some(cx.now.up_ms);
        subscription.seen.anew = !matches!(subscription.start, ReadStart::Cursor(_));
        subscription.mode = Mode::Reading { cursor };
        self.read_on(key, cx);
    }

    /// Looks where the own log ends, before a reader goes away.
    pub(super) fn find_home(
        &mut self,
        key: Key,
        at: StreamPartition,
        filter: ReadFilter,
        cx: &mut Context<'_>,
    ) {
        let read = cx.read_token();
        self.reads.insert(read, key);
        let start = ReadStart::Now;
        cx.out.push(OutEvent::ResolveStart { read, at, start, filter });
    }
}
