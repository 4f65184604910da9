/// How a thread stands to others: one whose work has kept a processor for long once goes behind all others, for good. Threads cannot come
/// forward again without rights, and what was slow once is so again.
#[derive(Debug, Default)]
pub(super) struct Standing {
    #[cfg(target_os = "linux")]
    behind: bool,
}

#[cfg(target_os = "linux")]
mod linux {
    use super::Standing;
    use rustix::{
        process::setpriority_process,
        time::{ClockId, Timespec, clock_gettime},
    };
    use std::time::Duration;

    /// Time of a processor that a piece of work may take.
    const LONG: Duration = Duration::from_millis(20);
    /// The least there is: a sixtieth of what others get, where all want to run.
    const NICE: i32 = 19;

    impl Standing {
        /// Does a piece of work.
        pub(in super::super) fn keep<R>(&mut self, work: impl FnOnce() -> R) -> R {
            if self.behind {
                return work();
            }
            let begun = processor();
            let done = work();
            if processor().saturating_sub(begun) >= LONG {
                self.behind = true;
                // Of this thread alone. Where it may not, it stays as it is.
                match setpriority_process(None, NICE) {
                    Ok(()) => tracing::info!("a plugin's proof took long: its thread goes behind others"),
                    Err(error) => tracing::debug!(%error, "a thread keeps its priority"),
                }
            }
            done
        }
    }

    /// What this thread has had of processors.
    fn processor() -> Duration {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(tv_sec.cast_unsigned(), u32::try_from(tv_nsec).unwrap_or_default())
    }
}

/// Elsewhere priorities are of processes.
#[cfg(not(target_os = "linux"))]
impl Standing {
    /// Does a piece of work.
    pub(super) fn keep<R>(&mut self, work: impl FnOnce() -> R) -> R {
        work()
    }
}
