//! What the tests stand on: the real listeners and the real state machine over a store in memory, with a hand in what the
//! broker says.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stdout,
    unused_imports,
    reason = "each test takes what it needs, and may fail loudly"
)]

pub mod broker;
mod driver;

pub use broker::{Broker, Setup};

use mainstem_client::{Client, ClientConfig, Delivery, Event, Identity, ReconnectConfig, Subscription};
use mainstem_crypto::SecretKey;
use mainstem_model::{Address, Grant, Network, NewEvent, Partition, StreamId, StreamPartition};
use std::{
    future::Future,
    time::{Duration, SystemTime},
};

pub const NETWORK: Network = Network { chain_id: 31337, registry: Address([1; 20]) };
pub const NODE: Address = Address([9; 20]);
/// Everyone reads and publishes; four partitions.
pub const OPEN: StreamId = StreamId(Address([2; 20]));
/// Nobody but Alice (key 1) may do anything.
pub const CLOSED: StreamId = StreamId(Address([3; 20]));
pub const ABSENT: StreamId = StreamId(Address([4; 20]));
pub const ALL: Grant = Grant { subscribe_until: Grant::FOREVER, publish_until: Grant::FOREVER, flags: 7 };

pub fn key(n: u8) -> SecretKey {
    SecretKey::from_bytes(&[n; 32]).unwrap()
}

pub fn at(stream: StreamId) -> StreamPartition {
    stream.partition(Partition::ZERO)
}

pub fn part(stream: StreamId, partition: u16) -> StreamPartition {
    stream.partition(Partition::try_from(partition).unwrap())
}

pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64
}

/// An event that says its number.
pub fn numbered(n: u64) -> NewEvent {
    NewEvent::binary(now_ms(), n.to_be_bytes().to_vec().into())
}

pub fn number(event: &Event) -> u64 {
    u64::from_be_bytes(event.content()[..8].try_into().unwrap())
}

/// A configuration with quick reconnects.
pub fn config(broker: &Broker, identity: u8) -> ClientConfig {
    let mut config = ClientConfig::new(broker.quic(), NETWORK);
    config.identity = Identity::Wallet(key(identity));
    config.reconnect = quick();
    config
}

pub fn quick() -> ReconnectConfig {
    ReconnectConfig {
        first: Duration::from_millis(1),
        max: Duration::from_millis(20),
        seed: Some(7),
        ..ReconnectConfig::default()
    }
}

pub async fn connect(broker: &Broker, identity: u8) -> Client {
    Client::connect(config(broker, identity)).await.unwrap()
}

/// Nothing in these tests takes long.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("this takes too long")
}

pub async fn next(subscription: &mut Subscription) -> Event {
    soon(subscription.next()).await.expect("the subscription ended").unwrap()
}

pub async fn numbers(subscription: &mut Subscription, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        numbers.push(number(&next(subscription).await));
    }
    numbers
}

/// Everything to the end of a resend.
pub async fn all_numbers(mut subscription: Subscription) -> Vec<u64> {
    let mut numbers = Vec::new();
    while let Some(event) = soon(subscription.next()).await {
        numbers.push(number(&event.unwrap()));
    }
    assert_eq!(subscription.completion().unwrap().events, numbers.len() as u64);
    assert!(subscription.completion().unwrap().complete);
    numbers
}

/// The next delivery that is no batch.
pub async fn notice(subscription: &mut Subscription) -> Delivery {
    loop {
        let told = soon(subscription.next_delivery()).await.expect("the subscription ended").unwrap();
        if !matches!(told, Delivery::Batch(_)) {
            return told;
        }
    }
}

/// The next delivery that tells of trouble.
pub async fn trouble(subscription: &mut Subscription) -> Delivery {
    loop {
        let told = notice(subscription).await;
        if !matches!(told, Delivery::CaughtUp { .. }) {
            return told;
        }
    }
}

/// A small generator that replays by its seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
