use crate::{address::broker_of, config::Config, gate::Gate, peer::Directory, substreams::Substreams};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, autonat, connection_limits, dcutr, identify,
    identity::Keypair,
    kad::{self, store::MemoryStore},
    memory_connection_limits, ping, relay,
    swarm::NetworkBehaviour,
};
use std::{sync::Arc, time::Duration};

/// The name under which identify tells what this is.
const PROTOCOL_VERSION: &str = "/mainstem/1";
const KADEMLIA: StreamProtocol = StreamProtocol::new("/mainstem/kad/1");

/// Everything that libp2p does for the overlay. Those that refuse connections go first.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    limits: connection_limits::Behaviour,
    memory: memory_connection_limits::Behaviour,
    gate: Gate,
    pub(crate) substreams: Substreams,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    pub(crate) kademlia: kad::Behaviour<MemoryStore>,
    autonat_client: autonat::v2::client::Behaviour,
    autonat_server: autonat::v2::server::Behaviour,
    relay: relay::Behaviour,
    relay_client: relay::client::Behaviour,
    dcutr: dcutr::Behaviour,
}

/// Lets known brokers pass and nobody else: a relay carries what costs its operator money.
struct BrokersOnly(Arc<Directory>);

impl relay::RateLimiter for BrokersOnly {
    fn try_next(&mut self, peer: PeerId, _: &Multiaddr, _: std::time::Instant) -> bool {
        broker_of(&peer).is_some_and(|broker| self.0.knows(broker))
    }
}

impl Behaviour {
    pub(crate) fn new(
        config: &Config,
        keypair: &Keypair,
        relay_client: relay::client::Behaviour,
        directory: &Arc<Directory>,
    ) -> Self {
        let peer = keypair.public().to_peer_id();
        let limits = connection_limits::ConnectionLimits::default()
            .with_max_pending_incoming(Some(config.handshakes_in_max))
            .with_max_pending_outgoing(Some(config.handshakes_out_max))
            .with_max_established_per_peer(Some(config.connections_per_peer_max))
            .with_max_established(Some(config.connections_max));

        let mut kademlia = kad::Config::new(KADEMLIA);
        kademlia
            .set_query_timeout(Duration::from_secs(10))
            .disjoint_query_paths(true)
            .set_caching(kad::Caching::Disabled)
            // Only brokers that we know are in the table, so no stranger can crowd it; records are not kept at all.
            .set_kbucket_inserts(kad::BucketInserts::Manual)
            .set_record_filtering(kad::StoreInserts::FilterBoth)
            .set_replication_interval(None)
            .set_publication_interval(None)
            .set_provider_publication_interval(None)
            .set_periodic_bootstrap_interval(Some(Duration::from_secs(300)));
        let mut kademlia = kad::Behaviour::with_config(peer, MemoryStore::new(peer), kademlia);
        kademlia.set_mode(Some(kad::Mode::Server));

        let relay = relay::Config {
            max_reservations: config.relay_places_max,
            max_reservations_per_peer: 1,
            reservation_duration: Duration::from_secs(3600),
            reservation_rate_limiters: vec![Box::new(BrokersOnly(directory.clone()))],
            max_circuits: config.relay_circuits_max,
            max_circuits_per_peer: config.relay_circuits_max.div_ceil(8),
            max_circuit_duration: Duration::from_secs(config.relay_circuit_s),
            max_circuit_bytes: config.relay_circuit_bytes_max,
            circuit_src_rate_limiters: vec![Box::new(BrokersOnly(directory.clone()))],
        };
        let mut relay = relay::Behaviour::new(peer, relay);
        let relays = config.relay_places_max > 0;
        relay.set_status(Some(if relays { relay::Status::Enable } else { relay::Status::Disable }));

        Self {
            limits: connection_limits::Behaviour::new(limits),
            memory: memory_connection_limits::Behaviour::with_max_bytes(
                usize::try_from(config.memory_bytes_max).unwrap_or(usize::MAX),
            ),
            gate: Gate::new(config, directory.clone()),
            substreams: Substreams::new(Duration::from_millis(config.substream_ms)),
            identify: identify::Behaviour::new(
                identify::Config::new(PROTOCOL_VERSION.into(), keypair.public())
                    .with_agent_version(concat!("mainstem/", env!("CARGO_PKG_VERSION")).into())
                    .with_push_listen_addr_updates(true)
                    .with_cache_size(0),
            ),
            ping: ping::Behaviour::new(
                ping::Config::new()
                    .with_interval(Duration::from_millis(config.ping_ms))
                    .with_timeout(Duration::from_millis(config.ping_timeout_ms)),
            ),
            kademlia,
            autonat_client: autonat::v2::client::Behaviour::default(),
            autonat_server: autonat::v2::server::Behaviour::default(),
            relay,
            relay_client,
            dcutr: dcutr::Behaviour::new(peer),
        }
    }
}
