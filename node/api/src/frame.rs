//! Frames between a client and a broker (`schema/frame.capnp`), as pure functions over bytes.
//!
//! On QUIC a frame is: length of the rest (u32 LE), length of the head (u32 LE), head, body. As a WebSocket message: length
//! of the head (u32 LE), head, body. The head is one Cap'n Proto message in its stream form (segment table, then one
//! segment); the body is a batch as signed, or empty.

mod request;
mod response;

pub(crate) use request::check_subscribe;
pub use request::{BadRequest, ClientMessage, SignIn, decode_request};
pub use response::{Hello, ServerFrame, encode_head};
pub(crate) use response::{error_words, write_error};

use bytes::{Buf, Bytes, BytesMut};
use mainstem_model::{Code, Refusal, limits};

/// Bytes of a frame's head.
pub const HEAD_BYTES_MAX: usize = 4 << 10;
/// Bytes of a frame, behind its own length: head length, head and body.
pub const FRAME_BYTES_MAX: usize = limits::BATCH_BYTES_MAX + (8 << 10);
/// The version of the protocol that `Hello` tells.
pub const VERSION: u16 = 1;

/// Bytes of the two lengths in front of a frame on QUIC.
pub const PREFIX_BYTES: usize = 8;
/// Room given to a body at once; more only as its bytes arrive, so that a length alone costs nobody memory.
const BODY_ROOM_FIRST: usize = 72 << 10;

/// A frame as it came: its head, not yet read, and its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The Cap'n Proto head.
    pub head: Vec<u8>,
    /// A batch, or nothing.
    pub body: Bytes,
}

/// Puts frames together from a stream's bytes.
///
/// Bytes are copied once, into a buffer of the frame's own: a slice of a received packet would keep the whole packet.
#[derive(Debug, Default)]
pub struct FrameReader {
    prefix: [u8; PREFIX_BYTES],
    filled: usize,
    head: Vec<u8>,
    body: Vec<u8>,
}

impl FrameReader {
    /// Takes bytes off the front of `input` until a frame is whole or `input` is empty.
    ///
    /// # Errors
    /// `MALFORMED_FRAME`: a length is out of bounds. What follows in the stream means nothing then.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, Refusal> {
        if self.filled < PREFIX_BYTES {
            take(input, PREFIX_BYTES - self.filled, |bytes| {
                self.prefix[self.filled..self.filled + bytes.len()].copy_from_slice(bytes);
                self.filled += bytes.len();
            });
            if self.filled < 4 {
                return Ok(None);
            }
            check_length(self.length())?;
            if self.filled < PREFIX_BYTES {
                return Ok(None);
            }
            check_head(self.head_length(), self.length() - 4)?;
            self.head.reserve_exact(self.head_length());
        }
        let (head_length, body_length) = (self.head_length(), self.length() - 4 - self.head_length());
        take(input, head_length - self.head.len(), |bytes| self.head.extend_from_slice(bytes));
        if self.head.len() < head_length {
            return Ok(None);
        }
        take(input, body_length - self.body.len(), |bytes| {
            let needed = self.body.len() + bytes.len();
            if needed > self.body.capacity() {
                let room = needed.max(BODY_ROOM_FIRST).max(2 * self.body.capacity()).min(body_length);
                self.body.reserve_exact(room - self.body.len());
            }
            self.body.extend_from_slice(bytes);
        });
        if self.body.len() < body_length {
            return Ok(None);
        }
        self.filled = 0;
        Ok(Some(Frame { head: std::mem::take(&mut self.head), body: std::mem::take(&mut self.body).into() }))
    }

    /// Whether a frame has begun and is not whole.
    pub const fn is_within_frame(&self) -> bool {
        self.filled > 0
    }

    fn length(&self) -> usize {
        word(&self.prefix[..4])
    }

    fn head_length(&self) -> usize {
        word(&self.prefix[4..])
    }
}

/// Splits a binary WebSocket message into head and body, without copying the body.
///
/// # Errors
/// `MALFORMED_FRAME`: too short, too long, or a head length that does not fit.
pub fn split_message(mut message: Bytes) -> Result<Frame, Refusal> {
    check_length(message.len())?;
    let head_length = word(&message[..4]);
    message.advance(4);
    check_head(head_length, message.len())?;
    let head = message.split_to(head_length);
    Ok(Frame { head: head.to_vec(), body: message })
}

/// Appends what stands before the body of `frame` on QUIC: both lengths and the head.
pub fn put_front(frame: &ServerFrame, out: &mut BytesMut) {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX_BYTES]);
    encode_head(frame, out);
    let head_length = out.len() - start - PREFIX_BYTES;
    let length = 4 + head_length + frame.body().map_or(0, Bytes::len);
    // IMPORTANT: heads are small and batches bounded, so both fit 32 bits.
    out[start..start + 4].copy_from_slice(&(length as u32).to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&(head_length as u32).to_le_bytes());
}

/// The frame as one binary WebSocket message.
pub fn message_of(frame: &ServerFrame) -> Bytes {
    let mut out = BytesMut::with_capacity(256 + frame.body().map_or(0, Bytes::len));
    put_front(frame, &mut out);
    out.extend_from_slice(frame.body().map_or(&[][..], |body| body));
    out.advance(4);
    out.freeze()
}

fn take(input: &mut &[u8], wanted: usize, mut sink: impl FnMut(&[u8])) {
    let (taken, rest) = input.split_at(wanted.min(input.len()));
    sink(taken);
    *input = rest;
}

fn word(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

fn check_length(length: usize) -> Result<(), Refusal> {
    if length < 4 {
        return Err(malformed("a frame has at least the 4 bytes of its head's length".into()));
    }
    if length > FRAME_BYTES_MAX {
        return Err(malformed(format!(
            "the frame has {length} bytes, at most {FRAME_BYTES_MAX} are allowed"
        )));
    }
    Ok(())
}

fn check_head(head_length: usize, rest: usize) -> Result<(), Refusal> {
    if head_length > HEAD_BYTES_MAX {
        return Err(malformed(format!(
            "the frame's head has {head_length} bytes, at most {HEAD_BYTES_MAX} are allowed"
        )));
    }
    if head_length > rest {
        return Err(malformed("the frame's head is longer than the frame".into()));
    }
    if rest - head_length > limits::BATCH_BYTES_MAX {
        return Err(malformed(format!(
            "the frame's body has {} bytes, at most {} are allowed",
            rest - head_length,
            limits::BATCH_BYTES_MAX
        )));
    }
    Ok(())
}

fn malformed(message: String) -> Refusal {
    Refusal::new(Code::MalformedFrame, message)
}
