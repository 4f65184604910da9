use bytes::Bytes;
use mainstem_model::{
    Batch, BatchKey, Cursor, Header, ReadFilter, ReadStart, SeriesHead, SeriesKey, StreamPartition,
    VerifiedBatch, limits::BATCH_SPAN_MS_MAX,
};
use mainstem_protocol::{Page, PastBatch};
use std::collections::BTreeMap;

pub(crate) const LOG: u64 = 77;

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) header: Header,
    pub(crate) bytes: Bytes,
    pub(crate) received_at: i64,
}

/// The reference store: one list a partition, searched from end to end.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) partitions: BTreeMap<StreamPartition, Vec<Entry>>,
}

impl Log {
    pub(crate) fn append(&mut self, batch: &VerifiedBatch, received_at: i64) -> u64 {
        let entries = self.partitions.entry(batch.header().stream_partition).or_default();
        entries.push(Entry { header: batch.header().clone(), bytes: batch.bytes().clone(), received_at });
        entries.len() as u64 - 1
    }

    pub(crate) fn entries(&self, at: StreamPartition) -> &[Entry] {
        self.partitions.get(&at).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn head(&self, series: &SeriesKey) -> Option<SeriesHead> {
        let last =
            self.entries(series.stream_partition).iter().rfind(|e| SeriesKey::of(&e.header) == *series)?;
        Some(SeriesHead::after(&Batch::parse(last.bytes.clone()).unwrap()))
    }

    pub(crate) fn batch(&self, series: &SeriesKey, sequence: u64) -> Option<Bytes> {
        self.entries(series.stream_partition)
            .iter()
            .find(|e| {
                SeriesKey::of(&e.header) == *series
                    && (e.header.sequence..e.header.next_sequence()).contains(&sequence)
            })
            .map(|e| e.bytes.clone())
    }

    /// Entries before `until` in the order of history, with their positions.
    fn history(&self, at: StreamPartition, until: u64) -> Vec<(BatchKey, &Entry)> {
        let mut list: Vec<_> =
            self.entries(at).iter().take(until as usize).map(|e| (BatchKey::of(&e.header), e)).collect();
        list.sort_by_key(|(key, _)| *key);
        list
    }

    pub(crate) fn start(&self, at: StreamPartition, start: ReadStart, filter: &ReadFilter) -> Cursor {
        let until = self.entries(at).len() as u64;
        let here = Cursor::Arrival { log: LOG, position: until, skip: 0 };
        let history = self.history(at, until);
        match start {
            ReadStart::Now => here,
            ReadStart::Cursor(cursor) => cursor,
            ReadStart::From => {
                let least = filter.from.saturating_sub(BATCH_SPAN_MS_MAX);
                match history.iter().find(|(key, _)| key.timestamp >= least) {
                    Some((key, _)) => Cursor::History { log: LOG, until, key: *key, skip: 0 },
                    None => here,
                }
            }
            ReadStart::Last(n) => {
                let mut left = n;
                let mut cursor = here;
                for (key, entry) in history.iter().rev().filter(|(_, e)| filter.wants(&e.header)) {
                    if left == 0 {
                        break;
                    }
                    let count = u64::from(entry.header.count);
                    let skip = count.saturating_sub(left) as u16;
                    cursor = Cursor::History { log: LOG, until, key: *key, skip };
                    left = left.saturating_sub(count);
                }
                cursor
            }
        }
    }

    pub(crate) fn page(
        &self,
        at: StreamPartition,
        cursor: Cursor,
        filter: &ReadFilter,
        bytes_max: usize,
    ) -> Page {
        let end = self.entries(at).len() as u64;
        let mut batches: Vec<PastBatch> = Vec::new();
        let mut bytes = 0;
        let mut take = |entry: &Entry, cursor: Cursor| {
            if bytes > 0 && bytes + entry.bytes.len() > bytes_max {
                return false;
            }
            bytes += entry.bytes.len();
            batches.push(PastBatch {
                bytes: entry.bytes.clone(),
                cursor,
                count: entry.header.count,
                received_at: entry.received_at,
            });
            true
        };
        let next = match cursor {
            Cursor::History { log, until, key, skip } => {
                let mut next = Cursor::Arrival { log, position: until, skip: 0 };
                for (at_key, entry) in self.history(at, until).into_iter().filter(|(k, _)| *k >= key) {
                    let skip = if at_key == key { skip } else { 0 };
                    let here = Cursor::History { log, until, key: at_key, skip };
                    if skip < entry.header.count && filter.wants(&entry.header) && !take(entry, here) {
                        next = here;
                        break;
                    }
                }
                next
            }
            Cursor::Arrival { log, position, skip } => {
                let mut next = position;
                for entry in &self.entries(at)[position as usize..] {
                    let skip = if next == position { skip } else { 0 };
                    let here = Cursor::Arrival { log, position: next, skip };
                    if skip < entry.header.count && filter.wants(&entry.header) && !take(entry, here) {
                        break;
                    }
                    next += 1;
                }
                Cursor::Arrival { log, position: next, skip: 0 }
            }
        };
        let at_end = matches!(next, Cursor::Arrival { position, .. } if position == end);
        Page { batches, next, at_end, damaged: 0 }
    }
}
