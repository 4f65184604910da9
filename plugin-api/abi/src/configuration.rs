//! A place in a module's data that is filled in after it was compiled, for what its verdicts are to depend on.
//!
//! [`MARK`] ‖ capacity (u32, little-endian) ‖ length (the same) ‖ as many bytes as the capacity says, of which the first `length` are used.

/// What it begins with. It stands in a module's file once.
pub const MARK: &[u8; 32] = b"mainstem/plugin/configuration/1\n";
/// Bytes before those that are filled in.
pub const HEAD_BYTES: usize = MARK.len() + 8;
