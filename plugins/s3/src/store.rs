//! A node's records in a bucket: what is known of its objects, and what a node asks of them.

mod read;
mod shelved;
mod tidy;
mod trim;

use crate::{Bucket, Credentials, Endpoint, Kept, Object, Stem, cache::Cache, shelf::Shelf};
use mainstem_plugin_sdk::{Failure, Host, KeptRecord, Page, Parameters, Query, Record, Records, Storage};
use shelved::{Looked, Shelved};
use std::collections::BTreeMap;
use tidy::Tidying;

/// Bytes of an object that is read whole whatever is wanted of it: it takes one request either way.
const SMALL_BYTES: u64 = 32 << 10;

/// Bytes of objects that are kept in memory: what is published is read at once, and history a few records at a time.
const CACHE_BYTES: usize = 8 << 20;

/// Entries of indices that are kept in memory, 40 bytes each. Over that those of the oldest objects are dropped, and read again when they are wanted.
const ENTRIES_MAX: usize = 1 << 18;

/// Objects that are looked at for one query, whether anything is found in them or not: a call must be over in time.
const OBJECTS_READ_MAX: usize = 64;

/// Times that `tries` may be.
const TRIES_MAX: u32 = 10;

/// What `objects_max` may be. All of them, and as many lists of what was trimmed of them, are listed in one call, which has fuel and memory for
/// that (`node/store/tests/suite/buckets.rs`).
const OBJECTS_MAX: u32 = 150_000;

/// At a start there may be some more of either: what a tidying that was broken off left, and what was trimmed at the bound.
const LISTED_MAX: usize = OBJECTS_MAX as usize + 10_000;

/// Steps of tidying up in a call of `sync`, with a request or two each: as long the next append waits. For each note that is not worked off it
/// is as many more, up to `ROOM_STEPS`, so that there are seldom so many notes that a trim has to wait.
const SYNC_STEPS: usize = 6;

/// The same of an append that has no room: it waits for that. No call of `sync` takes more.
const ROOM_STEPS: usize = 64;

/// A node's records in a bucket.
#[derive(Debug)]
pub struct S3 {
    shelf: Shelf,
    /// By the first place of each. A record that is in two of them counts in the one that begins later.
    objects: BTreeMap<u64, Shelved>,
    /// At which appends are refused.
    objects_max: usize,
    /// Entries of all indices that are in memory.
    entries: usize,
    /// The last place that was appended, as far as it is known.
    last: Option<u64>,
    /// Those that were read or written last, whole.
    whole: Cache,
    tidying: Tidying,
}

impl Storage for S3 {
    fn start(host: &Host<'_>, parameters: &Parameters<'_>) -> Result<Self, Failure> {
        let text = |name| parameters.text(name).map(str::to_owned);
        let tries = number(parameters, "tries", 1..=TRIES_MAX, 3)?;
        let objects_max = number(parameters, "objects_max", 100..=OBJECTS_MAX, 100_000)? as usize;
        let credentials = Credentials {
            access_key: text("access_key")?,
            secret_key: text("secret_key")?,
            session_token: Some(text("session_token")?).filter(|token| token != "none"),
        };
        let endpoint = Endpoint::new(parameters.text("endpoint")?)?;
        let bucket =
            Bucket::new(endpoint, parameters.text("bucket")?, parameters.text("region")?, credentials)?;
        let shelf = Shelf::new(bucket.with_tries(tries), parameters.text("prefix")?)?;
        let found = shelf.list(host, LISTED_MAX)?;
        let notes = found.notes.clone();
        let (objects, leftovers) = shelved::sorted_out(found);
        let mut tidying = Tidying::new(leftovers);
        for (number, size) in notes {
            let places = shelf.note(host, number, size)?;
            tidying.found_note(number, places);
        }
        let whole = Cache::new(CACHE_BYTES);
        let mut all = Self { shelf, objects, objects_max, entries: 0, last: None, whole, tidying };
        if let Some((first, stem)) = all.objects.last_key_value().map(|(first, it)| (*first, it.stem)) {
            let last = match all.look(host, first)? {
                Looked::Read(loaded) => loaded.index.entries().last().map(|entry| entry.place),
                Looked::Absent | Looked::Damaged(_) => None,
            };
            all.last = last.max(Some(stem.end()));
        }
        Ok(all)
    }

    /// One object: a node never appends more at once than one has room for. What is there already, to the byte, was asked for before and is
    /// kept: after `unavailable` the same is asked again, perhaps of another instance.
    fn append(&mut self, host: &Host<'_>, records: &[Record<'_>]) -> Result<(), Failure> {
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(()) };
        let (stem, last) = (Stem::of(first.place), last.place);
        let is_there = self.objects.get(&stem.first).is_some_and(|it| it.stem == stem);
        if let Some(kept) = self.last.filter(|kept| stem.first <= *kept && !is_there) {
            return Err(Failure::invalid(format!(
                "place {} is not behind the last one that is kept, {kept}: another node may have written behind the prefix {}; give each a \
                 prefix of its own",
                stem.first,
                self.shelf.prefix()
            )));
        }
        let kept: Vec<_> = records
            .iter()
            .map(|record| Kept { place: record.place, timestamp: record.timestamp, value: record.value })
            .collect();
        let bytes = encode(&kept)?;
        if !is_there {
            self.make_room(host)?;
            self.delete_left_gone(host, stem)?;
        }
        self.shelf.put_new(host, stem, &bytes)?;
        self.last = self.last.max(Some(last));
        if is_there { Ok(()) } else { self.written(host, stem, bytes) }
    }

    /// What was appended and trimmed is on the server already; here is time to tidy up. That it fails is told in the log alone, and tried again.
    fn sync(&mut self, host: &Host<'_>) -> Result<(), Failure> {
        let steps = SYNC_STEPS * (1 + self.tidying.notes());
        self.tidy(host, steps.min(ROOM_STEPS));
        Ok(())
    }

    fn query(&mut self, host: &Host<'_>, query: &Query) -> Result<Records, Failure> {
        let mut page = Page::new(*query);
        if query.from >= query.until {
            return Ok(page.into_records());
        }
        let begin = self.first_of(query.from).unwrap_or(query.from);
        let next = |all: &Self, from| all.objects.range(from..query.until).next().map(|(first, _)| *first);
        let (mut at, mut count) = (next(self, begin), 0);
        while let Some(first) = at {
            if count >= OBJECTS_READ_MAX {
                page.end_at(first);
                break;
            }
            if !self.query_object(host, first, query, &mut page)? {
                break;
            }
            count += 1;
            // Below `until`.
            at = next(self, first + 1);
        }
        Ok(page.into_records())
    }

    fn fetch(&mut self, host: &Host<'_>, places: &[u64]) -> Result<Records, Failure> {
        let mut found = Records::default();
        for (at, place) in places.iter().enumerate() {
            let Some(first) = self.first_of(*place) else { continue };
            let loaded = match self.look(host, first)? {
                Looked::Read(loaded) => loaded,
                Looked::Damaged(gone) => {
                    found.damaged.extend(Some(*place).filter(|place| !gone.contains(place)));
                    continue;
                }
                Looked::Absent => continue,
            };
            let Some(entry) = loaded.entry(*place) else { continue };
            let is_next_here =
                places.get(at + 1).is_some_and(|next| loaded.entry(*next).is_some() && next != place);
            match self.value(host, first, &entry, is_next_here)? {
                Some(value) => {
                    found.records.push(KeptRecord { place: *place, timestamp: entry.timestamp, value });
                }
                None => found.damaged.push(*place),
            }
        }
        Ok(found)
    }

    fn trim(&mut self, host: &Host<'_>, places: &[u64]) -> Result<(), Failure> {
        self.trim_places(host, places)
    }
}

impl S3 {
    /// The object that a record of this place is in, if it is in one.
    fn first_of(&self, place: u64) -> Option<u64> {
        self.objects.range(..=place).next_back().map(|(first, _)| *first)
    }

    /// Tidies up if there are as many objects as there may be.
    ///
    /// # Errors
    /// `limit` if that has made no room; what has kept it from that.
    fn make_room(&mut self, host: &Host<'_>) -> Result<(), Failure> {
        if self.records_objects() >= self.objects_max {
            self.tidy_now(host, ROOM_STEPS)?;
        }
        if self.records_objects() >= self.objects_max {
            return Err(Failure::limit(format!(
                "the prefix {} has {} objects, and objects_max is {}: raise that, up to {OBJECTS_MAX}, and let the node keep less history",
                self.shelf.prefix(),
                self.records_objects(),
                self.objects_max
            )));
        }
        Ok(())
    }

    /// Objects with records, also those that are only to be deleted.
    fn records_objects(&self) -> usize {
        self.objects.len() + self.tidying.left_objects()
    }

    /// Takes over an object as it was written.
    fn written(&mut self, host: &Host<'_>, stem: Stem, bytes: Vec<u8>) -> Result<(), Failure> {
        let size = bytes.len() as u64;
        // It is read again at once by those who follow what is published.
        self.whole.insert(stem.first, bytes);
        self.objects.insert(stem.first, Shelved::new(stem, size, None));
        self.look(host, stem.first).map(drop)
    }
}

fn encode(kept: &[Kept<'_>]) -> Result<Vec<u8>, Failure> {
    Object::encode(kept).map_err(|fault| Failure::invalid(fault.to_string()))
}

/// A parameter that is a number within these bounds.
fn number(
    parameters: &Parameters<'_>,
    name: &str,
    range: core::ops::RangeInclusive<u32>,
    such_as: u32,
) -> Result<u32, Failure> {
    let given = parameters.int64(name)?;
    u32::try_from(given).ok().filter(|given| range.contains(given)).ok_or_else(|| {
        Failure::invalid(format!(
            "the parameter {name} is {given}; it must be {} to {}, such as {such_as}",
            range.start(),
            range.end()
        ))
    })
}
