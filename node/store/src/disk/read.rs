//! Reading: history by its index, what came since by arrival number.

use super::{DiskLog, Tables, arrivals::Arrivals, guarded, history::History};
use crate::{
    DamagedRange, LastArrival, Page, PartitionStats, StoreError, StoredBatch,
    record::Record,
    tables::{self, Place},
};
use bytes::Bytes;
use mainstem_model::{
    BatchKey, Cursor, ReadFilter, ReadStart, SeriesKey, StreamPartition, limits::BATCH_SPAN_MS_MAX,
};
use std::collections::BTreeMap;

/// Rows looked at for one page, whatever the filter leaves out.
const ROWS_PER_PAGE_MAX: usize = 10_000;

pub(super) type PlaceResult = Result<Place, StoreError>;

impl Tables {
    /// Places of a partition in the order of history, from `first` (a whole key) on.
    pub(super) fn places(
        &self,
        at: StreamPartition,
        first: Vec<u8>,
    ) -> impl DoubleEndedIterator<Item = PlaceResult> {
        let mut last = tables::partition_key(at).to_vec();
        last.extend_from_slice(&[0xff; BatchKey::LENGTH]);
        self.history.range(first..=last).map(|row| {
            let (key, row) = guarded(|| row.into_inner())?;
            Place::read_history(&key, &row)
        })
    }

    pub(super) fn proof(&self, series: &SeriesKey) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        let key = tables::head_key(series);
        let Some(row) = guarded(|| self.proofs.get(&key))? else { return Ok(None) };
        let proof = tables::decode_proof(&key, &row)?;
        Ok(proof.map(|(first, second)| (first.into(), second.into())))
    }

    /// Reads every proof of a partition.
    pub(super) fn check_proofs(&self, at: StreamPartition) -> Result<(), StoreError> {
        self.proofs.prefix(tables::partition_key(at)).try_for_each(|row| {
            let (key, row) = guarded(|| row.into_inner())?;
            tables::decode_proof(&key, &row).map(drop)
        })
    }
}

impl DiskLog {
    /// The batch at a place; `None` when it was trimmed since the place was read.
    pub(super) fn read(
        &self,
        at: StreamPartition,
        place: &Place,
        cursor: Cursor,
    ) -> Result<Option<StoredBatch>, StoreError> {
        Ok(self.read_record(at, place)?.map(|record| StoredBatch {
            bytes: record.bytes,
            id: record.id,
            count: place.count,
            received_at: record.received_at,
            position: record.position,
            cursor,
        }))
    }

    /// What arrived last and can be read.
    pub(super) fn read_last(&self, at: StreamPartition) -> Result<Option<LastArrival>, StoreError> {
        /// Arrivals that are looked at; behind them all is damaged.
        const LOOKED_AT_MAX: usize = 64;
        let end = self.read_end(at)?;
        let range = tables::arrival_key(at, 0)..tables::arrival_key(at, end);
        let mut rows = self.tables.arrivals.range(range).rev();
        for _ in 0..LOOKED_AT_MAX {
            let Some((key, row)) = guarded(|| rows.next().map(fjall::Guard::into_inner).transpose())? else {
                break;
            };
            let read = Place::read_arrival(&key, &row).and_then(|place| self.read_record(at, &place));
            match read {
                Ok(Some(record)) => return Ok(Some(LastArrival { end, received_at: record.received_at })),
                Ok(None) | Err(StoreError::Damaged(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The row of the batch at a place; `None` when it was trimmed since the place was read.
    pub(super) fn read_record(
        &self,
        at: StreamPartition,
        place: &Place,
    ) -> Result<Option<Record>, StoreError> {
        if let Some(row) = guarded(|| self.tables.batches.get(place.number.to_be_bytes()))? {
            return Record::decode(place, row.into()).map(Some);
        }
        // The row that goes first when a batch is trimmed.
        let is_named = if place.is_past() {
            guarded(|| self.tables.history.contains_key(tables::history_key(at, &place.key)))?
        } else {
            self.tables.arrival(at, place.position)?.is_some()
        };
        if is_named {
            return Err(StoreError::Damaged("a batch that the indexes name is missing".into()));
        }
        Ok(None)
    }

    /// A cursor that leads to a batch.
    pub(super) fn cursor_of(&self, at: StreamPartition, place: &Place) -> Result<Cursor, StoreError> {
        let (log, position, key) = (self.log_id, place.position, place.key);
        Ok(if place.is_past() {
            Cursor::History { log, until: self.read_end(at)?, key, skip: 0 }
        } else {
            Cursor::Arrival { log, position, skip: 0 }
        })
    }

    pub(super) fn find_start(
        &self,
        at: StreamPartition,
        start: ReadStart,
        filter: &ReadFilter,
    ) -> Result<Cursor, StoreError> {
        let log = self.log_id;
        let until = self.read_end(at)?;
        let here = Cursor::Arrival { log, position: until, skip: 0 };
        match start {
            ReadStart::Now => Ok(here),
            ReadStart::Cursor(cursor) => self.check_cursor(cursor, until).map(|()| cursor),
            ReadStart::From => {
                let least = filter.from.saturating_sub(BATCH_SPAN_MS_MAX);
                let mut places = self.history(at, tables::history_key_from(at, least), until);
                Ok(places.next(&mut Vec::new())?.map_or(here, |place| Cursor::History {
                    log,
                    until,
                    key: place.key,
                    skip: 0,
                }))
            }
            ReadStart::Last(n) => {
                let last = self.last(at, n, filter, until)?;
                Ok(last.map_or(here, |(key, skip)| Cursor::History { log, until, key, skip }))
            }
        }
    }

    /// Where the last `n` events begin: a batch and how many of its events come before them.
    fn last(
        &self,
        at: StreamPartition,
        n: u64,
        filter: &ReadFilter,
        until: u64,
    ) -> Result<Option<(BatchKey, u16)>, StoreError> {
        let wanted = |place: &Place| {
            place.is_history(until) && filter.origin.is_none_or(|origin| origin == place.key.origin)
        };
        if let Some(origin) = filter.origin {
            let prefix = tables::origin_key(at, &origin);
            let known =
                guarded(|| self.tables.series.prefix(prefix).next().map(fjall::Guard::key).transpose());
            // An origin that never wrote here must not cost a walk through all of history.
            if matches!(known, Ok(None)) {
                return Ok(None);
            }
        }
        let (mut left, mut first) = (n, None);
        let places = self.tables.places(at, tables::history_key_from(at, i64::MIN));
        for place in places.rev().take(self.start_rows_max) {
            if left == 0 {
                return Ok(first);
            }
            let place = match place {
                Ok(place) => place,
                Err(StoreError::Damaged(_)) => return self.last_around_damage(at, n, wanted, until),
                Err(error) => return Err(error),
            };
            if wanted(&place) {
                let count = u64::from(place.count);
                // At most the batch's count, so it fits 16 bits.
                first = Some((place.key, count.saturating_sub(left) as u16));
                left = left.saturating_sub(count);
            }
        }
        Ok(first)
    }

    /// The same by a look at every arrival and at all that fills up history.
    fn last_around_damage(
        &self,
        at: StreamPartition,
        n: u64,
        wanted: impl Fn(&Place) -> bool,
        until: u64,
    ) -> Result<Option<(BatchKey, u16)>, StoreError> {
        let (mut kept, mut events) = (BTreeMap::new(), 0);
        let mut take = |place: Place| {
            if n > 0 && wanted(&place) {
                kept.insert(place.key, u64::from(place.count));
                events += u64::from(place.count);
                while let Some(least) = kept.first_entry().filter(|least| events - *least.get() >= n) {
                    events -= least.remove();
                }
            }
        };
        self.each_arrival(at, until, &mut Vec::new(), &mut take)?;
        self.each_past(at, &mut take)?;
        Ok(kept.first_key_value().map(|(key, _)| (*key, events.saturating_sub(n) as u16)))
    }

    /// A cursor of any life of this store holds up to the end, which the floor raises above every position given before.
    fn check_cursor(&self, cursor: Cursor, end: u64) -> Result<(), StoreError> {
        let (Cursor::Arrival { position, .. } | Cursor::History { until: position, .. }) = cursor;
        if cursor.log() == self.log_id && position <= end { Ok(()) } else { Err(StoreError::ForeignCursor) }
    }

    pub(super) fn read_page(
        &self,
        at: StreamPartition,
        cursor: Cursor,
        filter: &ReadFilter,
        batches_max: usize,
        bytes_max: usize,
    ) -> Result<Page, StoreError> {
        let end = self.read_end(at)?;
        self.check_cursor(cursor, end)?;
        let page = Page { batches: Vec::new(), next: cursor, at_end: false, damaged: Vec::new() };
        let mut filling = Filling { log: self, at, filter, page, bytes: 0, batches_max, bytes_max };
        match cursor {
            Cursor::History { log, until, key, skip } => {
                let mut places = self.history(at, tables::history_key(at, &key), until);
                filling.page.next = Cursor::Arrival { log, position: until, skip: 0 };
                let mut rows = 0;
                while let Some(place) = places.next(&mut filling.page.damaged)? {
                    if place.key.timestamp > filter.to {
                        break;
                    }
                    let skip = if place.key == key { skip } else { 0 };
                    let here = Cursor::History { log, until, key: place.key, skip };
                    if rows >= ROWS_PER_PAGE_MAX || filling.is_full() {
                        filling.page.next = here;
                        break;
                    }
                    rows += 1;
                    if place.is_history(until) {
                        filling.take(&place, here)?;
                    }
                }
            }
            Cursor::Arrival { log, position: first, skip } => {
                let mut arrivals = Arrivals::new(&self.tables, at, first, end);
                let mut rows = 0;
                while rows < ROWS_PER_PAGE_MAX && !filling.is_full() {
                    let Some(place) = arrivals.next(&mut filling.page.damaged)? else { break };
                    rows += 1;
                    let position = place.position;
                    let skip = if position == first { skip } else { 0 };
                    filling.take(&place, Cursor::Arrival { log, position, skip })?;
                }
                let position = arrivals.position();
                filling.page.next = Cursor::Arrival { log, position, skip: 0 };
            }
        }
        let mut page = filling.page;
        page.at_end = matches!(page.next, Cursor::Arrival { position, .. } if position >= end);
        Ok(page)
    }

    /// The places of history from `first` (a whole key) on, around damage of their index.
    pub(super) fn history(&self, at: StreamPartition, first: Vec<u8>, until: u64) -> History<'_> {
        History::new(self, at, first, until)
    }

    pub(super) fn partition_stats(&self, at: StreamPartition) -> Result<PartitionStats, StoreError> {
        let totals = match self.tables.totals(at) {
            Err(StoreError::Damaged(_)) => self.recount(at)?,
            other => other?,
        };
        let mut places = self.tables.places(at, tables::history_key_from(at, i64::MIN));
        let first = places.next().transpose()?.map(|place| place.key.timestamp);
        let last = places.next_back().transpose()?.map(|place| place.key.timestamp).or(first);
        Ok(PartitionStats {
            end: totals.end.max(self.floor),
            batches: totals.batches,
            events: totals.events,
            bytes: totals.bytes,
            first_timestamp: first,
            last_timestamp: last,
        })
    }
}

/// An error of one batch as a stretch of damage; other errors stay what they are.
pub(super) fn damaged(
    at: StreamPartition,
    position: u64,
    place: Option<&Place>,
    error: StoreError,
) -> Result<DamagedRange, StoreError> {
    let StoreError::Damaged(why) = error else { return Err(error) };
    tracing::warn!(%at, position, %why, "a batch is damaged");
    let batch = place.map(|place| (place.key, place.id));
    // Saturating: it is empty for what has no position.
    Ok(DamagedRange { at, positions: position..position.saturating_add(1), batch, why })
}

/// A page on its way.
struct Filling<'a> {
    log: &'a DiskLog,
    at: StreamPartition,
    filter: &'a ReadFilter,
    page: Page,
    bytes: usize,
    batches_max: usize,
    bytes_max: usize,
}

impl Filling<'_> {
    fn is_full(&self) -> bool {
        !self.page.batches.is_empty()
            && (self.bytes >= self.bytes_max || self.page.batches.len() >= self.batches_max)
    }

    /// Reads a batch into the page, if anything of it is wanted.
    fn take(&mut self, place: &Place, cursor: Cursor) -> Result<(), StoreError> {
        let wanted = self.filter.origin.is_none_or(|origin| origin == place.key.origin)
            && place.timestamp_max >= self.filter.from
            && place.key.timestamp <= self.filter.to
            && cursor.skip() < place.count;
        if !wanted {
            return Ok(());
        }
        match self.log.read(self.at, place, cursor) {
            Ok(Some(batch)) => {
                self.bytes += batch.bytes.len();
                self.page.batches.push(batch);
            }
            Ok(None) => {}
            Err(error) => self.page.damaged.push(damaged(self.at, place.position, Some(place), error)?),
        }
        Ok(())
    }
}
