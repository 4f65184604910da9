//! Other brokers: the overlay's frames become events of the state machine, and what it tells them becomes frames.
//!
//! A frame is read and its batches are proven in the pipe of its broker and lane, so that the order of a lane is kept and no
//! broker waits for another's proofs. What a plugin proves waits aside, and nothing but what is of its series waits for it. A frame
//! counts against its sender until the driver has handled what came of it.

mod aside;
mod config;
mod counters;
mod pipe;
#[cfg(test)]
mod tests;
mod wanted;

pub(crate) use config::{NetworkConfig, StaticPeer};
pub(crate) use counters::{Counted, Counters, Lost};

use anyhow::Context;
use mainstem_api::{
    PeerConnection, Workers,
    peer::{Unsendable, encode},
};
use mainstem_crypto::{Address, SecretKey};
use mainstem_model::{Assignment, Verifier};
use mainstem_overlay::{Frame, Inbox, Incoming, Overlay, PeerAddress, SendError, Transport};
use mainstem_protocol::{InEvent, Lane, PeerFault, PeerMessage};
use pipe::{Bounds, Item, Pipe};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};

/// The longest that a broker can be dropped: what a timer takes, and for good to whoever waits.
const DROP_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How long a broker is dialed that the state machine has asked for once.
const SOUGHT_FOR: Duration = Duration::from_secs(5);

/// Which brokers there are, as whoever knows it says: the configuration or the chain.
#[derive(Clone, Debug)]
pub(crate) struct NetworkView {
    /// Who carries what.
    pub(crate) assignment: Arc<Assignment>,
    /// Where each broker is reached, as multiaddresses; one that is no address is passed over. This node may be among them.
    pub(crate) endpoints: BTreeMap<Address, Vec<String>>,
}

/// Something for the state machine. The frame it came in counts against its sender until this is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) event: InEvent,
    pub(crate) frame: Option<Frame>,
}

/// What a pipe hands on, in order.
#[derive(Debug)]
struct Passed {
    peer: Address,
    session: u64,
    what: What,
    frame: Option<Frame>,
}

#[derive(Debug)]
enum What {
    Began,
    Ended,
    Message(PeerMessage),
    Fault(PeerFault),
}

/// The driver's way to the other brokers.
#[derive(Debug)]
pub(crate) struct Peers {
    overlay: Arc<Overlay>,
    /// Where it listens.
    listens: Vec<PeerAddress>,
    view: watch::Receiver<Option<NetworkView>>,
    assignment: Option<Arc<Assignment>>,
    passed: mpsc::Receiver<Passed>,
    /// Sessions that the state machine knows of.
    sessions: BTreeMap<Address, u64>,
    /// Brokers with which there is to be no session, and until when.
    dropped: watch::Sender<BTreeMap<Address, Instant>>,
    /// Brokers that the state machine asked for a session with, and when.
    sought: watch::Sender<BTreeMap<Address, Instant>>,
    counters: Arc<Counters>,
    wanting: JoinHandle<()>,
}

impl Peers {
    /// Starts the overlay.
    ///
    /// # Errors
    /// It cannot listen, or its configuration contradicts itself.
    pub(crate) async fn start(
        config: &NetworkConfig,
        key: &SecretKey,
        verifier: Arc<Verifier>,
        workers: Workers,
        mut view: watch::Receiver<Option<NetworkView>>,
    ) -> anyhow::Result<Self> {
        let (overlay, inbox) =
            Overlay::start(&config.overlay, key).context("the overlay, for other brokers, does not start")?;
        let listens = overlay.listening().await;
        tracing::info!(?listens, "listens for other brokers");
        let (overlay, counters) = (Arc::new(overlay), Arc::new(Counters::default()));
        let (pass, passed) = mpsc::channel(config.inputs_max);
        let pipes = Pipes {
            part: pipe::Shared { verifier, workers, pass, counters: counters.clone() },
            bounds: Bounds {
                proofs_max: config.proofs_max,
                aside_bytes_max: config.overlay.inbox_bytes_max / 2,
            },
            pipes: BTreeMap::new(),
        };
        // It ends with the overlay.
        tokio::spawn(pipes.run(inbox));
        let (dropped, drops) = watch::channel(BTreeMap::new());
        let (sought, seeks) = watch::channel(BTreeMap::new());
        let keep = wanted::keep(overlay.clone(), view.clone(), drops, seeks, config.mesh_max);
        let wanting = tokio::spawn(keep);
        // What it shows now is news to the state machine.
        view.mark_changed();
        let sessions = BTreeMap::new();
        Ok(Self {
            overlay,
            listens,
            view,
            assignment: None,
            passed,
            sessions,
            dropped,
            sought,
            counters,
            wanting,
        })
    }

    /// These endpoints of this node, each port 0 replaced by the one that is listened on. What is no address stays as it is.
    ///
    /// # Errors
    /// For one with port 0 nothing listens.
    pub(crate) fn with_ports(&self, endpoints: &[String]) -> anyhow::Result<Vec<String>> {
        let with_port = |endpoint: &String| match endpoint.parse::<PeerAddress>() {
            Ok(address) if address.has_port_zero() => {
                let address = address.with_port_of(&self.listens).with_context(|| {
                    format!(
                        "registration.endpoints: {endpoint} has port 0, but network.overlay.listen has no address of its \
                         transport and IP version; name the port"
                    )
                })?;
                Ok(address.to_string())
            }
            _ => Ok(endpoint.clone()),
        };
        endpoints.iter().map(with_port).collect()
    }

    /// What happened next. Never ends. Cancel safe.
    pub(crate) async fn next(&mut self) -> Taken {
        loop {
            let passed = tokio::select! {
                biased;
                // IMPORTANT: first, so that who carries what is known before anybody comes.
                Ok(()) = self.view.changed() => {
                    match self.shown() {
                        Some(taken) => return taken,
                        None => continue,
                    }
                }
                Some(passed) = self.passed.recv() => passed,
                else => std::future::pending().await,
            };
            if let Some(taken) = self.admit(passed) {
                return taken;
            }
        }
    }

    /// What happened, if anything did.
    pub(crate) fn try_next(&mut self) -> Option<Taken> {
        loop {
            let passed = self.passed.try_recv().ok()?;
            if let Some(taken) = self.admit(passed) {
                return Some(taken);
            }
        }
    }

    /// Tells a broker, if there is a session and room in its queue; else it is lost, and counted.
    pub(crate) fn tell(&self, peer: Address, message: &PeerMessage) {
        let lane = message.lane();
        let frame = match encode(message) {
            Ok(frame) => frame,
            Err(Unsendable { what, count, max }) => {
                tracing::error!(%peer, what, count, max, "a message to a broker is over its bound");
                return self.counters.lose(lane, Lost::Unsendable);
            }
        };
        match self.overlay.try_send(peer, overlay_lane(lane), frame) {
            Ok(()) => {}
            Err(SendError::Full { .. }) => self.counters.lose(lane, Lost::QueueFull),
            Err(SendError::NotConnected(_)) => self.counters.lose(lane, Lost::NotConnected),
            Err(error) => {
                tracing::error!(%peer, %error, "a message to a broker cannot be sent");
                self.counters.lose(lane, Lost::Unsendable);
            }
        }
    }

    /// Ends the session with a broker and has none with it for a while.
    pub(crate) fn drop_peer(&self, peer: Address, for_ms: u64, why: &'static str) {
        tracing::warn!(%peer, for_ms, why, "broker dropped");
        let now = Instant::now();
        let until = now + Duration::from_millis(for_ms).min(DROP_MAX);
        self.dropped.send_modify(|dropped| {
            dropped.retain(|_, until| *until > now);
            dropped.insert(peer, until);
        });
    }

    /// Has a session with a broker. It is asked for again while that is not there.
    pub(crate) fn connect(&self, peer: Address) {
        let now = Instant::now();
        self.sought.send_modify(|sought| {
            sought.retain(|peer, at| self.sessions.contains_key(peer) || now - *at < SOUGHT_FOR);
            sought.insert(peer, now);
        });
    }

    /// Has no more use for a session with a broker.
    pub(crate) fn part(&self, peer: Address) {
        self.sought.send_if_modified(|sought| sought.remove(&peer).is_some());
    }

    /// What is counted here and in the overlay, for as long as that runs.
    pub(crate) fn counted(&self) -> Counted {
        Counted { overlay: Arc::downgrade(&self.overlay), counters: self.counters.clone() }
    }

    /// The way to each broker, whether there is a session with it or not.
    pub(crate) fn connections(&self) -> BTreeMap<Address, PeerConnection> {
        let mut ways: BTreeMap<_, PeerConnection> = BTreeMap::new();
        if let Some(view) = self.view.borrow().as_ref() {
            for (broker, endpoints) in &view.endpoints {
                ways.entry(*broker).or_default().endpoints.clone_from(endpoints);
            }
        }
        for (broker, its) in self.overlay.metrics().peers {
            let way = ways.entry(broker).or_default();
            way.transport = its.transport.map(transport_name);
            way.rtt = its.rtt;
            (way.queued_live_bytes, way.queued_bulk_bytes) = (its.live.queued_bytes, its.bulk.queued_bytes);
        }
        let now = Instant::now();
        for (broker, until) in self.dropped.borrow().iter().filter(|(_, until)| **until > now) {
            ways.entry(*broker).or_default().dropped = Some(*until - now);
        }
        ways
    }

    /// Ends every session, and returns when the ports are free.
    pub(crate) async fn stop(self) {
        self.wanting.abort();
        let _ = self.wanting.await;
        // Whoever looks at its numbers just now ends it.
        if let Some(overlay) = Arc::into_inner(self.overlay) {
            overlay.stop().await;
        }
    }

    /// The assignment, if it is another than the last one.
    fn shown(&mut self) -> Option<Taken> {
        let assignment = self.view.borrow_and_update().as_ref()?.assignment.clone();
        if self.assignment.as_ref() == Some(&assignment) {
            return None;
        }
        self.assignment = Some(assignment.clone());
        Some(Taken { event: InEvent::Assigned(assignment), frame: None })
    }

    /// IMPORTANT: here, where all pipes meet, it shows which of a broker's frames are of the session that the state machine
    /// knows of. A bulk frame that outlived its session is dropped.
    fn admit(&mut self, passed: Passed) -> Option<Taken> {
        let Passed { peer, session, what, frame } = passed;
        let event = match what {
            What::Began => {
                self.sessions.insert(peer, session);
                InEvent::PeerUp { peer }
            }
            What::Ended => {
                self.sessions.remove(&peer);
                // Who needs it asks again.
                self.part(peer);
                InEvent::PeerDown { peer }
            }
            What::Message(_) | What::Fault(_) if self.sessions.get(&peer) != Some(&session) => {
                self.counters.late();
                return None;
            }
            What::Message(message) => InEvent::Peer { peer, message },
            What::Fault(fault) => InEvent::PeerFaulty { peer, fault },
        };
        Some(Taken { event, frame })
    }
}

/// What there is next, or never anything for a node that is alone.
pub(crate) async fn next(peers: &mut Option<Peers>) -> Taken {
    match peers {
        Some(peers) => peers.next().await,
        None => std::future::pending().await,
    }
}

const fn overlay_lane(lane: Lane) -> mainstem_overlay::Lane {
    match lane {
        Lane::Live => mainstem_overlay::Lane::Live,
        Lane::Bulk => mainstem_overlay::Lane::Bulk,
    }
}

const fn transport_name(transport: Transport) -> &'static str {
    match transport {
        Transport::Quic => "quic",
        Transport::Tcp => "tcp",
        Transport::Relayed => "relay",
    }
}

/// Deals out what the overlay reports to the pipes. They stay as long as the node, since a broker comes back; there are
/// two for each that was ever wanted.
struct Pipes {
    part: pipe::Shared,
    bounds: Bounds,
    pipes: BTreeMap<Address, [mpsc::UnboundedSender<Item>; 2]>,
}

impl Pipes {
    async fn run(mut self, mut inbox: Inbox) {
        while let Some(incoming) = inbox.recv().await {
            let (peer, lane, item) = match incoming {
                Incoming::Connected { peer, session, .. } => (peer, Lane::Live, Item::Began(session)),
                Incoming::Disconnected { peer, session, .. } => (peer, Lane::Live, Item::Ended(session)),
                Incoming::Frame(frame) => {
                    let lane = match frame.lane {
                        mainstem_overlay::Lane::Live => Lane::Live,
                        mainstem_overlay::Lane::Bulk => Lane::Bulk,
                    };
                    (frame.peer, lane, Item::Frame(frame))
                }
            };
            let [live, bulk] = match self.pipes.entry(peer) {
                Entry::Occupied(pipes) => pipes.into_mut(),
                Entry::Vacant(place) => place.insert(open(peer, &self.part, self.bounds)),
            };
            // A pipe ends when the driver has gone.
            drop(match lane {
                Lane::Live => live.send(item),
                Lane::Bulk => bulk.send(item),
            });
        }
    }
}

/// The pipes of a broker. Their ways in need no bound of their own: a frame counts against its sender in the overlay.
fn open(peer: Address, part: &pipe::Shared, bounds: Bounds) -> [mpsc::UnboundedSender<Item>; 2] {
    let (began, _) = watch::channel(0);
    let began = Arc::new(began);
    [Lane::Live, Lane::Bulk].map(|lane| {
        let (items, taken) = mpsc::unbounded_channel();
        tokio::spawn(Pipe::new(peer, lane, part.clone(), bounds, began.clone(), taken).run());
        items
    })
}
