use super::{SMALL_BYTES, tidy::Leftover};
use crate::{Entry, Kind, Object, Stem, shelf::Found};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// An object with records, as far as it is known.
#[derive(Debug)]
pub(super) struct Shelved {
    pub(super) stem: Stem,
    /// Its bytes at most.
    pub(super) size: u64,
    /// Its bytes at least: less than `size` only while it is not known whether it was written anew.
    pub(super) size_min: u64,
    /// Bytes at least of the object beside it with what was trimmed of it, if there may be one.
    pub(super) gone_size_min: Option<u32>,
    pub(super) loaded: Option<Loaded>,
}

/// An object's index.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) index: Object,
    /// Places of its records that were trimmed.
    pub(super) gone: BTreeSet<u64>,
}

/// What is known of an object.
#[derive(Debug)]
pub(super) enum Looked<'a> {
    /// There is none.
    Absent,
    /// Its index cannot be read. IMPORTANT: that is never remembered, and nothing is written for it but what was trimmed: these places.
    Damaged(BTreeSet<u64>),
    Read(&'a Loaded),
}

impl Shelved {
    pub(super) const fn new(stem: Stem, size: u64, gone_size_min: Option<u32>) -> Self {
        Self { stem, size, size_min: size, gone_size_min, loaded: None }
    }

    pub(super) const fn is_small(&self) -> bool {
        self.size <= SMALL_BYTES
    }
}

impl Loaded {
    /// A record that was not trimmed.
    pub(super) fn entry(&self, place: u64) -> Option<Entry> {
        self.index.entry(place).copied().filter(|_| !self.gone.contains(&place))
    }

    pub(super) fn left(&self) -> impl Iterator<Item = Entry> + '_ {
        self.index.entries().iter().copied().filter(|entry| !self.gone.contains(&entry.place))
    }

    /// Whether it is worth writing anew.
    pub(super) fn is_sparse(&self) -> bool {
        self.gone.len() > self.index.entries().len() / 2
    }
}

/// Which of the objects that were listed have the records, by their first places, and which are left over: those that were put together into
/// another one, and what was trimmed of an object that is no more.
pub(super) fn sorted_out(found: Found) -> (BTreeMap<u64, Shelved>, BTreeSet<Leftover>) {
    let Found { mut objects, mut gone, notes: _ } = found;
    // Of those that begin at one place the widest first.
    let order = |stem: &Stem| (stem.first, Reverse(stem.last));
    objects.sort_by_key(|(stem, _)| order(stem));
    gone.sort_by_key(|(stem, _)| order(stem));
    // IMPORTANT: one that a server lists twice is within itself, and would be deleted as its own part.
    objects.dedup_by_key(|(stem, _)| *stem);
    gone.dedup_by_key(|(stem, _)| *stem);
    let mut leftovers = BTreeSet::new();
    // The last place of those before that were put together.
    let mut covered = None;
    objects.retain(|(stem, _)| {
        let is_within = covered.is_some_and(|last| stem.end() <= last);
        if is_within {
            leftovers.insert((*stem, Kind::Records));
        }
        covered = covered.max(stem.last);
        !is_within
    });
    let mut gone = gone.into_iter().peekable();
    let mut shelved = Vec::with_capacity(objects.len());
    for (stem, size) in objects {
        while let Some((alone, _)) = gone.next_if(|(of, _)| order(of) < order(&stem)) {
            leftovers.insert((alone, Kind::Gone));
        }
        let gone_size = gone.next_if(|(of, _)| *of == stem).map(|(_, size)| size);
        shelved.push((stem.first, Shelved::new(stem, size, gone_size)));
    }
    leftovers.extend(gone.map(|(stem, _)| (stem, Kind::Gone)));
    (shelved.into_iter().collect(), leftovers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_together_counts_once_whatever_is_left_of_what_it_was_before() {
        let plain = Stem::of;
        let span = |first, last| Stem { first, last: Some(last) };
        let check = |objects: &[Stem], kept: &[Stem], left: &[Stem]| {
            let found =
                Found { objects: objects.iter().map(|stem| (*stem, 1)).collect(), ..Found::default() };
            let (objects, leftovers) = sorted_out(found);
            assert_eq!(objects.values().map(|it| it.stem).collect::<Vec<_>>(), kept);
            assert_eq!(leftovers.into_iter().map(|(stem, _)| stem).collect::<Vec<_>>(), left);
        };
        check(&[plain(1), plain(5), plain(9)], &[plain(1), plain(5), plain(9)], &[]);
        check(&[plain(1), span(1, 6), plain(5), plain(9)], &[span(1, 6), plain(9)], &[plain(1), plain(5)]);
        check(&[span(1, 6), plain(6), plain(7)], &[span(1, 6), plain(7)], &[plain(6)]);
        // One within one within one.
        let nested = [plain(1), span(1, 6), span(1, 20), plain(5), span(9, 12), plain(10), plain(21)];
        check(&nested, &[span(1, 20), plain(21)], &[plain(1), span(1, 6), plain(5), span(9, 12), plain(10)]);
        // A server that lists one twice.
        check(&[span(1, 6), span(1, 6), plain(5), plain(7), plain(7)], &[span(1, 6), plain(7)], &[plain(5)]);
        // What was never written here: one that reaches over the end of another one has records of its own.
        check(&[span(1, 6), span(5, 9)], &[span(1, 6), span(5, 9)], &[]);
        let gone = [plain(1), plain(5), span(1, 6), span(1, 6)].map(|stem| (stem, 40)).to_vec();
        let found = Found { objects: vec![(span(1, 6), 1), (plain(5), 1)], gone, ..Found::default() };
        let (objects, leftovers) = sorted_out(found);
        assert_eq!(objects[&1].gone_size_min, Some(40));
        let (gone, records) = (Kind::Gone, Kind::Records);
        assert_eq!(Vec::from_iter(leftovers), [(plain(1), gone), (plain(5), records), (plain(5), gone)]);
    }
}
