use serde::{Deserialize, Serialize};

/// Bounds of publishing for clients with API keys, each for one identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PublisherConfig {
    /// Partitions whose series are kept open. Over it the one unused for longest is closed; its next event opens a new series.
    pub series_max: usize,
    /// Events that wait or are on their way. More get `OVERLOADED`.
    pub queue_events_max: usize,
    /// Bytes of their contents. More get `OVERLOADED`.
    pub queue_bytes_max: usize,
    /// Bytes of contents that waiting requests are grouped to in one batch; a larger request travels alone.
    pub batch_bytes_max: usize,
    /// Batches on their way at once, of all partitions. More partitions wait their turn.
    pub batches_max: usize,
    /// Bytes of batches on their way at once; below the broker's `publish_window_bytes`, so that it does not refuse them.
    pub window_bytes: usize,
}

impl Default for PublisherConfig {
    fn default() -> Self {
        Self {
            series_max: 4096,
            queue_events_max: 100_000,
            queue_bytes_max: 64 << 20,
            // DESIGN: client batching, 64 KiB.
            batch_bytes_max: 64 << 10,
            batches_max: 64,
            window_bytes: 2 << 20,
        }
    }
}
