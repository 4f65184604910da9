mod standing;

use crate::WorkersConfig;
use bytes::Bytes;
use mainstem_model::{Batch, BatchError, SignatureType, VerifiedBatch, Verifier};
use standing::{Standing, Turns};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Threads for work that takes a processor tens of microseconds and more: proving batches, checking sign-ins, signing.
///
/// Cheap to clone. The threads end with the last clone. Work of one kind is taken in the order it was handed in; who needs
/// answers in order awaits them in order.
///
/// IMPORTANT: what other brokers bring goes first. It is what acks wait for that were promised already; in one queue with what
/// is new, a flood of new batches holds up those that were taken in. What is new gets its turn all the same.
#[derive(Clone)]
pub struct Workers {
    shared: Arc<Shared>,
    /// Room in the queue: a slot for each piece of work that is waiting or being done.
    room: Arc<Semaphore>,
    /// The same for other brokers' work.
    brokers_room: Arc<Semaphore>,
    /// Workers of each plugin for signatures, by its type: whatever it does, the node's and those of other plugins are left.
    plugins: Arc<BTreeMap<SignatureType, Self>>,
    /// Closes the queue when the last clone goes.
    _closer: Arc<Closer>,
}

type Work = Box<dyn FnOnce() + Send>;

/// Whose work it is.
#[derive(Clone, Copy, Debug)]
enum Lane {
    New,
    /// Another broker's.
    Brokers,
}

/// Pieces of other brokers' work that go first in a row while there is other work, too.
const BROKERS_IN_A_ROW: u32 = 7;

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Tells threads that rest.
    closes: Condvar,
}

#[derive(Default)]
struct Queue {
    work: VecDeque<Work>,
    /// Other brokers' work.
    brokers: VecDeque<Work>,
    brokers_in_a_row: u32,
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
    pub(crate) fn channel() -> (oneshot::Sender<T>, Self) {
        let (reply, answer) = oneshot::channel();
        (reply, Self(answer))
    }

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
        Self::with_plugins(config, [])
    }

    /// The same, with threads of its own for each of these signature types, which are those of plugins.
    ///
    /// # Errors
    /// As [`Workers::start`].
    pub fn with_plugins(
        config: &WorkersConfig,
        types: impl IntoIterator<Item = SignatureType>,
    ) -> io::Result<Self> {
        let own = config.plugin_threads();
        let (percent, turns) = (config.slow_percent_max, Turns::default());
        let of_plugin = |signed: SignatureType| {
            let name = format!("prove-type-{}", signed.0);
            let turns = turns.clone();
            let work = move |shared: &Shared| shared.work_of_plugin(Standing::new(percent, turns.clone()));
            Ok((signed, Self::spawn(&name, own, config.queue_max, Arc::default(), work)?))
        };
        let plugins = types.into_iter().map(of_plugin).collect::<io::Result<_>>()?;
        Self::spawn("prove", config.threads(), config.queue_max, Arc::new(plugins), Shared::work)
    }

    fn spawn(
        name: &str,
        threads: usize,
        queue_max: usize,
        plugins: Arc<BTreeMap<SignatureType, Self>>,
        work: impl Fn(&Shared) + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let [room, brokers_room] = [(); 2].map(|()| Arc::new(Semaphore::new(queue_max.max(1))));
        let workers = Self { room, brokers_room, plugins, _closer: Arc::new(Closer(shared.clone())), shared };
        for number in 0..threads {
            let (shared, work) = (workers.shared.clone(), work.clone());
            thread::Builder::new().name(format!("{name}-{number}")).spawn(move || work(&shared))?;
        }
        Ok(workers)
    }

    /// Those for what is signed so: a plugin's own, or else these.
    #[must_use]
    pub fn of(&self, signed: Option<SignatureType>) -> &Self {
        self.of_plugin(signed).unwrap_or(self)
    }

    /// How many plugins have workers of their own.
    #[must_use]
    pub fn plugins_len(&self) -> usize {
        self.plugins.len()
    }

    /// A plugin's own for what is signed so, if it has some.
    #[must_use]
    pub fn of_plugin(&self, signed: Option<SignatureType>) -> Option<&Self> {
        signed.and_then(|signed| self.plugins.get(&signed))
    }

    /// Hands in a piece of work. Waits while the queue is full; then the work is done whether or not the answer is awaited.
    pub async fn submit<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Answer<T> {
        self.hand_in(Lane::New, work).await
    }

    /// [`Workers::submit`] where there is room.
    ///
    /// # Errors
    /// There is none: gives back what was to be worked on.
    pub fn try_submit<I: Send + 'static, T: Send + 'static>(
        &self,
        input: I,
        work: impl FnOnce(I) -> T + Send + 'static,
    ) -> Result<Answer<T>, I> {
        self.try_hand_in(Lane::New, input, work)
    }

    /// [`Workers::submit`] for what another broker brings.
    pub async fn submit_of_broker<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Answer<T> {
        self.hand_in(Lane::Brokers, work).await
    }

    /// [`Workers::submit_of_broker`] where there is room.
    ///
    /// # Errors
    /// There is none: gives back what was to be worked on.
    pub fn try_submit_of_broker<I: Send + 'static, T: Send + 'static>(
        &self,
        input: I,
        work: impl FnOnce(I) -> T + Send + 'static,
    ) -> Result<Answer<T>, I> {
        self.try_hand_in(Lane::Brokers, input, work)
    }

    async fn hand_in<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Answer<T> {
        let (reply, answer) = Answer::channel();
        // The semaphore is never closed; were it, the dropped reply would say so.
        if let Ok(slot) = self.room(lane).acquire_owned().await {
            self.shared.push(lane, boxed(work, reply, slot));
        }
        answer
    }

    fn try_hand_in<I: Send + 'static, T: Send + 'static>(
        &self,
        lane: Lane,
        input: I,
        work: impl FnOnce(I) -> T + Send + 'static,
    ) -> Result<Answer<T>, I> {
        let Ok(slot) = self.room(lane).try_acquire_owned() else { return Err(input) };
        let (reply, answer) = Answer::channel();
        self.shared.push(lane, boxed(move || work(input), reply, slot));
        Ok(answer)
    }

    fn room(&self, lane: Lane) -> Arc<Semaphore> {
        match lane {
            Lane::New => self.room.clone(),
            Lane::Brokers => self.brokers_room.clone(),
        }
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
        let signed = Batch::peek_header(&batch).ok().map(|header| header.signature_type);
        self.of(signed).submit(move || prove(&verifier, batch)).await
    }
}

/// Reads and proves a batch. About 80 µs for a small one, 160 µs for 64 KiB.
///
/// # Errors
/// The first thing that does not hold.
pub fn prove(verifier: &Verifier, batch: Bytes) -> Result<Arc<VerifiedBatch>, BatchError> {
    standing::count_proof(batch.len());
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

    fn push(&self, lane: Lane, work: Work) {
        let mut queue = self.lock();
        match lane {
            Lane::New => queue.work.push_back(work),
            Lane::Brokers => queue.brokers.push_back(work),
        }
        let wake = queue.idle > 0;
        drop(queue);
        if wake {
            self.wake.notify_one();
        }
    }

    fn work(&self) {
        self.work_by(|work| {
            work();
            Duration::ZERO
        });
    }

    /// What a plugin does may take long.
    fn work_of_plugin(&self, mut standing: Standing) {
        self.work_by(|work| standing.keep(work));
    }

    /// Works until the queue is closed, and rests for as long as `by` says.
    fn work_by(&self, mut by: impl FnMut(Work) -> Duration) {
        let mut queue = self.lock();
        loop {
            if let Some(work) = queue.next() {
                drop(queue);
                let rest = catch_unwind(AssertUnwindSafe(|| by(work))).unwrap_or_else(|_| {
                    tracing::error!("a worker's task panicked; its session is told that it failed");
                    Duration::ZERO
                });
                queue = self.lock();
                if rest > Duration::ZERO {
                    let rested = self.closes.wait_timeout_while(queue, rest, |queue| !queue.closed);
                    queue = rested.unwrap_or_else(PoisonError::into_inner).0;
                }
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

impl Queue {
    fn next(&mut self) -> Option<Work> {
        let is_brokers_turn = self.brokers_in_a_row < BROKERS_IN_A_ROW || self.work.is_empty();
        if is_brokers_turn && let Some(work) = self.brokers.pop_front() {
            self.brokers_in_a_row += 1;
            return Some(work);
        }
        self.brokers_in_a_row = 0;
        self.work.pop_front()
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.wake.notify_all();
        self.0.closes.notify_all();
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
    use std::sync::mpsc;

    fn workers(threads: usize, queue_max: usize) -> Workers {
        Workers::start(&WorkersConfig { threads, queue_max, ..WorkersConfig::default() }).unwrap()
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

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_plugins_thread_gives_way_once_its_work_is_long_and_goes_behind_once_slow_and_no_other_does() {
        let [slow, long, quick] = [240, 241, 242].map(SignatureType);
        let config = WorkersConfig {
            threads: 1,
            plugin_threads: 1,
            slow_percent_max: 100,
            ..WorkersConfig::default()
        };
        let workers = Workers::with_plugins(&config, [slow, long, quick]).unwrap();
        let policy = async |workers: &Workers| {
            let of_thread = || {
                let niceness = rustix::process::getpriority_process(None).unwrap();
                let attributes =
                    format!("{:?}", thread_priority::get_thread_scheduling_attributes().unwrap());
                let slice = attributes.split_once("sched_runtime: ").unwrap().1.split(',').next().unwrap();
                (thread_priority::thread_schedule_policy().unwrap(), niceness, slice.parse::<u64>().unwrap())
            };
            workers.run(of_thread).await.unwrap()
        };
        let before = policy(workers.of(Some(slow))).await;
        for workers in [workers.of(Some(slow)), &workers] {
            for _ in 0..3 {
                workers.run(standing::be_slow).await.unwrap();
            }
        }
        for workers in [workers.of(Some(long)), &workers] {
            for _ in 0..3 {
                workers.run(standing::be_long).await.unwrap();
            }
        }
        workers.of(Some(quick)).run(|| thread::sleep(Duration::from_millis(100))).await.unwrap();
        let behind =
            thread_priority::ThreadSchedulePolicy::Normal(thread_priority::NormalThreadSchedulePolicy::Idle);
        assert_eq!(policy(workers.of(Some(slow))).await.0, behind);
        // A slice of 0 is what Linux says that knows none of a thread's own, before 6.12.
        let slice = before.2.min(standing::SLICE_NS);
        let gives_way =
            thread_priority::ThreadSchedulePolicy::Normal(thread_priority::NormalThreadSchedulePolicy::Batch);
        assert_eq!(policy(workers.of(Some(long))).await, (gives_way, before.1.max(10), slice));
        assert_eq!(policy(workers.of(Some(quick))).await, before, "it waited and took nothing");
        assert_eq!(policy(&workers).await, before);
    }

    #[tokio::test]
    async fn what_other_brokers_bring_goes_first_and_the_rest_gets_its_turn() {
        let workers = workers(1, 32);
        let (release, gate) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        let mut held = workers
            .submit(move || {
                begun.send(()).unwrap();
                gate.recv().is_ok()
            })
            .await;
        begins.recv().unwrap();
        let done = Arc::new(Mutex::new(Vec::new()));
        let note = |whose: char| {
            let done = done.clone();
            move || done.lock().unwrap().push(whose)
        };
        let mut answers = Vec::new();
        for _ in 0..3 {
            answers.push(workers.submit(note('c')).await);
        }
        for _ in 0..16 {
            answers.push(workers.submit_of_broker(note('b')).await);
        }
        release.send(()).unwrap();
        assert_eq!(held.wait().await, Some(true));
        for mut answer in answers {
            assert_eq!(answer.wait().await, Some(()));
        }
        let order: String = done.lock().unwrap().iter().collect();
        assert_eq!(order, "bbbbbbbcbbbbbbbcbbc");
    }

    #[tokio::test]
    async fn a_plugin_that_takes_all_its_workers_holds_up_neither_another_one_nor_the_node() {
        let (slow, other) = (SignatureType(240), SignatureType(241));
        let config =
            WorkersConfig { threads: 2, plugin_threads: 1, queue_max: 2, ..WorkersConfig::default() };
        let workers = Workers::with_plugins(&config, [slow, other]).unwrap();
        let (release, gate) = mpsc::channel::<()>();
        let of_slow = workers.of(Some(slow));
        let mut held = of_slow.submit(move || gate.recv().is_ok()).await;
        let mut waits = of_slow.submit(|| 2).await;
        assert_eq!(workers.of(Some(other)).run(|| 3).await, Some(3));
        assert_eq!(workers.of(Some(SignatureType::SECP256K1)).run(|| 4).await, Some(4));
        assert_eq!(workers.of(None).run(|| 5).await, Some(5));
        assert!(waits.0.try_recv().is_err(), "one worker did two things at once");
        release.send(()).unwrap();
        assert_eq!((held.wait().await, waits.wait().await), (Some(true), Some(2)));
    }

    #[tokio::test]
    async fn threads_end_with_the_last_clone() {
        let workers = Workers::with_plugins(&WorkersConfig::default(), [SignatureType(16)]).unwrap();
        let weak = [&workers, workers.of(Some(SignatureType(16)))].map(|it| Arc::downgrade(&it.shared));
        drop(workers.clone());
        assert_eq!(workers.run(|| 1).await, Some(1));
        drop(workers);
        while weak.iter().any(|weak| weak.strong_count() > 0) {
            tokio::task::yield_now().await;
        }
    }
}
