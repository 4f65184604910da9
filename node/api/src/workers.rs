use crate::WorkersConfig;
use bytes::Bytes;
use mainstem_model::{Batch, BatchError, VerifiedBatch, Verifier};
use std::{
    collections::VecDeque,
    fmt, io,
    num::NonZero,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Threads for work that takes a processor tens of microseconds and more: proving batches, checking sign-ins, signing.
///
/// Cheap to clone. The threads end with the last clone. Work is taken in the order it was handed in; who needs answers in
/// order awaits them in order.
#[derive(Clone)]
pub struct Workers {
    shared: Arc<Shared>,
    /// Room in the queue: a slot for each piece of work that is waiting or being done.
    room: Arc<Semaphore>,
    /// Closes the queue when the last clone goes.
    _closer: Arc<Closer>,
}

type Work = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Default)]
struct Queue {
    work: VecDeque<Work>,
    idle: usize,
    closed: bool,
}

struct Closer(Arc<Shared>);

/// What a worker will say.
///
/// Cancel safe: awaiting it again after a cancelled await goes on waiting.
#[derive(Debug)]
pub struct Answer<T>(oneshot::Receiver<T>);

impl<T> Answer<T> {
    /// Waits for it; `None` when the work panicked or the workers are gone.
    pub async fn wait(&mut self) -> Option<T> {
        (&mut self.0).await.ok()
    }
}

impl Workers {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn start(config: &WorkersConfig) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let room = Arc::new(Semaphore::new(config.queue_max.max(1)));
        let workers = Self { room, _closer: Arc::new(Closer(shared.clone())), shared };
        let threads = match config.threads {
            0 => thread::available_parallelism().map_or(2, NonZero::get).max(2),
            threads => threads,
        };
        for number in 0..threads {
            let shared = workers.shared.clone();
            thread::Builder::new().name(format!("prove-{number}")).spawn(move || shared.work())?;
        }
        Ok(workers)
    }

    /// Hands in a piece of work. Waits while the queue is full; then the work is done whether or not the answer is awaited.
    pub async fn submit<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Answer<T> {
        let (reply, answer) = oneshot::channel();
        // The semaphore is never closed; were it, the dropped reply would say so.
        if let Ok(slot) = self.room.clone().acquire_owned().await {
            self.shared.push(boxed(work, reply, slot));
        }
        Answer(answer)
    }

    /// Does a piece of work and gives its answer; `None` when it panicked.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        self.submit(work).await.wait().await
    }

    /// Hands in a batch to be proven.
    pub async fn submit_proof(
        &self,
        verifier: Arc<Verifier>,
        batch: Bytes,
    ) -> Answer<Result<Arc<VerifiedBatch>, BatchError>> {
        self.submit(move || prove(&verifier, batch)).await
    }
}

/// Reads and proves a batch. About 80 µs for a small one, 160 µs for 64 KiB.
///
/// # Errors
/// The first thing that does not hold.
pub fn prove(verifier: &Verifier, batch: Bytes) -> Result<Arc<VerifiedBatch>, BatchError> {
    Ok(Arc::new(verifier.verify(Batch::decode(batch)?)?))
}

fn boxed<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
    reply: oneshot::Sender<T>,
    slot: OwnedSemaphorePermit,
) -> Work {
    Box::new(move || {
        // Nobody may be waiting any more: the session went.
        if !reply.is_closed() {
            let _ = reply.send(work());
        }
        drop(slot);
    })
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, work: Work) {
        let mut queue = self.lock();
        queue.work.push_back(work);
        let wake = queue.idle > 0;
        drop(queue);
        if wake {
            self.wake.notify_one();
        }
    }

    fn work(&self) {
        let mut queue = self.lock();
        loop {
            if let Some(work) = queue.work.pop_front() {
                drop(queue);
                if catch_unwind(AssertUnwindSafe(work)).is_err() {
                    tracing::error!("a worker's task panicked; its session is told that it failed");
                }
                queue = self.lock();
            } else if queue.closed {
                return;
            } else {
                queue.idle += 1;
                queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.idle -= 1;
            }
        }
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.wake.notify_all();
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("free_slots", &self.room.available_permits()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::mpsc, time::Duration};

    fn workers(threads: usize, queue_max: usize) -> Workers {
        Workers::start(&WorkersConfig { threads, queue_max }).unwrap()
    }

    #[tokio::test]
    async fn a_panic_costs_its_own_answer_and_no_thread() {
        let workers = workers(1, 4);
        assert_eq!(workers.run(|| panic!("on purpose")).await, None::<()>);
        assert_eq!(workers.run(|| 7).await, Some(7));
    }

    #[tokio::test]
    async fn a_full_queue_makes_the_next_one_wait_and_loses_nothing() {
        let workers = workers(1, 2);
        let (release, gate) = mpsc::channel::<()>();
        let mut first = workers.submit(move || gate.recv().is_ok()).await;
        let mut second = workers.submit(|| 2).await;
        let waits = tokio::time::timeout(Duration::from_millis(50), workers.submit(|| 3)).await;
        assert!(waits.is_err(), "the third one found room");
        release.send(()).unwrap();
        assert_eq!(first.wait().await, Some(true));
        assert_eq!(second.wait().await, Some(2));
        assert_eq!(workers.run(|| 3).await, Some(3));
    }

    #[tokio::test]
    async fn threads_end_with_the_last_clone() {
        let workers = workers(2, 2);
        let weak = Arc::downgrade(&workers.shared);
        drop(workers.clone());
        assert_eq!(workers.run(|| 1).await, Some(1));
        drop(workers);
        while weak.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    }
}
