use crate::{
    OverlayError, PeerAddress, SendError,
    config::Config,
    frame::Lane,
    inbox::{self, Inbox},
    listening::Listening,
    metrics::Metrics,
    peer::Directory,
    swarm::Driver,
    transport,
};
use bytes::Bytes;
use mainstem_crypto::{Address, SecretKey};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

/// How often a stopped overlay looks whether its ports are free, and for how long.
const PORT_CHECK: Duration = Duration::from_millis(5);
const PORT_WAIT: Duration = Duration::from_secs(1);

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// This node.
    Outgoing,
    /// The peer.
    Incoming,
}

/// What a connection runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// QUIC.
    Quic,
    /// TCP with noise and yamux.
    Tcp,
    /// A relay's connection.
    Relayed,
}

/// The handle of a running overlay. Dropped, it ends.
#[derive(Debug)]
pub struct Overlay {
    address: Address,
    peer_id: String,
    directory: Arc<Directory>,
    wanted: watch::Sender<BTreeMap<Address, Vec<PeerAddress>>>,
    sought: watch::Sender<Option<BTreeSet<Address>>>,
    listening: watch::Receiver<Listening>,
    task: JoinHandle<()>,
}

impl Overlay {
    /// Opens the listeners and starts. Wants a tokio runtime around it.
    ///
    /// # Errors
    /// [`OverlayError::Config`] and [`OverlayError::Listen`].
    pub fn start(config: &Config, key: &SecretKey) -> Result<(Self, Inbox), OverlayError> {
        config.check()?;
        let (sender, inbox) = inbox::channel();
        let directory = Arc::new(Directory::new(config, sender));
        let (wanted, changes) = watch::channel(BTreeMap::new());
        let (sought, seeks) = watch::channel(None);
        let (driver, listening) = Driver::new(config, key, directory.clone(), changes, seeks)?;
        let peer_id = driver.peer_id();
        let task = tokio::spawn(driver.run());
        Ok((Self { address: key.address(), peer_id, directory, wanted, sought, listening, task }, inbox))
    }

    /// This broker.
    pub fn address(&self) -> Address {
        self.address
    }

    /// This broker's libp2p peer id, for `/p2p/…`.
    pub fn peer_id(&self) -> &str {
        &self.peer_id
    }

    /// Says which brokers to be connected to, instead of those said before, and where they may be found; no address at all
    /// leaves it to the others to dial, and to Kademlia. This node itself is passed over. A broker no longer wanted is
    /// disconnected, and from then on refused.
    pub fn set_peers(&self, mut peers: BTreeMap<Address, Vec<PeerAddress>>) {
        peers.remove(&self.address);
        self.wanted.send_replace(peers);
    }

    /// Says which of the brokers of [`set_peers`](Self::set_peers) to dial; `None`, as in the beginning: all of them. The others
    /// may come, and stay for as long as they like. A broker that is not sought any more is disconnected.
    pub fn seek(&self, only: Option<BTreeSet<Address>>) {
        self.sought.send_if_modified(|sought| {
            let changed = *sought != only;
            *sought = only;
            changed
        });
    }

    /// Queues a frame for a broker, and never waits. Frames of a lane arrive in the order of these calls.
    ///
    /// # Errors
    /// [`SendError`] says why the frame was not queued.
    pub fn try_send(&self, peer: Address, lane: Lane, frame: Bytes) -> Result<(), SendError> {
        self.directory.try_send(peer, lane, frame)
    }

    /// What was counted, and is held now.
    pub fn metrics(&self) -> Metrics {
        let counters = &self.directory.counters;
        Metrics {
            peers: self.directory.peer_metrics(),
            connections: counters.connections.load(Ordering::Relaxed),
            connections_refused: counters.connections_refused.load(Ordering::Relaxed),
            substreams_delayed: counters.substreams_delayed.load(Ordering::Relaxed),
            strangers_refused: counters.strangers_refused.load(Ordering::Relaxed),
            strangers_dropped: counters.strangers_dropped.load(Ordering::Relaxed),
            peers_misbehaved: counters.peers_misbehaved.load(Ordering::Relaxed),
        }
    }

    /// Waits until every configured listener is open, and says where they are, `/p2p/…` included. Cancel safe.
    pub async fn listening(&self) -> Vec<PeerAddress> {
        let mut listening = self.listening.clone();
        // The sender lives as long as the task; when that has ended, what there was is the answer.
        let _ = listening.wait_for(Listening::is_complete).await;
        let listening = listening.borrow();
        listening.addresses().map(|address| PeerAddress(address.clone())).collect()
    }

    /// Ends every session and connection, and returns when the listeners' ports are free, or after a second.
    pub async fn stop(mut self) {
        let addresses: Vec<_> = self.listening.borrow().addresses().cloned().collect();
        self.task.abort();
        let _ = (&mut self.task).await;
        // QUIC sockets stay until their connections have told their peers that they end, and nothing reports that.
        let free = async {
            while addresses.iter().any(|address| transport::is_free(address).is_err()) {
                tokio::time::sleep(PORT_CHECK).await;
            }
        };
        let _ = timeout(PORT_WAIT, free).await;
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        self.task.abort();
    }
}
