use crate::{Origin, SeriesHead, SeriesId, SeriesKey, StreamPartition};
use mainstem_crypto::{Hash, Sha256};

/// A stretch of the series of one partition, in the order of their keys; both ends are part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeriesRange {
    /// Of which partition.
    pub at: StreamPartition,
    /// The first one.
    pub first: (Origin, SeriesId),
    /// The last one.
    pub last: (Origin, SeriesId),
}

impl SeriesRange {
    /// Whether a series lies in it.
    pub fn contains(&self, series: &SeriesKey) -> bool {
        let key = (series.origin, series.series);
        series.stream_partition == self.at && self.first <= key && key <= self.last
    }
}

/// What a set of series' heads comes down to. As each batch names the one before it, two brokers with equal digests hold the
/// same batches, whatever the order in which they came (of each series, from the first one kept on).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct HeadsDigest {
    /// How many series.
    pub count: u64,
    /// SHA-256 over their rows, in the order of their keys; zeros for none.
    pub hash: Hash,
}

/// Builds a [`HeadsDigest`]; heads go in by ascending key.
#[derive(Clone, Debug, Default)]
pub struct HeadsDigester {
    count: u64,
    hasher: Sha256,
}

impl HeadsDigester {
    /// Takes the next head: origin 34 ‖ series u64 ‖ frozen u8 ‖ next sequence u64 ‖ last batch 32, integers big-endian. Of a
    /// frozen series the last two are zeros: brokers may have stopped at different places of it.
    pub fn add(&mut self, series: &SeriesKey, head: &SeriesHead) {
        self.count += 1;
        self.hasher.update(&series.origin.to_bytes());
        self.hasher.update(&series.series.0.to_be_bytes());
        self.hasher.update(&[u8::from(head.frozen)]);
        let (next, last) = if head.frozen { (0, [0; 32]) } else { (head.next_sequence, head.last.0) };
        self.hasher.update(&next.to_be_bytes());
        self.hasher.update(&last);
    }

    /// The digest of what went in.
    pub fn finish(self) -> HeadsDigest {
        let hash = if self.count == 0 { Hash::default() } else { self.hasher.finish() };
        HeadsDigest { count: self.count, hash }
    }
}

/// What there is in a [`SeriesRange`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadsSummary {
    /// Few: all of them, by ascending key.
    Heads(Vec<(SeriesKey, SeriesHead)>),
    /// Many: parts that cover the range without gap or overlap, with about as many series each.
    Parts(Vec<(SeriesRange, HeadsDigest)>),
}
