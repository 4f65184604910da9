//! What was acked, what came, and what is wrong between the two.

use crate::load::Mark;
use mainstem_model::SeriesId;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// What one subscriber got.
#[derive(Default)]
pub(crate) struct Got {
    pub(crate) marks: BTreeSet<Mark>,
    pub(crate) doubled: Vec<Mark>,
    /// Events that came behind a later one of their series.
    pub(crate) reordered: Vec<Mark>,
    /// Errors that the client told, in words.
    pub(crate) told: Vec<String>,
    series: BTreeMap<SeriesId, u64>,
    publishers: BTreeMap<u16, Pace>,
}

/// When events of one publisher came.
struct Pace {
    last: Instant,
    widest: Duration,
}

impl Got {
    /// An event came, which has this place in its series.
    pub(crate) fn take(&mut self, mark: Mark, (series, sequence): (SeriesId, u64)) {
        if !self.marks.insert(mark) {
            self.doubled.push(mark);
        }
        match self.series.insert(series, sequence) {
            Some(before) if before >= sequence => self.reordered.push(mark),
            _ => {}
        }
        let now = Instant::now();
        let pace =
            self.publishers.entry(mark.publisher).or_insert(Pace { last: now, widest: Duration::ZERO });
        pace.widest = pace.widest.max(now - pace.last);
        pace.last = now;
    }

    /// From here on gaps are measured anew. What a strike has held up has a gap from the moment on at which that was over: what comes from
    /// the broker that was `struck` before, and all if that is the one that is heard here.
    pub(crate) fn begin(&mut self, here: u16, struck: Option<(u16, Instant)>) {
        for (publisher, pace) in &mut self.publishers {
            pace.widest = Duration::ZERO;
            if let Some((broker, over)) = struck
                && [*publisher, here].contains(&broker)
            {
                pace.last = pace.last.max(over);
            }
        }
    }

    /// The longest time for which nothing came of a publisher that went on, as of now, and of which.
    pub(crate) fn widest(&self, leave_out: u16) -> (Duration, u16) {
        let others = self.publishers.iter().filter(|(publisher, _)| **publisher != leave_out);
        others
            .map(|(publisher, pace)| (pace.widest.max(pace.last.elapsed()), *publisher))
            .max()
            .unwrap_or_default()
    }

    /// Panics if it got anything twice or in a wrong order.
    pub(crate) fn check(&self, whose: &str) {
        assert!(
            self.doubled.is_empty(),
            "{whose}: {} doubled: {:?} …",
            self.doubled.len(),
            first(&self.doubled)
        );
        let reordered = &self.reordered;
        assert!(reordered.is_empty(), "{whose}: {} reordered: {:?} …", reordered.len(), first(reordered));
    }
}

/// Panics if anything that was acked is not there.
pub(crate) fn check_lost(acked: &BTreeMap<Mark, i64>, there: &BTreeSet<Mark>, whose: &str) {
    let lost: Vec<Mark> = acked.keys().filter(|mark| !there.contains(mark)).copied().collect();
    assert!(lost.is_empty(), "{whose}: {} acked events are lost: {:?} …", lost.len(), first(&lost));
}

/// Panics if a history has an event twice, or a publisher's events in another order than it made them.
pub(crate) fn check_history(history: &[Mark], whose: &str) {
    let there: BTreeSet<Mark> = history.iter().copied().collect();
    assert_eq!(there.len(), history.len(), "{whose}: some events are there twice");
    let mut last = BTreeMap::new();
    for mark in history {
        let before = last.insert(mark.publisher, mark.number);
        assert!(before.is_none_or(|before| before < mark.number), "{whose}: {mark:?} came after {before:?}");
    }
}

fn first(marks: &[Mark]) -> &[Mark] {
    &marks[..marks.len().min(5)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(number: u64) -> Mark {
        Mark { publisher: 1, number }
    }

    fn came(places: &[(u64, u64, u64)]) -> Got {
        let mut got = Got::default();
        for (number, series, sequence) in places {
            got.take(mark(*number), (SeriesId(*series), *sequence));
        }
        got
    }

    #[test]
    fn what_came_once_and_in_order_is_well_though_series_mix() {
        let got = came(&[(0, 7, 0), (5, 8, 0), (1, 7, 1), (6, 8, 1)]);
        got.check("all");
        check_lost(&BTreeMap::from([(mark(0), 1), (mark(6), 1)]), &got.marks, "all");
        check_history(&[mark(0), mark(1), mark(5)], "all");
    }

    #[test]
    fn what_a_strike_has_held_up_has_a_gap_from_its_end_on_and_only_there() {
        let now = Instant::now();
        let [before, over] = [10, 4].map(|seconds| now - Duration::from_secs(seconds));
        let gap = |here, publisher, struck| {
            let mut got = Got::default();
            got.publishers.insert(publisher, Pace { last: before, widest: now - before });
            got.begin(here, struck);
            got.widest(0).0.as_secs()
        };
        assert_eq!(gap(1, 1, None), 10);
        assert_eq!(gap(1, 3, Some((2, over))), 10);
        assert_eq!(gap(1, 2, Some((2, over))), 4);
        assert_eq!(gap(2, 1, Some((2, over))), 4);
    }

    #[test]
    #[should_panic(expected = "1 doubled")]
    fn an_event_that_came_twice_is_seen() {
        came(&[(0, 7, 0), (0, 8, 0)]).check("it");
    }

    #[test]
    #[should_panic(expected = "1 reordered")]
    fn an_event_behind_a_later_one_of_its_series_is_seen() {
        came(&[(1, 7, 1), (0, 7, 0)]).check("it");
    }

    #[test]
    #[should_panic(expected = "1 acked events are lost")]
    fn an_acked_event_that_did_not_come_is_seen() {
        check_lost(&BTreeMap::from([(mark(0), 1), (mark(1), 1)]), &came(&[(0, 7, 0)]).marks, "it");
    }

    #[test]
    #[should_panic(expected = "came after")]
    fn a_history_in_a_wrong_order_is_seen() {
        check_history(&[mark(1), mark(0)], "it");
    }
}
