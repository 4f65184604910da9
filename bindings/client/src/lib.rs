//! The one client of Mainstem: every language's binding is a façade over it.
//!
//! What it is: one signed-in connection to a broker (QUIC, else WebSocket) that mends itself; publishers that batch, sign, number
//! and keep events until they are acked; subscriptions that prove what they receive and bring each event exactly once by
//! cursor; contents sealed and opened with the keys that it is given; streams and rights by the chain.
//! What it is not: it decides no policy for the application, stores nothing on disk, and starts no runtime: it runs on the
//! caller's tokio.
//!
//! ```no_run
//! # async fn example() -> Result<(), mainstem_client::ClientError> {
//! use mainstem_client::{Broker, Client, ClientConfig, Identity, PublishOptions, Start, SubscribeOptions};
//! use mainstem_crypto::SecretKey;
//! use mainstem_model::{Address, Network, Partition, StreamId};
//!
//! let network = Network { chain_id: 31337, registry: Address([1; 20]) };
//! let broker: Broker = "quic://127.0.0.1:7172".parse()?;
//! let mut config = ClientConfig::new(broker.pinned("8f".repeat(32).parse()?), network);
//! config.identity = Identity::Wallet(SecretKey::from_bytes(&[7; 32]).expect("7…7 is below the curve order"));
//! let client = Client::connect(config).await?;
//!
//! let at = StreamId(Address([2; 20])).partition(Partition::ZERO);
//! let mut events = client.subscribe(SubscribeOptions::new(at).start(Start::Last(10))).await?;
//! client.publish(at, serde_json::json!({"speed": 42}), PublishOptions::default()).await?.await?;
//! while let Some(event) = events.next().await {
//!     let event = event?;
//!     let _ = (event.timestamp(), event.content(), event.cursor());
//! }
//! # Ok(()) }
//! ```

mod chain;
mod client;
mod config;
mod connection;
mod delivery;
mod encryption;
mod error;
mod event;
mod feed;
mod frame;
mod guard;
mod lane;
mod output;
mod proving;
mod publisher;
mod publishing;
mod quic;
mod selection;
mod session;
mod streams;
mod subscription;
mod ticket;
mod tls;
mod websocket;
mod workers;

pub use client::{Client, PublishOptions, PublishTo, Status};
pub use config::{
    Broker, BrokerUrl, ChainConfig, ClientConfig, Identity, Pin, PublishConfig, ReconnectConfig,
    SubscribeConfig, TransportConfig,
};
pub use encryption::{Closed, EncryptionConfig, StreamKeys};
pub use error::{ClientError, ErrorKind};
pub use event::{Content, Event, EventBatch};
pub use publisher::{PublishTarget, Publisher};
pub use selection::{Partitions, ResendOptions, ResendRange, Start, SubscribeOptions};
pub use streams::{PermissionAssignment, StreamDefinition, StreamName, StreamSearch};
pub use subscription::{Completion, Damage, Delivery, Fork, Gap, Subscription};
pub use ticket::{PublishReceipt, Published};
