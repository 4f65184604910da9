//! Carries frames of bytes between brokers.
//!
//! What it is: a libp2p swarm whose identity is the broker's secp256k1 key, so that a peer id and an Ethereum address are
//! one identity. It keeps a connection to every wanted broker, over QUIC or else TCP with noise and yamux, finds addresses
//! by identify and Kademlia, gets through NATs by AutoNAT, relays and DCUtR, and bounds what peers can make it hold.
//! What it is not: it knows no batch, stream or shard, stores nothing, and never sends a frame twice.
//!
//! Frames ride on substreams of our own, one way each: a broker opens one for each [`Lane`] to a peer, is told `READY` or a
//! code and a sentence, and then writes frames, each after its length as a big-endian u32 (`frame`). Each lane has a queue
//! of its own and windows of its own at every layer, so bulk never waits in front of live, nor one peer in front of another.
//!
//! **Between [`Incoming::Connected`] and [`Incoming::Disconnected`] no frame of a lane is lost, doubled or reordered.**
//! Whatever breaks that promise ends the session: what was queued is gone, and the layer above asks again.
//!
//! ```no_run
//! # async fn example() -> Result<(), mainstem_overlay::OverlayError> {
//! use mainstem_overlay::{Config, Incoming, Lane, Overlay};
//! let key = mainstem_crypto::SecretKey::from_bytes(&[7; 32]).expect("7…7 is below the curve order");
//! let (overlay, mut inbox) = Overlay::start(&Config::default(), &key)?;
//! let peer = "0x1f9090aae28b8a3dceadf281b0f12828e676c326".parse().expect("an address");
//! overlay.set_peers([(peer, vec!["/dns/broker.example/udp/7173/quic-v1".parse()?])].into());
//! while let Some(incoming) = inbox.recv().await {
//!     if let Incoming::Connected { peer, .. } = incoming {
//!         let _ = overlay.try_send(peer, Lane::Live, bytes::Bytes::from_static(b"hello"));
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod address;
mod behaviour;
mod config;
mod error;
mod frame;
mod gate;
mod inbound;
mod inbox;
mod limiter;
mod listening;
mod metrics;
mod muxer;
mod outbound;
mod overlay;
mod peer;
mod queue;
mod substreams;
mod swarm;
#[cfg(test)]
mod tests;
mod transport;
mod wanted;

pub use address::PeerAddress;
pub use config::Config;
pub use error::{OverlayError, SendError};
pub use frame::{Lane, RefusalCode};
pub use inbox::{DisconnectReason, Frame, Inbox, Incoming};
pub use metrics::{LaneMetrics, Metrics, PeerMetrics};
pub use overlay::{Direction, Overlay, Transport};
