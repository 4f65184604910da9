use super::{batches::event_id, time::Time};
use mainstem_model::{Batch, ContentType, EncryptionType, EventRef, limits};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// An event in JSON. Exactly one of `content` and `contentHex` is there.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Event)]
pub(crate) struct EventBody {
    /// `batch id/index`.
    id: String,
    #[schema(pattern = "^0x[0-9a-f]{40}$")]
    stream: String,
    partition: u16,
    /// When its origin says that it happened.
    timestamp: String,
    /// When this node took it in.
    received_at: String,
    /// Who made it.
    origin: String,
    /// The origin's series, 16 hex digits.
    series: String,
    /// Its number in the series.
    sequence: u64,
    /// 1 JSON, 2 binary, 3 text.
    content_type: u16,
    /// 0 in the clear.
    encryption_type: u16,
    /// The content: JSON in the clear as it is, text in the clear as a string unless that is longer than its hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    content: Option<Box<RawValue>>,
    /// Any other content: `0x` and hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    content_hex: Option<String>,
}

impl EventBody {
    pub(crate) fn of(batch: &Batch, index: u16, event: &EventRef<'_>, received_at: i64) -> Self {
        let header = batch.header();
        let content = plain_json(event).or_else(|| plain_text(event));
        Self {
            id: event_id(batch.id(), index),
            stream: header.stream_partition.stream.to_string(),
            partition: header.stream_partition.partition.number(),
            timestamp: Time { unix_ms: event.timestamp }.to_string(),
            received_at: Time { unix_ms: received_at }.to_string(),
            origin: header.origin.to_string(),
            series: header.series.to_string(),
            sequence: header.sequence + u64::from(index),
            content_type: event.content_type.0,
            encryption_type: event.encryption_type.0,
            content_hex: content.is_none().then(|| format!("0x{}", hex::encode(event.content))),
            content,
        }
    }
}

/// An event in the shape of Streamr's storage API.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StreamrMessage)]
pub(super) struct MessageBody {
    stream_id: String,
    stream_partition: u16,
    /// Milliseconds since 1970.
    timestamp: i64,
    /// The event's number in its series.
    sequence_number: u64,
    publisher_id: String,
    /// The series, 16 hex digits.
    msg_chain_id: String,
    /// 27: an event with content.
    message_type: u8,
    /// 0 JSON, 1 anything else.
    content_type: u8,
    /// 0 in the clear.
    encryption_type: u16,
    /// JSON in the clear as it is, any other content as hex digits.
    #[schema(value_type = serde_json::Value)]
    content: Box<RawValue>,
    /// Signature of the batch that the event is part of, hex digits. To verify it read `format=batch`.
    signature: String,
}

/// Streamr's number of a message that carries content.
const MESSAGE: u8 = 27;

impl MessageBody {
    pub(super) fn of(batch: &Batch, index: u16, event: &EventRef<'_>) -> Self {
        let header = batch.header();
        Self {
            stream_id: header.stream_partition.stream.to_string(),
            stream_partition: header.stream_partition.partition.number(),
            timestamp: event.timestamp,
            sequence_number: header.sequence + u64::from(index),
            publisher_id: header.origin.to_string(),
            msg_chain_id: header.series.to_string(),
            message_type: MESSAGE,
            content_type: u8::from(event.content_type != ContentType::JSON),
            encryption_type: event.encryption_type.0,
            content: streamr_content(event),
            signature: hex::encode(batch.signature()),
        }
    }
}

/// What Streamr's light clients get beside the content.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MetadataBody {
    timestamp: i64,
    sequence_number: u64,
    publisher_id: String,
    msg_chain_id: String,
}

impl MetadataBody {
    pub(super) fn of(batch: &Batch, index: u16, event: &EventRef<'_>) -> Self {
        let header = batch.header();
        Self {
            timestamp: event.timestamp,
            sequence_number: header.sequence + u64::from(index),
            publisher_id: header.origin.to_string(),
            msg_chain_id: header.series.to_string(),
        }
    }
}

/// JSON in the clear as it is, any other content as a string of hex digits.
pub(super) fn streamr_content(event: &EventRef<'_>) -> Box<RawValue> {
    // IMPORTANT: hex digits always have a JSON form.
    plain_json(event)
        .or_else(|| serde_json::value::to_raw_value(&hex::encode(event.content)).ok())
        .unwrap_or_default()
}

/// JSON in the clear. Content that only says that it is JSON counts as bytes.
fn plain_json(event: &EventRef<'_>) -> Option<Box<RawValue>> {
    if event.content_type != ContentType::JSON || event.encryption_type != EncryptionType::NONE {
        return None;
    }
    serde_json::from_slice(event.content).ok()
}

fn plain_text(event: &EventRef<'_>) -> Option<Box<RawValue>> {
    if event.content_type != ContentType::TEXT || event.encryption_type != EncryptionType::NONE {
        return None;
    }
    let text = serde_json::value::to_raw_value(std::str::from_utf8(event.content).ok()?).ok()?;
    // IMPORTANT: control characters take six bytes each in JSON. What an event takes is bounded by its hex digits, so that
    // no event is larger than what a socket may hold: see `EVENT_JSON_BYTES_MAX`.
    (text.get().len() <= HEX_QUOTES + 2 * event.content.len()).then_some(text)
}

/// Quotes and `0x` around hex digits.
const HEX_QUOTES: usize = 4;
/// Bytes of an event in JSON, at most: its content as hex digits, and its fields with room to spare.
pub(crate) const EVENT_JSON_BYTES_MAX: usize = 2 * limits::CONTENT_BYTES_MAX + (4 << 10);
