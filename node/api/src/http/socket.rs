//! The doors to the WebSockets; what goes on behind them is in `websocket.rs` and, in Streamr's shapes, beside this file.

use super::{
    Api, auth,
    error::Problem,
    input::{Params, Stream, shortened},
    publish::Choice,
    socket_publish::{self, Publishing},
    socket_subscribe::{self, Subscribing},
    time::Time,
};
use crate::websocket::{self, Stop, SubProtocol, Visitor, serve_websocket};
use axum::{
    Extension, Router,
    extract::{State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::{HeaderMap, StatusCode, header},
    response::Response,
    routing::get,
};
use mainstem_model::{Address, Code, Partition, PartitionKey, Right, limits};
use serde::Deserialize;
use std::sync::Arc;

/// Bytes of one message of a Streamr-shaped socket: a content and what may stand around it.
const MESSAGE_BYTES_MAX: usize = limits::CONTENT_BYTES_MAX + (4 << 10);

pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/ws", get(connect))
        .route("/streams/{id}/subscribe", get(subscribe))
        .route("/streams/{id}/publish", get(publish))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ConnectParams {
    api_key: Option<String>,
}

/// The socket for everything: many streams, publishing, history. See `websocket.rs`.
///
/// The client signs in to its web origin, or, when it is no web page, to the name it calls the node by.
async fn connect(
    State(api): State<Arc<Api>>,
    Params(params): Params<ConnectParams>,
    headers: HeaderMap,
    stop: Option<Extension<Stop>>,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    let identity = identity_of(&api, &headers, params.api_key.as_deref())?;
    let upgrade = websocket::bounded(upgrade_of(upgrade)?, &api.sockets.config);
    let upgrade = upgrade.protocols(SubProtocol::ALL.map(SubProtocol::name));
    let asked = headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL);
    let chosen = upgrade.selected_protocol().and_then(|name| name.to_str().ok());
    let protocol = match SubProtocol::ALL.into_iter().find(|protocol| chosen == Some(protocol.name())) {
        Some(protocol) => protocol,
        None if asked => {
            let message = "this node speaks the sub-protocols mainstem.json.v1 and mainstem.capnp.v1";
            return Err(Problem::argument(message));
        }
        None => SubProtocol::Json,
    };
    let named = headers.get(header::ORIGIN).or_else(|| headers.get(header::HOST));
    // Checked for form by now, but for an absurd length.
    let audience = shortened(named.and_then(|value| value.to_str().ok()).unwrap_or_default());
    let visitor = Visitor { audience, identity, protocol, stop: stop_of(stop) };
    let sockets = api.sockets.clone();
    Ok(upgrade.on_upgrade(move |socket| serve_websocket(socket, sockets, visitor)))
}

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SubscribeParams {
    /// Numbers with commas between; partition 0 when absent.
    partitions: Option<String>,
    api_key: Option<String>,
}

/// Streamr's subscribing socket: one JSON message for each event.
async fn subscribe(
    Stream(stream): Stream,
    State(api): State<Arc<Api>>,
    Params(params): Params<SubscribeParams>,
    headers: HeaderMap,
    stop: Option<Extension<Stop>>,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    let identity = identity_of(&api, &headers, params.api_key.as_deref())?;
    let partitions = partitions_of(params.partitions.as_deref())?;
    {
        let now_s = Time::now().unix_s();
        let registry = api.handle.registry();
        for partition in &partitions {
            registry.check(stream.partition(*partition), identity, Right::Subscribe, now_s)?;
        }
    }
    let upgrade = upgrade_of(upgrade)?;
    let subscribing = Subscribing { api, stream, partitions, identity, stop: stop_of(stop) };
    Ok(upgrade.on_upgrade(move |socket| socket_subscribe::serve(socket, subscribing)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PublishParams {
    partition: Option<u16>,
    partition_key: Option<String>,
    partition_key_field: Option<String>,
    api_key: Option<String>,
}

/// Streamr's publishing socket: one JSON object a message.
async fn publish(
    Stream(stream): Stream,
    State(api): State<Arc<Api>>,
    Params(params): Params<PublishParams>,
    headers: HeaderMap,
    stop: Option<Extension<Stop>>,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    let identity = identity_of(&api, &headers, params.api_key.as_deref())?.ok_or_else(auth::missing)?;
    let (choice, key_field) = match (params.partition, params.partition_key, params.partition_key_field) {
        (None, None, None) => (Choice::Any, None),
        (Some(number), None, None) => (Choice::Number(Partition::try_from(number)?), None),
        (None, Some(key), None) => (Choice::Key(PartitionKey::Text(key)), None),
        (None, None, Some(field)) => (Choice::Any, Some(field)),
        _ => {
            let message = "partition, partitionKey and partitionKeyField exclude each other; keep one";
            return Err(Problem::argument(message));
        }
    };
    let partition = choice.of(&api, stream)?;
    let now_s = Time::now().unix_s();
    api.handle.registry().check(stream.partition(partition), Some(identity), Right::Publish, now_s)?;
    let upgrade = upgrade_of(upgrade)?;
    let publishing = Publishing { api, stream, identity, partition, key_field, stop: stop_of(stop) };
    Ok(upgrade.on_upgrade(move |socket| socket_publish::serve(socket, publishing)))
}

/// Browsers cannot send a header with a WebSocket, so the key may stand in the query.
fn identity_of(api: &Api, headers: &HeaderMap, api_key: Option<&str>) -> Result<Option<Address>, Problem> {
    match api_key {
        Some(key) => auth::caller_of(api, key).map(Some),
        None => auth::bearer(headers)?.map(|key| auth::caller_of(api, key)).transpose(),
    }
}

fn stop_of(stop: Option<Extension<Stop>>) -> Stop {
    stop.map(|Extension(stop)| stop).unwrap_or_default()
}

fn partitions_of(text: Option<&str>) -> Result<Vec<Partition>, Problem> {
    let mut partitions = Vec::new();
    for part in text.unwrap_or("0").split(',') {
        let number = part.trim().parse::<u16>().map_err(|_| {
            let message = format!("partitions: {:?} is not a number from 0 to 99", shortened(part));
            Problem::new(Code::InvalidPartition, message)
        })?;
        let partition = Partition::try_from(number)?;
        if !partitions.contains(&partition) {
            partitions.push(partition);
        }
    }
    Ok(partitions)
}

fn upgrade_of(upgrade: Upgrade) -> Result<WebSocketUpgrade, Problem> {
    let upgrade = upgrade.map_err(|rejection| {
        let message = format!("this is a WebSocket: {}", shortened(&rejection.body_text()));
        Problem::argument(message).with_status(StatusCode::UPGRADE_REQUIRED)
    })?;
    Ok(upgrade.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX))
}
