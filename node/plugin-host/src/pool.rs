use crate::{counters::Used, instance::Instance};
use parking_lot::{Condvar, Mutex};
use std::{fmt, ops::Deref, time::Instant};

/// The instances of a plugin: those that wait to be called, and a count of those that are.
pub(crate) struct Pool {
    max: usize,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    #[expect(clippy::vec_box, reason = "an instance is large, and is moved in and out at every call")]
    idle: Vec<Box<Instance>>,
    out: usize,
    waiting: usize,
    /// Nobody will call again: what comes back is let go.
    closed: bool,
    used: Used,
}

impl Pool {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, state: Mutex::default(), freed: Condvar::new() }
    }

    /// Lets go of all that wait, and of those that come back.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        // Unmapping their memory is nothing to hold the lock for.
        drop(idle);
    }

    /// Counts a call that has no place of its own.
    pub(crate) fn count(&self, used: &Used) {
        self.state.lock().used.add(used);
    }

    /// What all calls used.
    pub(crate) fn used(&self) -> Used {
        self.state.lock().used
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        write!(f, "Pool(idle {}, out {}, max {})", state.idle.len(), state.out, self.max)
    }
}

/// A place for one instance that is called.
pub(crate) struct Slot<P: Deref<Target = Pool>> {
    pool: P,
    /// What waits for the next call, if it may have one.
    pub(crate) instance: Option<Box<Instance>>,
    /// What its call used, to be counted.
    pub(crate) used: Used,
}

impl<P: Deref<Target = Pool>> Slot<P> {
    /// A place, with the instance that was called last if one waits; none if none is free in time.
    pub(crate) fn take(pool: P, until: impl FnOnce() -> Instant) -> Option<Self> {
        let mut state = pool.state.lock();
        if state.out >= pool.max {
            let until = until();
            state.waiting += 1;
            while state.out >= pool.max && !pool.freed.wait_until(&mut state, until).timed_out() {}
            state.waiting -= 1;
            if state.out >= pool.max {
                return None;
            }
        }
        state.out += 1;
        let instance = state.idle.pop();
        drop(state);
        Some(Self { pool, instance, used: Used::default() })
    }
}

impl<P: Deref<Target = Pool>> Drop for Slot<P> {
    fn drop(&mut self) {
        let mut state = self.pool.state.lock();
        state.out -= 1;
        state.used.add(&self.used);
        if !state.closed {
            state.idle.extend(self.instance.take());
        }
        if state.waiting > 0 {
            self.pool.freed.notify_one();
        }
    }
}
