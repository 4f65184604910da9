use crate::{Brokers, NetworkEvent, RegistryEvent, network};
use mainstem_crypto::{Address, Hash};
use mainstem_model::{Registry, RegistryChange, StreamId, StreamRecord};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One block, by number and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockId {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: Hash,
}

/// One block, or several in a row, with what they did to streams and brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Number of the first block.
    pub first: u64,
    /// Hash of the block before the first.
    pub parent: Hash,
    /// The last block.
    pub last: BlockId,
    /// Events in the order of the chain; of contracts that are no streams too, which change nothing.
    pub events: Vec<RegistryEvent>,
    /// Events of the coordinator in the order of the chain. They and the others do not touch.
    pub network: Vec<NetworkEvent>,
}

/// A segment that does not stand on any block the view still knows: it must be built anew from the first block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("block {first} stands on a block that can no longer be gone back to")]
pub struct Detached {
    /// Its first block.
    pub first: u64,
}

/// Streams, rights and brokers as of one block of a chain that may change its mind. Pure: no I/O.
///
/// Whoever applies all [`RegistryChange`]s that the view hands out, in order, to an own [`Registry`] has the same one.
///
/// A stream has its path only while it belongs to who listed it: the contract keeps the label of a former owner, but
/// `0xowner/path` then names a stream that is no longer that owner's.
#[derive(Clone, Debug, Default)]
pub struct View {
    registry: Registry,
    /// Under which path each stream is listed, and by whom.
    labels: BTreeMap<StreamId, Label>,
    /// The registry's revocations, which it does not list.
    revoked: BTreeSet<(Address, Hash)>,
    brokers: Brokers,
    /// How often `brokers` has changed.
    brokers_moves: u64,
    /// The newest blocks with what undoes each, oldest first.
    blocks: VecDeque<Block>,
    /// The newest block that can be gone back to although it cannot be undone itself.
    anchor: Option<BlockId>,
    undo_blocks: u64,
}

type Label = (Address, String);

#[derive(Clone, Debug)]
struct Block {
    id: BlockId,
    /// In the order in which the steps were made.
    undo: Vec<Undo>,
}

#[derive(Clone, Debug)]
enum Undo {
    Change(Vec<RegistryChange>),
    Label(StreamId, Option<Label>),
    Network(network::Undo),
}

impl View {
    /// A view of nothing, that will be able to undo its newest `undo_blocks` blocks.
    pub fn new(undo_blocks: u64) -> Self {
        Self { undo_blocks, ..Self::default() }
    }

    /// Streams and rights as of [`View::head`].
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Epochs and brokers as of [`View::head`].
    pub const fn brokers(&self) -> &Brokers {
        &self.brokers
    }

    /// Another number whenever [`View::brokers`] has become another, or was for a while.
    pub(crate) const fn brokers_moves(&self) -> u64 {
        self.brokers_moves
    }

    /// The last block taken in.
    pub fn head(&self) -> Option<BlockId> {
        self.blocks.back().map(|block| block.id).or(self.anchor)
    }

    /// The blocks that can be gone back to, newest first.
    pub fn known(&self) -> impl Iterator<Item = BlockId> {
        self.blocks.iter().rev().map(|block| block.id).chain(self.anchor)
    }

    /// Takes in what stands on the head or on a known block; in the second case everything above that block is undone
    /// first. Gives all changes, those of undoing included, in order. A view of nothing takes any segment.
    ///
    /// # Errors
    /// [`Detached`]; the view is then as it was.
    pub fn apply(&mut self, segment: Segment) -> Result<Vec<RegistryChange>, Detached> {
        let mut changes = Vec::new();
        if let Some(head) = self.head() {
            let stands_on = |block: BlockId| {
                block.number.checked_add(1) == Some(segment.first) && block.hash == segment.parent
            };
            if segment.last.number < segment.first || !self.known().any(stands_on) {
                return Err(Detached { first: segment.first });
            }
            if !stands_on(head) {
                self.unwind(segment.first, &mut changes);
            }
        }
        let mut undo = Vec::new();
        for event in segment.events {
            self.take(event, &mut undo, &mut changes);
        }
        for event in segment.network {
            if let Some(step) = self.brokers.take(event) {
                self.brokers_moves += 1;
                undo.push(Undo::Network(step));
            }
        }
        self.blocks.push_back(Block { id: segment.last, undo });
        while let Some(block) = self.blocks.front()
            && block.id.number.saturating_add(self.undo_blocks) <= segment.last.number
        {
            self.anchor = Some(block.id);
            self.blocks.pop_front();
        }
        Ok(changes)
    }

    /// The changes that turn `self`'s streams and rights into those of `other`.
    pub fn difference(&self, other: &Self) -> Vec<RegistryChange> {
        let (old, new) = (&self.registry, &other.registry);
        let mut changes: Vec<RegistryChange> = old
            .streams()
            .filter(|record| new.stream(record.id).is_none())
            .map(|record| RegistryChange::Removed(record.id))
            .collect();
        let changed = |record: &&StreamRecord| old.stream(record.id).is_some_and(|before| before != *record);
        // Paths go first: one may have moved from one stream to another.
        changes.extend(
            new.streams()
                .filter(changed)
                .filter_map(|record| old.stream(record.id))
                .map(|before| RegistryChange::Stream(StreamRecord { path: None, ..before.clone() })),
        );
        for record in new.streams() {
            if old.stream(record.id) != Some(record) {
                changes.push(RegistryChange::Stream(record.clone()));
            }
            let before: BTreeMap<_, _> = old.grants(record.id).collect();
            let after: BTreeMap<_, _> = new.grants(record.id).collect();
            let gone = before.keys().filter(|who| !after.contains_key(who));
            changes.extend(gone.map(|who| RegistryChange::Grant(record.id, *who, Default::default())));
            let set = after.iter().filter(|(who, grant)| before.get(who) != Some(grant));
            changes.extend(set.map(|(who, grant)| RegistryChange::Grant(record.id, *who, *grant)));
        }
        let delegation = |(wallet, digest): &(Address, Hash), revoked| {
            RegistryChange::Delegation(*wallet, *digest, revoked)
        };
        changes.extend(self.revoked.difference(&other.revoked).map(|gone| delegation(gone, false)));
        changes.extend(other.revoked.difference(&self.revoked).map(|added| delegation(added, true)));
        changes
    }

    /// Undoes every block from `first` up.
    fn unwind(&mut self, first: u64, changes: &mut Vec<RegistryChange>) {
        while let Some(block) = self.blocks.pop_back_if(|block| block.id.number >= first) {
            for step in block.undo.into_iter().rev() {
                match step {
                    Undo::Change(steps) => {
                        for change in steps {
                            self.change(change, changes);
                        }
                    }
                    Undo::Label(stream, label) => {
                        self.set_label(stream, label);
                    }
                    Undo::Network(step) => {
                        self.brokers_moves += 1;
                        self.brokers.undo(step);
                    }
                }
            }
        }
    }

    fn take(&mut self, event: RegistryEvent, undo: &mut Vec<Undo>, changes: &mut Vec<RegistryChange>) {
        let change = match event {
            RegistryEvent::Created { stream, owner, at_s } => {
                if self.registry.stream(stream).is_some() {
                    return;
                }
                RegistryChange::Stream(StreamRecord {
                    id: stream,
                    owner,
                    metadata: String::new(),
                    partitions: 1,
                    storage_days: None,
                    path: None,
                    key_epoch: 0,
                    created_at: at_s,
                })
            }
            RegistryEvent::Revoked(wallet, digest) => RegistryChange::Delegation(wallet, digest, true),
            RegistryEvent::Granted(stream, who, grant) => {
                if self.registry.stream(stream).is_none() {
                    return;
                }
                RegistryChange::Grant(stream, who, grant)
            }
            RegistryEvent::Metadata(stream, metadata) => {
                let (partitions, storage_days) = StreamRecord::settings(&metadata);
                let Some(record) = self.record(stream) else { return };
                RegistryChange::Stream(StreamRecord { metadata, partitions, storage_days, ..record })
            }
            RegistryEvent::KeyEpoch(stream, key_epoch) => {
                let Some(record) = self.record(stream) else { return };
                RegistryChange::Stream(StreamRecord { key_epoch, ..record })
            }
            RegistryEvent::Owner(stream, owner) => {
                let Some(record) = self.record(stream) else { return };
                let path = self.path(stream, owner);
                RegistryChange::Stream(StreamRecord { owner, path, ..record })
            }
            RegistryEvent::Removed(stream) => {
                if self.registry.stream(stream).is_none() {
                    return;
                }
                undo.push(Undo::Label(stream, self.set_label(stream, None)));
                RegistryChange::Removed(stream)
            }
            RegistryEvent::Listed(stream, by, path) => {
                let Some(record) = self.record(stream) else { return };
                undo.push(Undo::Label(stream, self.set_label(stream, Some((by, path)))));
                RegistryChange::Stream(StreamRecord { path: self.path(stream, record.owner), ..record })
            }
            RegistryEvent::Unlisted(stream) => {
                let Some(record) = self.record(stream) else { return };
                undo.push(Undo::Label(stream, self.set_label(stream, None)));
                RegistryChange::Stream(StreamRecord { path: None, ..record })
            }
        };
        undo.push(Undo::Change(self.change(change, changes)));
    }

    /// Makes one change, notes it for the consumer, and gives what undoes it.
    fn change(&mut self, change: RegistryChange, changes: &mut Vec<RegistryChange>) -> Vec<RegistryChange> {
        if let RegistryChange::Delegation(wallet, digest, revoked) = change {
            if revoked {
                self.revoked.insert((wallet, digest));
            } else {
                self.revoked.remove(&(wallet, digest));
            }
        }
        changes.push(change.clone());
        self.registry.apply(change)
    }

    fn record(&self, stream: StreamId) -> Option<StreamRecord> {
        self.registry.stream(stream).cloned()
    }

    fn path(&self, stream: StreamId, owner: Address) -> Option<String> {
        self.labels.get(&stream).filter(|(by, _)| *by == owner).map(|(_, path)| path.clone())
    }

    fn set_label(&mut self, stream: StreamId, label: Option<Label>) -> Option<Label> {
        match label {
            Some(label) => self.labels.insert(stream, label),
            None => self.labels.remove(&stream),
        }
    }
}
