use crate::CallError;
use mainstem_plugin_abi::plugin_capnp::FailureCode;
use std::{
    thread,
    time::{Duration, Instant},
};

/// Before a write is asked again; twice as long each time.
const PAUSE: Duration = Duration::from_millis(50);
/// At most.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How long a write waits for a storage that says that it may work later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience(Duration);

impl Patience {
    pub(crate) fn of(config: &crate::Config) -> Self {
        Self(Duration::from_millis(config.storage_wait_ms_max.into()))
    }

    /// Asks for a write, and again, until it is done, is refused or time is up. It blocks as long.
    pub(crate) fn ask(
        self,
        storage: &str,
        mut write: impl FnMut() -> Result<(), CallError>,
    ) -> Result<(), CallError> {
        let (begun, mut pause) = (Instant::now(), PAUSE);
        let mut has_waited = false;
        loop {
            let result = write();
            let Err(error @ CallError::Failed { code: FailureCode::Unavailable, .. }) = &result else {
                if has_waited && result.is_ok() {
                    let ms = begun.elapsed().as_millis();
                    tracing::info!(storage, ms, "the storage takes writes again");
                }
                return result;
            };
            let left = self.0.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return result;
            }
            if !has_waited {
                tracing::warn!(storage, %error, "the storage takes no write now; it is asked again");
            }
            has_waited = true;
            thread::sleep(pause.min(left));
            pause = PAUSE_MAX.min(2 * pause);
        }
    }
}
