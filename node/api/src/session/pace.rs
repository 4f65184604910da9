use std::time::Duration;
use tokio::time::Instant;

/// Holds requests to so many a second, over a burst of one second's worth.
#[derive(Debug)]
pub(crate) struct Pace {
    interval: Duration,
    /// When all that was counted so far would have come at an even pace.
    even: Instant,
}

const BURST: Duration = Duration::from_secs(1);

impl Pace {
    pub(crate) fn new(per_second: u32) -> Self {
        Self { interval: BURST / per_second.max(1), even: Instant::now() }
    }

    pub(crate) fn count(&mut self, requests: u32) {
        self.even = self.even.max(Instant::now()) + self.interval * requests;
    }

    /// Until when nothing more is to be taken, if so.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.even.checked_sub(BURST).filter(|until| *until > Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_the_pace_holds() {
        let mut pace = Pace::new(100);
        for _ in 0..100 {
            pace.count(1);
            assert_eq!(pace.until(), None);
        }
        pace.count(1);
        let until = pace.until().unwrap();
        assert_eq!(until - Instant::now(), Duration::from_millis(10));
        tokio::time::advance(Duration::from_millis(10)).await;
        assert_eq!(pace.until(), None);
        pace.count(7);
        assert_eq!(pace.until(), Some(Instant::now() + Duration::from_millis(70)));
    }
}
