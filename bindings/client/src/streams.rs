//! Streams and rights, over the chain. Names are those that Streamr's users know.

use crate::{Client, ClientError, ErrorKind, ResendOptions, ResendRange};
use mainstem_chain::NewStream;
use mainstem_model::{Address, Grant, Partition, Right, StreamId, StreamRecord};
use std::{
    str::FromStr,
    time::{Duration, Instant, SystemTime},
};

/// A stream to be created. The path makes its alias `0xowner/path`, and its id knowable.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct StreamDefinition {
    /// Listed under this path; a stream without one has only its id.
    pub path: Option<String>,
    /// A JSON object: `partitions`, `description`, `storageDays`, `config`, and what you like.
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// First grants; the owner holds every right anyway.
    pub grants: Vec<PermissionAssignment>,
}

/// Rights of one account, or of everyone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermissionAssignment {
    /// Whose; `None` is everyone, who can be given `publish` and `subscribe` only.
    pub user: Option<Address>,
    /// Which.
    pub permissions: Vec<Right>,
    /// Unix second until which `publish` and `subscribe` hold; `None` is for ever.
    pub until: Option<u64>,
}

/// How a stream is named: by id, or by its alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamName {
    /// `0x` and 40 hex digits.
    Id(StreamId),
    /// `0xowner/path`.
    Alias(Address, String),
}

impl From<StreamId> for StreamName {
    fn from(id: StreamId) -> Self {
        Self::Id(id)
    }
}

/// What to search for; whatever is set must hold.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct StreamSearch {
    /// In the id, alias or metadata.
    pub term: Option<String>,
    /// Somebody who holds `all_of`, by an own grant or everyone's.
    pub user: Option<Address>,
    /// Rights that `user` must hold.
    pub all_of: Vec<Right>,
    /// Streams of this owner.
    pub owner: Option<Address>,
}

/// How long a broker may take to see what has just been written to the chain.
const BROKER_LAG_MAX: Duration = Duration::from_secs(20);
/// Wait between two looks whether the broker sees it.
const BROKER_POLL: Duration = Duration::from_millis(100);

impl FromStr for StreamName {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self, ClientError> {
        match text.split_once('/') {
            None => Ok(Self::Id(text.parse()?)),
            Some((owner, path)) if !path.is_empty() => {
                let owner = owner.parse().map_err(|_| {
                    ClientError::argument("a stream's alias is 0x, the owner's 40 hex digits, / and a path")
                })?;
                Ok(Self::Alias(owner, path.to_owned()))
            }
            Some(_) => Err(ClientError::argument("a stream's alias has a path behind the /")),
        }
    }
}

impl StreamDefinition {
    /// A stream under a path, of one partition, without description.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: Some(path.into()), ..Self::default() }
    }

    /// With so many partitions, 1..=100.
    #[must_use]
    pub fn partitions(mut self, partitions: u16) -> Self {
        self.metadata.insert("partitions".to_owned(), partitions.into());
        self
    }

    /// With rights of somebody, or of everyone (`None`), for ever.
    #[must_use]
    pub fn grant(mut self, user: Option<Address>, permissions: &[Right]) -> Self {
        self.grants.push(PermissionAssignment { user, permissions: permissions.to_vec(), until: None });
        self
    }
}

impl PermissionAssignment {
    /// Who, as the contract has it.
    fn account(&self) -> Address {
        self.user.unwrap_or(Address::ZERO)
    }

    fn add_to(&self, mut grant: Grant) -> Grant {
        let until = self.until.unwrap_or(Grant::FOREVER);
        for right in &self.permissions {
            match right {
                Right::Subscribe => grant.subscribe_until = until,
                Right::Publish => grant.publish_until = until,
                Right::Grant => grant.flags |= Grant::GRANT,
                Right::Edit => grant.flags |= Grant::EDIT,
                Right::Delete => grant.flags |= Grant::DELETE,
            }
        }
        grant
    }

    fn take_from(&self, mut grant: Grant) -> Grant {
        for right in &self.permissions {
            match right {
                Right::Subscribe => grant.subscribe_until = 0,
                Right::Publish => grant.publish_until = 0,
                Right::Grant => grant.flags &= !Grant::GRANT,
                Right::Edit => grant.flags &= !Grant::EDIT,
                Right::Delete => grant.flags &= !Grant::DELETE,
            }
        }
        grant
    }
}

impl Client {
    /// Creates a stream, and waits until the broker knows it.
    ///
    /// # Errors
    /// `NotConfigured` without wallet and chain; what the chain says.
    pub async fn create_stream(&self, definition: StreamDefinition) -> Result<StreamRecord, ClientError> {
        let chain = self.chain()?;
        let grants = definition.grants.iter().map(|grant| (grant.account(), grant.add_to(Grant::NONE)));
        let stream = NewStream {
            metadata: serde_json::Value::Object(definition.metadata.clone()).to_string(),
            path: definition.path.clone(),
            grants: grants.collect(),
            salt: None,
        };
        let (registry, wallet) = (chain.registry(), chain.wallet()?);
        let (id, receipt) = registry.create_stream(wallet, &stream).await?;
        // IMPORTANT: not asked of the chain: it was created, and an endpoint that lags would say that there is none.
        let record = registry.created(wallet.address(), id, &stream, &receipt).await;
        self.await_stream(id).await?;
        Ok(record)
    }

    /// A stream as the chain has it now.
    ///
    /// # Errors
    /// `StreamNotFound`; what the chain says.
    pub async fn get_stream(&self, name: impl Into<StreamName>) -> Result<StreamRecord, ClientError> {
        let chain = self.chain()?;
        let name = name.into();
        let found = match &name {
            StreamName::Id(id) => Some(*id),
            StreamName::Alias(owner, path) => chain.registry().alias(*owner, path).await?,
        };
        let record = match found {
            Some(id) => chain.registry().stream(id).await?,
            None => None,
        };
        record.ok_or_else(|| {
            let name = match name {
                StreamName::Id(id) => id.to_string(),
                StreamName::Alias(owner, path) => format!("{owner}/{path}"),
            };
            ClientError::new(ErrorKind::StreamNotFound, format!("the registry has no stream {name}"))
        })
    }

    /// The stream under the definition's path, created if there is none. One that is there is taken as it is.
    ///
    /// # Errors
    /// As [`Client::create_stream`]; the definition has no path.
    pub async fn get_or_create_stream(
        &self,
        definition: StreamDefinition,
    ) -> Result<StreamRecord, ClientError> {
        let Some(path) = definition.path.clone() else {
            return Err(ClientError::argument("a stream without a path cannot be found again; give it one"));
        };
        let owner = self.chain()?.wallet()?.address();
        match self.get_stream(StreamName::Alias(owner, path)).await {
            Err(error) if error.kind == ErrorKind::StreamNotFound => self.create_stream(definition).await,
            found => found,
        }
    }

    /// Replaces the metadata.
    ///
    /// # Errors
    /// As [`Client::create_stream`].
    pub async fn set_stream_metadata(
        &self,
        id: StreamId,
        metadata: serde_json::Map<String, serde_json::Value>,
    ) -> Result<(), ClientError> {
        let chain = self.chain()?;
        let metadata = serde_json::Value::Object(metadata).to_string();
        chain.registry().set_metadata(chain.wallet()?, id, &metadata).await?;
        self.forget_partitions(id);
        Ok(())
    }

    /// Removes a stream for good.
    ///
    /// # Errors
    /// As [`Client::create_stream`].
    pub async fn delete_stream(&self, id: StreamId) -> Result<(), ClientError> {
        let chain = self.chain()?;
        chain.registry().remove(chain.wallet()?, id).await?;
        self.forget_partitions(id);
        Ok(())
    }

    /// Streams that fit. Reads the registry's events; the first time takes as long as that.
    ///
    /// # Errors
    /// What the chain says.
    pub async fn search_streams(&self, search: &StreamSearch) -> Result<Vec<StreamRecord>, ClientError> {
        let now_s = unix_s();
        let fits = |registry: &mainstem_model::Registry, record: &StreamRecord| {
            let term = search.term.as_deref().is_none_or(|term| {
                record.id.to_string().contains(term)
                    || record.path.as_deref().is_some_and(|path| path.contains(term))
                    || record.metadata.contains(term)
            });
            let owner = search.owner.is_none_or(|owner| owner == record.owner);
            let can = |right: &Right| registry.can(record.id, search.user, *right, now_s);
            term && owner && search.all_of.iter().all(can)
        };
        let view = self
            .chain()?
            .view(|registry| registry.streams().filter(|record| fits(registry, record)).cloned().collect());
        view.await
    }

    /// Adds rights to those that accounts have.
    ///
    /// # Errors
    /// As [`Client::create_stream`].
    pub async fn grant_permissions(
        &self,
        id: StreamId,
        grants: &[PermissionAssignment],
    ) -> Result<(), ClientError> {
        self.change_permissions(id, grants, PermissionAssignment::add_to).await
    }

    /// Takes rights from accounts.
    ///
    /// # Errors
    /// As [`Client::create_stream`].
    pub async fn revoke_permissions(
        &self,
        id: StreamId,
        rights: &[PermissionAssignment],
    ) -> Result<(), ClientError> {
        self.change_permissions(id, rights, PermissionAssignment::take_from).await
    }

    async fn change_permissions(
        &self,
        id: StreamId,
        assignments: &[PermissionAssignment],
        change: impl Fn(&PermissionAssignment, Grant) -> Grant,
    ) -> Result<(), ClientError> {
        let chain = self.chain()?;
        let mut accounts: Vec<Address> = assignments.iter().map(PermissionAssignment::account).collect();
        accounts.sort_unstable();
        accounts.dedup();
        // The contract keeps an account's rights as one: several assignments to one account add up.
        let all = |who, grant| {
            let of_who = assignments.iter().filter(|assignment| assignment.account() == who);
            of_who.fold(grant, |grant, assignment| change(assignment, grant))
        };
        chain.registry().change(chain.wallet()?, id, &accounts, all).await?;
        Ok(())
    }

    /// Who holds which rights now. Reads the registry's events; the first time takes as long as that.
    ///
    /// # Errors
    /// What the chain says.
    pub async fn get_permissions(&self, id: StreamId) -> Result<Vec<PermissionAssignment>, ClientError> {
        let now_s = unix_s();
        let grants: Vec<_> = self.chain()?.view(|registry| registry.grants(id).collect()).await?;
        let mut assignments = Vec::new();
        for (who, grant) in grants {
            let user = (who != Address::ZERO).then_some(who);
            let held = |right: &Right| grant.allows(*right, now_s);
            // Rights of different ends are told apart.
            let until = |right: &Right| match right {
                Right::Publish => Some(grant.publish_until),
                Right::Subscribe => Some(grant.subscribe_until),
                Right::Edit | Right::Delete | Right::Grant => None,
            };
            let until = |right: &Right| until(right).filter(|until| *until != Grant::FOREVER);
            let mut ends: Vec<Option<u64>> =
                Right::ALL.iter().filter(|right| held(right)).map(until).collect();
            ends.sort_unstable();
            ends.dedup();
            for end in ends {
                let here = |right: &&Right| held(right) && until(right) == end;
                let permissions = Right::ALL.iter().filter(here).copied().collect();
                assignments.push(PermissionAssignment { user, permissions, until: end });
            }
        }
        Ok(assignments)
    }

    /// Whether somebody holds a right now, by an own grant or by everyone's; `None` asks about everyone.
    ///
    /// # Errors
    /// What the chain says.
    pub async fn has_permission(
        &self,
        id: StreamId,
        user: Option<Address>,
        right: Right,
    ) -> Result<bool, ClientError> {
        let registry = self.chain()?.registry();
        Ok(match user {
            Some(user) => registry.can(id, user, right).await?,
            None => registry.permission(id, Address::ZERO).await?.allows(right, unix_s()),
        })
    }

    /// Waits until the broker has seen a new stream.
    async fn await_stream(&self, id: StreamId) -> Result<(), ClientError> {
        let until = Instant::now() + BROKER_LAG_MAX;
        loop {
            let look = ResendOptions::new(id.partition(Partition::ZERO), ResendRange::Last(0));
            match self.resend(look).await {
                Ok(_) => return Ok(()),
                Err(error)
                    if matches!(error.kind, ErrorKind::StreamNotFound | ErrorKind::MissingPermission)
                        && Instant::now() < until => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(BROKER_POLL).await;
        }
    }
}

pub(crate) fn unix_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ids_or_aliases() {
        let id = "0x00000000000000000000000000000000000000ff";
        assert_eq!(id.parse::<StreamName>().unwrap(), StreamName::Id(id.parse().unwrap()));
        let alias = format!("{id}/a/b");
        assert_eq!(
            alias.parse::<StreamName>().unwrap(),
            StreamName::Alias(id.parse().unwrap(), "a/b".into())
        );
        for wrong in ["", "x", "0x12", "0x12/path", "0x00000000000000000000000000000000000000ff/"] {
            assert!(wrong.parse::<StreamName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn rights_are_added_and_taken_one_by_one() {
        let all = PermissionAssignment { user: None, permissions: Right::ALL.to_vec(), until: Some(5) };
        let grant = all.add_to(Grant::NONE);
        assert_eq!(grant, Grant { subscribe_until: 5, publish_until: 5, flags: 7 });
        let some = PermissionAssignment { permissions: vec![Right::Publish, Right::Edit], ..all.clone() };
        assert_eq!(some.take_from(grant), Grant { subscribe_until: 5, publish_until: 0, flags: 5 });
        assert_eq!(all.take_from(grant), Grant::NONE);
    }
}
