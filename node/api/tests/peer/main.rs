//! Frames between brokers: what goes in comes out, and what is none is refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod malformed_inputs;
mod pieces;
mod round_trips;
mod samples;
