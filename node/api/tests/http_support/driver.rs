use mainstem_api::{Input, Manage, ManageAction, NetworkSeen};
use mainstem_crypto::keccak256;
use mainstem_model::{Address, Code, Grant, Refusal, Registry, RegistryChange, StreamId, StreamRecord};
use mainstem_protocol::{Config, InEvent, Node, Now, OutEvent, Page, PastBatch, ServerMessage, SessionId};
use mainstem_store::{Append, EventLog, MemoryLog, StoreError};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, RwLock},
};
use tokio::sync::mpsc;

/// The one loop that the daemon has, with everything done at once.
pub struct Driver {
    node: Node,
    store: MemoryLog,
    registry: Arc<RwLock<Registry>>,
    outboxes: BTreeMap<SessionId, mpsc::UnboundedSender<ServerMessage>>,
    created: u64,
}

impl Driver {
    pub fn new(config: Config, registry: Arc<RwLock<Registry>>) -> Self {
        Self {
            node: Node::new(config, 1),
            store: MemoryLog::new(1),
            registry,
            outboxes: BTreeMap::new(),
            created: 0,
        }
    }

    pub fn apply(&mut self, change: RegistryChange) {
        self.registry.write().unwrap().apply(change.clone());
        self.handle(InEvent::Registry(change));
    }

    pub async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        while let Some(input) = inputs.recv().await {
            match input {
                Input::Open { session, identity, outbox } => {
                    self.outboxes.insert(session, outbox);
                    self.handle(InEvent::SessionOpened { session, identity });
                }
                Input::Event(InEvent::SessionClosed { session }) => {
                    self.outboxes.remove(&session);
                    self.handle(InEvent::SessionClosed { session });
                }
                Input::Event(event) => self.handle(event),
                Input::Manage(manage) => self.manage(manage),
                Input::Network(reply) => {
                    let status = self.node.network_status(now());
                    drop(reply.send(Arc::new(NetworkSeen { status, connections: BTreeMap::new() })));
                }
            }
        }
    }

    fn handle(&mut self, event: InEvent) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut out = Vec::new();
            self.node.handle(event, now(), &mut out);
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
            | OutEvent::Tell { .. }
            | OutEvent::Connect { .. }
            | OutEvent::Part { .. }
            | OutEvent::Drop { .. } => vec![],
            OutEvent::Send { session, message } => {
                if let Some(outbox) = self.outboxes.get(&session) {
                    let _ = outbox.send(message);
                }
                vec![]
            }
            OutEvent::Append { write, batch, received_at, durable, past } => {
                let positions = self.store.append(&[Append { batch, received_at, past }]).unwrap();
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

    fn manage(&mut self, Manage { identity, action, reply }: Manage) {
        let stream = match action {
            ManageAction::Create { metadata, path, grants } => {
                self.created += 1;
                let hash = keccak256(&self.created.to_be_bytes());
                let id = StreamId(Address::from_slice(&hash[..20]).unwrap());
                let (partitions, storage_days) = StreamRecord::settings(&metadata);
                self.apply(RegistryChange::Stream(StreamRecord {
                    id,
                    owner: identity,
                    metadata,
                    partitions,
                    storage_days,
                    path,
                    key_epoch: 0,
                    created_at: 1_700_000_000,
                }));
                self.apply(RegistryChange::Grant(id, identity, super::ALL));
                for (who, grant) in grants {
                    self.apply(RegistryChange::Grant(id, who, grant));
                }
                id
            }
            ManageAction::SetMetadata { stream, metadata } => {
                let record = self.registry.read().unwrap().stream(stream).cloned();
                if let Some(mut record) = record {
                    (record.partitions, record.storage_days) = StreamRecord::settings(&metadata);
                    record.metadata = metadata;
                    self.apply(RegistryChange::Stream(record));
                }
                stream
            }
            ManageAction::Grant { stream, account, rights } => {
                let before = self.registry.read().unwrap().grants(stream).find(|(who, _)| *who == account);
                let grant = rights.to(before.map_or(Grant::NONE, |(_, grant)| grant));
                self.apply(RegistryChange::Grant(stream, account, grant));
                stream
            }
            ManageAction::Revoke { stream, account } => {
                // A stream's owner keeps its place, as in the contract.
                let grant = if account == super::alice() { super::ALL } else { Grant::NONE };
                self.apply(RegistryChange::Grant(stream, account, grant));
                stream
            }
            ManageAction::Remove { stream } => {
                self.apply(RegistryChange::Removed(stream));
                stream
            }
        };
        let _ = reply.send(Ok(stream));
    }
}

fn now() -> Now {
    Now { unix_ms: super::now_ms(), up_ms: super::now_ms() }
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
