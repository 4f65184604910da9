use std::time::{Duration, Instant};

/// A thread that ran for less than one in so many parts of a call's time was kept from it.
const RAN_SHARE: u32 = 40;
/// And for less than this, however long the call is: a plugin that waits for contracts has no time to itself.
const RAN_MAX: Duration = Duration::from_millis(10);

/// A call from the first look at it on, at a tick or a host call, and what its thread had run by then. A call that is shorter is not worth the
/// look: it takes as long as an empty call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stint {
    begun: Instant,
    ran_before: Duration,
}

impl Stint {
    /// On this thread, now.
    pub(crate) fn begin() -> Self {
        Self { begun: Instant::now(), ran_before: thread_time() }
    }

    /// When it was looked at first.
    pub(crate) const fn begun(&self) -> Instant {
        self.begun
    }

    /// So much of it was waited for disks or servers, in which the thread ran for so long: that is nobody's doing.
    pub(crate) fn leave_out(&mut self, waited: Duration, ran: Duration) {
        self.begun += waited;
        self.ran_before += ran;
    }

    /// Whether the thread, which must be the same, has hardly run since: it waited for a processor, or for a contract.
    pub(crate) fn hardly_ran(&self) -> bool {
        thread_time().saturating_sub(self.ran_before) < RAN_MAX.min(self.begun.elapsed() / RAN_SHARE)
    }
}

/// How long this thread has run.
#[cfg(target_os = "linux")]
pub(crate) fn thread_time() -> Duration {
    use rustix::time::{ClockId, clock_gettime};

    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Where that cannot be told, always: no deadline is excused.
#[cfg(not(target_os = "linux"))]
pub(crate) fn thread_time() -> Duration {
    static BEGUN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    BEGUN.elapsed()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::thread;

    /// Runs for so long.
    fn run(time: Duration) {
        let begun = thread_time();
        while thread_time() - begun < time {}
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_thread_that_waits_hardly_runs_and_one_that_computes_does() {
        let stint = Stint::begin();
        thread::sleep(50 * MS);
        assert!(stint.hardly_ran());
        run(50 * MS);
        assert!(!stint.hardly_ran());
    }

    #[test]
    fn no_wait_is_so_long_that_a_thread_may_run_for_more_than_the_bound() {
        let stint = Stint::begin();
        thread::sleep(RAN_SHARE * 2 * RAN_MAX);
        assert!(stint.hardly_ran());
        run(RAN_MAX);
        assert!(!stint.hardly_ran());
    }

    #[test]
    fn what_was_waited_for_disks_is_left_out_with_what_the_thread_ran_in_it() {
        let mut stint = Stint::begin();
        let before = (Instant::now(), thread_time());
        thread::sleep(400 * MS);
        run(20 * MS);
        stint.leave_out(before.0.elapsed(), thread_time() - before.1);
        // Of what is left: with the wait it would be too little.
        run(5 * MS);
        assert!(!stint.hardly_ran());
        // With what ran in the wait it would be too much.
        thread::sleep(RAN_SHARE * 12 * MS);
        assert!(stint.hardly_ran());
    }
}
