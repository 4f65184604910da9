use std::{
    fs,
    time::{Duration, Instant},
};

/// What something took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// Of a processor, by this thread: what a busy machine does beside it is not counted.
    pub processor: Duration,
    /// On the clock.
    pub wall: Duration,
}

/// Does something, and says what it took.
pub fn spent<T>(what: impl FnOnce() -> T) -> (T, Spent) {
    let (begun, processor) = (Instant::now(), processor());
    let done = what();
    (done, Spent { processor: self::processor() - processor, wall: begun.elapsed() })
}

/// Nanoseconds that this thread has run, which stand first there.
fn processor() -> Duration {
    let times = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(times.split(' ').next().unwrap().parse().unwrap())
}

/// Open files of this process.
pub fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Memory of this process from here on.
pub struct Resident {
    before: u64,
}

impl Resident {
    /// Forgets the most that there was before.
    pub fn new() -> Self {
        fs::write("/proc/self/clear_refs", "5").unwrap();
        Self { before: status("VmRSS:") }
    }

    /// Bytes that there were more since, at the most.
    pub fn grown(&self) -> u64 {
        status("VmHWM:").saturating_sub(self.before)
    }
}

/// A line of the process's status, in bytes.
fn status(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
