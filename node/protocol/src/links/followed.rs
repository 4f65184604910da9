use mainstem_model::StreamPartition;
use std::collections::BTreeSet;

/// Partitions that were followed in the life of this process.
#[derive(Debug, Default)]
pub(super) struct Followed {
    known: BTreeSet<StreamPartition>,
    /// There were more than are remembered.
    more: bool,
}

impl Followed {
    /// Partitions that are remembered; with more all count as followed.
    const MAX: usize = 100_000;

    /// Notes a partition; whether it is the first time for certain.
    pub(super) fn note(&mut self, at: StreamPartition) -> bool {
        if self.known.len() >= Self::MAX {
            (self.known, self.more) = (BTreeSet::new(), true);
        }
        self.known.insert(at) && !self.more
    }
}
