use crate::instance::Instance;
use parking_lot::{Condvar, Mutex};
use std::{fmt, sync::Arc, time::Instant};

/// The instances of a plugin: those that wait to be called, and a count of those that are.
pub(crate) struct Pool {
    max: usize,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Instance>,
    out: usize,
    waiting: usize,
}

impl Pool {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, state: Mutex::default(), freed: Condvar::new() }
    }

    /// A place, with the instance that was called last if one waits; none if none is free in time.
    pub(crate) fn take(
        self: &Arc<Self>,
        until: impl FnOnce() -> Instant,
    ) -> Option<(Slot, Option<Instance>)> {
        let mut state = self.state.lock();
        if state.out >= self.max {
            let until = until();
            state.waiting += 1;
            while state.out >= self.max && !self.freed.wait_until(&mut state, until).timed_out() {}
            state.waiting -= 1;
            if state.out >= self.max {
                return None;
            }
        }
        state.out += 1;
        Some((Slot { pool: Arc::clone(self), back: None }, state.idle.pop()))
    }

    /// Lets go of all that wait.
    pub(crate) fn clear(&self) {
        let idle = std::mem::take(&mut self.state.lock().idle);
        // Unmapping their memory is nothing to hold the lock for.
        drop(idle);
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        write!(f, "Pool(idle {}, out {}, max {})", state.idle.len(), state.out, self.max)
    }
}

/// A place for one instance that is called.
pub(crate) struct Slot {
    pool: Arc<Pool>,
    back: Option<Instance>,
}

impl Slot {
    /// Keeps an instance for the next call.
    pub(crate) fn give_back(mut self, instance: Instance) {
        self.back = Some(instance);
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.pool.state.lock();
        state.out -= 1;
        state.idle.extend(self.back.take());
        if state.waiting > 0 {
            self.pool.freed.notify_one();
        }
    }
}
