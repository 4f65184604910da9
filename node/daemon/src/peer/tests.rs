//! Two brokers over real sockets, with the test in place of the driver.

#![allow(clippy::wildcard_enum_match_arm, reason = "whatever else comes fails the test and is shown")]

mod aside;

use super::*;
use bytes::Bytes;
use mainstem_api::WorkersConfig;
use mainstem_model::{
    BatchId, Network, NewEvent, Origin, Partition, SeriesHead, SeriesId, SeriesKey, SeriesWriter, ShardCount,
    Signer, StreamId, StreamPartition, VerifiedBatch,
};
use mainstem_protocol::{PeerBatch, PullEnd};

const PATIENCE: Duration = Duration::from_secs(30);
const NETWORK: Network = Network { chain_id: 31337, registry: Address([1; 20]) };

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

fn key(number: u8) -> SecretKey {
    SecretKey::from_bytes(&[number; 32]).unwrap()
}

fn at() -> StreamPartition {
    StreamId(Address([2; 20])).partition(Partition::ZERO)
}

fn config() -> NetworkConfig {
    NetworkConfig {
        overlay: mainstem_overlay::Config {
            listen: vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap()],
            backoff_max_ms: 200,
            yield_ms: 50,
            ..mainstem_overlay::Config::default()
        },
        ..NetworkConfig::default()
    }
}

/// Batches of one series; every fourth is large.
fn batches(network: Network, count: usize) -> Vec<Arc<VerifiedBatch>> {
    let mut writer = SeriesWriter::new(network, at(), Signer::wallet(key(9)), SeriesId(1));
    let verifier = Verifier::new(network);
    let seal = |number: usize| {
        let bytes = if number.is_multiple_of(4) { 40_000 } else { 10 };
        let batch = writer.seal(&[NewEvent::binary(number as i64, vec![7; bytes].into())]).unwrap();
        Arc::new(verifier.verify(batch).unwrap())
    };
    (0..count).map(seal).collect()
}

struct Broker {
    peers: Peers,
    view: watch::Sender<Option<NetworkView>>,
    address: Address,
    at: Vec<String>,
}

impl Broker {
    async fn start(number: u8, config: &NetworkConfig) -> Self {
        let workers = Workers::start(&WorkersConfig::default()).unwrap();
        Self::start_with(number, config, Verifier::new(NETWORK), workers).await
    }

    async fn start_with(number: u8, config: &NetworkConfig, verifier: Verifier, workers: Workers) -> Self {
        let members = [1, 2].map(|number| (key(number).address(), 255));
        let assignment = Arc::new(Assignment::fixed(ShardCount::new(4).unwrap(), 2, members));
        let (view, shown) = watch::channel(Some(NetworkView { assignment, endpoints: BTreeMap::new() }));
        let peers = Peers::start(config, &key(number), Arc::new(verifier), workers, shown).await.unwrap();
        let at = peers.overlay.listening().await.iter().map(ToString::to_string).collect();
        Self { address: peers.overlay.address(), peers, view, at }
    }

    fn wants(&self, other: &Self) {
        self.change(|view| view.endpoints = [(other.address, other.at.clone())].into());
    }

    fn change(&self, change: impl FnOnce(&mut NetworkView)) {
        self.view.send_modify(|view| change(view.as_mut().unwrap()));
    }

    async fn next(&mut self) -> InEvent {
        soon("an event", self.peers.next()).await.event
    }

    async fn up(&mut self) -> Address {
        match self.next().await {
            InEvent::PeerUp { peer } => peer,
            other => panic!("{other:?}"),
        }
    }

    async fn message(&mut self) -> PeerMessage {
        match self.next().await {
            InEvent::Peer { message, .. } => message,
            other => panic!("{other:?}"),
        }
    }

    /// As it is, around the encoder.
    fn send(&self, to: &Self, lane: Lane, frame: impl Into<Bytes>) {
        self.peers.overlay.try_send(to.address, overlay_lane(lane), frame.into()).unwrap();
    }

    fn received(&self, name: &str) -> u64 {
        self.peers.counters.received().iter().find(|(known, ..)| *known == name).unwrap().2
    }
}

async fn pair(first: &NetworkConfig, second: &NetworkConfig) -> (Broker, Broker) {
    joined(Broker::start(1, first).await, Broker::start(2, second).await).await
}

async fn joined(first: Broker, second: Broker) -> (Broker, Broker) {
    let mut pair = (first, second);
    for broker in [&mut pair.0, &mut pair.1] {
        assert!(matches!(broker.next().await, InEvent::Assigned(_)), "before anybody comes");
    }
    pair.0.wants(&pair.1);
    pair.1.wants(&pair.0);
    assert_eq!(pair.0.up().await, pair.1.address);
    assert_eq!(pair.1.up().await, pair.0.address);
    pair
}

#[tokio::test]
async fn an_endpoint_without_a_port_is_told_with_the_one_that_is_listened_on() {
    let broker = Broker::start(1, &config()).await;
    let at = broker.at.iter().find(|at| at.contains("/udp/")).unwrap();
    let told = at.split_once("/p2p/").unwrap().0;
    let port = told.split('/').nth(4).unwrap();
    let endpoints = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        broker
            .peers
            .with_ports(&endpoints(&["/dns/a.example/udp/0/quic-v1", "/ip4/192.0.2.1/tcp/7", "?"]))
            .unwrap(),
        [format!("/dns/a.example/udp/{port}/quic-v1"), "/ip4/192.0.2.1/tcp/7".to_owned(), "?".to_owned()]
    );
    let why = broker.peers.with_ports(&endpoints(&["/ip4/192.0.2.1/tcp/0"])).unwrap_err().to_string();
    assert!(why.contains("/ip4/192.0.2.1/tcp/0 has port 0"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_broker_tells_another_comes_proven_and_in_order_on_each_lane_between_up_and_down() {
    let (mut first, second) = pair(&config(), &config()).await;
    let batches = batches(NETWORK, 100);
    for (number, batch) in (0..).zip(&batches) {
        let batch = batch.clone();
        second.peers.tell(
            first.address,
            &PeerMessage::Pulled { pull: number, batch: PeerBatch::Stored(batch.bytes().clone()) },
        );
        second.peers.tell(first.address, &PeerMessage::Store { durable: number.is_multiple_of(2), batch });
        // Without a batch, so proven at once: it must not overtake the batch before it.
        second.peers.tell(first.address, &PeerMessage::Fed { at: at(), bytes: number });
        let result = Ok(PullEnd { base: number, more: false });
        second.peers.tell(first.address, &PeerMessage::PullEnd { pull: number, result });
    }
    let (mut live, mut bulk) = (Vec::new(), Vec::new());
    for _ in 0..4 * batches.len() {
        let message = first.message().await;
        let lane = if message.lane() == Lane::Live { &mut live } else { &mut bulk };
        lane.push(message);
    }
    for (number, batch) in (0..).zip(&batches) {
        let [store, fed] = [&live[2 * number], &live[2 * number + 1]];
        assert!(
            matches!(store, PeerMessage::Store { durable, batch: told }
            if told == batch && *durable == number.is_multiple_of(2)),
            "{number}: {store:?}"
        );
        assert!(
            matches!(fed, PeerMessage::Fed { bytes, .. } if *bytes == number as u64),
            "{number}: {fed:?}"
        );
        let [pulled, end] = [&bulk[2 * number], &bulk[2 * number + 1]];
        assert!(
            matches!(pulled, PeerMessage::Pulled { pull, batch: PeerBatch::Proven(told) }
            if told == batch && *pull == number as u64),
            "{number}: {pulled:?}"
        );
        assert!(
            matches!(end, PeerMessage::PullEnd { pull, .. } if *pull == number as u64),
            "{number}: {end:?}"
        );
    }
    let gone = second.address;
    second.peers.stop().await;
    assert!(matches!(first.next().await, InEvent::PeerDown { peer } if peer == gone));
    first.peers.tell(gone, &PeerMessage::Unfollow { at: at() });
    assert_eq!(first.peers.counters.lost(Lane::Live, Lost::NotConnected), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_honest_broker_sends_is_reported_in_its_turn_and_what_follows_still_comes() {
    let (mut first, second) = pair(&config(), &config()).await;
    let hello = encode(&PeerMessage::Hello { log: 1, epoch: 0, ready: true }).unwrap();
    let mut newer = hello.to_vec();
    // The kind, behind the length, the segment table and the root's pointer.
    (newer[20], newer[21]) = (0xff, 0xff);
    second.send(&first, Lane::Live, "garbage");
    second.send(&first, Lane::Live, newer);
    second.send(&first, Lane::Live, hello.clone());
    let elsewhere = batches(Network { chain_id: 1, ..NETWORK }, 2);
    for batch in elsewhere {
        second.peers.tell(first.address, &PeerMessage::Feed { batch: PeerBatch::Proven(batch) });
    }
    second.send(&first, Lane::Live, hello.clone());
    let faulty = |event: InEvent| match event {
        InEvent::PeerFaulty { peer, fault } => {
            assert_eq!(peer, second.address);
            fault
        }
        other => panic!("{other:?}"),
    };
    assert!(matches!(faulty(first.next().await), PeerFault::Malformed(_)));
    assert!(matches!(first.message().await, PeerMessage::Hello { .. }));
    for _ in 0..2 {
        assert!(matches!(faulty(first.next().await), PeerFault::InvalidBatch(_)));
    }
    assert!(matches!(first.message().await, PeerMessage::Hello { .. }));
    second.send(&first, Lane::Bulk, hello);
    assert!(matches!(faulty(first.next().await), PeerFault::Malformed(_)), "on the wrong lane");
    for (name, count) in [("frames_unknown", 1), ("frames_malformed", 2), ("batches_invalid", 2)] {
        assert_eq!(first.received(name), count, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_to_a_broker_is_told_and_how_long_it_is_dropped() {
    let (mut first, second) = pair(&config(), &config()).await;
    let way = first.peers.connections()[&second.address].clone();
    assert_eq!((way.transport, way.dropped, way.endpoints), (Some("quic"), None, second.at.clone()));
    first.peers.drop_peer(second.address, 600_000, "for this test");
    assert!(matches!(first.next().await, InEvent::PeerDown { .. }));
    let way = first.peers.connections()[&second.address].clone();
    assert_eq!((way.transport, way.rtt), (None, None));
    let left = way.dropped.unwrap();
    assert!(left > Duration::from_secs(500) && left <= Duration::from_secs(600), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_broker_is_gone_for_its_time_and_then_comes_back() {
    let (mut first, mut second) = pair(&config(), &config()).await;
    let begun = Instant::now();
    first.peers.drop_peer(second.address, 400, "for this test");
    assert!(matches!(first.next().await, InEvent::PeerDown { .. }));
    assert!(matches!(second.next().await, InEvent::PeerDown { .. }));
    assert_eq!(first.up().await, second.address);
    assert!(begun.elapsed() >= Duration::from_millis(400), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_whose_messages_are_not_taken_is_slowed_down_and_what_was_queued_is_not_lost() {
    let small = NetworkConfig { inputs_max: 2, proofs_max: 2, ..config() };
    let (mut first, second) = pair(&small, &config()).await;
    let series = |number| SeriesKey {
        stream_partition: at(),
        origin: Origin::ethereum(Address([3; 20])),
        series: SeriesId(number),
    };
    let message = |number: u64| {
        let head = SeriesHead { next_sequence: number, ..SeriesHead::START };
        PeerMessage::Heads { heads: (0..500).map(|of| (series(of), head)).collect() }
    };
    let of = first.address;
    let lost = || second.peers.counters.lost(Lane::Live, Lost::QueueFull);
    let (mut accepted, mut idle, mut sent) = (0, 0, 0);
    soon("the queue's being full for good", async {
        while idle < 500 {
            let before = lost();
            second.peers.tell(of, &message(accepted));
            let now = second.peers.overlay.metrics().peers[&of].live.sent_bytes;
            if lost() == before {
                accepted += 1;
                idle = 0;
            } else if now == sent {
                idle += 1;
            } else {
                idle = 0;
            }
            sent = now;
            tokio::task::yield_now().await;
        }
    })
    .await;
    let inbox = first.peers.overlay.metrics().peers[&second.address].live.received_bytes;
    assert!(inbox <= 4 << 20, "{inbox} bytes were taken from it");
    // Whoever holds what it took holds its sender too, and nobody else.
    let held = [soon("one", first.peers.next()).await, soon("another", first.peers.next()).await];
    assert!(held.iter().all(|taken| taken.frame.is_some()));
    drop(held);
    for number in 2..accepted {
        let PeerMessage::Heads { heads } = first.message().await else { panic!("heads") };
        assert_eq!((heads.len(), heads[0].1.next_sequence), (500, number), "in order, none lost");
    }
    assert!(lost() > 0);
}

#[tokio::test]
async fn only_what_is_of_the_session_that_is_known_is_handed_out() {
    let mut broker = Broker::start(1, &config()).await;
    assert!(matches!(broker.next().await, InEvent::Assigned(_)));
    let (pass, passed) = mpsc::channel(16);
    broker.peers.passed = passed;
    let peer = key(2).address();
    let message = || What::Message(PeerMessage::Unfollow { at: at() });
    let fault = || What::Fault(PeerFault::Malformed("a test's"));
    for (session, what) in [
        (6, message()),
        (7, What::Began),
        (7, message()),
        (6, fault()),
        (7, What::Ended),
        (7, message()),
        (8, What::Began),
        (7, message()),
        (8, fault()),
    ] {
        pass.try_send(Passed { peer, session, what, frame: None }).unwrap();
    }
    let mut told = Vec::new();
    while let Some(taken) = broker.peers.try_next() {
        told.push(match taken.event {
            InEvent::PeerUp { .. } => "up",
            InEvent::PeerDown { .. } => "down",
            InEvent::Peer { .. } => "message",
            InEvent::PeerFaulty { .. } => "fault",
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(told, ["up", "message", "down", "up", "fault"]);
    assert_eq!(broker.received("frames_late"), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_frame_waits_for_the_beginning_of_its_session() {
    // A frame as it comes out of an overlay.
    let second = Broker::start(2, &config()).await;
    let (overlay, mut inbox) = Overlay::start(&config().overlay, &key(1)).unwrap();
    let at_first = overlay.listening().await;
    second.change(|view| {
        view.endpoints = [(overlay.address(), at_first.iter().map(ToString::to_string).collect())].into();
    });
    overlay.set_peers([(second.address, Vec::new())].into());
    let frame = soon("a frame", async {
        loop {
            second.peers.tell(overlay.address(), &PeerMessage::Inventory { ask: 5, after: None });
            if let Ok(Some(Incoming::Frame(frame))) =
                tokio::time::timeout(Duration::from_millis(20), inbox.recv()).await
            {
                return frame;
            }
        }
    })
    .await;
    let session = frame.session;

    let (pass, mut passed) = mpsc::channel(4);
    let shared = pipe::Shared {
        verifier: Arc::new(Verifier::new(NETWORK)),
        workers: Workers::start(&WorkersConfig::default()).unwrap(),
        pass,
        counters: Arc::default(),
    };
    let began = Arc::new(watch::channel(session - 1).0);
    let (items, taken) = mpsc::unbounded_channel();
    items.send(Item::Frame(frame)).unwrap();
    let bounds = Bounds { proofs_max: 4, aside_bytes_max: 1 << 20 };
    let pipe = Pipe::new(second.address, Lane::Bulk, shared, bounds, began.clone(), taken);
    let mut run = Box::pin(pipe.run());
    for _ in 0..10 {
        assert!(futures_util::poll!(run.as_mut()).is_pending());
    }
    assert!(passed.try_recv().is_err(), "it came before its session");
    began.send_replace(session);
    let running = tokio::spawn(run);
    let passed = soon("the frame", passed.recv()).await.unwrap();
    assert!(matches!(passed.what, What::Message(PeerMessage::Inventory { ask: 5, .. })));
    running.abort();
}

#[tokio::test]
async fn an_assignment_is_told_once_and_again_when_it_is_another() {
    let mut broker = Broker::start(1, &config()).await;
    assert!(matches!(broker.next().await, InEvent::Assigned(_)));
    broker.change(|view| view.endpoints = BTreeMap::from([(key(2).address(), Vec::new())]));
    let mut waiting = Box::pin(broker.peers.next());
    assert!(futures_util::poll!(waiting.as_mut()).is_pending(), "the assignment is the same");
    drop(waiting);
    broker.change(|view| {
        let mut assignment = (*view.assignment).clone();
        assignment.epoch += 1;
        view.assignment = Arc::new(assignment);
    });
    let InEvent::Assigned(assignment) = broker.next().await else { panic!("an assignment") };
    assert_eq!(assignment.epoch, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_over_its_bound_is_lost_here_and_not_called_a_fault_there() {
    let (mut first, second) = pair(&config(), &config()).await;
    let key =
        SeriesKey { stream_partition: at(), origin: Origin::ethereum(Address([3; 20])), series: SeriesId(1) };
    let heads = vec![(key, SeriesHead::START); PeerMessage::HEADS_MAX + 1];
    second.peers.tell(first.address, &PeerMessage::Heads { heads });
    assert_eq!(second.peers.counters.lost(Lane::Live, Lost::Unsendable), 1);
    second.peers.tell(
        first.address,
        &PeerMessage::Held { series: key, next_sequence: 1, last: BatchId::NONE, durable: false },
    );
    assert!(matches!(first.message().await, PeerMessage::Held { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_network_that_is_no_mesh_there_are_sessions_with_those_that_are_asked_for() {
    let large = NetworkConfig { mesh_max: 0, ..config() };
    let mut pair = (Broker::start(1, &large).await, Broker::start(2, &large).await);
    for broker in [&mut pair.0, &mut pair.1] {
        assert!(matches!(broker.next().await, InEvent::Assigned(_)));
    }
    pair.0.wants(&pair.1);
    pair.1.wants(&pair.0);
    let (mut first, mut second) = pair;
    // Longer than two that are wanted take to find each other.
    let early = tokio::time::timeout(Duration::from_millis(500), first.peers.next()).await;
    assert!(early.is_err(), "nobody asked for a session");
    first.peers.connect(second.address);
    assert_eq!(first.up().await, second.address);
    assert_eq!(second.up().await, first.address);
    first.peers.part(second.address);
    assert!(matches!(first.next().await, InEvent::PeerDown { peer } if peer == second.address));
    assert!(matches!(second.next().await, InEvent::PeerDown { peer } if peer == first.address));
    second.peers.connect(first.address);
    assert_eq!(first.up().await, second.address, "whoever is asked for comes again");
}
