use super::{
    Api,
    error::Problem,
    input::{BodyLimit, Media, Params, Stream, hex_bytes, media, parse_json, read_body, unsupported},
    number::whole,
    openapi::{Publish, StreamParam},
    reader::Session,
    time::Time,
};
use crate::prove;
use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    http::{HeaderName, HeaderValue},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use mainstem_model::{
    Ack, Batch, BatchError, BatchId, Code, ContentType, EncryptionType, Header, NewEvent, Refusal, StreamId,
    VerifiedBatch, Verifier, limits,
};
use mainstem_protocol::{InEvent, ServerMessage};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;

/// Tells a light client the batch that its event travels in.
pub(super) const BATCH_ID_HEADER: HeaderName = HeaderName::from_static("mainstem-batch-id");

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AckParams {
    /// What the answer waits for; `stored`, at one broker, when absent.
    #[serde(default)]
    #[param(inline, value_type = Option<AckText>)]
    ack: Ack,
}

/// How far events have come: `accepted`, proven and in order; `stored`, in the journal (outlives the process); `durable`,
/// fsynced (outlives power loss). At n of the brokers that are assigned to the partition with `(n)` behind it: `durable(2)`.
#[derive(Debug, ToSchema)]
#[schema(
    as = Ack, value_type = String, example = "durable(2)",
    pattern = r"^(accepted|stored|durable)(\(([1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])\))?$"
)]
#[expect(dead_code, reason = "it stands in the API's description")]
pub(super) struct AckText(String);

/// A batch that its origin has signed. See the layout of the header in `node/model/src/header.rs`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SignedBatch {
    /// The 203 signed bytes; they begin with `mainstem/batch/1`.
    #[schema(pattern = "^0x6d61696e7374656d2f62617463682f31([0-9a-fA-F]{2}){187}$")]
    header: String,
    /// Over the batch id, `SHA-256(header)`: `r ‖ s ‖ v` of `personal_sign` for signature types 1 and 2.
    #[schema(pattern = "^0x([0-9a-fA-F]{2})*$", max_length = 32770)]
    signature: String,
    /// The wallet's delegation, for signature type 2 only.
    #[serde(default)]
    #[schema(pattern = "^0x([0-9a-fA-F]{2})*$", max_length = 8194)]
    delegation: Option<String>,
    /// As many as the header counts, in series order.
    #[schema(min_items = 1, max_items = 1024)]
    events: Vec<SignedEvent>,
}

/// An event of a signed batch. Exactly one of `content` and `contentBase64`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SignedEvent {
    timestamp: Time,
    /// 1 JSON, 2 binary, 3 text.
    #[serde(deserialize_with = "whole")]
    #[schema(maximum = 65535)]
    content_type: u16,
    /// 0 in the clear; so it is when absent.
    #[serde(default, deserialize_with = "whole")]
    #[schema(maximum = 65535)]
    encryption_type: u16,
    /// `0x` and hex digits.
    #[serde(default)]
    #[schema(pattern = "^0x([0-9a-fA-F]{2})*$")]
    content: Option<String>,
    /// The same, in base64 with padding.
    #[serde(default)]
    #[schema(format = "byte")]
    content_base64: Option<String>,
}

/// What became of the events.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Receipt {
    /// SHA-256 of the batch's header.
    #[schema(pattern = "^0x[0-9a-f]{64}$")]
    batch_id: String,
    /// What holds now; at least what was asked for.
    #[schema(value_type = AckText)]
    level: Ack,
    /// The node had this batch before.
    duplicate: bool,
    /// Ids of the events: `batch id/index`.
    events: Vec<String>,
}

impl Receipt {
    pub(super) fn new(batch: BatchId, level: Ack, duplicate: bool, first: u16, count: u16) -> Self {
        Self {
            batch_id: batch.to_string(),
            level,
            duplicate,
            events: (first..first.saturating_add(count)).map(|index| event_id(batch, index)).collect(),
        }
    }
}

/// The id of one event in text.
pub(crate) fn event_id(batch: BatchId, index: u16) -> String {
    format!("{batch}/{index}")
}

/// What a proof is made from.
enum Form {
    Bytes(Bytes),
    Parts(Box<SignedBatch>),
}

/// Publish a batch that its origin has signed. It needs no API key: the batch itself says who made it.
#[utoipa::path(
    post, path = "/streams/{id}/batches", tag = "publish", operation_id = "publishBatch", params(StreamParam, AckParams),
    request_body(
        description = "The batch in its Cap'n Proto form, or its parts as JSON.",
        content((SignedBatch = "application/json"), (Octets = "application/octet-stream"))
    ),
    responses((status = 200, body = Receipt), Publish)
)]
pub(super) async fn publish(
    Stream(stream): Stream,
    State(api): State<Arc<Api>>,
    Params(AckParams { ack }): Params<AckParams>,
    request: Request,
) -> Result<Response, Problem> {
    let form = read_form(&api, request).await?;
    let header = form.header()?;
    if let Some(header) = &header {
        api.handle.screen(header)?;
    }
    let deadline = Instant::now() + Duration::from_millis(api.config.answer_timeout_ms);
    let proven = timeout_at(deadline, prove_on_workers(&api, header.as_ref(), stream, form)).await;
    let batch = proven
        .map_err(|_| Problem::new(Code::Overloaded, "the batch was not proven in time; try again"))??;
    let (id, count) = (batch.id(), batch.header().count);
    let acked = timeout_at(deadline, publish_proven(&api, batch, ack)).await;
    let (level, duplicate) = acked.unwrap_or_else(|_| {
        Err(Refusal::new(
            Code::StoreUnavailable,
            "the ack did not come in time; send the same batch again to find out",
        ))
    })?;
    let header = HeaderValue::from_str(&id.to_string()).map(|value| [(BATCH_ID_HEADER, value)]);
    Ok((header.ok(), Json(Receipt::new(id, level, duplicate, 0, count))).into_response())
}

/// Has a batch proven by the workers of its signature type. What a plugin proves may take long: where as much waits for that as may,
/// the request is refused at once, or it would hold up requests that others have under way.
async fn prove_on_workers(
    api: &Api,
    header: Option<&Header>,
    stream: StreamId,
    form: Form,
) -> Result<Arc<VerifiedBatch>, Problem> {
    let verifier = api.handle.verifier().clone();
    let prove = move |form| prove_form(&verifier, stream, form);
    let mut answer = match api.workers.of_plugin(header.map(|header| header.signature_type)) {
        Some(own) => own.try_submit(form, prove).map_err(|_| {
            Problem::new(
                Code::Overloaded,
                "the proofs of this signature type are behind; try again in a moment",
            )
        })?,
        None => api.workers.submit(move || prove(form)).await,
    };
    let proven = answer.wait().await;
    proven.ok_or_else(|| Problem::new(Code::Overloaded, "the batch could not be proven; try again"))?
}

/// The bytes of a batch.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "it stands in the API's description")]
pub(super) struct Octets(Vec<u8>);

async fn read_form(api: &Api, request: Request) -> Result<Form, Problem> {
    let (parts, body): (_, Body) = request.into_parts();
    let limit = |bytes_max| BodyLimit { bytes_max, code: Code::BatchTooLarge };
    match media(&parts.headers) {
        Media::Octets => {
            let bytes = read_body(api, &parts.headers, body, limit(limits::BATCH_BYTES_MAX)).await?;
            Ok(Form::Bytes(bytes))
        }
        Media::Json => {
            let bytes = read_body(api, &parts.headers, body, limit(api.config.batch_json_bytes_max)).await?;
            Ok(Form::Parts(Box::new(parse_json(&bytes)?)))
        }
        Media::None | Media::Other => Err(unsupported("application/json or application/octet-stream")),
    }
}

impl Form {
    /// What the batch says of itself; `None` for bytes that are none, which proving refuses.
    fn header(&self) -> Result<Option<Header>, Problem> {
        Ok(match self {
            Self::Bytes(bytes) => Batch::peek_header(bytes).ok(),
            Self::Parts(parts) => Some(Header::decode(&hex_bytes("header", &parts.header)?)?),
        })
    }
}

fn prove_form(verifier: &Verifier, stream: StreamId, form: Form) -> Result<Arc<VerifiedBatch>, Problem> {
    let batch = match form {
        Form::Bytes(bytes) => prove(verifier, bytes)?,
        Form::Parts(parts) => Arc::new(verifier.verify(assemble(*parts)?)?),
    };
    let signed = batch.header().stream_partition.stream;
    if signed != stream {
        let message = format!("the batch was signed for stream {signed}, the path names {stream}");
        return Err(Problem::argument(message));
    }
    Ok(batch)
}

fn assemble(parts: SignedBatch) -> Result<Batch, Problem> {
    let header = Header::decode(&hex_bytes("header", &parts.header)?)?;
    let signature = hex_bytes("signature", &parts.signature)?;
    let delegation =
        parts.delegation.map(|text| hex_bytes("delegation", &text)).transpose()?.unwrap_or_default();
    if parts.events.len() != usize::from(header.count) {
        return Err(BatchError::Malformed("there are more or fewer events than the header counts").into());
    }
    let events = parts.events.into_iter().enumerate().map(|(index, event)| new_event(index, event));
    Ok(Batch::assemble(&header, &signature, &delegation, &events.collect::<Result<Vec<_>, _>>()?)?)
}

fn new_event(index: usize, event: SignedEvent) -> Result<NewEvent, Problem> {
    let content = match (event.content, event.content_base64) {
        (Some(text), None) => hex_bytes(&format!("events[{index}].content"), &text)?,
        (None, Some(text)) => BASE64_STANDARD.decode(text).map_err(|_| {
            Problem::argument(format!("events[{index}].contentBase64 is not base64 with padding"))
        })?,
        _ => {
            return Err(Problem::argument(format!(
                "events[{index}] has not one of content and contentBase64"
            )));
        }
    };
    Ok(NewEvent {
        timestamp: event.timestamp.unix_ms,
        content_type: ContentType(event.content_type),
        encryption_type: EncryptionType(event.encryption_type),
        content: content.into(),
    })
}

/// Publishes a batch in a session of its own and waits for the ack.
async fn publish_proven(api: &Api, batch: Arc<VerifiedBatch>, ack: Ack) -> Result<(Ack, bool), Refusal> {
    let mut session = Session::open(&api.handle, None).await?;
    session.send(|session| InEvent::Publish { session, request: 1, ack, batch }).await?;
    loop {
        match session.hear().await? {
            ServerMessage::Ack { ack, duplicate, .. } => return Ok((ack, duplicate)),
            ServerMessage::Refused { refusal, .. } => return Err(refusal),
            // This session does nothing else.
            ServerMessage::SignedIn { .. }
            | ServerMessage::Subscribed { .. }
            | ServerMessage::Deliver { .. }
            | ServerMessage::CaughtUp { .. }
            | ServerMessage::Ended { .. }
            | ServerMessage::Unsubscribed { .. } => {}
        }
    }
}
