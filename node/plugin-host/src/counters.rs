use crate::Fault;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a plugin has done since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls, those that failed too.
    pub calls: u64,
    /// Signatures, contents, records and rows that were sent in calls.
    pub items: u64,
    /// Calls that a plugin answered with `failed`.
    pub failed: u64,
    /// Calls that were faults.
    pub faults: FaultCounts,
    /// What it asked the node for.
    pub host_calls: u64,
    /// Fuel that calls used, about one for each instruction.
    pub fuel: u64,
    /// Time that calls took, in µs.
    pub time_us: u64,
    /// Instances that there are now.
    pub instances: u64,
    /// Instances that were made.
    pub instances_made: u64,
    /// The most memory that an instance had after a call, in bytes.
    pub memory_bytes_high: u64,
    /// Lines that were not written to the log, over the rate.
    pub log_lines_dropped: u64,
}

/// Faults of a plugin by their kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// [`Fault::Trap`].
    pub trap: u64,
    /// [`Fault::OutOfFuel`].
    pub out_of_fuel: u64,
    /// [`Fault::Deadline`].
    pub deadline: u64,
    /// [`Fault::Memory`].
    pub memory: u64,
    /// [`Fault::Reply`].
    pub reply: u64,
}

impl FaultCounts {
    /// All of them.
    pub const fn sum(&self) -> u64 {
        self.trap + self.out_of_fuel + self.deadline + self.memory + self.reply
    }
}

/// What a host has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostCounters {
    /// Modules that were compiled.
    pub compiled: u64,
    /// Modules whose machine code was found in the cache.
    pub cached: u64,
}

/// What calls used. Counted where the lock of the pool is held anyway: atomics would cost a tenth of an empty call.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    pub(crate) calls: u64,
    pub(crate) items: u64,
    pub(crate) fuel: u64,
    /// In ns, as most calls take less than a µs.
    pub(crate) time_ns: u64,
    pub(crate) memory_bytes_high: u64,
}

impl Used {
    pub(crate) fn add(&mut self, more: &Self) {
        self.calls += more.calls;
        self.items += more.items;
        self.fuel += more.fuel;
        self.time_ns += more.time_ns;
        self.memory_bytes_high = self.memory_bytes_high.max(more.memory_bytes_high);
    }
}

/// The other [`Counters`], as they are counted.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    pub(crate) failed: AtomicU64,
    trap: AtomicU64,
    out_of_fuel: AtomicU64,
    deadline: AtomicU64,
    memory: AtomicU64,
    reply: AtomicU64,
    pub(crate) host_calls: AtomicU64,
    pub(crate) instances: AtomicU64,
    pub(crate) instances_made: AtomicU64,
    pub(crate) log_lines_dropped: AtomicU64,
}

impl Meters {
    pub(crate) fn count(&self, fault: &Fault) {
        let of = match fault {
            Fault::Trap(_) => &self.trap,
            Fault::OutOfFuel(_) => &self.out_of_fuel,
            Fault::Deadline(_) => &self.deadline,
            Fault::Memory(_) => &self.memory,
            Fault::Reply(_) => &self.reply,
        };
        of.fetch_add(1, Relaxed);
    }

    pub(crate) fn snapshot(&self, used: &Used) -> Counters {
        let read = |of: &AtomicU64| of.load(Relaxed);
        Counters {
            calls: used.calls,
            items: used.items,
            failed: read(&self.failed),
            faults: FaultCounts {
                trap: read(&self.trap),
                out_of_fuel: read(&self.out_of_fuel),
                deadline: read(&self.deadline),
                memory: read(&self.memory),
                reply: read(&self.reply),
            },
            host_calls: read(&self.host_calls),
            fuel: used.fuel,
            time_us: used.time_ns / 1_000,
            instances: read(&self.instances),
            instances_made: read(&self.instances_made),
            memory_bytes_high: used.memory_bytes_high,
            log_lines_dropped: read(&self.log_lines_dropped),
        }
    }
}
