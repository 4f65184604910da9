use crate::Misdeed;
use mainstem_model::Code;
use std::collections::BTreeMap;

/// What the node has done, counted; the daemon shows it as metrics. Only ever grows, but for the gauges at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Batches taken in.
    pub batches_accepted: u64,
    /// Events in them.
    pub events_accepted: u64,
    /// Bytes of them.
    pub bytes_accepted: u64,
    /// Batches that were here already.
    pub batches_duplicate: u64,
    /// Batches that reached the journal.
    pub batches_stored: u64,
    /// Batches handed to subscriptions.
    pub batches_delivered: u64,
    /// Events in them.
    pub events_delivered: u64,
    /// Bytes of them.
    pub bytes_delivered: u64,
    /// Times a subscription fell behind and was moved to reading from the store.
    pub subscriptions_lagged: u64,
    /// Damaged batches met while reading.
    pub batches_damaged: u64,
    /// Series frozen for two batches at one place.
    pub equivocations: u64,
    /// Requests refused, by code.
    pub refused: BTreeMap<Code, u64>,
    /// Batches sent to other brokers to keep.
    pub copies_sent: u64,
    /// Batches sent over links.
    pub batches_fed: u64,
    /// Times that a link had no room for a batch and was told that and what followed from the log.
    pub links_behind: u64,
    /// Batches that came by repair.
    pub batches_repaired: u64,
    /// Batches that came by repair and fill up history.
    pub batches_backfilled: u64,
    /// Batches of other brokers that were not kept, by code.
    pub offers_refused: BTreeMap<Code, u64>,
    /// What other brokers did wrong, by kind.
    pub misdeeds: BTreeMap<Misdeed, u64>,
    /// Times that another broker was dropped for it.
    pub peers_dropped: u64,
    /// Times that a link was moved to another broker.
    pub links_moved: u64,
    /// Times that another broker found no room for a link here and was told of others.
    pub followers_redirected: u64,
    /// Gauge: other brokers there is a session with.
    pub peers_up: u64,
    /// Gauge: partitions followed at others.
    pub links_out: u64,
    /// Gauge: links that others have here.
    pub links_in: u64,
    /// Gauge: series of which others have more.
    pub series_behind: u64,
    /// Gauge: bytes of batches that wait for those before them.
    pub parked_bytes: u64,
    /// Gauge: batches that wait for copies at other brokers.
    pub copies_waiting: u64,
    /// Gauge: 1 if this broker has all that it is to keep.
    pub ready: u64,
    /// Gauge: open sessions.
    pub sessions: u64,
    /// Gauge: open subscriptions.
    pub subscriptions: u64,
    /// Gauge: bytes of batches on their way to the journal.
    pub write_queue_bytes: u64,
    /// Gauge: bytes of batches handed to subscriptions and not yet flushed, and of pages being read for them.
    pub delivery_queue_bytes: u64,
}

impl Counters {
    pub(crate) fn count_refusal(&mut self, code: Code) {
        *self.refused.entry(code).or_default() += 1;
    }
}
