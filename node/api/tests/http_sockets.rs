//! Streamr's sockets, and the listener's own bounds, over real connections.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails loudly and skips what it does not ask about"
)]

mod http_support;

use futures_util::{SinkExt, StreamExt};
use http_support::{ALICE_KEY, CLOSED, OPEN, Rig, alice, json_event, now_ms};
use mainstem_api::{HttpConfig, PublisherConfig, http};
use mainstem_model::{AckLevel, Partition, PartitionKey};
use mainstem_protocol::Config;
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message},
};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

struct Server {
    rig: Rig,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    served: tokio::task::JoinHandle<()>,
}

async fn serve(config: HttpConfig) -> Server {
    let rig = Rig::with(config.clone(), Config::default(), PublisherConfig::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let router = rig.router.clone();
    let served = tokio::spawn(async move {
        http::serve(listener, router, &config, stopped, Duration::from_secs(5)).await;
    });
    Server { rig, address, stop, served }
}

impl Server {
    async fn open(&self, path: &str) -> Socket {
        connect_async(format!("ws://{}{path}", self.address)).await.unwrap().0
    }

    /// Status of an upgrade that is refused.
    async fn refused(&self, path: &str) -> u16 {
        match connect_async(format!("ws://{}{path}", self.address)).await {
            Err(Error::Http(response)) => response.status().as_u16(),
            other => panic!("{path}: {other:?}"),
        }
    }
}

async fn told(socket: &mut Socket) -> Value {
    loop {
        match timeout(Duration::from_secs(10), socket.next()).await.unwrap().unwrap().unwrap() {
            Message::Text(text) => {
                return serde_json::from_str(&text).unwrap_or(Value::String(text.to_string()));
            }
            Message::Close(frame) => panic!("closed: {frame:?}"),
            _ => {}
        }
    }
}

fn key() -> String {
    ALICE_KEY.to_owned()
}

#[tokio::test]
async fn a_subscribing_socket_tells_one_json_message_for_each_event() {
    let server = serve(HttpConfig::default()).await;
    let mut socket = server.open(&format!("/streams/{OPEN}/subscribe?partitions=0,2")).await;
    socket.send(Message::text("ping")).await.unwrap();
    assert_eq!(told(&mut socket).await, "pong");
    for (partition, n) in [(0, 1), (1, 2), (2, 3)] {
        let at = OPEN.partition(Partition::try_from(partition).unwrap());
        let events = vec![json_event(now_ms(), n), json_event(now_ms(), 10 + n)];
        server.rig.publisher.publish(alice(), at, events, AckLevel::Stored).await.unwrap();
    }
    for n in [1, 11, 3, 13] {
        assert_eq!(told(&mut socket).await, json!({"n": n}));
    }
}

#[tokio::test]
async fn with_payload_metadata_content_is_wrapped_both_ways() {
    let server = serve(HttpConfig { payload_metadata: true, ..HttpConfig::default() }).await;
    let mut reader = server.open(&format!("/streams/{OPEN}/subscribe?partitions=1")).await;
    reader.send(Message::text("ping")).await.unwrap();
    assert_eq!(told(&mut reader).await, "pong");
    let mut writer = server.open(&format!("/streams/{OPEN}/publish?partition=1&apiKey={}", key())).await;
    let timestamp = now_ms() - 5000;
    let message = json!({"content": {"a": 1.5}, "metadata": {"timestamp": timestamp, "sequenceNumber": 7}});
    writer.send(Message::text(message.to_string())).await.unwrap();
    let message = told(&mut reader).await;
    assert_eq!(message["content"], json!({"a": 1.5}));
    assert_eq!(message["metadata"]["timestamp"], timestamp);
    assert_eq!(message["metadata"]["sequenceNumber"], 0);
    assert_eq!(message["metadata"]["publisherId"], alice().to_string());
    assert_eq!(message["metadata"]["msgChainId"].as_str().unwrap().len(), 16);
}

#[tokio::test]
async fn a_publishing_socket_says_what_was_refused_and_goes_on() {
    let server = serve(HttpConfig::default()).await;
    let path = format!("/streams/{OPEN}/publish?partitionKeyField=city&apiKey={}", key());
    let mut socket = server.open(&path).await;
    let check = async |socket: &mut Socket, text: &str, code: &str| {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(told(socket).await["code"], code, "{text}");
    };
    check(&mut socket, "{", "MALFORMED_FRAME").await;
    check(&mut socket, "[]", "INVALID_ARGUMENT").await;
    check(&mut socket, r#"{"town": 1}"#, "INVALID_ARGUMENT").await;
    socket.send(Message::text("ping")).await.unwrap();
    assert_eq!(told(&mut socket).await, "pong");
    for n in 0..100 {
        socket.send(Message::text(json!({"city": "Turku", "n": n}).to_string())).await.unwrap();
    }
    let partition = Partition::of_key(&PartitionKey::Text("Turku".into()), 3).number();
    let path = format!("/streams/{OPEN}/data/partitions/{partition}/last?count=200");
    let events = timeout(Duration::from_secs(10), async {
        loop {
            let events = server.rig.get(&path).await.json();
            if events.as_array().unwrap().len() == 100 {
                return events;
            }
            tokio::task::yield_now().await;
        }
    });
    for (n, event) in events.await.unwrap().as_array().unwrap().iter().enumerate() {
        assert_eq!(event["content"]["n"], n, "in order");
    }
}

#[tokio::test]
async fn upgrades_are_refused_with_streamrs_statuses() {
    let server = serve(HttpConfig::default()).await;
    assert_eq!(server.refused(&format!("/streams/{OPEN}/subscribe?partitions=x")).await, 400);
    assert_eq!(server.refused(&format!("/streams/{OPEN}/subscribe?partitions=3")).await, 400);
    assert_eq!(server.refused(&format!("/streams/{OPEN}/subscribe?colour=red")).await, 400);
    assert_eq!(server.refused(&format!("/streams/{OPEN}/publish")).await, 401);
    assert_eq!(server.refused(&format!("/streams/{OPEN}/publish?apiKey=wrong")).await, 403);
    assert_eq!(server.refused(&format!("/streams/{CLOSED}/subscribe")).await, 403);
    let both = format!("/streams/{OPEN}/publish?partition=0&partitionKey=x&apiKey={}", key());
    assert_eq!(server.refused(&both).await, 400);
}

#[tokio::test]
async fn a_silent_socket_is_pinged_and_then_closed() {
    let server = serve(HttpConfig { ping_interval_ms: 50, ..HttpConfig::default() }).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!(
        "GET /streams/{OPEN}/subscribe HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.starts_with("HTTP/1.1 101"), "{text}");
    assert!(bytes.ends_with(&[0x89, 0x00]), "a ping, unanswered");
}

/// Writes and reads to the end of the connection.
async fn talk(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    // A reset after the answer is an end too.
    let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes)).await.unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn t13_slow_headers_and_slow_bodies_are_cut_off() {
    let config = HttpConfig { header_timeout_ms: 100, body_timeout_ms: 100, ..HttpConfig::default() };
    let server = serve(config).await;
    let answer = talk(server.address, "GET /info HTTP/1.1\r\nhost: localhost\r\n").await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    let request = format!(
        "POST /streams/{OPEN}/batches HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/octet-stream\r\ncontent-length: 10\r\n\r\nabc"
    );
    let answer = talk(server.address, &request).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("LIMIT_REACHED"), "{answer}");
}

#[tokio::test]
async fn t13_large_headers_are_refused() {
    let server = serve(HttpConfig { header_bytes_max: 8 << 10, ..HttpConfig::default() }).await;
    let request = |length: usize| {
        format!(
            "GET /info HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx: {}\r\n\r\n",
            "y".repeat(length)
        )
    };
    assert!(talk(server.address, &request(4 << 10)).await.starts_with("HTTP/1.1 200"));
    assert!(talk(server.address, &request(9 << 10)).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn a_connection_too_many_waits_for_its_turn() {
    let server = serve(HttpConfig { connections_max: 1, ..HttpConfig::default() }).await;
    let socket = server.open(&format!("/streams/{OPEN}/subscribe")).await;
    let request = "GET /info HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let mut waiting = tokio::spawn(talk(server.address, request));
    assert!(timeout(Duration::from_millis(100), &mut waiting).await.is_err(), "a WebSocket holds its place");
    drop(socket);
    assert!(waiting.await.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_listener_that_stops_ends_its_connections() {
    let server = serve(HttpConfig::default()).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /info HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    server.stop.send(true).unwrap();
    timeout(Duration::from_secs(3), server.served).await.expect("it drains").unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_shutdown_closes_every_kind_of_socket_with_1001_and_its_code() {
    let server = serve(HttpConfig::default()).await;
    let mut sockets = vec![
        server.open("/ws").await,
        server.open(&format!("/streams/{OPEN}/subscribe")).await,
        server.open(&format!("/streams/{OPEN}/publish?apiKey={}", key())).await,
    ];
    server.stop.send_replace(true);
    for socket in &mut sockets {
        let close = loop {
            let message = timeout(Duration::from_secs(10), socket.next()).await.unwrap().unwrap().unwrap();
            if let Message::Close(close) = message {
                break close.unwrap();
            }
        };
        assert_eq!((u16::from(close.code), close.reason.as_str()), (1001, "SHUTTING_DOWN"));
        while let Ok(Some(Ok(_))) = timeout(Duration::from_secs(10), socket.next()).await {}
    }
    timeout(Duration::from_secs(4), server.served).await.expect("it waited out its drain").unwrap();
}

#[tokio::test]
async fn t13_an_answer_that_is_not_read_keeps_its_place_only_for_a_while() {
    let config = HttpConfig { requests_max: 1, write_timeout_ms: 500, ..HttpConfig::default() };
    let server = serve(config).await;
    // More than the kernel's buffers take.
    let mut series = http_support::writer(1);
    for _ in 0..16 {
        let event = mainstem_model::NewEvent::binary(now_ms(), vec![1; 1_000_000].into());
        let batch = series.seal(&[event]).unwrap();
        let path = format!("/streams/{OPEN}/batches");
        let answer = server.rig.post(&path, "application/octet-stream", batch.bytes().clone()).await;
        assert!(answer.status.is_success(), "{answer:?}");
    }
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stalled = socket.connect(server.address).await.unwrap();
    let ask = format!("GET /streams/{OPEN}/history HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stalled.write_all(ask.as_bytes()).await.unwrap();
    stalled.readable().await.unwrap();
    assert_eq!(server.rig.get("/info").await.error().1, "OVERLOADED", "the place was given up too early");
    let freed = async {
        while server.rig.get("/info").await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), freed).await.expect("the place is never given up");
    let mut rest = Vec::new();
    let ended = timeout(Duration::from_secs(10), stalled.read_to_end(&mut rest)).await.unwrap();
    assert!(ended.is_err() || rest.len() < 16_000_000, "it got everything");
}

#[tokio::test]
async fn t13_one_address_has_its_share_of_connections_and_no_more() {
    let server = serve(HttpConfig { connections_per_address_max: 2, ..HttpConfig::default() }).await;
    let ask = async || {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream
            .write_all(b"GET /info HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = Vec::new();
        timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        String::from_utf8(answer).unwrap()
    };
    let mut open = vec![server.open("/ws").await, server.open("/ws").await];
    let refused = ask().await;
    assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains("LIMIT_REACHED"), "{refused}");
    drop(open.pop());
    let freed = async {
        while !ask().await.starts_with("HTTP/1.1 200 ") {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), freed).await.expect("the share is not given back");
}
