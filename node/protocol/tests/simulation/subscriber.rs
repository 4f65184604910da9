use crate::log::Log;
use mainstem_model::{Address, Batch, Cursor, ReadFilter, ReadStart, SeriesKey, StreamPartition};
use mainstem_protocol::{SessionId, Subscribe, SubscriptionId};
use std::collections::{BTreeMap, BTreeSet};

/// One event as a subscriber knows it.
pub(crate) type EventId = (SeriesKey, u64);

/// A subscriber that resumes from its cursor after each disconnect.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) who: Address,
    pub(crate) first: Subscribe,
    pub(crate) session: Option<SessionId>,
    pub(crate) subscription: Option<SubscriptionId>,
    pub(crate) cursor: Option<Cursor>,
    pub(crate) got: Vec<EventId>,
    pub(crate) ended: bool,
    pub(crate) revoked: bool,
    pub(crate) stalled: bool,
    /// End of the log when the first subscription was resolved at the latest: what is behind must all come.
    pub(crate) began_at: Option<u64>,
    /// What the start of the first subscription stands for, fixed when it was resolved.
    pub(crate) past: Vec<EventId>,
    pub(crate) queue_bytes: usize,
}

impl Subscriber {
    pub(crate) fn new(who: Address, first: Subscribe) -> Self {
        Self {
            who,
            first,
            session: None,
            subscription: None,
            cursor: None,
            got: Vec::new(),
            ended: false,
            revoked: false,
            stalled: false,
            began_at: None,
            past: Vec::new(),
            queue_bytes: 0,
        }
    }

    pub(crate) fn ask(&self) -> Subscribe {
        match self.cursor {
            Some(cursor) => Subscribe { start: ReadStart::Cursor(cursor), ..self.first.clone() },
            None => self.first.clone(),
        }
    }

    /// Takes events of a delivered batch, at most `limit` of them, and moves the cursor behind the last one taken.
    pub(crate) fn take(&mut self, batch: &Batch, cursor: Cursor, limit: usize) {
        let header = batch.header();
        let mut done = cursor.skip();
        for (index, event) in batch.events().enumerate().skip(usize::from(cursor.skip())).take(limit) {
            if self.first.filter.wants_timestamp(event.timestamp) {
                self.got.push((SeriesKey::of(header), header.sequence + index as u64));
            }
            done = index as u16 + 1;
        }
        self.cursor = Some(cursor.with_skip(done));
    }

    /// Notes what the first subscription must bring of the past, as the log stands when it is resolved.
    pub(crate) fn note_start(&mut self, log: &Log) {
        if self.cursor.is_some() {
            return;
        }
        let at = self.first.at;
        self.began_at = Some(log.entries(at).len() as u64);
        let all = events(log, at, 0, &self.first.filter);
        self.past = match self.first.start {
            ReadStart::Now | ReadStart::Cursor(_) => Vec::new(),
            ReadStart::From => all,
            ReadStart::Last(n) => all[all.len().saturating_sub(n as usize)..].to_vec(),
        };
    }

    /// What it must have got in the end, and in which order within each series.
    pub(crate) fn check(&self, log: &Log, seed: u64) {
        let Some(began_at) = self.began_at else { return };
        let name = format!("SEED={seed} {:?}", self.first);
        let got: BTreeSet<_> = self.got.iter().copied().collect();
        assert_eq!(got.len(), self.got.len(), "an event came twice: {name}");
        let mut last: BTreeMap<SeriesKey, u64> = BTreeMap::new();
        let behind: BTreeSet<_> =
            events(log, self.first.at, began_at as usize, &self.first.filter).into_iter().collect();
        for (series, sequence) in self.got.iter().filter(|event| behind.contains(event)) {
            let before = last.insert(*series, *sequence);
            assert!(before.is_none_or(|before| before < *sequence), "a series was reordered: {name}");
        }
        let mut wanted: BTreeSet<EventId> = self.past.iter().copied().collect();
        if self.first.live {
            wanted.extend(behind);
        }
        if self.revoked {
            assert!(got.is_subset(&wanted), "an event came that was not asked for: {name}");
        } else {
            assert_eq!(got, wanted, "what came is not what was asked for: {name}");
        }
    }
}

/// Wanted events from arrival position `from` on, in the order of history.
fn events(log: &Log, at: StreamPartition, from: usize, filter: &ReadFilter) -> Vec<EventId> {
    let mut entries: Vec<_> = log.entries(at)[from..].iter().filter(|e| filter.wants(&e.header)).collect();
    entries.sort_by_key(|e| mainstem_model::BatchKey::of(&e.header));
    let mut out = Vec::new();
    for entry in entries {
        let batch = Batch::parse(entry.bytes.clone()).unwrap();
        for (index, event) in batch.events().enumerate() {
            if filter.wants_timestamp(event.timestamp) {
                out.push((SeriesKey::of(&entry.header), entry.header.sequence + index as u64));
            }
        }
    }
    out
}
