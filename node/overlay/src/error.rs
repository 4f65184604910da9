use crate::frame::Lane;
use mainstem_crypto::Address;

/// Why the overlay did not start, or an address cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OverlayError {
    /// Two configuration values contradict each other.
    #[error("overlay: {0}")]
    Config(String),
    /// The text is no multiaddress, or one of a transport that is not had.
    #[error(
        "{0} is no address of a broker; write /ip4/…/udp/…/quic-v1 or /ip4/…/tcp/… (or /ip6, /dns), with or without /p2p/…"
    )]
    PeerAddress(String),
    /// A listener did not open.
    #[error("the overlay cannot listen on {address}: {why}")]
    Listen {
        /// Where.
        address: String,
        /// What the system said.
        why: String,
    },
}

/// Why a frame was not queued. The frame is gone; nothing of it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The peer's queue has no room for the frame. Wait, or let the peer ask again later.
    #[error("the {lane} queue of {peer} is full")]
    Full {
        /// To whom.
        peer: Address,
        /// On which lane.
        lane: Lane,
    },
    /// There is no session with the peer. `Incoming::Connected` tells when there is one.
    #[error("{0} is not connected")]
    NotConnected(Address),
    /// The frame has no bytes, or more than `frame_bytes_max`.
    #[error("a frame has 1 to {bytes_max} bytes, not {bytes}")]
    FrameSize {
        /// How many it has.
        bytes: usize,
        /// How many it may have.
        bytes_max: usize,
    },
}
