use std::fmt;

/// Seconds before an event at which its contract is asked, unless the module is configured otherwise. Ethereum makes blocks final in 13 to
/// 20 minutes.
pub const LAG_SECONDS: u32 = 1_800;
/// The most that a module is configured with: a week.
pub const LAG_SECONDS_MAX: u32 = 7 * 24 * 60 * 60;

/// The configuration's one key.
const KEY: &str = "lag_seconds";

/// How long before an event its contract is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    seconds: u32,
}

/// What a module was configured with is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LagError(String);

impl fmt::Display for LagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(line) = self;
        write!(
            f,
            "this module was configured with {line:?}: configure it with one line, {KEY} = 0 to {LAG_SECONDS_MAX}"
        )
    }
}

impl std::error::Error for LagError {}

impl Lag {
    /// Of a configuration: `lag_seconds = 1800`, comments behind `#`. Nothing is the default.
    ///
    /// # Errors
    /// The line that is another one, or a second one.
    pub fn read(configuration: &[u8]) -> Result<Self, LagError> {
        let text = String::from_utf8_lossy(configuration);
        let mut seconds = None;
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let fault = || LagError(line.chars().take(80).collect());
            let (key, value) = line.split_once('=').ok_or_else(fault)?;
            let value: u32 = value.trim().parse().map_err(|_| fault())?;
            if key.trim() != KEY || value > LAG_SECONDS_MAX || seconds.is_some() {
                return Err(fault());
            }
            seconds = Some(value);
        }
        Ok(Self { seconds: seconds.unwrap_or(LAG_SECONDS) })
    }

    /// When an event's contract is asked, ms since 1970; nothing if that is before there was any chain.
    pub fn before(self, timestamp: i64) -> Option<i64> {
        timestamp.checked_sub(i64::from(self.seconds) * 1_000).filter(|at| *at > 0)
    }
}

impl Default for Lag {
    fn default() -> Self {
        Self { seconds: LAG_SECONDS }
    }
}
