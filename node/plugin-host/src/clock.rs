use std::time::{Duration, Instant};

/// A clock for what happens a million times in a second: reading the exact one takes 25 to 80 ns, by machine, and this one 5. It moves in
/// steps, on Linux of 1 to 10 ms, and is never ahead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    begun: Instant,
    /// The same moment as the kernel counts it.
    begun_kernel: Duration,
    step: Duration,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let begun = Instant::now();
        // IMPORTANT: in this order, so that what is counted from both is never ahead.
        Self { begun, begun_kernel: kernel::now(), step: kernel::step() }
    }

    /// Now, or up to a step ago.
    pub(crate) fn now(&self) -> Instant {
        match kernel::now_coarse() {
            Some(now) => self.begun + now.saturating_sub(self.begun_kernel),
            None => Instant::now(),
        }
    }

    /// How far behind it may be.
    pub(crate) const fn step(&self) -> Duration {
        self.step
    }
}

#[cfg(target_os = "linux")]
mod kernel {
    use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};
    use std::time::Duration;

    pub(super) fn now() -> Duration {
        duration(clock_gettime(ClockId::Monotonic))
    }

    pub(super) fn now_coarse() -> Option<Duration> {
        Some(duration(clock_gettime(ClockId::MonotonicCoarse)))
    }

    pub(super) fn step() -> Duration {
        duration(clock_getres(ClockId::MonotonicCoarse))
    }

    /// Of a clock that begins with the machine: no part of it is negative.
    fn duration(time: Timespec) -> Duration {
        Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap_or_default())
    }
}

/// Where there is no coarse clock, or none that std's can be compared with.
#[cfg(not(target_os = "linux"))]
mod kernel {
    use std::time::Duration;

    pub(super) const fn now() -> Duration {
        Duration::ZERO
    }

    pub(super) const fn now_coarse() -> Option<Duration> {
        None
    }

    pub(super) const fn step() -> Duration {
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_never_ahead_and_never_further_behind_than_a_step() {
        let clock = Clock::start();
        // The kernel moves it at its own interrupt, which a busy machine may be late with.
        let slack = Duration::from_millis(50);
        assert!(clock.step() <= Duration::from_millis(10), "{:?}", clock.step());
        let until = clock.begun + Duration::from_millis(60);
        let mut last = clock.now();
        while last < until {
            let (before, now, after) = (Instant::now(), clock.now(), Instant::now());
            assert!(now <= after, "it is {:?} ahead", now - after);
            assert!(now >= last, "it went back");
            assert!(
                before.saturating_duration_since(now) <= clock.step() + slack,
                "{:?} behind",
                before - now
            );
            last = now;
        }
    }
}
