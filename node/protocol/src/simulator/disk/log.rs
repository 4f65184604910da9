use crate::{LastArrival, Page, PastBatch, SeriesPage, SeriesStart};
use bytes::Bytes;
use mainstem_model::{
    BatchId, BatchKey, Code, Cursor, HeadsDigest, HeadsDigester, HeadsSummary, Origin, ReadFilter, ReadStart,
    Refusal, SeriesHead, SeriesId, SeriesKey, SeriesRange, StreamPartition, VerifiedBatch,
    limits::BATCH_SPAN_MS_MAX,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

/// The batches of a store and the ways to find them.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) number: u64,
    partitions: BTreeMap<StreamPartition, PartitionLog>,
    /// No position below it is given in this life.
    floor: u64,
}

#[derive(Debug, Default)]
struct PartitionLog {
    series: BTreeMap<(Origin, SeriesId), SeriesLog>,
    arrivals: BTreeMap<u64, Arc<Kept>>,
    history: BTreeMap<BatchKey, Arc<Kept>>,
    next_position: u64,
}

#[derive(Debug, Default)]
struct SeriesLog {
    batches: BTreeMap<u64, Arc<Kept>>,
    frozen: bool,
    /// Both batches, as signed, for which it is frozen, if they are kept.
    proof: Option<(Bytes, Bytes)>,
}

/// A stored batch.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) batch: Arc<VerifiedBatch>,
    pub(crate) received_at: i64,
    /// Its arrival number; one that filled up history has none.
    pub(crate) position: Option<u64>,
}

impl Kept {
    fn past(&self, cursor: Cursor) -> PastBatch {
        PastBatch {
            bytes: self.batch.bytes().clone(),
            cursor,
            count: self.batch.header().count,
            received_at: self.received_at,
        }
    }
}

impl SeriesLog {
    fn head(&self) -> SeriesHead {
        let last = self.batches.values().next_back();
        let head = last.map_or(SeriesHead::START, |kept| SeriesHead::after(&kept.batch));
        SeriesHead { frozen: self.frozen, ..head }
    }

    /// The batch that holds an event number.
    fn holding(&self, sequence: u64) -> Option<&Arc<Kept>> {
        let (_, kept) = self.batches.range(..=sequence).next_back()?;
        (sequence < kept.batch.header().next_sequence()).then_some(kept)
    }
}

impl Log {
    pub(crate) const fn new(number: u64) -> Self {
        Self { number, partitions: BTreeMap::new(), floor: 0 }
    }

    pub(crate) fn append(&mut self, batch: Arc<VerifiedBatch>, received_at: i64, past: bool) -> Arc<Kept> {
        let header = batch.header();
        let (key, series) = (BatchKey::of(header), (header.origin, header.series));
        let sequence = header.sequence;
        let floor = self.floor;
        let partition = self.partitions.entry(header.stream_partition).or_default();
        partition.next_position = partition.next_position.max(floor);
        let position = (!past).then_some(partition.next_position);
        let kept = Arc::new(Kept { batch, received_at, position });
        if let Some(position) = position {
            partition.arrivals.insert(position, kept.clone());
            partition.next_position = position + 1;
        }
        partition.history.insert(key, kept.clone());
        partition.series.entry(series).or_default().batches.insert(sequence, kept.clone());
        kept
    }

    /// Whether an event of a series is kept.
    pub(crate) fn has(&self, series: &SeriesKey, sequence: u64) -> bool {
        self.series(series).is_some_and(|series| series.holding(sequence).is_some())
    }

    /// Whether another batch than the one that a batch names lies right before it.
    pub(crate) fn breaks(&self, batch: &VerifiedBatch) -> bool {
        let header = batch.header();
        let before = header.sequence.checked_sub(1).zip(self.series(&SeriesKey::of(header)));
        before
            .and_then(|(sequence, series)| series.holding(sequence))
            .is_some_and(|before| before.batch.id() != header.previous)
    }

    /// Takes out what was lost.
    pub(crate) fn forget(&mut self, kept: &Kept) {
        let header = kept.batch.header();
        let Some(partition) = self.partitions.get_mut(&header.stream_partition) else { return };
        if let Some(position) = kept.position {
            partition.arrivals.remove(&position);
        }
        partition.history.remove(&BatchKey::of(header));
        if let Some(series) = partition.series.get_mut(&(header.origin, header.series)) {
            series.batches.remove(&header.sequence);
            if series.batches.is_empty() && !series.frozen {
                partition.series.remove(&(header.origin, header.series));
            }
        }
    }

    pub(crate) fn freeze(&mut self, series: &SeriesKey, proof: (Bytes, Bytes)) {
        let log = self.series_mut(series);
        log.frozen = true;
        log.proof = Some(proof);
    }

    pub(crate) fn thaw(&mut self, series: &SeriesKey) {
        let log = self.series_mut(series);
        log.frozen = false;
        log.proof = None;
    }

    /// Forgets the proof of a series, which stays frozen.
    pub(crate) fn forget_proof(&mut self, series: &SeriesKey) {
        self.series_mut(series).proof = None;
    }

    pub(crate) fn is_frozen(&self, series: &SeriesKey) -> bool {
        self.series(series).is_some_and(|series| series.frozen)
    }

    fn series_mut(&mut self, series: &SeriesKey) -> &mut SeriesLog {
        let partition = self.partitions.entry(series.stream_partition).or_default();
        partition.series.entry((series.origin, series.series)).or_default()
    }

    /// What arrived last, and the last of what came so long before it, or the first of all.
    pub(crate) fn last(&self, at: StreamPartition, before_ms: i64) -> LastArrival {
        let all =
            self.partitions.get(&at).into_iter().flat_map(|partition| partition.arrivals.values().rev());
        let mut times = all.map(|kept| kept.received_at).peekable();
        let received_at = times.peek().copied().unwrap_or(i64::MIN);
        let (mut before, long_before) = (received_at, received_at.saturating_sub(before_ms));
        while before >= long_before
            && let Some(came) = times.next()
        {
            before = came;
        }
        LastArrival { end: self.end(at), received_at, before }
    }

    /// Whether something is kept that arrived before a position.
    pub(crate) fn has_before(&self, at: StreamPartition, position: u64) -> bool {
        self.partitions
            .get(&at)
            .is_some_and(|partition| partition.arrivals.range(..position).next().is_some())
    }

    /// Position of the next arrival.
    fn end(&self, at: StreamPartition) -> u64 {
        self.partitions.get(&at).map_or(0, |partition| partition.next_position).max(self.floor)
    }

    /// The proof for which a series is frozen.
    pub(crate) fn proof(&self, series: &SeriesKey) -> Option<(Bytes, Bytes)> {
        self.series(series).and_then(|series| series.proof.clone())
    }

    /// No position that was ever given is given again.
    pub(crate) fn leap(&mut self, numbers: u64) {
        let ends = self.partitions.values().map(|partition| partition.next_position);
        self.floor = ends.fold(self.floor, u64::max) + numbers;
    }

    fn series(&self, key: &SeriesKey) -> Option<&SeriesLog> {
        self.partitions.get(&key.stream_partition)?.series.get(&(key.origin, key.series))
    }

    /// Nothing was ever kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    pub(crate) fn head(&self, key: &SeriesKey) -> Option<SeriesHead> {
        self.series(key).map(SeriesLog::head)
    }

    pub(crate) fn batch(&self, key: &SeriesKey, sequence: u64) -> Option<Bytes> {
        self.series(key)?.holding(sequence).map(|kept| kept.batch.bytes().clone())
    }

    pub(crate) fn holds(&self, batch: &VerifiedBatch) -> bool {
        let header = batch.header();
        self.series(&SeriesKey::of(header))
            .and_then(|series| series.batches.get(&header.sequence))
            .is_some_and(|kept| kept.batch.id() == batch.id())
    }

    /// The proven batch at a place, as a broker that tells others has it.
    /// Series of a partition that are frozen.
    pub(crate) fn frozen(&self, at: StreamPartition) -> impl Iterator<Item = SeriesKey> {
        let partition = self.partitions.get(&at).into_iter();
        let frozen = partition.flat_map(|log| &log.series).filter(|(_, log)| log.proof.is_some());
        frozen.map(move |((origin, series), _)| SeriesKey {
            stream_partition: at,
            origin: *origin,
            series: *series,
        })
    }

    pub(crate) fn ids(&self, at: StreamPartition) -> BTreeSet<(SeriesKey, u64, BatchId)> {
        let partition = self.partitions.get(&at);
        let series = partition.into_iter().flat_map(|partition| &partition.series);
        let batches = series.filter(|(_, series)| !series.frozen).flat_map(|(_, series)| &series.batches);
        batches
            .map(|(sequence, kept)| (SeriesKey::of(kept.batch.header()), *sequence, kept.batch.id()))
            .collect()
    }

    pub(crate) fn partitions(&self, after: Option<StreamPartition>, max: usize) -> Vec<StreamPartition> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.partitions.range((from, Bound::Unbounded));
        range.filter(|(_, partition)| !partition.series.is_empty()).map(|(at, _)| *at).take(max).collect()
    }

    fn heads(&self, range: &SeriesRange) -> Vec<(SeriesKey, SeriesHead)> {
        let partition = self.partitions.get(&range.at);
        let series =
            partition.into_iter().flat_map(|partition| partition.series.range(range.first..=range.last));
        let key = |(origin, series)| SeriesKey { stream_partition: range.at, origin, series };
        series.map(|(place, series)| (key(*place), series.head())).collect()
    }

    pub(crate) fn digest(&self, at: StreamPartition) -> HeadsDigest {
        let mut digester = HeadsDigester::default();
        for ((origin, series), log) in self.partitions.get(&at).into_iter().flat_map(|log| &log.series) {
            let key = SeriesKey { stream_partition: at, origin: *origin, series: *series };
            digester.add(&key, &log.head());
        }
        digester.finish()
    }

    pub(crate) fn summarize(&self, range: &SeriesRange, heads_max: usize, parts: usize) -> HeadsSummary {
        let heads = self.heads(range);
        if heads.len() <= heads_max {
            return HeadsSummary::Heads(heads);
        }
        let size = heads.len().div_ceil(parts.max(1));
        let mut summary = Vec::with_capacity(parts);
        let (mut first, mut from) = (range.first, 0);
        while from < heads.len() {
            let mut until = (from + size).min(heads.len());
            // The next part begins right behind the last series of this one.
            while until < heads.len() && heads[until - 1].0.series.0 == u64::MAX {
                until += 1;
            }
            let last = &heads[until - 1].0;
            let last = if until == heads.len() { range.last } else { (last.origin, last.series) };
            let mut digester = HeadsDigester::default();
            for (key, head) in &heads[from..until] {
                digester.add(key, head);
            }
            summary.push((SeriesRange { at: range.at, first, last }, digester.finish()));
            first = (last.0, SeriesId(last.1.0.wrapping_add(1)));
            from = until;
        }
        HeadsSummary::Parts(summary)
    }

    /// A page of one series.
    pub(crate) fn series_page(
        &self,
        key: &SeriesKey,
        from: SeriesStart,
        until: u64,
        bytes_max: usize,
    ) -> SeriesPage {
        let Some(series) = self.series(key) else {
            return SeriesPage { batches: Vec::new(), base: 0, more: false };
        };
        let head = series.head().next_sequence;
        let base = series.batches.keys().next().copied().unwrap_or(head);
        let first = match from {
            SeriesStart::Sequence(sequence) => {
                series.holding(sequence).map_or(sequence, |kept| kept.batch.header().sequence)
            }
            SeriesStart::ReceivedAt(since) => {
                let young = series.batches.iter().find(|(_, kept)| kept.received_at >= since);
                young.map_or(head, |(sequence, _)| *sequence)
            }
        };
        let (mut batches, mut bytes, mut more) = (Vec::new(), 0, false);
        let wanted = if first < until { first..until } else { first..first };
        for kept in series.batches.range(wanted).map(|(_, kept)| kept) {
            let size = kept.batch.bytes().len();
            if bytes > 0 && bytes + size > bytes_max {
                more = true;
                break;
            }
            bytes += size;
            batches.push(kept.batch.bytes().clone());
        }
        SeriesPage { batches, base, more }
    }

    pub(crate) fn start(
        &self,
        at: StreamPartition,
        start: ReadStart,
        filter: &ReadFilter,
    ) -> Result<Cursor, Refusal> {
        let log = self.number;
        let partition = self.partitions.get(&at);
        let until = self.end(at);
        let here = Cursor::Arrival { log, position: until, skip: 0 };
        let history = partition.into_iter().flat_map(|partition| &partition.history);
        Ok(match start {
            ReadStart::Now => here,
            ReadStart::Cursor(cursor) => {
                self.check(&cursor)?;
                cursor
            }
            ReadStart::From => {
                let least = filter.from.saturating_sub(BATCH_SPAN_MS_MAX);
                let first = history.map(|(key, _)| *key).find(|key| key.timestamp >= least);
                first.map_or(here, |key| Cursor::History { log, until, key, skip: 0 })
            }
            ReadStart::Last(n) => {
                let (mut left, mut cursor) = (n, here);
                for (key, kept) in history.rev().filter(|(_, kept)| filter.wants(kept.batch.header())) {
                    if left == 0 {
                        break;
                    }
                    let count = u64::from(kept.batch.header().count);
                    let skip = count.saturating_sub(left) as u16;
                    cursor = Cursor::History { log, until, key: *key, skip };
                    left = left.saturating_sub(count);
                }
                cursor
            }
        })
    }

    fn check(&self, cursor: &Cursor) -> Result<(), Refusal> {
        if cursor.log() == self.number {
            return Ok(());
        }
        Err(Refusal::new(Code::InvalidCursor, "the cursor is of another store"))
    }

    pub(crate) fn page(
        &self,
        at: StreamPartition,
        cursor: Cursor,
        filter: &ReadFilter,
        bytes_max: usize,
    ) -> Result<Page, Refusal> {
        self.check(&cursor)?;
        let nothing = PartitionLog::default();
        let partition = self.partitions.get(&at).unwrap_or(&nothing);
        let end = self.end(at);
        let (mut batches, mut bytes) = (Vec::new(), 0);
        let mut take = |kept: &Kept, cursor: Cursor| {
            let size = kept.batch.bytes().len();
            if bytes > 0 && bytes + size > bytes_max {
                return false;
            }
            bytes += size;
            batches.push(kept.past(cursor));
            true
        };
        let mut next = match cursor {
            Cursor::History { log, until, .. } => Cursor::Arrival { log, position: until, skip: 0 },
            Cursor::Arrival { log, position, .. } => {
                Cursor::Arrival { log, position: position.max(end), skip: 0 }
            }
        };
        match cursor {
            Cursor::History { log, until, key, skip } => {
                for (here, kept) in partition.history.range(key..) {
                    let skip = if *here == key { skip } else { 0 };
                    let header = kept.batch.header();
                    let in_history = kept.position.is_none_or(|position| position < until);
                    let wanted = in_history && skip < header.count && filter.wants(header);
                    let cursor = Cursor::History { log, until, key: *here, skip };
                    if wanted && !take(kept, cursor) {
                        next = cursor;
                        break;
                    }
                }
            }
            Cursor::Arrival { log, position, skip } => {
                for (here, kept) in partition.arrivals.range(position..) {
                    let skip = if *here == position { skip } else { 0 };
                    let header = kept.batch.header();
                    let cursor = Cursor::Arrival { log, position: *here, skip };
                    if skip < header.count && filter.wants(header) && !take(kept, cursor) {
                        next = cursor;
                        break;
                    }
                }
            }
        }
        let at_end = matches!(next, Cursor::Arrival { position, skip: 0, .. } if position >= end);
        Ok(Page { batches, next, at_end, damaged: 0 })
    }
}
