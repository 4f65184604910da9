use super::{HEAD_BYTES_MAX, malformed};
use bytes::Bytes;
use capnp::{message::ReaderOptions, serialize};
use mainstem_model::{
    Ack, AckLevel, Address, Code, Cursor, NewEvent, Origin, Partition, ReadFilter, ReadStart, Refusal,
    StreamId, StreamPartition,
};
use mainstem_protocol::{Subscribe, SubscriptionId};
use mainstem_schema::frame_capnp as wire;

/// What a client asks. `request` is echoed in the one answer that each gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMessage {
    /// Proves an address against the connection's challenge.
    SignIn { request: u64, sign_in: SignIn },
    /// Hands in a batch, in the bytes that were signed.
    Publish { request: u64, ack: Ack, batch: Bytes },
    /// Hands in events for the node to sign in its identity's name. Only JSON has it.
    PublishEvents { request: u64, ack: Ack, at: StreamPartition, events: Vec<NewEvent> },
    /// Wants to read.
    Subscribe { request: u64, subscribe: Subscribe },
    /// Has read enough.
    Unsubscribe { request: u64, subscription: SubscriptionId },
    /// Asks for a sign of life.
    Ping { request: u64 },
}

/// An answer to the connection's challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// Who signs in.
    pub address: Address,
    /// When the text was signed, milliseconds.
    pub issued_at: i64,
    /// Over the challenge's text.
    pub signature: Vec<u8>,
}

/// A frame that is no request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRequest {
    /// Its number; 0 when there is none to be read.
    pub request: u64,
    /// What is wrong.
    pub refusal: Refusal,
}

/// Reads a request from a frame's head and body.
///
/// # Errors
/// `MALFORMED_FRAME`, or the code of the field that is wrong.
pub fn decode_request(head: &[u8], body: Bytes) -> Result<ClientMessage, BadRequest> {
    let mut request = 0;
    read(head, body, &mut request).map_err(|refusal| BadRequest { request, refusal })
}

fn read(head: &[u8], body: Bytes, request_out: &mut u64) -> Result<ClientMessage, Refusal> {
    if head.len() > HEAD_BYTES_MAX {
        return Err(malformed(format!("the frame's head is longer than {HEAD_BYTES_MAX} bytes")));
    }
    let mut options = ReaderOptions::new();
    // Every byte may be read twice at most: pointers cannot make a small head look large.
    options.traversal_limit_in_words(Some(head.len() / 4 + 16)).nesting_limit(8);
    let mut rest = head;
    let message =
        serialize::read_message_from_flat_slice_no_alloc(&mut rest, options).map_err(not_a_frame)?;
    if !rest.is_empty() {
        return Err(malformed("there are bytes behind the frame's head".into()));
    }
    let frame = message.get_root::<wire::client_frame::Reader<'_>>().map_err(not_a_frame)?;
    let request = frame.get_request();
    *request_out = request;
    if request == 0 {
        return Err(malformed("request 0 stands for the connection; number requests from 1".into()));
    }
    let kind = frame.which().map_err(|capnp::NotInSchema(kind)| {
        malformed(format!("this node knows no request of kind {kind}"))
    })?;
    if !body.is_empty() && !matches!(kind, wire::client_frame::Publish(_)) {
        return Err(malformed("only a publish has a body".into()));
    }
    match kind {
        wire::client_frame::SignIn(sign_in) => {
            let sign_in = sign_in.map_err(not_a_frame)?;
            Ok(ClientMessage::SignIn {
                request,
                sign_in: SignIn {
                    address: address(sign_in.get_address().map_err(not_a_frame)?, "address")?,
                    issued_at: sign_in.get_issued_at(),
                    signature: sign_in.get_signature().map_err(not_a_frame)?.to_vec(),
                },
            })
        }
        wire::client_frame::Publish(level) => {
            let level = level.map_err(|_| malformed("this node knows no such ack level".into()))?;
            let ack = Ack::new(ack_level(level), frame.get_copies());
            Ok(ClientMessage::Publish { request, ack, batch: body })
        }
        wire::client_frame::Subscribe(subscribe) => Ok(ClientMessage::Subscribe {
            request,
            subscribe: read_subscribe(subscribe.map_err(not_a_frame)?)?,
        }),
        wire::client_frame::Unsubscribe(number) => {
            Ok(ClientMessage::Unsubscribe { request, subscription: SubscriptionId(number) })
        }
        wire::client_frame::Ping(()) => Ok(ClientMessage::Ping { request }),
    }
}

fn read_subscribe(subscribe: wire::subscribe::Reader<'_>) -> Result<Subscribe, Refusal> {
    use wire::subscribe::start;
    let stream = Address::from_slice(subscribe.get_stream().map_err(not_a_frame)?)
        .map_err(|_| Refusal::new(Code::InvalidStreamId, "stream is not the 20 bytes of a stream id"))?;
    let at = StreamId(stream).partition(Partition::try_from(subscribe.get_partition())?);
    let origin = subscribe.get_origin().map_err(not_a_frame)?;
    let origin = if origin.is_empty() { None } else { Some(Origin::ethereum(address(origin, "origin")?)) };
    let live = subscribe.get_live();
    let mut filter = ReadFilter { origin, ..ReadFilter::ALL };
    let start = subscribe
        .get_start()
        .which()
        .map_err(|capnp::NotInSchema(kind)| malformed(format!("this node knows no start of kind {kind}")))?;
    let start = match start {
        start::Now(()) => ReadStart::Now,
        start::Last(count) => ReadStart::Last(count),
        start::From(from) => {
            filter.from = from;
            ReadStart::From
        }
        start::Range(range) => {
            let range = range.map_err(not_a_frame)?;
            (filter.from, filter.to) = (range.get_from(), range.get_to());
            ReadStart::From
        }
        start::Cursor(resume) => {
            let resume = resume.map_err(not_a_frame)?;
            filter.to = resume.get_to();
            ReadStart::Cursor(Cursor::decode(resume.get_cursor().map_err(not_a_frame)?)?)
        }
    };
    check_subscribe(Subscribe { at, start, filter, live })
}

/// What any edge checks of a subscription before the broker sees it.
pub(crate) fn check_subscribe(subscribe: Subscribe) -> Result<Subscribe, Refusal> {
    if subscribe.filter.from > subscribe.filter.to {
        return Err(Refusal::new(Code::InvalidArgument, "the range's from is after its to"));
    }
    if subscribe.live && subscribe.filter.to != i64::MAX {
        return Err(Refusal::new(Code::InvalidArgument, "a range has an end, so live must be false"));
    }
    Ok(subscribe)
}

const fn ack_level(level: wire::AckLevel) -> AckLevel {
    match level {
        wire::AckLevel::Accepted => AckLevel::Accepted,
        wire::AckLevel::Stored => AckLevel::Stored,
        wire::AckLevel::Durable => AckLevel::Durable,
    }
}

fn address(bytes: &[u8], field: &str) -> Result<Address, Refusal> {
    Address::from_slice(bytes).map_err(|_| {
        Refusal::new(Code::InvalidArgument, format!("{field} is not the 20 bytes of an address"))
    })
}

fn not_a_frame(_: capnp::Error) -> Refusal {
    malformed("the frame's head is not a Cap'n Proto client frame".into())
}
