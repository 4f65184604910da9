//! Group commit: one thread appends everything that waits as one group, another makes everything that waits durable with
//! one fsync, so that neither waits for a timer nor for the other.

use crate::{Append, EventLog, StoreError, WriterConfig};
use mainstem_model::VerifiedBatch;
use std::{
    fmt,
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::Instant,
};

/// An append or fsync that takes so long is told, milliseconds.
const SLOW_MS: u128 = 1_000;

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
    /// Whether it fills up history, see [`Append::past`].
    pub past: bool,
}

/// What became of writes.
#[derive(Debug)]
pub enum Completion {
    /// In the journal, at these arrival numbers: (token, position), in the order of `submit`. The position of one that is
    /// `past` is [`NO_POSITION`](crate::NO_POSITION).
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
        let (tasks, queue) = mpsc::channel();
        let (to_sync, syncs) = mpsc::channel();
        let appender =
            Appender { log: log.clone(), config, to_sync, report: report.clone(), unsynced_bytes: 0 };
        let appender =
            thread::Builder::new().name("store-append".into()).spawn(move || appender.run(&queue))?;
        let syncer = thread::Builder::new()
            .name("store-fsync".into())
            .spawn(move || sync_loop(log.as_ref(), &syncs, &report))?;
        Ok(Self { tasks: Some(tasks), threads: vec![appender, syncer] })
    }

    /// Queues a write whatever waits already: the caller bounds what it has on its way.
    pub fn submit(&self, write: Write) {
        self.send(Task::Write(write));
    }

    /// Reports `Durable` for `token` once everything submitted before is durable.
    pub fn sync(&self, token: u64) {
        self.send(Task::Sync(token));
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
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

/// The appending thread.
struct Appender {
    log: Arc<dyn EventLog>,
    config: WriterConfig,
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
                        let Write { batch, received_at, past, .. } = write;
                        group.push(Append { batch, received_at, past });
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
            let begun = Instant::now();
            let appended = self.log.append(group);
            tell_slow(begun, "append");
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
        let begun = Instant::now();
        let synced = log.sync();
        tell_slow(begun, "fsync");
        match synced {
            Ok(()) if tokens.is_empty() => {}
            Ok(()) => report(Completion::Durable(tokens)),
            Err(error) => report(Completion::Failed { tokens, error }),
        }
    }
}

/// Acks wait for the disk: who runs the node is told, as it looks like anything else.
fn tell_slow(begun: Instant, what: &str) {
    let ms = begun.elapsed().as_millis();
    if ms >= SLOW_MS {
        tracing::warn!(ms, what, "the disk is slow: acks wait for it");
    }
}
