//! A network of brokers in virtual time: seeded, so that a seed is a whole history and can be had again.
//!
//! What it is: brokers ([`Node`](crate::Node)s) with disks that lose what was not synced, clocks that are wrong and sessions
//! that break; publishers and subscribers; a reference of what must be where in the end. What it is not: it proves no
//! signature twice, knows no real time, and decides nothing that a broker decides.
//!
//! ```
//! use mainstem_crypto::SecretKey;
//! use mainstem_model::Signer;
//! use mainstem_protocol::simulator::{Settings, World};
//! let mut world = World::new(Settings::alone(17), |n| Signer::wallet(SecretKey::from_bytes(&[n; 32]).unwrap()));
//! world.run(2_000);
//! world.settle();
//! assert_eq!(world.check(), Ok(()), "{}", world.report());
//! ```

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "it looks at the few messages that matter to it; a client or liar passes over the rest"
)]

mod broker;
mod disk;
mod faults;
mod flood;
mod hostile;
mod machine;
mod meter;
mod network;
mod parents;
mod proofs;
mod publisher;
mod questions;
mod random;
mod reference;
pub mod regions;
mod relays;
mod sabotage;
mod settings;
mod subscriber;
mod trace;
mod windows;
mod world;

pub use faults::{FaultKind, Faults};
pub use flood::Flood;
pub use hostile::{Hostile, HostileKind, Says};
pub use machine::{Machine, Make, Seat, node};
pub use meter::{MESSAGE_KINDS, MESSAGE_NAMES, Meter, Tally, kind_of, wire_bytes};
pub use sabotage::Sabotage;
pub use settings::{Mesh, Settings};
pub use world::{CHAIN, World};
