//! How long it takes until every owner keeps a proof that one of them has.

use super::disk::Disk;
use mainstem_model::{SeriesKey, StreamPartition};
use std::collections::BTreeMap;

/// The proofs that are known, and since when.
#[derive(Debug, Default)]
pub(crate) struct Proofs {
    since: BTreeMap<SeriesKey, i64>,
}

impl Proofs {
    /// Looks at what an owner keeps of a partition. Gives a series whose proof it lacks, and for how long at most.
    pub(crate) fn look(&mut self, at: StreamPartition, disk: &Disk, now: i64) -> Option<(SeriesKey, i64)> {
        for series in disk.log.frozen(at) {
            self.since.entry(series).or_insert(now);
        }
        let here = self.since.iter().filter(|(series, _)| series.stream_partition == at);
        let lacking = here.filter(|(series, _)| !disk.log.is_frozen(series));
        lacking.map(|(series, since)| (*series, now - since)).max_by_key(|(_, ms)| *ms)
    }
}
