use super::WebSockets;
use crate::{
    frame::{BadRequest, ClientMessage, SignIn, check_subscribe},
    http::Time,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use mainstem_model::{
    Ack, Address, Code, ContentType, Cursor, EncryptionType, NewEvent, Origin, Partition, PartitionKey,
    ReadFilter, ReadStart, Refusal, StreamId, StreamPartition,
};
use mainstem_protocol::{Subscribe, SubscriptionId};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;
use std::sync::Arc;

/// Reads requests in JSON.
#[derive(Debug)]
pub(super) struct JsonReader {
    all: Arc<WebSockets>,
    /// Whom the node signs for in this session.
    identity: Option<Address>,
}

/// What every request has; its other fields are read when its type is known, so that the answer can name its number.
#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    request: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SignInBody {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    request: u64,
    address: String,
    issued_at: Time,
    signature: String,
}

/// A batch as signed, or events that the node signs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PublishBody<'a> {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    request: u64,
    #[serde(default)]
    ack: Ack,
    #[serde(default)]
    batch: Option<String>,
    #[serde(default)]
    stream: Option<String>,
    #[serde(default)]
    partition: Option<u16>,
    #[serde(default)]
    partition_key: Option<Key>,
    #[serde(borrow, default)]
    events: Option<Vec<EventToSign<'a>>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Key {
    Number(i64),
    Text(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct EventToSign<'a> {
    /// Now when absent.
    #[serde(default)]
    timestamp: Option<Time>,
    /// 1 JSON, 2 binary, 3 text; by the content when absent.
    #[serde(default)]
    content_type: Option<u16>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    /// Any other bytes than JSON or text: `0x` and hex digits.
    #[serde(default)]
    content_hex: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SubscribeBody {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    request: u64,
    stream: String,
    #[serde(default)]
    partition: u16,
    #[serde(default)]
    origin: Option<String>,
    #[serde(default)]
    live: Option<bool>,
    #[serde(default)]
    resend: Option<Resend>,
}

/// `{"last":n}`, `{"from":{"timestamp":t}}`, the same with `to`, `{"cursor":"hex"}`, the same with `to`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Resend {
    #[serde(default)]
    last: Option<u64>,
    #[serde(default)]
    from: Option<Moment>,
    #[serde(default)]
    to: Option<Moment>,
    #[serde(default)]
    cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Moment {
    timestamp: Time,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnsubscribeBody {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    request: u64,
    subscription: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PingBody {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    request: u64,
}

impl JsonReader {
    pub(super) const fn new(all: Arc<WebSockets>, identity: Option<Address>) -> Self {
        Self { all, identity }
    }

    /// Reads one message.
    ///
    /// # Errors
    /// `MALFORMED_FRAME` for what is no request, the code of the field that is wrong otherwise.
    pub(super) fn read(&self, text: &str) -> Result<ClientMessage, BadRequest> {
        let envelope: Envelope = parse(text).map_err(|refusal| BadRequest {
            request: 0,
            refusal: Refusal::new(Code::MalformedFrame, refusal.message),
        })?;
        let request = envelope.request;
        self.read_kind(&envelope.kind, request, text).map_err(|refusal| BadRequest { request, refusal })
    }

    fn read_kind(&self, kind: &str, request: u64, text: &str) -> Result<ClientMessage, Refusal> {
        if request == 0 {
            return Err(Refusal::new(
                Code::MalformedFrame,
                "request is missing or 0; number requests from 1",
            ));
        }
        match kind {
            "signIn" => {
                let body: SignInBody = parse(text)?;
                let sign_in = SignIn {
                    address: address("address", &body.address)?,
                    issued_at: body.issued_at.unix_ms,
                    signature: hex_bytes("signature", &body.signature)?,
                };
                Ok(ClientMessage::SignIn { request: body.request, sign_in })
            }
            "publish" => self.publish(parse(text)?),
            "subscribe" => self.subscribe(parse(text)?),
            "unsubscribe" => {
                let body: UnsubscribeBody = parse(text)?;
                let subscription = SubscriptionId(body.subscription);
                Ok(ClientMessage::Unsubscribe { request: body.request, subscription })
            }
            "ping" => {
                let body: PingBody = parse(text)?;
                Ok(ClientMessage::Ping { request: body.request })
            }
            _ => Err(Refusal::new(
                Code::MalformedFrame,
                "type is none of signIn, publish, subscribe, unsubscribe, ping",
            )),
        }
    }

    fn publish(&self, body: PublishBody<'_>) -> Result<ClientMessage, Refusal> {
        let PublishBody { request, ack, batch, stream, partition, partition_key, events, .. } = body;
        match (batch, stream, events) {
            (Some(batch), None, None) if partition.is_none() && partition_key.is_none() => {
                let batch =
                    BASE64_STANDARD.decode(batch).map_err(|_| wrong("batch is not base64 with padding"))?;
                Ok(ClientMessage::Publish { request, ack, batch: batch.into() })
            }
            (None, Some(stream), Some(events)) => {
                if self.identity.is_none() {
                    return Err(Refusal::new(
                        Code::MissingApiKey,
                        "the node signs events for API keys only; connect with one, or send a signed batch",
                    ));
                }
                let at = self.place(&stream, partition, partition_key)?;
                let events = (0..).zip(events).map(|(index, event)| event.read(index));
                let events = events.collect::<Result<Vec<_>, _>>()?;
                Ok(ClientMessage::PublishEvents { request, ack, at, events })
            }
            _ => Err(wrong("a publish has a batch, or a stream and events")),
        }
    }

    fn place(
        &self,
        stream: &str,
        partition: Option<u16>,
        key: Option<Key>,
    ) -> Result<StreamPartition, Refusal> {
        let stream = self.stream(stream)?;
        let partition = match (partition, key) {
            (Some(_), Some(_)) => {
                return Err(wrong("partition and partitionKey exclude each other; keep one"));
            }
            (Some(number), None) => Partition::try_from(number)?,
            (None, key) => {
                let partitions = self.all.handle.registry().stream(stream).map(|record| record.partitions);
                let partitions = partitions.ok_or_else(|| {
                    Refusal::new(Code::StreamNotFound, format!("the registry has no stream {stream}"))
                })?;
                match key {
                    Some(Key::Number(number)) => Partition::of_key(&PartitionKey::Number(number), partitions),
                    Some(Key::Text(text)) => Partition::of_key(&PartitionKey::Text(text), partitions),
                    None => Partition::try_from(self.all.any_partition % partitions.max(1))?,
                }
            }
        };
        Ok(stream.partition(partition))
    }

    fn subscribe(&self, body: SubscribeBody) -> Result<ClientMessage, Refusal> {
        let at = self.stream(&body.stream)?.partition(Partition::try_from(body.partition)?);
        let origin = body.origin.map(|text| address("origin", &text)).transpose()?;
        let mut filter = ReadFilter { origin: origin.map(Origin::ethereum), ..ReadFilter::ALL };
        let resend = body.resend.unwrap_or(Resend { last: None, from: None, to: None, cursor: None });
        let start = match (resend.last, resend.from, &resend.to, resend.cursor) {
            (None, None, None, None) => ReadStart::Now,
            (Some(count), None, None, None) => ReadStart::Last(count),
            (None, Some(from), _, None) => {
                filter.from = from.timestamp.unix_ms;
                ReadStart::From
            }
            (None, None, _, Some(cursor)) => ReadStart::Cursor(cursor.parse::<Cursor>()?),
            _ => return Err(wrong("resend has one of last, from and cursor; to goes with from and cursor")),
        };
        if let Some(to) = resend.to {
            filter.to = to.timestamp.unix_ms;
        }
        // A range ends; anything else goes on unless told otherwise.
        let live = body.live.unwrap_or(filter.to == i64::MAX);
        let subscribe = check_subscribe(Subscribe { at, start, filter, live })?;
        Ok(ClientMessage::Subscribe { request: body.request, subscribe })
    }

    /// The stream that an id or an alias names.
    fn stream(&self, text: &str) -> Result<StreamId, Refusal> {
        let Some((owner, path)) = text.split_once('/') else { return text.parse() };
        let owner = address("the owner in stream", owner)?;
        self.all.handle.registry().alias(owner, path).ok_or_else(|| {
            Refusal::new(Code::StreamNotFound, format!("the registry has no stream {:?}", shortened(text)))
        })
    }
}

impl EventToSign<'_> {
    fn read(self, index: usize) -> Result<NewEvent, Refusal> {
        let (content_type, content) = match (
            self.content_type.map(ContentType),
            self.content,
            self.content_hex,
        ) {
            (None | Some(ContentType::JSON), Some(json), None) => {
                (ContentType::JSON, Bytes::copy_from_slice(json.get().as_bytes()))
            }
            (Some(ContentType::TEXT), Some(json), None) => {
                let text: String = serde_json::from_str(json.get())
                    .map_err(|_| wrong(format!("events[{index}].content is not a string, as type 3 has")))?;
                (ContentType::TEXT, text.into())
            }
            (content_type, None, Some(text)) => {
                let bytes = hex_bytes(&format!("events[{index}].contentHex"), &text)?;
                (content_type.unwrap_or(ContentType::BINARY), bytes.into())
            }
            _ => {
                return Err(wrong(format!(
                    "events[{index}] has content (JSON, or text with contentType 3) or contentHex, one of them"
                )));
            }
        };
        let timestamp = self.timestamp.unwrap_or_else(Time::now).unix_ms;
        Ok(NewEvent { timestamp, content_type, encryption_type: EncryptionType::NONE, content })
    }
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Refusal> {
    let mut json = serde_json::Deserializer::from_str(text);
    let refuse = |path: String, error: &serde_json::Error| {
        let code = if error.is_data() { Code::InvalidArgument } else { Code::MalformedFrame };
        let place = if path == "." { String::new() } else { format!("{path}: ") };
        Refusal::new(code, format!("{}{}", shortened(&place), shortened(&error.to_string())))
    };
    let value = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| refuse(error.path().to_string(), error.inner()))?;
    json.end().map_err(|error| refuse(".".into(), &error))?;
    Ok(value)
}

fn address(field: &str, text: &str) -> Result<Address, Refusal> {
    text.parse().map_err(|_| wrong(format!("{field} {:?} is not 0x and 40 hex digits", shortened(text))))
}

fn hex_bytes(field: &str, text: &str) -> Result<Vec<u8>, Refusal> {
    text.strip_prefix("0x")
        .and_then(|digits| hex::decode(digits).ok())
        .ok_or_else(|| wrong(format!("{field} is not 0x and an even number of hex digits")))
}

fn wrong(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::InvalidArgument, message)
}

fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}
