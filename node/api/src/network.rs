use mainstem_model::Address;
use mainstem_protocol::NetworkStatus;
use std::{collections::BTreeMap, time::Duration};

/// The network as this node sees it, for its operator.
#[derive(Clone, Debug)]
pub struct NetworkSeen {
    /// What the state machine knows.
    pub status: NetworkStatus,
    /// What is known of the way to each broker.
    pub connections: BTreeMap<Address, PeerConnection>,
}

/// The way to another broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerConnection {
    /// What the session runs over: `quic`, `tcp` or `relay`; `None` without a session.
    pub transport: Option<&'static str>,
    /// The last round trip that was measured.
    pub rtt: Option<Duration>,
    /// Bytes that wait to be written to it, of the live lane.
    pub queued_live_bytes: u64,
    /// The same of the bulk lane.
    pub queued_bulk_bytes: u64,
    /// How much longer no session with it is wanted, for what it did.
    pub dropped: Option<Duration>,
    /// Where it is reached, as multiaddresses.
    pub endpoints: Vec<String>,
}
