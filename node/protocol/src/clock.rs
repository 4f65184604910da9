//! The broker's clock, which may be set: what came in how long ago is told in spite of that.

use crate::Now;
use std::collections::VecDeque;

/// What the clock may run apart from the time that passes before it counts as set, milliseconds.
const DRIFT_MS: i64 = 100;
/// Settings remembered; those before count as one.
const SETTINGS_MAX: usize = 16;

/// How the clock was set while the node runs. Times of receipt in the store are readings of it.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    settings: VecDeque<Setting>,
}

#[derive(Clone, Copy, Debug)]
struct Setting {
    since_up_ms: i64,
    /// What the clock read then less the time that had passed; of several settings the lowest and the highest.
    offsets: [i64; 2],
}

impl Clock {
    /// Looks at the clock; to be called with every reading of it.
    pub(crate) fn look(&mut self, now: Now) {
        let offset = now.unix_ms.saturating_sub(now.up_ms);
        let is_set = |last: &Setting| last.offsets[1].abs_diff(offset) > DRIFT_MS.unsigned_abs();
        if self.settings.back().is_some_and(|last| !is_set(last)) {
            return;
        }
        // What it read before this life is not known: as if it had been set before all time.
        let since_up_ms = if self.settings.is_empty() { i64::MIN } else { now.up_ms };
        self.settings.push_back(Setting { since_up_ms, offsets: [offset; 2] });
        if self.settings.len() > SETTINGS_MAX
            && let Some(oldest) = self.settings.pop_front()
            && let Some(next) = self.settings.front_mut()
        {
            let ([low, high], [lower, higher]) = (next.offsets, oldest.offsets);
            *next = Setting { since_up_ms: oldest.since_up_ms, offsets: [low.min(lower), high.max(higher)] };
        }
    }

    /// The lowest that the clock has read in the last `ms` milliseconds: what came in since then has that time of receipt, or a
    /// later one.
    pub(crate) fn lowest_in(&self, ms: u64, now: Now) -> i64 {
        let from = now.up_ms.saturating_sub_unsigned(ms);
        let lasted = |index: usize| self.settings.get(index + 1).is_none_or(|next| next.since_up_ms > from);
        let reading = |setting: &Setting| match setting.since_up_ms.max(from) {
            i64::MIN => i64::MIN,
            first => first.saturating_add(setting.offsets[0]),
        };
        let readings =
            self.settings.iter().enumerate().filter(|(index, _)| lasted(*index)).map(|(_, set)| reading(set));
        readings.min().unwrap_or(i64::MIN).saturating_sub(DRIFT_MS)
    }

    /// For how long at most something is here that has this time of receipt, milliseconds. Nothing if the clock has never read
    /// so since the node began: it was set while the node was down.
    pub(crate) fn longest_since(&self, received_at: i64, now: Now) -> Option<i64> {
        let until = |index: usize| {
            self.settings.get(index + 1).map_or(now.up_ms, |next| next.since_up_ms).saturating_add(DRIFT_MS)
        };
        let ages = self.settings.iter().enumerate().filter_map(|(index, setting)| {
            let [latest, earliest] = setting.offsets.map(|offset| received_at.saturating_sub(offset));
            let reads = latest >= setting.since_up_ms.saturating_sub(DRIFT_MS) && earliest <= until(index);
            reads.then(|| now.up_ms.saturating_sub(earliest).max(0))
        });
        ages.max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(up_ms: i64, unix_ms: i64) -> Now {
        Now { unix_ms, up_ms }
    }

    /// Read at each of these.
    fn clock(readings: &[Now]) -> Clock {
        let mut clock = Clock::default();
        for now in readings {
            clock.look(*now);
        }
        clock
    }

    #[test]
    fn a_clock_that_is_not_set_is_counted_back_from() {
        let now = at(5_000, 1_005_000);
        let clock = clock(&[at(0, 1_000_000), at(1_000, 1_001_050), now]);
        assert_eq!(clock.settings.len(), 1);
        assert_eq!(clock.lowest_in(2_000, now), 1_003_000 - DRIFT_MS);
        assert_eq!(clock.lowest_in(u64::MAX, now), i64::MIN);
        assert_eq!(clock.longest_since(1_003_000, now), Some(2_000));
        // From the life before.
        assert_eq!(clock.longest_since(900_000, now), Some(105_000));
        assert_eq!(clock.longest_since(1_005_050, now), Some(0));
        assert_eq!(clock.longest_since(1_006_000, now), None);
    }

    #[test]
    fn what_came_before_the_clock_was_put_forward_is_as_young_as_it_is() {
        let now = at(6_000, 9_006_000);
        let clock = clock(&[at(0, 1_000_000), at(5_000, 9_005_000), now]);
        // Three seconds ago it read 1,003,000.
        assert_eq!(clock.lowest_in(3_000, now), 1_003_000 - DRIFT_MS);
        assert_eq!(clock.lowest_in(500, now), 9_005_500 - DRIFT_MS);
        assert_eq!(clock.longest_since(1_003_000, now), Some(3_000));
        assert_eq!(clock.longest_since(9_005_500, now), Some(500));
        assert_eq!(clock.longest_since(5_000_000, now), None, "it never read so");
    }

    #[test]
    fn of_what_it_has_read_twice_the_older_counts() {
        let now = at(6_000, 1_003_000);
        let clock = clock(&[at(0, 1_000_000), at(5_000, 1_002_000), now]);
        assert_eq!(clock.lowest_in(3_000, now), 1_002_000 - DRIFT_MS);
        assert_eq!(clock.longest_since(1_002_500, now), Some(3_500));
        assert_eq!(clock.longest_since(1_004_500, now), Some(1_500));
        assert_eq!(clock.longest_since(1_005_500, now), None);
    }

    #[test]
    fn settings_beyond_what_is_remembered_count_as_the_lowest_and_the_highest_of_them() {
        let max = i64::try_from(SETTINGS_MAX).unwrap();
        let readings: Vec<_> = (0..=max).map(|n| at(n * 1_000, n * 1_000 + n * 10_000)).collect();
        let clock = clock(&readings);
        assert_eq!(clock.settings.len(), SETTINGS_MAX);
        let now = readings[SETTINGS_MAX];
        assert_eq!(clock.lowest_in(now.up_ms.unsigned_abs(), now), -DRIFT_MS);
        assert_eq!(clock.longest_since(11_000, now), Some((max - 1) * 1_000));
    }
}
