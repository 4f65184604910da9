use std::time::{Duration, Instant};

/// A thread that ran for less than this part of a call's time was kept from it.
const RAN_SHARE: u32 = 40;

/// A call from its first tick or host call on, and how long its thread has run since. A shorter one is not worth a look at that clock: it takes
/// as long as an empty call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stint {
    begun: Instant,
    ran: Duration,
}

impl Stint {
    /// On this thread, now.
    pub(crate) fn begin() -> Self {
        Self { begun: Instant::now(), ran: ran() }
    }

    /// So much of it went to disks or servers, which is nobody's doing.
    pub(crate) fn leave_out(&mut self, waited: Duration) {
        self.begun += waited;
    }

    /// Whether the thread, which must be the same, has hardly run since: it waited for a processor, or for a
    /// contract.
    pub(crate) fn hardly_ran(&self) -> bool {
        ran().saturating_sub(self.ran) < self.begun.elapsed() / RAN_SHARE
    }
}

/// How long this thread has run.
#[cfg(target_os = "linux")]
fn ran() -> Duration {
    use rustix::time::{ClockId, clock_gettime};

    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Where that cannot be told, always.
#[cfg(not(target_os = "linux"))]
fn ran() -> Duration {
    static BEGUN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    BEGUN.elapsed()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::thread;

    const TIME: Duration = Duration::from_millis(50);

    #[test]
    fn a_thread_that_waits_hardly_runs_and_one_that_computes_does() {
        let stint = Stint::begin();
        thread::sleep(TIME);
        assert!(stint.hardly_ran());
        let stint = Stint::begin();
        let begun = ran();
        while ran() - begun < TIME {}
        assert!(!stint.hardly_ran(), "{:?} of {:?}", ran() - begun, stint.begun.elapsed());
    }
}
