//! Reading: history by the index of times, what came since by arrival number.

use super::{DiskLog, damaged};
use crate::{
    Page, PartitionStats, StoreError, StoredBatch, Verified,
    record::Record,
    tables::{self, TimeRow},
};
use bytes::Bytes;
use mainstem_model::{
    BatchKey, Cursor, ReadFilter, ReadStart, SeriesKey, StreamPartition, limits::BATCH_SPAN_MS_MAX,
};

/// Rows looked at for one page, whatever the filter leaves out.
const ROWS_PER_PAGE_MAX: usize = 10_000;

impl DiskLog {
    pub(super) fn find_in_series(
        &self,
        series: &SeriesKey,
        sequence: u64,
    ) -> Result<Option<StoredBatch>, StoreError> {
        let range = tables::series_key(series, 0)..=tables::series_key(series, sequence);
        let Some(row) = self.series.range(range).next_back() else { return Ok(None) };
        let (key, row) = row.into_inner().map_err(damaged)?;
        let (position, _) = tables::decode_place(&key, &row)?;
        let at = series.stream_partition;
        let cursor = Cursor::Arrival { log: self.log_id, position, skip: 0 };
        let Some(batch) = self.read(at, position, cursor)? else { return Ok(None) };
        let first = key.last_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        Ok((sequence < first + u64::from(batch.count)).then_some(batch))
    }

    /// One batch by its arrival number; `None` when it is not kept any more.
    fn read(
        &self,
        at: StreamPartition,
        position: u64,
        cursor: Cursor,
    ) -> Result<Option<StoredBatch>, StoreError> {
        let key = tables::batch_key(at, position);
        let Some(row) = self.batches.get(&key).map_err(damaged)? else { return Ok(None) };
        let record = Record::decode(&key, row.into())?;
        Ok(Some(StoredBatch {
            bytes: record.bytes,
            id: record.id,
            count: record.count,
            received_at: record.received_at,
            position,
            cursor,
        }))
    }

    pub(super) fn find_start(
        &self,
        at: StreamPartition,
        start: ReadStart,
        filter: &ReadFilter,
    ) -> Result<Cursor, StoreError> {
        let log = self.log_id;
        let until = self.end(at)?;
        let here = Cursor::Arrival { log, position: until, skip: 0 };
        match start {
            ReadStart::Now => Ok(here),
            ReadStart::Cursor(cursor) => self.check_cursor(cursor, until).map(|()| cursor),
            ReadStart::From => {
                let least = filter.from.saturating_sub(BATCH_SPAN_MS_MAX);
                let first = self.times_from(at, &first_key(at, least)).next();
                match first.transpose()? {
                    Some((key, _)) => Ok(Cursor::History { log, until, key, skip: 0 }),
                    None => Ok(here),
                }
            }
            ReadStart::Last(n) => {
                let (mut left, mut cursor) = (n, here);
                let range = tables::partition_key(at);
                for row in self.times.prefix(range).rev() {
                    if left == 0 {
                        break;
                    }
                    let (key, row) = read_time(row)?;
                    if row.position >= until || filter.origin.is_some_and(|origin| origin != key.origin) {
                        continue;
                    }
                    let count = u64::from(row.count);
                    // At most the batch's count, so it fits 16 bits.
                    cursor = Cursor::History { log, until, key, skip: count.saturating_sub(left) as u16 };
                    left = left.saturating_sub(count);
                }
                Ok(cursor)
            }
        }
    }

    fn check_cursor(&self, cursor: Cursor, end: u64) -> Result<(), StoreError> {
        let (Cursor::Arrival { position, .. } | Cursor::History { until: position, .. }) = cursor;
        if cursor.log() == self.log_id && position <= end { Ok(()) } else { Err(StoreError::ForeignCursor) }
    }

    /// Rows of `times` of a partition from `first` (a whole key) on.
    fn times_from(
        &self,
        at: StreamPartition,
        first: &[u8],
    ) -> impl Iterator<Item = Result<(BatchKey, TimeRow), StoreError>> {
        let mut last = tables::partition_key(at).to_vec();
        last.extend_from_slice(&[0xff; BatchKey::LENGTH]);
        self.times.range(first.to_vec()..=last).map(read_time)
    }

    pub(super) fn read_page(
        &self,
        at: StreamPartition,
        cursor: Cursor,
        filter: &ReadFilter,
        batches_max: usize,
        bytes_max: usize,
    ) -> Result<Page, StoreError> {
        let end = self.end(at)?;
        self.check_cursor(cursor, end)?;
        let mut page =
            Filling { page: Page { batches: Vec::new(), next: cursor, at_end: false, damaged: 0 }, bytes: 0 };
        let full = |page: &Filling| {
            !page.page.batches.is_empty()
                && (page.bytes >= bytes_max || page.page.batches.len() >= batches_max)
        };
        match cursor {
            Cursor::History { log, until, key, skip } => {
                page.page.next = Cursor::Arrival { log, position: until, skip: 0 };
                for (n, row) in self.times_from(at, &tables::time_key(at, &key)).enumerate() {
                    let (found, row) = row?;
                    if found.timestamp > filter.to {
                        break;
                    }
                    let skip = if found == key { skip } else { 0 };
                    let here = Cursor::History { log, until, key: found, skip };
                    if n >= ROWS_PER_PAGE_MAX || full(&page) {
                        page.page.next = here;
                        break;
                    }
                    let wanted = row.position < until
                        && row.timestamp_max >= filter.from
                        && filter.origin.is_none_or(|origin| origin == found.origin)
                        && skip < row.count;
                    if wanted {
                        page.take(self.read(at, row.position, here), Some(&row));
                    }
                }
            }
            Cursor::Arrival { log, mut position, skip } => {
                let first = position;
                while position < end && position - first < ROWS_PER_PAGE_MAX as u64 && !full(&page) {
                    let skip = if position == first { skip } else { 0 };
                    let here = Cursor::Arrival { log, position, skip };
                    page.take_wanted(self.read(at, position, here), filter, skip);
                    position += 1;
                }
                page.page.next = Cursor::Arrival { log, position, skip: 0 };
            }
        }
        page.page.at_end = matches!(page.page.next, Cursor::Arrival { position, .. } if position >= end);
        Ok(page.page)
    }

    pub(super) fn read_proofs(&self, at: StreamPartition) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let rows = self.proofs.prefix(tables::partition_key(at));
        rows.map(|row| {
            let (key, row) = row.into_inner().map_err(damaged)?;
            tables::decode_proof(&key, &row).map(|(first, second)| (first.into(), second.into()))
        })
        .collect()
    }

    pub(super) fn list_partitions(&self) -> Result<Vec<StreamPartition>, StoreError> {
        self.partitions
            .iter()
            .map(|row| {
                let key = row.key().map_err(damaged)?;
                tables::read_partition_key(&key)
                    .ok_or_else(|| StoreError::Damaged("a key of table partitions is no partition".into()))
            })
            .collect()
    }

    pub(super) fn partition_stats(&self, at: StreamPartition) -> Result<PartitionStats, StoreError> {
        let mut rows = self.times.prefix(tables::partition_key(at));
        let timestamp = |row: Option<fjall::Guard>| -> Result<_, StoreError> {
            Ok(row.map(read_time).transpose()?.map(|(key, _)| key.timestamp))
        };
        let first_timestamp = timestamp(rows.next())?;
        let last_timestamp = timestamp(rows.next_back())?.or(first_timestamp);
        Ok(PartitionStats { end: self.end(at)?, first_timestamp, last_timestamp })
    }

    pub(super) fn verify_all(&self, progress: &mut dyn FnMut(&Verified)) -> Result<Verified, StoreError> {
        let mut verified = Verified::default();
        for at in self.list_partitions()? {
            for position in 0..self.end(at)? {
                let cursor = Cursor::Arrival { log: self.log_id, position, skip: 0 };
                match self.read(at, position, cursor) {
                    Ok(Some(batch)) => {
                        verified.batches += 1;
                        verified.bytes += batch.bytes.len() as u64;
                    }
                    Ok(None) => {}
                    Err(_) => verified.damaged.push((at, position)),
                }
                progress(&verified);
            }
        }
        Ok(verified)
    }
}

/// A page on its way.
struct Filling {
    page: Page,
    bytes: usize,
}

impl Filling {
    /// Takes what was read; what cannot be read, or is not the batch that the index speaks of, is counted as damaged.
    fn take(&mut self, read: Result<Option<StoredBatch>, StoreError>, index: Option<&TimeRow>) {
        match read {
            Ok(Some(batch)) if index.is_none_or(|row| row.id == batch.id) => {
                self.bytes += batch.bytes.len();
                self.page.batches.push(batch);
            }
            // Trimmed between the look at the index and the read.
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => self.page.damaged += 1,
        }
    }

    /// The same for a batch that no index has spoken of: the filter is held against the batch itself.
    fn take_wanted(&mut self, read: Result<Option<StoredBatch>, StoreError>, filter: &ReadFilter, skip: u16) {
        if let Ok(Some(batch)) = &read {
            let header = mainstem_model::Batch::peek_header(&batch.bytes);
            if skip >= batch.count || header.is_ok_and(|header| !filter.wants(&header)) {
                return;
            }
        }
        self.take(read, None);
    }
}

fn first_key(at: StreamPartition, timestamp: i64) -> Vec<u8> {
    let sortable = ((timestamp as u64) ^ (1 << 63)).to_be_bytes();
    let mut key = tables::partition_key(at).to_vec();
    key.extend_from_slice(&sortable);
    key.extend_from_slice(&[0; BatchKey::LENGTH - 8]);
    key
}

fn read_time(row: fjall::Guard) -> Result<(BatchKey, TimeRow), StoreError> {
    let (key, row) = row.into_inner().map_err(damaged)?;
    let time = tables::read_time_key(&key)
        .ok_or_else(|| StoreError::Damaged("a key of table times is no place in history".into()))?;
    Ok((time, TimeRow::decode(&key, &row)?))
}
