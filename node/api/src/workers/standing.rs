use std::{thread, time::Duration};

/// Time of a processor that a piece of work may take without being slow.
const SLOW: Duration = Duration::from_millis(5);

/// How a thread stands to others. After work that was slow it rests, so that it takes no more than its share of a processor, and from the first
/// such on it runs where nobody else wants to, for good: threads cannot come forward again without rights.
#[derive(Debug)]
pub(super) struct Standing {
    behind: bool,
    /// Of its time that slow work may take, percent.
    percent: u32,
}

impl Standing {
    pub(super) fn new(percent: u32) -> Self {
        Self { behind: false, percent }
    }

    /// Does a piece of work.
    pub(super) fn keep<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let begun = system::processor_time();
        let done = work();
        let took = system::processor_time().saturating_sub(begun);
        if took >= SLOW {
            if !self.behind {
                self.behind = true;
                match system::go_behind() {
                    Ok(()) => tracing::info!("a plugin's proof was slow: its thread goes behind others"),
                    Err(error) => {
                        tracing::warn!(error, "a plugin's proof was slow: its thread stays as it is")
                    }
                }
            }
            thread::sleep(rest(took, self.percent));
        }
        done
    }
}

/// How long to rest after work that took so long, for it to be so many percent of the time.
fn rest(took: Duration, percent: u32) -> Duration {
    (took * 100 / percent.max(1)).saturating_sub(took)
}

#[cfg(target_os = "linux")]
mod system {
    use rustix::time::{ClockId, Timespec, clock_gettime};
    use std::time::Duration;
    use thread_priority::{
        NormalThreadSchedulePolicy::Idle, ThreadPriority, ThreadSchedulePolicy,
        set_thread_priority_and_policy, thread_native_id,
    };

    /// What this thread has had of processors.
    pub(super) fn processor_time() -> Duration {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(tv_sec.cast_unsigned(), u32::try_from(tv_nsec).unwrap_or_default())
    }

    /// Others take a processor from this thread at once. With the least niceness they would wait for the end of its slice.
    pub(super) fn go_behind() -> Result<(), String> {
        let idle = ThreadSchedulePolicy::Normal(Idle);
        set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle)
            .map_err(|error| error.to_string())
    }
}

/// Elsewhere it is not known what a thread has had, so nothing is slow.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::time::Duration;

    pub(super) fn processor_time() -> Duration {
        Duration::ZERO
    }

    pub(super) fn go_behind() -> Result<(), String> {
        Err("this system has no priorities of threads".into())
    }
}

/// Keeps a processor for as long as makes work slow.
#[cfg(all(test, target_os = "linux"))]
pub(super) fn be_slow() {
    let begun = system::processor_time();
    while system::processor_time().saturating_sub(begun) < SLOW {
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_thread_rests_for_what_is_left_of_its_time_and_with_all_of_it_not_at_all() {
        let took = Duration::from_millis(30);
        assert_eq!(rest(took, 10), 9 * took);
        assert_eq!(rest(took, 75), took / 3);
        assert_eq!(rest(took, 100), Duration::ZERO);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_rests_after_slow_work_alone() {
        let mut standing = Standing::new(5);
        let begun = Instant::now();
        standing.keep(|| ());
        assert!(!standing.behind);
        standing.keep(be_slow);
        assert!(standing.behind && begun.elapsed() >= 20 * SLOW);
    }
}
