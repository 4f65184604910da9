use parking_lot::{Mutex, MutexGuard};
use std::{cell::Cell, sync::Arc, thread, time::Duration};

/// Time of a processor that a proof may take without being long. Linux lets a thread that runs go on for 1 to 3 ms while others wait, nice or
/// not.
const LONG: Duration = Duration::from_millis(2);
/// Time of a processor that a proof may take without being slow. Those of ML-DSA take 1 to 4 ms, of a large batch some more.
const SLOW: Duration = Duration::from_millis(10);
/// Bytes of a batch that count as a proof more: the node hashes all of them, 1.3 ms for a MiB, whatever the plugin does.
const BYTES_OF_PROOF: usize = 256 << 10;
/// Pieces of work in a row, more or less, of which two may be long, or slow: the first has an instance to make, and a machine may be busy.
const FORGOTTEN_AFTER: u32 = 1_000;
/// Such pieces of work before it is the thread's habit.
const HABIT: u32 = 3;
/// The longest rest: a proof of a second at a tenth of the time.
const REST_MAX: Duration = Duration::from_secs(10);

thread_local! {
    /// Proofs that this thread has begun.
    static PROOFS: Cell<u32> = const { Cell::new(0) };
}

/// A batch of so many bytes is about to be proven.
pub(super) fn count_proof(bytes: usize) {
    let more = u32::try_from(bytes / BYTES_OF_PROOF).unwrap_or(u32::MAX).saturating_add(1);
    PROOFS.with(|proofs| proofs.set(proofs.get().wrapping_add(more)));
}

/// Threads that are behind work by turns, whatever plugins they are of: together they keep one processor busy and not all of them, as even
/// one where nobody else wants to run is not given up in no time.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Mutex<()>>);

/// Work that took a thread so long for a proof, or longer.
#[derive(Debug)]
struct Habit {
    bound: Duration,
    /// Such pieces of work lately, and others since.
    times: u32,
    others: u32,
}

impl Habit {
    const fn of(bound: Duration) -> Self {
        Self { bound, times: 0, others: 0 }
    }

    /// Counts a piece of work. Gives whether it is one of those.
    fn count(&mut self, took: Duration, proofs: u32) -> bool {
        if took >= self.bound.saturating_mul(proofs.max(1)) {
            self.times = self.times.saturating_add(1);
            return true;
        }
        self.others += 1;
        if self.others >= FORGOTTEN_AFTER {
            (self.times, self.others) = (0, 0);
        }
        false
    }

    const fn is_one(&self) -> bool {
        self.times >= HABIT
    }
}

/// How a thread stands to others. Once its work is often long it gives way to them, and once it is often slow it runs where nobody else wants
/// to; both for good, as threads cannot come forward again without rights. One that is behind works when it is its turn, and rests after what
/// is slow, so that this takes no more than its share of the thread's time.
#[derive(Debug)]
pub(super) struct Standing {
    /// Of its time that slow work may take, percent.
    percent: u32,
    turns: Turns,
    long: Habit,
    slow: Habit,
    place: Place,
}

/// Where a thread runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Where all do.
    Among,
    GivesWay,
    Behind,
}

impl Standing {
    pub(super) fn new(percent: u32, turns: Turns) -> Self {
        Self { percent, turns, long: Habit::of(LONG), slow: Habit::of(SLOW), place: Place::Among }
    }

    /// Does a piece of work. Gives how long to rest.
    pub(super) fn keep(&mut self, work: impl FnOnce()) -> Duration {
        let (took, proofs) = self.measure(work);
        self.judge(took, proofs)
    }

    /// Does a piece of work, when it is its turn. Gives what it took of a processor and how many batches it proved.
    fn measure(&self, work: impl FnOnce()) -> (Duration, u32) {
        let turn = (self.place == Place::Behind).then(|| self.turns.0.lock());
        let (begun, before) = (system::processor_time(), PROOFS.get());
        work();
        if let Some(turn) = turn {
            // To who waits: one that does not rest would take it again at once.
            MutexGuard::unlock_fair(turn);
        }
        (system::processor_time().saturating_sub(begun), PROOFS.get().wrapping_sub(before))
    }

    /// Gives how long to rest.
    fn judge(&mut self, took: Duration, proofs: u32) -> Duration {
        self.long.count(took, proofs);
        let is_slow = self.slow.count(took, proofs);
        if self.slow.is_one() && self.place != Place::Behind {
            self.place = Place::Behind;
            match system::go_behind() {
                Ok(()) => tracing::info!(
                    thread = thread::current().name(),
                    ?took,
                    proofs,
                    "a plugin's proofs are slow: their thread goes behind others and takes workers.slow_percent_max of its time"
                ),
                Err(error) => {
                    tracing::warn!(error, "a plugin's proofs are slow, and their thread stays where it is");
                }
            }
        } else if self.long.is_one() && self.place == Place::Among {
            self.place = Place::GivesWay;
            match system::give_way() {
                Ok(()) => tracing::info!(
                    thread = thread::current().name(),
                    ?took,
                    proofs,
                    "a plugin's proofs are long: their thread gives way to others"
                ),
                Err(error) => {
                    tracing::warn!(
                        error,
                        "a plugin's proofs are long, and their thread gives no way to others"
                    );
                }
            }
        }
        if is_slow && self.place == Place::Behind { rest(took, self.percent) } else { Duration::ZERO }
    }
}

/// How long to rest after work that took so long, for it to be so many percent of the time.
fn rest(took: Duration, percent: u32) -> Duration {
    (took.saturating_mul(100_u32.saturating_sub(percent)) / percent.max(1)).min(REST_MAX)
}

#[cfg(target_os = "linux")]
mod system {
    use rustix::{
        process::{getpriority_process, setpriority_process},
        time::{ClockId, Timespec, clock_gettime},
    };
    use std::time::Duration;
    use thread_priority::{
        NormalThreadSchedulePolicy::Idle, ThreadPriority, ThreadSchedulePolicy,
        set_thread_priority_and_policy, thread_native_id, thread_schedule_policy,
    };

    /// What this thread has had of processors.
    pub(super) fn processor_time() -> Duration {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(tv_sec.cast_unsigned(), u32::try_from(tv_nsec).unwrap_or_default())
    }

    /// Of a thread that gives way, so that it has a tenth of what another one has where both want to run.
    const NICENESS: i32 = 10;
    /// ns that it may go on while others that have woken wait: the least that Linux lets one choose. Niceness alone leaves it its whole slice.
    pub(in crate::workers) const SLICE_NS: u64 = 100_000;

    /// Others take a processor from this thread soon.
    pub(super) fn give_way() -> Result<(), String> {
        // Of this thread alone: Linux knows no niceness of processes.
        let niceness = getpriority_process(None).map(|is| is.max(NICENESS));
        let niceness = niceness
            .and_then(|niceness| setpriority_process(None, niceness).map(|()| niceness))
            .map_err(|error| error.to_string())?;
        if let Err(error) = shorten_slice(niceness) {
            tracing::debug!(%error, "a thread that gives way keeps its slice");
        }
        Ok(())
    }

    /// Linux passes over the slice before 6.12. The policy `SCHED_BATCH` is for this thread not to take a processor from others when it wakes,
    /// as one with a short slice would.
    ///
    /// # Errors
    /// A sandbox forbids it, or the thread is behind others already and may not come forward.
    #[expect(unsafe_code, reason = "no library sets the slice of a thread")]
    fn shorten_slice(niceness: i32) -> std::io::Result<()> {
        let attributes = libc::sched_attr {
            size: size_of::<libc::sched_attr>() as u32,
            sched_policy: libc::SCHED_BATCH.cast_unsigned(),
            sched_flags: 0,
            sched_nice: niceness,
            sched_priority: 0,
            sched_runtime: SLICE_NS,
            sched_deadline: 0,
            sched_period: 0,
        };
        // SAFETY: 0 is this thread; the kernel reads `size` bytes of the attributes and keeps nothing of them.
        let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
        if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    }

    /// Others take a processor from this thread at once. By niceness alone they would wait for a part of its slice.
    pub(super) fn go_behind() -> Result<(), String> {
        let idle = ThreadSchedulePolicy::Normal(Idle);
        match set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle) {
            // It wants to set a niceness, too, which a thread that is nice may not; it means nothing there.
            Err(error) if thread_schedule_policy() != Ok(idle) => Err(error.to_string()),
            Err(_) | Ok(()) => Ok(()),
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
pub(super) use system::SLICE_NS;

/// Elsewhere it is not known what a thread has had, so nothing is slow.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::time::Duration;

    pub(super) fn processor_time() -> Duration {
        Duration::ZERO
    }

    pub(super) fn give_way() -> Result<(), String> {
        go_behind()
    }

    pub(super) fn go_behind() -> Result<(), String> {
        Err("this system has no priorities of threads".into())
    }
}

/// Keeps a processor for as long as makes work long.
#[cfg(all(test, target_os = "linux"))]
pub(super) fn be_long() {
    keep_busy(LONG);
}

/// Keeps a processor for as long as makes work slow.
#[cfg(all(test, target_os = "linux"))]
pub(super) fn be_slow() {
    keep_busy(SLOW);
}

#[cfg(all(test, target_os = "linux"))]
fn keep_busy(time: Duration) {
    let begun = system::processor_time();
    while system::processor_time().saturating_sub(begun) < time {
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_os = "linux")]
    use std::sync::mpsc;

    #[cfg(target_os = "linux")]
    const LEAST: Duration = Duration::from_nanos(1);

    #[test]
    fn a_thread_rests_for_what_is_left_of_its_time_and_with_all_of_it_not_at_all() {
        let took = Duration::from_millis(30);
        assert_eq!(rest(took, 10), 9 * took);
        assert_eq!(rest(took, 75), took / 3);
        assert_eq!(rest(took, 100), Duration::ZERO);
        assert_eq!(rest(Duration::MAX, 1), REST_MAX);
    }

    #[test]
    fn a_large_batch_counts_as_some_proofs() {
        let of = |bytes| {
            let before = PROOFS.get();
            count_proof(bytes);
            PROOFS.get() - before
        };
        assert_eq!([0, BYTES_OF_PROOF - 1, BYTES_OF_PROOF, 4 * BYTES_OF_PROOF].map(of), [1, 1, 2, 5]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn only_work_that_was_slow_lately_a_few_times_puts_a_thread_behind_and_then_it_rests_after_it() {
        // On a thread of its own: it cannot come forward again.
        let test = thread::spawn(|| {
            let mut standing = Standing::new(10, Turns::default());
            for _ in 1..HABIT {
                assert_eq!(standing.judge(SLOW, 1), Duration::ZERO);
            }
            for _ in 0..FORGOTTEN_AFTER {
                standing.judge(SLOW - LEAST, 0);
            }
            for _ in 1..HABIT {
                assert_eq!(standing.judge(SLOW, 1), Duration::ZERO);
            }
            assert_eq!(standing.place, Place::GivesWay);
            assert_eq!(standing.judge(SLOW, 1), 9 * SLOW);
            assert_eq!(standing.place, Place::Behind);
            assert_eq!(standing.judge(8 * SLOW, 9), Duration::ZERO, "none of those proofs was slow");
            assert_eq!(standing.judge(9 * SLOW, 9), 81 * SLOW);
        });
        test.join().unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn only_work_that_was_long_lately_a_few_times_makes_a_thread_give_way_and_it_rests_for_none_of_it() {
        let test = thread::spawn(|| {
            let mut standing = Standing::new(10, Turns::default());
            for _ in 1..HABIT {
                standing.judge(2 * LONG, 2);
            }
            for _ in 0..FORGOTTEN_AFTER {
                standing.judge(2 * LONG - LEAST, 2);
            }
            for _ in 1..HABIT {
                standing.judge(LONG, 0);
            }
            assert_eq!(standing.place, Place::Among);
            assert_eq!(standing.judge(SLOW - LEAST, 1), Duration::ZERO);
            assert_eq!(standing.place, Place::GivesWay);
        });
        test.join().unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn threads_that_are_behind_work_by_turns_and_no_other_waits_for_them() {
        let turns = Turns::default();
        let work = |behind: bool, work: Box<dyn FnOnce() + Send>| {
            let turns = turns.clone();
            thread::spawn(move || {
                let mut standing = Standing::new(10, turns);
                for _ in 0..if behind { HABIT } else { 0 } {
                    standing.judge(SLOW, 1);
                }
                standing.keep(work);
            })
        };
        let (release, gate) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let begun = tell.clone();
        let first = work(
            true,
            Box::new(move || {
                begun.send("the first begins").unwrap();
                gate.recv().unwrap();
            }),
        );
        assert_eq!(told.recv(), Ok("the first begins"));
        let second = tell.clone();
        let second = work(true, Box::new(move || second.send("the second").unwrap()));
        let other = work(false, Box::new(move || tell.send("one that is not behind").unwrap()));
        assert_eq!(told.recv(), Ok("one that is not behind"));
        other.join().unwrap();
        assert_eq!(told.recv_timeout(Duration::from_millis(50)), Err(mpsc::RecvTimeoutError::Timeout));
        release.send(()).unwrap();
        assert_eq!(told.recv(), Ok("the second"));
        first.join().unwrap();
        second.join().unwrap();
    }
}
