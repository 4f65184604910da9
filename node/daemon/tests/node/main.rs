//! A whole node as a process of its own, used as its users do.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test that cannot go on panics")]

mod contracts;
mod crash;
mod delivery;
mod encryption;
mod foreign;
mod fsync;
mod network;
mod plugins;
mod process;
mod rights;
mod storage;
