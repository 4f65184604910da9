//! The edges of a node: its listeners (QUIC, HTTP and WebSocket), and the bytes that brokers exchange.
//!
//! What it is: frames and requests become typed events for the broker's state machine, and its messages become frames.
//! What it is not: it decides nothing about rights, order or history.

mod config;
mod error;
pub mod frame;
mod handle;
pub mod http;
mod network;
pub mod peer;
mod publisher;
mod quic;
mod session;
mod shares;
mod tls;
mod websocket;
mod workers;

pub use config::{QuicConfig, SessionConfig, WebSocketConfig, WorkersConfig};
pub use error::ApiError;
pub use handle::{AddedRights, Input, Manage, ManageAction, NodeHandle};
pub use http::{HttpConfig, NodeInfo};
pub use network::{NetworkSeen, PeerConnection};
pub use publisher::{Identities, IdentityError, NodePublisher, Published, PublisherConfig, Submitted};
pub use quic::{CLOSE_DONE, CLOSE_REFUSED, QuicListener};
pub use tls::{ALPN, TlsIdentity, new_key_pem, write_secret};
pub use workers::{Answer, Workers, prove};
