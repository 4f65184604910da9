use serde::{Deserialize, Serialize};

/// Bounds of the broker's state. What happens at each is said beside it; all are published in `GET /info`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Open sessions. One more is refused with `LIMIT_REACHED`.
    pub sessions_max: usize,
    /// Subscriptions of one session, with those that have ended while the store was reading for them. One more is refused
    /// with `LIMIT_REACHED`.
    pub subscriptions_per_session_max: usize,
    /// Events that a subscription may ask for by "the last n". One more is refused with `INVALID_ARGUMENT`; who wants more
    /// asks for a range of time.
    pub last_events_max: u64,
    /// Bytes of batches that one session may have on their way to their acks. A batch over it is refused with `OVERLOADED`;
    /// a publisher alone on the connection may always have one batch on its way.
    pub publish_window_bytes: usize,
    /// Bytes of batches on their way to the journal, of all sessions. A batch over it is refused with `OVERLOADED`.
    pub write_queue_bytes_max: usize,
    /// Bytes of batches handed to one subscription and not yet taken by its transport. At the bound the subscription is
    /// read from the store instead, at its own speed; nothing is lost.
    pub subscription_queue_bytes_max: usize,
    /// The same over all subscriptions. While it is exceeded each subscription gets one batch at a time.
    pub delivery_queue_bytes_max: usize,
    /// How far a batch's timestamps may be from the broker's clock, either way, milliseconds. Outside: `INVALID_TIMESTAMP`.
    pub timestamp_window_ms: i64,
    /// Series whose heads are remembered; others are read from the store when they are next published to.
    pub series_cache_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sessions_max: 20_000,
            subscriptions_per_session_max: 1_000,
            // A walk of a tenth of a second through the index of history, when each batch has one event.
            last_events_max: 100_000,
            // Twice what a fast publisher needs to keep the journal busy over a 20 ms round trip at 100 MB/s.
            publish_window_bytes: 4 << 20,
            write_queue_bytes_max: 64 << 20,
            // 16 batches of 64 KiB: enough to ride out a scheduling pause at 70 MB/s.
            subscription_queue_bytes_max: 1 << 20,
            delivery_queue_bytes_max: 256 << 20,
            // DESIGN: ±5 minutes live.
            timestamp_window_ms: 5 * 60_000,
            series_cache_max: 100_000,
        }
    }
}
