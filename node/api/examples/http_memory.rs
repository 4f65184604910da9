//! The HTTP listener over a store in memory and a chain that obeys at once, for tools that try it from outside.
//!
//! `cargo run -p mainstem-api --example http_memory -- 127.0.0.1:7171`; the API keys are `alice` and `bob`.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "an example talks and fails loudly")]

#[path = "../tests/http_support/mod.rs"]
mod http_support;

use http_support::{Rig, alice, json_event, now_ms};
use mainstem_api::{HttpConfig, PublisherConfig, http};
use mainstem_model::{AckLevel, Partition};
use mainstem_protocol::Config;
use std::time::Duration;
use tokio::{net::TcpListener, sync::watch};

#[tokio::main]
async fn main() {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7171".to_owned());
    let config = HttpConfig::default();
    let rig = Rig::with(config.clone(), Config::default(), PublisherConfig::default());
    let at = http_support::OPEN.partition(Partition::ZERO);
    for n in 0..100 {
        let events = vec![json_event(now_ms(), n)];
        rig.publisher.publish(alice(), at, events, AckLevel::Stored).await.unwrap();
    }
    let listener = TcpListener::bind(&address).await.unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    let (_stop, stopped) = watch::channel(false);
    http::serve(listener, rig.router.clone(), &config, stopped, Duration::from_secs(1)).await;
}
