//! Group commit: one thread appends everything that waits as one group, another makes everything that waits durable with
//! one fsync, so that neither waits for a timer nor for the other.

use crate::{Append, EventLog, StoreError, WriterConfig};
use mainstem_model::VerifiedBatch;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

/// A batch to be written.
#[derive(Debug)]
pub struct Write {
    /// Names it in the completion.
    pub token: u64,
    /// The batch.
    pub batch: Arc<VerifiedBatch>,
    /// When it came, milliseconds.
    pub received_at: i64,
    /// Whether to report when it is durable too.
    pub durable: bool,
}

/// What became of writes.
#[derive(Debug)]
pub enum Completion {
    /// In the journal, at these arrival numbers: (token, position), in the order of `submit`.
    Stored(Vec<(u64, u64)>),
    /// fsync returned: these and everything stored before them outlive the power. Comes after `Stored` of the same write.
    Durable(Vec<u64>),
    /// The store has failed. Nothing of these is kept for certain, and nothing more will be.
    Failed {
        /// The writes and syncs that get no other report.
        tokens: Vec<u64>,
        /// Why.
        error: StoreError,
    },
}

enum Task {
    Write(Write),
    Sync(u64),
}

type Report = Arc<dyn Fn(Completion) + Send + Sync>;

/// The way to the writing threads. They end, all done, when it is dropped.
pub struct Writer {
    tasks: Option<Sender<Task>>,
    threads: Vec<thread::JoinHandle<()>>,
    queued_bytes: Arc<AtomicUsize>,
    config: WriterConfig,
}

impl Writer {
    /// Starts the threads. `report` is called from them and should only pass on what it is told.
    ///
    /// # Errors
    /// The operating system gives no threads.
    pub fn spawn(
        log: Arc<dyn EventLog>,
        config: WriterConfig,
        report: impl Fn(Completion) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let report: Report = Arc::new(report);
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let (tasks, queue) = mpsc::channel();
        let (to_sync, syncs) = mpsc::channel();
        let appender = Appender {
            log: log.clone(),
            config: config.clone(),
            queued_bytes: queued_bytes.clone(),
            to_sync,
            report: report.clone(),
            unsynced_bytes: 0,
        };
        let appender =
            thread::Builder::new().name("store-append".into()).spawn(move || appender.run(&queue))?;
        let syncer = thread::Builder::new()
            .name("store-fsync".into())
            .spawn(move || sync_loop(log.as_ref(), &syncs, &report))?;
        Ok(Self { tasks: Some(tasks), threads: vec![appender, syncer], queued_bytes, config })
    }

    /// Queues a write whatever waits already: for callers that bound what they have on its way themselves.
    pub fn submit(&self, write: Write) {
        self.queued_bytes.fetch_add(write.batch.bytes().len(), Ordering::Relaxed);
        self.send(Task::Write(write));
    }

    /// Queues a write unless more than [`WriterConfig::queue_bytes_max`] bytes wait already.
    ///
    /// # Errors
    /// The write, given back.
    pub fn try_submit(&self, write: Write) -> Result<(), Write> {
        if self.queued_bytes() + write.batch.bytes().len() > self.config.queue_bytes_max {
            return Err(write);
        }
        self.submit(write);
        Ok(())
    }

    /// Reports `Durable` for `token` once everything submitted before is durable.
    pub fn sync(&self, token: u64) {
        self.send(Task::Sync(token));
    }

    /// Bytes of the batches that are not appended yet.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes.load(Ordering::Relaxed)
    }

    fn send(&self, task: Task) {
        if let Some(tasks) = &self.tasks {
            // The thread takes tasks until this end is dropped, after a failure too.
            drop(tasks.send(task));
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.tasks = None;
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("queued_bytes", &self.queued_bytes()).finish_non_exhaustive()
    }
}

/// The appending thread.
struct Appender {
    log: Arc<dyn EventLog>,
    config: WriterConfig,
    queued_bytes: Arc<AtomicUsize>,
    to_sync: Sender<Vec<u64>>,
    report: Report,
    unsynced_bytes: usize,
}

impl Appender {
    fn run(mut self, queue: &Receiver<Task>) {
        while let Ok(first) = queue.recv() {
            let (mut group, mut tokens, mut durable) = (Vec::new(), Vec::new(), Vec::new());
            let mut bytes = 0;
            let mut next = Some(first);
            while let Some(task) = next {
                match task {
                    Task::Write(write) => {
                        bytes += write.batch.bytes().len();
                        tokens.push(write.token);
                        if write.durable {
                            durable.push(write.token);
                        }
                        group.push(Append { batch: write.batch, received_at: write.received_at });
                    }
                    Task::Sync(token) => durable.push(token),
                }
                let room = group.len() < self.config.group_batches_max && bytes < self.config.group_bytes_max;
                next = room.then(|| queue.try_recv().ok()).flatten();
            }
            self.append(&group, bytes, tokens, durable);
        }
    }

    fn append(&mut self, group: &[Append], bytes: usize, mut tokens: Vec<u64>, durable: Vec<u64>) {
        if !group.is_empty() {
            let appended = self.log.append(group);
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            match appended {
                Ok(positions) => {
                    (self.report)(Completion::Stored(tokens.into_iter().zip(positions).collect()))
                }
                Err(error) => {
                    tokens.extend(durable);
                    tokens.sort_unstable();
                    tokens.dedup();
                    return (self.report)(Completion::Failed { tokens, error });
                }
            }
        }
        self.unsynced_bytes += bytes;
        if !durable.is_empty() || self.unsynced_bytes >= self.config.unsynced_bytes_max {
            self.unsynced_bytes = 0;
            // The other thread takes work until this end is dropped.
            drop(self.to_sync.send(durable));
        }
    }
}

fn sync_loop(log: &dyn EventLog, syncs: &Receiver<Vec<u64>>, report: &Report) {
    while let Ok(mut tokens) = syncs.recv() {
        // Everything here was appended before, so one fsync serves all.
        tokens.extend(syncs.try_iter().flatten());
        match log.sync() {
            Ok(()) if tokens.is_empty() => {}
            Ok(()) => report(Completion::Durable(tokens)),
            Err(error) => report(Completion::Failed { tokens, error }),
        }
    }
}
