//! What a publisher waits for reaches the broker, and what holds is told, by every way in. The broker here is one of a network:
//! it has three replicas of everything, and at once says that what was asked for holds.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod support;

use axum::{
    Router,
    body::{Body, Bytes},
    http::Request,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use futures_util::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use mainstem_api::{
    HttpConfig, Identities, Input, NodeHandle, NodeInfo, NodePublisher, PublisherConfig, QuicConfig,
    QuicListener, SessionConfig, TlsIdentity, Workers, WorkersConfig, frame::split_message, http,
    new_key_pem,
};
use mainstem_crypto::sha256;
use mainstem_model::{
    Ack, AckLevel, Address, Code, Refusal, Registry, RegistryChange, SeriesId, StreamRecord, Verifier,
};
use mainstem_protocol::{InEvent, ServerMessage};
use mainstem_schema::frame_capnp as truth;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, RwLock},
    time::Duration,
};
use support::{
    ALL, NETWORK, NODE, STREAM, at,
    client::{Client, FrameStream, endpoint, transport},
    event, key,
    wire::{self, Told},
    writer,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc, watch},
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};
use tower::ServiceExt;

const DURABLE_TWICE: Ack = Ack { level: AckLevel::Durable, copies: 2 };
/// What this broker does not answer.
const NEVER: Ack = Ack { level: AckLevel::Stored, copies: 3 };
/// The series that it answers when another session publishes.
const LATE: u64 = 77;

/// A node whose broker says yes to what three replicas can do.
struct Node {
    /// What publishers asked for and in which series, in the order in which the broker heard it.
    asked: mpsc::UnboundedReceiver<(Ack, SeriesId)>,
    handle: NodeHandle,
    workers: Workers,
    publisher: Arc<NodePublisher>,
    router: Router,
    /// Ends the listener of `quic`.
    stop: Arc<Notify>,
}

impl Node {
    fn start() -> Self {
        let (inbox, inputs) = mpsc::channel(64);
        let mut registry = Registry::default();
        registry.apply(RegistryChange::Stream(record()));
        registry.apply(RegistryChange::Grant(STREAM, Address::ZERO, ALL));
        let registry = Arc::new(RwLock::new(registry));
        let handle = NodeHandle::new(inbox, registry, Arc::new(Verifier::new(NETWORK)), NODE);
        let (asks, asked) = mpsc::unbounded_channel();
        tokio::spawn(answer(inputs, asks));
        let workers = Workers::start(&WorkersConfig::default()).unwrap();
        let mut identities = Identities::new();
        let identity = identities.add(key(5));
        identities.allow(&hex::encode(sha256(b"secret")), identity).unwrap();
        let publisher = Arc::new(NodePublisher::new(
            handle.clone(),
            workers.clone(),
            identities,
            PublisherConfig::default(),
        ));
        let (config, info) = (HttpConfig::default(), NodeInfo::default());
        let router = http::router(handle.clone(), config, info, workers.clone(), publisher.clone());
        Self { asked, handle, workers, publisher, router, stop: Arc::default() }
    }

    /// What the broker was asked for last; nothing else may have been asked for.
    fn asked(&mut self) -> Ack {
        let (ack, _) = self.asked.try_recv().unwrap();
        assert!(self.asked.is_empty());
        ack
    }

    async fn post(&self, path: &str, kind: &str, body: impl Into<Body>) -> (u16, Value) {
        let request = Request::post(path)
            .header("host", "localhost:7171")
            .header("content-type", kind)
            .header("authorization", "Bearer secret")
            .header("accept", "application/json");
        let answer = self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn socket(&self, protocol: &str) -> Socket {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = self.router.clone();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(async move {
            http::serve(listener, router, &HttpConfig::default(), stopped, Duration::from_secs(1)).await;
        });
        let mut request = format!("ws://{address}/ws?apiKey=secret").into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
        let (socket, _) = connect_async(request).await.unwrap();
        let mut socket = Socket { socket, _stop: stop };
        // The hello.
        socket.message().await;
        socket
    }

    async fn quic(&self) -> Client {
        self.quic_with(SessionConfig::default()).await
    }

    async fn quic_with(&self, session: SessionConfig) -> Client {
        let identity = TlsIdentity::self_signed_by(&new_key_pem().unwrap()).unwrap();
        let config = QuicConfig { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..QuicConfig::default() };
        let (handle, workers) = (self.handle.clone(), self.workers.clone());
        let listener = QuicListener::bind(config, session, &identity, handle, workers).unwrap();
        let address = listener.address();
        let stop = self.stop.clone();
        tokio::spawn(listener.serve(async move { stop.notified().await }));
        let endpoint = endpoint(identity.pin(), transport());
        let connection = endpoint.connect(address, "mainstem").unwrap().await.unwrap();
        let (up, down) = connection.open_bi().await.unwrap();
        let mut client = Client { endpoint, connection, up, down: FrameStream::new(down) };
        client.send(&wire::ping(1), &[]).await;
        assert!(matches!(client.told().await, Told::Hello(_)));
        assert_eq!(client.told().await, Told::Pong(1));
        client
    }
}

async fn answer(mut inputs: mpsc::Receiver<Input>, asks: mpsc::UnboundedSender<(Ack, SeriesId)>) {
    let mut outboxes = BTreeMap::new();
    let mut late = None;
    while let Some(input) = inputs.recv().await {
        match input {
            Input::Open { session, outbox, .. } => drop(outboxes.insert(session, outbox)),
            Input::Event(InEvent::Publish { session, request, ack, batch }) => {
                asks.send((ack, batch.header().series)).unwrap();
                if ack == NEVER {
                    continue;
                }
                let told = if ack.copies > 3 {
                    let refusal = Refusal::new(Code::InvalidArgument, "there are 3 replicas");
                    ServerMessage::Refused { request, refusal }
                } else {
                    ServerMessage::Ack { request, batch: batch.id(), ack, duplicate: false }
                };
                if batch.header().series == SeriesId(LATE) {
                    late = Some((session, told));
                    continue;
                }
                if let Some((waiting, told)) = late.take_if(|(waiting, _)| *waiting != session) {
                    outboxes[&waiting].send(told).unwrap();
                }
                outboxes[&session].send(told).unwrap();
            }
            Input::Event(_) | Input::Manage(_) | Input::Network(_) => {}
        }
    }
}

fn record() -> StreamRecord {
    StreamRecord {
        id: STREAM,
        owner: Address([8; 20]),
        metadata: "{}".into(),
        partitions: 1,
        storage_days: None,
        path: None,
        key_epoch: 0,
        created_at: 0,
    }
}

struct Socket {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    _stop: watch::Sender<bool>,
}

impl Socket {
    async fn message(&mut self) -> Bytes {
        loop {
            let message = timeout(Duration::from_secs(10), self.socket.next()).await.expect("nothing came");
            let message = message.expect("the socket ended").unwrap();
            if message.is_text() || message.is_binary() {
                return message.into_data();
            }
        }
    }

    async fn ask(&mut self, request: Value) -> Value {
        self.socket.send(Message::text(request.to_string())).await.unwrap();
        serde_json::from_slice(&self.message().await).unwrap()
    }
}

/// A signed batch of one event; a series has only one here.
fn batch(series: u64) -> Bytes {
    writer(5, series).seal(&[event(10)]).unwrap().bytes().clone()
}

#[tokio::test]
async fn http_asks_for_copies_and_tells_how_many_hold() {
    let mut node = Node::start();
    for (text, ack) in [
        ("durable(2)", DURABLE_TWICE),
        ("durable", AckLevel::Durable.into()),
        ("stored(2)", Ack::new(AckLevel::Stored, 2)),
    ] {
        for percent in [text.to_owned(), text.replace('(', "%28").replace(')', "%29")] {
            let path = format!("/streams/{STREAM}/batches?ack={percent}");
            let (status, receipt) = node.post(&path, "application/octet-stream", batch(1)).await;
            assert_eq!((status, &receipt["level"], node.asked()), (200, &json!(text), ack), "{receipt}");
            let path = format!("/streams/{STREAM}?ack={percent}");
            let (status, receipt) = node.post(&path, "application/json", "{}").await;
            assert_eq!((status, &receipt["level"], node.asked()), (200, &json!(text), ack), "{receipt}");
        }
    }
    let (_, receipt) = node.post(&format!("/streams/{STREAM}"), "application/json", "{}").await;
    assert_eq!((&receipt["level"], node.asked()), (&json!("stored"), Ack::default()));
}

#[tokio::test]
async fn http_names_the_field_of_an_ack_that_is_none() {
    let mut node = Node::start();
    for text in ["durable(0)", "durable(256)", "durable()", "durable(2", "soon(2)", ""] {
        for (path, kind) in [("/batches", "application/octet-stream"), ("", "application/json")] {
            let path = format!("/streams/{STREAM}{path}?ack={text}");
            let (status, error) = node.post(&path, kind, "{}").await;
            assert_eq!((status, &error["code"]), (400, &json!("INVALID_ARGUMENT")), "{text}");
            let message = error["message"].as_str().unwrap();
            assert!(message.starts_with("query parameters: ack: "), "{message}");
        }
    }
    assert!(node.asked.try_recv().is_err());
}

#[tokio::test]
async fn json_asks_for_copies_and_tells_how_many_hold() {
    let mut node = Node::start();
    let mut socket = node.socket("mainstem.json.v1").await;
    let signed = BASE64_STANDARD.encode(batch(1));
    let told =
        socket.ask(json!({"type": "publish", "request": 1, "ack": "durable(2)", "batch": signed})).await;
    assert_eq!(
        (&told["type"], &told["level"], node.asked()),
        (&json!("ack"), &json!("durable(2)"), DURABLE_TWICE)
    );
    let told = socket
        .ask(json!({
            "type": "publish", "request": 2, "ack": "durable(2)", "stream": STREAM.to_string(), "partition": 0,
            "events": [{"content": {"n": 1}}],
        }))
        .await;
    assert_eq!(
        (&told["type"], &told["level"], node.asked()),
        (&json!("ack"), &json!("durable(2)"), DURABLE_TWICE)
    );
    let told = socket.ask(json!({"type": "publish", "request": 3, "batch": signed})).await;
    assert_eq!((&told["level"], node.asked()), (&json!("stored"), Ack::default()));
}

#[tokio::test]
async fn json_names_the_field_of_an_ack_that_is_none() {
    let mut node = Node::start();
    let mut socket = node.socket("mainstem.json.v1").await;
    let signed = BASE64_STANDARD.encode(batch(1));
    let bad = [json!("durable(0)"), json!("durable(256)"), json!("soon"), json!(2), json!(null)];
    for (request, ack) in (1..).zip(bad) {
        let told =
            socket.ask(json!({"type": "publish", "request": request, "ack": ack, "batch": signed})).await;
        assert_eq!((&told["type"], &told["request"]), (&json!("refused"), &json!(request)), "{told}");
        assert_eq!(told["code"], "INVALID_ARGUMENT", "{told}");
        assert!(told["message"].as_str().unwrap().starts_with("ack: "), "{told}");
    }
    assert!(node.asked.try_recv().is_err());
}

#[tokio::test]
async fn frames_ask_for_copies_and_tell_how_many_hold() {
    let mut node = Node::start();
    let head = wire::publish_at(2, truth::AckLevel::Durable, 2);
    let mut client = node.quic().await;
    client.send(&head, &batch(1)).await;
    let told = client.told().await;
    assert!(matches!(told, Told::Ack { request: 2, ack: DURABLE_TWICE, .. }), "{told:?}");
    assert_eq!(node.asked(), DURABLE_TWICE);
    let mut socket = node.socket("mainstem.capnp.v1").await;
    socket.socket.send(Message::binary(wire::message(&head, &batch(1)))).await.unwrap();
    let told = wire::read(split_message(socket.message().await).unwrap());
    assert!(matches!(told, Told::Ack { request: 2, ack: DURABLE_TWICE, .. }), "{told:?}");
    assert_eq!(node.asked(), DURABLE_TWICE);
}

#[tokio::test]
async fn what_is_over_a_sessions_window_is_refused_before_it_is_proven() {
    let mut node = Node::start();
    node.handle = node.handle.with_publish_window(2 * batch(1).len());
    let mut client = node.quic().await;
    let mut forged = batch(3).to_vec();
    *forged.last_mut().unwrap() ^= 1;
    for (request, ack, batch) in [(2, NEVER, batch(1)), (3, DURABLE_TWICE, batch(2))] {
        let level = if ack == NEVER { truth::AckLevel::Stored } else { truth::AckLevel::Durable };
        client.send(&wire::publish_at(request, level, ack.copies), &batch).await;
    }
    assert!(matches!(client.told().await, Told::Ack { request: 3, .. }));
    // There is room for one beside the one that is never answered.
    for (request, body, expected) in
        [(4, batch(4), None), (5, forged.into(), Some("OVERLOADED")), (6, batch(5), Some("OVERLOADED"))]
    {
        client.send(&wire::publish_at(request, truth::AckLevel::Stored, 3), &body).await;
        let Some(expected) = expected else { continue };
        let told = client.told().await;
        assert!(matches!(&told, Told::Refused { code, .. } if code == expected), "{request}: {told:?}");
    }
    let heard: Vec<_> = std::iter::from_fn(|| node.asked.try_recv().ok()).collect();
    assert_eq!(heard.len(), 3, "{heard:?}");
}

#[tokio::test]
async fn what_is_over_a_sessions_window_waits_for_room_before_it_is_refused() {
    let mut node = Node::start();
    node.handle = node.handle.with_publish_window(batch(1).len());
    let patient = SessionConfig { refusal_wait_ms: 60_000, ..SessionConfig::default() };
    let (mut client, mut other) = (node.quic_with(patient).await, node.quic().await);
    client.send(&wire::publish_at(2, truth::AckLevel::Stored, 1), &batch(LATE)).await;
    assert_eq!(node.asked.recv().await.unwrap().1, SeriesId(LATE));
    for request in [3, 4] {
        client.send(&wire::publish_at(request, truth::AckLevel::Stored, 1), &batch(request)).await;
    }
    client.send(&wire::ping(5), &[]).await;
    other.send(&wire::publish_at(2, truth::AckLevel::Stored, 1), &batch(6)).await;
    for request in [2, 3, 4] {
        let told = client.told().await;
        assert!(matches!(told, Told::Ack { request: of, .. } if of == request), "{told:?}");
    }
    assert_eq!(client.told().await, Told::Pong(5));
}

#[tokio::test]
async fn a_session_that_ends_while_a_batch_waits_for_room_ends_at_once() {
    let mut node = Node::start();
    node.handle = node.handle.with_publish_window(batch(1).len());
    let patient = SessionConfig { refusal_wait_ms: 60_000, ..SessionConfig::default() };
    let mut client = node.quic_with(patient).await;
    client.send(&wire::publish_at(2, truth::AckLevel::Stored, 3), &batch(1)).await;
    client.send(&wire::publish_at(3, truth::AckLevel::Stored, 1), &batch(2)).await;
    assert_eq!(node.asked.recv().await.unwrap().0, NEVER);
    node.stop.notify_one();
    let told = client.told().await;
    assert!(matches!(&told, Told::Refused { request: 3, code, .. } if code == "OVERLOADED"), "{told:?}");
}

#[tokio::test]
async fn events_that_wait_for_different_copies_go_in_different_batches() {
    let mut node = Node::start();
    // All of them are handed in before the publisher's task sees the first.
    let submitted = [DURABLE_TWICE, AckLevel::Durable.into(), DURABLE_TWICE, DURABLE_TWICE]
        .map(|ack| (ack, node.publisher.submit(key(5).address(), at(STREAM), vec![event(1)], ack).unwrap()));
    let mut batches = Vec::new();
    for (ack, submitted) in submitted {
        let published = submitted.wait().await.unwrap();
        assert_eq!(published.ack, ack);
        batches.push(published.batch);
    }
    assert_eq!(batches[2], batches[3]);
    batches.dedup();
    assert_eq!(batches.len(), 3);
    let asked: Vec<_> = std::iter::from_fn(|| node.asked.try_recv().ok().map(|(ack, _)| ack)).collect();
    assert_eq!(asked, [DURABLE_TWICE, AckLevel::Durable.into(), DURABLE_TWICE]);
}

#[tokio::test]
async fn more_copies_than_there_are_replicas_are_refused_and_the_series_goes_on() {
    let mut node = Node::start();
    let mut series = Vec::new();
    for (ack, status) in [("durable(3)", 200), ("durable(4)", 400), ("durable", 200)] {
        let path = format!("/streams/{STREAM}?ack={ack}");
        let (got, answer) = node.post(&path, "application/json", "{}").await;
        assert_eq!(got, status, "{answer}");
        if status == 400 {
            assert_eq!(
                (&answer["code"], &answer["message"]),
                (&json!("INVALID_ARGUMENT"), &json!("there are 3 replicas"))
            );
        }
        series.push(node.asked.try_recv().unwrap().1);
    }
    series.dedup();
    assert_eq!(series.len(), 1);
    let path = format!("/streams/{STREAM}/batches?ack=durable(4)");
    let (status, answer) = node.post(&path, "application/octet-stream", batch(1)).await;
    assert_eq!((status, &answer["code"]), (400, &json!("INVALID_ARGUMENT")));
}
