use super::{
    broker::Broker,
    wire::{self, Told},
};
use bytes::Bytes;
use mainstem_api::{ALPN, frame::FrameReader};
use mainstem_crypto::sha256;
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, RecvStream,
    SendStream, TransportConfig, VarInt, crypto::rustls::QuicClientConfig,
};
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::{collections::VecDeque, net::UdpSocket, sync::Arc, time::Duration};

/// A native client, frame by frame.
pub struct Client {
    pub endpoint: Endpoint,
    pub connection: Connection,
    pub up: SendStream,
    pub down: FrameStream,
}

/// Frames of one stream.
pub struct FrameStream {
    stream: RecvStream,
    reader: FrameReader,
    read: VecDeque<Told>,
}

impl FrameStream {
    pub fn new(stream: RecvStream) -> Self {
        Self { stream, reader: FrameReader::default(), read: VecDeque::new() }
    }

    /// The next frame, or `None` at the stream's end.
    pub async fn next(&mut self) -> Option<Told> {
        while self.read.is_empty() {
            let chunk = self.stream.read_chunk(1 << 20, true).await.ok()??;
            let mut rest = &chunk.bytes[..];
            while let Some(frame) = self.reader.read(&mut rest).unwrap() {
                self.read.push_back(wire::read(frame));
            }
        }
        self.read.pop_front()
    }

    pub async fn expect(&mut self) -> Told {
        tokio::time::timeout(Duration::from_secs(10), self.next())
            .await
            .expect("nothing came")
            .expect("ended")
    }
}

impl Client {
    pub async fn connect(broker: &Broker) -> Self {
        Self::try_connect(broker, transport()).await.unwrap()
    }

    pub async fn try_connect(
        broker: &Broker,
        transport: TransportConfig,
    ) -> Result<Self, quinn::ConnectionError> {
        let endpoint = endpoint(broker.pin, transport);
        let connection = endpoint.connect(broker.address, "mainstem").unwrap().await?;
        let (up, down) = connection.open_bi().await?;
        Ok(Self { endpoint, connection, up, down: FrameStream::new(down) })
    }

    /// Connects and has the hello.
    pub async fn greeted(broker: &Broker) -> (Self, mainstem_api::frame::Hello) {
        let mut client = Self::connect(broker).await;
        client.send(&wire::ping(1), &[]).await;
        let Told::Hello(hello) = client.down.expect().await else { panic!("no hello") };
        assert_eq!(client.down.expect().await, Told::Pong(1));
        (client, hello)
    }

    pub async fn send(&mut self, head: &[u8], body: &[u8]) {
        self.send_raw(wire::framed(head, body)).await;
    }

    pub async fn send_raw(&mut self, bytes: Vec<u8>) {
        self.up.write_chunk(Bytes::from(bytes)).await.unwrap();
    }

    pub async fn told(&mut self) -> Told {
        self.down.expect().await
    }

    /// The next subscription's stream.
    pub async fn deliveries(&self) -> FrameStream {
        FrameStream::new(self.connection.accept_uni().await.unwrap())
    }

    /// Why the broker closed the connection.
    pub async fn closed(&self) -> (u64, String) {
        let closed = tokio::time::timeout(Duration::from_secs(20), self.connection.closed()).await.unwrap();
        let quinn::ConnectionError::ApplicationClosed(close) = closed else { panic!("{closed}") };
        (close.error_code.into_inner(), String::from_utf8(close.reason.to_vec()).unwrap())
    }
}

pub fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(6_500);
    transport
        .mtu_discovery_config(Some(mtu))
        .ack_frequency_config(Some(quinn::AckFrequencyConfig::default()))
        .max_concurrent_uni_streams(VarInt::from_u32(1024))
        .stream_receive_window(VarInt::from_u32(2 << 20))
        .receive_window(VarInt::from_u32(8 << 20))
        .send_window(4 << 20)
        .max_idle_timeout(Some(IdleTimeout::try_from(Duration::from_secs(30)).unwrap()));
    transport
}

pub fn endpoint(pin: [u8; 32], transport: TransportConfig) -> Endpoint {
    endpoint_with(pin, transport, b"mainstem/1")
}

pub fn endpoint_with(pin: [u8; 32], transport: TransportConfig, alpn: &[u8]) -> Endpoint {
    assert_eq!(ALPN, b"mainstem/1");
    let provider = Arc::new(ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { pin, provider }))
        .with_no_client_auth();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    config.transport_config(Arc::new(transport));
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    socket.set_recv_buffer_size(4 << 20).unwrap();
    socket.set_send_buffer_size(4 << 20).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut endpoint = EndpointConfig::default();
    endpoint.max_udp_payload_size(65527).unwrap();
    let mut endpoint =
        Endpoint::new(endpoint, None, UdpSocket::from(socket), Arc::new(quinn::TokioRuntime)).unwrap();
    endpoint.set_default_client_config(config);
    endpoint
}

/// Trusts one key.
#[derive(Debug)]
struct Pinned {
    pin: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        if sha256(&certificate.subject_public_key_info()) == self.pin {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
