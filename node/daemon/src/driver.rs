//! The one loop of a running node: what happens goes into the state machine, what it asks for is performed here.

use crate::{
    peer::{self, Peers, Taken},
    reader::Reader,
};
use mainstem_api::{Input, Manage, NetworkSeen};
use mainstem_model::{Code, Refusal, Registry, RegistryChange};
use mainstem_protocol::{Counters, InEvent, Node, Now, OutEvent, ServerMessage, SessionId, WriteToken};
use mainstem_store::{Completion, Write, Writer};
use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, PoisonError, RwLock},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::{mpsc, watch};

/// How often time is told to the state machine: rights that expire end within this.
const TICK: Duration = Duration::from_millis(100);

/// Inputs taken in one go before the loop looks at the store again.
const INPUTS_AT_ONCE: usize = 256;

/// What comes from other brokers taken in one go before the loop looks at the inputs again.
const PEERS_AT_ONCE: usize = 256;

/// What comes from inside taken in one go before the loop looks at the inputs again.
const INTERNAL_AT_ONCE: usize = 256;

/// What reaches the driver from inside the node.
#[derive(Debug)]
pub(crate) enum Internal {
    /// The store has done something.
    Completed(Completion),
    /// A read came back.
    Read(InEvent),
    /// The chain moved: what changed, and the number of the block that the view shows with it.
    Chain(Vec<RegistryChange>, Option<u64>),
}

/// Everything the loop works with.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) node: Node,
    pub(crate) writer: Writer,
    pub(crate) reader: Reader,
    pub(crate) inputs: mpsc::Receiver<Input>,
    pub(crate) internal: mpsc::UnboundedReceiver<Internal>,
    /// The listeners' copy of the view of streams and rights.
    pub(crate) registry: Arc<RwLock<Registry>>,
    /// Number of the block that `registry` shows.
    pub(crate) view: watch::Sender<u64>,
    /// Chain writes that light clients ask for.
    pub(crate) manage: mpsc::Sender<Manage>,
    pub(crate) counters: watch::Sender<Counters>,
    pub(crate) sessions: HashMap<SessionId, mpsc::UnboundedSender<ServerMessage>>,
    pub(crate) out: Vec<OutEvent>,
    /// Other brokers; `None` when the node is alone.
    pub(crate) peers: Option<Peers>,
    /// What was last told of the network; until the next tick it is told again.
    pub(crate) seen: Option<Arc<NetworkSeen>>,
}

/// Why the loop ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// Every listener has gone: a shutdown.
    Closed,
    /// The store failed; nothing was acknowledged after that.
    StoreFailed(String),
}

impl Driver {
    /// Runs until every [`NodeHandle`](mainstem_api::NodeHandle) is gone or the store fails.
    pub(crate) async fn run(mut self) -> Stopped {
        let stopped = self.serve().await;
        if let Some(peers) = self.peers {
            peers.stop().await;
        }
        stopped
    }

    async fn serve(&mut self) -> Stopped {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut inputs = Vec::with_capacity(INPUTS_AT_ONCE);
        loop {
            tokio::select! {
                biased;
                // IMPORTANT: first, since rights end by it and what follows may always be ready. It never is twice in a row.
                _ = tick.tick() => {
                    self.handle(InEvent::Tick);
                    self.counters.send_replace(self.node.counters());
                    self.seen = None;
                }
                Some(internal) = self.internal.recv() => {
                    if let Err(stopped) = self.handle_inside(internal) {
                        return stopped;
                    }
                    // Their turn, however much comes from inside.
                    for _ in 0..INPUTS_AT_ONCE {
                        let Ok(input) = self.inputs.try_recv() else { break };
                        self.handle_input(input);
                    }
                    self.handle_peers();
                }
                taken = self.inputs.recv_many(&mut inputs, INPUTS_AT_ONCE) => {
                    if taken == 0 {
                        return Stopped::Closed;
                    }
                    for input in inputs.drain(..) {
                        self.handle_input(input);
                    }
                    self.handle_peers();
                }
                taken = peer::next(&mut self.peers) => {
                    self.handle_taken(taken);
                    self.handle_peers();
                }
            }
        }
    }

    /// Something from inside, and what is there behind it.
    fn handle_inside(&mut self, first: Internal) -> Result<(), Stopped> {
        self.handle_internal(first)?;
        for _ in 1..INTERNAL_AT_ONCE {
            let Ok(internal) = self.internal.try_recv() else { break };
            self.handle_internal(internal)?;
        }
        Ok(())
    }

    fn handle_input(&mut self, input: Input) {
        match input {
            Input::Open { session, identity, outbox } => {
                self.sessions.insert(session, outbox);
                self.handle(InEvent::SessionOpened { session, identity });
            }
            Input::Event(event) => {
                let closed =
                    if let InEvent::SessionClosed { session } = &event { Some(*session) } else { None };
                self.handle(event);
                if let Some(session) = closed {
                    self.sessions.remove(&session);
                }
            }
            Input::Manage(manage) => {
                if let Err(error) = self.manage.try_send(manage) {
                    let manage = error.into_inner();
                    let refusal =
                        Refusal::new(Code::Overloaded, "too many chain writes wait; try again in a moment");
                    // Whoever asked may be gone, which is fine.
                    drop(manage.reply.send(Err(refusal)));
                }
            }
            Input::Network(reply) => {
                let seen = self.network_seen();
                // Whoever asked may be gone.
                drop(reply.send(seen));
            }
        }
    }

    /// IMPORTANT: put together once a tick at most: everybody may ask for it, and it can be long.
    fn network_seen(&mut self) -> Arc<NetworkSeen> {
        let (node, peers) = (&self.node, self.peers.as_ref());
        let look = || NetworkSeen {
            status: node.network_status(now()),
            connections: peers.map(Peers::connections).unwrap_or_default(),
        };
        self.seen.get_or_insert_with(|| Arc::new(look())).clone()
    }

    /// What is there from other brokers: their turn, however much comes from elsewhere.
    fn handle_peers(&mut self) {
        for _ in 0..PEERS_AT_ONCE {
            let Some(taken) = self.peers.as_mut().and_then(Peers::try_next) else { break };
            self.handle_taken(taken);
        }
    }

    fn handle_taken(&mut self, taken: Taken) {
        // IMPORTANT: its frame counts against its sender until the state machine has taken the event.
        let Taken { event, frame } = taken;
        self.handle(event);
        drop(frame);
    }

    fn handle_internal(&mut self, internal: Internal) -> Result<(), Stopped> {
        match internal {
            Internal::Completed(Completion::Stored(writes)) => {
                let writes =
                    writes.into_iter().map(|(token, position)| (WriteToken(token), position)).collect();
                self.handle(InEvent::Stored { writes });
            }
            Internal::Completed(Completion::Durable(tokens)) => {
                self.handle(InEvent::Durable { writes: tokens.into_iter().map(WriteToken).collect() });
            }
            Internal::Completed(Completion::Failed { error, .. }) => {
                tracing::error!(%error, "the store failed; no further acknowledgement is given");
                self.handle(InEvent::StoreFailed { refusal: store_failed() });
                return Err(Stopped::StoreFailed(error.to_string()));
            }
            Internal::Read(event) => self.handle(event),
            Internal::Chain(changes, head) => {
                for change in changes {
                    self.registry.write().unwrap_or_else(PoisonError::into_inner).apply(change.clone());
                    self.handle(InEvent::Registry(change));
                }
                // IMPORTANT: after its changes: who waits for a block looks at the registry next.
                if let Some(head) = head {
                    self.view.send_if_modified(|known| std::mem::replace(known, head) != head);
                }
            }
        }
        Ok(())
    }

    /// One step of the state machine, and everything it asks for.
    fn handle(&mut self, event: InEvent) {
        let mut out = std::mem::take(&mut self.out);
        self.node.handle(event, now(), &mut out);
        for output in out.drain(..) {
            self.perform(output);
        }
        self.out = out;
    }

    fn perform(&mut self, output: OutEvent) {
        match output {
            OutEvent::Append { write, batch, received_at, durable, past } => {
                self.writer.submit(Write { token: write.0, batch, received_at, durable, past });
            }
            OutEvent::Sync { write } => self.writer.sync(write.0),
            OutEvent::ReadHead { series } => self.reader.head(series),
            OutEvent::ReadBatch { read, series, sequence } => self.reader.batch(read, series, sequence),
            OutEvent::Freeze { write, proof, bytes_max } => self.reader.freeze(write, proof, bytes_max),
            OutEvent::ResolveStart { read, at, start, filter } => self.reader.start(read, at, start, filter),
            OutEvent::ReadPage { read, at, cursor, filter, bytes_max } => {
                self.reader.page(read, at, cursor, filter, bytes_max);
            }
            OutEvent::ReadSeries { read, series, from, until, bytes_max } => {
                self.reader.series(read, series, from, until, bytes_max);
            }
            OutEvent::ListPartitions { read, after, max } => self.reader.partitions(read, after, max),
            OutEvent::DigestHeads { read, partitions } => self.reader.digests(read, partitions),
            OutEvent::SummarizeHeads { read, range, heads_max, parts } => {
                self.reader.summary(read, range, heads_max, parts);
            }
            OutEvent::ReadProof { read, series } => self.reader.proof(read, series),
            OutEvent::ReadLast { read, at, before_ms } => self.reader.last(read, at, before_ms),
            OutEvent::Tell { peer, message } => {
                if let Some(peers) = &self.peers {
                    peers.tell(peer, &message);
                }
            }
            OutEvent::Connect { peer } => {
                if let Some(peers) = &self.peers {
                    peers.connect(peer);
                }
            }
            OutEvent::Part { peer } => {
                if let Some(peers) = &self.peers {
                    peers.part(peer);
                }
            }
            OutEvent::Drop { peer, for_ms, why } => {
                if let Some(peers) = &self.peers {
                    peers.drop_peer(peer, for_ms, why);
                }
            }
            OutEvent::Send { session, message } => {
                if let Some(outbox) = self.sessions.get(&session) {
                    // A closed outbox is a session whose end is on its way here.
                    drop(outbox.send(message));
                }
            }
        }
    }
}

fn store_failed() -> Refusal {
    Refusal::new(
        Code::StoreUnavailable,
        "the broker's store has failed; publish to another broker or after its restart",
    )
}

/// The clocks, read once for each event.
pub(crate) fn now() -> Now {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let milliseconds = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    Now { unix_ms: milliseconds(since), up_ms: milliseconds(START.elapsed()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_model::{Address, StreamId, StreamRecord};
    use mainstem_protocol::Config;
    use mainstem_store::{EventLog, MemoryLog, WriterConfig};
    use std::{future::poll_fn, task::Poll};
    use tokio::sync::oneshot;

    /// A driver that has not begun, and every way into it and out of it.
    struct Rig {
        driver: Driver,
        tell: mpsc::UnboundedSender<Internal>,
        inbox: mpsc::Sender<Input>,
        counted: watch::Receiver<Counters>,
        viewed: watch::Receiver<u64>,
        registry: Arc<RwLock<Registry>>,
    }

    fn rig(config: Config) -> Rig {
        let log: Arc<dyn EventLog> = Arc::new(MemoryLog::new(1));
        let (tell, internal) = mpsc::unbounded_channel();
        let (inbox, inputs) = mpsc::channel(4);
        let (counters, counted) = watch::channel(Counters::default());
        let (view, viewed) = watch::channel(0);
        let registry = Arc::new(RwLock::new(Registry::default()));
        let driver = Driver {
            node: Node::new(config, 1),
            writer: Writer::spawn(log.clone(), WriterConfig::default(), |_| {}).unwrap(),
            reader: Reader::spawn(&crate::config::ReaderConfig::default(), log, tell.clone()).unwrap(),
            inputs,
            internal,
            registry: registry.clone(),
            view,
            manage: mpsc::channel(1).0,
            counters,
            sessions: HashMap::new(),
            out: Vec::new(),
            peers: None,
            seen: None,
        };
        Rig { driver, tell, inbox, counted, viewed, registry }
    }

    #[tokio::test]
    async fn neither_time_nor_clients_wait_for_what_never_ends_inside() {
        // Whoever opens a session hears of it.
        let Rig { driver, tell, inbox, mut counted, .. } =
            rig(Config { sessions_max: 0, ..Config::default() });
        // Several times what is taken while the task has ten turns.
        for _ in 0..1_000_000 {
            tell.send(Internal::Chain(Vec::new(), None)).unwrap();
        }
        let (outbox, mut heard) = mpsc::unbounded_channel();
        inbox.send(Input::Open { session: SessionId(1), identity: None, outbox }).await.unwrap();
        counted.mark_unchanged();
        let mut run = Box::pin(driver.run());
        for _ in 0..10 {
            poll_fn(|cx| Poll::Ready(run.as_mut().poll(cx).is_ready())).await;
            tokio::task::yield_now().await;
        }
        assert!(counted.has_changed().unwrap(), "the tick waited");
        assert!(heard.try_recv().is_ok(), "the client waited");
    }

    #[tokio::test]
    async fn the_network_is_looked_at_once_a_tick_however_often_it_is_asked_for() {
        let Rig { mut driver, inbox, mut counted, .. } = rig(Config::default());
        let mut ask = || {
            let (reply, mut answer) = oneshot::channel();
            driver.handle_input(Input::Network(reply));
            answer.try_recv().unwrap()
        };
        let (first, second) = (ask(), ask());
        assert!(Arc::ptr_eq(&first, &second), "it was put together again");
        assert!(first.status.peers.is_empty() && first.connections.is_empty(), "it is alone");
        counted.mark_unchanged();
        let running = tokio::spawn(driver.run());
        counted.changed().await.unwrap();
        let (reply, answer) = oneshot::channel();
        inbox.send(Input::Network(reply)).await.unwrap();
        assert!(!Arc::ptr_eq(&first, &answer.await.unwrap()), "it is told again after the tick");
        running.abort();
    }

    #[tokio::test]
    async fn a_block_is_shown_when_its_changes_are_and_not_before() {
        let Rig { driver, tell, inbox: _inbox, mut viewed, registry, .. } = rig(Config::default());
        let id = StreamId(Address([2; 20]));
        let record = StreamRecord {
            id,
            owner: Address([1; 20]),
            metadata: "{}".into(),
            partitions: 1,
            storage_days: None,
            path: None,
            key_epoch: 0,
            created_at: 0,
        };
        tell.send(Internal::Chain(vec![RegistryChange::Stream(record)], Some(5))).unwrap();
        assert_eq!(*viewed.borrow(), 0, "the driver has not run");
        let driver = tokio::spawn(driver.run());
        viewed.wait_for(|block| *block == 5).await.unwrap();
        assert!(registry.read().unwrap().stream(id).is_some());
        driver.abort();
    }
}
