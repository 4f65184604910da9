use crate::{OverlayError, PeerAddress, frame::FRAME_COST};
use serde::{Deserialize, Serialize};

/// Where the overlay listens, and its bounds. Numbers of bytes are for one peer and one lane unless they say otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to listen for other brokers, as multiaddresses. QUIC is preferred where both ends have it. The system chooses
    /// a port 0.
    pub listen: Vec<PeerAddress>,
    /// Addresses under which others reach this node, if it cannot find out itself. `AutoNAT` needs none of these.
    pub external_addresses: Vec<PeerAddress>,
    /// Brokers, with their `/p2p/` part, that relay to this node from the start. A node behind a NAT finds relays itself.
    pub relays: Vec<PeerAddress>,

    /// Bytes of one frame. A longer one to send is refused; a peer that announces one is told `FRAME_TOO_LARGE` and cut off.
    pub frame_bytes_max: usize,
    /// Bytes that wait to be written to a peer, each frame counted with 64 bytes more. A frame over it is refused as full.
    pub queue_bytes_max: usize,
    /// Bytes received from a peer and not yet dropped by their reader, counted like the queue. At the bound the lane is read
    /// no further, so the peer is slowed by its transport. Must hold one frame.
    pub inbox_bytes_max: usize,

    /// Open connections. One more is refused.
    pub connections_max: u32,
    /// Open connections with peers that are no known brokers. One more is refused; the rest is kept for brokers.
    pub strangers_max: u32,
    /// Open connections with one peer. One more is refused.
    pub connections_per_peer_max: u32,
    /// Connections from outside that shake hands. One more is refused.
    pub handshakes_in_max: u32,
    /// Connections to others that shake hands. One more is tried again later.
    pub handshakes_out_max: u32,
    /// Physical memory of the whole process, bytes, at which new connections are refused.
    pub memory_bytes_max: u64,
    /// Connections a second from one IP address (IPv6: one /64). One more is refused.
    pub dials_per_second_max: u32,
    /// How many may come at once before that rate holds.
    pub dials_burst_max: u32,
    /// Substreams a second that one connection may open, of whatever protocol. More wait at the peer.
    pub substreams_per_second_max: u32,
    /// How many may come at once before that rate holds.
    pub substreams_burst_max: u32,
    /// Substreams open at once on one connection. QUIC: one more waits at the peer; TCP: one more ends the connection.
    pub substreams_max: u32,
    /// Answers to peers that are no brokers on their way at once. At the bound a substream is closed without a word.
    pub refusals_max: usize,

    /// Bytes that a peer may have on their way in one substream. Over TCP yamux tunes this itself, from 256 KiB.
    pub stream_window_bytes: u32,
    /// Bytes that a peer may have on their way in all substreams of a QUIC connection. More than both lanes, so that an unread
    /// lane never stops the other.
    pub connection_window_bytes: u32,
    /// The same for a TCP connection; yamux wants at least 256 KiB for each of `substreams_max`.
    pub yamux_window_bytes: usize,
    /// Greatest UDP payload that is tried. The path is probed, so it is safe anywhere.
    pub udp_payload_bytes_max: u16,

    /// A connection must have shaken hands within this time, milliseconds.
    pub handshake_ms: u64,
    /// A substream must be agreed on, and answered, within this time each, milliseconds.
    pub substream_ms: u64,
    /// A connection without substreams is closed after this time, milliseconds.
    pub unused_ms: u64,
    /// A QUIC connection on which nothing comes in for this long is gone, milliseconds, and a new one begins. After a cut the old one tries
    /// again at times that double without an end, so it may stay silent for as long again as the cut was.
    pub idle_ms: u32,
    /// How often a connection is kept open and its round trip measured, milliseconds.
    pub ping_ms: u64,
    /// A ping must come back within this time, milliseconds; else the connection is gone.
    pub ping_timeout_ms: u64,

    /// Wait before a broker is dialed again, milliseconds. It doubles every time, with jitter.
    pub backoff_min_ms: u64,
    /// The longest such wait, milliseconds.
    pub backoff_max_ms: u64,
    /// How long a broker waits for the other to dial, milliseconds, if the other has the lower address. Spares both a second
    /// connection.
    pub yield_ms: u64,
    /// Addresses remembered for one broker beside those that were given.
    pub addresses_per_peer_max: usize,
    /// How often the distributed hash table is asked for brokers that cannot be reached, milliseconds, at most.
    pub lookup_ms: u64,

    /// Relays that a node which cannot be reached from outside reserves a place at.
    pub relay_reservations_max: usize,
    /// Places that this node gives as a relay, to known brokers only. 0: it does not relay.
    pub relay_places_max: usize,
    /// Relayed connections at once.
    pub relay_circuits_max: usize,
    /// Bytes of one relayed connection, each way; then it is closed.
    pub relay_circuit_bytes_max: u64,
    /// How long one relayed connection lasts, seconds; then it is closed.
    pub relay_circuit_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        let address = |text: &str| text.parse().expect("a multiaddress");
        Self {
            listen: vec![address("/ip4/0.0.0.0/udp/7173/quic-v1"), address("/ip4/0.0.0.0/tcp/7173")],
            external_addresses: Vec::new(),
            relays: Vec::new(),
            // Two of the largest batches there are and what is said of them have about 2.4 MB.
            frame_bytes_max: 3 << 20,
            // A tenth of a second at 80 MB/s.
            queue_bytes_max: 8 << 20,
            inbox_bytes_max: 4 << 20,
            connections_max: 1024,
            strangers_max: 128,
            // One that each side opened; the same to replace dead ones whose end nobody saw; and AutoNAT's, by which each asks the other
            // whether it is reached from outside.
            connections_per_peer_max: 8,
            handshakes_in_max: 64,
            handshakes_out_max: 64,
            memory_bytes_max: 4 << 30,
            // A cluster behind one address starts at once; a handshake costs about a millisecond.
            dials_per_second_max: 20,
            dials_burst_max: 100,
            // A broker opens two for good, and a few a minute for ping, identify and Kademlia.
            substreams_per_second_max: 20,
            substreams_burst_max: 64,
            substreams_max: 64,
            refusals_max: 64,
            // 10 MB/s at 100 ms.
            stream_window_bytes: 1 << 20,
            connection_window_bytes: 4 << 20,
            yamux_window_bytes: 16 << 20,
            // What node/api measured: larger ones break the kernel's segmentation offload.
            udp_payload_bytes_max: 6_500,
            handshake_ms: 10_000,
            substream_ms: 5_000,
            unused_ms: 10_000,
            idle_ms: 5_000,
            ping_ms: 1_000,
            ping_timeout_ms: 5_000,
            backoff_min_ms: 100,
            backoff_max_ms: 30_000,
            yield_ms: 200,
            addresses_per_peer_max: 8,
            lookup_ms: 5_000,
            relay_reservations_max: 2,
            relay_places_max: 64,
            relay_circuits_max: 32,
            relay_circuit_bytes_max: 256 << 20,
            relay_circuit_s: 3_600,
        }
    }
}

impl Config {
    /// What two of the values say against each other, if anything.
    ///
    /// # Errors
    /// [`OverlayError::Config`] names the key.
    pub fn check(&self) -> Result<(), OverlayError> {
        let wrong = |why: &str| Err(OverlayError::Config(why.into()));
        let frame = self.frame_bytes_max.saturating_add(FRAME_COST);
        if self.frame_bytes_max == 0 || u32::try_from(frame).is_err() {
            return wrong("frame_bytes_max must be at least 1 and below 4 GiB");
        }
        if self.queue_bytes_max < frame || self.inbox_bytes_max < frame {
            return wrong(
                "queue_bytes_max and inbox_bytes_max must each hold frame_bytes_max and 64 bytes more",
            );
        }
        if self.inbox_bytes_max > u32::MAX as usize {
            return wrong("inbox_bytes_max must be below 4 GiB");
        }
        if self.connection_window_bytes / 4 < self.stream_window_bytes {
            return wrong(
                "connection_window_bytes must be at least 4 times stream_window_bytes: two lanes and the rest",
            );
        }
        if self.yamux_window_bytes < (self.substreams_max as usize) << 18 {
            return wrong("yamux_window_bytes must be at least 256 KiB for each of substreams_max");
        }
        if self.backoff_min_ms == 0 || self.backoff_max_ms < self.backoff_min_ms {
            return wrong("backoff_min_ms must be at least 1 and at most backoff_max_ms");
        }
        if self.substreams_burst_max < 8
            || self.substreams_per_second_max == 0
            || self.dials_per_second_max == 0
        {
            return wrong(
                "substreams_burst_max must be at least 8, substreams and dials per second at least 1",
            );
        }
        if self.ping_ms == 0 || self.idle_ms == 0 || u64::from(self.idle_ms) <= self.ping_ms {
            return wrong("idle_ms must be more than ping_ms, and both more than 0");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_do_not_contradict_each_other() {
        Config::default().check().expect("defaults");
    }

    #[test]
    fn an_inbox_that_cannot_hold_a_frame_is_refused() {
        let broken = Config { inbox_bytes_max: 3 << 20, ..Config::default() };
        assert!(matches!(broken.check(), Err(OverlayError::Config(_))));
    }
}
