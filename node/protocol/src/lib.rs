//! The broker as a pure state machine: `node.handle(event, now)` gives the outputs; a driver performs them.
//!
//! What it is: sessions, publishing with acks, order within a series, rights, subscriptions, catching up from the store.
//! What it is not: it knows no socket, file, thread, clock or randomness. Batches reach it proven
//! ([`VerifiedBatch`](mainstem_model::VerifiedBatch)) or not at all.
//!
//! The whole contract is two enums: [`InEvent`] and [`OutEvent`].

mod config;
mod counters;
mod event;
mod node;
mod peer;
mod publish;
mod series;
mod session;
#[cfg(feature = "test-utils")]
pub mod simulator;
mod subscription;

pub use config::Config;
pub use counters::Counters;
pub use event::{
    InEvent, Now, OutEvent, Page, PastBatch, ReadToken, SeriesPage, ServerMessage, SessionId, Subscribe,
    SubscriptionId, WriteToken,
};
pub use node::Node;
pub use peer::{Lane, PeerFault, PeerMessage, PullEnd, SeriesFrom};
