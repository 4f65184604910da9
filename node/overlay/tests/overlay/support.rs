use bytes::Bytes;
use mainstem_crypto::{Address, SecretKey};
use mainstem_overlay::{
    Config, Direction, DisconnectReason, Frame, Inbox, Incoming, Lane, Overlay, PeerAddress,
};
use std::{collections::BTreeMap, future::Future, time::Duration};

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Over {
    Quic,
    Tcp,
    Both,
}

pub(crate) fn config(over: Over) -> Config {
    let listen: &[&str] = match over {
        Over::Quic => &["/ip4/127.0.0.1/udp/0/quic-v1"],
        Over::Tcp => &["/ip4/127.0.0.1/tcp/0"],
        Over::Both => &["/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"],
    };
    Config {
        listen: listen.iter().map(|address| address.parse().unwrap()).collect(),
        backoff_max_ms: 500,
        lookup_ms: 200,
        yield_ms: 50,
        ..Config::default()
    }
}

pub(crate) fn key(number: u8) -> SecretKey {
    SecretKey::from_bytes(&[number; 32]).unwrap()
}

pub(crate) struct Node {
    pub(crate) overlay: Overlay,
    pub(crate) inbox: Inbox,
    pub(crate) address: Address,
    pub(crate) at: Vec<PeerAddress>,
}

impl Node {
    pub(crate) async fn start(number: u8, config: &Config) -> Self {
        let (overlay, inbox) = Overlay::start(config, &key(number)).unwrap();
        let at = soon("listening", overlay.listening()).await;
        Self { address: overlay.address(), overlay, inbox, at }
    }

    /// Its addresses without the peer id.
    pub(crate) fn bare(&self) -> Vec<PeerAddress> {
        let id = format!("/p2p/{}", self.overlay.peer_id());
        self.at.iter().map(|address| address.to_string().replace(&id, "").parse().unwrap()).collect()
    }

    pub(crate) fn wants(&self, peers: &[&Node]) {
        self.overlay.set_peers(peers.iter().map(|peer| (peer.address, peer.at.clone())).collect());
    }

    pub(crate) fn wants_at(&self, peers: &[(Address, Vec<PeerAddress>)]) {
        self.overlay.set_peers(peers.iter().cloned().collect::<BTreeMap<_, _>>());
    }

    pub(crate) async fn next(&mut self) -> Incoming {
        soon("a report", self.inbox.recv()).await.expect("the overlay runs")
    }

    pub(crate) async fn connected(&mut self) -> (Address, Direction) {
        match self.next().await {
            Incoming::Connected { peer, direction, .. } => (peer, direction),
            other @ (Incoming::Disconnected { .. } | Incoming::Frame(_)) => panic!("{other:?}"),
        }
    }

    /// The next end of a session; frames before it are dropped.
    pub(crate) async fn disconnected(&mut self) -> (Address, DisconnectReason) {
        loop {
            if let Incoming::Disconnected { peer, reason, .. } = self.next().await {
                return (peer, reason);
            }
        }
    }

    pub(crate) async fn frame(&mut self) -> Frame {
        match self.next().await {
            Incoming::Frame(frame) => frame,
            other @ (Incoming::Connected { .. } | Incoming::Disconnected { .. }) => panic!("{other:?}"),
        }
    }

    pub(crate) fn send(&self, to: &Node, lane: Lane, bytes: impl Into<Bytes>) {
        self.overlay.try_send(to.address, lane, bytes.into()).unwrap();
    }
}

/// Two that want each other and are connected.
pub(crate) async fn pair(first: &Config, second: &Config) -> (Node, Node) {
    let mut nodes = (Node::start(1, first).await, Node::start(2, second).await);
    nodes.0.wants(&[&nodes.1]);
    nodes.1.wants(&[&nodes.0]);
    assert_eq!(nodes.0.connected().await.0, nodes.1.address);
    assert_eq!(nodes.1.connected().await.0, nodes.0.address);
    nodes
}
