use crate::overlay::{Direction, Transport};
use mainstem_crypto::Address;
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// What the overlay counted since its start, and holds now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Of each wanted broker.
    pub peers: BTreeMap<Address, PeerMetrics>,
    /// Open connections, with strangers too.
    pub connections: u64,
    /// Connections refused by a bound: count, rate or memory.
    pub connections_refused: u64,
    /// Times that a connection had to wait before it could open another substream.
    pub substreams_delayed: u64,
    /// Data substreams answered with `NOT_A_BROKER`.
    pub strangers_refused: u64,
    /// Data substreams closed without a word because `refusals_max` answers were on their way.
    pub strangers_dropped: u64,
    /// Sessions ended because of what the peer sent.
    pub peers_misbehaved: u64,
}

/// Of one wanted broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerMetrics {
    /// Whether there is a session.
    pub connected: bool,
    /// Who dialed, of the session there is.
    pub direction: Option<Direction>,
    /// What the session runs over.
    pub transport: Option<Transport>,
    /// The last round trip that was measured.
    pub rtt: Option<Duration>,
    /// Sessions so far.
    pub sessions: u64,
    /// The live lane.
    pub live: LaneMetrics,
    /// The bulk lane.
    pub bulk: LaneMetrics,
}

/// Of one lane to and from one broker, all sessions together. Bytes are those of the frames' contents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneMetrics {
    /// Bytes that wait to be written or are being written, counted as `queue_bytes_max` counts them.
    pub queued_bytes: u64,
    /// Frames written.
    pub sent_frames: u64,
    /// Bytes written.
    pub sent_bytes: u64,
    /// Frames handed out.
    pub received_frames: u64,
    /// Bytes handed out.
    pub received_bytes: u64,
    /// Frames that the queue had no room for.
    pub refused_frames: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: AtomicU64,
    pub(crate) connections_refused: AtomicU64,
    pub(crate) substreams_delayed: AtomicU64,
    pub(crate) strangers_refused: AtomicU64,
    pub(crate) strangers_dropped: AtomicU64,
    pub(crate) peers_misbehaved: AtomicU64,
}

#[derive(Debug, Default)]
pub(crate) struct LaneCounters {
    sent_frames: AtomicU64,
    sent_bytes: AtomicU64,
    received_frames: AtomicU64,
    received_bytes: AtomicU64,
    refused_frames: AtomicU64,
}

impl LaneCounters {
    pub(crate) fn sent(&self, frames: usize, bytes: usize) {
        self.sent_frames.fetch_add(frames as u64, Ordering::Relaxed);
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.received_frames.fetch_add(1, Ordering::Relaxed);
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self) {
        self.refused_frames.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self, queued_bytes: usize) -> LaneMetrics {
        LaneMetrics {
            queued_bytes: queued_bytes as u64,
            sent_frames: self.sent_frames.load(Ordering::Relaxed),
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            received_frames: self.received_frames.load(Ordering::Relaxed),
            received_bytes: self.received_bytes.load(Ordering::Relaxed),
            refused_frames: self.refused_frames.load(Ordering::Relaxed),
        }
    }
}
