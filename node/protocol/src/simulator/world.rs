mod check;
mod clients;
mod drive;
mod join;
mod strike;

use super::{
    broker::Broker,
    faults::FaultKind,
    machine::{self, Make},
    meter::Meter,
    network::{Letter, Network, Pair, SessionNumber},
    parents::Parents,
    proofs::Proofs,
    publisher::{Publisher, seal},
    questions::Questions,
    random::Random,
    reference::Reference,
    regions::REGIONS,
    relays::Relays,
    settings::{Mesh, Settings},
    subscriber::Subscriber,
    trace::Trace,
    windows::Windows,
};
use crate::{InEvent, OutEvent, ServerMessage, SessionId, Subscribe};
use mainstem_model::{
    Address, Assignment, BatchId, Grant, Network as Chain, NewEvent, Partition, ReadFilter, ReadStart,
    RegistryChange, Seed, SeriesId, SeriesKey, SeriesWriter, ShardCount, Signer, StreamId, StreamPartition,
    StreamRecord, VerifiedBatch, Verifier,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Virtual time begins here, milliseconds since 1970-01-01 UTC.
const START_MS: i64 = 1_700_000_000_000;
/// Between two ticks of a broker, milliseconds.
const TICK_MS: i64 = 250;
/// The longest that a fault lasts, milliseconds.
const FAULT_MS_MAX: i64 = 10_000;
/// After the last fault, milliseconds.
const QUIET_MS: i64 = 60_000;
/// How often that is added while readers of the past come on.
const READING_MAX: usize = 10;
/// Epochs after which a shard gets another seed.
const ROTATION_EPOCHS: u16 = 4;

/// Number of the key of one who may not publish.
const FORGER: u8 = 100;

/// Which network the batches are signed for.
pub const CHAIN: Chain = Chain { chain_id: 31337, registry: Address([1; 20]) };
const STREAM: StreamId = StreamId(Address([2; 20]));

/// What is going to happen.
#[derive(Debug)]
enum Plan {
    /// To the process of a broker that has this number.
    Node(usize, u32, Box<InEvent>),
    Tick(usize, u32),
    WriteOut(usize, u32),
    Fsync(usize, u32),
    Synced(usize, u32, u64),
    Read(usize, u32, Box<OutEvent>),
    Resume(usize, u32),
    Restart(usize),
    Hear(usize, usize),
    Assign(usize, usize),
    Arrive(Box<Letter>),
    Dial(Pair),
    /// One side has a session; `last`: the other has it already.
    Up {
        here: usize,
        there: usize,
        session: SessionNumber,
        last: bool,
    },
    /// One side hears that the other has ended their session.
    Hangup {
        here: usize,
        there: usize,
        session: SessionNumber,
    },
    /// One side has heard nothing for long.
    Silence {
        here: usize,
        there: usize,
        session: SessionNumber,
    },
    Heal(Vec<Pair>),
    Client(SessionId, Box<ServerMessage>),
    Publish(usize),
    PublisherBack(usize),
    SubscriberBack(usize),
    Unstall(usize),
    Stray(SessionId, usize),
    Untimely(usize),
    Strike(FaultKind),
}

/// Whose session it is.
#[derive(Clone, Copy, Debug)]
enum Client {
    Publisher(usize),
    Subscriber(usize),
    /// Of one who publishes a second branch.
    Stray,
}

/// Brokers, what is between them, their clients, and what goes wrong.
#[derive(Debug)]
pub struct World {
    settings: Settings,
    random: Random,
    now: i64,
    plans: BTreeMap<(i64, u64), Plan>,
    planned: u64,
    make: Make,
    brokers: Vec<Broker>,
    addresses: Vec<Address>,
    by_address: BTreeMap<Address, usize>,
    network: Network,
    dialing: BTreeSet<Pair>,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    clients: BTreeMap<SessionId, (usize, Client)>,
    last_session: u64,
    last_request: u64,
    reference: Reference,
    verifier: Verifier,
    registry: Vec<RegistryChange>,
    epochs: Vec<Arc<Assignment>>,
    logs: u64,
    settling: bool,
    trace: Trace,
    meter: Meter,
    /// Batches sent before are not measured.
    measured_from: i64,
    windows: Windows,
    questions: Questions,
    relays: Relays,
    parents: Parents,
    proofs: Proofs,
    /// Who may keep which partitions.
    places: BTreeSet<(usize, StreamPartition)>,
    /// When each subscriber got each batch first, if that is counted.
    came: BTreeMap<(usize, BatchId), i64>,
    /// Batches that are not of now, which somebody publishes.
    untimely: Vec<Arc<VerifiedBatch>>,
    violations: Vec<String>,
    out: Vec<OutEvent>,
}

impl World {
    /// A world that begins now. `signer` makes the key of publisher n, from 1 on, and of one who has no rights,
    /// whose number is 100.
    pub fn new(settings: Settings, signer: impl Fn(u8) -> Signer) -> Self {
        Self::of(machine::node, settings, signer)
    }

    /// A world of other machines.
    pub fn of(make: Make, settings: Settings, signer: impl Fn(u8) -> Signer) -> Self {
        let mut random = Random::new(settings.seed);
        let verifier = Verifier::new(CHAIN);
        let mut reference = Reference::default();
        let publishers: Vec<_> = (0..settings.publishers)
            .map(|n| {
                let at = partition(random.below(settings.partitions.into()));
                let mut publisher = Publisher::new(CHAIN, at, signer(n as u8 + 1), n as u64 + 1);
                // What liars hold is not held.
                let liars = settings.hostile.len() as u8;
                publisher.copies_max = settings.replicas.unwrap_or(1).saturating_sub(liars).max(1);
                publisher.forks = n == 0 && settings.faults.has(FaultKind::Equivocate);
                publisher
            })
            .collect();
        let places: Vec<_> = (0..settings.partitions).map(|number| partition(number.into())).collect();
        let unlawful = forged(&signer(FORGER), &places, &verifier, &mut reference);
        let regions: Vec<_> = (0..settings.brokers).map(|_| random.below(REGIONS as u64) as usize).collect();
        let untimely = if settings.untimely {
            untimely(&publishers, &places, &verifier, &mut reference)
        } else {
            Vec::new()
        };
        // What is from before now they may have had from somebody who took it in then.
        let to_come = untimely.iter().filter(|batch| batch.header().timestamp_min > START_MS);
        let forged: Vec<_> = unlawful.iter().chain(to_come).cloned().collect();
        let honest = settings.brokers.saturating_sub(settings.hostile.len());
        let liars: Vec<_> = (honest..settings.brokers).map(Broker::address).collect();
        let hostile = |n| settings.hostility(n).map(|kind| kind.make(&places, &forged, &liars));
        let brokers: Vec<_> = (0..settings.brokers).map(|n| Broker::new(n, hostile(n))).collect();
        let by_address = brokers.iter().enumerate().map(|(n, broker)| (broker.address, n)).collect();
        let mut world = Self {
            network: Network::new(&settings, regions),
            trace: Trace::new(settings.tracing),
            logs: settings.brokers as u64,
            settings,
            random,
            now: 0,
            plans: BTreeMap::new(),
            planned: 0,
            make,
            addresses: brokers.iter().map(|broker| broker.address).collect(),
            brokers,
            by_address,
            dialing: BTreeSet::new(),
            publishers,
            subscribers: Vec::new(),
            clients: BTreeMap::new(),
            last_session: 0,
            last_request: 0,
            reference,
            verifier,
            registry: Vec::new(),
            epochs: Vec::new(),
            settling: false,
            meter: Meter::default(),
            measured_from: 0,
            windows: Windows::default(),
            questions: Questions::default(),
            relays: Relays::default(),
            parents: Parents::default(),
            proofs: Proofs::default(),
            places: BTreeSet::new(),
            came: BTreeMap::new(),
            violations: Vec::new(),
            untimely,
            out: Vec::new(),
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.subscribers = (0..self.settings.subscribers).map(|n| self.draw_subscriber(n)).collect();
        self.registry = self.rights();
        if let (Some(replicas), Some(shards)) =
            (self.settings.replicas, ShardCount::new(self.settings.shards))
        {
            let members = self.brokers.iter().take(self.settings.members).map(|broker| (broker.address, 255));
            let first = Assignment::fixed(shards, replicas, members);
            self.epochs.push(Arc::new(Assignment { rotation_epochs: ROTATION_EPOCHS, ..first }));
        }
        self.note_places();
        for n in 0..self.brokers.len() {
            self.brokers[n].heard = self.registry.len();
            self.brokers[n].assignment = self.epochs.first().cloned();
            self.start(n);
        }
        for n in 0..self.publishers.len() {
            let later = self.settings.warm_up_ms + self.random.span(0, 1_000);
            self.plan(later, Plan::PublisherBack(n));
            self.plan(later, Plan::Publish(n));
        }
        for n in 0..self.subscribers.len() {
            let late = if self.settings.subscribers_spread { 1_000 } else { 15_000 };
            let later = self.settings.subscribers_after_ms + self.random.span(0, late);
            self.plan(later, Plan::SubscriberBack(n));
        }
        if !self.untimely.is_empty() {
            self.plan(UNTIMELY_MS, Plan::Untimely(0));
        }
        for kind in self.settings.faults.kinds() {
            self.plan_strike(kind);
        }
        if self.settings.churn_percent_per_minute > 0 {
            self.plan_strike(FaultKind::Kill);
        }
    }

    fn draw_subscriber(&mut self, n: usize) -> Subscriber {
        let mut who = [0xC1; 20];
        who[..8].copy_from_slice(&(n as u64).to_be_bytes());
        let honest = (self.settings.brokers - self.settings.hostile.len()).max(1) as u64;
        let at = partition(self.random.below(self.settings.partitions.into()));
        if self.settings.subscribers_spread {
            let ask = Subscribe { at, start: ReadStart::Now, filter: ReadFilter::ALL, live: true };
            return Subscriber::new(Address(who), n % honest as usize, ask);
        }
        let (start, from) = match self.random.below(3) {
            0 => (ReadStart::Now, i64::MIN),
            _ => (ReadStart::From, START_MS + self.random.span(0, 20_000)),
        };
        let filter = ReadFilter { from, ..ReadFilter::ALL };
        let broker = self.random.below(honest) as usize;
        Subscriber::new(Address(who), broker, Subscribe { at, start, filter, live: true })
    }

    fn rights(&self) -> Vec<RegistryChange> {
        let record = StreamRecord {
            id: STREAM,
            owner: Address([9; 20]),
            metadata: "{}".into(),
            partitions: self.settings.partitions,
            storage_days: None,
            path: None,
            key_epoch: 0,
            created_at: 0,
        };
        let publish = Grant { publish_until: Grant::FOREVER, ..Grant::NONE };
        let subscribe = Grant { subscribe_until: Grant::FOREVER, ..Grant::NONE };
        let mut changes = vec![RegistryChange::Stream(record)];
        let publishers = self.publishers.iter().filter_map(|publisher| publisher.signer().origin().address());
        changes.extend(publishers.map(|who| RegistryChange::Grant(STREAM, who, publish)));
        if self.settings.subscribers_spread {
            changes.push(RegistryChange::Grant(STREAM, Address::ZERO, subscribe));
        } else {
            let subscribers = self.subscribers.iter().map(|subscriber| subscriber.who);
            changes.extend(subscribers.map(|who| RegistryChange::Grant(STREAM, who, subscribe)));
        }
        changes
    }

    fn plan(&mut self, later: i64, plan: Plan) {
        self.plan_at(self.now + later.max(0), plan);
    }

    fn plan_at(&mut self, at: i64, plan: Plan) {
        self.planned += 1;
        self.plans.insert((at.max(self.now), self.planned), plan);
    }

    /// Runs for so many milliseconds of virtual time, or to the first violation.
    pub fn run(&mut self, ms: i64) {
        let end = self.now + ms;
        while self.violations.is_empty()
            && let Some(entry) = self.plans.first_entry()
        {
            if entry.key().0 > end {
                break;
            }
            self.now = entry.key().0;
            let plan = entry.remove();
            self.step(plan);
        }
        if self.violations.is_empty() {
            self.now = end;
        }
    }

    /// Nothing goes wrong any more and nothing new is published: what is under way comes to its end.
    pub fn settle(&mut self) {
        self.settling = true;
        self.run(FAULT_MS_MAX);
        for n in 0..self.publishers.len() {
            self.publisher_away(n, 0);
        }
        self.run(QUIET_MS);
        // Whoever reads history by single batches from a slow disk needs longer; not as long as it likes.
        for _ in 0..READING_MAX {
            let cursors: Vec<_> = self.subscribers.iter().map(Subscriber::reads_at).collect();
            if cursors.iter().all(Option::is_none) {
                break;
            }
            self.run(QUIET_MS);
            if self.subscribers.iter().map(Subscriber::reads_at).eq(cursors) {
                break;
            }
        }
    }

    /// Nothing goes wrong any more and nothing new is published, for so many milliseconds: what is under way comes.
    pub fn rest(&mut self, ms: i64) {
        self.settling = true;
        self.run(ms);
    }

    fn step(&mut self, plan: Plan) {
        match plan {
            Plan::Node(n, life, event) if self.lives(n, life) => self.handle(n, *event),
            Plan::Tick(n, life) if self.lives(n, life) => self.tick(n),
            Plan::WriteOut(n, life) if self.lives(n, life) => self.write_out(n),
            Plan::Fsync(n, life) if self.lives(n, life) => self.fsync(n),
            Plan::Synced(n, life, number) if self.lives(n, life) => self.synced(n, number),
            Plan::Read(n, life, read) if self.lives(n, life) => self.read(n, *read),
            Plan::Resume(n, life) if self.lives(n, life) => self.resume(n),
            Plan::Node(..)
            | Plan::Tick(..)
            | Plan::WriteOut(..)
            | Plan::Fsync(..)
            | Plan::Synced(..)
            | Plan::Read(..)
            | Plan::Resume(..) => {}
            Plan::Restart(n) => self.start(n),
            Plan::Hear(n, until) => self.hear(n, until),
            Plan::Assign(n, index) => self.assign(n, index),
            Plan::Arrive(letter) => self.arrive(*letter),
            Plan::Dial(pair) => self.dial(pair),
            Plan::Up { here, there, session, last } => self.up(here, there, session, last),
            Plan::Hangup { here, there, session } => self.hangup(here, there, session),
            Plan::Silence { here, there, session } => {
                if self.network.is_cut((there, here)) || self.network.is_cut((here, there)) {
                    self.end(here, there, session);
                }
            }
            Plan::Heal(pairs) => self.heal(&pairs),
            Plan::Client(session, message) => self.receive(session, *message),
            Plan::Publish(n) => self.publish(n),
            Plan::PublisherBack(n) => self.publisher_back(n),
            Plan::SubscriberBack(n) => self.subscriber_back(n),
            Plan::Unstall(n) => self.unstall(n),
            Plan::Stray(session, broker) => {
                if self.clients.remove(&session).is_some() {
                    self.handle(broker, InEvent::SessionClosed { session });
                }
            }
            Plan::Untimely(n) => self.publish_untimely(n),
            Plan::Strike(kind) => self.strike(kind),
        }
    }

    fn lives(&self, n: usize, life: u32) -> bool {
        self.brokers[n].life == life
    }

    fn violate(&mut self, what: String) {
        self.meter.violations += 1;
        if !self.settings.strict {
            return;
        }
        self.violations.push(format!("after {} ms: {what}", self.now));
    }

    /// Forgets what was counted: what is sent from now on counts.
    pub fn measure_anew(&mut self) {
        (self.meter, self.measured_from) = (Meter::default(), self.now);
    }

    fn measures(&self, batch: BatchId) -> bool {
        let sent_at = self.reference.find(batch).and_then(|sealed| sealed.sent_at);
        sent_at.is_some_and(|at| at >= self.measured_from)
    }

    /// Of the batches that count: how many were to be delivered, to all subscribers that were live, and how many were not.
    pub fn owed(&self) -> (u64, u64) {
        let from = self.measured_from;
        self.subscribers.iter().fold((0, 0), |(owed, missing), subscriber| {
            let [all, lacking] = subscriber.owed(&self.reference, from);
            (owed + all, missing + lacking)
        })
    }

    /// Sessions that each broker has, in order.
    pub fn sessions(&self) -> Vec<usize> {
        (0..self.brokers.len()).map(|n| self.network.peers(n).len()).collect()
    }

    /// What was counted, if it was to be.
    pub const fn meter(&self) -> &Meter {
        &self.meter
    }

    /// A hash of everything that has happened: the same for the same settings.
    pub const fn trace(&self) -> [u64; 2] {
        self.trace.hash()
    }

    /// How many things have happened.
    pub const fn steps(&self) -> u64 {
        self.trace.steps()
    }

    /// How long brokers stayed with parents that withheld batches, of those that they left, milliseconds.
    pub fn withheld_ms(&self) -> &[i64] {
        self.parents.left_after()
    }

    /// The longest that a broker stayed with a parent that withholds, milliseconds, left or not.
    pub const fn withheld_longest_ms(&self) -> i64 {
        self.parents.longest()
    }

    /// How many events subscribers were to get that were live when they were sent, and how many of them they got in so many
    /// milliseconds. Left out are series that a publisher forked, and partitions that no honest broker carries.
    pub fn delivered_within(&self, ms: i64) -> (u64, u64) {
        let (mut all, mut in_time) = (0, 0);
        for sealed in self.reference.all().iter().filter(|sealed| !sealed.unlawful) {
            let (header, id) = (sealed.batch.header(), sealed.batch.id());
            let (at, forked) = (header.stream_partition, self.reference.is_forked(&SeriesKey::of(header)));
            let Some(sent_at) = sealed.sent_at.filter(|_| !forked && !self.carriers(at).is_empty()) else {
                continue;
            };
            for (n, subscriber) in self.subscribers.iter().enumerate() {
                if !subscriber.wants_live(at, sent_at) {
                    continue;
                }
                let events = u64::from(header.count);
                let came = self.came.get(&(n, id)).is_some_and(|came| came - sent_at <= ms);
                all += events;
                in_time += if came { events } else { 0 };
            }
        }
        (in_time, all)
    }

    /// How many batches were published, and how many of them must be everywhere in the end.
    pub fn published(&self) -> (usize, usize) {
        let sent = self.reference.all().iter().filter(|sealed| sealed.sent_at.is_some());
        (sent.count(), self.reference.required().count())
    }
}

fn partition(number: u64) -> StreamPartition {
    let number = u16::try_from(number).ok().and_then(|number| Partition::try_from(number).ok());
    STREAM.partition(number.unwrap_or(Partition::ZERO))
}

/// Batches of one who may not publish: each proven, none with a right.
fn forged(
    signer: &Signer,
    places: &[StreamPartition],
    verifier: &Verifier,
    reference: &mut Reference,
) -> Vec<Arc<VerifiedBatch>> {
    let mut all = Vec::new();
    for at in places {
        let mut writer = SeriesWriter::new(CHAIN, *at, signer.clone(), SeriesId(0xBAD));
        let event = |n| NewEvent::binary(START_MS + n, vec![0xBD; 40].into());
        let batches: Vec<_> = (0..4).filter_map(|n| seal(&mut writer, &[event(n)], verifier)).collect();
        for batch in &batches {
            reference.seal(batch.clone(), true);
        }
        all.extend(batches);
    }
    all
}

/// Between two batches that are not of now, milliseconds.
const UNTIMELY_MS: i64 = 1_000;

/// Batches of those who may publish, each the first of its series, and each an hour off.
fn untimely(
    publishers: &[Publisher],
    places: &[StreamPartition],
    verifier: &Verifier,
    reference: &mut Reference,
) -> Vec<Arc<VerifiedBatch>> {
    /// More than brokers let pass, and clocks are wrong by.
    const OFF_MS: i64 = 60 * 60_000;
    let signers = publishers.iter().map(Publisher::signer).cycle();
    let mut all = Vec::new();
    for (number, (at, signer)) in places.iter().cycle().zip(signers).take(4 * places.len()).enumerate() {
        let series = SeriesId(0x0DD + number as u64);
        let mut writer = SeriesWriter::new(CHAIN, *at, signer.clone(), series);
        let time = START_MS + if (number / places.len()).is_multiple_of(2) { OFF_MS } else { -OFF_MS };
        all.extend(seal(&mut writer, &[NewEvent::binary(time, vec![0xDD; 40].into())], verifier));
    }
    for batch in &all {
        reference.seal(batch.clone(), true);
    }
    all
}

/// The assignment of the next epoch, in which some shards have another seed and maybe one broker another weight.
fn next_epoch(before: &Assignment, random: &mut Random) -> Assignment {
    let mut next = before.clone();
    next.epoch += 1;
    let mut seed = [0; 16];
    seed[..8].copy_from_slice(&random.next().to_be_bytes());
    next.seeds.insert(next.epoch, Seed(seed));
    let light = next.members.values().filter(|member| member.weight < 255).count();
    let which = random.below(next.members.len() as u64) as usize;
    if let Some(member) = next.members.values_mut().nth(which) {
        member.weight = if light < 2 { random.below(256) as u8 } else { 255 };
    }
    next
}
