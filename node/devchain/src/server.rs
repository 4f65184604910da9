//! JSON-RPC 2.0 over HTTP, for wallets and tools.

use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower_http::cors::{Any, CorsLayer};

use crate::error::RpcError;
use crate::shared::SharedDevChain;

#[derive(Debug)]
struct App {
    chain: SharedDevChain,
    /// `Config::requests_max` at a time: each holds a thread while it waits for the chain.
    permits: Semaphore,
}

/// Serves a chain at `POST /` until `shutdown` is ready; requests under way are then finished.
///
/// Every web page may call it (wallets and web apps in development need that) and everybody who can connect may mine,
/// rewind and shift time, so bind the listener to loopback.
///
/// # Errors
/// If the listener fails.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use mainstem_devchain::{Config, SharedDevChain, serve};
///
/// let chain = SharedDevChain::in_memory(Config::default());
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8545").await?;
/// serve(listener, chain, std::future::pending()).await?;
/// # Ok(()) }
/// ```
pub async fn serve(
    listener: TcpListener,
    chain: SharedDevChain,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, router(chain)).with_graceful_shutdown(shutdown).await
}

fn router(chain: SharedDevChain) -> Router {
    let body_bytes_max = chain.config().body_bytes_max;
    let permits = Semaphore::new(chain.config().requests_max.max(1));
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::POST])
        .allow_headers(Any)
        .allow_private_network(true);
    Router::new()
        .route("/", post(answer))
        .layer(DefaultBodyLimit::max(body_bytes_max))
        .layer(cors)
        .with_state(Arc::new(App { chain, permits }))
}

async fn answer(State(app): State<Arc<App>>, body: Bytes) -> Response {
    let Ok(_permit) = app.permits.acquire().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let chain = app.chain.clone();
    let reply = tokio::task::spawn_blocking(move || respond(&chain, &body)).await.unwrap_or_else(|_| {
        Some(reply(&Value::Null, Err(RpcError::internal("the development chain failed"))))
    });
    match reply {
        Some(reply) => ([(header::CONTENT_TYPE, "application/json")], reply).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

/// The body to answer with, `None` if there were only notifications.
fn respond(chain: &SharedDevChain, body: &[u8]) -> Option<String> {
    let config = chain.config();
    let refuse = |error: RpcError| Some(reply(&Value::Null, Err(error)));
    match serde_json::from_slice(body) {
        Err(error) => refuse(RpcError::new(-32700, format!("parse error: {error}"))),
        Ok(Value::Array(requests)) if requests.is_empty() => refuse(RpcError::request("empty batch")),
        Ok(Value::Array(requests)) if requests.len() > config.batch_requests_max => refuse(
            RpcError::request(format!("batch too large: at most {} requests", config.batch_requests_max)),
        ),
        Ok(Value::Array(requests)) => {
            let mut replies: Vec<String> = Vec::with_capacity(requests.len());
            let mut bytes = 0;
            for request in &requests {
                let reply = if bytes > config.reply_bytes_max {
                    too_large(request, config.reply_bytes_max)
                } else {
                    respond_one(chain, request)
                };
                bytes += reply.as_ref().map_or(0, String::len);
                replies.extend(reply);
            }
            (!replies.is_empty()).then(|| format!("[{}]", replies.join(",")))
        }
        Ok(request) => respond_one(chain, &request),
    }
}

/// `None` for a notification.
fn respond_one(chain: &SharedDevChain, request: &Value) -> Option<String> {
    let id = match request.get("id") {
        None => None,
        Some(id @ (Value::Null | Value::Number(_) | Value::String(_))) => Some(id),
        Some(_) => return Some(reply(&Value::Null, Err(RpcError::request("id is a number or a string")))),
    };
    let invalid = |what: &str| Some(reply(id.unwrap_or(&Value::Null), Err(RpcError::request(what))));
    if !request.is_object() {
        return invalid("a request is an object");
    }
    if request.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return invalid("jsonrpc must be \"2.0\"");
    }
    let Some(method) = request.get("method").and_then(Value::as_str) else {
        return invalid("method must be a string");
    };
    let result = chain.request(method, request.get("params").unwrap_or(&Value::Null));
    id.map(|id| reply(id, result))
}

fn too_large(request: &Value, max: usize) -> Option<String> {
    let error = RpcError::new(-32003, format!("the answers to this batch are larger than {max} bytes"));
    request.get("id").map(|id| reply(id, Err(error)))
}

fn reply(id: &Value, result: Result<Value, RpcError>) -> String {
    match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(error) => json!({ "jsonrpc": "2.0", "id": id, "error": error }),
    }
    .to_string()
}
