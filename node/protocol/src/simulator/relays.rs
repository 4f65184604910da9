//! Who is told by whom, as far as it is a ring, or of no use to anybody.

use crate::{LinkStatus, NetworkStatus};
use mainstem_model::{Address, StreamPartition};
use std::collections::BTreeMap;

/// The ways that partitions come by to brokers.
#[derive(Debug, Default)]
pub(crate) struct Relays {
    /// By the address of who is told.
    parents: BTreeMap<(Address, StreamPartition), Address>,
    /// Since when a broker is in a ring.
    rings: BTreeMap<(Address, StreamPartition), i64>,
    /// Since when nobody reads what a broker follows.
    idle: BTreeMap<(Address, StreamPartition), i64>,
}

impl Relays {
    /// Looks whom a broker follows now. Gives the longest that it has been in a ring, milliseconds.
    pub(crate) fn look(&mut self, status: &NetworkStatus, now: i64) -> i64 {
        self.parents.retain(|(who, _), _| *who != status.me);
        let stands = |link: &&LinkStatus| link.stands;
        for link in status.links.iter().filter(stands) {
            self.parents.extend(link.full.map(|parent| ((status.me, link.at), parent)));
        }
        let parents = &self.parents;
        let is_ring = |at: StreamPartition| {
            let parent = |who: &Address| parents.get(&(*who, at)).copied();
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
        self.parents.retain(|(of, _), _| *of != who);
        self.rings.retain(|(of, _), _| *of != who);
        self.idle.retain(|(of, _), _| *of != who);
    }
}

/// Notes where something is so; how long it has been so at most.
fn longest(
    since: &mut BTreeMap<(Address, StreamPartition), i64>,
    who: Address,
    where_it_is: Vec<StreamPartition>,
    now: i64,
) -> i64 {
    since.retain(|(of, at), _| *of != who || where_it_is.contains(at));
    let ages = where_it_is.into_iter().map(|at| now - *since.entry((who, at)).or_insert(now));
    ages.max().unwrap_or(0)
}
