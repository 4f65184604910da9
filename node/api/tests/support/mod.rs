//! What the tests and the loopback example stand on: a broker with its real state machine over a store in memory, and a
//! native client that speaks frames.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test takes what it needs, and may fail loudly"
)]

pub mod broker;
pub mod client;
#[path = "../http_support/driver.rs"]
mod driver;
pub mod wire;

use mainstem_crypto::SecretKey;
use mainstem_model::{
    Address, Grant, Network, NewEvent, Partition, SeriesId, SeriesWriter, Signer, StreamId, StreamPartition,
};

pub const NETWORK: Network = Network { chain_id: 31337, registry: Address([1; 20]) };
pub const STREAM: StreamId = StreamId(Address([2; 20]));
/// Nobody but its owner may do anything with this one.
pub const PRIVATE: StreamId = StreamId(Address([3; 20]));
pub const NODE: Address = Address([9; 20]);

pub fn key(n: u8) -> SecretKey {
    SecretKey::from_bytes(&[n; 32]).unwrap()
}

pub fn at(stream: StreamId) -> StreamPartition {
    stream.partition(Partition::ZERO)
}

pub fn writer(n: u8, series: u64) -> SeriesWriter {
    SeriesWriter::new(NETWORK, at(STREAM), Signer::wallet(key(n)), SeriesId(series))
}

pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    since.as_millis() as i64
}

pub fn event(bytes: usize) -> NewEvent {
    NewEvent::binary(now_ms(), vec![7; bytes].into())
}

pub fn alice() -> Address {
    key(1).address()
}

/// Every right, for ever.
pub const ALL: Grant = Grant { subscribe_until: Grant::FOREVER, publish_until: Grant::FOREVER, flags: 7 };
