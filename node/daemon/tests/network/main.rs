//! A network of broker processes: what is published at one comes at every other, whatever happens to some of them.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test that cannot go on panics")]
#![allow(clippy::print_stdout, reason = "figures, for who runs a test for them")]

mod brokers;
mod chaos;
mod copies;
mod joining;
mod load;
mod reader;
mod strike;
mod tally;
mod wall;
mod wiped;

#[allow(dead_code, reason = "the rest is for tests of one node")]
#[path = "../node/process.rs"]
mod process;
