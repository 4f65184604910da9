//! Reading by series: one batch by any of its events, or a run of them.

use super::{DiskLog, Tables, guarded, read::PlaceResult};
use crate::{
    SeriesPage, SeriesStart, StoreError, StoredBatch,
    tables::{self, Place},
};
use mainstem_model::SeriesKey;
use std::ops::Range;

impl Tables {
    /// The place of the batch that holds event `sequence`.
    pub(super) fn place_of(&self, series: &SeriesKey, sequence: u64) -> Result<Option<Place>, StoreError> {
        let range = tables::series_key(series, 0)..=tables::series_key(series, sequence);
        let row = guarded(|| self.series.range(range).next_back().map(fjall::Guard::into_inner).transpose())?;
        let Some((key, row)) = row else { return Ok(None) };
        let place = Place::read_series(&key, &row)?;
        Ok((sequence < place.next_sequence()).then_some(place))
    }

    /// The places of a series whose first sequence lies in `range`.
    fn places_of(
        &self,
        series: &SeriesKey,
        range: Range<u64>,
    ) -> impl DoubleEndedIterator<Item = PlaceResult> {
        let (first, last) = (range.start, range.end.max(range.start));
        let range = tables::series_key(series, first)..tables::series_key(series, last);
        self.series.range(range).map(|row| {
            let (key, row) = guarded(|| row.into_inner())?;
            Place::read_series(&key, &row)
        })
    }

    /// The first sequence of a series that is kept.
    fn first_sequence(&self, series: &SeriesKey) -> Result<Option<u64>, StoreError> {
        let prefix = tables::head_key(series);
        let key = guarded(|| self.series.prefix(prefix).next().map(fjall::Guard::key).transpose())?;
        Ok(key.and_then(|key| key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))))
    }
}

impl DiskLog {
    pub(super) fn find_in_series(
        &self,
        series: &SeriesKey,
        sequence: u64,
    ) -> Result<Option<StoredBatch>, StoreError> {
        let Some(place) = self.tables.place_of(series, sequence)? else { return Ok(None) };
        let at = series.stream_partition;
        self.read(at, &place, self.cursor_of(at, &place)?)
    }

    pub(super) fn read_series(
        &self,
        series: &SeriesKey,
        from: SeriesStart,
        until: u64,
        batches_max: usize,
        bytes_max: usize,
    ) -> Result<SeriesPage, StoreError> {
        let base = match self.tables.first_sequence(series)? {
            Some(base) => base,
            None => self.read_head(series)?.map_or(0, |head| head.next_sequence),
        };
        let mut page = SeriesPage { batches: Vec::new(), base, more: false };
        let first = match from {
            SeriesStart::Sequence(sequence) => {
                let place = self.tables.place_of(series, sequence)?;
                Some(place.map_or(sequence, |place| place.key.sequence))
            }
            SeriesStart::ReceivedAt(time) => self.first_since(series, time, until)?,
        };
        let Some(first) = first else { return Ok(page) };
        let (mut bytes, mut next) = (0, None);
        for place in self.tables.places_of(series, first..until) {
            let is_full = bytes >= bytes_max || page.batches.len() >= batches_max;
            let here = place.as_ref().ok().map(|place| place.key.sequence);
            if next.is_some() && (is_full || here != next) {
                page.more = true;
                break;
            }
            let read =
                place.and_then(|place| Ok((place, self.read_record(series.stream_partition, &place)?)));
            match read {
                Ok((place, Some(record))) => {
                    bytes += record.bytes.len();
                    page.batches.push(record.bytes);
                    next = Some(place.next_sequence());
                }
                // Trimmed meanwhile, or damaged: a hole from here on.
                Ok((_, None)) | Err(StoreError::Damaged(_)) if next.is_some() => {
                    page.more = true;
                    break;
                }
                Ok((_, None)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(page)
    }

    /// The first sequence of what came at `time` or later, as far as is looked.
    fn first_since(&self, series: &SeriesKey, time: i64, until: u64) -> Result<Option<u64>, StoreError> {
        let mut first = None;
        for place in self.tables.places_of(series, 0..until).rev().take(self.since_rows_max) {
            let read =
                place.and_then(|place| Ok((place, self.read_record(series.stream_partition, &place)?)));
            match read {
                Ok((place, Some(record))) if record.received_at >= time => first = Some(place.key.sequence),
                Ok(_) => break,
                // What lies behind it is whole, and that is where it begins.
                Err(StoreError::Damaged(_)) if first.is_some() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(first)
    }
}
