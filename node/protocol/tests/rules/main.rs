//! One rule of the broker at a time: what goes in, what must come out. What delays and disconnects do to all of them together
//! is the simulation's.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test that cannot go on panics")]

mod delivery;
mod desk;
mod given;
mod publishing;
mod relays;
mod seams;
mod strays;
