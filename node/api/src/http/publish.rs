//! Streamr's way to publish: one JSON object, an API key; the node signs.

use super::{
    Api,
    auth::Caller,
    batches::{AckText, BATCH_ID_HEADER, Receipt},
    error::Problem,
    input::{BodyLimit, Media, Params, Stream, media, parse_json, read_body, unsupported},
    openapi::{Publish, StreamParam},
    streams::unknown_stream,
    time::Time,
};
use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use mainstem_model::{
    Ack, Code, ContentType, EncryptionType, NewEvent, Partition, PartitionKey, Refusal, StreamId, limits,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{sync::Arc, time::Duration};

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(super) struct PublishParams {
    /// When it happened; now when absent.
    #[param(inline)]
    timestamp: Option<Time>,
    /// The partition.
    #[param(minimum = 0, maximum = 99)]
    partition: Option<u16>,
    /// What the event is filed under: `abs(int32LE(md5(key))) % partitions`. Not together with `partition`. Without either
    /// the node keeps to one partition of its own choice.
    partition_key: Option<String>,
    /// What the answer waits for; `stored`, at one broker, when absent.
    #[serde(default)]
    #[param(inline, value_type = Option<AckText>)]
    ack: Ack,
}

/// Publish one JSON object; the API key's identity signs it.
#[utoipa::path(
    post, path = "/streams/{id}", tag = "publish", operation_id = "publish", params(StreamParam, PublishParams),
    request_body = Object,
    responses(
        (
            status = 200, description = "Published. JSON when `Accept` asks for it, else the text `OK`.",
            content((String = "text/plain"), (Receipt = "application/json")),
            headers(("mainstem-batch-id" = String, description = "The batch that the event travels in."))
        ),
        Publish
    ),
    security(("apiKey" = []))
)]
pub(super) async fn publish(
    Caller(identity): Caller,
    Stream(stream): Stream,
    State(api): State<Arc<Api>>,
    Params(params): Params<PublishParams>,
    request: Request,
) -> Result<Response, Problem> {
    let wants_json = accepts_json(request.headers());
    let partition = match (params.partition, params.partition_key) {
        (Some(_), Some(_)) => {
            let problem = Problem::argument("partition and partitionKey exclude each other; leave one out");
            return Err(problem.with_status(StatusCode::UNPROCESSABLE_ENTITY));
        }
        (Some(number), None) => Choice::Number(Partition::try_from(number)?),
        (None, Some(key)) => Choice::Key(PartitionKey::Text(key)),
        (None, None) => Choice::Any,
    };
    let (parts, body) = request.into_parts();
    if !matches!(media(&parts.headers), Media::Json | Media::None) {
        return Err(unsupported("application/json"));
    }
    let limit = BodyLimit { bytes_max: limits::CONTENT_BYTES_MAX, code: Code::ContentTooLarge };
    let content = read_body(&api, &parts.headers, body, limit).await?;
    json_object(&content)?;
    let event = json_event(params.timestamp.unwrap_or_else(Time::now), content);
    let at = stream.partition(partition.of(&api, stream)?);
    let limit = Duration::from_millis(api.config.answer_timeout_ms);
    let published =
        tokio::time::timeout(limit, api.publisher.publish(identity, at, vec![event], params.ack)).await;
    let published = published.unwrap_or_else(|_| {
        Err(Refusal::new(
            Code::StoreUnavailable,
            "the ack did not come in time; it is not known whether the event was taken",
        ))
    })?;
    let header = HeaderValue::from_str(&published.batch.to_string()).map(|value| [(BATCH_ID_HEADER, value)]);
    let receipt = Receipt::new(published.batch, published.ack, published.duplicate, published.first_index, 1);
    if wants_json {
        Ok((header.ok(), Json(receipt)).into_response())
    } else {
        Ok((header.ok(), "OK").into_response())
    }
}

/// How a request says which partition.
#[derive(Clone, Debug)]
pub(super) enum Choice {
    Number(Partition),
    Key(PartitionKey),
    Any,
}

impl Choice {
    /// The partition, now that it is known how many there are.
    pub(super) fn of(&self, api: &Api, stream: StreamId) -> Result<Partition, Refusal> {
        let partitions = api.handle.registry().stream(stream).map(|record| record.partitions);
        let partitions = partitions.ok_or_else(|| unknown_stream(stream))?;
        match self {
            Self::Number(partition) => Ok(*partition),
            Self::Key(key) => Ok(Partition::of_key(key, partitions)),
            Self::Any => Partition::try_from(api.any_partition % partitions.max(1)),
        }
    }
}

/// A JSON event in the clear whose content is kept byte for byte.
pub(super) fn json_event(time: Time, content: Bytes) -> NewEvent {
    NewEvent {
        timestamp: time.unix_ms,
        content_type: ContentType::JSON,
        encryption_type: EncryptionType::NONE,
        content,
    }
}

/// Reads a JSON object, the only JSON that Streamr's shape takes.
pub(super) fn json_object(bytes: &[u8]) -> Result<Map<String, Value>, Problem> {
    let value: Value = parse_json(bytes)?;
    let Value::Object(map) = value else {
        return Err(Problem::argument("the body is not a JSON object"));
    };
    Ok(map)
}

fn accepts_json(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.to_ascii_lowercase().contains("application/json"))
}
