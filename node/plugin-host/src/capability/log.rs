use super::{Answer, Privileges, Stop};
use crate::sentence::sentence;
use mainstem_plugin_abi::plugin_capnp::{LogLevel, log_line};
use parking_lot::Mutex;
use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

const MINUTE: Duration = Duration::from_secs(60);

/// How many lines there may be yet.
#[derive(Debug)]
pub(super) struct Rate {
    lines_max: u32,
    /// When the minute began, and lines since then.
    minute: Mutex<(Instant, u32)>,
}

impl Rate {
    pub(super) fn new(lines_max: u32) -> Self {
        Self { lines_max, minute: Mutex::new((Instant::now(), 0)) }
    }

    /// Whether there may be one more line.
    pub(super) fn take(&self, now: Instant) -> bool {
        let mut minute = self.minute.lock();
        if now.saturating_duration_since(minute.0) >= MINUTE {
            *minute = (now, 0);
        }
        minute.1 = minute.1.saturating_add(1);
        minute.1 <= self.lines_max
    }
}

/// Writes a line with the plugin's name. Over the rate it is dropped and counted, and the plugin is none the wiser.
pub(super) fn log(privileges: &Privileges, line: log_line::Reader<'_>) -> Result<Answer, Stop> {
    let line_text = line.get_text()?;
    if !privileges.log.take(Instant::now()) {
        privileges.meters.log_lines_dropped.fetch_add(1, Relaxed);
        return Ok(Answer::Done);
    }
    let (plugin, text) = (privileges.plugin.as_str(), sentence(line_text.as_bytes()));
    // A level that is new counts as the least.
    match line.get_level().unwrap_or(LogLevel::Debug) {
        LogLevel::Error => tracing::error!(plugin, "{text}"),
        LogLevel::Warn => tracing::warn!(plugin, "{text}"),
        LogLevel::Info => tracing::info!(plugin, "{text}"),
        LogLevel::Debug => tracing::debug!(plugin, "{text}"),
    }
    Ok(Answer::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_over_the_rate_are_dropped_until_the_minute_is_over() {
        let (rate, now) = (Rate::new(2), Instant::now());
        assert_eq!([rate.take(now), rate.take(now), rate.take(now)], [true, true, false]);
        assert!(!rate.take(now + MINUTE / 2));
        assert!(rate.take(now + 2 * MINUTE));
    }
}
