use mainstem_model::limits;
use serde::{Deserialize, Serialize};

/// The HTTP listener: who may talk to it, and its bounds. The bounds are published in `GET /info`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Names and addresses (no port) that requests may call this node in `Host`; others get `FORBIDDEN_ORIGIN`. This is what
    /// keeps a web page from reaching a node on the visitor's machine by DNS rebinding. The daemon adds the address that
    /// the listener is bound to, and the public name if there is one. `*` takes every name.
    pub hosts: Vec<String>,
    /// Web origins (`https://app.example`) whose pages may use this node. Pages of other origins get `FORBIDDEN_ORIGIN` for
    /// everything that changes something and for WebSockets, and cannot read answers. A page that the node itself serves
    /// is always let in. `*` lets pages of every origin read what is public, and nothing else.
    pub allowed_origins: Vec<String>,
    /// Requests under way, open WebSockets not counted. One more gets `OVERLOADED` at once.
    pub requests_max: usize,
    /// Open TCP connections, WebSockets included. One more waits in the kernel's queue.
    pub connections_max: usize,
    /// Open TCP connections of one address (of one /64 with IPv6); one more gets `LIMIT_REACHED` and is closed. Loopback is
    /// counted too: behind a proxy, where all come from one address, let the proxy bound them and set this to
    /// `connections_max`.
    pub connections_per_address_max: usize,
    /// Bytes of the request line and headers together. More gets status 431 and the connection is closed.
    pub header_bytes_max: usize,
    /// How long the headers of a request may take to come, milliseconds, and how long a connection may stay idle
    /// between requests. Then it is closed.
    pub header_timeout_ms: u64,
    /// How long the body of a request may take to come, milliseconds; then the answer is status 408. And how long a client
    /// may take for one piece of a streamed answer; then the connection is closed.
    pub body_timeout_ms: u64,
    /// How long a client, of a WebSocket too, may take nothing of what waits for it, milliseconds; then the connection is
    /// closed. A request counts as under way until its answer is taken.
    pub write_timeout_ms: u64,
    /// How long a write on the chain, or the proof of a batch and its ack together, may take, milliseconds. Then the answer says that it
    /// is not known, or of a batch that was not proven by then `OVERLOADED`.
    pub answer_timeout_ms: u64,
    /// Bytes of a JSON body of a signed batch. More gets `BATCH_TOO_LARGE`.
    pub batch_json_bytes_max: usize,
    /// Events in one page of `GET /streams/{id}/history` and in `last`. A larger `limit` or `count` is `INVALID_ARGUMENT`.
    pub history_events_max: usize,
    /// Bytes of batches read for one page of `GET /streams/{id}/history`; at the bound the page ends early, with a cursor.
    pub history_bytes_max: usize,
    /// Requests that read history at once, each with a page in memory. One more gets `OVERLOADED`.
    pub history_readers_max: usize,
    /// Streams in one page of `GET /streams`. A larger `limit` is `INVALID_ARGUMENT`.
    pub search_results_max: usize,
    /// Streams looked at for one page of `GET /streams`; at the bound the page ends early, with a cursor.
    pub search_scan_max: usize,
    /// Brokers, shards and links, of each so many, in `GET /network`. What is more is counted and left out.
    pub network_items_max: usize,
    /// The Streamr-shaped sockets wrap content as `{"content":…,"metadata":…}`.
    pub payload_metadata: bool,
    /// Idle time after which the Streamr-shaped sockets are pinged, milliseconds; after twice this they are closed.
    pub ping_interval_ms: u64,
    /// Messages of one Streamr-shaped publishing socket that wait for their acks. Then the socket is not read on.
    pub socket_publishes_max: usize,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            hosts: ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).to_vec(),
            allowed_origins: Vec::new(),
            requests_max: 1024,
            connections_max: 10_000,
            // A quarter: one host cannot shut the others out.
            connections_per_address_max: 2_500,
            header_bytes_max: 32 << 10,
            header_timeout_ms: 15_000,
            body_timeout_ms: 30_000,
            // As long as a QUIC client may be silent.
            write_timeout_ms: 30_000,
            answer_timeout_ms: 60_000,
            // Hex takes two characters a byte; the rest is for names and numbers of 1,024 events.
            batch_json_bytes_max: 2 * limits::BATCH_BYTES_MAX + (256 << 10),
            // What Streamr's `last` gives.
            history_events_max: 10_000,
            history_bytes_max: 8 << 20,
            history_readers_max: 64,
            search_results_max: 1_000,
            search_scan_max: 20_000,
            // All brokers of the largest network that is thought of.
            network_items_max: 1_000,
            payload_metadata: false,
            // Streamr's two 15 seconds.
            ping_interval_ms: 15_000,
            socket_publishes_max: 1024,
        }
    }
}
