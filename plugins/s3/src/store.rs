use crate::{Bucket, Credentials, Endpoint, Entry, Kept, Object, RECORDS_MAX, cache::Cache, shelf::Shelf};
use mainstem_plugin_sdk::{Failure, Host, KeptRecord, Parameters, Query, Record, Records, Storage};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of an object that is read whole whatever is wanted of it: it takes one request either way.
const SMALL_BYTES: u64 = 32 << 10;

/// Bytes of objects that are kept in memory: what is published is read at once, and history a few records at a time.
const CACHE_BYTES: usize = 8 << 20;

/// Entries of indices that are kept in memory, 40 bytes each. Over that those of the oldest objects are dropped, and read again when they are wanted.
const ENTRIES_MAX: usize = 1 << 18;

/// Objects that are read for one query, once it has found something: a call must be over in time.
const OBJECTS_READ_MAX: usize = 64;

/// Names that can be listed in a call: a page of 1,000 costs up to 5 million of its fuel of 2 billion, as long as the server answers in a
/// second.
const NAMES_MAX: usize = 400_000;

/// Times that `tries` may be.
const TRIES_MAX: i64 = 10;

/// A node's records in a bucket.
#[derive(Debug)]
pub struct S3 {
    shelf: Shelf,
    /// By the first place of each.
    objects: BTreeMap<u64, Shelved>,
    /// Entries of all indices that are in memory.
    entries: usize,
    /// The last place that was appended, as far as it is known.
    last: Option<u64>,
    /// Those that were read or written last, whole.
    whole: Cache,
    /// What was trimmed of objects that are deleted; to be deleted too.
    orphans: BTreeSet<u64>,
    /// Objects that are to be written anew.
    sparse: BTreeSet<u64>,
}

#[derive(Debug)]
struct Shelved {
    /// Its bytes at most.
    size: u64,
    /// Its bytes at least: less than `size` only while it is not known whether it was written anew.
    size_min: u64,
    has_gone: bool,
    loaded: Option<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    index: Object,
    /// Places of its records that were trimmed.
    gone: BTreeSet<u64>,
}

/// What is known of an object.
enum Looked<'a> {
    /// There is none.
    Absent,
    /// Its index cannot be read. IMPORTANT: that is never remembered, and nothing is written for it but what was trimmed: these places.
    Damaged(BTreeSet<u64>),
    Read(&'a Loaded),
}

impl Storage for S3 {
    fn start(host: &Host<'_>, parameters: &Parameters<'_>) -> Result<Self, Failure> {
        let text = |name| parameters.text(name).map(str::to_owned);
        let tries = parameters.int64("tries")?;
        let tries =
            u32::try_from(tries).ok().filter(|_| (1..=TRIES_MAX).contains(&tries)).ok_or_else(|| {
                Failure::invalid(format!(
                    "the parameter tries is {tries}; it must be 1 to {TRIES_MAX}, such as 3"
                ))
            })?;
        let credentials = Credentials {
            access_key: text("access_key")?,
            secret_key: text("secret_key")?,
            session_token: Some(text("session_token")?).filter(|token| token != "none"),
        };
        let endpoint = Endpoint::new(parameters.text("endpoint")?)?;
        let bucket =
            Bucket::new(endpoint, parameters.text("bucket")?, parameters.text("region")?, credentials)?;
        let shelf = Shelf::new(bucket.with_tries(tries), parameters.text("prefix")?)?;
        let found = shelf.list(host, NAMES_MAX)?;
        let shelved = |(first, size)| {
            let has_gone = found.gone.contains(&first);
            (first, Shelved { size, size_min: size, has_gone, loaded: None })
        };
        let objects: BTreeMap<_, _> = found.objects.into_iter().map(shelved).collect();
        let orphans = found.gone.iter().copied().filter(|first| !objects.contains_key(first)).collect();
        let whole = Cache::new(CACHE_BYTES);
        let mut all =
            Self { shelf, objects, entries: 0, last: None, whole, orphans, sparse: BTreeSet::new() };
        if let Some(first) = all.objects.last_key_value().map(|(first, _)| *first) {
            let last = match all.look(host, first)? {
                Looked::Read(loaded) => loaded.index.entries().last().map(|entry| entry.place),
                Looked::Absent | Looked::Damaged(_) => None,
            };
            all.last = Some(last.unwrap_or(first));
        }
        Ok(all)
    }

    /// One object: a node never appends more at once than one has room for. After `unavailable` the same is asked again, and written again.
    fn append(&mut self, host: &Host<'_>, records: &[Record<'_>]) -> Result<(), Failure> {
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(()) };
        let (first, last) = (first.place, last.place);
        if self.last.is_some_and(|kept| first <= kept) {
            let fault = format!("place {first} is not behind the last one that is kept, {:?}", self.last);
            return Err(Failure::invalid(fault));
        }
        let kept: Vec<_> = records
            .iter()
            .map(|record| Kept { place: record.place, timestamp: record.timestamp, value: record.value })
            .collect();
        let bytes = encode(&kept)?;
        self.shelf.put(host, first, &bytes)?;
        self.last = Some(last);
        self.written(host, first, bytes)
    }

    /// What was appended and trimmed is on the server already; here is time to tidy up.
    fn sync(&mut self, host: &Host<'_>) -> Result<(), Failure> {
        while let Some(first) = self.orphans.first().copied() {
            self.shelf.delete_gone(host, first)?;
            self.orphans.remove(&first);
        }
        self.rewrite_one(host)
    }

    fn query(&mut self, host: &Host<'_>, query: &Query) -> Result<Records, Failure> {
        let mut answer = Answer::new(*query);
        if query.from >= query.until {
            return Ok(answer.found);
        }
        let first = self.objects.range(..=query.from).next_back().map_or(query.from, |(first, _)| *first);
        let firsts: Vec<_> = self.objects.range(first..query.until).map(|(first, _)| *first).collect();
        for (count, first) in firsts.into_iter().enumerate() {
            if count >= OBJECTS_READ_MAX && answer.count() > 0 {
                answer.found.next = first;
                return Ok(answer.found);
            }
            if !self.query_object(host, first, &mut answer)? {
                return Ok(answer.found);
            }
        }
        Ok(answer.found)
    }

    fn fetch(&mut self, host: &Host<'_>, places: &[u64]) -> Result<Records, Failure> {
        let mut found = Records::default();
        for (at, place) in places.iter().enumerate() {
            let Some(first) = self.objects.range(..=place).next_back().map(|(first, _)| *first) else {
                continue;
            };
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
        let mut by_object: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for place in places {
            if let Some((first, _)) = self.objects.range(..=place).next_back() {
                by_object.entry(*first).or_default().push(*place);
            }
        }
        for (first, places) in by_object {
            self.trim_object(host, first, &places)?;
        }
        Ok(())
    }
}

impl S3 {
    /// Takes over an object as it was written.
    fn written(&mut self, host: &Host<'_>, first: u64, bytes: Vec<u8>) -> Result<(), Failure> {
        let size = bytes.len() as u64;
        // It is read again at once by those who follow what is published.
        self.whole.insert(first, bytes);
        self.objects.insert(first, Shelved { size, size_min: size, has_gone: false, loaded: None });
        self.look(host, first).map(drop)
    }

    /// An object with its index.
    fn look(&mut self, host: &Host<'_>, first: u64) -> Result<Looked<'_>, Failure> {
        let Some(shelved) = self.objects.get(&first) else { return Ok(Looked::Absent) };
        if shelved.loaded.is_none() {
            let (size, has_gone) = (shelved.size_min, shelved.has_gone);
            if shelved.is_small() {
                self.load_whole(host, first)?;
            }
            let index = match self.whole.take(first) {
                Some(bytes) => Object::decode(bytes).ok(),
                None => self.shelf.index(host, first, size)?,
            };
            let mut gone = if has_gone { self.shelf.gone(host, first)? } else { BTreeSet::new() };
            let Some(index) = index else {
                self.whole.remove(first);
                return Ok(Looked::Damaged(gone));
            };
            gone.retain(|place| index.entry(*place).is_some());
            self.entries += index.entries().len();
            if let Some(shelved) = self.objects.get_mut(&first) {
                shelved.loaded = Some(Loaded { index, gone });
            }
            self.drop_indices(first);
        }
        let loaded = self.objects.get(&first).and_then(|shelved| shelved.loaded.as_ref());
        Ok(loaded.map_or(Looked::Absent, Looked::Read))
    }

    /// Drops indices of the oldest objects, but of one not, until there are not too many.
    fn drop_indices(&mut self, but: u64) {
        if self.entries <= ENTRIES_MAX {
            return;
        }
        for (first, shelved) in &mut self.objects {
            if *first == but {
                continue;
            }
            if let Some(loaded) = shelved.loaded.take() {
                self.entries -= loaded.index.entries().len();
                if self.entries <= ENTRIES_MAX {
                    return;
                }
            }
        }
    }

    /// Adds what is wanted of an object to an answer; false if there is no room for more.
    fn query_object(&mut self, host: &Host<'_>, first: u64, answer: &mut Answer) -> Result<bool, Failure> {
        let (from, until) = (answer.query.from, answer.query.until);
        if self.objects.get(&first).is_some_and(|shelved| shelved.loaded.is_none()) && first >= from {
            // All of it is going to be wanted: one request for index and values.
            self.load_whole(host, first)?;
        }
        let loaded = match self.look(host, first)? {
            Looked::Read(loaded) => loaded,
            Looked::Damaged(gone) => {
                let is_missed = (from..until).contains(&first) && !gone.contains(&first);
                return Ok(!is_missed || answer.take(first, None));
            }
            Looked::Absent => return Ok(true),
        };
        let wanted: Vec<_> = loaded.left().filter(|entry| (from..until).contains(&entry.place)).collect();
        if loaded.is_sparse() {
            self.sparse.insert(first);
        }
        let more = wanted.len() > 1;
        for entry in wanted {
            // What has no room for the value is not to be read for it.
            if !answer.has_room(entry.length as usize) {
                answer.found.next = entry.place;
                return Ok(false);
            }
            let value = self.value(host, first, &entry, more)?;
            if !answer.take(entry.place, value.as_deref().map(|value| (entry.timestamp, value))) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A record's value; nothing if it is damaged. With `more` the whole object is read and kept, as others of it are wanted too; so is a
    /// small one.
    fn value(
        &mut self,
        host: &Host<'_>,
        first: u64,
        entry: &Entry,
        more: bool,
    ) -> Result<Option<Vec<u8>>, Failure> {
        if more || self.objects.get(&first).is_some_and(Shelved::is_small) {
            self.load_whole(host, first)?;
        }
        let value = match self.whole.take(first) {
            Some(bytes) => {
                let bytes = bytes.get(entry.offset as usize..).unwrap_or_default();
                entry.value(bytes).ok().map(<[u8]>::to_vec)
            }
            None => {
                let size = self.objects.get(&first).map_or(0, |shelved| shelved.size_min);
                let bytes = self.shelf.read(host, first, size, entry.offset, entry.length)?;
                bytes.and_then(|bytes| entry.value(&bytes).ok().map(<[u8]>::to_vec))
            }
        };
        if value.is_none() {
            // It may have been damaged on its way.
            self.whole.remove(first);
        }
        Ok(value)
    }

    fn load_whole(&mut self, host: &Host<'_>, first: u64) -> Result<(), Failure> {
        let Some(shelved) = self.objects.get(&first).filter(|_| !self.whole.has(first)) else {
            return Ok(());
        };
        // What is longer than a record was not written here; its index says so.
        let length = u32::try_from(shelved.size).unwrap_or(u32::MAX).min(WHOLE_BYTES_MAX);
        let size = shelved.size_min;
        if let Some(bytes) = self.shelf.read(host, first, size, 0, length)? {
            self.whole.insert(first, bytes);
        }
        Ok(())
    }

    fn trim_object(&mut self, host: &Host<'_>, first: u64, places: &[u64]) -> Result<(), Failure> {
        let loaded = match self.look(host, first)? {
            Looked::Read(loaded) => loaded,
            Looked::Damaged(gone) => return self.trim_damaged(host, first, gone, places),
            Looked::Absent => return Ok(()),
        };
        let there = places.iter().copied().filter(|place| loaded.entry(*place).is_some());
        let there: BTreeSet<_> = there.collect();
        if there.is_empty() {
            return Ok(());
        }
        let gone: BTreeSet<_> = loaded.gone.union(&there).copied().collect();
        let records = loaded.index.entries().len();
        if gone.len() == records {
            self.shelf.delete(host, first)?;
            let had_gone = self.objects.remove(&first).is_some_and(|shelved| shelved.has_gone);
            self.entries -= records;
            self.sparse.remove(&first);
            self.whole.remove(first);
            if had_gone {
                // IMPORTANT: behind it, so that no record comes back between the two.
                self.orphans.insert(first);
            }
            return Ok(());
        }
        self.shelf.put_gone(host, first, &gone)?;
        if let Some(shelved) = self.objects.get_mut(&first) {
            shelved.has_gone = true;
            if let Some(loaded) = &mut shelved.loaded {
                loaded.gone = gone;
                if loaded.is_sparse() {
                    self.sparse.insert(first);
                }
            }
        }
        Ok(())
    }

    /// Notes what was trimmed of an object whose index cannot be read: it may be read again, and is not deleted.
    fn trim_damaged(
        &mut self,
        host: &Host<'_>,
        first: u64,
        mut gone: BTreeSet<u64>,
        places: &[u64],
    ) -> Result<(), Failure> {
        let before = gone.len();
        gone.extend(places);
        if gone.len() == before {
            return Ok(());
        }
        if gone.len() > RECORDS_MAX {
            return Err(Failure::limit(format!(
                "the object of place {first} is damaged, and more than {RECORDS_MAX} of its places are to be trimmed: delete it from the bucket"
            )));
        }
        self.shelf.put_gone(host, first, &gone)?;
        if let Some(shelved) = self.objects.get_mut(&first) {
            shelved.has_gone = true;
        }
        Ok(())
    }

    /// Writes an object anew, with what is left of it: one at most, so that the call is over in time. One that
    /// is damaged, or of which nothing is left, stays as it is.
    fn rewrite_one(&mut self, host: &Host<'_>) -> Result<(), Failure> {
        let Some(first) = self.sparse.first().copied() else { return Ok(()) };
        if let Some(bytes) = self.left_of(host, first)? {
            // IMPORTANT: until it is known which of the two is there, nothing is known of it.
            self.unload(first, bytes.len() as u64);
            self.shelf.put(host, first, &bytes)?;
            // IMPORTANT: behind it: places that are named there and are not in the object do no harm.
            self.shelf.delete_gone(host, first)?;
            self.written(host, first, bytes)?;
        }
        self.sparse.remove(&first);
        Ok(())
    }

    /// An object of what was not trimmed of another one; nothing if that is damaged, or has nothing left.
    fn left_of(&mut self, host: &Host<'_>, first: u64) -> Result<Option<Vec<u8>>, Failure> {
        // IMPORTANT: what cannot be read is not empty.
        let Looked::Read(loaded) = self.look(host, first)? else { return Ok(None) };
        let left: Vec<_> = loaded.left().collect();
        if left.is_empty() {
            return Ok(None);
        }
        let mut values = Vec::with_capacity(left.len());
        for entry in &left {
            let Some(value) = self.value(host, first, entry, true)? else { return Ok(None) };
            values.push(value);
        }
        let kept: Vec<_> = left
            .iter()
            .zip(&values)
            .map(|(entry, value)| Kept { place: entry.place, timestamp: entry.timestamp, value })
            .collect();
        encode(&kept).map(Some)
    }

    /// Forgets what is in memory of an object that is going to be one of another size.
    fn unload(&mut self, first: u64, size: u64) {
        self.whole.remove(first);
        if let Some(shelved) = self.objects.get_mut(&first) {
            shelved.size = shelved.size.max(size);
            shelved.size_min = shelved.size_min.min(size);
            shelved.has_gone = true;
            if let Some(loaded) = shelved.loaded.take() {
                self.entries -= loaded.index.entries().len();
            }
        }
    }
}

/// Bytes of an object: what is appended at once, and the index.
const WHOLE_BYTES_MAX: u32 = 4 << 20;

impl Shelved {
    const fn is_small(&self) -> bool {
        self.size <= SMALL_BYTES
    }
}

impl Loaded {
    /// A record that was not trimmed.
    fn entry(&self, place: u64) -> Option<Entry> {
        self.index.entry(place).copied().filter(|_| !self.gone.contains(&place))
    }

    fn left(&self) -> impl Iterator<Item = Entry> + '_ {
        self.index.entries().iter().copied().filter(|entry| !self.gone.contains(&entry.place))
    }

    /// Whether it is worth writing anew.
    fn is_sparse(&self) -> bool {
        self.gone.len() > self.index.entries().len() / 2
    }
}

fn encode(kept: &[Kept<'_>]) -> Result<Vec<u8>, Failure> {
    Object::encode(kept).map_err(|fault| Failure::invalid(fault.to_string()))
}

/// An answer to a query, as far as it has come.
#[derive(Debug)]
struct Answer {
    query: Query,
    found: Records,
    bytes: usize,
}

impl Answer {
    fn new(query: Query) -> Self {
        Self { query, found: Records { next: query.until, ..Records::default() }, bytes: 0 }
    }

    fn count(&self) -> usize {
        self.found.records.len() + self.found.damaged.len()
    }

    /// Whether there is room for one more, whose value has `length` bytes.
    fn has_room(&self, length: usize) -> bool {
        self.query.has_room(self.count(), self.bytes, length.min(self.query.prefix_bytes))
    }

    /// Adds a record, or that it is damaged; false if there is no room.
    fn take(&mut self, place: u64, record: Option<(i64, &[u8])>) -> bool {
        let value = record.map_or(&[][..], |(_, value)| self.query.wanted(value));
        if !self.has_room(value.len()) {
            self.found.next = place;
            return false;
        }
        self.bytes += value.len();
        match record {
            Some((timestamp, _)) => {
                self.found.records.push(KeptRecord { place, timestamp, value: value.to_vec() });
            }
            None => self.found.damaged.push(place),
        }
        true
    }
}
