use crate::{
    Config, Incoming, Lane, Overlay, PeerAddress,
    address::keypair,
    frame::{LENGTH_BYTES, Lane::Live},
    inbox::{self, Inbox},
    peer::Directory,
    substreams::{self, Substreams, What},
    transport,
};
use futures_util::{AsyncReadExt, StreamExt};
use libp2p::{
    PeerId, Swarm, identify,
    identity::Keypair,
    relay,
    swarm::{self, ConnectionId, NetworkBehaviour, Stream, SwarmEvent},
};
use mainstem_crypto::{Address, SecretKey};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

pub(super) fn key(number: u8) -> SecretKey {
    SecretKey::from_bytes(&[number; 32]).expect("below the curve order")
}

/// Both transports, on any port.
pub(super) fn config() -> Config {
    let at = |text: &str| text.parse().expect("a multiaddress");
    Config {
        listen: vec![at("/ip4/127.0.0.1/udp/0/quic-v1"), at("/ip4/127.0.0.1/tcp/0")],
        backoff_max_ms: 300,
        substream_ms: 1_000,
        ..Config::default()
    }
}

/// An overlay that behaves, and where it is over QUIC and over TCP.
pub(super) struct Node {
    pub(super) overlay: Overlay,
    pub(super) inbox: Inbox,
    pub(super) at: [PeerAddress; 2],
}

impl Node {
    pub(super) async fn start(number: u8, config: &Config) -> Self {
        let (overlay, inbox) = Overlay::start(config, &key(number)).expect("it starts");
        let mut at = soon("listening", overlay.listening()).await;
        at.sort_by_key(|address| !crate::address::is_quic(&address.0));
        Self { overlay, inbox, at: at.try_into().expect("two listeners") }
    }

    /// Knows these brokers, and has no address of any.
    pub(super) fn knows(&self, brokers: &[u8]) {
        let brokers = brokers.iter().map(|number| (key(*number).address(), Vec::new()));
        self.overlay.set_peers(brokers.collect());
    }

    pub(super) async fn next(&mut self) -> Incoming {
        soon("a report", self.inbox.recv()).await.expect("the overlay runs")
    }
}

/// A libp2p peer that does on our protocols what a test says, and nothing by itself but identify.
pub(super) struct Raw {
    pub(super) id: PeerId,
    orders: mpsc::UnboundedSender<Lane>,
    pub(super) opened: mpsc::UnboundedReceiver<Option<Stream>>,
    pub(super) taken: mpsc::UnboundedReceiver<(Lane, Stream)>,
    pub(super) identified: mpsc::UnboundedReceiver<identify::Info>,
    pub(super) closed: mpsc::UnboundedReceiver<()>,
    task: JoinHandle<()>,
}

#[derive(NetworkBehaviour)]
struct RawBehaviour {
    substreams: Substreams,
    identify: identify::Behaviour,
}

impl Raw {
    pub(super) async fn broker(number: u8, to: &PeerAddress) -> Self {
        Self::connect(keypair(&key(number)), to).await
    }

    /// Connects, and returns when that is done.
    pub(super) async fn connect(keypair: Keypair, to: &PeerAddress) -> Self {
        let generous = Config { substreams_burst_max: 10_000, ..Config::default() };
        let (sender, _) = inbox::channel();
        let directory = Arc::new(Directory::new(&generous, sender));
        let id = keypair.public().to_peer_id();
        let (relayed, relay) = relay::client::new(id);
        let transport = transport::build(&generous, &keypair, relayed, &directory).expect("a transport");
        let behaviour = RawBehaviour {
            substreams: Substreams::new(Duration::from_secs(10)),
            identify: identify::Behaviour::new(identify::Config::new("/raw/1".into(), keypair.public())),
        };
        let options = swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(PATIENCE)
            .with_max_negotiating_inbound_streams(1_000);
        let mut swarm = Swarm::new(transport, behaviour, id, options);
        swarm.dial(to.0.clone()).expect("an address that can be dialed");
        let (connected, mut is_connected) = mpsc::unbounded_channel();
        let (orders, mut to_open) = mpsc::unbounded_channel();
        let (opened_in, opened) = mpsc::unbounded_channel();
        let (taken_in, taken) = mpsc::unbounded_channel();
        let (identified_in, identified) = mpsc::unbounded_channel();
        let (closed_in, closed) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            // Its transport ends with it.
            let _relay = relay;
            let mut to: Option<(PeerId, ConnectionId)> = None;
            loop {
                let event = tokio::select! {
                    Some(lane) = to_open.recv() => {
                        let (peer, connection) = to.expect("connected before anything is opened");
                        swarm.behaviour_mut().substreams.open(peer, connection, lane);
                        continue;
                    }
                    event = swarm.select_next_some() => event,
                };
                if let SwarmEvent::ConnectionEstablished { peer_id, connection_id, .. } = event {
                    to = Some((peer_id, connection_id));
                    let _ = connected.send(());
                } else if let SwarmEvent::ConnectionClosed { .. } = event {
                    let _ = closed_in.send(());
                } else if let SwarmEvent::Behaviour(RawBehaviourEvent::Substreams(event)) = event {
                    let substreams::Event { lane, what, .. } = event;
                    match what {
                        What::Outbound(stream) => drop(opened_in.send(Some(stream))),
                        What::Failed => drop(opened_in.send(None)),
                        What::Inbound(stream) => drop(taken_in.send((lane, stream))),
                    }
                } else if let SwarmEvent::Behaviour(RawBehaviourEvent::Identify(event)) = event
                    && let identify::Event::Received { info, .. } = event
                {
                    drop(identified_in.send(info));
                }
            }
        });
        soon("a connection", is_connected.recv()).await;
        Self { id, orders, opened, taken, identified, closed, task }
    }

    pub(super) fn address(&self) -> Address {
        crate::address::broker_of(&self.id).expect("a broker's key")
    }

    /// Asks for a substream; it comes out of `opened`.
    pub(super) fn ask(&self, lane: Lane) {
        self.orders.send(lane).expect("the task runs");
    }

    pub(super) async fn open(&mut self, lane: Lane) -> Stream {
        self.ask(lane);
        soon("a substream", self.opened.recv()).await.flatten().expect("a substream")
    }

    /// A live lane that was let in.
    pub(super) async fn live(&mut self) -> Stream {
        let mut stream = self.open(Live).await;
        assert_eq!(answer(&mut stream).await.as_deref(), Some("READY"));
        stream
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the overlay says on a substream; none when it closes it without a word.
pub(super) async fn answer(stream: &mut Stream) -> Option<String> {
    soon("an answer", async {
        let mut length = [0; LENGTH_BYTES];
        stream.read_exact(&mut length).await.ok()?;
        let mut text = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut text).await.ok()?;
        Some(String::from_utf8(text).expect("text"))
    })
    .await
}
