//! Reading objects: their indices, and values of their records.

use super::{
    ENTRIES_MAX, S3,
    shelved::{Loaded, Looked, Shelved},
};
use crate::{Entry, Object};
use mainstem_plugin_sdk::{Failure, Host, Page, Query};
use std::collections::BTreeSet;

/// Bytes of an object: what is appended at once, and the index.
const WHOLE_BYTES_MAX: u32 = 4 << 20;

impl S3 {
    /// An object with its index.
    pub(super) fn look(&mut self, host: &Host<'_>, first: u64) -> Result<Looked<'_>, Failure> {
        let Some(shelved) = self.objects.get(&first) else { return Ok(Looked::Absent) };
        if shelved.loaded.is_none() {
            let (stem, size, gone_size) = (shelved.stem, shelved.size_min, shelved.gone_size_min);
            if shelved.is_small() {
                self.load_whole(host, first)?;
            }
            let index = match self.whole.take(first) {
                Some(bytes) => Object::decode(bytes).ok(),
                None => self.shelf.index(host, stem, size)?,
            };
            let mut gone = match gone_size {
                Some(size) => self.shelf.gone(host, stem, size)?,
                None => BTreeSet::new(),
            };
            gone.extend(self.tidying.noted(first, self.next_first(first)));
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

    /// The first place of the object behind one; of the last one there is none less than `u64::MAX`.
    pub(super) fn next_first(&self, first: u64) -> u64 {
        let behind = first.checked_add(1).and_then(|next| self.objects.range(next..).next());
        behind.map_or(u64::MAX, |(first, _)| *first)
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

    /// Adds what is wanted of an object to a page; false if there is no room for more.
    pub(super) fn query_object(
        &mut self,
        host: &Host<'_>,
        first: u64,
        query: &Query,
        page: &mut Page,
    ) -> Result<bool, Failure> {
        let (from, until) = (query.from, query.until);
        let next = self.next_first(first);
        if self.objects.get(&first).is_some_and(|shelved| shelved.loaded.is_none())
            && first >= from
            && self.tidying.noted(first, next).next().is_none()
        {
            // All of it is going to be wanted: one request for index and values. Of what is named in a note mostly nothing is.
            self.load_whole(host, first)?;
        }
        // What is in the next one too counts there.
        let until = if next == u64::MAX { until } else { until.min(next) };
        let loaded = match self.look(host, first)? {
            Looked::Read(loaded) => loaded,
            Looked::Damaged(gone) => {
                let is_missed = (from..until).contains(&first) && !gone.contains(&first);
                return Ok(!is_missed || page.take(first, None));
            }
            Looked::Absent => return Ok(true),
        };
        let wanted: Vec<_> = loaded.left().filter(|entry| (from..until).contains(&entry.place)).collect();
        if loaded.is_sparse() {
            self.tidying.sparse.insert(first);
        }
        let (more, mut damaged, mut has_room) = (wanted.len() > 1, false, true);
        for entry in wanted {
            // What has no room for the value is not to be read for it.
            if !page.has_room(entry.length as usize) {
                page.end_at(entry.place);
                has_room = false;
                break;
            }
            let value = self.value_in_memory(host, first, &entry, more)?;
            damaged |= value.is_none();
            if !page.take(entry.place, value.as_deref().map(|value| (entry.timestamp, value))) {
                has_room = false;
                break;
            }
        }
        if damaged {
            // It may have been damaged on its way. IMPORTANT: not before all of them were looked at: an object of which thousands are damaged
            // would be read for each of them, and a call has no fuel for that.
            self.whole.remove(first);
        }
        Ok(has_room)
    }

    /// A record's value; nothing if it is damaged, and then the object is read anew the next time. With `more` the whole object is read and
    /// kept, as others of it are wanted too; so is a small one.
    pub(super) fn value(
        &mut self,
        host: &Host<'_>,
        first: u64,
        entry: &Entry,
        more: bool,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let value = self.value_in_memory(host, first, entry, more)?;
        if value.is_none() {
            // It may have been damaged on its way.
            self.whole.remove(first);
        }
        Ok(value)
    }

    /// The same, which leaves the object in memory though the value is damaged.
    fn value_in_memory(
        &mut self,
        host: &Host<'_>,
        first: u64,
        entry: &Entry,
        more: bool,
    ) -> Result<Option<Vec<u8>>, Failure> {
        if more || self.objects.get(&first).is_some_and(Shelved::is_small) {
            self.load_whole(host, first)?;
        }
        Ok(match (self.whole.take(first), self.objects.get(&first)) {
            (Some(bytes), _) => {
                let bytes = bytes.get(entry.offset as usize..).unwrap_or_default();
                entry.value(bytes).ok().map(<[u8]>::to_vec)
            }
            (None, Some(Shelved { stem, size_min, .. })) => {
                let bytes = self.shelf.read(host, *stem, *size_min, entry.offset, entry.length)?;
                bytes.and_then(|bytes| entry.value(&bytes).ok().map(<[u8]>::to_vec))
            }
            (None, None) => None,
        })
    }

    /// Reads an object into memory, if it is not there and fits.
    pub(super) fn load_whole(&mut self, host: &Host<'_>, first: u64) -> Result<(), Failure> {
        let Some(shelved) = self.objects.get(&first).filter(|_| !self.whole.has(first)) else {
            return Ok(());
        };
        // What is longer than a record was not written here; its index says so.
        let length = u32::try_from(shelved.size).unwrap_or(u32::MAX).min(WHOLE_BYTES_MAX);
        if let Some(bytes) = self.shelf.read(host, shelved.stem, shelved.size_min, 0, length)? {
            self.whole.insert(first, bytes);
        }
        Ok(())
    }
}
