mod dialing;

use crate::{
    OverlayError, PeerAddress,
    address::{broker_of, dialable, is_relayed, keypair},
    behaviour::{Behaviour, BehaviourEvent},
    config::Config,
    frame::{Lane, RefusalCode},
    inbound,
    inbox::DisconnectReason,
    listening::{Listening, failed},
    outbound,
    peer::Directory,
    substreams::{self, What},
    transport,
    wanted::{Backoff, Outgoing, Running, Task, Wanted, Way, dials_first, is_named},
};
use futures_util::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::transport::ListenerId,
    identify, kad,
    multiaddr::Protocol,
    ping, relay,
    swarm::{self, ConnectionId, Stream, SwarmEvent},
};
use mainstem_crypto::{Address, SecretKey};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};

/// A session that lasted so long shows that the broker is well, so the next wait is the shortest again. Less than `idle_ms`: several that
/// end by silence, one after the other, are no reason to wait longer.
const SOUND_SESSION: Duration = Duration::from_secs(2);

/// The one task that owns the swarm: turns what happens on the network, and what is wanted, into sessions.
pub(crate) struct Driver {
    config: Config,
    local: Address,
    directory: Arc<Directory>,
    swarm: Swarm<Behaviour>,
    changes: watch::Receiver<BTreeMap<Address, Vec<PeerAddress>>>,
    seeks: watch::Receiver<Option<BTreeSet<Address>>>,
    /// Who of them is dialed; `None`: all.
    sought: Option<BTreeSet<Address>>,
    listening: watch::Sender<Listening>,
    wanted: BTreeMap<Address, Wanted>,
    /// Connections with peers that have a broker's kind of key and are not wanted; they may be, any time.
    others: BTreeMap<ConnectionId, (Address, PeerId, Way)>,
    /// Dials under way, and whom they are for.
    dials: BTreeMap<ConnectionId, Address>,
    /// When to look at a broker again. May hold more than is needed, never less.
    due: BTreeSet<(Instant, Address)>,
    tasks: JoinSet<Report>,
    tasks_begun: u64,
    refusals: Arc<Semaphore>,
    looked_up: Option<Instant>,
    reservations: Vec<(ListenerId, PeerId)>,
}

/// How a task ended.
enum Report {
    Resolved(Address, Vec<Multiaddr>),
    Knocked(Address, Lane, u64, Result<Stream, Option<RefusalCode>>),
    Sent(Address, Lane, u64, DisconnectReason),
    Received(Address, Lane, u64, DisconnectReason),
    Refused,
}

impl Driver {
    pub(crate) fn new(
        config: &Config,
        key: &SecretKey,
        directory: Arc<Directory>,
        changes: watch::Receiver<BTreeMap<Address, Vec<PeerAddress>>>,
        seeks: watch::Receiver<Option<BTreeSet<Address>>>,
    ) -> Result<(Self, watch::Receiver<Listening>), OverlayError> {
        let keypair = keypair(key);
        let id = keypair.public().to_peer_id();
        let (relayed, relay_client) = relay::client::new(id);
        let transport = transport::build(config, &keypair, relayed, &directory)?;
        let behaviour = Behaviour::new(config, &keypair, relay_client, &directory);
        let options = swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(Duration::from_millis(config.unused_ms))
            .with_max_negotiating_inbound_streams(config.substreams_max as usize)
            .with_smart_dial();
        let mut swarm = Swarm::new(transport, behaviour, id, options);
        for PeerAddress(address) in &config.external_addresses {
            swarm.add_external_address(address.clone());
        }
        let mut listening = Listening::default();
        for PeerAddress(address) in &config.listen {
            transport::is_free(address).map_err(|error| failed(address, &error))?;
            listening.asked.push(swarm.listen_on(address.clone()).map_err(|error| failed(address, &error))?);
        }
        for PeerAddress(relay) in &config.relays {
            let address = relay.clone().with(Protocol::P2pCircuit);
            swarm.listen_on(address).map_err(|error| failed(relay, &error))?;
        }
        let (listening, listening_out) = watch::channel(listening);
        let driver = Self {
            local: key.address(),
            refusals: Arc::new(Semaphore::new(config.refusals_max)),
            config: config.clone(),
            directory,
            swarm,
            changes,
            seeks,
            sought: None,
            listening,
            wanted: BTreeMap::new(),
            others: BTreeMap::new(),
            dials: BTreeMap::new(),
            due: BTreeSet::new(),
            tasks: JoinSet::new(),
            tasks_begun: 0,
            looked_up: None,
            reservations: Vec::new(),
        };
        Ok((driver, listening_out))
    }

    pub(crate) fn peer_id(&self) -> String {
        self.swarm.local_peer_id().to_string()
    }

    pub(crate) async fn run(mut self) {
        loop {
            let due = self.due.first().map(|(at, _)| (*at).into());
            tokio::select! {
                event = self.swarm.select_next_some() => self.handle_event(event),
                Some(report) = self.tasks.join_next() => {
                    // An aborted task has nothing to say.
                    if let Ok(report) = report {
                        self.handle_report(report);
                    }
                }
                changed = self.changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // First, so that nobody is dialed who is not sought.
                    self.handle_sought();
                    let peers = self.changes.borrow_and_update().clone();
                    self.handle_peers(&peers);
                }
                Ok(()) = self.seeks.changed() => self.handle_sought(),
                () = async { tokio::time::sleep_until(due.expect("guarded")).await }, if due.is_some() => {
                    self.handle_due(Instant::now());
                }
            }
        }
    }

    fn handle_due(&mut self, now: Instant) {
        while let Some((at, broker)) = self.due.first().copied()
            && at <= now
        {
            self.due.pop_first();
            self.advance(broker, now);
        }
    }

    fn handle_peers(&mut self, peers: &BTreeMap<Address, Vec<PeerAddress>>) {
        let now = Instant::now();
        let gone: Vec<_> = self.wanted.keys().filter(|broker| !peers.contains_key(broker)).copied().collect();
        for broker in gone {
            // First, so that whatever it opens meanwhile is refused.
            self.directory.remove(broker);
            self.end(broker, DisconnectReason::Removed, None, now);
            if let Some(Wanted { id: Some(id), .. }) = self.wanted.remove(&broker) {
                self.swarm.behaviour_mut().kademlia.remove_peer(&id);
            }
        }
        for (broker, addresses) in peers {
            if !self.wanted.contains_key(broker) {
                let peer = self.directory.insert(*broker);
                let wait = self.yields_to(*broker);
                let backoff = Backoff::new(self.config.backoff_min_ms, self.config.backoff_max_ms);
                let mut wanted = Wanted::new(peer, backoff, now, now + wait);
                let met: Vec<_> = self.others.extract_if(.., |_, (address, ..)| address == broker).collect();
                for (connection, (_, id, way)) in met {
                    wanted.id = Some(id);
                    wanted.connections.insert(connection, way);
                }
                self.wanted.insert(*broker, wanted);
            }
            let soon = now + self.yields_to(*broker);
            if let Some(wanted) = self.wanted.get_mut(broker) {
                if wanted.give(addresses) {
                    wanted.dial_at = wanted.dial_at.min(soon);
                }
                self.advance(*broker, now);
            }
        }
    }

    fn is_sought(&self, broker: Address) -> bool {
        self.sought.as_ref().is_none_or(|sought| sought.contains(&broker))
    }

    fn handle_sought(&mut self) {
        let sought = self.seeks.borrow_and_update().clone();
        let now = Instant::now();
        let all: Vec<_> = self.wanted.keys().copied().collect();
        let before: BTreeSet<_> = all.iter().copied().filter(|broker| self.is_sought(*broker)).collect();
        self.sought = sought;
        for broker in all {
            match (before.contains(&broker), self.is_sought(broker)) {
                (true, false) => self.end(broker, DisconnectReason::Removed, None, now),
                (false, true) => {
                    // Somebody waits for it, and it may not seek this one.
                    if let Some(wanted) = self.wanted.get_mut(&broker) {
                        wanted.dials.reset();
                        wanted.dial_at = now;
                    }
                    self.advance(broker, now);
                }
                (true, true) | (false, false) => {}
            }
        }
    }

    fn yields_to(&self, broker: Address) -> Duration {
        Duration::from_millis(if dials_first(self.local, broker) { 0 } else { self.config.yield_ms })
    }

    /// Does what is due for a broker: dials, or opens lanes; and notes when to look again.
    fn advance(&mut self, broker: Address, now: Instant) {
        let sought = self.is_sought(broker);
        let Some(wanted) = self.wanted.get_mut(&broker) else { return };
        let Some((way, id)) = wanted.way_out().zip(wanted.id) else {
            if wanted.dialing || !sought {
            } else if wanted.dial_at > now {
                self.due.insert((wanted.dial_at, broker));
            } else {
                wanted.dialing = true;
                let addresses = wanted.next_addresses();
                self.dial(broker, addresses);
            }
            return;
        };
        for lane in Lane::ALL {
            match *wanted.lane(lane) {
                Outgoing::Closed(at) if at > now => {
                    self.due.insert((at, broker));
                }
                Outgoing::Closed(_) => {
                    *wanted.lane(lane) = Outgoing::Opening;
                    wanted.outgoing_on = Some(way);
                    self.swarm.behaviour_mut().substreams.open(id, way, lane);
                }
                Outgoing::Opening | Outgoing::Knocking(_) | Outgoing::Sending(_) => {}
            }
        }
    }

    fn handle_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "libp2p's enum; what is left out needs no action")]
        match event {
            SwarmEvent::Behaviour(event) => self.handle_behaviour(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                tracing::debug!(broker = ?broker_of(&peer_id), %connection_id, ?endpoint, "connection begun");
                self.handle_established(peer_id, connection_id, Way::of(&endpoint));
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                tracing::debug!(broker = ?broker_of(&peer_id), %connection_id, ?cause, "connection ended");
                self.handle_closed(peer_id, connection_id);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                if let Some(broker) = self.dials.remove(&connection_id) {
                    self.dial_failed(broker, &error.to_string());
                }
            }
            SwarmEvent::IncomingConnectionError { error: swarm::ListenError::Denied { cause }, .. } => {
                tracing::debug!(why = why(&cause), "connection refused");
                self.directory.counters.connections_refused.fetch_add(1, Ordering::Relaxed);
            }
            SwarmEvent::NewListenAddr { listener_id, address } => {
                tracing::info!(%address, "overlay listens");
                let with_id = address.clone().with_p2p(*self.swarm.local_peer_id()).unwrap_or(address);
                self.listening.send_modify(|listening| listening.open.push((listener_id, with_id)));
            }
            SwarmEvent::ExpiredListenAddr { listener_id, .. } => {
                self.listening.send_modify(|listening| listening.open.retain(|(id, _)| *id != listener_id));
            }
            SwarmEvent::ListenerClosed { listener_id, .. } => {
                self.reservations.retain(|(id, _)| *id != listener_id);
                self.listening.send_modify(|listening| listening.open.retain(|(id, _)| *id != listener_id));
            }
            _ => {}
        }
    }

    fn handle_established(&mut self, id: PeerId, connection: ConnectionId, way: Way) {
        self.directory.counters.connections.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let broker = broker_of(&id);
        if let Some(dialed) = self.dials.remove(&connection) {
            if broker == Some(dialed) {
                if let Some(wanted) = self.wanted.get_mut(&dialed) {
                    wanted.dialing = false;
                }
            } else {
                self.dial_failed(dialed, "another peer answered");
            }
        }
        let Some(broker) = broker else { return };
        let Some(wanted) = self.wanted.get_mut(&broker) else {
            self.others.insert(connection, (broker, id, way));
            return;
        };
        wanted.id = Some(id);
        wanted.connections.insert(connection, way);
        if wanted.outgoing.iter().all(Outgoing::is_closed) {
            // What an earlier one did not give this one may.
            wanted.outgoing = [Outgoing::Closed(now), Outgoing::Closed(now)];
        }
        let relayed = wanted.session.is_some_and(|session| session.way.is_relayed());
        if relayed && !way.is_relayed() {
            // A direct way was found: a relay is slow, bounded, and somebody else's.
            self.end(broker, DisconnectReason::Replaced, Some(connection), now);
        }
        self.advance(broker, now);
    }

    fn handle_closed(&mut self, id: PeerId, connection: ConnectionId) {
        self.directory.counters.connections.fetch_sub(1, Ordering::Relaxed);
        self.others.remove(&connection);
        let now = Instant::now();
        let Some(broker) = broker_of(&id) else { return };
        let Some(wanted) = self.wanted.get_mut(&broker) else { return };
        if wanted.connections.remove(&connection).is_none() {
            return;
        }
        let used = [wanted.outgoing_on, wanted.incoming_on].contains(&Some(connection));
        if used {
            self.end(broker, DisconnectReason::Closed, None, now);
        } else if wanted.session.is_none() && wanted.connections.is_empty() {
            // IMPORTANT: as a dial that failed. The other side may let every connection go as soon as it stands.
            wanted.dial_at = now + wanted.dials.wait();
        }
        self.advance(broker, now);
    }

    fn handle_behaviour(&mut self, event: BehaviourEvent) {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "derived from libp2p's enums; the rest needs no action"
        )]
        match event {
            BehaviourEvent::Substreams(event) => self.handle_substream(event),
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                self.handle_identified(peer_id, info);
            }
            BehaviourEvent::Ping(ping) => match ping.result {
                Ok(rtt) => {
                    let wanted = broker_of(&ping.peer).and_then(|broker| self.wanted.get(&broker));
                    if let Some(wanted) = wanted {
                        wanted.peer.measured(rtt);
                    }
                }
                // A stranger may do without.
                Err(ping::Failure::Unsupported) => {}
                Err(error @ (ping::Failure::Timeout | ping::Failure::Other { .. })) => {
                    tracing::debug!(peer = %ping.peer, %error, "connection is dead");
                    self.swarm.close_connection(ping.connection);
                }
            },
            BehaviourEvent::Kademlia(kad::Event::OutboundQueryProgressed {
                result: kad::QueryResult::GetClosestPeers(result),
                ..
            }) => {
                let peers = match result {
                    Ok(found) => found.peers,
                    Err(kad::GetClosestPeersError::Timeout { peers, .. }) => peers,
                };
                for peer in peers {
                    self.learn(peer.peer_id, peer.addrs);
                }
            }
            BehaviourEvent::AutonatClient(tested) if tested.result.is_err() => {
                tracing::debug!(address = %tested.tested_addr, "not reached from outside");
                self.reserve();
            }
            _ => {}
        }
    }

    fn handle_identified(&mut self, id: PeerId, info: identify::Info) {
        let known = broker_of(&id).is_some_and(|broker| self.wanted.contains_key(&broker));
        if !known {
            return;
        }
        let most = self.config.addresses_per_peer_max;
        let addresses: Vec<_> = info.listen_addrs.into_iter().filter(dialable).take(most).collect();
        let kademlia = &mut self.swarm.behaviour_mut().kademlia;
        // It may say something else every time: only the last counts.
        kademlia.remove_peer(&id);
        for address in &addresses {
            kademlia.add_address(&id, address.clone());
        }
        self.learn(id, addresses);
    }

    /// Asks connected brokers to relay to this node, which is not reached otherwise.
    fn reserve(&mut self) {
        if self.swarm.external_addresses().any(|address| !is_relayed(address)) {
            return;
        }
        let places = self.config.relay_reservations_max.saturating_sub(self.reservations.len());
        let relays: Vec<_> = self
            .wanted
            .values_mut()
            .filter(|wanted| wanted.connections.values().any(|way| !way.is_relayed()))
            .filter_map(|wanted| Some((wanted.id?, wanted.next_addresses().into_iter().next()?)))
            .filter(|(id, address)| {
                !is_relayed(address)
                    && !is_named(address)
                    && !self.reservations.iter().any(|(_, relay)| relay == id)
            })
            .take(places)
            .collect();
        for (id, address) in relays {
            let Ok(address) = address.with_p2p(id) else { continue };
            if let Ok(listener) = self.swarm.listen_on(address.with(Protocol::P2pCircuit)) {
                self.reservations.push((listener, id));
            }
        }
    }

    fn handle_substream(&mut self, event: substreams::Event) {
        let substreams::Event { peer, connection, lane, what } = event;
        let broker = broker_of(&peer).filter(|broker| self.wanted.contains_key(broker));
        match (broker, what) {
            (None, What::Inbound(stream)) => {
                self.directory.counters.strangers_refused.fetch_add(1, Ordering::Relaxed);
                self.refuse(stream, RefusalCode::NotABroker);
            }
            (None, What::Outbound(_) | What::Failed) => {}
            (Some(broker), What::Inbound(stream)) => self.handle_lane(broker, connection, lane, stream),
            (Some(broker), What::Outbound(stream)) => {
                let wait = Duration::from_millis(self.config.substream_ms);
                let Some(wanted) = self.wanted.get_mut(&broker) else { return };
                if wanted.outgoing_on != Some(connection) || !matches!(wanted.lane(lane), Outgoing::Opening) {
                    return;
                }
                let task = self.spawn(|number| async move {
                    Report::Knocked(broker, lane, number, outbound::knock(stream, wait).await)
                });
                if let Some(wanted) = self.wanted.get_mut(&broker) {
                    *wanted.lane(lane) = Outgoing::Knocking(task);
                }
            }
            (Some(broker), What::Failed) => {
                let opening = self.wanted.get_mut(&broker).is_some_and(|wanted| {
                    wanted.outgoing_on == Some(connection) && matches!(wanted.lane(lane), Outgoing::Opening)
                });
                if opening {
                    self.knock_failed(broker, lane, None);
                }
            }
        }
    }

    /// A known broker opened a lane.
    fn handle_lane(&mut self, broker: Address, connection: ConnectionId, lane: Lane, stream: Stream) {
        let now = Instant::now();
        let Some(wanted) = self.wanted.get_mut(&broker) else { return };
        let Some(way) = wanted.connections.get(&connection).copied() else { return };
        if wanted.incoming_on.is_some_and(|on| on != connection) {
            // Its lanes are all on one connection, so this is another life of it.
            self.end(broker, DisconnectReason::Replaced, Some(connection), now);
        }
        let Some(wanted) = self.wanted.get_mut(&broker) else { return };
        if wanted.readers[lane.index()].is_some() {
            self.refuse(stream, RefusalCode::LimitReached);
            return;
        }
        wanted.incoming_on = Some(connection);
        for outgoing in &mut wanted.outgoing {
            // It knows us, so it lets us in now if it did not before.
            if outgoing.is_closed() {
                *outgoing = Outgoing::Closed(now);
            }
        }
        wanted.knocks.reset();
        let peer = wanted.peer.clone();
        let session = self.begin(broker, way, now);
        let directory = self.directory.clone();
        let task = self.spawn(|number| async move {
            let reason = inbound::receive(stream, directory, peer, session, lane).await;
            Report::Received(broker, lane, number, reason)
        });
        if let Some(wanted) = self.wanted.get_mut(&broker) {
            wanted.readers[lane.index()] = Some(task);
        }
        self.advance(broker, now);
    }

    fn handle_report(&mut self, report: Report) {
        let now = Instant::now();
        match report {
            Report::Refused => {}
            Report::Resolved(broker, addresses) => {
                if self.wanted.get(&broker).is_some_and(|wanted| wanted.dialing) {
                    self.dial(broker, addresses);
                }
            }
            Report::Knocked(broker, lane, number, result) => {
                let Some(wanted) = self.wanted.get_mut(&broker) else { return };
                if !wanted.lane(lane).is_task(number) {
                    return;
                }
                let way = wanted.outgoing_on.and_then(|on| wanted.connections.get(&on)).copied();
                match (result, way) {
                    (Ok(stream), Some(way)) => {
                        wanted.knocks.reset();
                        let peer = wanted.peer.clone();
                        self.begin(broker, way, now);
                        let Some(queue) = peer.queue(lane) else { return };
                        let task = self.spawn(|number| async move {
                            Report::Sent(
                                broker,
                                lane,
                                number,
                                outbound::send(stream, queue, peer, lane).await,
                            )
                        });
                        if let Some(wanted) = self.wanted.get_mut(&broker) {
                            *wanted.lane(lane) = Outgoing::Sending(task);
                        }
                    }
                    (Ok(_), None) => self.knock_failed(broker, lane, None),
                    (Err(code), _) => self.knock_failed(broker, lane, code),
                }
            }
            Report::Sent(broker, lane, number, reason) => {
                let current =
                    self.wanted.get_mut(&broker).is_some_and(|wanted| wanted.lane(lane).is_task(number));
                if current {
                    self.end(broker, reason, None, now);
                }
            }
            Report::Received(broker, lane, number, reason) => {
                let reader =
                    self.wanted.get(&broker).and_then(|wanted| wanted.readers[lane.index()].as_ref());
                if reader.is_some_and(|task| task.number == number) {
                    self.end(broker, reason, None, now);
                }
            }
        }
    }

    /// A lane that we asked for was not given. It is asked for again as long as there is a connection.
    fn knock_failed(&mut self, broker: Address, lane: Lane, code: Option<RefusalCode>) {
        let now = Instant::now();
        let Some(wanted) = self.wanted.get_mut(&broker) else { return };
        let wait = wanted.knocks.wait();
        tracing::debug!(%broker, %lane, code = code.map(RefusalCode::as_str), ?wait, "lane not opened");
        *wanted.lane(lane) = Outgoing::Closed(now + wait);
        if wanted.outgoing.iter().all(Outgoing::is_closed) {
            wanted.outgoing_on = None;
        }
        self.advance(broker, now);
    }

    /// Begins a session if there is none; its number.
    fn begin(&mut self, broker: Address, way: Way, now: Instant) -> u64 {
        let Some(wanted) = self.wanted.get_mut(&broker) else { return 0 };
        if let Some(session) = wanted.session {
            return session.number;
        }
        tracing::info!(%broker, direction = ?way.direction, transport = ?way.transport, "broker connected");
        let number = self.directory.begin(&wanted.peer, way.direction, way.transport);
        wanted.session = Some(Running { number, began: now, way });
        number
    }

    /// Ends a broker's session and closes its connections, but for `keep`; the next begins as soon as may be.
    fn end(&mut self, broker: Address, reason: DisconnectReason, keep: Option<ConnectionId>, now: Instant) {
        let yields = self.yields_to(broker);
        let Some(wanted) = self.wanted.get_mut(&broker) else { return };
        let sound = wanted
            .session
            .is_some_and(|session| now.saturating_duration_since(session.began) >= SOUND_SESSION);
        wanted.session = None;
        wanted.outgoing = [Outgoing::Closed(now), Outgoing::Closed(now)];
        wanted.readers = [None, None];
        wanted.outgoing_on = None;
        wanted.incoming_on = None;
        match self.directory.end(&wanted.peer, reason) {
            Some(DisconnectReason::Misbehaved(code)) => {
                tracing::warn!(%broker, %code, "broker cut off");
                self.directory.counters.peers_misbehaved.fetch_add(1, Ordering::Relaxed);
            }
            Some(reason) => tracing::info!(%broker, ?reason, "broker disconnected"),
            None => {}
        }
        let closed: Vec<_> = wanted.connections.extract_if(.., |id, _| Some(*id) != keep).collect();
        if sound {
            wanted.dials.reset();
        }
        wanted.dial_at = now + wanted.dials.wait() + yields;
        for (connection, _) in closed {
            self.swarm.close_connection(connection);
        }
        self.advance(broker, now);
    }

    /// Answers a lane that is not wanted, if not too many are being answered.
    fn refuse(&mut self, stream: Stream, code: RefusalCode) {
        let Ok(room) = self.refusals.clone().try_acquire_owned() else {
            self.directory.counters.strangers_dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.tasks.spawn(async move {
            inbound::refuse(stream, code).await;
            drop(room);
            Report::Refused
        });
    }

    fn spawn<F>(&mut self, task: impl FnOnce(u64) -> F) -> Task
    where
        F: Future<Output = Report> + Send + 'static,
    {
        self.tasks_begun += 1;
        let number = self.tasks_begun;
        Task { number, abort: self.tasks.spawn(task(number)) }
    }
}

/// What an error says, and what lies behind it.
fn why(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
