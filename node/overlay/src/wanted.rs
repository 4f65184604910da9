use crate::{
    PeerAddress,
    address::{broker_of, is_quic, is_relayed, peer_id_in},
    frame::Lane,
    overlay::{Direction, Transport},
    peer::Peer,
};
use libp2p::{Multiaddr, PeerId, core::ConnectedPoint, multiaddr::Protocol, swarm::ConnectionId};
use mainstem_crypto::Address;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::AbortHandle;

/// What the swarm's task knows about a wanted broker.
pub(crate) struct Wanted {
    pub(crate) peer: Arc<Peer>,
    /// Known once the broker was met, or from an address.
    pub(crate) id: Option<PeerId>,
    given: Vec<Multiaddr>,
    found: Vec<Multiaddr>,
    pub(crate) connections: BTreeMap<ConnectionId, Way>,
    /// The lanes that we opened, and on which connection.
    pub(crate) outgoing: [Outgoing; 2],
    pub(crate) outgoing_on: Option<ConnectionId>,
    pub(crate) knocks: Backoff,
    /// The lanes that the peer opened, and on which connection.
    pub(crate) readers: [Option<Task>; 2],
    pub(crate) incoming_on: Option<ConnectionId>,
    pub(crate) session: Option<Running>,
    pub(crate) dialing: bool,
    pub(crate) dial_at: Instant,
    pub(crate) dials: Backoff,
    turn: usize,
}

/// How a connection came to be, and over what it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) direction: Direction,
    pub(crate) transport: Transport,
}

impl Way {
    pub(crate) fn of(endpoint: &ConnectedPoint) -> Self {
        let direction = if endpoint.is_dialer() { Direction::Outgoing } else { Direction::Incoming };
        let address = endpoint.get_remote_address();
        let transport = if endpoint.is_relayed() || is_relayed(address) {
            Transport::Relayed
        } else if is_quic(address) {
            Transport::Quic
        } else {
            Transport::Tcp
        };
        Self { direction, transport }
    }

    pub(crate) fn is_relayed(self) -> bool {
        self.transport == Transport::Relayed
    }
}

/// A session: when it began, over which connection, and its number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    pub(crate) number: u64,
    pub(crate) began: Instant,
    pub(crate) way: Way,
}

/// A lane that we open.
pub(crate) enum Outgoing {
    /// Not open; try again then.
    Closed(Instant),
    /// The substream is asked for.
    Opening,
    /// The peer's answer is waited for.
    Knocking(Task),
    /// Frames flow.
    Sending(Task),
}

impl Outgoing {
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }

    pub(crate) fn is_task(&self, number: u64) -> bool {
        match self {
            Self::Knocking(task) | Self::Sending(task) => task.number == number,
            Self::Closed(_) | Self::Opening => false,
        }
    }
}

/// A task that ends with its owner. The number tells its report from that of a task before it.
pub(crate) struct Task {
    pub(crate) number: u64,
    pub(crate) abort: AbortHandle,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

/// Longer and longer waits, with jitter so that a crowd does not come back at once.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(min_ms: u64, max_ms: u64) -> Self {
        let min = Duration::from_millis(min_ms);
        Self { min, max: Duration::from_millis(max_ms), next: min }
    }

    /// The next wait: half of it to all of it.
    pub(crate) fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = wait.saturating_mul(2).min(self.max);
        wait.mul_f64(rand::random_range(0.5..=1.0))
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }
}

impl Wanted {
    pub(crate) fn new(peer: Arc<Peer>, backoff: Backoff, now: Instant, dial_at: Instant) -> Self {
        Self {
            peer,
            id: None,
            given: Vec::new(),
            found: Vec::new(),
            connections: BTreeMap::new(),
            outgoing: [Outgoing::Closed(now), Outgoing::Closed(now)],
            outgoing_on: None,
            knocks: backoff.clone(),
            readers: [None, None],
            incoming_on: None,
            session: None,
            dialing: false,
            dial_at,
            dials: backoff,
            turn: 0,
        }
    }

    /// Takes the addresses that were given for it. Whether they are others than before.
    pub(crate) fn give(&mut self, addresses: &[PeerAddress]) -> bool {
        let broker = self.peer.address;
        let mut given = Vec::new();
        for PeerAddress(address) in addresses {
            match peer_id_in(address) {
                Some(id) if broker_of(&id) != Some(broker) => {
                    tracing::warn!(%broker, %address, "address of another broker passed over");
                    continue;
                }
                Some(id) => self.id = Some(id),
                None => {}
            }
            given.push(plain(address));
        }
        let changed = given != self.given;
        self.given = given;
        changed
    }

    /// Remembers where it was found, the newest last, so many at most. Whether any was new.
    pub(crate) fn find(&mut self, addresses: impl IntoIterator<Item = Multiaddr>, most: usize) -> bool {
        let mut new = false;
        for address in addresses.into_iter().take(most) {
            let address = plain(&address);
            if !self.given.contains(&address) && !self.found.contains(&address) {
                self.found.push(address);
                new = true;
            }
        }
        self.found.drain(..self.found.len().saturating_sub(most));
        new
    }

    /// Where to dial next. All addresses at once if the peer id is known, for then whoever answers has to be it.
    pub(crate) fn next_addresses(&mut self) -> Vec<Multiaddr> {
        let mut all: Vec<_> = self.given.iter().chain(&self.found).cloned().collect();
        all.sort_by_key(|address| (is_relayed(address), !is_quic(address)));
        if self.id.is_some() || all.is_empty() {
            return all;
        }
        let turn = self.turn % all.len();
        self.turn = self.turn.wrapping_add(1);
        vec![all.swap_remove(turn)]
    }

    /// The connection to open lanes on: the one they are on already, else a direct one, else what there is.
    pub(crate) fn way_out(&self) -> Option<ConnectionId> {
        let best = || {
            self.connections
                .iter()
                .min_by_key(|(id, way)| (way.is_relayed(), way.transport != Transport::Quic, **id))
                .map(|(id, _)| *id)
        };
        self.outgoing_on.or_else(best)
    }

    pub(crate) fn lane(&mut self, lane: Lane) -> &mut Outgoing {
        &mut self.outgoing[lane.index()]
    }
}

/// Without the peer id of the broker itself; a relay's stays.
fn plain(address: &Multiaddr) -> Multiaddr {
    let mut address = address.clone();
    if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
        address.pop();
    }
    address
}

/// Puts IP addresses in the place of a name, as many as the name has.
pub(crate) async fn resolve(address: Multiaddr) -> Vec<Multiaddr> {
    let mut parts = address.iter();
    let (name, v4, v6) = match parts.next() {
        Some(Protocol::Dns(name)) => (name, true, true),
        Some(Protocol::Dns4(name)) => (name, true, false),
        Some(Protocol::Dns6(name)) => (name, false, true),
        _ => return vec![address],
    };
    let rest: Vec<_> = parts.collect();
    let Ok(found) = tokio::net::lookup_host((name.as_ref(), 0)).await else {
        return Vec::new();
    };
    found
        .map(|found| found.ip())
        .filter(|ip| if ip.is_ipv4() { v4 } else { v6 })
        .map(|ip| std::iter::once(Protocol::from(ip)).chain(rest.iter().cloned()).collect())
        .collect()
}

/// Whether a name has to be looked up first.
pub(crate) fn is_named(address: &Multiaddr) -> bool {
    matches!(address.iter().next(), Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)))
}

/// Who dials at once; the other gives it a moment.
pub(crate) fn dials_first(local: Address, peer: Address) -> bool {
    local < peer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew() {
        let mut backoff = Backoff::new(100, 350);
        for longest in [100, 200, 350, 350] {
            let wait = backoff.wait();
            assert!(
                wait >= Duration::from_millis(longest) / 2 && wait <= Duration::from_millis(longest),
                "{wait:?}"
            );
        }
        backoff.reset();
        assert!(backoff.wait() <= Duration::from_millis(100));
    }

    #[tokio::test]
    async fn a_name_becomes_its_addresses_and_an_address_stays() {
        let address = |text: &str| text.parse::<Multiaddr>().expect("a multiaddress");
        assert_eq!(
            resolve(address("/dns4/localhost/udp/1/quic-v1")).await,
            [address("/ip4/127.0.0.1/udp/1/quic-v1")]
        );
        assert_eq!(resolve(address("/ip4/192.0.2.1/tcp/1")).await, [address("/ip4/192.0.2.1/tcp/1")]);
    }
}
