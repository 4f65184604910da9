use crate::{
    log::{LOG, Log},
    publisher::Publisher,
    random::Random,
    subscriber::Subscriber,
};
use mainstem_crypto::{Address, sha256};
use mainstem_model::{
    AckLevel, Batch, Grant, Network, Origin, Partition, ReadFilter, ReadStart, RegistryChange, SeriesKey,
    StreamId, StreamRecord, VerifiedBatch, Verifier, limits::BATCH_BYTES_MAX,
};
use mainstem_protocol::{
    Config, InEvent, Node, Now, OutEvent, ServerMessage, SessionId, Subscribe, WriteToken,
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

const EPOCH_MS: i64 = 1_700_000_000_000;
const QUEUE_MAX: usize = 3_000;
/// Room for one page, and for what a few subscribers may have on their way.
const NODE_QUEUE_MAX: usize = BATCH_BYTES_MAX + 3 * QUEUE_MAX;

/// What is going to happen.
#[derive(Debug)]
enum Plan {
    Node(InEvent),
    StoreWrites,
    Fsync,
    Read(OutEvent, Option<(usize, SessionId)>),
    Publish(usize),
    PublisherAway(usize),
    Deliver(SessionId, ServerMessage),
    SubscriberAway(usize),
    SubscriberBack(usize),
    Stall(usize, bool),
    Revoke(usize),
}

pub(crate) struct World {
    seed: u64,
    random: Random,
    now: i64,
    plans: BTreeMap<(i64, u64), Plan>,
    planned: u64,
    node: Node,
    log: Log,
    verifier: Verifier,
    writes: VecDeque<(WriteToken, Arc<VerifiedBatch>, i64)>,
    unsynced: Vec<WriteToken>,
    wanted_durable: Vec<WriteToken>,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    requests: BTreeMap<(SessionId, u64), usize>,
    next_session: u64,
    next_request: u64,
    stream: StreamId,
    /// Whose subscribe the node is handling.
    asking: Option<(usize, SessionId)>,
    settling: bool,
    trace: Vec<u8>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let network = Network { chain_id: 31337, registry: Address([1; 20]) };
        let stream = StreamId(Address([2; 20]));
        let config = Config {
            subscription_queue_bytes_max: QUEUE_MAX,
            delivery_queue_bytes_max: NODE_QUEUE_MAX,
            series_cache_max: 4,
            ..Config::default()
        };
        let at = |random: &mut Random| stream.partition(Partition::try_from(random.below(2) as u16).unwrap());
        let publishers: Vec<_> =
            (0..3 + random.below(4)).map(|n| Publisher::new(network, at(&mut random), n)).collect();
        let subscribers = (0..4 + random.below(5))
            .map(|n| {
                let who = Address([100 + n as u8; 20]);
                let (start, from) = match random.below(4) {
                    0 => (ReadStart::Now, i64::MIN),
                    1 => (ReadStart::Last(random.below(60)), i64::MIN),
                    _ => (ReadStart::From, EPOCH_MS + random.below(20_000) as i64),
                };
                let live = start == ReadStart::Now || random.below(3) > 0;
                let to = if live || start != ReadStart::From || random.one_in(2) {
                    i64::MAX
                } else {
                    from.max(EPOCH_MS) + 5_000
                };
                let origin = random.one_in(4).then(|| *publishers[0].writer.key()).map(|key| key.origin);
                let filter = ReadFilter { origin, from, to };
                Subscriber::new(who, Subscribe { at: at(&mut random), start, filter, live })
            })
            .collect();
        let mut world = Self {
            seed,
            random,
            now: EPOCH_MS,
            plans: BTreeMap::new(),
            planned: 0,
            node: Node::new(config, LOG),
            log: Log::default(),
            verifier: Verifier::new(network),
            writes: VecDeque::new(),
            unsynced: Vec::new(),
            wanted_durable: Vec::new(),
            publishers,
            subscribers,
            requests: BTreeMap::new(),
            next_session: 0,
            next_request: 0,
            stream,
            asking: None,
            settling: false,
            trace: Vec::new(),
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        let record = StreamRecord {
            id: self.stream,
            owner: Address([9; 20]),
            metadata: "{}".into(),
            partitions: 2,
            storage_days: None,
            path: None,
            key_epoch: 0,
            created_at: 0,
        };
        self.node_event(InEvent::Registry(RegistryChange::Stream(record)));
        let publish = Grant { publish_until: Grant::FOREVER, ..Grant::NONE };
        let subscribe = Grant { subscribe_until: Grant::FOREVER, ..Grant::NONE };
        let origins: Vec<Origin> = self.publishers.iter().map(|p| p.writer.key().origin).collect();
        for who in origins.iter().filter_map(Origin::address) {
            self.node_event(InEvent::Registry(RegistryChange::Grant(self.stream, who, publish)));
        }
        for n in 0..self.subscribers.len() {
            let who = self.subscribers[n].who;
            self.node_event(InEvent::Registry(RegistryChange::Grant(self.stream, who, subscribe)));
            let later = self.random.below(15_000) as i64;
            self.plan(later, Plan::SubscriberBack(n));
            if self.random.one_in(6) {
                let when = self.random.below(30_000) as i64;
                self.plan(when, Plan::Revoke(n));
            }
        }
        for n in 0..self.publishers.len() {
            self.plan(0, Plan::Publish(n));
        }
    }

    fn plan(&mut self, later: i64, plan: Plan) {
        self.planned += 1;
        self.plans.insert((self.now + later.max(0), self.planned), plan);
    }

    fn delay(&mut self) -> i64 {
        if self.random.one_in(20) { self.random.below(400) as i64 } else { self.random.below(12) as i64 }
    }

    /// Runs for `ms` of virtual time.
    pub(crate) fn run(&mut self, ms: i64) {
        let end = self.now + ms;
        while let Some(entry) = self.plans.first_entry() {
            if entry.key().0 > end {
                break;
            }
            self.now = entry.key().0;
            let plan = entry.remove();
            self.step(plan);
        }
        self.now = end;
    }

    /// No more faults and no new events; everything under way comes to its end.
    pub(crate) fn settle(&mut self) {
        self.settling = true;
        for n in 0..self.subscribers.len() {
            self.step(Plan::Stall(n, false));
            if self.subscribers[n].session.is_none() {
                self.step(Plan::SubscriberBack(n));
            }
        }
        for n in 0..self.publishers.len() {
            self.step(Plan::PublisherAway(n));
        }
        self.run(60_000);
    }

    /// Compares with the reference.
    pub(crate) fn check(&self) {
        let seed = self.seed;
        for publisher in &self.publishers {
            assert!(
                publisher.unacked.is_empty(),
                "SEED={seed}: {} batches were never acked",
                publisher.unacked.len()
            );
            assert_eq!(publisher.acked, publisher.sealed, "SEED={seed}");
            let key = publisher.writer.key();
            let stored: Vec<_> = self
                .log
                .entries(key.stream_partition)
                .iter()
                .filter(|e| SeriesKey::of(&e.header) == *key)
                .map(|e| e.header.sequence)
                .collect();
            assert_eq!(stored.len() as u64, publisher.sealed, "SEED={seed}: stored once each");
            assert!(stored.is_sorted(), "SEED={seed}: in order");
        }
        for subscriber in &self.subscribers {
            subscriber.check(&self.log, seed);
        }
        let counters = self.node.counters();
        assert_eq!(counters.write_queue_bytes, 0, "SEED={seed}");
        assert_eq!(counters.delivery_queue_bytes, 0, "SEED={seed}");
    }

    pub(crate) fn trace(&self) -> [u8; 32] {
        sha256(&self.trace)
    }

    fn node_event(&mut self, event: InEvent) {
        self.trace.extend_from_slice(format!("{} {event:?}\n", self.now).as_bytes());
        let mut out = Vec::new();
        self.node.handle(event, Now { unix_ms: self.now, up_ms: self.now }, &mut out);
        let queued = self.node.counters().delivery_queue_bytes as usize;
        assert!(queued <= NODE_QUEUE_MAX, "SEED={}: {queued} bytes are on their way", self.seed);
        // As the subscribers count: what they were given and their transports have not taken.
        let held: usize = self.subscribers.iter().map(|subscriber| subscriber.queue_bytes).sum();
        assert!(held <= queued, "SEED={}: {held} bytes are held, the node knows of {queued}", self.seed);
        for output in out {
            self.perform(output);
        }
    }

    fn perform(&mut self, output: OutEvent) {
        let delay = self.delay();
        match output {
            OutEvent::Append { write, batch, received_at, durable, .. } => {
                if self.writes.is_empty() {
                    self.plan(delay, Plan::StoreWrites);
                }
                self.writes.push_back((write, batch, received_at));
                if durable {
                    self.want_durable(write);
                }
            }
            OutEvent::Sync { write } => self.want_durable(write),
            OutEvent::ReadHead { .. }
            | OutEvent::ReadBatch { .. }
            | OutEvent::ResolveStart { .. }
            | OutEvent::ReadPage { .. } => self.plan(delay, Plan::Read(output, self.asking)),
            OutEvent::Freeze { proof, .. } => {
                panic!("SEED={}: nobody equivocates here: {proof:?}", self.seed)
            }
            OutEvent::ReadSeries { .. }
            | OutEvent::ReadProof { .. }
            | OutEvent::ReadLast { .. }
            | OutEvent::ListPartitions { .. }
            | OutEvent::DigestHeads { .. }
            | OutEvent::SummarizeHeads { .. }
            | OutEvent::Tell { .. }
            | OutEvent::Connect { .. }
            | OutEvent::Part { .. }
            | OutEvent::Drop { .. } => panic!("SEED={}: there is no other broker", self.seed),
            // The transport keeps the order of what it is given.
            OutEvent::Send { session, message } => self.plan(0, Plan::Deliver(session, message)),
        }
    }

    fn want_durable(&mut self, write: WriteToken) {
        self.wanted_durable.push(write);
        let delay = 4 + self.delay();
        self.plan(delay, Plan::Fsync);
    }

    fn step(&mut self, plan: Plan) {
        match plan {
            Plan::Node(event) => self.node_event(event),
            Plan::StoreWrites => {
                let mut writes = Vec::new();
                for (write, batch, received_at) in std::mem::take(&mut self.writes) {
                    writes.push((write, self.log.append(&batch, received_at)));
                    self.unsynced.push(write);
                }
                let later = self.random.below(5) as i64;
                // Completions come in the order of the writes.
                let pending = self.plans.range((self.now, 0)..).rev().find_map(|((at, _), plan)| {
                    matches!(plan, Plan::Node(InEvent::Stored { .. })).then_some(*at - self.now)
                });
                self.plan(later.max(pending.unwrap_or(0)), Plan::Node(InEvent::Stored { writes }));
            }
            Plan::Fsync => {
                let appended = |write: &WriteToken| self.writes.iter().all(|(token, ..)| token != write);
                let (writes, left) = self.wanted_durable.drain(..).partition(|write| appended(write));
                self.wanted_durable = left;
                if !self.wanted_durable.is_empty() {
                    self.plan(3, Plan::Fsync);
                }
                // After the `Stored` that is on its way.
                self.plan(500, Plan::Node(InEvent::Durable { writes }));
            }
            Plan::Read(read, asker) => self.read(read, asker),
            Plan::Publish(n) => self.publish(n),
            Plan::PublisherAway(n) => self.publisher_away(n),
            Plan::Deliver(session, message) => self.receive(session, message),
            Plan::SubscriberAway(n) => {
                if let Some(session) = self.subscribers[n].session.take() {
                    self.subscribers[n].subscription = None;
                    self.subscribers[n].queue_bytes = 0;
                    self.node_event(InEvent::SessionClosed { session });
                    let later = self.random.below(2_000) as i64;
                    self.plan(later, Plan::SubscriberBack(n));
                }
            }
            Plan::SubscriberBack(n) => self.subscriber_back(n),
            Plan::Stall(n, stalled) => {
                self.subscribers[n].stalled = stalled;
                let bytes = self.subscribers[n].queue_bytes;
                if !stalled && bytes > 0 {
                    self.flush(n, bytes);
                }
            }
            Plan::Revoke(n) => {
                if !self.settling {
                    let who = self.subscribers[n].who;
                    self.subscribers[n].revoked = true;
                    self.node_event(InEvent::Registry(RegistryChange::Grant(self.stream, who, Grant::NONE)));
                }
            }
        }
    }

    fn read(&mut self, read: OutEvent, asker: Option<(usize, SessionId)>) {
        let answer = match read {
            OutEvent::ReadHead { series } => InEvent::HeadRead { series, result: Ok(self.log.head(&series)) },
            OutEvent::ReadBatch { read, series, sequence } => {
                InEvent::BatchRead { read, result: Ok(self.log.batch(&series, sequence)) }
            }
            OutEvent::ResolveStart { read, at, start, filter } => {
                if let Some((n, session)) = asker
                    && self.subscribers[n].session == Some(session)
                {
                    self.subscribers[n].note_start(&self.log);
                }
                InEvent::StartResolved { read, result: Ok(self.log.start(at, start, &filter)) }
            }
            OutEvent::ReadPage { read, at, cursor, filter, bytes_max } => {
                InEvent::PageRead { read, result: Ok(self.log.page(at, cursor, &filter, bytes_max)) }
            }
            OutEvent::ReadSeries { .. }
            | OutEvent::ReadProof { .. }
            | OutEvent::ReadLast { .. }
            | OutEvent::ListPartitions { .. }
            | OutEvent::DigestHeads { .. }
            | OutEvent::SummarizeHeads { .. }
            | OutEvent::Tell { .. }
            | OutEvent::Connect { .. }
            | OutEvent::Part { .. }
            | OutEvent::Drop { .. }
            | OutEvent::Append { .. }
            | OutEvent::Sync { .. }
            | OutEvent::Freeze { .. }
            | OutEvent::Send { .. } => return,
        };
        let later = self.random.below(6) as i64;
        self.plan(later, Plan::Node(answer));
    }

    fn open(&mut self, identity: Option<Address>) -> SessionId {
        self.next_session += 1;
        let session = SessionId(self.next_session);
        self.node_event(InEvent::SessionOpened { session, identity });
        session
    }

    fn publish(&mut self, n: usize) {
        if self.settling {
            return;
        }
        self.connect_publisher(n);
        for _ in 0..=self.random.below(4) {
            let batch = self.publishers[n].seal(&mut self.random, &self.verifier, self.now);
            self.send_batch(n, batch);
        }
        let later = 20 + self.random.below(600) as i64;
        self.plan(later, Plan::Publish(n));
        if self.random.one_in(8) {
            let later = self.random.below(30) as i64;
            self.plan(later, Plan::PublisherAway(n));
        }
    }

    fn connect_publisher(&mut self, n: usize) {
        if self.publishers[n].session.is_some() {
            return;
        }
        let session = self.open(None);
        self.publishers[n].session = Some(session);
        for batch in self.publishers[n].unacked.clone() {
            self.send_batch(n, batch);
        }
    }

    fn send_batch(&mut self, n: usize, batch: Arc<VerifiedBatch>) {
        let Some(session) = self.publishers[n].session else { return };
        self.next_request += 1;
        let request = self.next_request;
        self.requests.insert((session, request), n);
        let ack = if self.settling { AckLevel::Stored } else { Publisher::level(&mut self.random) };
        self.node_event(InEvent::Publish { session, request, ack: ack.into(), batch });
    }

    fn publisher_away(&mut self, n: usize) {
        if let Some(session) = self.publishers[n].session.take() {
            self.node_event(InEvent::SessionClosed { session });
        }
        if self.settling {
            self.connect_publisher(n);
        }
    }

    fn subscriber_back(&mut self, n: usize) {
        if self.subscribers[n].session.is_some() || self.subscribers[n].ended {
            return;
        }
        let session = self.open(Some(self.subscribers[n].who));
        self.subscribers[n].session = Some(session);
        let subscribe = self.subscribers[n].ask();
        self.next_request += 1;
        self.asking = Some((n, session));
        self.node_event(InEvent::Subscribe { session, request: self.next_request, subscribe });
        self.asking = None;
        if !self.settling {
            let later = self.random.below(8_000) as i64;
            self.plan(later, Plan::SubscriberAway(n));
            if self.random.one_in(2) {
                let (from, to) = (self.random.below(3_000) as i64, self.random.below(6_000) as i64);
                self.plan(from, Plan::Stall(n, true));
                self.plan(from + to, Plan::Stall(n, false));
            }
        }
    }

    fn flush(&mut self, n: usize, bytes: usize) {
        let subscriber = &mut self.subscribers[n];
        let (Some(session), Some(subscription)) = (subscriber.session, subscriber.subscription) else {
            return;
        };
        subscriber.queue_bytes -= bytes;
        self.plan(0, Plan::Node(InEvent::Flushed { session, subscription, bytes }));
    }

    fn receive(&mut self, session: SessionId, message: ServerMessage) {
        if let Some(n) = self.subscribers.iter().position(|s| s.session == Some(session)) {
            return self.subscriber_receives(n, message);
        }
        match message {
            ServerMessage::Ack { request, batch, duplicate, .. } => {
                let Some(n) = self.requests.remove(&(session, request)) else { return };
                let publisher = &mut self.publishers[n];
                publisher.duplicates += u64::from(duplicate);
                // An ack of a closed connection does not reach its publisher.
                if publisher.session == Some(session) && publisher.unacked.iter().any(|b| b.id() == batch) {
                    publisher.unacked.retain(|b| b.id() != batch);
                    publisher.acked += 1;
                }
            }
            ServerMessage::Refused { request, refusal } => {
                // A batch behind one that was lost with its connection is sent again in order.
                let n = self.requests.remove(&(session, request));
                assert!(
                    n.is_none_or(|n| self.publishers[n].session != Some(session)),
                    "SEED={}: {refusal}",
                    self.seed
                );
            }
            _ => {}
        }
    }

    fn subscriber_receives(&mut self, n: usize, message: ServerMessage) {
        let seed = self.seed;
        let subscriber = &mut self.subscribers[n];
        match message {
            ServerMessage::Subscribed { subscription, .. } => subscriber.subscription = Some(subscription),
            ServerMessage::Deliver { cursor, batch, subscription, .. } => {
                assert_eq!(subscriber.subscription, Some(subscription), "SEED={seed}");
                let bytes = batch.len();
                subscriber.queue_bytes += bytes;
                assert!(subscriber.queue_bytes <= QUEUE_MAX + bytes, "SEED={seed}: the queue has a bound");
                let batch = Batch::parse(batch).unwrap();
                // Now and then the reader dies in the middle of a batch.
                let dies = !self.settling && self.random.one_in(40);
                let limit = if dies { self.random.below(3) as usize } else { usize::MAX };
                self.subscribers[n].take(&batch, cursor, limit);
                if dies {
                    return self.step(Plan::SubscriberAway(n));
                }
                if !self.subscribers[n].stalled {
                    self.flush(n, bytes);
                }
            }
            ServerMessage::Ended { refusal, .. } => {
                assert_eq!(refusal.is_some(), subscriber.revoked, "SEED={seed}: {refusal:?}");
                subscriber.ended = true;
            }
            ServerMessage::Refused { refusal, .. } => {
                assert!(subscriber.revoked, "SEED={seed}: {refusal}");
                subscriber.ended = true;
            }
            ServerMessage::CaughtUp { subscription, .. } => {
                assert_eq!(subscriber.subscription, Some(subscription))
            }
            ServerMessage::SignedIn { .. }
            | ServerMessage::Ack { .. }
            | ServerMessage::Unsubscribed { .. } => {
                panic!("SEED={seed}: not asked for")
            }
        }
    }
}
