//! Frames between brokers (`schema/peer.capnp`), as pure functions over bytes.
//!
//! A frame is: length of the head (u32 LE), head, body. The head is one Cap'n Proto message in its stream form (segment
//! table, then one segment); the body is batches as signed, one behind the other, their lengths told by the head where there
//! is more than one. [`decode`] copies none of them: they are slices of the frame, and stay unproven until
//! [`Unproven::prove`].

mod decode;
mod encode;
mod field;
mod pieces;
mod unproven;

pub use decode::decode;
pub use encode::{Unsendable, encode};
pub use unproven::{Order, Unproven};

use mainstem_model::limits;

/// Bytes of a frame's head: the longest list of heads, and room for fields to come.
pub const HEAD_BYTES_MAX: usize = 192 << 10;
/// Bytes of a frame's body: two batches of the largest size, which is also the largest page.
pub const BODY_BYTES_MAX: usize = 2 * limits::BATCH_BYTES_MAX;
/// Bytes of a frame.
pub const FRAME_BYTES_MAX: usize = PREFIX_BYTES + HEAD_BYTES_MAX + BODY_BYTES_MAX;

/// Bytes of the head's length.
const PREFIX_BYTES: usize = 4;
