//! What can go wrong, and which of it does in one seed.

use super::random::Random;
use std::fmt;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum FaultKind {
    /// A broker's process ends at once and comes again: what was given to the journal stays.
    Kill,
    /// A broker's machine loses power: some of what was written and not synced is gone.
    PowerLoss,
    /// A broker handles nothing for seconds, then everything.
    Pause,
    /// A broker's disk takes long for everything for a while.
    SlowDisk,
    /// A broker's clock jumps.
    ClockStep,
    /// A broker comes back with an empty disk.
    Wipe,
    /// A session between brokers ends; what is in flight is lost.
    Reset,
    /// What one broker sends to another waits for seconds.
    Stall,
    /// Some brokers hear nothing of some others, which may hear them.
    Partition,
    /// Shards move.
    Epoch,
    /// A publisher loses its right.
    RevokePublisher,
    /// A subscriber loses its right.
    RevokeSubscriber,
    /// Clients disconnect and come back; publishers maybe to another broker.
    ClientsMove,
    /// A subscriber's transport takes nothing for seconds.
    SlowReader,
    /// A publisher seals two batches for one place.
    Equivocate,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Kill,
        Self::PowerLoss,
        Self::Pause,
        Self::SlowDisk,
        Self::ClockStep,
        Self::Wipe,
        Self::Reset,
        Self::Stall,
        Self::Partition,
        Self::Epoch,
        Self::RevokePublisher,
        Self::RevokeSubscriber,
        Self::ClientsMove,
        Self::SlowReader,
        Self::Equivocate,
    ];

    /// Those that can befall a broker that knows no other.
    pub const ALONE: [Self; 10] = [
        Self::Kill,
        Self::PowerLoss,
        Self::Pause,
        Self::SlowDisk,
        Self::ClockStep,
        Self::RevokePublisher,
        Self::RevokeSubscriber,
        Self::ClientsMove,
        Self::SlowReader,
        Self::Equivocate,
    ];

    /// How often it happens while it is switched on: about once in so many milliseconds.
    pub(crate) const fn every_ms(self) -> i64 {
        match self {
            Self::Kill | Self::Pause | Self::ClientsMove => 7_000,
            Self::PowerLoss | Self::Partition | Self::SlowDisk | Self::SlowReader => 10_000,
            Self::Reset | Self::Stall => 3_000,
            Self::ClockStep | Self::Equivocate => 15_000,
            Self::Epoch | Self::RevokeSubscriber => 25_000,
            Self::Wipe | Self::RevokePublisher => 60_000,
        }
    }

    const fn bit(self) -> u32 {
        1 << self as u8
    }
}

/// The kinds that are switched on.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults(u32);

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Self = Self(0);

    /// Just these.
    pub fn of(kinds: &[FaultKind]) -> Self {
        Self(kinds.iter().fold(0, |bits, kind| bits | kind.bit()))
    }

    /// A random half of `kinds`: a fault that is always there hides what others alone would show.
    pub(crate) fn some_of(kinds: &[FaultKind], random: &mut Random) -> Self {
        Self(kinds.iter().filter(|_| random.one_in(2)).fold(0, |bits, kind| bits | kind.bit()))
    }

    /// Whether a kind is on.
    pub const fn has(self, kind: FaultKind) -> bool {
        self.0 & kind.bit() != 0
    }

    /// The kinds that are on.
    pub fn kinds(self) -> impl Iterator<Item = FaultKind> {
        FaultKind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.kinds()).finish()
    }
}
