//! Who is told by whom, as far as it is a ring, or of no use to anybody.

use crate::{LinkStatus, NetworkStatus};
use mainstem_model::{Address, StreamPartition};
use std::collections::BTreeMap;

/// The ways that partitions come by to brokers, each by the address of who is told.
#[derive(Debug, Default)]
pub(crate) struct Relays {
    parents: BTreeMap<Address, BTreeMap<StreamPartition, Address>>,
    /// Since when a broker is in a ring.
    rings: Since,
    /// Since when nobody reads what a broker follows.
    idle: Since,
}

/// Since when something is so for a broker.
type Since = BTreeMap<Address, BTreeMap<StreamPartition, i64>>;

impl Relays {
    /// Looks whom a broker follows now. Gives the longest that it has been in a ring, milliseconds.
    pub(crate) fn look(&mut self, status: &NetworkStatus, now: i64) -> i64 {
        let stands = |link: &&LinkStatus| link.stands;
        let standing = status.links.iter().filter(stands);
        let now_told = standing.filter_map(|link| Some((link.at, link.full?))).collect();
        self.parents.insert(status.me, now_told);
        let parents = &self.parents;
        let is_ring = |at: StreamPartition| {
            let parent = |who: &Address| parents.get(who)?.get(&at).copied();
            let mut way = std::iter::successors(parent(&status.me), parent).take(parents.len() + 1);
            way.any(|who| who == status.me)
        };
        let ringed = status.links.iter().map(|link| link.at).filter(|at| is_ring(*at)).collect();
        longest(&mut self.rings, status.me, ringed, now)
    }

    /// Looks what of it is read. Gives the longest that something has been followed for nobody, milliseconds.
    pub(crate) fn look_for_readers(
        &mut self,
        status: &NetworkStatus,
        is_read: impl Fn(StreamPartition) -> bool,
        now: i64,
    ) -> i64 {
        let idle = status.links.iter().map(|link| link.at).filter(|at| !is_read(*at)).collect();
        longest(&mut self.idle, status.me, idle, now)
    }

    /// The process of a broker is gone.
    pub(crate) fn forget(&mut self, who: Address) {
        self.parents.remove(&who);
        self.rings.remove(&who);
        self.idle.remove(&who);
    }
}

/// Notes where something is so; how long it has been so at most.
fn longest(since: &mut Since, who: Address, where_it_is: Vec<StreamPartition>, now: i64) -> i64 {
    let since = since.entry(who).or_default();
    since.retain(|at, _| where_it_is.contains(at));
    let ages = where_it_is.into_iter().map(|at| now - *since.entry(at).or_insert(now));
    ages.max().unwrap_or(0)
}
