//! Who the broker is, and who the client is.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    reason = "a test that cannot go on panics, and prints its seed"
)]

mod support;

use bytes::BytesMut;
use mainstem_api::frame::{FrameReader, Hello, ServerFrame, put_front};
use mainstem_client::{Client, ErrorKind, Pin};
use mainstem_crypto::sha256;
use mainstem_model::Address;
use quinn::{Endpoint, ServerConfig, VarInt};
use rustls_pki_types::PrivatePkcs8KeyDer;
use std::{net::SocketAddr, time::Duration};
use support::{Broker, NETWORK, NODE, config, connect, soon};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

#[tokio::test]
async fn another_key_than_the_pinned_one_is_refused() {
    let broker = Broker::start().await;
    let mut config = config(&broker, 1);
    let mut pin = broker.pin;
    pin[31] ^= 1;
    config.broker = config.broker.pinned(Pin(pin));
    let error = Client::connect(config).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidSignIn, "{error}");
}

#[tokio::test]
async fn without_a_pin_the_system_must_vouch_for_the_broker() {
    let broker = Broker::start().await;
    let mut config = config(&broker, 1);
    config.broker.pin = None;
    let error = Client::connect(config).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidSignIn, "{error}");
}

#[tokio::test]
async fn another_node_or_network_is_refused_before_anything_is_signed() {
    let broker = Broker::start().await;
    let mut other = config(&broker, 1);
    other.broker = other.broker.of_node(Address([8; 20]));
    assert_eq!(Client::connect(other).await.unwrap_err().kind, ErrorKind::InvalidSignIn);
    let mut other = config(&broker, 1);
    other.network.chain_id += 1;
    assert_eq!(Client::connect(other).await.unwrap_err().kind, ErrorKind::WrongNetwork);
}

/// A broker with a key of its own that passes on the hello of another one; counts the frames that it is sent.
fn relay(hello: Hello) -> (SocketAddr, Pin, JoinHandle<usize>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["relay".into()]).unwrap().self_signed(&key).unwrap();
    let private = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let mut tls =
        rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
    tls.alpn_protocols = vec![mainstem_api::ALPN.to_vec()];
    let tls = quinn::crypto::rustls::QuicServerConfig::try_from(tls).unwrap();
    let server = ServerConfig::with_crypto(std::sync::Arc::new(tls));
    let endpoint = Endpoint::server(server, SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = endpoint.local_addr().unwrap();
    let told = tokio::spawn(async move {
        let connection = endpoint.accept().await.unwrap().await.unwrap();
        let (mut down, mut up) = connection.accept_bi().await.unwrap();
        let mut front = BytesMut::new();
        put_front(&ServerFrame::Hello(hello), &mut front);
        down.write_all(&front).await.unwrap();
        let (mut reader, mut frames) = (FrameReader::default(), 0);
        while let Ok(Some(chunk)) = up.read_chunk(1 << 16, true).await {
            let mut rest = &chunk.bytes[..];
            while reader.read(&mut rest).unwrap().is_some() {
                frames += 1;
                if frames == 2 {
                    connection.close(VarInt::from_u32(0), b"");
                }
            }
        }
        frames
    });
    (address, Pin(sha256(certificate.der())), told)
}

#[tokio::test]
async fn a_broker_that_passes_another_ones_hello_on_gets_no_signature() {
    let victims = Broker::start().await;
    let audience = format!("quic://{}", Pin(victims.pin));
    let hello = Hello { node: NODE, nonce: [7; 16], network: NETWORK.id(), audience, now: support::now_ms() };
    let (address, pin, told) = relay(hello);
    let mut config = config(&victims, 1);
    config.broker = format!("quic://{address}").parse().unwrap();
    config.broker.pin = Some(pin);
    let error = soon(Client::connect(config)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidSignIn, "{error}");
    assert_eq!(soon(told).await.unwrap(), 1, "it was sent more than the first ping");
}

#[tokio::test]
async fn a_web_socket_that_leads_to_a_broker_of_another_name_gets_no_signature() {
    let broker = Broker::start().await;
    let between = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (asked, real) = (between.local_addr().unwrap().to_string(), broker.http.to_string());
    let mut config = config(&broker, 1);
    config.broker = format!("ws://{asked}").parse().unwrap();
    tokio::spawn(async move {
        let (mut client, _) = between.accept().await.unwrap();
        let mut server = TcpStream::connect(&real).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().replace(&asked, &real);
        server.write_all(head.as_bytes()).await.unwrap();
        let _ = copy_bidirectional(&mut client, &mut server).await;
    });
    let error = soon(Client::connect(config)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidSignIn, "{error}");
    assert!(error.to_string().contains("nothing was signed"), "{error}");
}

#[tokio::test]
async fn nobody_there_is_told_in_time() {
    let broker = Broker::start().await;
    let mut config = config(&broker, 1);
    config.broker = "quic://127.0.0.1:1".parse().unwrap();
    config.transport.connect_timeout = Duration::from_millis(300);
    let error = Client::connect(config.clone()).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Timeout | ErrorKind::Disconnected), "{error}");
    config.broker = "ws://127.0.0.1:1".parse().unwrap();
    assert_eq!(Client::connect(config.clone()).await.unwrap_err().kind, ErrorKind::Disconnected);
    config.broker = "quic://no.such.host.invalid".parse().unwrap();
    config.transport.connect_timeout = Duration::from_secs(20);
    assert_eq!(Client::connect(config).await.unwrap_err().kind, ErrorKind::Disconnected);
}

#[tokio::test]
async fn the_client_knows_whom_it_talks_to() {
    let broker = Broker::start().await;
    let client = connect(&broker, 1).await;
    assert_eq!(client.node(), NODE);
    assert_eq!(client.address(), Some(support::key(1).address()));
    assert_eq!(*client.network(), NETWORK);
}
