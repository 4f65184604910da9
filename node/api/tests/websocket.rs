//! The WebSocket edge at `/ws`, over loopback, with the real state machine behind it.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod support;

use base64::{Engine, prelude::BASE64_STANDARD};
use futures_util::{SinkExt, StreamExt};
use mainstem_api::{
    HttpConfig, Identities, NodeInfo, NodePublisher, PublisherConfig, SessionConfig, WebSocketConfig,
    Workers, WorkersConfig,
    frame::{FRAME_BYTES_MAX, split_message},
    http,
};
use mainstem_crypto::sha256;
use mainstem_model::{
    Ack, AckLevel, Address, Challenge, ContentType, NewEvent, SeriesId, SeriesWriter, Signer, limits,
};
use mainstem_protocol::Config;
use mainstem_schema::frame_capnp as truth;
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use support::{
    NODE, PRIVATE, STREAM, at,
    broker::start_node,
    event, key, now_ms,
    wire::{self, Told},
    writer,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

struct Node {
    address: SocketAddr,
    sessions: Arc<AtomicUsize>,
    _stop: watch::Sender<bool>,
}

impl Node {
    async fn start() -> Self {
        Self::with(SessionConfig::default(), WebSocketConfig::default()).await
    }

    async fn with(session: SessionConfig, sockets: WebSocketConfig) -> Self {
        let (handle, sessions) = start_node(Config::default());
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
        let config =
            HttpConfig { allowed_origins: vec!["https://app.example".into()], ..HttpConfig::default() };
        let info = NodeInfo { session, sockets, ..NodeInfo::default() };
        let router = http::router(handle, config.clone(), info, workers, publisher);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(
            async move { http::serve(listener, router, &config, stopped, Duration::from_secs(1)).await },
        );
        Self { address, sessions, _stop: stop }
    }

    async fn connect(&self, protocol: &str, query: &str, origin: Option<&str>) -> Result<Socket, Error> {
        let mut request = format!("ws://{}/ws{query}", self.address).into_client_request().unwrap();
        let headers = request.headers_mut();
        if !protocol.is_empty() {
            headers.insert("sec-websocket-protocol", protocol.parse().unwrap());
        }
        if let Some(origin) = origin {
            headers.insert("origin", origin.parse().unwrap());
        }
        connect_async(request).await.map(|(socket, _)| Socket(socket))
    }

    async fn json(&self) -> Socket {
        let mut socket = self.connect("mainstem.json.v1", "", None).await.unwrap();
        assert_eq!(socket.json().await["type"], "hello");
        socket
    }

    async fn with_api_key(&self) -> Socket {
        let mut socket = self.connect("mainstem.json.v1", "?apiKey=secret", None).await.unwrap();
        assert_eq!(socket.json().await["type"], "hello");
        socket
    }

    async fn capnp(&self) -> Socket {
        let mut socket = self.connect("mainstem.capnp.v1", "", None).await.unwrap();
        assert!(matches!(socket.told().await, Told::Hello(_)));
        socket
    }
}

struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn message(&mut self) -> Message {
        loop {
            let message = timeout(Duration::from_secs(10), self.0.next()).await.expect("nothing came");
            match message.expect("the socket ended").unwrap() {
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                message @ (Message::Text(_) | Message::Binary(_) | Message::Close(_)) => return message,
            }
        }
    }

    async fn json(&mut self) -> Value {
        let message = self.message().await;
        serde_json::from_str(message.to_text().unwrap()).unwrap_or_else(|_| panic!("{message:?}"))
    }

    async fn told(&mut self) -> Told {
        let Message::Binary(bytes) = self.message().await else { panic!("not binary") };
        wire::read(split_message(bytes).unwrap())
    }

    async fn say(&mut self, value: Value) {
        self.0.send(Message::text(value.to_string())).await.unwrap();
    }

    async fn ask(&mut self, value: Value) -> Value {
        self.say(value).await;
        self.json().await
    }

    async fn closed(&mut self) -> (CloseCode, String) {
        loop {
            match timeout(Duration::from_secs(10), self.0.next()).await.expect("it stays open") {
                Some(Ok(Message::Close(Some(CloseFrame { code, reason })))) => {
                    return (code, reason.to_string());
                }
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

fn code_of(value: &Value) -> (u64, String) {
    assert_eq!(value["type"], "refused", "{value}");
    assert!(!value["message"].as_str().unwrap().is_empty());
    (value["request"].as_u64().unwrap(), value["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn json_signs_in_with_the_text_that_the_hello_gives() {
    let node = Node::start().await;
    let mut socket = node.connect("mainstem.json.v1", "", Some("https://app.example")).await.unwrap();
    let hello = socket.json().await;
    assert_eq!(hello["audience"], "https://app.example");
    assert_eq!(hello["version"], 1);
    let issued = now_ms();
    let text = format!("{}{issued}", hello["challenge"].as_str().unwrap());
    let mut nonce = [0; 16];
    hex::decode_to_slice(hello["nonce"].as_str().unwrap(), &mut nonce).unwrap();
    let challenge = Challenge { node: NODE, audience: "https://app.example".into(), nonce };
    assert_eq!(text, challenge.text(issued));
    let signature = key(6).sign(&mainstem_crypto::personal_message_digest(text.as_bytes()));
    let sign_in = |request: u64, signature: &[u8]| {
        json!({"type": "signIn", "request": request, "address": key(6).address().to_string(), "issuedAt": issued,
            "signature": format!("0x{}", hex::encode(signature))})
    };
    assert_eq!(code_of(&socket.ask(sign_in(1, &[1; 65])).await), (1, "INVALID_SIGN_IN".into()));
    let signed_in = socket.ask(sign_in(2, signature.as_bytes())).await;
    assert_eq!(signed_in, json!({"type": "signedIn", "request": 2}));
    // The same answer on another connection is a replay.
    let mut other = node.connect("mainstem.json.v1", "", Some("https://app.example")).await.unwrap();
    other.json().await;
    assert_eq!(code_of(&other.ask(sign_in(3, signature.as_bytes())).await), (3, "INVALID_SIGN_IN".into()));
}

#[tokio::test]
async fn json_publishes_a_signed_batch_and_tells_its_events_one_by_one() {
    let node = Node::start().await;
    let mut socket = node.json().await;
    let subscribed =
        socket.ask(json!({"type": "subscribe", "request": 1, "stream": STREAM.to_string()})).await;
    assert_eq!(subscribed, json!({"type": "subscribed", "request": 1, "subscription": 1}));
    assert_eq!(socket.json().await["type"], "caughtUp");
    let events =
        [NewEvent::json(now_ms(), &json!({"celsius": 21.5})), NewEvent::binary(now_ms(), vec![1, 2].into())];
    let batch = writer(5, 7).seal(&events).unwrap();
    let publish = json!({"type": "publish", "request": 2, "ack": "durable", "batch": BASE64_STANDARD.encode(batch.bytes())});
    socket.say(publish).await;
    let mut told = vec![socket.json().await, socket.json().await, socket.json().await];
    let ack = told.remove(told.iter().position(|told| told["type"] == "ack").unwrap());
    assert_eq!(
        ack,
        json!({"type": "ack", "request": 2, "batchId": batch.id().to_string(), "level": "durable", "duplicate": false})
    );
    for (index, event) in told.iter().enumerate() {
        assert_eq!(event["type"], "event");
        assert_eq!(event["subscription"], 1);
        assert_eq!(event["sequence"], index);
        assert_eq!(event["stream"], STREAM.to_string());
        assert_eq!(event["origin"], key(5).address().to_string());
        assert!(event["timestamp"].as_str().unwrap().ends_with('Z'));
    }
    assert_eq!(told[0]["content"], json!({"celsius": 21.5}));
    assert_eq!(told[1]["contentHex"], "0x0102");
    // Resuming behind the first event gives the second alone.
    let resume = json!({"type": "subscribe", "request": 3, "stream": STREAM.to_string(), "live": false,
        "resend": {"cursor": told[0]["cursor"]}});
    socket.say(resume).await;
    assert_eq!(socket.json().await["type"], "subscribed");
    assert_eq!(socket.json().await["contentHex"], "0x0102");
    let ended = socket.json().await;
    assert_eq!((&ended["type"], &ended["complete"]), (&json!("ended"), &json!(true)));
}

#[tokio::test]
async fn text_that_json_would_blow_up_is_told_as_hex_and_the_socket_stays() {
    let node = Node::start().await;
    let mut reader = node.json().await;
    let subscribed =
        reader.ask(json!({"type": "subscribe", "request": 1, "stream": STREAM.to_string()})).await;
    assert_eq!(subscribed["type"], "subscribed", "{subscribed}");
    let mut publisher = node.capnp().await;
    let content = vec![1_u8; limits::CONTENT_BYTES_MAX - 1_000];
    for (request, content) in (1..).zip([content.clone(), b"plain".to_vec()]) {
        let event =
            NewEvent { content_type: ContentType::TEXT, ..NewEvent::binary(now_ms(), content.into()) };
        let batch = writer(5, request).seal(&[event]).unwrap();
        let publish = wire::message(&wire::publish(request, truth::AckLevel::Stored), batch.bytes());
        publisher.0.send(Message::binary(publish)).await.unwrap();
        assert!(matches!(publisher.told().await, Told::Ack { .. }));
    }
    let mut told = Vec::new();
    while told.len() < 2 {
        let value = reader.json().await;
        if value["type"] == "event" {
            told.push(value);
        }
    }
    assert_eq!(told[0]["contentHex"], format!("0x{}", hex::encode(&content)));
    assert_eq!(told[1]["content"], "plain");
}

#[test]
fn a_write_buffer_that_holds_no_whole_message_is_refused_by_name() {
    let config = WebSocketConfig { write_buffer_bytes_max: 2 << 20, ..WebSocketConfig::default() };
    assert!(config.check().unwrap_err().to_string().contains("write_buffer_bytes_max"));
    WebSocketConfig::default().check().unwrap();
}

#[tokio::test]
async fn json_events_outside_of_the_range_asked_for_are_left_out() {
    let node = Node::start().await;
    let mut socket = node.json().await;
    let start = now_ms();
    let events: Vec<NewEvent> = (0..10).map(|n| NewEvent::json(start + n, &json!({"n": n}))).collect();
    let batch = writer(5, 7).seal(&events).unwrap();
    let ack = socket
        .ask(json!({"type": "publish", "request": 1, "batch": BASE64_STANDARD.encode(batch.bytes())}))
        .await;
    assert_eq!(ack["type"], "ack");
    let range = json!({"type": "subscribe", "request": 2, "stream": STREAM.to_string(),
        "resend": {"from": {"timestamp": start + 3}, "to": {"timestamp": start + 5}}});
    socket.say(range).await;
    assert_eq!(socket.json().await["type"], "subscribed");
    for n in 3..6 {
        assert_eq!(socket.json().await["content"]["n"], n);
    }
    assert_eq!(socket.json().await["type"], "ended");
    let last = json!({"type": "subscribe", "request": 3, "stream": STREAM.to_string(), "live": false, "resend": {"last": 2}});
    socket.say(last).await;
    assert_eq!(socket.json().await["type"], "subscribed");
    assert_eq!(socket.json().await["content"]["n"], 8);
    assert_eq!(socket.json().await["content"]["n"], 9);
    assert_eq!(socket.json().await["type"], "ended");
}

#[tokio::test]
async fn the_node_signs_events_for_an_api_key_and_for_nobody_else() {
    let node = Node::start().await;
    let mut socket = node.with_api_key().await;
    let publish = json!({"type": "publish", "request": 1, "stream": STREAM.to_string(), "partition": 0,
        "events": [{"content": {"n": 1}}, {"content": "text", "contentType": 3}, {"contentHex": "0x0a0b"}]});
    let ack = socket.ask(publish.clone()).await;
    assert_eq!((&ack["type"], &ack["level"]), (&json!("ack"), &json!("stored")));
    let batch = ack["batchId"].as_str().unwrap();
    assert_eq!(ack["events"].as_array().unwrap().len(), 3);
    assert!(ack["events"][2].as_str().unwrap().starts_with(batch), "{ack}");
    let mut stranger = node.json().await;
    assert_eq!(code_of(&stranger.ask(publish).await), (1, "MISSING_API_KEY".into()));
    let refused = node.connect("mainstem.json.v1", "?apiKey=wrong", None).await;
    assert!(matches!(refused, Err(Error::Http(response)) if response.status() == 403));
}

#[tokio::test]
async fn many_signed_publishes_are_answered_in_order() {
    let node = Node::start().await;
    let mut socket = node.with_api_key().await;
    for request in 1..300 {
        let publish = json!({"type": "publish", "request": request, "stream": STREAM.to_string(), "partition": 0,
            "events": [{"content": request}]});
        socket.say(publish).await;
    }
    for request in 1..300 {
        let ack = socket.json().await;
        assert_eq!((&ack["type"], &ack["request"]), (&json!("ack"), &json!(request)), "{ack}");
    }
}

#[tokio::test]
async fn json_that_is_no_request_is_refused_with_its_code_and_the_socket_stays() {
    let node = Node::start().await;
    let mut socket = node.json().await;
    let deep = format!("{{\"type\":{}1{}}}", "[".repeat(500), "]".repeat(500));
    let id = STREAM.to_string();
    let cases: Vec<(String, u64, &str)> = vec![
        (String::new(), 0, "MALFORMED_FRAME"),
        ("{".into(), 0, "MALFORMED_FRAME"),
        ("[1]".into(), 0, "MALFORMED_FRAME"),
        (deep, 0, "MALFORMED_FRAME"),
        (json!({"type": "ping", "request": -1}).to_string(), 0, "MALFORMED_FRAME"),
        (json!({"type": "ping"}).to_string(), 0, "MALFORMED_FRAME"),
        (json!({"type": "dance", "request": 9}).to_string(), 9, "MALFORMED_FRAME"),
        (json!({"type": "ping", "request": 9, "more": 1}).to_string(), 9, "INVALID_ARGUMENT"),
        (json!({"type": "publish", "request": 9, "batch": "%%%"}).to_string(), 9, "INVALID_ARGUMENT"),
        (json!({"type": "publish", "request": 9, "batch": "AAAA"}).to_string(), 9, "MALFORMED_BATCH"),
        (json!({"type": "publish", "request": 9}).to_string(), 9, "INVALID_ARGUMENT"),
        (
            json!({"type": "publish", "request": 9, "batch": "", "ack": "soon"}).to_string(),
            9,
            "INVALID_ARGUMENT",
        ),
        (json!({"type": "subscribe", "request": 9, "stream": "0x12"}).to_string(), 9, "INVALID_STREAM_ID"),
        (json!({"type": "subscribe", "request": 9, "stream": "a/b"}).to_string(), 9, "INVALID_ARGUMENT"),
        (
            json!({"type": "subscribe", "request": 9, "stream": format!("{NODE}/none")}).to_string(),
            9,
            "STREAM_NOT_FOUND",
        ),
        (
            json!({"type": "subscribe", "request": 9, "stream": id, "partition": 100}).to_string(),
            9,
            "INVALID_PARTITION",
        ),
        (
            json!({"type": "subscribe", "request": 9, "stream": id, "resend": {"cursor": "00"}}).to_string(),
            9,
            "INVALID_CURSOR",
        ),
        (
            json!({"type": "subscribe", "request": 9, "stream": id, "resend": {"last": 1, "cursor": "00"}})
                .to_string(),
            9,
            "INVALID_ARGUMENT",
        ),
        (
            json!({"type": "subscribe", "request": 9, "stream": id, "live": true,
                "resend": {"from": {"timestamp": 1}, "to": {"timestamp": 2}}})
            .to_string(),
            9,
            "INVALID_ARGUMENT",
        ),
        (
            json!({"type": "subscribe", "request": 9, "stream": PRIVATE.to_string()}).to_string(),
            9,
            "MISSING_PERMISSION",
        ),
        (
            json!({"type": "unsubscribe", "request": 9, "subscription": 5}).to_string(),
            9,
            "UNKNOWN_SUBSCRIPTION",
        ),
        (
            json!({"type": "signIn", "request": 9, "address": "0x", "issuedAt": 1, "signature": "0x"})
                .to_string(),
            9,
            "INVALID_ARGUMENT",
        ),
    ];
    for (text, request, code) in cases {
        socket.0.send(Message::text(text.clone())).await.unwrap();
        let (told, got) = code_of(&socket.json().await);
        let anonymous = code == "MISSING_PERMISSION" && got == "NOT_SIGNED_IN";
        assert!((told, got.as_str()) == (request, code) || anonymous, "{text}: {told} {got}");
    }
    socket.0.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(code_of(&socket.json().await), (0, "MALFORMED_FRAME".into()));
    assert_eq!(
        socket.ask(json!({"type": "ping", "request": 10})).await,
        json!({"type": "pong", "request": 10})
    );
}

#[tokio::test]
async fn binary_messages_carry_the_native_frames() {
    let node = Node::start().await;
    let mut socket = node.capnp().await;
    let head = wire::subscribe(1, |mut subscribe| {
        subscribe.set_stream(STREAM.0.as_bytes());
        subscribe.set_live(true);
    });
    socket.0.send(Message::binary(wire::message(&head, &[]))).await.unwrap();
    assert!(matches!(socket.told().await, Told::Subscribed { request: 1, .. }));
    assert!(matches!(socket.told().await, Told::CaughtUp { .. }));
    let batch = writer(5, 1).seal(&[event(limits::CONTENT_BYTES_MAX)]).unwrap();
    let publish = wire::message(&wire::publish(2, truth::AckLevel::Accepted), batch.bytes());
    socket.0.send(Message::binary(publish)).await.unwrap();
    let told = socket.told().await;
    assert!(
        matches!(told, Told::Ack { request: 2, ack: Ack { level: AckLevel::Accepted, copies: 1 }, .. }),
        "{told:?}"
    );
    let Told::Deliver { batch: bytes, .. } = socket.told().await else { panic!("no delivery") };
    assert_eq!(bytes, *batch.bytes());
    for bad in [vec![], vec![0; 3], vec![255; 40], wire::message(&[0xa5; 40], &[])] {
        socket.0.send(Message::binary(bad)).await.unwrap();
        let told = socket.told().await;
        assert!(
            matches!(&told, Told::Refused { request: 0, code, .. } if code == "MALFORMED_FRAME"),
            "{told:?}"
        );
    }
    socket.0.send(Message::text("{}")).await.unwrap();
    assert!(matches!(socket.told().await, Told::Refused { request: 0, .. }));
}

#[tokio::test]
async fn t7_a_message_at_the_bound_is_read_and_a_larger_one_ends_the_socket() {
    let node = Node::start().await;
    let mut socket = node.capnp().await;
    let full = wire::message(&wire::publish(2, truth::AckLevel::Stored), &vec![1; limits::BATCH_BYTES_MAX]);
    socket.0.send(Message::binary(full)).await.unwrap();
    assert!(
        matches!(socket.told().await, Told::Refused { request: 2, code, .. } if code == "MALFORMED_BATCH")
    );
    let over = WebSocketConfig::default().message_bytes_max + 1;
    assert!(over > FRAME_BYTES_MAX);
    let _ = socket.0.send(Message::binary(vec![0; over])).await;
    let told = socket.told().await;
    assert!(matches!(&told, Told::Refused { request: 0, code, .. } if code == "MALFORMED_FRAME"), "{told:?}");
}

#[tokio::test]
async fn t12_pages_of_other_origins_and_other_sub_protocols_are_not_let_in() {
    let node = Node::start().await;
    let refused = node.connect("mainstem.json.v1", "", Some("https://evil.example")).await;
    assert!(matches!(refused, Err(Error::Http(response)) if response.status() == 403));
    let refused = node.connect("mqtt", "", None).await;
    assert!(matches!(refused, Err(Error::Http(response)) if response.status() == 400));
    // Without any, it is JSON.
    let mut socket = node.connect("", "", None).await.unwrap();
    assert_eq!(socket.json().await["type"], "hello");
}

#[tokio::test]
async fn t13_a_socket_that_gives_no_sign_of_life_is_closed_and_one_that_pongs_is_not() {
    let sockets = WebSocketConfig { ping_ms: 100, ..WebSocketConfig::default() };
    let node = Node::with(SessionConfig::default(), sockets).await;
    // By hand, so that nothing answers pings.
    let mut dead = TcpStream::connect(node.address).await.unwrap();
    let upgrade = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        node.address
    );
    dead.write_all(upgrade.as_bytes()).await.unwrap();
    let mut alive = node.json().await;
    let living = tokio::spawn(async move {
        // Reading answers pings.
        let ended = timeout(Duration::from_secs(2), alive.0.next()).await;
        assert!(!matches!(ended, Ok(None)), "a living socket was closed");
        while let Ok(Some(Ok(message))) = timeout(Duration::from_secs(1), alive.0.next()).await {
            assert!(message.is_ping(), "{message:?}");
        }
        alive.ask(json!({"type": "ping", "request": 1})).await
    });
    let mut all = Vec::new();
    timeout(Duration::from_secs(5), dead.read_to_end(&mut all)).await.expect("it stays open").unwrap();
    living.abort();
    let gone = async {
        while node.sessions.load(Ordering::Relaxed) > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(5), gone).await.unwrap();
}

#[tokio::test]
async fn t8_a_socket_that_reads_nothing_holds_little_and_loses_its_place_only() {
    let node = Node::start().await;
    let mut stalled = node.json().await;
    stalled.say(json!({"type": "subscribe", "request": 1, "stream": STREAM.to_string()})).await;
    assert_eq!(stalled.json().await["type"], "subscribed");
    let mut publisher = node.capnp().await;
    let mut series = writer(5, 1);
    // Far more than the kernel's buffers and the subscription's queue take.
    for request in 2..302 {
        let batch = series.seal(&[event(60_000)]).unwrap();
        let publish = wire::message(&wire::publish(request, truth::AckLevel::Stored), batch.bytes());
        publisher.0.send(Message::binary(publish)).await.unwrap();
        assert!(matches!(publisher.told().await, Told::Ack { .. }));
    }
    let mut count = 0;
    while count < 300 {
        let told = stalled.json().await;
        if told["type"] == "event" {
            assert_eq!(told["sequence"], count);
            count += 1;
        }
    }
}

#[tokio::test]
async fn sockets_that_end_leave_no_session_behind() {
    let node = Node::start().await;
    for how in 0..2 {
        let mut socket = node.json().await;
        socket.ask(json!({"type": "ping", "request": 1})).await;
        match how {
            0 => {
                socket.0.close(None).await.unwrap();
                while let Some(Ok(_)) = socket.0.next().await {}
            }
            _ => drop(socket),
        }
        let gone = async {
            while node.sessions.load(Ordering::Relaxed) > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(5), gone).await.unwrap_or_else(|_| panic!("way {how}"));
    }
}

#[tokio::test]
async fn too_many_sign_ins_close_the_socket_with_a_code() {
    let session = SessionConfig { sign_ins_max: 1, ..SessionConfig::default() };
    let node = Node::with(session, WebSocketConfig::default()).await;
    let mut socket = node.json().await;
    for request in 1..3 {
        socket
            .say(json!({"type": "signIn", "request": request, "address": Address([1; 20]).to_string(),
                "issuedAt": now_ms(), "signature": format!("0x{}", "01".repeat(65))}))
            .await;
    }
    assert_eq!(code_of(&socket.json().await), (1, "INVALID_SIGN_IN".into()));
    assert_eq!(code_of(&socket.json().await), (0, "LIMIT_REACHED".into()));
    assert_eq!(socket.closed().await, (CloseCode::Policy, "LIMIT_REACHED".into()));
}

#[tokio::test]
async fn batches_that_do_not_fit_the_stream_s_rights_are_refused() {
    let node = Node::start().await;
    let mut socket = node.capnp().await;
    let mut series = SeriesWriter::new(support::NETWORK, at(PRIVATE), Signer::wallet(key(5)), SeriesId(1));
    let batch = series.seal(&[event(1)]).unwrap();
    let publish = wire::message(&wire::publish(2, truth::AckLevel::Stored), batch.bytes());
    socket.0.send(Message::binary(publish)).await.unwrap();
    assert!(
        matches!(socket.told().await, Told::Refused { request: 2, code, .. } if code == "MISSING_PERMISSION")
    );
}
