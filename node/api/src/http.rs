//! The HTTP listener: the JSON API, Streamr's shapes at Streamr's paths, and the doors to the WebSockets.
//!
//! What it is: requests become typed events for the broker and chain writes; answers become JSON. `GET /openapi.json`
//! describes every operation, generated from the code here.
//! What it is not: it decides nothing about rights, order or history.
//!
//! - Reading needs no key where everyone may read; else `Authorization: Bearer <API key>`, and the identity that the key
//!   stands for must hold the right.
//! - What changes something needs an API key, whose identity signs; but for batches that come signed already.
//! - Errors have one body and stable codes ([`status_of`]); bad input never gives a 5xx.
//! - `Host` and `Origin` are checked before anything else ([`HttpConfig`]).

mod auth;
mod batches;
mod config;
mod error;
mod event;
mod guard;
mod held;
mod history;
mod info;
mod input;
mod network;
mod number;
mod openapi;
mod permissions;
mod publish;
mod reader;
mod resend;
mod search;
mod server;
mod socket;
mod socket_publish;
mod socket_subscribe;
mod streams;
mod time;

pub use config::HttpConfig;
pub use error::status_of;
pub use info::NodeInfo;
pub use openapi::document;
pub use server::serve;

pub(crate) use batches::event_id;
pub(crate) use event::{EVENT_JSON_BYTES_MAX, EventBody};
pub(crate) use time::Time;

use crate::{NodeHandle, NodePublisher, Workers, websocket::WebSockets};
use axum::{
    Router,
    http::{Method, Uri},
    middleware,
};
use error::Problem;
use guard::Guard;
use mainstem_model::Code;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What every request handler sees.
#[derive(Debug)]
struct Api {
    handle: NodeHandle,
    config: HttpConfig,
    info: NodeInfo,
    workers: Workers,
    publisher: Arc<NodePublisher>,
    /// Where events go that name neither partition nor key: one partition of each stream, kept for the life of the node.
    any_partition: u16,
    /// What the sessions at `/ws` need.
    sockets: Arc<WebSockets>,
    /// Places for requests that read history.
    readers: Arc<Semaphore>,
}

/// The routes of the HTTP listener. The daemon may merge its own (`/healthz`, `/metrics`); those are not behind the checks of
/// `Host` and `Origin`, which bind to the routes here.
pub fn router(
    handle: NodeHandle,
    config: HttpConfig,
    info: NodeInfo,
    workers: Workers,
    publisher: Arc<NodePublisher>,
) -> Router {
    let guard = Arc::new(Guard::new(&config));
    let readers = Arc::new(Semaphore::new(config.history_readers_max));
    let any_partition = rand::random();
    let sockets = Arc::new(WebSockets {
        handle: handle.clone(),
        workers: workers.clone(),
        publisher: publisher.clone(),
        session: info.session.clone(),
        config: info.sockets.clone(),
        any_partition,
    });
    let api = Arc::new(Api { handle, config, info, workers, publisher, any_partition, sockets, readers });
    let (routes, document) = openapi::routes().split_for_parts();
    let document: Arc<str> = openapi::finish(document).into();
    routes
        .route("/openapi.json", openapi::route(document))
        .merge(socket::routes())
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .with_state(api)
        .layer(middleware::from_fn_with_state(guard, guard::watch))
}

async fn not_found(uri: Uri) -> Problem {
    Problem::new(Code::NotFound, format!("there is nothing at {}", input::shortened(uri.path())))
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let path = input::shortened(uri.path());
    let method = input::shortened(method.as_str());
    Problem::new(Code::MethodNotAllowed, format!("{path} does not take {method}; see the Allow header"))
}
