//! Frames as a client writes and reads them; `schema/frame.capnp` says what they are.

use crate::{ClientError, ErrorKind};
use bytes::{Bytes, BytesMut};
use capnp::{
    message::{Builder, HeapAllocator, ReaderOptions},
    serialize,
};
use mainstem_model::{
    Ack, AckLevel, Address, BatchId, Code, Cursor, NetworkId, Origin, ReadFilter, ReadStart, Refusal,
    StreamPartition, limits::BATCH_BYTES_MAX,
};
use mainstem_schema::{error_capnp, frame_capnp as wire};

/// Bytes of a frame's head.
const HEAD_BYTES_MAX: usize = 4 << 10;
/// Room given to a body at once; more only as its bytes arrive, so that a length alone costs no memory.
const BODY_ROOM_FIRST: usize = 72 << 10;
/// Bytes of the two lengths in front of a frame on QUIC.
const PREFIX_BYTES: usize = 8;

/// What a client asks.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    SignIn { address: Address, issued_at: i64, signature: [u8; 65] },
    Publish(Ack),
    Subscribe(Subscribe),
    Unsubscribe(u32),
    Ping,
}

/// What a subscriber asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscribe {
    pub(crate) at: StreamPartition,
    pub(crate) start: ReadStart,
    pub(crate) filter: ReadFilter,
    pub(crate) live: bool,
}

/// What a broker says.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Hello(Hello),
    SignedIn { request: u64 },
    Ack { request: u64, batch: BatchId, ack: Ack },
    Subscribed { request: u64, subscription: u32 },
    Deliver { subscription: u32, cursor: Cursor, received_at: i64, batch: Bytes },
    CaughtUp { subscription: u32, cursor: Cursor, state: CaughtUp },
    Ended { subscription: u32, cursor: Option<Cursor>, error: Option<ClientError> },
    Refused { request: u64, error: ClientError },
    Unsubscribed { request: u64 },
    Pong { request: u64 },
}

/// How far the past was told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CaughtUp {
    /// Events of it that were sent.
    pub(crate) events: u64,
    /// Batches that are damaged at the broker and were left out, and of which nothing was said before.
    pub(crate) damaged: u64,
    /// It goes on: only damage is told of.
    pub(crate) more: bool,
}

/// Who the broker is, and what to sign in with.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    pub(crate) node: Address,
    pub(crate) nonce: [u8; 16],
    pub(crate) network: NetworkId,
    pub(crate) audience: String,
    pub(crate) now: i64,
    pub(crate) version: u16,
}

/// What goes out before a body of `body` bytes: length of the rest, length of the head, head.
pub(crate) fn encode(request: u64, ask: &Request, body: usize) -> Bytes {
    let mut message = Builder::new(HeapAllocator::new().first_segment_words(48));
    let mut frame = message.init_root::<wire::client_frame::Builder<'_>>();
    frame.set_request(request);
    match ask {
        Request::SignIn { address, issued_at, signature } => {
            let mut out = frame.init_sign_in();
            out.set_address(address.as_bytes());
            out.set_issued_at(*issued_at);
            out.set_signature(signature);
        }
        Request::Publish(ack) => {
            frame.set_publish(match ack.level {
                AckLevel::Accepted => wire::AckLevel::Accepted,
                AckLevel::Stored => wire::AckLevel::Stored,
                AckLevel::Durable => wire::AckLevel::Durable,
            });
            frame.set_copies(ack.copies);
        }
        Request::Subscribe(ask) => encode_subscribe(frame.init_subscribe(), ask),
        Request::Unsubscribe(subscription) => frame.set_unsubscribe(*subscription),
        Request::Ping => frame.set_ping(()),
    }
    let mut out = Vec::with_capacity(192);
    out.resize(PREFIX_BYTES, 0);
    // IMPORTANT: writing into a Vec does not fail, and heads and batches are far below 4 GiB.
    serialize::write_message(&mut out, &message).expect("a Vec takes every write");
    let head = (out.len() - PREFIX_BYTES) as u32;
    out[..4].copy_from_slice(&(4 + head + body as u32).to_le_bytes());
    out[4..PREFIX_BYTES].copy_from_slice(&head.to_le_bytes());
    out.into()
}

fn encode_subscribe(mut out: wire::subscribe::Builder<'_>, ask: &Subscribe) {
    out.set_stream(ask.at.stream.0.as_bytes());
    out.set_partition(ask.at.partition.number());
    if let Some(address) = ask.filter.origin.as_ref().and_then(Origin::address) {
        out.set_origin(address.as_bytes());
    }
    out.set_live(ask.live);
    let mut start = out.init_start();
    match ask.start {
        ReadStart::Now => start.set_now(()),
        ReadStart::Last(n) => start.set_last(n),
        ReadStart::From if ask.filter.to == i64::MAX => start.set_from(ask.filter.from),
        ReadStart::From => {
            let mut range = start.init_range();
            range.set_from(ask.filter.from);
            range.set_to(ask.filter.to);
        }
        ReadStart::Cursor(cursor) => {
            let mut resume = start.init_cursor();
            resume.set_cursor(&cursor.encode());
            resume.set_to(ask.filter.to);
        }
    }
}

/// The message of a WebSocket: head length, head, body.
pub(crate) fn message_of(front: &Bytes, body: &Bytes) -> Bytes {
    if body.is_empty() {
        return front.slice(4..);
    }
    let mut out = BytesMut::with_capacity(front.len() - 4 + body.len());
    out.extend_from_slice(&front[4..]);
    out.extend_from_slice(body);
    out.freeze()
}

/// Puts frames together from a stream's bytes. A body is copied once, into a buffer of its own.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    prefix: [u8; PREFIX_BYTES],
    filled: usize,
    head: Vec<u8>,
    body: Vec<u8>,
}

impl FrameReader {
    /// Takes bytes off the front of `input` until a frame is whole or `input` is empty.
    pub(crate) fn read(&mut self, input: &mut &[u8]) -> Result<Option<Told>, ClientError> {
        if self.filled < PREFIX_BYTES {
            let taken = take(input, PREFIX_BYTES - self.filled);
            self.prefix[self.filled..self.filled + taken.len()].copy_from_slice(taken);
            self.filled += taken.len();
            if self.filled < PREFIX_BYTES {
                return Ok(None);
            }
        }
        let (head, body) = lengths(self.prefix)?;
        if self.head.len() < head {
            self.head.extend_from_slice(take(input, head - self.head.len()));
            if self.head.len() < head {
                return Ok(None);
            }
        }
        let piece = take(input, body - self.body.len());
        let needed = self.body.len() + piece.len();
        if needed > self.body.capacity() {
            let room = needed.max(BODY_ROOM_FIRST).max(2 * self.body.capacity()).min(body);
            self.body.reserve_exact(room - self.body.len());
        }
        self.body.extend_from_slice(piece);
        if self.body.len() < body {
            return Ok(None);
        }
        let told = read(&self.head, std::mem::take(&mut self.body).into());
        self.head.clear();
        self.filled = 0;
        told.map(Some)
    }
}

/// Reads one WebSocket message.
pub(crate) fn read_message(message: &Bytes) -> Result<Told, ClientError> {
    let short = || ClientError::protocol("a message of the broker is cut short");
    let length = u32::from_le_bytes(*message.first_chunk::<4>().ok_or_else(short)?) as usize;
    let end = length.checked_add(4).filter(|end| *end <= message.len()).ok_or_else(short)?;
    read(&message[4..end], message.slice(end..))
}

fn take<'a>(input: &mut &'a [u8], wanted: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at(wanted.min(input.len()));
    *input = rest;
    taken
}

/// Lengths of head and body.
fn lengths(prefix: [u8; PREFIX_BYTES]) -> Result<(usize, usize), ClientError> {
    let word =
        |at: usize| u32::from_le_bytes([prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]]) as usize;
    let (length, head) = (word(0), word(4));
    let body = length.checked_sub(4).and_then(|rest| rest.checked_sub(head));
    match body {
        Some(body) if head <= HEAD_BYTES_MAX && body <= BATCH_BYTES_MAX => Ok((head, body)),
        _ => Err(ClientError::protocol(format!(
            "the broker announces a frame of {length} bytes with a head of {head}"
        ))),
    }
}

enum Wrong {
    Capnp,
    Field(&'static str),
}

impl From<capnp::Error> for Wrong {
    fn from(_: capnp::Error) -> Self {
        Self::Capnp
    }
}

impl From<capnp::NotInSchema> for Wrong {
    fn from(_: capnp::NotInSchema) -> Self {
        Self::Field("kind is not known to this version")
    }
}

impl From<std::str::Utf8Error> for Wrong {
    fn from(_: std::str::Utf8Error) -> Self {
        Self::Field("text is not UTF-8")
    }
}

fn read(head: &[u8], body: Bytes) -> Result<Told, ClientError> {
    read_head(head, body).map_err(|wrong| {
        ClientError::protocol(match wrong {
            Wrong::Capnp => "a frame of the broker is not Cap'n Proto".to_owned(),
            Wrong::Field(field) => format!("a frame of the broker is wrong: its {field}"),
        })
    })
}

fn read_head(mut head: &[u8], body: Bytes) -> Result<Told, Wrong> {
    use wire::server_frame::Which;
    let mut options = ReaderOptions::new();
    options.traversal_limit_in_words(Some(head.len() / 4 + 64)).nesting_limit(8);
    let message = serialize::read_message_from_flat_slice_no_alloc(&mut head, options)?;
    let frame = message.get_root::<wire::server_frame::Reader<'_>>()?;
    Ok(match frame.which()? {
        Which::Hello(hello) => {
            let hello = hello?;
            Told::Hello(Hello {
                node: Address::from_slice(hello.get_node()?).map_err(|_| Wrong::Field("node"))?,
                nonce: hello.get_nonce()?.try_into().map_err(|_| Wrong::Field("nonce"))?,
                network: NetworkId::from_slice(hello.get_network()?).ok_or(Wrong::Field("network"))?,
                audience: hello.get_audience()?.to_str()?.to_owned(),
                now: hello.get_now(),
                version: hello.get_version(),
            })
        }
        Which::SignedIn(request) => Told::SignedIn { request },
        Which::Ack(ack) => {
            let told = ack?;
            let level = match told.get_level()? {
                wire::AckLevel::Accepted => AckLevel::Accepted,
                wire::AckLevel::Stored => AckLevel::Stored,
                wire::AckLevel::Durable => AckLevel::Durable,
            };
            Told::Ack {
                request: told.get_request(),
                batch: BatchId::from_slice(told.get_batch()?).ok_or(Wrong::Field("batch id"))?,
                ack: Ack::new(level, told.get_copies()),
            }
        }
        Which::Subscribed(told) => {
            let told = told?;
            Told::Subscribed { request: told.get_request(), subscription: told.get_subscription() }
        }
        Which::Deliver(told) => {
            let told = told?;
            Told::Deliver {
                subscription: told.get_subscription(),
                cursor: read_cursor(told.get_cursor()?)?,
                received_at: told.get_received_at(),
                batch: body,
            }
        }
        Which::CaughtUp(told) => {
            let told = told?;
            Told::CaughtUp {
                subscription: told.get_subscription(),
                cursor: read_cursor(told.get_cursor()?)?,
                state: CaughtUp {
                    events: told.get_events(),
                    damaged: told.get_damaged(),
                    more: told.get_more(),
                },
            }
        }
        Which::Ended(told) => {
            let told = told?;
            let error = if told.get_complete() { None } else { Some(read_error(told.get_error()?)?) };
            let cursor = told.get_cursor()?;
            let cursor = if cursor.is_empty() { None } else { Some(read_cursor(cursor)?) };
            Told::Ended { subscription: told.get_subscription(), cursor, error }
        }
        Which::Refused(told) => {
            let told = told?;
            Told::Refused { request: told.get_request(), error: read_error(told.get_error()?)? }
        }
        Which::Unsubscribed(request) => Told::Unsubscribed { request },
        Which::Pong(request) => Told::Pong { request },
    })
}

fn read_cursor(bytes: &[u8]) -> Result<Cursor, Wrong> {
    Cursor::decode(bytes).map_err(|_| Wrong::Field("cursor"))
}

fn read_error(error: error_capnp::error::Reader<'_>) -> Result<ClientError, Wrong> {
    Ok(told_error(error.get_code()?.to_str()?, error.get_message()?.to_str()?))
}

/// A refusal as the broker wrote it. A newer broker may have codes that are not known here.
pub(crate) fn told_error(code: &str, message: &str) -> ClientError {
    match Code::from_wire(code) {
        Some(code) => Refusal::new(code, message).into(),
        None => ClientError::new(ErrorKind::Unknown, format!("{code}: {message}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(head: &[u8], body: &[u8]) -> Vec<u8> {
        let length = (4 + head.len() + body.len()) as u32;
        [&length.to_le_bytes()[..], &(head.len() as u32).to_le_bytes()[..], head, body].concat()
    }

    fn pong(request: u64) -> Vec<u8> {
        let mut message = Builder::new_default();
        message.init_root::<wire::server_frame::Builder<'_>>().set_pong(request);
        serialize::write_message_to_words(&message)
    }

    #[test]
    fn a_publish_says_at_how_many_brokers() {
        for ack in [Ack::default(), Ack::new(AckLevel::Durable, 2), Ack::new(AckLevel::Accepted, 255)] {
            let bytes = encode(7, &Request::Publish(ack), 0);
            let message =
                serialize::read_message_from_flat_slice(&mut &bytes[PREFIX_BYTES..], ReaderOptions::new());
            let message = message.unwrap();
            let frame = message.get_root::<wire::client_frame::Reader<'_>>().unwrap();
            let wire::client_frame::Publish(Ok(level)) = frame.which().unwrap() else { panic!("{ack}") };
            assert_eq!((level as u8, frame.get_copies()), (ack.level as u8, ack.copies));
        }
    }

    #[test]
    fn an_ack_says_at_how_many_brokers_and_none_are_one() {
        for (copies, expected) in [(None, 1), (Some(0), 1), (Some(1), 1), (Some(2), 2), (Some(255), 255)] {
            let mut message = Builder::new_default();
            let mut ack = message.init_root::<wire::server_frame::Builder<'_>>().init_ack();
            ack.set_batch(&[7; 32]);
            ack.set_level(wire::AckLevel::Durable);
            if let Some(copies) = copies {
                ack.set_copies(copies);
            }
            let told = read(&serialize::write_message_to_words(&message), Bytes::new()).unwrap();
            let Told::Ack { ack, .. } = told else { panic!("{told:?}") };
            assert_eq!(ack, Ack::new(AckLevel::Durable, expected));
        }
    }

    #[test]
    fn frames_are_read_however_the_bytes_are_cut() {
        let bytes = [frame(&pong(1), b""), frame(&pong(2), &[5; 100]), frame(&pong(3), b"")].concat();
        for piece in [1, 2, 7, 8, 9, 64, bytes.len()] {
            let mut reader = FrameReader::default();
            let mut seen = Vec::new();
            for mut chunk in bytes.chunks(piece) {
                while let Some(told) = reader.read(&mut chunk).unwrap() {
                    let Told::Pong { request } = told else { panic!("{told:?}") };
                    seen.push(request);
                }
            }
            assert_eq!(seen, [1, 2, 3], "pieces of {piece}");
        }
    }

    #[test]
    fn lengths_out_of_bounds_are_refused_before_anything_is_kept() {
        for (length, head) in
            [(0_u32, 0_u32), (3, 0), (8, 5), (u32::MAX, 8), (u32::MAX, u32::MAX), (9000, 8996)]
        {
            let bytes = [length.to_le_bytes(), head.to_le_bytes()].concat();
            assert!(FrameReader::default().read(&mut &bytes[..]).is_err(), "{length} {head}");
        }
        assert!(read_message(&Bytes::from_static(&[255; 6])).is_err());
        assert!(read_message(&Bytes::from_static(&[0; 4])).is_err());
    }

    #[test]
    fn a_message_is_a_frame_without_its_first_length() {
        let front = encode(7, &Request::Ping, 3);
        let message = message_of(&front, &Bytes::from_static(b"abc"));
        assert_eq!(message.len(), front.len() - 4 + 3);
        assert_eq!(u32::from_le_bytes(*front.first_chunk().unwrap()) as usize, message.len());
    }
}
