//! Letting records go: at once beside their objects where that takes few requests, else in one note that is worked off later.

use super::{
    S3,
    shelved::{Looked, Shelved},
};
use crate::{Kind, Name, RECORDS_MAX, Stem, places};
use mainstem_plugin_sdk::{Failure, Host};
use std::collections::{BTreeMap, BTreeSet};

/// Objects of one trim beside which it is noted at once. Of more it is in one note: a trim may name 4,096 places in as many objects, and a call
/// must be over in time.
const AT_ONCE_MAX: usize = 8;

/// Notes that are not worked off. At the bound a trim works off some itself.
const NOTES_MAX: usize = 16;

/// Steps of a trim that has no room for its note; after them it is asked again.
const NOTE_STEPS: usize = 256;

impl S3 {
    /// Lets records go; on return that is on the server.
    pub(super) fn trim_places(&mut self, host: &Host<'_>, places: &[u64]) -> Result<(), Failure> {
        // IMPORTANT: what is being put together may be on the server already, and what is trimmed of its parts would come back in it.
        self.finish_joining(host)?;
        let mut by_object: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        for place in places {
            let Some(first) = self.first_of(*place) else { continue };
            let loaded = self.objects.get(&first).and_then(|shelved| shelved.loaded.as_ref());
            if loaded.is_none_or(|loaded| loaded.entry(*place).is_some()) {
                by_object.entry(first).or_default().insert(*place);
            }
        }
        if by_object.len() > AT_ONCE_MAX {
            return self.note(host, by_object);
        }
        by_object.into_iter().try_for_each(|(first, places)| self.trim_object(host, first, &places))
    }

    fn note(&mut self, host: &Host<'_>, by_object: BTreeMap<u64, BTreeSet<u64>>) -> Result<(), Failure> {
        if self.tidying.notes() >= NOTES_MAX {
            self.tidy_now(host, NOTE_STEPS)?;
        }
        if self.tidying.notes() >= NOTES_MAX {
            return Err(Failure::unavailable(format!(
                "{NOTES_MAX} notes of what was trimmed behind the prefix {} are not worked off yet: that goes on when this is asked again",
                self.shelf.prefix()
            )));
        }
        let number = self.tidying.next_note();
        let places: BTreeSet<u64> = by_object.values().flatten().copied().collect();
        self.shelf.put_note(host, number, &places)?;
        self.tidying.found_note(number, Some(places.clone()));
        for place in places {
            let Some(first) = self.first_of(place) else { continue };
            let loaded = self.objects.get_mut(&first).and_then(|shelved| shelved.loaded.as_mut());
            if let Some(loaded) = loaded.filter(|loaded| loaded.index.entry(place).is_some()) {
                loaded.gone.insert(place);
            }
        }
        Ok(())
    }

    /// Notes beside their objects what stands in the oldest note, one object at a time; false if there is none.
    pub(super) fn work_off_note(&mut self, host: &Host<'_>) -> Result<bool, Failure> {
        let Some((number, place)) = self.tidying.oldest_note() else { return Ok(false) };
        if let Some(place) = place {
            let first = self.first_of(place);
            let until = self.next_first(first.unwrap_or(place)).max(place.saturating_add(1));
            if let Some(first) = first {
                self.settle_note(host, number, first, until)?;
            }
            self.tidying.forget_noted(number, until);
        } else {
            self.shelf.delete(host, Name::Trimmed(number))?;
            self.tidying.forget_note(number);
        }
        Ok(true)
    }

    fn settle_note(&mut self, host: &Host<'_>, number: u64, first: u64, until: u64) -> Result<(), Failure> {
        let places = self.tidying.places_of(number, first, until);
        match self.look(host, first)? {
            Looked::Read(loaded) if places.iter().any(|place| loaded.index.entry(*place).is_some()) => {
                // What is noted counts in memory already.
                let gone = loaded.gone.clone();
                self.settle(host, first, gone)
            }
            Looked::Damaged(gone) => self.note_damaged(host, first, &gone),
            Looked::Read(_) | Looked::Absent => Ok(()),
        }
    }

    fn trim_object(&mut self, host: &Host<'_>, first: u64, places: &BTreeSet<u64>) -> Result<(), Failure> {
        let (gone, more) = match self.look(host, first)? {
            Looked::Read(loaded) => {
                let there = places.iter().copied().filter(|place| loaded.entry(*place).is_some());
                let there: BTreeSet<_> = there.collect();
                (loaded.gone.union(&there).copied().collect(), !there.is_empty())
            }
            Looked::Damaged(gone) => {
                let all: BTreeSet<_> = gone.union(places).copied().collect();
                return if all == gone { Ok(()) } else { self.note_damaged(host, first, &all) };
            }
            Looked::Absent => return Ok(()),
        };
        if more { self.settle(host, first, gone) } else { Ok(()) }
    }

    /// Writes what was trimmed of an object, all of it: beside it, or by deleting it if nothing is left.
    fn settle(&mut self, host: &Host<'_>, first: u64, gone: BTreeSet<u64>) -> Result<(), Failure> {
        let Some(shelved) = self.objects.get(&first) else { return Ok(()) };
        let records = shelved.loaded.as_ref().map_or(0, |loaded| loaded.index.entries().len());
        if gone.len() == records {
            return self.delete_object(host, first);
        }
        self.put_gone(host, first, &gone)?;
        if let Some(loaded) = self.objects.get_mut(&first).and_then(|shelved| shelved.loaded.as_mut()) {
            loaded.gone = gone;
            if loaded.is_sparse() {
                self.tidying.sparse.insert(first);
            }
        }
        Ok(())
    }

    /// Notes what was trimmed of an object whose index cannot be read: it may be read again, and is not deleted.
    fn note_damaged(&mut self, host: &Host<'_>, first: u64, gone: &BTreeSet<u64>) -> Result<(), Failure> {
        let Some(shelved) = self.objects.get(&first) else { return Ok(()) };
        if gone.len() > RECORDS_MAX {
            let name = Name::Of(shelved.stem, Kind::Records);
            return Err(Failure::limit(format!(
                "{name} is damaged, and more than {RECORDS_MAX} of its places are to be trimmed: delete it from the bucket"
            )));
        }
        self.put_gone(host, first, gone)
    }

    /// Writes what was trimmed of an object beside it.
    fn put_gone(&mut self, host: &Host<'_>, first: u64, gone: &BTreeSet<u64>) -> Result<(), Failure> {
        let Some(shelved) = self.objects.get_mut(&first) else { return Ok(()) };
        let size = places::length(gone.len());
        // IMPORTANT: until it is known which of the two is there, it may be the shorter one.
        let least = shelved.gone_size_min.get_or_insert(size);
        *least = size.min(*least);
        self.shelf.put_gone(host, shelved.stem, gone)?;
        shelved.gone_size_min = Some(size);
        Ok(())
    }

    /// Deletes an object of which nothing is left, and before it what it was put together of, which would count again.
    fn delete_object(&mut self, host: &Host<'_>, first: u64) -> Result<(), Failure> {
        let Some(Shelved { stem, gone_size_min, .. }) = self.objects.get(&first) else { return Ok(()) };
        let (stem, has_gone) = (*stem, gone_size_min.is_some());
        for (part, kind) in self.tidying.left_within(stem) {
            self.shelf.delete(host, Name::Of(part, kind))?;
            self.tidying.leftovers.remove(&(part, kind));
        }
        self.shelf.delete(host, Name::Of(stem, Kind::Records))?;
        self.forget(first);
        if has_gone {
            // IMPORTANT: behind it, so that no record comes back between the two.
            self.tidying.leftovers.insert((stem, Kind::Gone));
        }
        self.look_for_neighbours(first);
        Ok(())
    }

    /// Deletes what an object of this name left when all of it was trimmed, before another one is written there: it would be trimmed too.
    pub(super) fn delete_left_gone(&mut self, host: &Host<'_>, stem: Stem) -> Result<(), Failure> {
        if self.tidying.leftovers.contains(&(stem, Kind::Gone)) {
            self.shelf.delete(host, Name::Of(stem, Kind::Gone))?;
            self.tidying.leftovers.remove(&(stem, Kind::Gone));
        }
        Ok(())
    }

    /// Forgets what is in memory of an object that is no more.
    pub(super) fn forget(&mut self, first: u64) {
        if let Some(shelved) = self.objects.remove(&first)
            && let Some(loaded) = shelved.loaded
        {
            self.entries -= loaded.index.entries().len();
        }
        self.whole.remove(first);
        self.tidying.forget(first);
    }
}
