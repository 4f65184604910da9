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
/// With less time left there is no use in asking again.
const LEAST: Duration = Duration::from_millis(10);

/// How long a write waits for a storage that says that it may work later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience(Duration);

/// The patience that is left to one write, however many calls it takes.
#[derive(Debug)]
pub(crate) struct Waiting {
    begun: Instant,
    limit: Duration,
}

impl Patience {
    pub(crate) fn of(config: &crate::Config) -> Self {
        Self(Duration::from_millis(config.storage_wait_ms_max.into()))
    }

    /// A write begins.
    pub(crate) fn begin(self) -> Waiting {
        Waiting { begun: Instant::now(), limit: self.0 }
    }
}

impl Waiting {
    /// Asks for a call of the write, and again, until it is done, is refused or time is up: none is asked again then. It blocks as long.
    pub(crate) fn ask(
        &self,
        storage: &str,
        mut call: impl FnMut() -> Result<(), CallError>,
    ) -> Result<(), CallError> {
        let (begun, mut pause) = (Instant::now(), PAUSE);
        let mut has_waited = false;
        loop {
            let result = call();
            let Err(error @ CallError::Failed { code: FailureCode::Unavailable, .. }) = &result else {
                if has_waited && result.is_ok() {
                    let ms = begun.elapsed().as_millis();
                    tracing::info!(storage, ms, "the storage takes writes again");
                }
                return result;
            };
            if !has_waited && self.left() > LEAST {
                tracing::warn!(storage, %error, "the storage takes no write now; it is asked again");
            }
            // Towards the end the pauses are halves of what is left, so that the last is over before that is.
            thread::sleep(pause.min(self.left() / 2));
            if self.left() <= LEAST {
                return result;
            }
            has_waited = true;
            pause = PAUSE_MAX.min(2 * pause);
        }
    }

    fn left(&self) -> Duration {
        self.limit.saturating_sub(self.begun.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> Result<(), CallError> {
        let (plugin, message) = ("guest".into(), "the server is away".into());
        Err(CallError::Failed { plugin, code: FailureCode::Unavailable, message })
    }

    #[test]
    fn the_calls_of_a_write_have_one_patience_together() {
        let limit = Duration::from_millis(100);
        let waiting = Patience(limit).begin();
        let mut calls = 0;
        let first = waiting.ask("files", || {
            calls += 1;
            if calls == 1 {
                return away();
            }
            // It takes more time than there is.
            thread::sleep(limit);
            Ok(())
        });
        assert_eq!((first, calls), (Ok(()), 2));
        calls = 0;
        let second = waiting.ask("files", || {
            calls += 1;
            away()
        });
        assert_eq!((second, calls), (away(), 1), "no time is left to ask again");
    }

    #[test]
    fn no_call_is_asked_again_when_time_is_up() {
        let limit = Duration::from_millis(200);
        let waiting = Patience(limit).begin();
        let mut late = 0;
        let mut calls = 0;
        let end = waiting.ask("files", || {
            calls += 1;
            late += u32::from(waiting.begun.elapsed() > limit + LEAST);
            away()
        });
        assert_eq!((end, late), (away(), 0));
        assert!(calls > 2, "{calls}");
    }
}
