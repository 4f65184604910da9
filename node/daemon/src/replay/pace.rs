//! When an event of a recorded feed is due.

use std::{str::FromStr, time::Duration};
use tokio::time::Instant;

/// What cannot be counted any more lies this far ahead: nobody waits for it, and no clock overflows.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Seconds of the feed in one second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Speed {
    /// So many times as fast as it was; finite and above 0.
    Times(f64),
    /// Without any wait.
    Max,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.trim_end_matches('x').parse::<f64>() {
            Ok(times) if times.is_finite() && times > 0.0 => Ok(Self::Times(times)),
            _ => {
                Err("a speed is a number above 0 (1 is as it was, 3600 an hour in a second), or max"
                    .to_owned())
            }
        }
    }
}

impl std::fmt::Display for Speed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Times(times) => write!(f, "{times}x"),
            Self::Max => f.write_str("max"),
        }
    }
}

/// The clock of one pass over a feed: its first event is due at once, every later one as much after it as it was recorded,
/// divided by the speed.
///
/// It counts from the first event and not from the one before: waits that end late do not add up.
#[derive(Debug)]
pub(crate) struct Pace {
    speed: Speed,
    /// Recorded time of the first event, and when it was due.
    first: Option<(i64, Instant)>,
}

impl Pace {
    pub(crate) const fn new(speed: Speed) -> Self {
        Self { speed, first: None }
    }

    /// When the event recorded at this millisecond is due; `now` or earlier means at once. An event out of order, recorded
    /// before the ones that went, is due at once and holds up nobody after it.
    pub(crate) fn due(&mut self, recorded_ms: i64, now: Instant) -> Instant {
        let Speed::Times(times) = self.speed else { return now };
        let (first_ms, began) = *self.first.get_or_insert((recorded_ms, now));
        let Ok(after_ms) = u64::try_from(recorded_ms.saturating_sub(first_ms)) else { return now };
        let after = Duration::try_from_secs_f64(Duration::from_millis(after_ms).as_secs_f64() / times);
        began + after.unwrap_or(FAR).min(FAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Plays recorded milliseconds with a clock that stands still but for the waits; gives when each event went.
    fn play(speed: Speed, recorded_ms: &[i64]) -> Vec<Duration> {
        let began = Instant::now();
        let (mut pace, mut now) = (Pace::new(speed), began);
        let mut went = Vec::new();
        for ms in recorded_ms {
            now = now.max(pace.due(*ms, now));
            went.push(now - began);
        }
        went
    }

    #[test]
    fn an_hour_of_the_feed_takes_a_second_at_3600() {
        let hour = 3_600_000;
        let went = play(Speed::Times(3600.0), &[5 * hour, 6 * hour, 6 * hour, 8 * hour]);
        assert_eq!(went, [Duration::ZERO, SECOND, SECOND, 3 * SECOND]);
    }

    #[test]
    fn a_speed_below_one_is_slower_than_it_was() {
        assert_eq!(play(Speed::Times(0.5), &[0, 1000]), [Duration::ZERO, 2 * SECOND]);
    }

    #[test]
    fn the_first_event_is_due_at_once_whenever_it_was_recorded() {
        for first in [i64::MIN, -1, 0, 1_517_363_399_650, i64::MAX] {
            assert_eq!(play(Speed::Times(1.0), &[first]), [Duration::ZERO], "{first}");
        }
    }

    #[test]
    fn an_event_out_of_order_goes_at_once_and_delays_nobody() {
        let went = play(Speed::Times(1.0), &[0, 2000, 1000, -5000, 3000]);
        assert_eq!(went, [Duration::ZERO, 2 * SECOND, 2 * SECOND, 2 * SECOND, 3 * SECOND]);
    }

    #[test]
    fn a_wait_that_ended_late_is_made_up_for() {
        let began = Instant::now();
        let mut pace = Pace::new(Speed::Times(1.0));
        assert_eq!(pace.due(0, began), began);
        assert_eq!(pace.due(1000, began), began + SECOND);
        let late = began + 5 * SECOND;
        assert_eq!(pace.due(2000, late), began + 2 * SECOND, "already over");
        assert_eq!(pace.due(6000, late), began + 6 * SECOND);
    }

    #[test]
    fn nothing_waits_at_full_speed() {
        assert_eq!(play(Speed::Max, &[0, 1_000_000_000, i64::MAX]), [Duration::ZERO; 3]);
    }

    #[test]
    fn times_beyond_all_clocks_do_not_overflow() {
        for speed in [f64::MIN_POSITIVE, 1.0, f64::MAX] {
            assert!(play(Speed::Times(speed), &[i64::MIN, i64::MAX])[1] <= FAR, "{speed}");
        }
    }

    #[test]
    fn speeds_are_read_as_people_write_them() {
        for (text, speed) in [("1", 1.0), ("3600", 3600.0), ("60x", 60.0), ("0.5", 0.5)] {
            assert_eq!(text.parse(), Ok(Speed::Times(speed)), "{text}");
        }
        assert_eq!("max".parse(), Ok(Speed::Max));
        for text in ["", "0", "-1", "nan", "inf", "fast", "x"] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
    }
}
