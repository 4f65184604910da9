//! The modules of `plugins/fixtures`: what their table says of them, how they are called, and what that takes.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod calls;
mod ended;
mod fixture;
mod usage;

pub use calls::{Callee, call};
pub use ended::{ended, refused};
pub use fixture::Fixture;
pub use usage::{Resident, Spent, descriptors, spent};
