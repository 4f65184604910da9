//! Peers that do not do as they should, over real sockets on loopback.

#![allow(clippy::panic, reason = "a test fails by panicking")]

mod hostile;
mod raw;
mod strangers;
