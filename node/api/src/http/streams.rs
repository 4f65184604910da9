use super::{
    Api,
    auth::Caller,
    error::Problem,
    input::{JsonBody, NoParams, Params, Stream},
    number::maybe_whole,
    openapi::{Read, StreamParam, Write},
    permissions::{NewGrant, NewGrantBody, PermissionWord, PublicWord},
    time::Time,
};
use crate::ManageAction;
use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use mainstem_model::{Address, Code, Grant, Refusal, Right, StreamId, StreamRecord, limits};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{sync::Arc, time::Duration};
use utoipa::ToSchema;

/// A stream as the registry has it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Stream)]
pub(super) struct StreamBody {
    /// Address of the stream's contract.
    #[schema(pattern = "^0x[0-9a-f]{40}$")]
    id: String,
    /// `0xowner/path`, when it has a path.
    #[serde(skip_serializing_if = "Option::is_none")]
    alias: Option<String>,
    #[schema(pattern = "^0x[0-9a-f]{40}$")]
    owner: String,
    /// Partitions, 1 to 100.
    partitions: u16,
    /// Days that history is kept; the node's default when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_days: Option<u32>,
    /// From the metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// The metadata as JSON; as a string when the chain has something that is not JSON.
    metadata: Value,
    /// The stream's key epoch.
    key_epoch: u64,
    /// When it was created.
    created_at: String,
}

impl StreamBody {
    pub(super) fn of(record: &StreamRecord) -> Self {
        let metadata =
            serde_json::from_str(&record.metadata).unwrap_or_else(|_| Value::String(record.metadata.clone()));
        let created_ms = i64::try_from(record.created_at.saturating_mul(1000)).unwrap_or(i64::MAX);
        Self {
            id: record.id.to_string(),
            alias: record.path.as_ref().map(|path| format!("{}/{path}", record.owner)),
            owner: record.owner.to_string(),
            partitions: record.partitions,
            storage_days: record.storage_days,
            description: metadata.get("description").and_then(Value::as_str).map(str::to_owned),
            metadata,
            key_epoch: record.key_epoch,
            created_at: Time { unix_ms: created_ms }.to_string(),
        }
    }
}

/// Metadata of a stream: a JSON object of at most 4,096 bytes. Fields beside the known ones are kept as they are.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "maybe_whole")]
    #[schema(minimum = 1, maximum = 100)]
    partitions: Option<u16>,
    /// Days that history is kept.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "maybe_whole")]
    #[schema(minimum = 0, maximum = 36500)]
    storage_days: Option<u32>,
    /// `fields`: what events look like, a list of `{name, type}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    config: Option<Map<String, Value>>,
    #[serde(flatten)]
    #[schema(additional_properties, value_type = Object)]
    more: Map<String, Value>,
}

impl Metadata {
    /// The text that goes on the chain.
    fn to_text(&self) -> Result<String, Problem> {
        if self.partitions.is_some_and(|n| !(1..=limits::PARTITIONS_MAX).contains(&n)) {
            return Err(Problem::argument("partitions is not a number from 1 to 100"));
        }
        if self.storage_days.is_some_and(|days| days > 36_500) {
            return Err(Problem::argument("storageDays is not a number from 0 to 36500"));
        }
        let text =
            serde_json::to_string(self).map_err(|_| Problem::argument("the metadata has no JSON form"))?;
        if text.len() > limits::METADATA_BYTES_MAX {
            let message = format!(
                "the metadata has {} bytes as JSON, at most {} are allowed",
                text.len(),
                limits::METADATA_BYTES_MAX
            );
            return Err(Problem::argument(message).with_status(StatusCode::PAYLOAD_TOO_LARGE));
        }
        Ok(text)
    }
}

/// A stream to be created: its metadata and, beside it, `path`, `public` and `grants`.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct NewStream {
    /// Lists the stream as `0xowner/path`.
    #[serde(default)]
    #[schema(pattern = "^[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*$", max_length = 128)]
    path: Option<String>,
    /// What everyone may do: `publish`, `subscribe`.
    #[serde(default)]
    #[schema(value_type = Vec<PublicWord>)]
    public: Vec<PermissionWord>,
    /// First grants.
    #[serde(default)]
    #[schema(max_items = 100, value_type = Vec<NewGrantBody>)]
    grants: Vec<NewGrant>,
    #[serde(flatten)]
    metadata: Metadata,
}

/// Bytes of an alias' path.
const PATH_BYTES_MAX: usize = 128;
/// What the owner of a new stream has.
const OWNERS: Grant = Grant {
    subscribe_until: Grant::FOREVER,
    publish_until: Grant::FOREVER,
    flags: Grant::GRANT | Grant::EDIT | Grant::DELETE,
};
/// Grants that one request can make.
pub(super) const GRANTS_MAX: usize = 100;

/// Create a stream; the API key's identity owns it and signs the transaction.
#[utoipa::path(
    post, path = "/streams", tag = "streams", operation_id = "createStream",
    request_body = NewStream,
    responses((status = 201, body = StreamBody, headers(("location" = String, description = "Path of the stream."))), Write),
    security(("apiKey" = []))
)]
pub(super) async fn create(
    Caller(identity): Caller,
    State(api): State<Arc<Api>>,
    Params(NoParams {}): Params<NoParams>,
    JsonBody(new): JsonBody<NewStream>,
) -> Result<Response, Problem> {
    let metadata = new.metadata.to_text()?;
    if let Some(path) = &new.path {
        check_path(path)?;
        if api.handle.registry().alias(identity, path).is_some() {
            let message = format!("{identity} has a stream with this path already");
            return Err(Problem::argument(message).with_status(StatusCode::CONFLICT));
        }
    }
    let grants = first_grants(&new, identity)?;
    let action = ManageAction::Create { metadata, path: new.path, grants };
    let id = manage(&api, identity, action).await?;
    let stream = describe(&api, id)?;
    let location = format!("/streams/{id}");
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(stream)).into_response())
}

/// A stream.
#[utoipa::path(
    get, path = "/streams/{id}", tag = "streams", operation_id = "getStream", params(StreamParam),
    responses((status = 200, body = StreamBody), Read)
)]
pub(super) async fn get(
    Stream(stream): Stream,
    State(api): State<Arc<Api>>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<StreamBody>, Problem> {
    describe(&api, stream).map(Json)
}

/// Replace a stream's metadata. Takes the right `edit`.
#[utoipa::path(
    put, path = "/streams/{id}", tag = "streams", operation_id = "setStreamMetadata", params(StreamParam),
    request_body = Metadata,
    responses((status = 200, body = StreamBody), Write),
    security(("apiKey" = []))
)]
pub(super) async fn set_metadata(
    Caller(identity): Caller,
    Stream(stream): Stream,
    State(api): State<Arc<Api>>,
    Params(NoParams {}): Params<NoParams>,
    JsonBody(metadata): JsonBody<Metadata>,
) -> Result<Json<StreamBody>, Problem> {
    let metadata = metadata.to_text()?;
    demand(&api, stream, identity, Right::Edit)?;
    let id = manage(&api, identity, ManageAction::SetMetadata { stream, metadata }).await?;
    describe(&api, id).map(Json)
}

/// Remove a stream for good. Takes the right `delete`.
#[utoipa::path(
    delete, path = "/streams/{id}", tag = "streams", operation_id = "deleteStream", params(StreamParam),
    responses((status = 204, description = "It is gone."), Write),
    security(("apiKey" = []))
)]
pub(super) async fn remove(
    Caller(identity): Caller,
    Stream(stream): Stream,
    State(api): State<Arc<Api>>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<StatusCode, Problem> {
    demand(&api, stream, identity, Right::Delete)?;
    manage(&api, identity, ManageAction::Remove { stream }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Has the chain changed, and waits until the node's own view shows it.
pub(super) async fn manage(api: &Api, identity: Address, action: ManageAction) -> Result<StreamId, Problem> {
    let limit = Duration::from_millis(api.config.answer_timeout_ms);
    match tokio::time::timeout(limit, api.handle.manage(identity, action)).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Problem::new(
            Code::ChainUnavailable,
            "the chain has not answered in time; it is not known whether the change was made",
        )),
    }
}

/// Checks a right before the chain is asked, which checks it again.
pub(super) fn demand(api: &Api, stream: StreamId, who: Address, right: Right) -> Result<(), Refusal> {
    let registry = api.handle.registry();
    if registry.stream(stream).is_none() {
        return Err(unknown_stream(stream));
    }
    if registry.can(stream, Some(who), right, Time::now().unix_s()) {
        return Ok(());
    }
    let message = format!("{who} may not {} stream {stream}; its owner can grant it", right.as_str());
    Err(Refusal::new(Code::MissingPermission, message))
}

pub(super) fn unknown_stream(stream: StreamId) -> Refusal {
    Refusal::new(Code::StreamNotFound, format!("the registry has no stream {stream}"))
}

fn describe(api: &Api, stream: StreamId) -> Result<StreamBody, Problem> {
    let record = api.handle.registry().stream(stream).cloned();
    Ok(StreamBody::of(&record.ok_or_else(|| unknown_stream(stream))?))
}

fn first_grants(new: &NewStream, owner: Address) -> Result<Vec<(Address, Grant)>, Problem> {
    if new.grants.len() > GRANTS_MAX {
        return Err(Problem::argument("grants has more than 100 entries; grant the others afterwards"));
    }
    let mut grants: Vec<(Address, Grant)> = Vec::new();
    let public = (!new.public.is_empty()).then(|| NewGrant::everyone(&new.public));
    for grant in public.iter().chain(&new.grants) {
        let account = grant.account()?;
        let at = grants.iter().position(|(who, _)| *who == account);
        // An owner begins with every right; a grant names all that an account has, so it must not take those away.
        let start = if account == owner { OWNERS } else { Grant::NONE };
        let before = at.map_or(start, |at| grants[at].1);
        let after = grant.rights()?.to(before);
        match at {
            Some(at) => grants[at].1 = after,
            None => grants.push((account, after)),
        }
    }
    Ok(grants)
}

fn check_path(path: &str) -> Result<(), Problem> {
    let good = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~-".contains(&b))
    };
    if path.len() <= PATH_BYTES_MAX && path.split('/').all(good) {
        return Ok(());
    }
    Err(Problem::argument(format!(
        "path is not 1 to {PATH_BYTES_MAX} letters, digits and . _ ~ - in parts parted by single slashes"
    )))
}
