//! The broker as a pure state machine: `node.handle(event, now)` gives the outputs; a driver performs them.
//!
//! What it is: sessions, publishing with acks, order within a series, rights, subscriptions, catching up from the store.
//! What it is not: it knows no socket, file, thread, clock or randomness. Batches reach it proven
//! ([`VerifiedBatch`](mainstem_model::VerifiedBatch)) or not at all.
//!
//! The whole contract is two enums: [`InEvent`] and [`OutEvent`].

mod answers;
mod changes;
mod clock;
mod config;
mod context;
mod copies;
mod counters;
mod event;
mod inventory;
mod links;
mod network;
mod node;
mod offer;
mod peer;
mod peers;
mod publish;
mod repair;
mod rule;
mod series;
mod session;
#[cfg(feature = "test-utils")]
pub mod simulator;
mod status;
mod subscription;

pub use config::Config;
pub use counters::Counters;
pub use event::{
    InEvent, LastArrival, Now, OutEvent, Page, PastBatch, ReadToken, SeriesPage, SeriesStart, ServerMessage,
    SessionId, Subscribe, SubscriptionId, WriteToken,
};
pub use node::Node;
pub use peer::{Lane, PeerBatch, PeerFault, PeerMessage, PullEnd, SeriesFrom};
pub use peers::Misdeed;
#[cfg(feature = "test-utils")]
pub use rule::Rule;
pub use status::{LinkStatus, NetworkStatus, PeerStatus, ShardStatus};
