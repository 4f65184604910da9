//! The native transport: one QUIC connection is one session.

use crate::{
    BrokerUrl, ClientConfig, ClientError, ErrorKind, Pin, TransportConfig,
    delivery::DeliverySource,
    frame::{self, FrameReader, Told},
    session::{Front, Session},
    tls,
};
use bytes::{Buf, Bytes};
use futures_util::{StreamExt, stream::FuturesUnordered};
use quinn::{
    AckFrequencyConfig, Connection, ConnectionError, Endpoint, EndpointConfig, IdleTimeout,
    MtuDiscoveryConfig, RecvStream, SendStream, VarInt, congestion::CubicConfig,
    crypto::rustls::QuicClientConfig,
};
use rustls_pki_types::CertificateDer;
use std::{
    future::Future,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};
use tokio::time::timeout;

/// What the node calls the protocol in the TLS handshake.
const ALPN: &[u8] = b"mainstem/1";
/// The node's own word for "the connection ends as its client wants".
const CLOSE_DONE: VarInt = VarInt::from_u32(0);
/// TLS alerts about certificates, bad_certificate to access_denied, as QUIC has them (RFC 9001, section 4.8).
const CERTIFICATE_ALERTS: [u64; 7] = [0x12a, 0x12b, 0x12c, 0x12d, 0x12e, 0x130, 0x131];
/// About what a browser's TCP gets after a round trip or two: 32 packets. The node does the same.
const INITIAL_WINDOW_BYTES: u64 = 48 << 10;
/// Pieces taken from a stream at once; each is a packet's worth.
const CHUNKS: usize = 32;

/// A connection and its session stream.
#[derive(Debug)]
pub(crate) struct QuicLink {
    pub(crate) endpoint: Endpoint,
    pub(crate) connection: Connection,
    pub(crate) up: SendStream,
    pub(crate) down: QuicFrames,
    /// What a sign-in to exactly this server is for.
    pub(crate) audience: String,
}

/// Connects to the first address of the broker that answers.
pub(crate) async fn connect(config: &ClientConfig) -> Result<QuicLink, ClientError> {
    let BrokerUrl::Quic { host, port } = &config.broker.url else {
        return Err(ClientError::argument("this is no quic:// address"));
    };
    let tls = tls::client_config(config.broker.pin, ALPN)?;
    let tls = QuicClientConfig::try_from(tls)
        .map_err(|error| ClientError::argument(format!("TLS cannot be set up: {error}")))?;
    let mut client = quinn::ClientConfig::new(Arc::new(tls));
    client.transport_config(Arc::new(transport(&config.transport)));
    let addresses = tokio::net::lookup_host((host.as_str(), *port))
        .await
        .map_err(|error| ClientError::disconnected(format!("{host} has no address: {error}")))?;
    let tries =
        addresses.map(|address| connect_to(address, host, client.clone(), &config.transport)).collect();
    match first_of(tries, config.transport.address_stagger).await {
        Ok(link) => Ok(link),
        Err(error) => {
            Err(error.unwrap_or_else(|| ClientError::disconnected(format!("{host} has no address"))))
        }
    }
}

/// The first that works. One after the other, but the next one begins when those before have neither worked nor failed for
/// a while ("happy eyeballs", RFC 8305): `localhost` is an IPv6 address first, and a node may listen on IPv4 only.
async fn first_of<T>(
    tries: Vec<impl Future<Output = Result<T, ClientError>>>,
    stagger: Duration,
) -> Result<T, Option<ClientError>> {
    let mut tries = tries.into_iter();
    let mut running = FuturesUnordered::new();
    let mut last: Option<ClientError> = None;
    loop {
        let more = tries.next();
        let is_last = more.is_none();
        running.extend(more);
        let wait =
            async { if is_last { std::future::pending().await } else { tokio::time::sleep(stagger).await } };
        tokio::select! {
            done = running.next() => match done {
                Some(Ok(done)) => return Ok(done),
                // IMPORTANT: a broker that is another than expected says more than an address where nobody is.
                Some(Err(error)) if last.as_ref().is_none_or(|last| last.kind == ErrorKind::Disconnected) => {
                    last = Some(error);
                }
                Some(Err(_)) => {}
                None if is_last => return Err(last),
                None => {}
            },
            () = wait => {}
        }
    }
}

async fn connect_to(
    address: SocketAddr,
    host: &str,
    client: quinn::ClientConfig,
    config: &TransportConfig,
) -> Result<QuicLink, ClientError> {
    let endpoint = endpoint(address, config)
        .map_err(|error| ClientError::disconnected(format!("no socket towards {address}: {error}")))?;
    let connecting = endpoint
        .connect_with(client, address, host)
        .map_err(|error| ClientError::argument(format!("{address} cannot be connected to: {error}")))?;
    let connection = connecting.await.map_err(|error| lost(&error))?;
    let (up, down) = connection.open_bi().await.map_err(|error| lost(&error))?;
    let audience = audience(&connection)?;
    Ok(QuicLink { endpoint, connection, up, down: QuicFrames::new(down), audience })
}

/// `quic://` and SHA-256 of the key that the server proved in this handshake.
fn audience(connection: &Connection) -> Result<String, ClientError> {
    let certificates =
        connection.peer_identity().and_then(|it| it.downcast::<Vec<CertificateDer<'_>>>().ok());
    let pin = certificates.as_ref().and_then(|chain| tls::key_pin(chain.first()?).ok());
    let pin = pin.ok_or_else(|| ClientError::protocol("the broker showed no certificate"))?;
    Ok(format!("quic://{}", Pin(pin)))
}

fn transport(config: &TransportConfig) -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(config.udp_payload_bytes_max);
    let mut congestion = CubicConfig::default();
    congestion.initial_window(INITIAL_WINDOW_BYTES);
    transport
        .mtu_discovery_config(Some(mtu))
        .ack_frequency_config(Some(AckFrequencyConfig::default()))
        .congestion_controller_factory(Arc::new(congestion))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(streams_allowed(0, config)))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(config.stream_window_bytes))
        .receive_window(window_allowed(0, config))
        .send_window(config.send_window_bytes)
        .max_idle_timeout(IdleTimeout::try_from(config.idle).ok())
        .keep_alive_interval(Some(config.keep_alive));
    transport
}

/// How many streams the broker may open while so many subscriptions are open here. A quarter is added, as quinn tells
/// smaller raises of the bound late.
fn streams_allowed(open: u32, config: &TransportConfig) -> u32 {
    open.saturating_add(open / 4).saturating_add(config.streams_spare.max(1)).min(config.subscriptions_max)
}

/// What a broker may have on its way here. IMPORTANT: room for every stream's window and the session stream's, as
/// subscriptions that nobody reads must not hold up acks.
fn window_allowed(open: u32, config: &TransportConfig) -> VarInt {
    let streams = u64::from(streams_allowed(open, config)) + 1;
    VarInt::from_u64(streams * u64::from(config.stream_window_bytes)).unwrap_or(VarInt::MAX)
}

/// Lets the broker open streams as subscriptions are opened here, and not more.
pub(crate) async fn allow(session: Arc<Session>, connection: Connection, config: TransportConfig) {
    let mut open = session.open_streams();
    while open.changed().await.is_ok() {
        let count = *open.borrow_and_update();
        connection.set_receive_window(window_allowed(count, &config));
        connection.set_max_concurrent_uni_streams(VarInt::from_u32(streams_allowed(count, &config)));
    }
}

fn endpoint(remote: SocketAddr, config: &TransportConfig) -> io::Result<Endpoint> {
    let local: SocketAddr = match remote {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let mut udp = EndpointConfig::default();
    udp.max_udp_payload_size(65_527).map_err(io::Error::other)?;
    let runtime = quinn::default_runtime().ok_or_else(|| io::Error::other("there is no tokio runtime"))?;
    Endpoint::new(udp, None, socket(local, config.socket_buffer_bytes)?, runtime)
}

/// A socket with buffers that hold a burst; the system may give less.
fn socket(local: SocketAddr, bytes: usize) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(local),
        socket2::Type::DGRAM,
        Some(socket2::Protocol::UDP),
    )?;
    let buffers = socket.set_recv_buffer_size(bytes).and_then(|()| socket.set_send_buffer_size(bytes));
    if let Err(error) = buffers {
        tracing::debug!(%error, bytes, "the socket's buffers stay small");
    }
    socket.set_nonblocking(true)?;
    socket.bind(&local.into())?;
    Ok(socket.into())
}

/// What the end of a connection means. A broker that closes says why, `CODE: sentence`.
pub(crate) fn lost(error: &ConnectionError) -> ClientError {
    if let ConnectionError::ApplicationClosed(close) = error {
        let reason = String::from_utf8_lossy(&close.reason);
        return match reason.split_once(": ") {
            Some((code, message)) => frame::told_error(code, message),
            None => ClientError::disconnected("the broker closed the connection"),
        };
    }
    if let ConnectionError::TransportError(error) = error
        && CERTIFICATE_ALERTS.contains(&u64::from(error.code))
    {
        return ClientError::new(
            ErrorKind::InvalidSignIn,
            "the broker's certificate is not the one that is trusted: check pin or name",
        );
    }
    ClientError::disconnected(format!("the connection was lost: {error}"))
}

/// Frames of one stream.
#[derive(Debug)]
pub(crate) struct QuicFrames {
    stream: RecvStream,
    reader: FrameReader,
    chunks: [Bytes; CHUNKS],
    /// Chunks `at..filled` are still to be read.
    at: usize,
    filled: usize,
}

impl QuicFrames {
    pub(crate) fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            reader: FrameReader::default(),
            chunks: [const { Bytes::new() }; CHUNKS],
            at: 0,
            filled: 0,
        }
    }

    /// The next frame; `None` where the stream ends. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Told>, ClientError> {
        loop {
            if let Some(told) = self.next_ready()? {
                return Ok(Some(told));
            }
            match self.stream.read_chunks(&mut self.chunks).await {
                Ok(Some(count)) => (self.at, self.filled) = (0, count),
                Ok(None) => return Ok(None),
                Err(error) => return Err(ClientError::disconnected(format!("a stream was lost: {error}"))),
            }
        }
    }

    /// The next frame if it has arrived already.
    pub(crate) fn next_ready(&mut self) -> Result<Option<Told>, ClientError> {
        while self.at < self.filled {
            let chunk = &mut self.chunks[self.at];
            let mut rest = &chunk[..];
            let told = self.reader.read(&mut rest)?;
            let read = chunk.len() - rest.len();
            chunk.advance(read);
            if chunk.is_empty() {
                *chunk = Bytes::new();
                self.at += 1;
            }
            if told.is_some() {
                return Ok(told);
            }
        }
        Ok(None)
    }
}

/// Writes what the session has to say until it ends.
pub(crate) async fn write(session: Arc<Session>, mut front: Front, mut up: SendStream) {
    let mut chunks = Vec::new();
    while front.take(&session, &mut chunks).await {
        if let Err(error) = up.write_all_chunks(&mut chunks).await {
            return session.fail(ClientError::disconnected(format!("the session stream was lost: {error}")));
        }
        chunks.clear();
    }
}

/// Reads answers until the session ends.
pub(crate) async fn read(session: Arc<Session>, mut down: QuicFrames) {
    loop {
        match down.next().await {
            Ok(Some(told)) => session.take(told),
            Ok(None) => return session.fail(ClientError::disconnected("the broker ended the session")),
            Err(error) => return session.fail(error),
        }
    }
}

/// Takes in the streams of subscriptions, each as it says its first word.
pub(crate) async fn accept(session: Arc<Session>, connection: Connection) {
    loop {
        match connection.accept_uni().await {
            Ok(stream) => {
                let session = session.clone();
                tokio::spawn(async move {
                    let mut frames = QuicFrames::new(stream);
                    let first = timeout(session.request_timeout(), frames.next()).await;
                    match first.unwrap_or_else(|_| Err(ClientError::disconnected("it said nothing"))) {
                        Ok(Some(first)) => match subscription_of(&first) {
                            Some(subscription) => {
                                session.arrived(subscription, DeliverySource::quic(frames, first));
                            }
                            None => session.fail(ClientError::protocol(
                                "the broker opened a stream that is of no subscription",
                            )),
                        },
                        // Whose it was nobody knows: whoever waits for one asks again.
                        Ok(None) => session.stream_lost(),
                        Err(error) => {
                            tracing::debug!(%error, "a subscription's stream was lost");
                            session.stream_lost();
                        }
                    }
                });
            }
            Err(error) => return session.fail(lost(&error)),
        }
    }
}

/// Ends a connection as its client wants.
pub(crate) fn close(connection: &Connection) {
    connection.close(CLOSE_DONE, b"");
}

/// Waits until the broker knows, or for `limit`.
pub(crate) async fn closed(endpoint: &Endpoint, limit: Duration) {
    // Who does not answer hears of it by silence.
    let _ = timeout(limit, endpoint.wait_idle()).await;
}

pub(crate) const fn subscription_of(told: &Told) -> Option<u32> {
    match told {
        Told::Deliver { subscription, .. }
        | Told::CaughtUp { subscription, .. }
        | Told::Ended { subscription, .. } => Some(*subscription),
        Told::Hello(_)
        | Told::SignedIn { .. }
        | Told::Ack { .. }
        | Told::Subscribed { .. }
        | Told::Refused { .. }
        | Told::Unsubscribed { .. }
        | Told::Pong { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::pending, pin::Pin};

    type Try = Pin<Box<dyn Future<Output = Result<u8, ClientError>>>>;

    #[tokio::test]
    async fn an_address_that_says_nothing_does_not_hold_up_the_next() {
        let tries: Vec<Try> = vec![Box::pin(pending()), Box::pin(async { Ok(2) })];
        assert_eq!(first_of(tries, Duration::from_millis(1)).await.unwrap(), 2);
        let failed = || ClientError::disconnected("nobody");
        let tries: Vec<Try> = vec![Box::pin(async move { Err(failed()) }), Box::pin(async { Ok(2) })];
        assert_eq!(first_of(tries, Duration::from_secs(3600)).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn of_many_failures_the_telling_one_is_told() {
        let pin = || ClientError::new(ErrorKind::InvalidSignIn, "another key");
        let nobody = || ClientError::disconnected("nobody");
        for wrong in [[pin(), nobody()], [nobody(), pin()]] {
            let tries: Vec<Try> =
                wrong.into_iter().map(|error| Box::pin(async { Err(error) }) as Try).collect();
            assert_eq!(first_of(tries, Duration::ZERO).await.unwrap_err(), Some(pin()));
        }
        assert_eq!(first_of(Vec::<Try>::new(), Duration::ZERO).await.unwrap_err(), None);
    }

    #[test]
    fn a_broker_may_open_only_a_few_streams_more_than_were_asked_for() {
        let config = TransportConfig::default();
        let bytes = |open| window_allowed(open, &config).into_inner();
        assert_eq!(streams_allowed(0, &config), 16);
        assert_eq!(bytes(0), 17 * (4 << 20));
        for open in 0..=1000 {
            assert!(streams_allowed(open, &config) > open && streams_allowed(open, &config) <= 1024);
            assert!(bytes(open) > u64::from(open) * (4 << 20));
        }
    }
}
