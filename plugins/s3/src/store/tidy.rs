//! Tidying up, a few requests at a time: what is left over is deleted, what was trimmed is noted beside its object, objects with little left are
//! written anew, and small neighbours are put together.

use super::{S3, encode, shelved::Looked};
use crate::{Kept, Kind, Name, Stem};
use mainstem_plugin_sdk::{Failure, Host, LogLevel};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

/// Neighbours that are put together.
const JOINED: usize = 10;

/// Bytes below which an object is small: so many of them are less than 1 MiB together.
const JOINED_BYTES_MAX: u64 = 100 << 10;

/// Objects that are looked at for small ones in one step.
const LOOKED_MAX: usize = 20_000;

/// Calls of `sync` without tidying up after one that has failed.
const REST: u32 = 8;

/// An object that is only to be deleted.
pub(super) type Leftover = (Stem, Kind);

/// What is to be done when there is time.
#[derive(Debug, Default)]
pub(super) struct Tidying {
    pub(super) leftovers: BTreeSet<Leftover>,
    /// Objects of which little is left, by their first places.
    pub(super) sparse: BTreeSet<u64>,
    /// Places that were trimmed and are not noted beside their objects yet, by the numbers of the notes that they stand in.
    notes: BTreeMap<u64, BTreeSet<u64>>,
    /// Above all numbers of notes, also of those that cannot be read.
    next_note: u64,
    /// Objects that are being put together into another one, of which it is not known whether the server has it already.
    joining: Option<(Vec<u64>, Stem)>,
    /// Objects that are not put together with others, as there is damage in them.
    apart: BTreeSet<u64>,
    /// Objects that were put together and cannot be read whole: what they were put together of is left as it is.
    doubtful: BTreeSet<u64>,
    /// The one of them that was read whole last.
    sound: Option<u64>,
    /// Where small neighbours are looked for; before it there are none.
    from: u64,
    /// Calls until there is tidied up again.
    rest: u32,
}

impl Tidying {
    pub(super) fn new(leftovers: BTreeSet<Leftover>) -> Self {
        Self { leftovers, ..Self::default() }
    }

    /// Takes in a note; of one that is damaged nothing is known, and it stays.
    pub(super) fn found_note(&mut self, number: u64, places: Option<BTreeSet<u64>>) {
        self.next_note = self.next_note.max(number.saturating_add(1));
        if let Some(places) = places {
            self.notes.insert(number, places);
        }
    }

    pub(super) fn notes(&self) -> usize {
        self.notes.len()
    }

    pub(super) const fn next_note(&self) -> u64 {
        self.next_note
    }

    /// The number of the oldest note, and the first place in it.
    pub(super) fn oldest_note(&self) -> Option<(u64, Option<u64>)> {
        self.notes.first_key_value().map(|(number, places)| (*number, places.first().copied()))
    }

    pub(super) fn places_of(&self, number: u64, from: u64, until: u64) -> Vec<u64> {
        self.notes.get(&number).map_or(Vec::new(), |places| between(places, from, until).collect())
    }

    /// Places below `until` are noted beside their objects.
    pub(super) fn forget_noted(&mut self, number: u64, until: u64) {
        if let Some(places) = self.notes.get_mut(&number) {
            *places = if until == u64::MAX { BTreeSet::new() } else { places.split_off(&until) };
        }
    }

    pub(super) fn forget_note(&mut self, number: u64) {
        self.notes.remove(&number);
    }

    /// What stands in any note, of these places.
    pub(super) fn noted(&self, from: u64, until: u64) -> impl Iterator<Item = u64> + '_ {
        self.notes.values().flat_map(move |places| between(places, from, until))
    }

    /// Forgets what is known of an object that is no more.
    pub(super) fn forget(&mut self, first: u64) {
        self.sparse.remove(&first);
        self.apart.remove(&first);
        self.doubtful.remove(&first);
        self.sound = self.sound.filter(|sound| *sound != first);
    }

    pub(super) fn left_objects(&self) -> usize {
        self.leftovers.iter().filter(|(_, kind)| *kind == Kind::Records).count()
    }

    /// What an object was put together of, as far as it is there.
    pub(super) fn left_within(&self, stem: Stem) -> Vec<Leftover> {
        let Some(last) = stem.last else { return Vec::new() };
        let within = self.leftovers.range((Stem::of(stem.first), Kind::Records)..);
        within.take_while(|(part, _)| part.first <= last).copied().collect()
    }
}

impl S3 {
    /// Tidies up, in so many steps at most. That it fails is told in the log: what is to be done is as it was, and is tried again later.
    pub(super) fn tidy(&mut self, host: &Host<'_>, steps: usize) {
        if self.tidying.rest > 0 {
            self.tidying.rest -= 1;
            return;
        }
        if let Err(failure) = self.tidy_now(host, steps) {
            self.tidying.rest = REST;
            let text = format!("what is left over in the bucket stays for now: {failure}");
            // It is not granted, or lines are too many: there is nobody else to tell.
            drop(host.log(LogLevel::Warn, &text));
        }
    }

    pub(super) fn tidy_now(&mut self, host: &Host<'_>, steps: usize) -> Result<(), Failure> {
        for _ in 0..steps {
            if !self.step(host)? {
                break;
            }
        }
        Ok(())
    }

    /// Does what comes first, in a few requests; false if there is nothing to do.
    fn step(&mut self, host: &Host<'_>) -> Result<bool, Failure> {
        if self.tidying.joining.is_some() {
            return self.finish_joining(host).map(|()| true);
        }
        if let Some((stem, kind)) = self.leftover_to_delete(host)? {
            self.shelf.delete(host, Name::Of(stem, kind))?;
            self.tidying.leftovers.remove(&(stem, kind));
            return Ok(true);
        }
        if self.work_off_note(host)? || self.rewrite(host)? {
            return Ok(true);
        }
        self.join(host)
    }

    /// The first of what is left over that nobody misses: its records are in another object, which can be read.
    fn leftover_to_delete(&mut self, host: &Host<'_>) -> Result<Option<Leftover>, Failure> {
        let mut next = self.tidying.leftovers.first().copied();
        while let Some(leftover) = next {
            if !self.is_missed(host, leftover.0)? {
                return Ok(Some(leftover));
            }
            let behind = (Bound::Excluded(leftover), Bound::Unbounded);
            next = self.tidying.leftovers.range(behind).next().copied();
        }
        Ok(None)
    }

    /// Whether an object stands for one that is left over and is damaged. IMPORTANT: its name alone does not say that it has its records.
    fn is_missed(&mut self, host: &Host<'_>, part: Stem) -> Result<bool, Failure> {
        let Some(first) = self.first_of(part.first) else { return Ok(false) };
        let Some(stem) = self.objects.get(&first).map(|shelved| shelved.stem) else { return Ok(false) };
        if stem == part || stem.last.is_none_or(|last| part.end() > last) || self.tidying.sound == Some(first)
        {
            return Ok(false);
        }
        if !self.tidying.doubtful.contains(&first) {
            if self.is_whole(host, first)? {
                self.tidying.sound = Some(first);
                return Ok(false);
            }
            self.tidying.doubtful.insert(first);
            let name = Name::Of(stem, Kind::Records);
            let text = format!(
                "{name} is damaged, and what it was put together of is still in the bucket and stays there: delete {name}, and at the next \
                 start that counts again, and what was trimmed of it since is back"
            );
            drop(host.log(LogLevel::Warn, &text));
        }
        Ok(true)
    }

    /// Whether all that is left of an object can be read.
    fn is_whole(&mut self, host: &Host<'_>, first: u64) -> Result<bool, Failure> {
        let Looked::Read(loaded) = self.look(host, first)? else { return Ok(false) };
        let left: Vec<_> = loaded.left().collect();
        for entry in left {
            if self.value(host, first, &entry, true)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes an object anew, with what is left of it; false if there is none to be. One that is damaged stays as it is.
    fn rewrite(&mut self, host: &Host<'_>) -> Result<bool, Failure> {
        let Some(first) = self.tidying.sparse.first().copied() else { return Ok(false) };
        if let Some((stem, bytes)) = self.joined(host, &[first])? {
            // IMPORTANT: until it is known which of the two is there, nothing is known of it.
            self.unload(first, bytes.len() as u64);
            self.shelf.put(host, stem, &bytes)?;
            // IMPORTANT: behind it: places that are named there and are not in the object do no harm.
            self.shelf.delete(host, Name::Of(stem, Kind::Gone))?;
            self.written(host, stem, bytes)?;
            self.look_for_neighbours(first);
        }
        self.tidying.sparse.remove(&first);
        Ok(true)
    }

    /// Forgets what is in memory of an object that is going to be one of another size.
    fn unload(&mut self, first: u64, size: u64) {
        self.whole.remove(first);
        if let Some(shelved) = self.objects.get_mut(&first) {
            shelved.size = shelved.size.max(size);
            shelved.size_min = shelved.size_min.min(size);
            shelved.gone_size_min.get_or_insert(0);
            if let Some(loaded) = shelved.loaded.take() {
                self.entries -= loaded.index.entries().len();
            }
        }
    }

    /// Has small neighbours that there may be now around a place looked for.
    pub(super) fn look_for_neighbours(&mut self, place: u64) {
        let before = self.objects.range(..place).rev().take(JOINED).last();
        self.tidying.from = self.tidying.from.min(before.map_or(0, |(first, _)| *first));
    }

    /// Puts small neighbours together; false if there are not enough of them. They are read first, one in each step.
    fn join(&mut self, host: &Host<'_>) -> Result<bool, Failure> {
        let Some(run) = self.small_neighbours() else { return Ok(false) };
        if let Some(first) = run.iter().copied().find(|first| !self.whole.has(*first)) {
            self.load_whole(host, first)?;
            if !self.whole.has(first) {
                self.tidying.apart.insert(first);
            }
            return Ok(true);
        }
        if let Some((stem, bytes)) = self.joined(host, &run)? {
            self.tidying.joining = Some((run, stem));
            self.put_joined(host, stem, bytes)?;
        }
        Ok(true)
    }

    /// The first ones of as many neighbours as are put together.
    fn small_neighbours(&mut self) -> Option<Vec<u64>> {
        let (mut run, mut seen) = (Vec::new(), self.tidying.from);
        for (first, shelved) in self.objects.range(self.tidying.from..).take(LOOKED_MAX) {
            seen = *first;
            if shelved.size >= JOINED_BYTES_MAX || self.tidying.apart.contains(first) {
                run.clear();
                continue;
            }
            run.push(*first);
            if run.len() == JOINED {
                self.tidying.from = run[0];
                return Some(run);
            }
        }
        self.tidying.from = run.first().copied().unwrap_or(seen);
        None
    }

    /// Writes once more what is being put together, if it is not known whether the server has it.
    pub(super) fn finish_joining(&mut self, host: &Host<'_>) -> Result<(), Failure> {
        let Some((run, stem)) = self.tidying.joining.clone() else { return Ok(()) };
        match self.joined(host, &run)? {
            Some((stem, bytes)) => self.put_joined(host, stem, bytes),
            // Damaged meanwhile: what it was to be put together of counts on.
            None => {
                self.shelf.delete(host, Name::Of(stem, Kind::Records))?;
                self.tidying.joining = None;
                Ok(())
            }
        }
    }

    /// Writes what is being put together, and lets those go that it was put together of.
    fn put_joined(&mut self, host: &Host<'_>, stem: Stem, bytes: Vec<u8>) -> Result<(), Failure> {
        // IMPORTANT: it counts from then on, by its name: nothing is done with its parts until it is known to be there.
        self.shelf.put(host, stem, &bytes)?;
        for first in self.tidying.joining.take().map_or(Vec::new(), |(run, _)| run) {
            if let Some(shelved) = self.objects.get(&first) {
                self.tidying.leftovers.insert((shelved.stem, Kind::Records));
                if shelved.gone_size_min.is_some() {
                    self.tidying.leftovers.insert((shelved.stem, Kind::Gone));
                }
            }
            self.forget(first);
        }
        self.written(host, stem, bytes)
    }

    /// What is left of neighbours, as one object; of one alone it keeps its name. Nothing if one is damaged, which stays apart from then on, or
    /// nothing is left.
    fn joined(&mut self, host: &Host<'_>, run: &[u64]) -> Result<Option<(Stem, Vec<u8>)>, Failure> {
        let (mut left, mut values, mut stem) = (Vec::new(), Vec::new(), None::<Stem>);
        for first in run {
            let Some(own) = self.objects.get(first).map(|shelved| shelved.stem) else { return Ok(None) };
            // IMPORTANT: what cannot be read is not empty.
            let Looked::Read(loaded) = self.look(host, *first)? else {
                self.tidying.apart.insert(*first);
                return Ok(None);
            };
            let last = loaded.index.entries().last().map(|entry| entry.place).max(Some(own.end()));
            stem = Some(stem.map_or(own, |stem| Stem { last, ..stem }));
            let entries: Vec<_> = loaded.left().collect();
            for entry in &entries {
                let Some(value) = self.value(host, *first, entry, true)? else {
                    self.tidying.apart.insert(*first);
                    return Ok(None);
                };
                values.push(value);
            }
            left.extend(entries);
        }
        let Some(stem) = stem.filter(|_| !left.is_empty()) else {
            self.tidying.apart.extend(run);
            return Ok(None);
        };
        let kept: Vec<_> = left
            .iter()
            .zip(&values)
            .map(|(entry, value)| Kept { place: entry.place, timestamp: entry.timestamp, value })
            .collect();
        encode(&kept).map(|bytes| Some((stem, bytes)))
    }
}

/// Places of a list, up to before `until`; all behind `from` if that is the greatest number.
fn between(places: &BTreeSet<u64>, from: u64, until: u64) -> impl Iterator<Item = u64> + '_ {
    places.range(from..).copied().take_while(move |place| *place < until || until == u64::MAX)
}
