use mainstem_model::RecordFault;
use std::{io, path::PathBuf};

/// What went wrong in the store, and what its caller may do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A write or an fsync failed before. Nothing more is acknowledged: stop, and let recovery find what is safe.
    #[error(
        "the store stopped taking writes after a failed write or fsync: {0}; see to what keeps it (the disk, or the storage plugin's \
         server), then restart the node"
    )]
    Poisoned(String),
    /// The folder holds a store that cannot be opened. Nothing in it was changed.
    #[error(
        "the store in {path} cannot be opened: {why}; nothing was deleted: restore what is kept there from a backup, or move it \
         away to begin an empty store and let the other replicas fill it"
    )]
    Unopenable {
        /// Where it is kept: a folder, or in words where a storage plugin keeps it.
        path: PathBuf,
        /// What is wrong with it, and with which file.
        why: String,
    },
    /// Another process has the store open.
    #[error("the store in {path} is open in another process; stop that one first")]
    Locked {
        /// The store's folder.
        path: PathBuf,
    },
    /// A row that was asked for cannot be read. Other rows still can.
    #[error("a part of the store is damaged: {0}")]
    Damaged(String),
    /// The operating system refused a read; nothing is said about the data.
    #[error("the store could not be read: {0}")]
    Read(io::Error),
    /// What keeps the records of a log did not do what was asked; nothing is said about the data.
    #[error("the store of records failed: {0}")]
    Records(#[from] RecordFault),
    /// The index of a log over records has no more room.
    #[error(
        "the store has as many rows as store.records.index_rows_max allows, {rows_max}: raise that, or let streams be kept for \
         fewer days"
    )]
    Full {
        /// The bound.
        rows_max: usize,
    },
    /// The cursor is of another store, or points past the end.
    #[error("the cursor belongs to another store or points past its end; resend by time instead")]
    ForeignCursor,
}
