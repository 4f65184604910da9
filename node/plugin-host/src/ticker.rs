use parking_lot::{Condvar, Mutex};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};
use wasmtime::Engine;

/// One epoch. A call that is over its deadline traps at most one of these later, and what the ticker is late.
pub(crate) const TICK_MS: u32 = 5;

/// Ticks without a call before the thread sleeps until there is one. Waking it costs a call some µs.
const IDLE_TICKS: u32 = 200;

/// Moves the engine's epoch on while calls run, on a thread of its own that ends with it.
#[derive(Debug)]
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    running: AtomicUsize,
    asleep: AtomicBool,
    stop: Mutex<bool>,
    wake: Condvar,
}

impl Ticker {
    pub(crate) fn start(engine: Engine) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let on_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("plugin-ticker".into())
            .spawn(move || on_thread.tick(&engine))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Ticks at least until the answer is dropped.
    pub(crate) fn running(&self) -> Running<'_> {
        let shared = &*self.shared;
        shared.running.fetch_add(1, SeqCst);
        // IMPORTANT: counted before it is looked at, and the thread the other way round, so one of both sees the other.
        if shared.asleep.load(SeqCst) {
            let _stop = shared.stop.lock();
            shared.wake.notify_one();
        }
        Running(shared)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        *self.shared.stop.lock() = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // It cannot panic, and there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn tick(&self, engine: &Engine) {
        let mut idle = 0;
        let mut stop = self.stop.lock();
        while !*stop {
            if idle < IDLE_TICKS {
                self.wake.wait_for(&mut stop, Duration::from_millis(TICK_MS.into()));
                engine.increment_epoch();
                idle = if self.running.load(SeqCst) == 0 { idle + 1 } else { 0 };
                continue;
            }
            self.asleep.store(true, SeqCst);
            if self.running.load(SeqCst) == 0 {
                self.wake.wait(&mut stop);
            }
            self.asleep.store(false, SeqCst);
            idle = 0;
        }
    }
}

/// A call that runs.
#[derive(Debug)]
pub(crate) struct Running<'a>(&'a Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}
