//! Overlays over real sockets on loopback.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod discovery;
mod foreign;
mod lanes;
mod limits;
mod sessions;
mod support;
