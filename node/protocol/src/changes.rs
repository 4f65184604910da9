//! What has changed of late, for those who are told of it.

use mainstem_model::{SeriesHead, SeriesKey};
use std::collections::BTreeMap;

/// The newest head of each series that has changed, in the order of the changes.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    next: u64,
    by_number: BTreeMap<u64, SeriesKey>,
    latest: BTreeMap<SeriesKey, Change>,
}

#[derive(Clone, Copy, Debug)]
struct Change {
    number: u64,
    at: i64,
    head: SeriesHead,
}

impl Changes {
    /// The number of the last change.
    pub(crate) const fn last(&self) -> u64 {
        self.next
    }

    /// A series has gone on. At most `max` are remembered; comparing brings what was forgotten.
    pub(crate) fn note(&mut self, series: SeriesKey, head: SeriesHead, now: i64, max: usize) {
        self.next += 1;
        let change = Change { number: self.next, at: now, head };
        if let Some(before) = self.latest.insert(series, change) {
            self.by_number.remove(&before.number);
        }
        self.by_number.insert(self.next, series);
        while self.by_number.len() > max {
            if let Some((_, series)) = self.by_number.pop_first() {
                self.latest.remove(&series);
            }
        }
    }

    /// When a series has changed, if that is remembered.
    pub(crate) fn at(&self, series: &SeriesKey) -> Option<i64> {
        self.latest.get(series).map(|change| change.at)
    }

    /// What has changed since change `told`, oldest first, with each change's number.
    pub(crate) fn since(&self, told: u64) -> impl Iterator<Item = (u64, SeriesKey, SeriesHead)> {
        let newer = self.by_number.range(told.saturating_add(1)..);
        newer.filter_map(|(number, series)| Some((*number, *series, self.latest.get(series)?.head)))
    }

    /// What has changed since a time, newest first.
    pub(crate) fn after(&self, time: i64) -> impl Iterator<Item = (SeriesKey, SeriesHead)> {
        let newest =
            self.by_number.values().rev().filter_map(|series| Some((*series, self.latest.get(series)?)));
        newest.take_while(move |(_, change)| change.at >= time).map(|(series, change)| (series, change.head))
    }
}
