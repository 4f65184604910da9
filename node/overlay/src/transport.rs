use crate::{
    OverlayError,
    address::ip_of,
    config::Config,
    limiter::Rate,
    muxer::{Limited, Yamux},
    peer::Directory,
};
use libp2p::{
    Multiaddr, PeerId, Transport as _,
    core::{
        muxing::StreamMuxerBox,
        transport::{Boxed, upgrade::Version},
    },
    identity::Keypair,
    multiaddr::Protocol,
    noise, quic, relay, tcp,
};
use std::{
    io,
    net::{TcpListener, UdpSocket},
    sync::Arc,
    time::Duration,
};

/// Whether nobody else listens there.
///
/// libp2p sets `SO_REUSEPORT` on its TCP listeners, so two nodes would get every other connection each, and neither a word.
pub(crate) fn is_free(address: &Multiaddr) -> io::Result<()> {
    let mut parts = address.iter();
    let (ip, port) = (ip_of(address), parts.nth(1));
    match (ip, port) {
        (Some(ip), Some(Protocol::Tcp(port))) if port != 0 => TcpListener::bind((ip, port)).map(drop),
        (Some(ip), Some(Protocol::Udp(port))) if port != 0 => UdpSocket::bind((ip, port)).map(drop),
        _ => Ok(()),
    }
}

/// QUIC; TCP with noise and yamux; and the same over a relay.
pub(crate) fn build(
    config: &Config,
    keypair: &Keypair,
    relayed: relay::client::Transport,
    directory: &Arc<Directory>,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, OverlayError> {
    let rate = Rate { burst: config.substreams_burst_max, per_second: config.substreams_per_second_max };
    let handshake = Duration::from_millis(config.handshake_ms);
    let yamux = Yamux::new(config.yamux_window_bytes, config.substreams_max as usize);
    let noise = noise::Config::new(keypair).map_err(|error| OverlayError::Config(error.to_string()))?;

    let mut quic = quic::Config::new(keypair).mtu_upper_bound(config.udp_payload_bytes_max);
    quic.handshake_timeout = handshake;
    quic.max_idle_timeout = config.idle_ms;
    quic.keep_alive_interval = Duration::from_millis(config.ping_ms);
    quic.max_concurrent_stream_limit = config.substreams_max;
    quic.max_stream_data = config.stream_window_bytes;
    quic.max_connection_data = config.connection_window_bytes;

    let of = directory.clone();
    let quic = quic::tokio::Transport::new(quic)
        .map(move |(peer, muxer), _| (peer, StreamMuxerBox::new(Limited::new(muxer, rate, of.clone()))));
    let of = directory.clone();
    let tcp = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true))
        .upgrade(Version::V1)
        .authenticate(noise.clone())
        .multiplex(yamux.clone())
        .timeout(handshake)
        .map(move |(peer, muxer), _| (peer, StreamMuxerBox::new(Limited::new(muxer, rate, of.clone()))));
    let of = directory.clone();
    let relayed = relayed
        .upgrade(Version::V1)
        .authenticate(noise)
        .multiplex(yamux)
        .timeout(handshake)
        .map(move |(peer, muxer), _| (peer, StreamMuxerBox::new(Limited::new(muxer, rate, of.clone()))));
    // The relay's goes first: it takes what is relayed and leaves the rest.
    Ok(relayed
        .or_transport(quic)
        .map(|either, _| either.into_inner())
        .or_transport(tcp)
        .map(|either, _| either.into_inner())
        .boxed())
}
