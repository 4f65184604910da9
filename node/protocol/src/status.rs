use mainstem_model::{Address, EpochNumber, StreamPartition};

/// The network as one broker sees it, for its operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkStatus {
    /// This broker.
    pub me: Address,
    /// The epoch in force; 0 when there is no other broker.
    pub epoch: EpochNumber,
    /// How many shards there are.
    pub shards: u32,
    /// How many brokers keep a shard.
    pub replicas: u8,
    /// This broker has all that it is to keep.
    pub ready: bool,
    /// The other brokers of the network, by address.
    pub peers: Vec<PeerStatus>,
    /// The shards that this broker keeps, by number.
    pub kept: Vec<ShardStatus>,
    /// Partitions that are followed at others.
    pub links: Vec<LinkStatus>,
    /// Links that others have here.
    pub followers: usize,
    /// Series of which others have more.
    pub series_behind: usize,
    /// Bytes of batches that wait for those before them.
    pub parked_bytes: usize,
    /// Batches that wait for copies at other brokers.
    pub copies_waiting: usize,
}

/// Another broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Who.
    pub address: Address,
    /// There is a session with it.
    pub up: bool,
    /// It says to have all that it is to keep.
    pub ready: bool,
    /// Milliseconds since it was last heard; `None` without a session.
    pub silent_ms: Option<i64>,
    /// Points for misbehaviour: 0 is good, at 100 it is dropped for a while.
    pub score: u32,
    /// Bytes of batches sent to it for keeping and not answered.
    pub outstanding_bytes: usize,
    /// Pulls from it that are under way.
    pub pulls: usize,
}

/// A shard that this broker keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardStatus {
    /// Its number.
    pub shard: u32,
    /// Who keeps it, best first.
    pub owners: Vec<Address>,
    /// Who kept it before and goes on until the owners have all of it.
    pub before: Vec<Address>,
}

/// A partition that is followed at others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// Which one.
    pub at: StreamPartition,
    /// Who tells its batches.
    pub full: Option<Address>,
    /// Who tell its heads.
    pub heads: Vec<Address>,
    /// Batches come.
    pub stands: bool,
}
