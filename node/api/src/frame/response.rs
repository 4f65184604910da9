use crate::Published;
use bytes::{Bytes, BytesMut};
use capnp::message::{Builder, HeapAllocator};
use mainstem_model::{Ack, AckLevel, Address, BatchId, Cursor, NetworkId, Refusal};
use mainstem_protocol::ServerMessage;
use mainstem_schema::{error_capnp, frame_capnp as wire};

/// What a client is told: by the broker, or by the connection itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerFrame {
    /// The first frame of a connection.
    Hello(Hello),
    /// Answer to a ping.
    Pong {
        /// The ping.
        request: u64,
    },
    /// Answer to events that the node signed. A frame tells it as an ack.
    Published {
        /// The request.
        request: u64,
        /// What became of them.
        published: Published,
        /// How many they were.
        count: u16,
    },
    /// The broker's word.
    Message(ServerMessage),
}

/// Who the node is, and what to sign in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The node's address.
    pub node: Address,
    /// Of this connection.
    pub nonce: [u8; 16],
    /// What batches must be signed for.
    pub network: NetworkId,
    /// The name under which the node takes sign-ins here.
    pub audience: String,
    /// The node's clock, milliseconds.
    pub now: i64,
}

impl ServerFrame {
    /// The batch that goes behind the head.
    pub const fn body(&self) -> Option<&Bytes> {
        match self {
            Self::Message(ServerMessage::Deliver { batch, .. }) => Some(batch),
            Self::Hello(_) | Self::Pong { .. } | Self::Published { .. } | Self::Message(_) => None,
        }
    }

    /// What it refuses, if it is a refusal.
    pub const fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Message(ServerMessage::Refused { refusal, .. }) => Some(refusal),
            Self::Hello(_) | Self::Pong { .. } | Self::Published { .. } | Self::Message(_) => None,
        }
    }

    /// A refusal; request 0 is the connection as a whole.
    pub const fn refused(request: u64, refusal: Refusal) -> Self {
        Self::Message(ServerMessage::Refused { request, refusal })
    }
}

/// Characters of a refusal's sentence on the wire, so that a head stays within its bound.
const MESSAGE_CHARS_MAX: usize = 800;

/// Appends the frame's Cap'n Proto head.
pub fn encode_head(frame: &ServerFrame, out: &mut BytesMut) {
    // Room for every head but a long refusal's, for which the builder takes a second look at its size below.
    let mut message = Builder::new(HeapAllocator::new().first_segment_words(words(frame)));
    let root = message.init_root::<wire::server_frame::Builder<'_>>();
    match frame {
        ServerFrame::Hello(hello) => {
            let mut slot = root.init_hello();
            slot.set_node(hello.node.as_bytes());
            slot.set_nonce(&hello.nonce);
            slot.set_network(&hello.network.0);
            slot.set_audience(&*hello.audience);
            slot.set_now(hello.now);
            slot.set_version(super::VERSION);
        }
        ServerFrame::Pong { request } => {
            let mut root = root;
            root.set_pong(*request);
        }
        ServerFrame::Published { request, published, .. } => {
            write_ack(root.init_ack(), *request, published.batch, published.ack, published.duplicate);
        }
        ServerFrame::Message(message) => write_message(root, message),
    }
    // IMPORTANT: the first segment is large enough by `words`, so there is one.
    let segments = message.get_segments_for_output();
    debug_assert_eq!(segments.len(), 1);
    let segment = segments[0];
    out.extend_from_slice(&0_u32.to_le_bytes());
    out.extend_from_slice(&((segment.len() / 8) as u32).to_le_bytes());
    out.extend_from_slice(segment);
}

fn write_message(mut root: wire::server_frame::Builder<'_>, message: &ServerMessage) {
    match message {
        ServerMessage::SignedIn { request } => root.set_signed_in(*request),
        ServerMessage::Ack { request, batch, ack, duplicate } => {
            write_ack(root.init_ack(), *request, *batch, *ack, *duplicate);
        }
        ServerMessage::Subscribed { request, subscription } => {
            let mut subscribed = root.init_subscribed();
            subscribed.set_request(*request);
            subscribed.set_subscription(subscription.0);
        }
        ServerMessage::Deliver { subscription, cursor, received_at, batch: _ } => {
            let mut deliver = root.init_deliver();
            deliver.set_subscription(subscription.0);
            deliver.set_cursor(&cursor.encode());
            deliver.set_received_at(*received_at);
        }
        ServerMessage::CaughtUp { subscription, cursor, events, damaged, more } => {
            let mut caught_up = root.init_caught_up();
            caught_up.set_subscription(subscription.0);
            caught_up.set_cursor(&cursor.encode());
            caught_up.set_events(*events);
            caught_up.set_damaged(*damaged);
            caught_up.set_more(*more);
        }
        ServerMessage::Ended { subscription, cursor, refusal } => {
            let mut ended = root.init_ended();
            ended.set_subscription(subscription.0);
            if let Some(cursor) = cursor {
                ended.set_cursor(&cursor.encode());
            }
            match refusal {
                None => ended.set_complete(true),
                Some(refusal) => write_error(ended.init_error(), refusal),
            }
        }
        ServerMessage::Unsubscribed { request } => root.set_unsubscribed(*request),
        ServerMessage::Refused { request, refusal } => {
            let mut refused = root.init_refused();
            refused.set_request(*request);
            write_error(refused.init_error(), refusal);
        }
    }
}

fn write_ack(mut slot: wire::ack::Builder<'_>, request: u64, batch: BatchId, ack: Ack, duplicate: bool) {
    slot.set_request(request);
    slot.set_batch(&batch.0);
    slot.set_level(ack_level(ack.level));
    slot.set_copies(ack.copies);
    slot.set_duplicate(duplicate);
}

pub(crate) fn write_error(mut error: error_capnp::error::Builder<'_>, refusal: &Refusal) {
    error.set_code(refusal.code.as_str());
    error.set_message(short(&refusal.message));
}

/// Words that surely hold what [`write_error`] writes.
pub(crate) fn error_words(refusal: &Refusal) -> usize {
    // The struct, and each text with its end.
    2 + refusal.code.as_str().len() / 8 + 1 + short(&refusal.message).len() / 8 + 1
}

fn short(message: &str) -> &str {
    message.char_indices().nth(MESSAGE_CHARS_MAX).map_or(message, |(end, _)| &message[..end])
}

/// Words that surely hold the frame's head.
fn words(frame: &ServerFrame) -> u32 {
    // Root, structs and fixed fields of any frame take less than 24 words; a cursor less than 12.
    let text = match frame {
        ServerFrame::Hello(hello) => hello.audience.len(),
        ServerFrame::Message(
            ServerMessage::Refused { refusal, .. } | ServerMessage::Ended { refusal: Some(refusal), .. },
        ) => short(&refusal.message).len(),
        ServerFrame::Pong { .. } | ServerFrame::Published { .. } | ServerFrame::Message(_) => 0,
    };
    // Audiences come from configuration or a Host header, messages are shortened: both far below 32 bits.
    const { assert!(Cursor::LENGTH_MAX <= 12 * 8) };
    40 + text.div_ceil(8) as u32
}

const fn ack_level(level: AckLevel) -> wire::AckLevel {
    match level {
        AckLevel::Accepted => wire::AckLevel::Accepted,
        AckLevel::Stored => wire::AckLevel::Stored,
        AckLevel::Durable => wire::AckLevel::Durable,
    }
}
