//! What a replay shows of itself: a bar on a terminal, else a line now and then.

use crate::cli::{output::Output, time};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

/// How often the bar is drawn.
const DRAWN: Duration = Duration::from_millis(200);
/// How often a line is written where there is no terminal.
const WRITTEN: Duration = Duration::from_secs(10);
/// Bad lines that are named; more are only counted.
const BAD_LINES_NAMED: u64 = 20;

/// What was replayed so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Events handed to the publisher.
    pub(crate) events: u64,
    /// Lines that are no events.
    pub(crate) bad_lines: u64,
    /// Latest recorded time.
    pub(crate) clock_ms: Option<i64>,
}

#[derive(Debug)]
pub(crate) struct Progress {
    out: Output,
    name: String,
    bar: Option<ProgressBar>,
    every: Duration,
    /// When to show next.
    next: Instant,
    /// When it was last shown, with how many events.
    shown: (Instant, u64),
}

impl Progress {
    /// Of a file of so many bytes.
    pub(crate) fn new(out: Output, name: String, bytes: u64, now: Instant) -> Self {
        let bar = out.shows_progress().then(|| {
            let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        let every = if bar.is_some() { DRAWN } else { WRITTEN };
        Self { out, name, bar, every, next: now + every, shown: (now, 0) }
    }

    /// When it should be shown again at the latest.
    pub(crate) const fn next(&self) -> Instant {
        self.next
    }

    /// Shows how far the replay is, if it is time to.
    pub(crate) fn show(&mut self, counts: Counts, position: u64, now: Instant) {
        if now < self.next {
            return;
        }
        self.next = now + self.every;
        let clock = counts.clock_ms.map_or_else(String::new, feed_clock);
        let rate = (counts.events - self.shown.1) as f64 / (now - self.shown.0).as_secs_f64();
        // A rate of less than a second is noise.
        if now - self.shown.0 >= Duration::from_secs(1) {
            self.shown = (now, counts.events);
        }
        let text = format!("{clock}  {} events  {rate:.0} events/s", counts.events);
        match &self.bar {
            Some(bar) => {
                bar.set_position(position);
                bar.set_message(text);
            }
            None => self.out.notice(
                &json!({"feed": self.name, "clock": clock, "events": counts.events, "badLines": counts.bad_lines,
                        "eventsPerSecond": rate.round()}),
                &format!("{}: {text}", self.name),
            ),
        }
    }

    /// Something to be said beside the bar.
    pub(crate) fn say(&self, code: &str, line: Option<u64>, text: &str) {
        let mut object = json!({"warning": {"code": code, "message": text}});
        if let Some(line) = line {
            object["warning"]["line"] = line.into();
        }
        let text = format!("{}: {text}", self.name);
        match &self.bar {
            Some(bar) => bar.suspend(|| self.out.notice(&object, &text)),
            None => self.out.notice(&object, &text),
        }
    }

    /// Names a line that is no event, the `count`th of them.
    pub(crate) fn bad_line(&self, number: u64, why: &str, count: u64) {
        if count <= BAD_LINES_NAMED {
            self.say("INVALID_DATA", Some(number), &format!("line {number}: {why}"));
        } else if count == BAD_LINES_NAMED + 1 {
            self.say("INVALID_DATA", Some(number), "more bad lines are counted and not named");
        }
    }

    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A recorded time, to the second.
fn feed_clock(ms: i64) -> String {
    u64::try_from(ms / 1000).map_or_else(|_| format!("{ms} ms"), time::iso_of_seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_feed_clock_is_iso_8601() {
        assert_eq!(feed_clock(1_357_035_420_999), "2013-01-01T10:17:00Z");
        assert_eq!(feed_clock(-5000), "-5000 ms");
    }

    #[test]
    fn it_is_shown_when_its_time_has_come() {
        let began = Instant::now();
        let mut progress = Progress::new(Output::new(true), "feed".to_owned(), 10, began);
        let counts = Counts { events: 50, ..Counts::default() };
        progress.show(counts, 5, began + WRITTEN - Duration::from_millis(1));
        assert_eq!(progress.shown, (began, 0));
        progress.show(counts, 5, began + WRITTEN);
        assert_eq!(progress.shown, (began + WRITTEN, 50));
        assert_eq!(progress.next(), began + 2 * WRITTEN);
    }
}
