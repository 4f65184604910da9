use super::{broker::Hook, now_ms};
use mainstem_api::Input;
use mainstem_model::{Ack, Code, Refusal, Registry, RegistryChange};
use mainstem_protocol::{Config, InEvent, Node, Now, OutEvent, Page, PastBatch, ServerMessage, SessionId};
use mainstem_store::{Append, EventLog, MemoryLog, StoreError};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, RwLock},
};
use tokio::sync::{mpsc, oneshot};

pub enum Command {
    Apply(RegistryChange),
    Crash {
        lost: usize,
        done: oneshot::Sender<()>,
    },
    Count(oneshot::Sender<usize>),
    Pause(bool),
    /// The broker's clock is so many milliseconds ahead of ours.
    Clock(i64),
}

/// The one loop that the daemon has, with everything done at once.
pub struct Driver {
    config: Config,
    node: Node,
    store: MemoryLog,
    /// Everything that was appended, for crashes.
    appended: Vec<Append>,
    changes: Vec<RegistryChange>,
    registry: Arc<RwLock<Registry>>,
    outboxes: BTreeMap<SessionId, mpsc::UnboundedSender<ServerMessage>>,
    hook: Arc<Mutex<Option<Hook>>>,
    asked: Arc<Mutex<Vec<Ack>>>,
    ahead_ms: i64,
}

impl Driver {
    pub fn new(
        config: Config,
        registry: Arc<RwLock<Registry>>,
        hook: Arc<Mutex<Option<Hook>>>,
        asked: Arc<Mutex<Vec<Ack>>>,
    ) -> Self {
        Self {
            node: Node::new(config.clone(), 1),
            config,
            store: MemoryLog::new(1),
            appended: Vec::new(),
            changes: Vec::new(),
            registry,
            outboxes: BTreeMap::new(),
            hook,
            asked,
            ahead_ms: 0,
        }
    }

    pub fn apply(&mut self, change: RegistryChange) {
        self.registry.write().unwrap().apply(change.clone());
        self.changes.push(change.clone());
        self.handle(InEvent::Registry(change));
    }

    pub async fn run(
        mut self,
        mut inputs: mpsc::Receiver<Input>,
        mut commands: mpsc::UnboundedReceiver<Command>,
    ) {
        let mut paused = false;
        loop {
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::Apply(change)) => self.apply(change),
                    Some(Command::Crash { lost, done }) => {
                        self.crash(lost);
                        let _ = done.send(());
                    }
                    Some(Command::Count(done)) => drop(done.send(self.appended.len())),
                    Some(Command::Pause(pause)) => paused = pause,
                    Some(Command::Clock(ahead_ms)) => self.ahead_ms = ahead_ms,
                    None => return,
                },
                input = inputs.recv(), if !paused => match input {
                    Some(Input::Open { session, identity, outbox }) => {
                        self.outboxes.insert(session, outbox);
                        self.handle(InEvent::SessionOpened { session, identity });
                    }
                    Some(Input::Event(InEvent::SessionClosed { session })) => {
                        self.outboxes.remove(&session);
                        self.handle(InEvent::SessionClosed { session });
                    }
                    // This broker is alone, so it is asked for itself only; what was asked for is noted.
                    Some(Input::Event(InEvent::Publish { session, request, ack, batch })) => {
                        self.asked.lock().unwrap().push(ack);
                        let ack = ack.level.into();
                        self.handle(InEvent::Publish { session, request, ack, batch });
                    }
                    Some(Input::Event(event)) => self.handle(event),
                    Some(Input::Manage(_) | Input::Network(_)) => {}
                    None => return,
                },
            }
        }
    }

    /// All memory is gone, and the end of the journal.
    fn crash(&mut self, lost: usize) {
        let kept = self.appended.len().saturating_sub(lost);
        self.appended.truncate(kept);
        self.outboxes.clear();
        self.node = Node::new(self.config.clone(), 1);
        self.store = MemoryLog::new(1);
        for append in &self.appended {
            self.store.append(std::slice::from_ref(append)).unwrap();
        }
        for change in self.changes.clone() {
            self.handle(InEvent::Registry(change));
        }
    }

    fn handle(&mut self, event: InEvent) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut out = Vec::new();
            self.node.handle(event, Now { unix_ms: now_ms() + self.ahead_ms, up_ms: now_ms() }, &mut out);
            for out in out {
                events.extend(self.perform(out));
            }
        }
    }

    fn perform(&mut self, out: OutEvent) -> Vec<InEvent> {
        match out {
            // The parts of a network of brokers; they come with it.
            OutEvent::ReadSeries { .. }
            | OutEvent::ReadProof { .. }
            | OutEvent::ReadLast { .. }
            | OutEvent::ListPartitions { .. }
            | OutEvent::DigestHeads { .. }
            | OutEvent::SummarizeHeads { .. }
            | OutEvent::Connect { .. }
            | OutEvent::Part { .. }
            | OutEvent::Tell { .. }
            | OutEvent::Drop { .. } => vec![],
            OutEvent::Send { session, message } => {
                let messages = match &mut *self.hook.lock().unwrap() {
                    Some(hook) => hook(message),
                    None => vec![message],
                };
                if let Some(outbox) = self.outboxes.get(&session) {
                    for message in messages {
                        let _ = outbox.send(message);
                    }
                }
                vec![]
            }
            OutEvent::Append { write, batch, received_at, durable, past } => {
                let append = Append { batch, received_at, past };
                self.appended.push(append.clone());
                let positions = self.store.append(&[append]).unwrap();
                let mut events = vec![InEvent::Stored { writes: vec![(write, positions[0])] }];
                if durable {
                    events.push(InEvent::Durable { writes: vec![write] });
                }
                events
            }
            OutEvent::Sync { write } => vec![InEvent::Durable { writes: vec![write] }],
            OutEvent::ReadHead { series } => {
                let result = self.store.series_head(&series).map_err(refusal);
                vec![InEvent::HeadRead { series, result }]
            }
            OutEvent::ReadBatch { read, series, sequence } => {
                let found = self.store.batch_at(&series, sequence).map_err(refusal);
                vec![InEvent::BatchRead { read, result: found.map(|found| found.map(|batch| batch.bytes)) }]
            }
            OutEvent::Freeze { write, proof, bytes_max } => {
                let result = self.store.freeze(&proof, bytes_max).map_err(refusal);
                vec![InEvent::Frozen { write, result }]
            }
            OutEvent::ResolveStart { read, at, start, filter } => {
                let result = self.store.start(at, start, &filter).map_err(refusal);
                vec![InEvent::StartResolved { read, result }]
            }
            OutEvent::ReadPage { read, at, cursor, filter, bytes_max } => {
                let page = self.store.page(at, cursor, &filter, 256, bytes_max).map_err(refusal);
                vec![InEvent::PageRead { read, result: page.map(past) }]
            }
        }
    }
}

fn past(page: mainstem_store::Page) -> Page {
    let batches = page.batches.into_iter().map(|stored| PastBatch {
        bytes: stored.bytes,
        cursor: stored.cursor,
        count: stored.count,
        received_at: stored.received_at,
    });
    Page { batches: batches.collect(), next: page.next, at_end: page.at_end, damaged: 0 }
}

fn refusal(error: StoreError) -> Refusal {
    let code =
        if matches!(error, StoreError::ForeignCursor) { Code::InvalidCursor } else { Code::DamagedHistory };
    Refusal::new(code, error.to_string())
}
