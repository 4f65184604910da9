//! Where readers go on in the log of a followed partition. One of the past that comes home begins where it stood a moment ago: what had come
//! here and was not yet where the reader was, is told then.

use super::{Before, Links, given::look_up};
use crate::{Config, context::Context};
use mainstem_model::StreamPartition;
use std::collections::VecDeque;

/// Between two marks, milliseconds.
const MARKS_MS: i64 = 1_000;

/// Marks of the own log since it follows, oldest first.
#[derive(Debug, Default)]
pub(super) struct Lately {
    /// When a batch came, and its position. The first is the last of those that are old, or where the log stood when it began.
    marks: VecDeque<(i64, u64)>,
}

impl Lately {
    /// Where the log stood when the partition began to be followed. Batches may have come before the store has told.
    pub(super) fn begin(&mut self, end: u64, since: i64) {
        if self.marks.front().is_none_or(|(_, position)| end < *position) {
            self.marks.push_front((since, end));
        }
    }

    fn note(&mut self, position: u64, now: i64, old: i64) {
        if self.marks.back().is_none_or(|(at, _)| now - at >= MARKS_MS) {
            self.marks.push_back((now, position));
            while self.marks.get(1).is_some_and(|(at, _)| *at <= old) {
                self.marks.pop_front();
            }
        }
    }

    /// A position before all that has come since then.
    fn since(&self, then: i64) -> Option<u64> {
        let before = self.marks.iter().rev().find(|(at, _)| *at <= then);
        before.or(self.marks.front()).map(|(_, position)| *position)
    }
}

impl Links {
    /// Whether a reader can go on from a position of the own log.
    pub(crate) fn goes_on_from(&self, at: StreamPartition, position: u64) -> bool {
        let following = self.following.get(&at).and_then(|following| following.before);
        match following.or_else(|| self.given.get(&at)?.before) {
            Some(Before::Fresh { end, first }) => position > end || (first && position == end),
            Some(Before::Resumed { .. }) | None => true,
        }
    }

    /// A position of the own log before all that a broker that keeps the partition may still lack.
    pub(crate) fn lately(&self, at: StreamPartition, now: i64, config: &Config) -> Option<u64> {
        self.following.get(&at).and_then(|following| following.lately.since(old(now, config)))
    }
}

/// A batch is in the own log.
pub(crate) fn note_stored(at: StreamPartition, position: u64, cx: &mut Context<'_>) {
    look_up(at, cx);
    let (now, config) = (cx.now.up_ms, cx.config);
    if let Some(following) = cx.links.following.get_mut(&at) {
        following.lately.note(position, now, old(now, config));
    }
}

/// What came before is elsewhere, too: a pull and another one have brought it, unless those that have it cannot reach each other.
fn old(now: i64, config: &Config) -> i64 {
    now.saturating_sub(lately_ms(config))
}

/// How long that takes, milliseconds.
pub(super) const fn lately_ms(config: &Config) -> i64 {
    config.pull_wait_ms.saturating_mul(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_come_since_a_time_lies_behind_the_position_of_that_time() {
        let mut lately = Lately::default();
        assert_eq!(lately.since(0), None);
        for position in 0_i64..100 {
            let now = 300 * position;
            lately.note(position.unsigned_abs(), now, now - 5_000);
        }
        // Batch 83 came at 24,900 ms.
        for then in [24_899, 24_900, 26_000] {
            let from = lately.since(then).unwrap();
            assert!((78..=84).contains(&from), "{from}");
        }
        assert!(lately.marks.len() <= 7, "{lately:?}");
        let oldest = lately.since(0).unwrap();
        assert!(oldest > 70, "before the first mark nothing is known: {oldest}");
    }

    #[test]
    fn what_came_before_the_store_has_told_is_not_passed_over() {
        let mut lately = Lately::default();
        lately.begin(4, 1_000);
        assert_eq!(lately.since(0), Some(4));
        let mut late = Lately::default();
        late.note(4, 1_100, -3_900);
        late.begin(4, 1_000);
        assert_eq!(late.since(0), Some(4));
        let mut unknown = Lately::default();
        unknown.note(4, 1_100, -3_900);
        unknown.begin(u64::MAX, 1_000);
        assert_eq!(unknown.since(0), Some(4));
    }

    #[test]
    fn after_a_long_silence_nothing_is_read_twice_but_the_last_second() {
        let mut lately = Lately::default();
        lately.note(7, 1_000, -4_000);
        lately.note(8, 1_999, -3_001);
        lately.note(9, 90_000, 85_000);
        assert_eq!(lately.since(85_000), Some(7));
        lately.note(10, 99_000, 94_000);
        assert_eq!(lately.since(94_000), Some(9));
    }
}
