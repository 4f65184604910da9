use mainstem_overlay::Overlay;
use mainstem_protocol::{Lane, PeerFault};
use std::sync::{
    Arc, Weak,
    atomic::{AtomicU64, Ordering},
};

/// Why a message to a broker was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The broker's queue has no room.
    QueueFull,
    /// There is no session.
    NotConnected,
    /// It is over a bound of messages or frames.
    Unsendable,
}

impl Lost {
    pub(crate) const ALL: [Self; 3] = [Self::QueueFull, Self::NotConnected, Self::Unsendable];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::NotConnected => "not_connected",
            Self::Unsendable => "unsendable",
        }
    }
}

/// What became of messages between brokers, but for those that went well.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    lost: [[AtomicU64; 3]; 2],
    unknown: AtomicU64,
    late: AtomicU64,
    malformed: AtomicU64,
    invalid: AtomicU64,
    unprovable: AtomicU64,
    no_room: AtomicU64,
    failed: AtomicU64,
}

impl Counters {
    pub(super) fn lose(&self, lane: Lane, why: Lost) {
        self.lost[lane as usize][why as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn unknown(&self) {
        self.unknown.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn late(&self) {
        self.late.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn fault(&self, fault: &PeerFault) {
        let counter = match fault {
            PeerFault::Malformed(_) => &self.malformed,
            PeerFault::InvalidBatch(_) => &self.invalid,
            PeerFault::Unprovable { .. } => &self.unprovable,
            PeerFault::NoRoom { .. } => &self.no_room,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Messages that were not sent.
    pub(crate) fn lost(&self, lane: Lane, why: Lost) -> u64 {
        self.lost[lane as usize][why as usize].load(Ordering::Relaxed)
    }

    /// The rest, with names and what they say.
    pub(crate) fn received(&self) -> [(&'static str, &'static str, u64); 7] {
        [
            ("frames_unknown", "frames of kinds that this version does not know", &self.unknown),
            ("frames_late", "frames that outlived their session", &self.late),
            ("frames_malformed", "frames that were no messages", &self.malformed),
            ("batches_invalid", "messages with a batch that did not prove", &self.invalid),
            ("batches_unprovable", "messages with a batch that no scheme here can prove", &self.unprovable),
            ("batches_no_room", "messages refused because a plugin's proofs are behind", &self.no_room),
            ("proofs_failed", "messages lost because their proof failed here", &self.failed),
        ]
        .map(|(name, help, counter)| (name, help, counter.load(Ordering::Relaxed)))
    }
}

/// Where the numbers about other brokers come from.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) overlay: Weak<Overlay>,
    pub(crate) counters: Arc<Counters>,
}
