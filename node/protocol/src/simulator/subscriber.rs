use super::reference::{Reference, Sealed};
use crate::{SessionId, Subscribe, SubscriptionId};
use bytes::Bytes;
use mainstem_model::{Address, BatchId, Cursor, Header, ReadFilter, ReadStart, SeriesKey, StreamPartition};
use std::collections::{BTreeMap, VecDeque};

/// A subscriber as the client is: it goes on from its cursor after each disconnect, always at the same broker, and when a
/// series leaves something out behind that it asks for what is missing.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) who: Address,
    pub(crate) broker: usize,
    pub(crate) session: Option<SessionId>,
    pub(crate) subscription: Option<SubscriptionId>,
    /// Its right is taken, or is being taken.
    pub(crate) revoked: bool,
    /// It was told that its right is gone.
    pub(crate) over: bool,
    pub(crate) stalled: bool,
    /// Bytes that its transport has not taken.
    pub(crate) queue_bytes: usize,
    /// When it was first told that it is live.
    live_since: Option<i64>,
    ask: Subscribe,
    cursor: Option<Cursor>,
    /// The stretch of each series that it has.
    has: BTreeMap<SeriesKey, Stretch>,
    /// Up to where it was told each series out of each log: in this session, and in those before.
    told: BTreeMap<(SeriesKey, u64), u64>,
    told_before: BTreeMap<(SeriesKey, u64), u64>,
    /// What it asks for beside, and what waits for that.
    pub(crate) filling: Option<Filling>,
}

#[derive(Clone, Copy, Debug)]
struct Stretch {
    first: u64,
    next: u64,
    last: BatchId,
    /// Least timestamp of the last batch.
    timestamp: i64,
}

/// What is missing of a series, while it is asked for.
#[derive(Debug)]
pub(crate) struct Filling {
    pub(crate) request: u64,
    pub(crate) subscription: Option<SubscriptionId>,
    series: SeriesKey,
    /// What is missing lies before this sequence.
    until: u64,
    /// What came meanwhile, in order; the first is what leaves something out.
    pub(crate) held: VecDeque<Held>,
}

/// Stands for what was asked for beside, whatever log that came out of.
const NO_LOG: u64 = u64::MAX;

/// What came while something else was asked for.
#[derive(Debug)]
pub(crate) enum Held {
    Batch(Bytes, Cursor),
    /// Whether it was told that it is live.
    CaughtUp(Cursor, bool),
}

/// What a delivered batch is to its subscriber.
#[derive(Debug)]
pub(crate) enum Taken {
    /// It fits.
    Fits,
    /// Something before it is missing that this reading gives.
    Missing(Subscribe),
}

impl Subscriber {
    pub(crate) const fn new(who: Address, broker: usize, ask: Subscribe) -> Self {
        Self {
            who,
            broker,
            session: None,
            subscription: None,
            revoked: false,
            over: false,
            stalled: false,
            queue_bytes: 0,
            live_since: None,
            ask,
            cursor: None,
            has: BTreeMap::new(),
            told: BTreeMap::new(),
            told_before: BTreeMap::new(),
            filling: None,
        }
    }

    pub(crate) fn ask(&self) -> Subscribe {
        match self.cursor {
            Some(cursor) => Subscribe { start: ReadStart::Cursor(cursor), ..self.ask.clone() },
            None => self.ask.clone(),
        }
    }

    /// Behind which arrival of a log its cursor leads.
    pub(crate) fn position(&self) -> u64 {
        match self.cursor {
            Some(Cursor::Arrival { position, .. } | Cursor::History { until: position, .. }) => position,
            None => 0,
        }
    }

    pub(crate) const fn at(&self) -> StreamPartition {
        self.ask.at
    }

    /// Whether a batch of a partition that is sent at a time is to come to it.
    pub(crate) fn wants_live(&self, at: StreamPartition, sent_at: i64) -> bool {
        self.ask.at == at && self.live_since.is_some_and(|since| sent_at > since)
    }

    /// How long before this reader of what is new became live some broker had a batch, milliseconds.
    pub(crate) fn old_news_ms(&self, sealed: &Sealed) -> Option<i64> {
        let began_at = self.live_since.filter(|_| self.ask.start == ReadStart::Now)?;
        Some(began_at - sealed.stored_at?)
    }

    pub(crate) fn close(&mut self) -> Option<SessionId> {
        self.told_before.append(&mut self.told);
        if self.cursor.is_none() {
            // Nothing was given to it that it could go on from: it asks for what comes from then on.
            self.live_since = None;
        }
        self.subscription = None;
        self.queue_bytes = 0;
        self.filling = None;
        self.session.take()
    }

    /// The store that its cursor belongs to is gone: it begins anew, as if it had never been there.
    pub(crate) fn begin_anew(&mut self) {
        self.cursor = None;
        self.has.clear();
        self.told.clear();
        self.told_before.clear();
        self.live_since = None;
    }

    /// What is stored was told up to this cursor. Who got nothing goes on from here too.
    pub(crate) const fn caught_up(&mut self, cursor: Cursor, live: bool, now: i64) {
        self.cursor = Some(cursor);
        if live && self.live_since.is_none() {
            self.live_since = Some(now);
        }
    }

    /// Takes a batch that was delivered; `home` is the number of its broker's log.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn take(
        &mut self,
        sealed: &Sealed,
        cursor: Cursor,
        home: u64,
        reference: &Reference,
    ) -> Result<Taken, String> {
        let header = sealed.batch.header();
        let (key, id) = (SeriesKey::of(header), sealed.batch.id());
        let about = || format!("series {}, sequence {}, {id:?}", key.series, header.sequence);
        if sealed.unlawful {
            return Err(format!("was given a batch of one who may not publish: {}", about()));
        }
        if key.stream_partition != self.ask.at || !self.ask.filter.wants(header) {
            return Err(format!("was given what it had not asked for: {}", about()));
        }
        // A cursor names a place in one log. Who comes back while it crosses from one log to another may be told again what it
        // had out of the other, or had out of that one before it was read there again: nothing but the reader knows any more.
        let mut logs = self.told_before.range((key, 0)..=(key, u64::MAX));
        let away = cursor.log() != home;
        let crossed =
            logs.any(|((_, log), until)| (away || *log != cursor.log()) && header.sequence < *until);
        if let Some(missing) = self.missing_before(header) {
            return Ok(Taken::Missing(missing));
        }
        self.cursor = Some(cursor.with_skip(header.count));
        // No batch has such a place: it was read elsewhere, for one series only.
        let beside = matches!(cursor, Cursor::History { key, .. } if key.sequence == u64::MAX);
        let log = if beside { NO_LOG } else { cursor.log() };
        self.told.insert((key, log), header.next_sequence());
        let new = Stretch::of(header, id);
        let Some(stretch) = self.has.get_mut(&key) else {
            self.has.insert(key, new);
            return Ok(Taken::Fits);
        };
        if reference.is_forked(&key) && reference.is_torn(&key) {
            // Its first branch was lost, so the second may have taken its place.
            *stretch = Stretch { first: stretch.first, ..new };
            return Ok(Taken::Fits);
        }
        if header.sequence < stretch.next {
            // Where the series had begun at its broker was lost too: it begins there anew, and maybe earlier than before.
            let begins_anew = reference.is_torn(&key) && header.next_sequence() <= stretch.first;
            if sealed.may_come_again() || begins_anew || crossed {
                return Ok(Taken::Fits);
            }
            return Err(format!("was given twice, or a second branch, up to {}: {}", stretch.next, about()));
        }
        if header.sequence > stretch.next {
            return Err(format!("a gap from {} on: {}", stretch.next, about()));
        }
        if header.previous != stretch.last {
            return Err(format!("does not go on from what was given before: {}", about()));
        }
        *stretch = Stretch { first: stretch.first, ..new };
        Ok(Taken::Fits)
    }

    /// What to ask for when a batch leaves something out. Only behind a cursor that crosses from one log to another: nothing
    /// but the reader knows then what it had out of which.
    fn missing_before(&self, header: &Header) -> Option<Subscribe> {
        let stretch = self.has.get(&SeriesKey::of(header))?;
        if header.sequence <= stretch.next || self.told_before.is_empty() || self.filling.is_some() {
            return None;
        }
        let (from, to) = (stretch.timestamp, header.timestamp_min.max(stretch.timestamp));
        let filter = ReadFilter { origin: Some(header.origin), from, to };
        Some(Subscribe { start: ReadStart::From, filter, live: false, ..self.ask.clone() })
    }

    /// It asks for what a batch leaves out.
    pub(crate) fn fill(&mut self, request: u64, sealed: &Sealed, cursor: Cursor) {
        let header = sealed.batch.header();
        let held = VecDeque::from([Held::Batch(sealed.batch.bytes().clone(), cursor)]);
        let (series, until) = (SeriesKey::of(header), header.sequence);
        self.filling = Some(Filling { request, subscription: None, series, until, held });
    }

    /// Takes a batch that was asked for beside; most of them are not what is missing.
    pub(crate) fn take_missing(&mut self, sealed: &Sealed) {
        let header = sealed.batch.header();
        let key = SeriesKey::of(header);
        let wanted = |filling: &Filling| filling.series == key && header.sequence < filling.until;
        if !self.filling.as_ref().is_some_and(wanted) {
            return;
        }
        if let Some(stretch) = self.has.get_mut(&key)
            && header.sequence == stretch.next
            && header.previous == stretch.last
        {
            *stretch = Stretch { first: stretch.first, ..Stretch::of(header, sealed.batch.id()) };
            // It may be told again out of the log that it goes on in.
            self.told_before.insert((key, NO_LOG), header.next_sequence());
        }
    }

    /// How many batches sent from a time on it was to get, and how many of them it has not got.
    pub(crate) fn owed(&self, reference: &Reference, from: i64) -> [u64; 2] {
        let Some(live_since) = self.live_since else { return [0, 0] };
        let wanted = reference.all().iter().filter(|sealed| {
            sealed.sent_at.is_some_and(|at| at >= from && at > live_since)
                && !sealed.unlawful
                && sealed.batch.header().stream_partition == self.ask.at
        });
        wanted.fold([0, 0], |[owed, missing], sealed| {
            let header = sealed.batch.header();
            let stretch = self.has.get(&SeriesKey::of(header));
            let lacks =
                stretch.is_none_or(|it| header.sequence < it.first || it.next < header.next_sequence());
            [owed + 1, missing + u64::from(lacks)]
        })
    }

    /// Where it reads, while that is the past.
    pub(crate) const fn reads_at(&self) -> Option<Cursor> {
        if self.live_since.is_some() || self.revoked { None } else { self.cursor }
    }

    /// Something that it must have got and has not.
    pub(crate) fn missing(&self, reference: &Reference) -> Option<String> {
        if self.revoked {
            return None;
        }
        let Some(live_since) = self.live_since else { return Some("never became live".into()) };
        let wanted = reference.required().filter(|sealed| {
            let header = sealed.batch.header();
            header.stream_partition == self.ask.at
                && self.ask.filter.wants(header)
                && (self.ask.start != ReadStart::Now || sealed.sent_at.is_some_and(|at| at > live_since))
        });
        for sealed in wanted {
            let header = sealed.batch.header();
            let stretch = self.has.get(&SeriesKey::of(header));
            if stretch.is_none_or(|it| header.sequence < it.first || it.next < header.next_sequence()) {
                return Some(format!(
                    "series {} sequence {}, sent at {:?}, acked {:?}; it has {stretch:?}",
                    header.series, header.sequence, sealed.sent_at, sealed.acked
                ));
            }
        }
        None
    }
}

impl Stretch {
    fn of(header: &Header, last: BatchId) -> Self {
        let (first, next) = (header.sequence, header.next_sequence());
        Self { first, next, last, timestamp: header.timestamp_min }
    }
}
