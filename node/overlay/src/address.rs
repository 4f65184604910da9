use crate::OverlayError;
use libp2p::{
    Multiaddr, PeerId,
    identity::{Keypair, PublicKey, secp256k1},
    multiaddr::Protocol,
};
use mainstem_crypto::{Address, SecretKey};
use serde::{Deserialize, Serialize};
use std::{fmt, net::IpAddr, str::FromStr};

/// Where a broker can be reached: a multiaddress of QUIC or TCP, direct or through a relay, with or without the peer id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PeerAddress(pub(crate) Multiaddr);

impl PeerAddress {
    /// Whether it is this node's own, not a relay's, and its port is 0, which nobody can dial.
    pub fn has_port_zero(&self) -> bool {
        matches!(self.0.iter().nth(1), Some(Protocol::Udp(0) | Protocol::Tcp(0))) && !is_relayed(&self.0)
    }

    /// The same with the port of the first of these addresses that is of its transport and IP version; a name that is not of one version
    /// takes any. None if none is.
    pub fn with_port_of(&self, others: &[Self]) -> Option<Self> {
        let alike = |own: &Protocol<'_>, other: &Protocol<'_>| {
            use Protocol::{Dns, Dns4, Dns6, Ip4, Ip6, Tcp, Udp};
            matches!(
                (own, other),
                (Ip4(_) | Dns4(_) | Dns(_), Ip4(_))
                    | (Ip6(_) | Dns6(_) | Dns(_), Ip6(_))
                    | (Udp(_), Udp(_))
                    | (Tcp(_), Tcp(_))
            )
        };
        let is_alike =
            |other: &&Self| self.0.iter().zip(&other.0).take(2).all(|(own, other)| alike(&own, &other));
        let port = others.iter().filter(|other| !is_relayed(&other.0)).find(is_alike)?.0.iter().nth(1)?;
        Some(Self(self.0.replace(1, |_| Some(port.acquire()))?))
    }
}

impl FromStr for PeerAddress {
    type Err = OverlayError;

    fn from_str(text: &str) -> Result<Self, OverlayError> {
        let wrong = || OverlayError::PeerAddress(text.chars().take(256).collect());
        let address: Multiaddr = text.parse().map_err(|_| wrong())?;
        dialable(&address).then_some(Self(address)).ok_or_else(wrong)
    }
}

impl TryFrom<String> for PeerAddress {
    type Error = OverlayError;

    fn try_from(text: String) -> Result<Self, OverlayError> {
        text.parse()
    }
}

impl From<PeerAddress> for String {
    fn from(address: PeerAddress) -> Self {
        address.0.to_string()
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether one of our transports knows what to do with it.
pub(crate) fn dialable(address: &Multiaddr) -> bool {
    let mut parts = address.iter();
    let host = matches!(
        parts.next(),
        Some(Protocol::Ip4(_) | Protocol::Ip6(_) | Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_))
    );
    let port = match parts.next() {
        Some(Protocol::Tcp(_)) => true,
        Some(Protocol::Udp(_)) => matches!(parts.next(), Some(Protocol::QuicV1)),
        _ => false,
    };
    let rest: Vec<_> = parts.collect();
    let relayed = |rest: &[Protocol<'_>]| {
        matches!(
            rest,
            [Protocol::P2p(_), Protocol::P2pCircuit]
                | [Protocol::P2p(_), Protocol::P2pCircuit, Protocol::P2p(_)]
        )
    };
    host && port && (matches!(rest.as_slice(), [] | [Protocol::P2p(_)]) || relayed(&rest))
}

/// Whether the way is through a relay.
pub(crate) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// Whether the way is QUIC.
pub(crate) fn is_quic(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::QuicV1)
}

/// The peer id at the end of an address, if it has one.
pub(crate) fn peer_id_in(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        _ => None,
    }
}

/// The IP address that an address begins with.
pub(crate) fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => Some(ip.into()),
        Some(Protocol::Ip6(ip)) => Some(ip.into()),
        _ => None,
    }
}

/// The libp2p identity that is the broker's key.
pub(crate) fn keypair(key: &SecretKey) -> Keypair {
    let secret = secp256k1::SecretKey::try_from_bytes(*key.to_bytes())
        .expect("a number below the curve order in both libraries");
    secp256k1::Keypair::from(secret).into()
}

/// The broker that a peer id stands for; none for a key of another kind.
///
/// A secp256k1 public key is short enough to stand in the peer id itself (peer-ids specification, "identity" multihash), and
/// the handshake proved that the peer has the secret to it.
pub(crate) fn broker_of(peer: &PeerId) -> Option<Address> {
    const IDENTITY: u64 = 0;
    let hash = peer.as_ref();
    if hash.code() != IDENTITY {
        return None;
    }
    let key = PublicKey::try_decode_protobuf(hash.digest()).ok()?.try_into_secp256k1().ok()?;
    Some(mainstem_crypto::PublicKey::from_sec1(&key.to_bytes()).ok()?.address())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_id_and_an_ethereum_address_are_one_identity() {
        let key = SecretKey::from_bytes(&[7; 32]).expect("below the order");
        let peer = keypair(&key).public().to_peer_id();
        assert_eq!(broker_of(&peer), Some(key.address()));
    }

    #[test]
    fn a_peer_with_another_kind_of_key_is_no_broker() {
        let key = Keypair::ed25519_from_bytes([7; 32]).expect("32 bytes");
        assert_eq!(broker_of(&key.public().to_peer_id()), None);
    }

    #[test]
    fn an_address_takes_the_port_of_the_first_of_its_transport_and_ip_version() {
        let parse = |text: &str| text.parse::<PeerAddress>().expect("an address");
        let peer = keypair(&SecretKey::from_bytes(&[7; 32]).expect("below the order")).public().to_peer_id();
        let relayed = format!("/ip4/10.0.0.9/udp/9/quic-v1/p2p/{peer}/p2p-circuit");
        let listening = [
            relayed.as_str(),
            "/ip4/10.0.0.1/tcp/1",
            "/ip4/10.0.0.1/udp/2/quic-v1",
            "/ip6/::1/udp/3/quic-v1",
            "/ip4/10.0.0.2/udp/4/quic-v1",
        ]
        .map(parse);
        for (text, taken) in [
            ("/ip4/192.0.2.1/udp/0/quic-v1", "/ip4/192.0.2.1/udp/2/quic-v1"),
            ("/ip6/2001:db8::1/udp/0/quic-v1", "/ip6/2001:db8::1/udp/3/quic-v1"),
            ("/dns6/broker.example/udp/0/quic-v1", "/dns6/broker.example/udp/3/quic-v1"),
            ("/dns/broker.example/tcp/0", "/dns/broker.example/tcp/1"),
        ] {
            assert!(parse(text).has_port_zero());
            assert_eq!(parse(text).with_port_of(&listening), Some(parse(taken)));
            assert!(!parse(taken).has_port_zero());
        }
        assert_eq!(parse("/dns6/broker.example/tcp/0").with_port_of(&listening), None);
        let of_relay = format!("/ip4/192.0.2.1/tcp/0/p2p/{peer}/p2p-circuit");
        assert!(!parse(&of_relay).has_port_zero(), "the relay's port is none of ours");
    }

    #[test]
    fn only_addresses_that_can_be_dialed_are_taken() {
        let peer = keypair(&SecretKey::from_bytes(&[7; 32]).expect("below the order")).public().to_peer_id();
        for (text, fits) in [
            ("/ip4/127.0.0.1/udp/7173/quic-v1".to_owned(), true),
            ("/ip6/::1/tcp/7173".to_owned(), true),
            ("/dns/broker.example/tcp/7173".to_owned(), true),
            (format!("/ip4/127.0.0.1/tcp/1/p2p/{peer}"), true),
            (format!("/ip4/127.0.0.1/tcp/1/p2p/{peer}/p2p-circuit/p2p/{peer}"), true),
            ("/ip4/127.0.0.1/udp/7173".to_owned(), false),
            ("/ip4/127.0.0.1/tcp/7173/ws".to_owned(), false),
            ("/unix/run".to_owned(), false),
            ("127.0.0.1:7173".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(text.parse::<PeerAddress>().is_ok(), fits, "{text}");
        }
    }
}
