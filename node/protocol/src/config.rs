use crate::rule::Rule;
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
    /// Bytes of batches on their way to the journal, of all sessions; for what clients publish, together with batches that wait for
    /// copies. A batch over it is refused with `OVERLOADED`.
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
    /// Bytes of proofs of two batches for one place that are kept of one origin in one partition; the newest is always kept.
    /// When others go their series stay frozen, but a broker that comes anew does not hear of that.
    pub proof_bytes_per_origin_max: usize,
    /// Series whose heads are remembered; others are read from the store when they are next published to.
    pub series_cache_max: usize,
    /// Bytes of batches on their way to one other broker that is to keep them. What comes above is not sent; that broker gets it
    /// by repair, when it can.
    pub replica_window_bytes: usize,
    /// The room of a batch that a broker did not answer for is given back after so long, milliseconds.
    pub outstanding_ms: i64,
    /// Bytes of batches told over one link and not taken in by the other broker. What comes above is told from the log, when that
    /// has taken in half of it.
    pub link_window_bytes: usize,
    /// Links that had no room and for which the log is read at once, a page of up to `pull_bytes` for each. Others wait their turn.
    pub link_reads_max: usize,
    /// Links that other brokers have here. One more is refused with `LIMIT_REACHED`.
    pub followers_max: usize,
    /// Brokers that are told every batch of one partition here, at least 1. One more is told to ask one of those: so there is a
    /// tree of relays below each owner, and nobody sends a batch more often than this.
    pub relay_degree: usize,
    /// Brokers that are told the heads only, of one partition. One more is told to ask one of those that have all.
    pub relay_heads_degree: usize,
    /// Brokers that tell the heads of a partition that is followed, besides the one that tells its batches; each by the tree of
    /// another owner, as far as there are so many. So many owners can hide nothing together.
    pub heads_links: usize,
    /// A session that was asked for and has carried nothing but signs of life for so long is given up, milliseconds.
    pub session_linger_ms: i64,
    /// A batch that is to be kept by several brokers is sent again to those that have not answered for so long, milliseconds,
    /// for it or for what was sent before it.
    pub copies_resend_ms: i64,
    /// A publisher that waits for several brokers is told `TOO_FEW_COPIES`, or why most owners will not have its batch, so long after the
    /// batch came first, milliseconds.
    pub copies_wait_ms: i64,
    /// How often other brokers are told how far series have come, milliseconds: by that they know that this one lives.
    pub beat_ms: i64,
    /// A broker that says nothing for so long is left for another, milliseconds.
    pub silence_ms: i64,
    /// A broker that should have told a batch and did not is left after so long, milliseconds, for the one that told of it.
    pub withheld_ms: i64,
    /// A broker whose link was left is passed over for so long, milliseconds, if there are others.
    pub link_left_ms: i64,
    /// A partition that nobody reads here any more is followed for so long, milliseconds.
    pub link_linger_ms: i64,
    /// What came of a partition before it was followed is gone on with if it is not older than this, milliseconds: cursors that
    /// were given then stay good. Of what is older they are refused with `INVALID_CURSOR`.
    pub link_resume_ms: i64,
    /// Series that have changed and are remembered, for others to be told. What is forgotten is found by comparing.
    pub changes_max: usize,
    /// Heads in one message.
    pub heads_per_message_max: usize,
    /// Series of which others say to have more, and that are looked into at once; others are left to the next comparison. And
    /// partitions that are new here of which what was here before is looked up; of others all that lacks is history.
    pub behind_max: usize,
    /// Series whose own head is being read to compare it with another's. Others are left to the next comparison.
    pub claims_max: usize,
    /// What another broker has and this one lacks is asked for when it has not come by itself for so long, milliseconds.
    pub repair_grace_ms: i64,
    /// Pulls that are under way at once.
    pub pulls_max: usize,
    /// Bytes of batches in one pull, and of a page read for another broker.
    pub pull_bytes: usize,
    /// A pull, a comparison or a reader's question that is not answered for so long is given up, milliseconds; a pull and a question after
    /// `silence_ms` if the broker that was asked says nothing else either.
    pub pull_wait_ms: i64,
    /// Questions of one other broker that the store works on at once. One more is not answered.
    pub answers_per_peer_max: usize,
    /// Bytes of batches that wait for those before them. A batch over it is refused with `OVERLOADED`.
    pub parked_bytes_max: usize,
    /// A batch that waits for those before it is refused with `SERIES_GAP` after so long, milliseconds.
    pub parked_ms: i64,
    /// How often all that is kept is compared with each other broker that keeps some of it, milliseconds.
    pub compare_ms: i64,
    /// The same while this broker does not have all that it is to keep.
    pub compare_unready_ms: i64,
    /// A broker that finds nobody to compare with for so long serves what it has, milliseconds.
    pub ready_after_ms: i64,
    /// A rule that is not kept, so that a test sees that it is missed. Not part of a configuration.
    #[cfg(feature = "test-utils")]
    #[serde(skip)]
    pub without: Option<Rule>,
}

impl Config {
    /// Whether a rule is kept: always, but in a test of what happens without it.
    #[cfg(feature = "test-utils")]
    #[inline]
    pub(crate) fn keeps(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    /// Whether a rule is kept: always, but in a test of what happens without it.
    #[cfg(not(feature = "test-utils"))]
    #[inline]
    pub(crate) const fn keeps(&self, _: Rule) -> bool {
        true
    }
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
            proof_bytes_per_origin_max: 16 << 20,
            series_cache_max: 100_000,
            // 20 ms at 200 MB/s.
            // Some ten thousand small batches. Each waits for those before it, and for `copies_wait_ms` at most.
            replica_window_bytes: 4 << 20,
            outstanding_ms: 5_000,
            link_window_bytes: 4 << 20,
            link_reads_max: 32,
            followers_max: 10_000,
            // 10,000 brokers are three relays deep below three owners.
            relay_degree: 16,
            // Heads cost a hundred bytes a beat, however many batches they stand for.
            relay_heads_degree: 32,
            heads_links: 2,
            session_linger_ms: 10_000,
            copies_resend_ms: 1_000,
            copies_wait_ms: 15_000,
            beat_ms: 200,
            // Five beats, and a pause of the scheduler.
            silence_ms: 1_500,
            withheld_ms: 1_000,
            link_left_ms: 10_000,
            link_linger_ms: 30_000,
            link_resume_ms: 3_600_000,
            // Some 200 bytes each.
            changes_max: 50_000,
            heads_per_message_max: 500,
            behind_max: 50_000,
            claims_max: 10_000,
            // Longer than a batch takes by itself, much shorter than anybody waits.
            repair_grace_ms: 100,
            pulls_max: 32,
            pull_bytes: 512 << 10,
            pull_wait_ms: 5_000,
            answers_per_peer_max: 256,
            parked_bytes_max: 16 << 20,
            parked_ms: 10_000,
            compare_ms: 60_000,
            compare_unready_ms: 500,
            ready_after_ms: 10_000,
            #[cfg(feature = "test-utils")]
            without: None,
        }
    }
}
