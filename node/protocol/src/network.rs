//! Who carries what, as this broker sees it.

use crate::{Config, ShardStatus, rule::Rule};
use mainstem_model::{Address, Assignment, Shard, StreamPartition};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The assignment in force, and what was before it for as long as it is needed.
#[derive(Debug, Default)]
pub(crate) struct Network {
    me: Address,
    /// `None`: this broker is alone and carries everything.
    assignment: Option<Arc<Assignment>>,
    owners: BTreeMap<Shard, Owners>,
    /// The log was empty when the first assignment came.
    blank: bool,
    /// Some shard was this broker's, and is not any more.
    has_left: bool,
}

/// The brokers of one shard.
#[derive(Clone, Debug)]
struct Owners {
    brokers: Arc<[Address]>,
    /// Those of the assignments before, if they were others. They go on until the new ones have what they have.
    before: Option<Arc<[Address]>>,
    /// Since which epoch each of them is to keep the shard, as far as is known.
    given: BTreeMap<Address, u32>,
    /// When this broker was given the shard, milliseconds; `None` if it was not.
    since: Option<i64>,
    /// It had nothing of it then, and does not serve it yet.
    new: bool,
}

impl Owners {
    const fn of(brokers: Arc<[Address]>) -> Self {
        Self { brokers, before: None, given: BTreeMap::new(), since: None, new: false }
    }

    /// They and, while they take over, the ones before them, each once.
    fn keepers(&self) -> impl Iterator<Item = Address> {
        let before = self.before.as_deref().unwrap_or_default();
        let gone = before.iter().filter(|broker| !self.brokers.contains(broker));
        self.brokers.iter().chain(gone).copied()
    }

    fn keeps(&self, broker: Address) -> bool {
        self.brokers.contains(&broker) || self.before.as_ref().is_some_and(|before| before.contains(&broker))
    }
}

impl Network {
    pub(crate) fn name(&mut self, me: Address) {
        self.me = me;
    }

    /// The log under this broker is empty: all that it is to keep it has to get.
    pub(crate) fn begin_blank(&mut self) {
        self.blank = true;
    }

    /// Whether what others have of a partition fills up history here, and nobody is to be told of it as news: the partition is
    /// new to this broker.
    pub(crate) fn is_new(&self, at: StreamPartition) -> bool {
        self.shard(at).is_some_and(|owners| owners.new)
    }

    /// This broker serves what it is to keep: what others have beyond that is news from now on.
    pub(crate) fn serve(&mut self) {
        for owners in self.owners.values_mut() {
            owners.new = false;
        }
    }

    pub(crate) const fn me(&self) -> Address {
        self.me
    }

    pub(crate) const fn is_alone(&self) -> bool {
        self.assignment.is_none()
    }

    /// Another assignment counts from now on.
    pub(crate) fn assign(&mut self, assignment: Arc<Assignment>, now: i64, config: &Config) {
        let before = self.assignment.replace(assignment.clone());
        let new = self.blank || before.is_some();
        let old = std::mem::take(&mut self.owners);
        for shard in assignment.shards.shards() {
            let brokers: Arc<[Address]> = assignment.brokers(shard).into();
            let mine = brokers.contains(&self.me);
            // Shard p of 2P was part of shard p mod P. Where shards have become fewer, a reorg took an epoch back: all is new.
            let grown = before.as_ref().filter(|before| before.shards <= assignment.shards);
            let was = grown.and_then(|before| old.get(&Shard(shard.0 & (before.shards.number() - 1))));
            let left = was.map_or(grown.is_none() && before.is_some(), |was| !mine && was.since.is_some());
            self.has_left |= left;
            let now_owners = brokers.clone();
            let given_in = |broker: Address| {
                // One that keeps it again may have missed what came between.
                let goes_on = |was: &&Owners| was.brokers.contains(&broker) || !now_owners.contains(&broker);
                let known = was.filter(goes_on).and_then(|was| was.given.get(&broker)).copied();
                (broker, known.unwrap_or(assignment.epoch).min(assignment.epoch))
            };
            let mut owners = match was {
                None => Owners { since: mine.then_some(now), new: mine && new, ..Owners::of(brokers) },
                Some(was) => Owners {
                    before: if !config.keeps(Rule::HandsOver) {
                        None
                    } else if was.brokers == brokers {
                        was.before.clone()
                    } else {
                        // IMPORTANT: those before them too, if they are not released yet: they may be the only ones to have all.
                        let mut before = was.brokers.to_vec();
                        let older = was.before.iter().flat_map(|older| older.iter());
                        let older = older.filter(|_| config.keeps(Rule::OlderOwners));
                        before.extend(older.filter(|broker| !was.brokers.contains(broker)));
                        before.retain(|broker| assignment.members.contains_key(broker));
                        Some(before.into())
                    },
                    since: if mine { was.since.or(Some(now)) } else { None },
                    new: mine && (was.new || was.since.is_none()),
                    ..Owners::of(brokers)
                },
            };
            owners.given = owners.keepers().map(given_in).collect();
            self.owners.insert(shard, owners);
        }
    }

    /// The epoch in force; 0 when alone.
    pub(crate) fn epoch(&self) -> u32 {
        self.assignment.as_ref().map_or(0, |assignment| assignment.epoch)
    }

    /// Lets go of the owners before, of the shards whose owners are all `ready`.
    pub(crate) fn release(&mut self, ready: impl Fn(Address) -> bool) {
        for owners in self.owners.values_mut() {
            if owners.before.is_some() && owners.brokers.iter().all(|broker| ready(*broker)) {
                owners.before = None;
            }
        }
    }

    /// A broker has lost what it had. Where it was an owner before it is none any more.
    ///
    /// IMPORTANT: it does not know what it was to keep in an epoch that is over, so it says that it has all. Who was given a shard
    /// since would believe it of what is gone.
    pub(crate) fn lose(&mut self, broker: Address) {
        for owners in self.owners.values_mut() {
            if let Some(before) = owners.before.as_mut().filter(|before| before.contains(&broker)) {
                *before = before.iter().copied().filter(|other| *other != broker).collect();
            }
        }
    }

    /// The shards that are this broker's: their owners, those before them who have not been released, and when it was given them.
    pub(crate) fn given(&self) -> impl Iterator<Item = (&[Address], &[Address], i64)> {
        self.owners.values().filter_map(|owners| {
            Some((&*owners.brokers, owners.before.as_deref().unwrap_or_default(), owners.since?))
        })
    }

    /// The assignment in force.
    pub(crate) fn assignment(&self) -> Option<&Assignment> {
        self.assignment.as_deref()
    }

    /// The shards that this broker keeps.
    pub(crate) fn kept(&self) -> Vec<ShardStatus> {
        let all = self.owners.iter().map(|(shard, owners)| ShardStatus {
            shard: shard.0,
            owners: owners.brokers.to_vec(),
            before: owners.before.as_deref().unwrap_or_default().to_vec(),
        });
        all.filter(|shard| shard.owners.contains(&self.me) || shard.before.contains(&self.me)).collect()
    }

    fn shard(&self, at: StreamPartition) -> Option<&Owners> {
        let assignment = self.assignment.as_ref()?;
        self.owners.get(&Shard::of(at, assignment.shards))
    }

    /// The brokers that a partition is assigned to, best first. Empty when alone.
    pub(crate) fn owners(&self, at: StreamPartition) -> &[Address] {
        self.shard(at).map_or(&[], |owners| &owners.brokers)
    }

    /// The owners and, while those take over, the ones before them, each once.
    pub(crate) fn keepers(&self, at: StreamPartition) -> impl Iterator<Item = Address> {
        self.shard(at).into_iter().flat_map(Owners::keepers)
    }

    /// The epoch in which a broker was given a partition that it is to keep.
    pub(crate) fn given_in(&self, broker: Address, at: StreamPartition) -> Option<u32> {
        self.shard(at)?.given.get(&broker).copied()
    }

    /// When this broker was given a partition that it is to keep, milliseconds.
    pub(crate) fn given_at(&self, at: StreamPartition) -> Option<i64> {
        self.shard(at)?.since
    }

    /// Whether some shard was this broker's before in the life of this process, and is not any more or was not for a while.
    pub(crate) const fn has_left(&self) -> bool {
        self.has_left
    }

    /// Whether a broker is to keep a partition.
    pub(crate) fn is_owner(&self, broker: Address, at: StreamPartition) -> bool {
        self.owners(at).contains(&broker)
    }

    /// Whether this broker is to keep a partition; alone, always.
    pub(crate) fn is_mine(&self, at: StreamPartition) -> bool {
        self.is_alone() || self.is_owner(self.me, at)
    }

    /// Whether this broker keeps a partition, or did until the owners have taken over.
    pub(crate) fn is_kept(&self, at: StreamPartition) -> bool {
        self.is_alone() || self.is_keeper(self.me, at)
    }

    /// Whether a broker keeps a partition, or did until the owners have taken over.
    pub(crate) fn is_keeper(&self, broker: Address, at: StreamPartition) -> bool {
        self.keepers(at).any(|keeper| keeper == broker)
    }

    /// Those that keep something which this broker keeps too.
    pub(crate) fn fellows(&self) -> BTreeSet<Address> {
        let shared = self.owners.values().filter(|owners| owners.keeps(self.me));
        let all = shared
            .flat_map(|owners| owners.brokers.iter().chain(owners.before.as_deref().unwrap_or_default()));
        all.copied().filter(|broker| *broker != self.me).collect()
    }

    /// Whether a broker keeps something which this broker keeps too.
    pub(crate) fn is_fellow(&self, broker: Address) -> bool {
        self.owners.values().any(|owners| owners.keeps(self.me) && owners.keeps(broker))
    }

    /// The other brokers of the network.
    pub(crate) fn others(&self) -> impl Iterator<Item = Address> {
        let members = self.assignment.iter().flat_map(|assignment| assignment.members.keys());
        members.copied().filter(|member| *member != self.me)
    }

    /// Whether a broker is one of the network.
    pub(crate) fn knows(&self, broker: Address) -> bool {
        self.assignment.as_ref().is_some_and(|assignment| assignment.members.contains_key(&broker))
    }

    /// The brokers to ask for a partition, in an order of this broker's own, so that askers spread.
    pub(crate) fn sources(&self, at: StreamPartition) -> Vec<Address> {
        let mut sources: Vec<Address> = self.keepers(at).filter(|broker| *broker != self.me).collect();
        let place = |broker: &Address| {
            let mix = |seed: u64, byte: &u8| (seed ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            let number = at.partition.number().to_be_bytes();
            let bytes = self
                .me
                .as_bytes()
                .iter()
                .chain(broker.as_bytes())
                .chain(at.stream.0.as_bytes())
                .chain(&number);
            bytes.fold(0xcbf2_9ce4_8422_2325_u64, mix)
        };
        sources.sort_by_key(|broker| (place(broker), *broker));
        sources
    }
}
