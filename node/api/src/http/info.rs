use super::{
    Api,
    error::Problem,
    input::{NoParams, Params},
    openapi::Read,
    time::Time,
};
use crate::{SessionConfig, WebSocketConfig};
use axum::{Json, extract::State};
use mainstem_model::limits;
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc};
use utoipa::ToSchema;

/// What the daemon knows of the node and tells clients in `GET /info`.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    /// Version of the program.
    pub version: String,
    /// The broker's bounds.
    pub broker: mainstem_protocol::Config,
    /// Address of the QUIC listener, `host:port`.
    pub quic: Option<String>,
    /// URL of the WebSocket listener.
    pub websocket: Option<String>,
    /// SHA-256 of the certificate that the QUIC listener shows, hex; for clients that pin it.
    pub certificate_sha256: Option<String>,
    /// Bounds of sessions, whatever they come by.
    pub session: SessionConfig,
    /// Bounds of WebSocket sessions.
    pub sockets: WebSocketConfig,
    /// Bounds of the other listeners, by name.
    pub listener_limits: BTreeMap<String, u64>,
}

/// The node, its network, its clock and every limit that it enforces.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Info {
    /// Version of the program.
    version: String,
    /// The node's address.
    #[schema(pattern = "^0x[0-9a-f]{40}$")]
    node: String,
    network: NetworkInfo,
    /// The node's clock.
    #[schema(format = DateTime)]
    clock: String,
    /// The same in milliseconds since 1970.
    clock_ms: i64,
    listeners: Listeners,
    limits: Limits,
}

/// The network that batches are signed for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NetworkInfo {
    /// `keccak256(chain id as uint256 ‖ registry)`: bytes 16 to 47 of every signed header.
    #[schema(pattern = "^0x[0-9a-f]{64}$")]
    id: String,
    /// EIP-155 chain id.
    chain_id: u64,
    /// Address of the StreamRegistry.
    #[schema(pattern = "^0x[0-9a-f]{40}$")]
    registry: String,
}

/// Where else the node listens.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Listeners {
    /// QUIC, `host:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    quic: Option<String>,
    /// WebSocket, URL; on this HTTP port it is `/ws`.
    #[serde(skip_serializing_if = "Option::is_none")]
    websocket: Option<String>,
    /// SHA-256 of the QUIC certificate, hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_sha256: Option<String>,
}

/// Every bound: n is taken, n + 1 is refused.
#[derive(Debug, Serialize, ToSchema)]
struct Limits {
    /// Of the format, the same for every node.
    format: FormatLimits,
    /// Of the broker.
    #[schema(value_type = BTreeMap<String, i64>)]
    broker: serde_json::Value,
    /// Of this listener.
    http: HttpLimits,
    /// Of publishing with an API key, for each identity.
    #[schema(value_type = BTreeMap<String, u64>)]
    publisher: serde_json::Value,
    /// Of any one session at `/ws` or over QUIC.
    #[schema(value_type = BTreeMap<String, u64>)]
    sessions: serde_json::Value,
    /// Of the sockets at `/ws`.
    #[schema(value_type = BTreeMap<String, u64>)]
    sockets: serde_json::Value,
    /// Of the other listeners.
    listeners: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize, ToSchema)]
struct FormatLimits {
    events_per_batch_max: usize,
    content_bytes_max: usize,
    batch_bytes_max: usize,
    batch_span_ms_max: i64,
    signature_bytes_max: usize,
    delegation_bytes_max: usize,
    delegation_streams_max: usize,
    partitions_max: u16,
    metadata_bytes_max: usize,
}

#[derive(Debug, Serialize, ToSchema)]
struct HttpLimits {
    requests_max: usize,
    connections_max: usize,
    connections_per_address_max: usize,
    header_bytes_max: usize,
    header_timeout_ms: u64,
    body_timeout_ms: u64,
    write_timeout_ms: u64,
    answer_timeout_ms: u64,
    json_bytes_max: usize,
    batch_json_bytes_max: usize,
    history_events_max: usize,
    history_bytes_max: usize,
    history_readers_max: usize,
    search_results_max: usize,
    search_scan_max: usize,
    network_items_max: usize,
    socket_publishes_max: usize,
}

/// The node, its network and its limits.
#[utoipa::path(get, path = "/info", tag = "node", responses((status = 200, body = Info), Read))]
pub(super) async fn info(
    State(api): State<Arc<Api>>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<Info>, Problem> {
    let network = api.handle.network();
    let now = Time::now();
    Ok(Json(Info {
        version: api.info.version.clone(),
        node: api.handle.node().to_string(),
        network: NetworkInfo {
            id: network.id().to_string(),
            chain_id: network.chain_id,
            registry: network.registry.to_string(),
        },
        clock: now.to_string(),
        clock_ms: now.unix_ms,
        listeners: Listeners {
            quic: api.info.quic.clone(),
            websocket: api.info.websocket.clone(),
            certificate_sha256: api.info.certificate_sha256.clone(),
        },
        limits: limits_of(&api),
    }))
}

fn limits_of(api: &Api) -> Limits {
    let config = &api.config;
    Limits {
        format: FormatLimits {
            events_per_batch_max: limits::EVENTS_PER_BATCH_MAX,
            content_bytes_max: limits::CONTENT_BYTES_MAX,
            batch_bytes_max: limits::BATCH_BYTES_MAX,
            batch_span_ms_max: limits::BATCH_SPAN_MS_MAX,
            signature_bytes_max: limits::SIGNATURE_BYTES_MAX,
            delegation_bytes_max: limits::DELEGATION_BYTES_MAX,
            delegation_streams_max: limits::DELEGATION_STREAMS_MAX,
            partitions_max: limits::PARTITIONS_MAX,
            metadata_bytes_max: limits::METADATA_BYTES_MAX,
        },
        broker: serde_json::to_value(&api.info.broker).unwrap_or_default(),
        http: HttpLimits {
            requests_max: config.requests_max,
            connections_max: config.connections_max,
            connections_per_address_max: config.connections_per_address_max,
            header_bytes_max: config.header_bytes_max,
            header_timeout_ms: config.header_timeout_ms,
            body_timeout_ms: config.body_timeout_ms,
            write_timeout_ms: config.write_timeout_ms,
            answer_timeout_ms: config.answer_timeout_ms,
            json_bytes_max: super::input::JSON_BYTES_MAX,
            batch_json_bytes_max: config.batch_json_bytes_max,
            history_events_max: config.history_events_max,
            history_bytes_max: config.history_bytes_max,
            history_readers_max: config.history_readers_max,
            search_results_max: config.search_results_max,
            search_scan_max: config.search_scan_max,
            network_items_max: config.network_items_max,
            socket_publishes_max: config.socket_publishes_max,
        },
        publisher: serde_json::to_value(api.publisher.config()).unwrap_or_default(),
        sessions: serde_json::to_value(&api.info.session).unwrap_or_default(),
        sockets: serde_json::to_value(&api.info.sockets).unwrap_or_default(),
        listeners: api.info.listener_limits.clone(),
    }
}
