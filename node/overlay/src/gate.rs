use crate::{
    address::{broker_of, ip_of, is_relayed},
    config::Config,
    limiter::{Buckets, Rate},
    peer::Directory,
};
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
    },
};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

/// Addresses whose rate is remembered. At the bound new ones are refused until old ones are forgotten.
const ADDRESSES_MAX: usize = 16_384;

/// Refuses connections from outside that come too fast or would take the room of known brokers.
pub(crate) struct Gate {
    directory: Arc<Directory>,
    dials: Buckets<IpAddr>,
    strangers_max: usize,
    strangers: BTreeMap<ConnectionId, PeerId>,
}

#[derive(Debug, thiserror::Error)]
enum Denied {
    #[error("too many connections from one address")]
    Rate,
    #[error("too many connections with peers that are no brokers")]
    Strangers,
}

impl Gate {
    pub(crate) fn new(config: &Config, directory: Arc<Directory>) -> Self {
        let rate = Rate { burst: config.dials_burst_max, per_second: config.dials_per_second_max };
        Self {
            directory,
            dials: Buckets::new(rate, ADDRESSES_MAX),
            strangers_max: config.strangers_max as usize,
            strangers: BTreeMap::new(),
        }
    }
}

fn is_stranger(directory: &Directory, peer: &PeerId) -> bool {
    broker_of(peer).is_none_or(|broker| !directory.knows(broker))
}

/// What one customer of an internet provider has.
fn customer(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) >> 64 << 64).into(),
    }
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let Some(ip) = ip_of(remote).filter(|_| !is_relayed(remote)) else {
            return Ok(());
        };
        if self.dials.take(customer(ip), Instant::now()) {
            Ok(())
        } else {
            Err(ConnectionDenied::new(Denied::Rate))
        }
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if is_stranger(&self.directory, &peer) {
            if self.strangers.len() >= self.strangers_max {
                // Some may have become brokers.
                let directory = &self.directory;
                self.strangers.retain(|_, peer| is_stranger(directory, peer));
            }
            if self.strangers.len() >= self.strangers_max {
                return Err(ConnectionDenied::new(Denied::Strangers));
            }
            self.strangers.insert(connection, peer);
        }
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) = event {
            self.strangers.remove(&connection_id);
        } else if let FromSwarm::ListenFailure(failure) = event {
            // Another behaviour may have refused it after this one let it in.
            self.strangers.remove(&failure.connection_id);
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_customer_has_one_rate_for_the_whole_network() {
        let of = |text: &str| customer(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
