//! How long brokers stay with one that tells batches and leaves some out.

use crate::NetworkStatus;
use mainstem_model::{Address, StreamPartition};
use std::collections::BTreeMap;

/// The parents that withhold.
#[derive(Debug, Default)]
pub(crate) struct Parents {
    /// Since when, by follower, partition and parent.
    withholds: BTreeMap<(usize, StreamPartition, Address), i64>,
    /// How long those were stayed with that have been left, milliseconds.
    left_after: Vec<i64>,
    longest: i64,
}

impl Parents {
    /// A broker was to tell another a batch, and did not.
    pub(crate) fn withhold(&mut self, follower: usize, at: StreamPartition, parent: Address, now: i64) {
        self.withholds.entry((follower, at, parent)).or_insert(now);
    }

    /// Looks whom a broker follows now. Gives the longest that it has stayed with one that withholds.
    pub(crate) fn look(&mut self, follower: usize, status: &NetworkStatus, now: i64) -> i64 {
        let full =
            |at: &StreamPartition| status.links.iter().find(|link| link.at == *at).and_then(|link| link.full);
        let (left_after, mut longest) = (&mut self.left_after, 0);
        self.withholds.retain(|(who, at, parent), since| {
            if *who != follower {
                return true;
            }
            let stays = full(at) == Some(*parent);
            if stays {
                longest = longest.max(now - *since);
            } else {
                left_after.push(now - *since);
            }
            stays
        });
        self.longest = self.longest.max(longest);
        longest
    }

    /// The longest that any was stayed with, left or not, milliseconds.
    pub(crate) const fn longest(&self) -> i64 {
        self.longest
    }

    /// A broker's process is another one.
    pub(crate) fn forget(&mut self, follower: usize) {
        self.withholds.retain(|(who, ..), _| *who != follower);
    }

    /// How long each was stayed with that was left, milliseconds.
    pub(crate) fn left_after(&self) -> &[i64] {
        &self.left_after
    }
}
