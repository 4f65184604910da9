//! Reaching brokers: dials, names that are looked up, and where else a broker was found.

use super::{Driver, Report};
use crate::{
    address::{broker_of, dialable},
    wanted::{is_named, resolve},
};
use libp2p::{
    Multiaddr, PeerId,
    swarm::dial_opts::{DialOpts, PeerCondition},
};
use mainstem_crypto::Address;
use std::time::{Duration, Instant};

impl Driver {
    /// Dials, or first looks the names up. With nothing to dial it counts as failed.
    pub(super) fn dial(&mut self, broker: Address, addresses: Vec<Multiaddr>) {
        if addresses.iter().any(is_named) {
            self.tasks.spawn(async move {
                let mut resolved = Vec::new();
                for address in addresses {
                    resolved.extend(resolve(address).await);
                }
                Report::Resolved(broker, resolved)
            });
            return;
        }
        let id = self.wanted.get(&broker).and_then(|wanted| wanted.id);
        let options = match (id, addresses.first()) {
            (_, None) => return self.dial_failed(broker, "no address is known"),
            (Some(id), Some(_)) => {
                DialOpts::peer_id(id).condition(PeerCondition::Always).addresses(addresses).build()
            }
            (None, Some(address)) => DialOpts::unknown_peer_id().address(address.clone()).build(),
        };
        let connection = options.connection_id();
        self.dials.insert(connection, broker);
        if let Err(error) = self.swarm.dial(options) {
            self.dials.remove(&connection);
            self.dial_failed(broker, &error.to_string());
        }
    }

    pub(super) fn dial_failed(&mut self, broker: Address, why: &str) {
        tracing::debug!(%broker, why, "broker not reached");
        let now = Instant::now();
        let Some(wanted) = self.wanted.get_mut(&broker) else { return };
        wanted.dialing = false;
        wanted.dial_at = now + wanted.dials.wait();
        let id = wanted.id;
        self.advance(broker, now);
        self.look_up(id, now);
    }

    /// Asks Kademlia for a broker: for its peer id if that is known, else for whoever is near a random place.
    fn look_up(&mut self, id: Option<PeerId>, now: Instant) {
        let pause = Duration::from_millis(self.config.lookup_ms);
        if self.looked_up.is_some_and(|at| now.saturating_duration_since(at) < pause) {
            return;
        }
        self.looked_up = Some(now);
        let key = id.map_or_else(|| rand::random::<[u8; 32]>().to_vec(), PeerId::to_bytes);
        self.swarm.behaviour_mut().kademlia.get_closest_peers(key);
    }

    /// Takes note of where a broker says it is, or others say it is.
    pub(super) fn learn(&mut self, id: PeerId, addresses: Vec<Multiaddr>) {
        let now = Instant::now();
        let Some(broker) = broker_of(&id) else { return };
        let Some(wanted) = self.wanted.get_mut(&broker) else { return };
        let first = wanted.id.replace(id).is_none();
        let new = wanted.find(addresses.into_iter().filter(dialable), self.config.addresses_per_peer_max);
        if (first || new) && wanted.connections.is_empty() {
            wanted.dial_at = now;
            self.advance(broker, now);
        }
    }
}
