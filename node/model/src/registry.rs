use crate::{Address, Code, Refusal, StreamId, StreamPartition};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

/// What somebody may do with a stream. Numbers are those of the contract and of Streamr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// Change its metadata.
    Edit = 0,
    /// Remove it.
    Delete = 1,
    /// Publish to it.
    Publish = 2,
    /// Read it.
    Subscribe = 3,
    /// Grant rights to others.
    Grant = 4,
}

impl Right {
    /// Every right, in the contract's order.
    pub const ALL: [Self; 5] = [Self::Edit, Self::Delete, Self::Publish, Self::Subscribe, Self::Grant];

    /// The word users know.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Edit => "edit",
            Self::Delete => "delete",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Grant => "grant",
        }
    }
}

impl std::str::FromStr for Right {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        Self::ALL.into_iter().find(|right| right.as_str() == text).ok_or_else(|| {
            let shown: String = text.chars().take(32).collect();
            Refusal::new(
                Code::InvalidArgument,
                format!("right {shown:?} is not one of edit, delete, publish, subscribe, grant"),
            )
        })
    }
}

/// One account's rights to one stream, whole, as the contract keeps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Grant {
    /// May read until this Unix second, included; 0 is never.
    pub subscribe_until: u64,
    /// May publish until this Unix second, included; 0 is never.
    pub publish_until: u64,
    /// Bit 0 grant, bit 1 edit, bit 2 delete.
    pub flags: u8,
}

impl Grant {
    /// The contract's word for "for ever": the greatest 40-bit number.
    pub const FOREVER: u64 = (1 << 40) - 1;
    /// Flag of the grant right.
    pub const GRANT: u8 = 1;
    /// Flag of the edit right.
    pub const EDIT: u8 = 2;
    /// Flag of the delete right.
    pub const DELETE: u8 = 4;

    /// No rights.
    pub const NONE: Self = Self { subscribe_until: 0, publish_until: 0, flags: 0 };

    /// Whether `right` is held at `now_s` (Unix seconds).
    pub const fn allows(&self, right: Right, now_s: u64) -> bool {
        match right {
            Right::Subscribe => now_s <= self.subscribe_until,
            Right::Publish => now_s <= self.publish_until,
            Right::Grant => self.flags & Self::GRANT != 0,
            Right::Edit => self.flags & Self::EDIT != 0,
            Right::Delete => self.flags & Self::DELETE != 0,
        }
    }
}

/// A stream as its contract describes it, without its grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRecord {
    /// The stream.
    pub id: StreamId,
    /// Who owns it.
    pub owner: Address,
    /// Metadata, JSON as it was written.
    pub metadata: String,
    /// How many partitions, 1..=100; from the metadata's `partitions`, else 1.
    pub partitions: u16,
    /// Days that history is kept; from the metadata's `storageDays`, else `None`: the node's default.
    pub storage_days: Option<u32>,
    /// `path` of the alias `0xowner/path`, when listed.
    pub path: Option<String>,
    /// The contract's key epoch.
    pub key_epoch: u64,
    /// Unix second of the block that created it.
    pub created_at: u64,
}

impl StreamRecord {
    /// Reads `partitions` and `storageDays` out of metadata. Values out of range count as absent: the chain takes any
    /// text, and a stream must not become unusable by it.
    pub fn settings(metadata: &str) -> (u16, Option<u32>) {
        let value: serde_json::Value = serde_json::from_str(metadata).unwrap_or_default();
        let number = |name: &str| value.get(name).and_then(serde_json::Value::as_u64);
        let partitions = number("partitions").filter(|n| (1..=100).contains(n)).unwrap_or(1);
        let days = number("storageDays").and_then(|days| u32::try_from(days).ok());
        (partitions as u16, days)
    }
}

/// One step of the view of streams and rights, in the order of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryChange {
    /// A stream as it is now.
    Stream(StreamRecord),
    /// A stream is gone: removed, or its creation undone by a reorg. Its grants go with it.
    Removed(StreamId),
    /// One account's rights as they are now; [`Address::ZERO`] is everyone.
    Grant(StreamId, Address, Grant),
    /// A delegation, by wallet and digest, was revoked (`true`), or that was undone by a reorg (`false`).
    Delegation(Address, [u8; 32], bool),
}

/// Streams and rights as of one block. Pure: the follower feeds it, the broker asks it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    streams: BTreeMap<StreamId, StreamEntry>,
    aliases: BTreeMap<(Address, String), StreamId>,
    revoked: BTreeSet<(Address, [u8; 32])>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct StreamEntry {
    record: StreamRecord,
    grants: BTreeMap<Address, Grant>,
}

impl Registry {
    /// Takes one step and returns the step back, for a follower that may have to undo it.
    /// A grant to an unknown stream changes nothing.
    pub fn apply(&mut self, change: RegistryChange) -> Vec<RegistryChange> {
        match change {
            RegistryChange::Stream(record) => {
                let id = record.id;
                let before = self.streams.get(&id).map(|entry| entry.record.clone());
                if let Some(path) =
                    before.as_ref().and_then(|old| old.path.clone().map(|path| (old.owner, path)))
                {
                    self.aliases.remove(&path);
                }
                if let Some(path) = record.path.clone() {
                    self.aliases.insert((record.owner, path), id);
                }
                match self.streams.get_mut(&id) {
                    Some(entry) => entry.record = record,
                    None => {
                        self.streams.insert(id, StreamEntry { record, grants: BTreeMap::new() });
                    }
                }
                vec![before.map_or(RegistryChange::Removed(id), RegistryChange::Stream)]
            }
            RegistryChange::Removed(id) => {
                let Some(entry) = self.streams.remove(&id) else { return Vec::new() };
                if let Some(path) = entry.record.path.clone() {
                    self.aliases.remove(&(entry.record.owner, path));
                }
                let grants =
                    entry.grants.into_iter().map(|(who, grant)| RegistryChange::Grant(id, who, grant));
                std::iter::once(RegistryChange::Stream(entry.record)).chain(grants).collect()
            }
            RegistryChange::Grant(id, who, grant) => {
                let Some(entry) = self.streams.get_mut(&id) else { return Vec::new() };
                let before = if grant == Grant::NONE {
                    entry.grants.remove(&who)
                } else {
                    entry.grants.insert(who, grant)
                };
                vec![RegistryChange::Grant(id, who, before.unwrap_or(Grant::NONE))]
            }
            RegistryChange::Delegation(wallet, digest, revoked) => {
                let was = if revoked {
                    !self.revoked.insert((wallet, digest))
                } else {
                    self.revoked.remove(&(wallet, digest))
                };
                vec![RegistryChange::Delegation(wallet, digest, was)]
            }
        }
    }

    /// A stream.
    pub fn stream(&self, id: StreamId) -> Option<&StreamRecord> {
        self.streams.get(&id).map(|entry| &entry.record)
    }

    /// The stream listed as `0xowner/path`.
    pub fn alias(&self, owner: Address, path: &str) -> Option<StreamId> {
        self.aliases.get(&(owner, path.to_owned())).copied()
    }

    /// Every stream, by id.
    pub fn streams(&self) -> impl Iterator<Item = &StreamRecord> {
        self.streams.values().map(|entry| &entry.record)
    }

    /// The streams behind `after`, by id, or all: looked up and not passed over.
    pub fn streams_after(&self, after: Option<StreamId>) -> impl Iterator<Item = &StreamRecord> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.streams.range((from, Bound::Unbounded)).map(|(_, entry)| &entry.record)
    }

    /// Every grant of a stream, by account.
    pub fn grants(&self, id: StreamId) -> impl Iterator<Item = (Address, Grant)> {
        self.streams
            .get(&id)
            .into_iter()
            .flat_map(|entry| entry.grants.iter().map(|(who, grant)| (*who, *grant)))
    }

    /// Whether `who` holds `right` at `now_s`, by an own grant or, for reading and publishing, by everyone's.
    pub fn can(&self, id: StreamId, who: Option<Address>, right: Right, now_s: u64) -> bool {
        let Some(entry) = self.streams.get(&id) else { return false };
        let by =
            |address: Address| entry.grants.get(&address).is_some_and(|grant| grant.allows(right, now_s));
        if who == Some(entry.record.owner) && right == Right::Grant {
            return true;
        }
        let public = matches!(right, Right::Publish | Right::Subscribe) && by(Address::ZERO);
        public || who.filter(|who| *who != Address::ZERO).is_some_and(by)
    }

    /// Whether an account has an own grant of publishing, be it over by now.
    pub fn has_published(&self, id: StreamId, who: Address) -> bool {
        let entry = self.streams.get(&id);
        entry.and_then(|entry| entry.grants.get(&who)).is_some_and(|grant| grant.publish_until > 0)
    }

    /// Until which Unix second, included, `who` may read a stream, by an own grant or by everyone's; 0 is never.
    pub fn subscribe_until(&self, id: StreamId, who: Option<Address>) -> u64 {
        let Some(entry) = self.streams.get(&id) else { return 0 };
        let by = |address: Address| entry.grants.get(&address).map_or(0, |grant| grant.subscribe_until);
        by(Address::ZERO).max(who.map_or(0, by))
    }

    /// Checks that a stream exists, has this partition, and that `who` holds `right`.
    ///
    /// # Errors
    /// `STREAM_NOT_FOUND`, `INVALID_PARTITION` or `MISSING_PERMISSION`.
    pub fn check(
        &self,
        at: StreamPartition,
        who: Option<Address>,
        right: Right,
        now_s: u64,
    ) -> Result<&StreamRecord, Refusal> {
        let record = self.stream(at.stream).ok_or_else(|| {
            Refusal::new(Code::StreamNotFound, format!("the registry has no stream {}", at.stream))
        })?;
        if at.partition.number() >= record.partitions {
            return Err(Refusal::new(
                Code::InvalidPartition,
                format!(
                    "stream {} has partitions 0 to {}, not {}",
                    at.stream,
                    record.partitions - 1,
                    at.partition.number()
                ),
            ));
        }
        if self.can(at.stream, who, right, now_s) {
            return Ok(record);
        }
        let who = who.map_or_else(|| "somebody not signed in".to_owned(), |who| who.to_string());
        Err(Refusal::new(
            Code::MissingPermission,
            format!("{who} may not {} stream {}; its owner can grant it", right.as_str(), at.stream),
        ))
    }

    /// Whether a wallet has revoked the delegation with this digest.
    pub fn is_revoked(&self, wallet: Address, digest: [u8; 32]) -> bool {
        self.revoked.contains(&(wallet, digest))
    }
}
