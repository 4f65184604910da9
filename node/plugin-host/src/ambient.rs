use ring::rand::{SecureRandom, SystemRandom};
use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

/// What the node gives to plugins that have `clock` or `random`. Tests bring their own.
pub trait Ambient: fmt::Debug + Send + Sync {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> i64;

    /// Fills `bytes` with random ones; false if there are none.
    fn fill_random(&self, bytes: &mut [u8]) -> bool;
}

/// The system's clock and randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemAmbient;

impl Ambient for SystemAmbient {
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn fill_random(&self, bytes: &mut [u8]) -> bool {
        SystemRandom::new().fill(bytes).is_ok()
    }
}
