use crate::{Client, ClientError};
use mainstem_model::{Address, Right, StreamId, StreamRecord};

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

impl Client {
    /// Creates a stream.
    ///
    /// # Errors
    /// `NotConfigured` without wallet and chain; what the chain says.
    pub async fn create_stream(&self, definition: StreamDefinition) -> Result<StreamRecord, ClientError> {
        let _ = definition;
        todo!()
    }

    /// A stream as the chain has it now.
    ///
    /// # Errors
    /// `StreamNotFound`; what the chain says.
    pub async fn get_stream(&self, name: impl Into<StreamName>) -> Result<StreamRecord, ClientError> {
        let _ = name.into();
        todo!()
    }

    /// The stream under the definition's path, created if there is none.
    ///
    /// # Errors
    /// As [`Client::create_stream`]; the definition has no path.
    pub async fn get_or_create_stream(&self, definition: StreamDefinition) -> Result<StreamRecord, ClientError> {
        let _ = definition;
        todo!()
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
        let _ = (id, metadata);
        todo!()
    }

    /// Removes a stream for good.
    ///
    /// # Errors
    /// As [`Client::create_stream`].
    pub async fn delete_stream(&self, id: StreamId) -> Result<(), ClientError> {
        let _ = id;
        todo!()
    }

    /// Streams that fit. Reads the registry's events; the first time takes as long as that.
    ///
    /// # Errors
    /// What the chain says.
    pub async fn search_streams(&self, search: &StreamSearch) -> Result<Vec<StreamRecord>, ClientError> {
        let _ = search;
        todo!()
    }

    /// Adds rights to those that accounts have.
    ///
    /// # Errors
    /// As [`Client::create_stream`].
    pub async fn grant_permissions(&self, id: StreamId, grants: &[PermissionAssignment]) -> Result<(), ClientError> {
        let _ = (id, grants);
        todo!()
    }

    /// Takes rights from accounts.
    ///
    /// # Errors
    /// As [`Client::create_stream`].
    pub async fn revoke_permissions(&self, id: StreamId, rights: &[PermissionAssignment]) -> Result<(), ClientError> {
        let _ = (id, rights);
        todo!()
    }

    /// Who holds which rights now. Reads the registry's events; the first time takes as long as that.
    ///
    /// # Errors
    /// What the chain says.
    pub async fn get_permissions(&self, id: StreamId) -> Result<Vec<PermissionAssignment>, ClientError> {
        let _ = id;
        todo!()
    }

    /// Whether somebody holds a right now, by an own grant or by everyone's; `None` asks about everyone.
    ///
    /// # Errors
    /// What the chain says.
    pub async fn has_permission(&self, id: StreamId, user: Option<Address>, right: Right) -> Result<bool, ClientError> {
        let _ = (id, user, right);
        todo!()
    }
}
