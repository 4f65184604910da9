//! Reading: what is wanted is found in the index, and fetched many at a time.

use super::{
    ANSWER_BYTES, RecordLog,
    entry::Entry,
    index::{Index, Kept, Row},
};
use crate::{
    DamagedRange, LastArrival, NO_POSITION, Page, PartitionStats, SeriesPage, SeriesStart, StoreError,
    StoredBatch, Verified, log::halve, summary::Parts,
};
use bytes::Bytes;
use mainstem_model::{
    Batch, BatchKey, Cursor, HeadsDigest, HeadsDigester, HeadsSummary, Origin, ReadFilter, ReadStart,
    RecordStore, SeriesId, SeriesKey, SeriesRange, StreamPartition, limits::BATCH_SPAN_MS_MAX,
};
use std::{collections::BTreeMap, ops::Bound};

/// Batches of one fetch: a store may have to unpack more for each of them than it gives.
const FETCH_BATCHES: usize = 256;

/// A batch that is to be fetched.
type Wanted = (BatchKey, Row, Cursor);

impl<R: RecordStore> RecordLog<R> {
    pub(super) fn end_in(&self, index: &Index, at: StreamPartition) -> u64 {
        index.partitions.get(&at).map_or(0, |kept| kept.end).max(self.floor)
    }

    fn check_cursor(&self, cursor: Cursor, end: u64) -> Result<(), StoreError> {
        let (Cursor::Arrival { position, .. } | Cursor::History { until: position, .. }) = cursor;
        if cursor.log() == self.log_id && position <= end { Ok(()) } else { Err(StoreError::ForeignCursor) }
    }

    /// The bytes of each batch, `None` for one that was trimmed since the index was looked at.
    fn fetch(
        &self,
        at: StreamPartition,
        wanted: &[(BatchKey, Row)],
    ) -> Result<Vec<Result<Option<Bytes>, String>>, StoreError> {
        let mut all = Vec::with_capacity(wanted.len());
        let mut rest = wanted;
        while !rest.is_empty() {
            let (mut bytes, mut count) = (0, 0);
            for (_, row) in rest {
                bytes += row.length as usize;
                if count > 0 && bytes > ANSWER_BYTES || count == FETCH_BATCHES {
                    break;
                }
                count += 1;
            }
            let (now, later) = rest.split_at(count);
            rest = later;
            let places: Vec<_> = now.iter().map(|(_, row)| row.place).collect();
            let answer = self.store.fetch(&places)?;
            let found: BTreeMap<_, _> =
                answer.records.into_iter().map(|record| (record.place, record.value)).collect();
            for (key, row) in now {
                all.push(match found.get(&row.place) {
                    Some(value) => read_batch(row, value).map(Some),
                    None if answer.damaged.contains(&row.place) => {
                        Err(format!("the store cannot read the record at place {}", row.place))
                    }
                    None if self.is_kept(at, key, row) => {
                        Err("a record that the index names is missing".into())
                    }
                    None => Ok(None),
                });
            }
        }
        Ok(all)
    }

    fn is_kept(&self, at: StreamPartition, key: &BatchKey, row: &Row) -> bool {
        let index = self.index();
        index
            .partitions
            .get(&at)
            .and_then(|kept| kept.batches.get(key))
            .is_some_and(|now| now.place == row.place)
    }

    pub(super) fn find_in_series(
        &self,
        series: &SeriesKey,
        sequence: u64,
    ) -> Result<Option<StoredBatch>, StoreError> {
        let (at, log) = (series.stream_partition, self.log_id);
        let (key, row, cursor) = {
            let index = self.index();
            let Some((key, row)) = index.partitions.get(&at).and_then(|kept| kept.at(series, sequence))
            else {
                return Ok(None);
            };
            let cursor = if row.position == NO_POSITION {
                Cursor::History { log, until: self.end_in(&index, at), key: *key, skip: 0 }
            } else {
                Cursor::Arrival { log, position: row.position, skip: 0 }
            };
            (*key, *row, cursor)
        };
        match self.fetch(at, &[(key, row)])?.pop() {
            Some(Ok(Some(bytes))) => Ok(Some(row.stored(bytes, cursor))),
            Some(Err(why)) => Err(StoreError::Damaged(why)),
            Some(Ok(None)) | None => Ok(None),
        }
    }

    pub(super) fn read_series(
        &self,
        series: &SeriesKey,
        from: SeriesStart,
        until: u64,
        batches_max: usize,
        bytes_max: usize,
    ) -> Result<SeriesPage, StoreError> {
        let (mut page, wanted) = {
            let (index, empty) = (self.index(), Kept::default());
            let kept = index.partitions.get(&series.stream_partition).unwrap_or(&empty);
            let base = match kept.of_series(series, 0..=u64::MAX).next() {
                Some((key, _)) => key.sequence,
                None => index.heads.get(series).map_or(0, |head| head.next_sequence),
            };
            let mut page = SeriesPage { base, ..SeriesPage::default() };
            let Some(last) = until.checked_sub(1) else { return Ok(page) };
            let first = match from {
                SeriesStart::Sequence(sequence) => {
                    Some(kept.at(series, sequence).map_or(sequence, |(key, _)| key.sequence))
                }
                SeriesStart::ReceivedAt(time) => {
                    let newest = kept.of_series(series, 0..=last).rev();
                    newest.take_while(|(_, row)| row.received_at >= time).last().map(|(key, _)| key.sequence)
                }
            };
            let Some(first) = first.filter(|first| *first <= last) else { return Ok(page) };
            let (mut bytes, mut next, mut wanted) = (0, None, Vec::new());
            for (key, row) in kept.of_series(series, first..=last) {
                let is_full = bytes >= bytes_max || wanted.len() >= batches_max;
                if next.is_some_and(|next| is_full || next != key.sequence) {
                    page.more = true;
                    break;
                }
                bytes += row.length as usize;
                wanted.push((*key, *row));
                next = Some(key.sequence + u64::from(row.count));
            }
            (page, wanted)
        };
        for fetched in self.fetch(series.stream_partition, &wanted)? {
            match fetched {
                Ok(Some(bytes)) => page.batches.push(bytes),
                Err(why) if page.batches.is_empty() => return Err(StoreError::Damaged(why)),
                // A hole, as far as this page goes.
                Ok(None) | Err(_) => {
                    page.more = true;
                    break;
                }
            }
        }
        Ok(page)
    }

    pub(super) fn digest_heads(&self, at: StreamPartition) -> HeadsDigest {
        let index = self.index();
        let mut digester = HeadsDigester::default();
        let first = SeriesKey { stream_partition: at, origin: Origin::LEAST, series: SeriesId(0) };
        for (series, head) in
            index.heads.range(first..).take_while(|(series, _)| series.stream_partition == at)
        {
            digester.add(series, head);
        }
        digester.finish()
    }

    pub(super) fn summarize_heads(
        &self,
        range: &SeriesRange,
        heads_max: usize,
        parts: usize,
    ) -> HeadsSummary {
        let index = self.index();
        let SeriesRange { at, first, last } = *range;
        if first > last {
            return HeadsSummary::Heads(Vec::new());
        }
        let key = |(origin, series)| SeriesKey { stream_partition: at, origin, series };
        let heads = || index.heads.range(key(first)..=key(last));
        let count = heads().count();
        if count <= heads_max {
            return HeadsSummary::Heads(heads().map(|(series, head)| (*series, *head)).collect());
        }
        let mut cut = Parts::new(*range, count, parts);
        for (series, head) in heads() {
            cut.add(series, head);
        }
        HeadsSummary::Parts(cut.finish())
    }

    pub(super) fn find_start(
        &self,
        at: StreamPartition,
        start: ReadStart,
        filter: &ReadFilter,
    ) -> Result<Cursor, StoreError> {
        let (log, empty) = (self.log_id, Kept::default());
        let index = self.index();
        let kept = index.partitions.get(&at).unwrap_or(&empty);
        let until = self.end_in(&index, at);
        let here = Cursor::Arrival { log, position: until, skip: 0 };
        Ok(match start {
            ReadStart::Now => here,
            ReadStart::Cursor(cursor) => {
                self.check_cursor(cursor, until)?;
                cursor
            }
            ReadStart::From => {
                let least = filter.from.saturating_sub(BATCH_SPAN_MS_MAX);
                let first = kept.batches.keys().find(|key| key.timestamp >= least);
                first.map_or(here, |key| Cursor::History { log, until, key: *key, skip: 0 })
            }
            ReadStart::Last(n) => {
                let (mut left, mut cursor) = (n, here);
                for (key, row) in kept.batches.iter().rev() {
                    if left == 0 {
                        break;
                    }
                    if filter.origin.is_some_and(|origin| origin != key.origin) {
                        continue;
                    }
                    let count = u64::from(row.count);
                    cursor =
                        Cursor::History { log, until, key: *key, skip: count.saturating_sub(left) as u16 };
                    left = left.saturating_sub(count);
                }
                cursor
            }
        })
    }

    pub(super) fn read_page(
        &self,
        at: StreamPartition,
        cursor: Cursor,
        filter: &ReadFilter,
        batches_max: usize,
        bytes_max: usize,
    ) -> Result<Page, StoreError> {
        let (wanted, next, at_end, lost) = {
            let (index, empty) = (self.index(), Kept::default());
            let kept = index.partitions.get(&at).unwrap_or(&empty);
            let end = self.end_in(&index, at);
            self.check_cursor(cursor, end)?;
            let (wanted, next) = choose(kept, cursor, end, filter, batches_max, bytes_max);
            let lost = match (cursor, next) {
                (Cursor::Arrival { position: first, .. }, Cursor::Arrival { position: next, .. }) => {
                    index.lost(at, first..next)
                }
                // Where history ends: when its batches were is not known, so it is told once.
                (Cursor::History { until, .. }, Cursor::Arrival { .. }) => index.lost(at, 0..until),
                (Cursor::Arrival { .. } | Cursor::History { .. }, Cursor::History { .. }) => Vec::new(),
            };
            let at_end = matches!(next, Cursor::Arrival { position, .. } if position >= end);
            (wanted, next, at_end, lost)
        };
        let rows: Vec<_> = wanted.iter().map(|(key, row, _)| (*key, *row)).collect();
        let mut page = Page { batches: Vec::with_capacity(rows.len()), next, at_end, damaged: lost };
        for (fetched, (key, row, here)) in self.fetch(at, &rows)?.into_iter().zip(wanted) {
            match fetched {
                Ok(Some(bytes)) => page.batches.push(row.stored(bytes, here)),
                Ok(None) => {}
                Err(why) => page.damaged.push(damaged(at, &key, &row, why)),
            }
        }
        Ok(page)
    }

    pub(super) fn read_proof(&self, series: &SeriesKey) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        let Some(proof) = self.index().proofs.get(series).copied().filter(|proof| proof.first > 0) else {
            return Ok(None);
        };
        let records = self.store.fetch(&[proof.place])?.records;
        let Some(record) = records.first() else {
            return Err(StoreError::Damaged("a proof that the index names is missing".into()));
        };
        let mut first = Entry::read_body(proof.place, &record.value)?;
        if first.len() != proof.first + proof.second {
            return Err(StoreError::Damaged("a proof is not as long as the index says".into()));
        }
        let second = first.split_off(proof.first);
        Ok(Some((first, second)))
    }

    pub(super) fn list_partitions_after(
        &self,
        after: Option<StreamPartition>,
        max: usize,
    ) -> Vec<StreamPartition> {
        let index = self.index();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        index.partitions.range((from, Bound::Unbounded)).take(max).map(|(at, _)| *at).collect()
    }

    pub(super) fn last_arrival(&self, at: StreamPartition) -> Option<LastArrival> {
        let index = self.index();
        let kept = index.partitions.get(&at)?;
        let row = kept.batches.get(kept.arrivals.last_key_value()?.1)?;
        Some(LastArrival { end: self.end_in(&index, at), received_at: row.received_at })
    }

    /// Of the index alone: nothing is read for it.
    pub(super) fn find_last_before(&self, at: StreamPartition, time: i64) -> Result<Option<i64>, StoreError> {
        let index = self.index();
        let Some(kept) = index.partitions.get(&at) else { return Ok(None) };
        halve(kept.end, time, |from, until| {
            let first = kept.arrivals.range(from..until.max(from)).next();
            let row = first.and_then(|(position, key)| Some((*position, kept.batches.get(key)?.received_at)));
            Ok(row)
        })
    }

    pub(super) fn partition_stats(&self, at: StreamPartition) -> PartitionStats {
        let (index, empty) = (self.index(), Kept::default());
        let kept = index.partitions.get(&at).unwrap_or(&empty);
        PartitionStats {
            end: self.end_in(&index, at),
            batches: kept.batches.len() as u64,
            events: kept.batches.values().map(|row| u64::from(row.count)).sum(),
            bytes: kept.batches.values().map(|row| u64::from(row.length)).sum(),
            first_timestamp: kept.batches.first_key_value().map(|(key, _)| key.timestamp),
            last_timestamp: kept.batches.last_key_value().map(|(key, _)| key.timestamp),
        }
    }

    pub(super) fn verify_all(&self, progress: &mut dyn FnMut(&Verified)) -> Result<Verified, StoreError> {
        let (partitions, places) = {
            let index = self.index();
            let places: Vec<_> = index.damaged.iter().copied().collect();
            (index.partitions.keys().copied().collect::<Vec<_>>(), places)
        };
        let mut verified = Verified::default();
        for at in partitions {
            let rows: Vec<_> =
                self.index().partitions.get(&at).map_or_else(Vec::new, |kept| {
                    kept.batches.iter().map(|(key, row)| (*key, *row)).collect()
                });
            for rows in rows.chunks(256) {
                for (fetched, (key, row)) in self.fetch(at, rows)?.into_iter().zip(rows) {
                    match fetched {
                        Ok(Some(bytes)) => {
                            verified.batches += 1;
                            verified.bytes += bytes.len() as u64;
                        }
                        Ok(None) => {}
                        Err(why) => verified.damaged.push(damaged(at, key, row, why)),
                    }
                    progress(&verified);
                }
            }
            verified.damaged.extend(self.index().lost(at, 0..u64::MAX));
        }
        verified
            .faults
            .extend(places.into_iter().map(|place| format!("the record at place {place} cannot be read")));
        Ok(verified)
    }
}

/// What of a partition is wanted from a cursor on, and where to read on.
fn choose(
    kept: &Kept,
    cursor: Cursor,
    end: u64,
    filter: &ReadFilter,
    batches_max: usize,
    bytes_max: usize,
) -> (Vec<Wanted>, Cursor) {
    let (mut wanted, mut bytes) = (Vec::new(), 0);
    let mut take = |key: &BatchKey, row: &Row, here: Cursor| {
        if !row.is_wanted(key, filter) || here.skip() >= row.count {
            return true;
        }
        if !wanted.is_empty() && (bytes >= bytes_max || wanted.len() >= batches_max) {
            return false;
        }
        bytes += row.length as usize;
        wanted.push((*key, *row, here));
        true
    };
    let next = match cursor {
        Cursor::History { log, until, key, skip } => {
            let mut next = Cursor::Arrival { log, position: until, skip: 0 };
            for (found, row) in kept.batches.range(key..) {
                if found.timestamp > filter.to {
                    break;
                }
                let skip = if *found == key { skip } else { 0 };
                let here = Cursor::History { log, until, key: *found, skip };
                if row.is_history(until) && !take(found, row, here) {
                    next = here;
                    break;
                }
            }
            next
        }
        Cursor::Arrival { log, position: first, skip } => {
            let mut next = end;
            for (position, key) in kept.arrivals.range(first..) {
                let skip = if *position == first { skip } else { 0 };
                let here = Cursor::Arrival { log, position: *position, skip };
                if kept.batches.get(key).is_some_and(|row| !take(key, row, here)) {
                    next = *position;
                    break;
                }
            }
            Cursor::Arrival { log, position: next, skip: 0 }
        }
    };
    (wanted, next)
}

/// The batch of a record, which must be that of the row.
fn read_batch(row: &Row, value: &Bytes) -> Result<Bytes, String> {
    let bytes = Entry::read_body(row.place, value).map_err(|error| error.to_string())?;
    let is_it = Batch::peek_header(&bytes).is_ok_and(|header| header.id() == row.id);
    if is_it { Ok(bytes) } else { Err("the index points to a batch that is another".into()) }
}

fn damaged(at: StreamPartition, key: &BatchKey, row: &Row, why: String) -> DamagedRange {
    tracing::warn!(%at, position = row.position, %why, "a batch is damaged");
    // Saturating: it is empty for what has no position.
    let positions = row.position..row.position.saturating_add(1);
    DamagedRange { at, positions, batch: Some((*key, row.id)), why }
}
