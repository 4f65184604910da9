use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Threads for work that would hold up the async ones: sealing and proving. With one thread, jobs are done in order.
///
/// What waits here is bounded by those who bring it: publishers' buffers and subscriptions' windows.
#[derive(Debug)]
pub(crate) struct Workers(Arc<Queue>);

struct Queue {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    idle: usize,
    closed: bool,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Queue")
    }
}

impl Workers {
    /// Starts threads; they end when this is dropped and nothing is left to do.
    pub(crate) fn start(name: &str, threads: usize) -> std::io::Result<Self> {
        let workers = Self(Arc::new(Queue { state: Mutex::default(), work: Condvar::new() }));
        for number in 0..threads.max(1) {
            let queue = workers.0.clone();
            thread::Builder::new().name(format!("{name}-{number}")).spawn(move || queue.run())?;
        }
        Ok(workers)
    }

    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut state = self.0.state();
        state.jobs.push_back(Box::new(job));
        if state.idle > 0 {
            self.0.work.notify_one();
        }
    }

    /// The same, for a job whose result is awaited.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (sender, answer) = oneshot::channel();
        self.run(move || drop(sender.send(job())));
        answer
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.0.state().closed = true;
        self.0.work.notify_all();
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.state();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                job();
                state = self.state();
            } else if state.closed {
                return;
            } else {
                state.idle += 1;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }
}
