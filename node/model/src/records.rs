use bytes::Bytes;
use std::{fmt::Debug, sync::Arc};

/// Something to be kept that only the node can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Of the whole store; each append has greater ones than those before it.
    pub place: u64,
    /// The greatest of its events', milliseconds; for whoever wants to lay files out by time.
    pub timestamp: i64,
    /// The node's own bytes, or as many of them as were asked for.
    pub value: Bytes,
}

/// A stretch of places to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// The first place that is wanted.
    pub from: u64,
    /// Behind the last one.
    pub until: u64,
    /// Records of one answer, at most; 1 or more. Fewer are no sign that there are no more.
    pub records_max: usize,
    /// Bytes of values of one answer; one record may be longer.
    pub bytes_max: usize,
    /// So many bytes of each value are wanted; 0: all of it.
    pub prefix_bytes: usize,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// In the order of their places, or as they were asked for; those that there are.
    pub records: Vec<Record>,
    /// Of a query: where to go on; its `until` when there is no more, as when an answer has neither records nor damage.
    pub next: u64,
    /// Places whose record is there and cannot be read. Nothing of them was deleted.
    pub damaged: Vec<u64>,
}

/// Why a store of records did not do what was asked, in a sentence that names the store, its fault and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RecordFault(pub String);

/// Keeps records, and knows nothing of what stands in them: what a storage plugin is to the node.
///
/// All meaning is in the event log above it. Calls block as long as they take: make them on threads that may.
pub trait RecordStore: Send + Sync + Debug {
    /// Keeps all, in order. On return they outlive the process, not yet the power.
    ///
    /// # Errors
    /// None of them is kept for certain, and the log above takes no more writes.
    fn append(&self, records: &[Record]) -> Result<(), RecordFault>;

    /// On return everything appended and trimmed before the call outlives the power.
    ///
    /// # Errors
    /// The log above takes no more writes.
    fn sync(&self) -> Result<(), RecordFault>;

    /// Records in the order of their places.
    ///
    /// # Errors
    /// Nothing can be read now.
    fn query(&self, query: &Query) -> Result<Records, RecordFault>;

    /// The records of these places.
    ///
    /// # Errors
    /// Nothing can be read now.
    fn fetch(&self, places: &[u64]) -> Result<Records, RecordFault>;

    /// The records of these places are not wanted any more. They are given no more, after a restart either, once a
    /// [`sync`](RecordStore::sync) has followed.
    ///
    /// # Errors
    /// The log above takes no more writes.
    fn trim(&self, places: &[u64]) -> Result<(), RecordFault>;
}

impl<R: RecordStore + ?Sized> RecordStore for Arc<R> {
    fn append(&self, records: &[Record]) -> Result<(), RecordFault> {
        (**self).append(records)
    }

    fn sync(&self) -> Result<(), RecordFault> {
        (**self).sync()
    }

    fn query(&self, query: &Query) -> Result<Records, RecordFault> {
        (**self).query(query)
    }

    fn fetch(&self, places: &[u64]) -> Result<Records, RecordFault> {
        (**self).fetch(places)
    }

    fn trim(&self, places: &[u64]) -> Result<(), RecordFault> {
        (**self).trim(places)
    }
}
