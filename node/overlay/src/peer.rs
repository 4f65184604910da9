use crate::{
    Incoming, SendError,
    config::Config,
    frame::{Lane, RefusalCode},
    inbox::{DisconnectReason, Frame, InboxSender},
    metrics::{Counters, LaneCounters, LaneMetrics, PeerMetrics},
    overlay::{Direction, Transport},
    queue::Queue,
};
use bytes::Bytes;
use mainstem_crypto::Address;
use parking_lot::{Mutex, RwLock};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Semaphore;

/// The brokers that are wanted; shared by the handle, the swarm's task and the tasks of the lanes.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) frame_bytes_max: usize,
    queue_bytes_max: usize,
    inbox_bytes_max: usize,
    peers: RwLock<BTreeMap<Address, Arc<Peer>>>,
    /// Numbers given to sessions so far.
    numbers: AtomicU64,
    pub(crate) inbox: InboxSender,
    pub(crate) counters: Counters,
}

/// A wanted broker.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: Address,
    state: Mutex<State>,
    room: [Arc<Semaphore>; 2],
    counters: [LaneCounters; 2],
}

#[derive(Debug, Default)]
struct State {
    session: Option<Session>,
    sessions: u64,
    rtt: Option<Duration>,
}

#[derive(Debug)]
struct Session {
    number: u64,
    direction: Direction,
    transport: Transport,
    queues: [Arc<Queue>; 2],
    /// What the peer is being told before it is cut off; it may hang up first.
    verdict: Option<RefusalCode>,
}

impl Directory {
    pub(crate) fn new(config: &Config, inbox: InboxSender) -> Self {
        Self {
            frame_bytes_max: config.frame_bytes_max,
            queue_bytes_max: config.queue_bytes_max,
            inbox_bytes_max: config.inbox_bytes_max,
            peers: RwLock::default(),
            numbers: AtomicU64::new(0),
            inbox,
            counters: Counters::default(),
        }
    }

    pub(crate) fn knows(&self, peer: Address) -> bool {
        self.peers.read().contains_key(&peer)
    }

    pub(crate) fn insert(&self, address: Address) -> Arc<Peer> {
        let room = || Arc::new(Semaphore::new(self.inbox_bytes_max));
        let peer = Arc::new(Peer {
            address,
            state: Mutex::default(),
            room: [room(), room()],
            counters: Default::default(),
        });
        self.peers.write().insert(address, peer.clone());
        peer
    }

    pub(crate) fn remove(&self, address: Address) {
        self.peers.write().remove(&address);
    }

    pub(crate) fn try_send(&self, to: Address, lane: Lane, frame: Bytes) -> Result<(), SendError> {
        if frame.is_empty() || frame.len() > self.frame_bytes_max {
            return Err(SendError::FrameSize { bytes: frame.len(), bytes_max: self.frame_bytes_max });
        }
        let peer = self.peers.read().get(&to).cloned().ok_or(SendError::NotConnected(to))?;
        let state = peer.state.lock();
        let session = state.session.as_ref().ok_or(SendError::NotConnected(to))?;
        if session.queues[lane.index()].push(frame) {
            return Ok(());
        }
        peer.counters[lane.index()].refused();
        Err(SendError::Full { peer: to, lane })
    }

    pub(crate) fn peer_metrics(&self) -> BTreeMap<Address, PeerMetrics> {
        self.peers.read().iter().map(|(address, peer)| (*address, peer.metrics())).collect()
    }

    /// Begins a session and says so. Its number tells its frames from those of another.
    pub(crate) fn begin(&self, peer: &Peer, direction: Direction, transport: Transport) -> u64 {
        let mut state = peer.state.lock();
        state.sessions += 1;
        // A broker that is wanted anew is another `Peer`, so its own count would not tell its sessions apart.
        let number = self.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let queue = || Arc::new(Queue::new(self.queue_bytes_max));
        let queues = [queue(), queue()];
        state.session = Some(Session { number, direction, transport, queues, verdict: None });
        // IMPORTANT: under the lock, here and in `end` and `deliver`, so that what comes out is in the order of what happened.
        let rtt = state.rtt;
        self.inbox.session(Incoming::Connected { peer: peer.address, session: number, direction, rtt });
        number
    }

    /// Ends the session there is, and says so. Gives the reason back that it had in the end, or none if there was no session.
    pub(crate) fn end(&self, peer: &Peer, reason: DisconnectReason) -> Option<DisconnectReason> {
        let mut state = peer.state.lock();
        let Session { number, direction, verdict, .. } = state.session.take()?;
        let (rtt, reason) = (state.rtt, verdict.map_or(reason, DisconnectReason::Misbehaved));
        let (peer, session) = (peer.address, number);
        self.inbox.session(Incoming::Disconnected { peer, session, direction, rtt, reason });
        Some(reason)
    }

    /// Notes why the session is about to end.
    pub(crate) fn condemn(&self, peer: &Peer, session: u64, code: RefusalCode) {
        let mut state = peer.state.lock();
        if let Some(current) = state.session.as_mut().filter(|current| current.number == session) {
            current.verdict = Some(code);
        }
    }

    /// Hands a frame out, unless its session is over.
    pub(crate) fn deliver(&self, peer: &Peer, session: u64, frame: Frame) -> bool {
        let state = peer.state.lock();
        let current = state.session.as_ref().is_some_and(|current| current.number == session);
        if current {
            peer.counters[frame.lane.index()].received(frame.bytes().len());
            self.inbox.frame(frame);
        }
        current
    }
}

impl Peer {
    pub(crate) fn room(&self, lane: Lane) -> Arc<Semaphore> {
        self.room[lane.index()].clone()
    }

    /// The queue of the session there is.
    pub(crate) fn queue(&self, lane: Lane) -> Option<Arc<Queue>> {
        Some(self.state.lock().session.as_ref()?.queues[lane.index()].clone())
    }

    pub(crate) fn counters(&self, lane: Lane) -> &LaneCounters {
        &self.counters[lane.index()]
    }

    pub(crate) fn measured(&self, rtt: Duration) {
        self.state.lock().rtt = Some(rtt);
    }

    fn metrics(&self) -> PeerMetrics {
        let state = self.state.lock();
        let lane = |lane: Lane| -> LaneMetrics {
            let queued = state.session.as_ref().map_or(0, |session| session.queues[lane.index()].bytes());
            self.counters[lane.index()].snapshot(queued)
        };
        PeerMetrics {
            connected: state.session.is_some(),
            direction: state.session.as_ref().map(|session| session.direction),
            transport: state.session.as_ref().map(|session| session.transport),
            rtt: state.rtt,
            sessions: state.sessions,
            live: lane(Lane::Live),
            bulk: lane(Lane::Bulk),
        }
    }
}
