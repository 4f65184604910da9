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
    /// Subscriptions of all sessions. One more is refused with `LIMIT_REACHED`.
    pub subscriptions_max: usize,
    /// Events that a subscription may ask for by "the last n". One more is refused with `INVALID_ARGUMENT`; who wants more
    /// asks for a range of time.
    pub last_events_max: u64,
    /// Bytes of batches that one session may have on their way to their acks. A batch over it is refused with `OVERLOADED`;
    /// a publisher alone on the connection may always have one batch on its way.
    pub publish_window_bytes: usize,
    /// Bytes of batches on their way to the journal, of all sessions. A batch over it is refused with `OVERLOADED`.
    pub write_queue_bytes_max: usize,
    /// Bytes of batches handed to one subscription and not yet taken by its transport. At the bound the subscription is
    /// read from the store instead, at its own speed; nothing is lost. It is less when `delivery_queue_bytes_max` is nearly
    /// used: a 64th of what is left of that, and one batch always.
    pub subscription_queue_bytes_max: usize,
    /// The same over all subscriptions of one session, with the room for pages that are being read for them (the greatest
    /// batch each). At the bound they are read for in turn, as the transport takes what it has. A session that has nothing
    /// on its way may always have one page.
    pub session_queue_bytes_max: usize,
    /// The same over all sessions. At the bound nothing is handed out; readers wait in turn for what the transports take.
    /// Less than the greatest batch counts as that.
    pub delivery_queue_bytes_max: usize,
    /// While a reader waits so long for room in `delivery_queue_bytes_max`, milliseconds, a session that has batches on
    /// their way and whose transport took nothing for as long is ended with `OVERLOADED`.
    pub stalled_session_ms: i64,
    /// How far a new batch's timestamps may be from the broker's clock, either way, milliseconds. Outside:
    /// `INVALID_TIMESTAMP`. A batch that is here already is acked whatever its age.
    pub timestamp_window_ms: i64,
    /// Proofs of two batches for one place that are kept of one origin in one partition. Further ones are refused with
    /// `EQUIVOCATION` too, but not kept, and their series are not frozen.
    pub proofs_per_origin_max: usize,
    /// Series whose heads are remembered; others are read from the store when they are next published to.
    pub series_cache_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sessions_max: 20_000,
            subscriptions_per_session_max: 1_000,
            // Some 300 bytes each.
            subscriptions_max: 200_000,
            // A walk of a tenth of a second through the index of history, when each batch has one event.
            last_events_max: 100_000,
            // Twice what a fast publisher needs to keep the journal busy over a 20 ms round trip at 100 MB/s.
            publish_window_bytes: 4 << 20,
            write_queue_bytes_max: 64 << 20,
            // 16 batches of 64 KiB: enough to ride out a scheduling pause at 70 MB/s.
            subscription_queue_bytes_max: 1 << 20,
            // An eighth of the node's.
            session_queue_bytes_max: 32 << 20,
            delivery_queue_bytes_max: 256 << 20,
            // A transport that takes nothing for so long has a reader that does not read.
            stalled_session_ms: 10_000,
            // DESIGN: ±5 minutes live.
            timestamp_window_ms: 5 * 60_000,
            // One shows that an origin cannot be trusted; a few show whether it goes on.
            proofs_per_origin_max: 16,
            series_cache_max: 100_000,
        }
    }
}
