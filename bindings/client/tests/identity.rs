//! Who the broker is, and who the client is.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    reason = "a test that cannot go on panics, and prints its seed"
)]

mod support;

use mainstem_client::{Client, ErrorKind, Pin};
use mainstem_model::Address;
use std::time::Duration;
use support::{Broker, NODE, config, connect};

#[tokio::test]
async fn another_key_than_the_pinned_one_is_refused() {
    let broker = Broker::start().await;
    let mut config = config(&broker, 1);
    let mut pin = broker.pin;
    pin[31] ^= 1;
    config.broker = config.broker.pinned(Pin(pin));
    let error = Client::connect(config).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidSignIn, "{error}");
}

#[tokio::test]
async fn without_a_pin_the_system_must_vouch_for_the_broker() {
    let broker = Broker::start().await;
    let mut config = config(&broker, 1);
    config.broker.pin = None;
    let error = Client::connect(config).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidSignIn, "{error}");
}

#[tokio::test]
async fn another_node_or_network_is_refused_before_anything_is_signed() {
    let broker = Broker::start().await;
    let mut other = config(&broker, 1);
    other.broker = other.broker.of_node(Address([8; 20]));
    assert_eq!(Client::connect(other).await.unwrap_err().kind, ErrorKind::InvalidSignIn);
    let mut other = config(&broker, 1);
    other.network.chain_id += 1;
    assert_eq!(Client::connect(other).await.unwrap_err().kind, ErrorKind::WrongNetwork);
}

#[tokio::test]
async fn nobody_there_is_told_in_time() {
    let broker = Broker::start().await;
    let mut config = config(&broker, 1);
    config.broker = "quic://127.0.0.1:1".parse().unwrap();
    config.transport.connect_timeout = Duration::from_millis(300);
    let error = Client::connect(config.clone()).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Timeout | ErrorKind::Disconnected), "{error}");
    config.broker = "ws://127.0.0.1:1".parse().unwrap();
    assert_eq!(Client::connect(config.clone()).await.unwrap_err().kind, ErrorKind::Disconnected);
    config.broker = "quic://no.such.host.invalid".parse().unwrap();
    config.transport.connect_timeout = Duration::from_secs(20);
    assert_eq!(Client::connect(config).await.unwrap_err().kind, ErrorKind::Disconnected);
}

#[tokio::test]
async fn the_client_knows_whom_it_talks_to() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    assert_eq!(client.node(), NODE);
    assert_eq!(client.address(), Some(support::key(1).address()));
    assert_eq!(*client.network(), support::NETWORK);
}
