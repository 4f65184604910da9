//! The words of Mainstem as types: streams, events, batches, series, rights; and their bytes.
//!
//! What it is: ids, the signed batch header and its codec, verification, proofs, the view of streams and rights, limits.
//! Bytes are parsed into these types once, at the edge; a [`VerifiedBatch`] can only be had by proving one.
//! What it is not: it opens no socket or file, reads no clock, draws no randomness.
//!
//! ```
//! use mainstem_crypto::{Address, SecretKey};
//! use mainstem_model::*;
//! let network = Network { chain_id: 31337, registry: Address([1; 20]) };
//! let stream = StreamId(Address([2; 20]));
//! let key = SecretKey::from_bytes(&[7; 32]).unwrap();
//! let signer = Signer::wallet(key);
//! let mut series = SeriesWriter::new(network, stream.partition(Partition::ZERO), signer, SeriesId(1));
//! let batch = series.seal(&[NewEvent::json(1_700_000_000_000, &serde_json::json!({"hello": "world"}))]).unwrap();
//! let verified = Verifier::new(network).verify(Batch::decode(batch.bytes().clone()).unwrap()).unwrap();
//! assert_eq!(verified.header().count, 1);
//! ```

mod ack;
mod assignment;
mod batch;
mod challenge;
mod code;
mod cursor;
mod delegation;
mod encryption;
mod equivocation;
mod error;
mod event;
mod header;
mod heads;
mod ids;
pub mod limits;
mod proof;
mod records;
mod registry;
mod scheme;
mod series;
mod verify;

pub use ack::{Ack, AckLevel};
pub use assignment::{
    Assignment, AssignmentClaim, Candidate, EpochNumber, Member, Score, Seed, Shard, ShardCount, assigned,
    drawn_at,
};
pub use batch::Batch;
pub use challenge::Challenge;
pub use code::{Code, Refusal};
pub use cursor::{BatchKey, Cursor, ReadFilter, ReadStart};
pub use delegation::Delegation;
pub use encryption::{
    Aes256GcmScheme, ContentKey, EncryptionFault, EncryptionScheme, KeyId, KeyIdError, OpenFault, Opened,
    Plain, SealContext, Sealed, sealed_content, split_sealed,
};
pub use equivocation::Equivocation;
pub use error::BatchError;
pub use event::{ContentType, EncryptionType, EventRef, NewEvent};
pub use header::{Header, SignatureType};
pub use heads::{HeadsDigest, HeadsDigester, HeadsSummary, SeriesRange};
pub use ids::{
    BatchId, Network, NetworkId, Origin, Partition, PartitionKey, SeriesId, StreamId, StreamPartition,
};
pub use mainstem_crypto::Address;
pub use proof::EventProof;
pub use records::{Query, Record, RecordFault, RecordStore, Records};
pub use registry::{Grant, Registry, RegistryChange, Right, StreamRecord};
pub use scheme::{SchemeSigner, SignatureFault, SignatureScheme, SignedHeader};
pub use series::{SeriesHead, SeriesKey, SeriesVerdict, SeriesWriter, Signer};
pub use verify::{VerifiedBatch, Verifier};
