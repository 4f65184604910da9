//! Group commit: one thread appends everything that waits as one group, another makes everything that waits durable with
//! one fsync, so that neither waits for a timer.

use crate::{Append, EventLog, StoreError};
use mainstem_model::VerifiedBatch;
use std::{
    fmt,
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

/// Batches appended as one group at most.
const GROUP_MAX: usize = 256;
/// Bytes appended as one group at most: bounds how long the first of it waits.
const GROUP_BYTES_MAX: usize = 4 << 20;

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
    /// In the journal, at these arrival numbers; in the order of `submit`.
    Stored(Vec<(u64, u64)>),
    /// fsync returned. Comes after `Stored` of the same write.
    Durable(Vec<u64>),
    /// The store has failed. Nothing that was not reported is kept for certain, and nothing more will be.
    Failed {
        /// Why.
        error: StoreError,
    },
}

enum Task {
    Write(Write),
    Sync(u64),
}

type Report = Arc<dyn Fn(Completion) + Send + Sync>;

/// The way to the writing threads. What waits in it is bounded by who submits: the state machine's
/// `write_queue_bytes_max`. The threads end, all done, when it is dropped.
pub struct Writer {
    tasks: Option<Sender<Task>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Writer {
    /// Starts the threads. `report` is called from them and should only pass on what it is told.
    ///
    /// # Errors
    /// The operating system gives no threads.
    pub fn spawn(
        log: Arc<dyn EventLog>,
        report: impl Fn(Completion) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let report: Report = Arc::new(report);
        let (tasks, queue) = mpsc::channel();
        let (to_sync, syncs) = mpsc::channel();
        let appender = {
            let (log, report) = (log.clone(), report.clone());
            thread::Builder::new()
                .name("store-append".into())
                .spawn(move || append_loop(log.as_ref(), &queue, &to_sync, &report))?
        };
        let syncer = thread::Builder::new()
            .name("store-fsync".into())
            .spawn(move || sync_loop(log.as_ref(), &syncs, &report))?;
        Ok(Self { tasks: Some(tasks), threads: vec![appender, syncer] })
    }

    /// Queues a write.
    pub fn submit(&self, write: Write) {
        self.send(Task::Write(write));
    }

    /// Reports `Durable` for `token` once everything submitted before is durable.
    pub fn sync(&self, token: u64) {
        self.send(Task::Sync(token));
    }

    fn send(&self, task: Task) {
        if let Some(tasks) = &self.tasks {
            // After a failure the thread is gone, and the failure was reported.
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
        f.write_str("Writer")
    }
}

fn append_loop(log: &dyn EventLog, queue: &Receiver<Task>, to_sync: &Sender<Vec<u64>>, report: &Report) {
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
            let room = group.len() < GROUP_MAX && bytes < GROUP_BYTES_MAX;
            next = room.then(|| queue.try_recv().ok()).flatten();
        }
        if !group.is_empty() {
            match log.append(&group) {
                Ok(positions) => report(Completion::Stored(tokens.into_iter().zip(positions).collect())),
                Err(error) => return report(Completion::Failed { error }),
            }
        }
        if !durable.is_empty() && to_sync.send(durable).is_err() {
            // The fsync thread has failed and said so.
            return;
        }
    }
}

fn sync_loop(log: &dyn EventLog, syncs: &Receiver<Vec<u64>>, report: &Report) {
    while let Ok(mut tokens) = syncs.recv() {
        // Everything here was appended before, so one fsync serves all.
        tokens.extend(syncs.try_iter().flatten());
        match log.sync() {
            Ok(()) => report(Completion::Durable(tokens)),
            Err(error) => return report(Completion::Failed { error }),
        }
    }
}
