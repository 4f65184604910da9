//! Storage scheme `segments`: records in compressed segment files that are only appended to, in the plugin's own folder.
//!
//! A file `<first place>.seg` holds frames, each of which holds records that were appended together. Beside it `<first place>.gone` names
//! those of its records that were trimmed. A segment of which nothing is left is deleted; one of which less than half is left is written anew.

mod frame;
mod gone;
mod places;
mod segment;

use frame::{Content, FRAME_BYTES};
use mainstem_plugin_sdk::{
    Failure, Files, Host, KeptRecord, Page, Parameters, Query, Record, Records, Storage,
};
use segment::{Segment, file_name, gone_name};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a segment at most: one is written anew in one request, which has room for 4 MiB.
const SEGMENT_BYTES_MAX: u64 = 3 << 20;

/// Bytes of values that are unpacked for one query, unless one frame has more: a call must be over before its deadline.
const QUERY_BYTES: usize = 8 << 20;

/// All segments.
#[derive(Debug)]
pub struct Segments {
    segment_bytes: u64,
    /// By the first place of each.
    segments: BTreeMap<u64, Segment>,
    /// Names of files that were written since the last sync.
    unsynced: BTreeSet<String>,
    /// What was trimmed of segments that are deleted. It goes when nothing can bring those back.
    orphans: BTreeSet<String>,
    /// First places of segments that are to be written anew.
    sparse: BTreeSet<u64>,
    /// The frame that was read last, with its segment and its offset.
    cached: Option<(u64, u32, Content)>,
}

impl Storage for Segments {
    fn start(host: &Host<'_>, parameters: &Parameters<'_>) -> Result<Self, Failure> {
        let given = parameters.int64("segment_bytes")?;
        let segment_bytes = u64::try_from(given).ok().filter(|bytes| (1..=SEGMENT_BYTES_MAX).contains(bytes));
        let segment_bytes = segment_bytes.ok_or_else(|| {
            Failure::invalid(format!(
                "the parameter segment_bytes is {given}; it must be 1 to {SEGMENT_BYTES_MAX}, such as {SEGMENT_BYTES_MAX}"
            ))
        })?;
        let files = host.files();
        let (mut segments, mut gone) = (BTreeMap::new(), BTreeSet::new());
        for (name, size) in files.list()? {
            match segment::read_name(&name) {
                Some((first, ".seg")) => _ = segments.insert(first, Segment::new(first, size)),
                Some((first, _)) => _ = gone.insert(first),
                None => {}
            }
        }
        let (gone, orphans): (BTreeSet<_>, BTreeSet<_>) =
            gone.into_iter().partition(|first| segments.contains_key(first));
        // IMPORTANT: what was written in an earlier life and not synced then is to be synced with what comes, and names that went too.
        let last = segments.last_key_value().map(|(first, _)| file_name(*first));
        let unsynced =
            gone.into_iter().map(gone_name).chain(last).chain(orphans.iter().map(|first| file_name(*first)));
        let unsynced = unsynced.collect();
        let orphans = orphans.into_iter().map(gone_name).collect();
        let mut all =
            Self { segment_bytes, segments, unsynced, orphans, sparse: BTreeSet::new(), cached: None };
        all.cut_torn_tail(&files)?;
        Ok(all)
    }

    fn append(&mut self, host: &Host<'_>, records: &[Record<'_>]) -> Result<(), Failure> {
        let files = host.files();
        let (Some(first), last) = (records.first(), self.last_place(&files)?) else { return Ok(()) };
        if last.is_some_and(|last| first.place <= last) {
            let fault = format!("place {} is not behind the last one that is kept, {last:?}", first.place);
            return Err(Failure::invalid(fault));
        }
        let mut rest = records;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fit = rest.iter().take_while(|record| {
                bytes += record.value.len();
                bytes <= FRAME_BYTES
            });
            // One goes alone, however long it is.
            let (now, later) = rest.split_at(fit.count().max(1));
            self.append_frame(&files, now)?;
            rest = later;
        }
        Ok(())
    }

    fn sync(&mut self, host: &Host<'_>) -> Result<(), Failure> {
        let files = host.files();
        while let Some(name) = self.unsynced.first().cloned() {
            files.sync(&name)?;
            self.unsynced.remove(&name);
        }
        while let Some(name) = self.orphans.pop_first() {
            files.delete(&name)?;
        }
        self.rewrite_one(&files)
    }

    fn query(&mut self, host: &Host<'_>, query: &Query) -> Result<Records, Failure> {
        let (files, mut reading) = (host.files(), Reading { page: Page::new(*query), unpacked: 0 });
        let first = self.segments.range(..=query.from).next_back().map_or(query.from, |(first, _)| *first);
        let firsts: Vec<_> =
            self.segments.range(first..query.until.max(first)).map(|(first, _)| *first).collect();
        for first in firsts {
            let Some(segment) = self.segments.get_mut(&first) else { continue };
            segment.load(&files)?;
            if segment.is_sparse() {
                self.sparse.insert(first);
            }
            for index in segment.indices_from(query.from) {
                if !self.query_frame(&files, first, index, query, &mut reading)? {
                    return Ok(reading.page.into_records());
                }
            }
        }
        Ok(reading.page.into_records())
    }

    fn fetch(&mut self, host: &Host<'_>, places: &[u64]) -> Result<Records, Failure> {
        let (files, mut found) = (host.files(), Records::default());
        for place in places {
            let Some((first, segment)) = self.segments.range_mut(..=place).next_back() else { continue };
            segment.load(&files)?;
            let first = *first;
            let Some(index) = segment.frame_of(*place) else { continue };
            match self.content(&files, first, index)?.and_then(|content| content.record(*place)) {
                Some((timestamp, value)) => {
                    found.records.push(KeptRecord { place: *place, timestamp, value: value.to_vec() });
                }
                None => found.damaged.push(*place),
            }
        }
        Ok(found)
    }

    fn trim(&mut self, host: &Host<'_>, places: &[u64]) -> Result<(), Failure> {
        let files = host.files();
        let mut by_segment: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for place in places {
            if let Some((first, _)) = self.segments.range(..=place).next_back() {
                by_segment.entry(*first).or_default().push(*place);
            }
        }
        for (first, places) in by_segment {
            let Some(segment) = self.segments.get_mut(&first) else { continue };
            segment.load(&files)?;
            if segment.trim(&files, &places)? {
                self.unsynced.insert(gone_name(first));
            }
            let (is_empty, is_sparse) = (segment.is_empty(), segment.is_sparse());
            // IMPORTANT: never the last one, as the one before it would be appended to, and a power failure could bring it back.
            let is_last = self.segments.last_key_value().is_some_and(|(last, _)| *last == first);
            if is_empty && !is_last {
                self.delete(&files, first)?;
            } else if is_sparse {
                self.sparse.insert(first);
            }
        }
        self.rewrite_one(&files)
    }
}

impl Segments {
    /// Takes away what a write left that was cut short. It can be in the last segment alone, as each is synced before the next is begun.
    fn cut_torn_tail(&mut self, files: &Files<'_>) -> Result<(), Failure> {
        let Some((first, segment)) = self.segments.iter_mut().next_back() else { return Ok(()) };
        let first = *first;
        if segment.cut_torn_tail(files)? {
            self.unsynced.insert(file_name(first));
        }
        if segment.size == 0 {
            self.delete(files, first)?;
        }
        Ok(())
    }

    fn last_place(&mut self, files: &Files<'_>) -> Result<Option<u64>, Failure> {
        let Some((_, segment)) = self.segments.iter_mut().next_back() else { return Ok(None) };
        segment.load(files)?;
        Ok(segment.last_place())
    }

    fn append_frame(&mut self, files: &Files<'_>, records: &[Record<'_>]) -> Result<(), Failure> {
        let Some(first) = records.first().map(|record| record.place) else { return Ok(()) };
        let frame = frame::encode(records);
        let full =
            |segment: &Segment| segment.size > 0 && segment.size + frame.len() as u64 > self.segment_bytes;
        let at = match self.segments.last_key_value() {
            Some((at, segment)) if !full(segment) => *at,
            Some((at, segment)) => {
                let (at, is_empty) = (*at, segment.is_empty());
                // IMPORTANT: only the last segment may have an end that is torn.
                files.sync(&file_name(at))?;
                self.unsynced.remove(&file_name(at));
                if is_empty {
                    self.delete(files, at)?;
                }
                first
            }
            None => first,
        };
        let segment = self.segments.entry(at).or_insert_with(|| Segment::begin(at));
        segment.append(files, &frame, records)?;
        self.unsynced.insert(file_name(at));
        Ok(())
    }

    /// Adds what is wanted of a frame to a page; false if there is no room for more.
    fn query_frame(
        &mut self,
        files: &Files<'_>,
        first: u64,
        index: usize,
        query: &Query,
        reading: &mut Reading,
    ) -> Result<bool, Failure> {
        let Some(segment) = self.segments.get(&first) else { return Ok(true) };
        let places = segment.places_left(index);
        let (from, until) = (query.from, query.until);
        let wanted: Vec<_> = places.filter(|place| (from..until).contains(place)).collect();
        if wanted.is_empty() {
            return Ok(true);
        }
        if let Some(place) =
            wanted.first().filter(|_| reading.unpacked >= QUERY_BYTES && reading.page.count() > 0)
        {
            reading.page.end_at(*place);
            return Ok(false);
        }
        let content = self.content(files, first, index)?;
        reading.unpacked += content.map_or(0, Content::length);
        Ok(wanted
            .into_iter()
            .all(|place| reading.page.take(place, content.and_then(|content| content.record(place)))))
    }

    /// What a frame holds; nothing if it cannot be read.
    fn content(&mut self, files: &Files<'_>, first: u64, index: usize) -> Result<Option<&Content>, Failure> {
        let Some(frame) = self.segments.get(&first).and_then(|segment| segment.frame(index)) else {
            return Ok(None);
        };
        let key = (first, frame.offset);
        if self.cached.as_ref().is_none_or(|(segment, offset, _)| (*segment, *offset) != key) {
            self.cached = None;
            let bytes = files.read(&file_name(first), frame.offset.into(), frame.length as usize)?;
            self.cached = frame::decode(&bytes).map(|content| (key.0, key.1, content));
        }
        Ok(self.cached.as_ref().map(|(_, _, content)| content))
    }

    fn delete(&mut self, files: &Files<'_>, first: u64) -> Result<(), Failure> {
        files.delete(&file_name(first))?;
        self.segments.remove(&first);
        self.cached = None;
        self.unsynced.remove(&gone_name(first));
        // Its name must be gone for good before what was trimmed of it goes.
        self.unsynced.insert(file_name(first));
        self.orphans.insert(gone_name(first));
        Ok(())
    }

    /// Writes a segment anew, with what is left of it: one at most, so that the call is over in time.
    fn rewrite_one(&mut self, files: &Files<'_>) -> Result<(), Failure> {
        let Some(first) = self.sparse.pop_first() else { return Ok(()) };
        self.cached = None;
        let Some(segment) = self.segments.get_mut(&first) else { return Ok(()) };
        segment.rewrite(files)?;
        for name in [file_name(first), gone_name(first)] {
            self.unsynced.remove(&name);
        }
        Ok(())
    }
}

/// A page, and what it took.
#[derive(Debug)]
struct Reading {
    page: Page,
    /// Bytes of values that were unpacked for it.
    unpacked: usize,
}

mainstem_plugin_sdk::storage!(Segments);
