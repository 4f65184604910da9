use crate::{ApiError, QuicConfig, TlsIdentity, config::ms};
use mainstem_crypto::Address;
use quinn::{
    AckFrequencyConfig, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, IdleTimeout,
    MtuDiscoveryConfig, ServerConfig, TransportConfig, VarInt, congestion::CubicConfig,
    crypto::rustls::QuicServerConfig,
};
use socket2::{Domain, Protocol, Socket, Type};
use std::{io, net::UdpSocket, sync::Arc, time::Duration};

/// Opens the socket and puts QUIC on it.
pub(super) fn endpoint(
    config: &QuicConfig,
    identity: &TlsIdentity,
    node: Address,
) -> Result<Endpoint, ApiError> {
    let tls = |reason: String| ApiError::Tls { what: "key", reason };
    let crypto =
        QuicServerConfig::try_from(identity.server_config()?).map_err(|error| tls(error.to_string()))?;
    let mut server = ServerConfig::with_crypto(Arc::new(crypto));
    server.transport_config(Arc::new(transport(config)));
    server.max_incoming(256).incoming_buffer_size(64 << 10).incoming_buffer_size_total(4 << 20);
    // A client hears of a crash with the first packet that it sends afterwards, and not when it has waited in vain.
    let mut endpoint = EndpointConfig::new(Arc::new(identity.reset_key(node)));
    endpoint.cid_generator(|| Box::new(RandomIds));
    // In range by the clamp.
    endpoint.max_udp_payload_size(payload_max(config)).map_err(|error| tls(error.to_string()))?;
    socket(config)
        .and_then(|socket| Endpoint::new(endpoint, Some(server), socket, Arc::new(quinn::TokioRuntime)))
        .map_err(|source| ApiError::Listen { address: config.listen, source })
}

fn transport(config: &QuicConfig) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(payload_max(config));
    let mut congestion = CubicConfig::default();
    congestion.initial_window(INITIAL_WINDOW_BYTES);
    transport
        .mtu_discovery_config(Some(mtu))
        .ack_frequency_config(Some(AckFrequencyConfig::default()))
        .congestion_controller_factory(Arc::new(congestion))
        // The session stream.
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(config.receive_window_bytes))
        .receive_window(VarInt::from_u32(config.receive_window_bytes))
        .send_window(u64::from(config.send_window_bytes))
        .max_idle_timeout(IdleTimeout::try_from(ms(config.idle_ms)).ok())
        .keep_alive_interval(Some(ms(config.keep_alive_ms)));
    transport
}

/// Connection ids of which a later process takes any for one of an earlier: those that quinn makes by itself are passed over
/// by every other endpoint without a word.
struct RandomIds;

impl RandomIds {
    const BYTES: usize = 8;
}

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&rand::random::<[u8; Self::BYTES]>())
    }

    fn cid_len(&self) -> usize {
        Self::BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

fn payload_max(config: &QuicConfig) -> u16 {
    // 10 packets in one call of the kernel: see the field.
    config.udp_payload_bytes_max.clamp(1200, 6_500)
}

/// About what a browser's TCP gets after a round trip or two: 32 packets.
const INITIAL_WINDOW_BYTES: u64 = 48 << 10;

fn socket(config: &QuicConfig) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(config.listen), Type::DGRAM, Some(Protocol::UDP))?;
    // The system may give less; then bursts are lost and sent again.
    let size = config.socket_buffer_bytes as usize;
    let buffers = socket.set_recv_buffer_size(size).and_then(|()| socket.set_send_buffer_size(size));
    if let Err(error) = buffers {
        tracing::warn!(%error, size, "the socket's buffers stay small");
    }
    socket.set_nonblocking(true)?;
    socket.bind(&config.listen.into())?;
    Ok(socket.into())
}
