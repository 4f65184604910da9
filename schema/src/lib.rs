//! The wire truth of Mainstem: the Cap'n Proto files of this folder and the Rust made from them.
//!
//! The generated code is committed, so that a build needs no `capnp`; a test regenerates and compares it.
//! Change a `.capnp` file, then run `schema/generate.sh`.

mod generated;

pub use generated::{batch_capnp, error_capnp, frame_capnp, peer_capnp};
