use crate::{BatchError, ContentType, EncryptionType, EventRef, Header, NewEvent, VerifiedBatch, Verifier};
use bytes::Bytes;
use mainstem_crypto::{Hash, merkle};

/// One event of a batch, alone, with all it takes to prove it: header, signature, its place and the Merkle path.
///
/// A contract can check the same with the SHA-256 precompile and `ecrecover` (`contracts/src/verify`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventProof {
    /// The signed header.
    pub header: Header,
    /// The batch's signature.
    pub signature: Bytes,
    /// The batch's delegation; empty unless the signature type is 2.
    pub delegation: Bytes,
    /// Place of the event in the batch, from 0.
    pub index: u16,
    /// The event.
    pub event: NewEvent,
    /// Siblings from the leaf up to the root.
    pub path: Vec<Hash>,
}

impl EventProof {
    /// Takes event `index` out of a proven batch. `None` when the batch has no such event.
    pub fn of(batch: &VerifiedBatch, index: u16) -> Option<Self> {
        let place = usize::from(index);
        let event = batch.event(place)?;
        Some(Self {
            header: batch.header().clone(),
            signature: batch.signature().clone(),
            delegation: batch.delegation().clone(),
            index,
            event: NewEvent {
                timestamp: event.timestamp,
                content_type: event.content_type,
                encryption_type: event.encryption_type,
                content: batch.content(place)?,
            },
            path: merkle::path(&batch.leaf_hashes(), place)?,
        })
    }

    /// Proves the event against a network: path, then signature.
    ///
    /// # Errors
    /// What does not hold.
    pub fn verify(&self, verifier: &Verifier) -> Result<(), BatchError> {
        let (index, count) = (usize::from(self.index), usize::from(self.header.count));
        let leaf = self.event.as_ref().leaf_hash();
        if merkle::root_from_path(&leaf, index, count, &self.path) != Some(self.header.merkle_root) {
            return Err(BatchError::MerkleRoot);
        }
        if !(self.header.timestamp_min..=self.header.timestamp_max).contains(&self.event.timestamp) {
            return Err(BatchError::Timestamps("the event's timestamp is outside its batch's"));
        }
        verifier.verify_header(&self.header, &self.signature, &self.delegation).map(|_| ())
    }

    /// Reads a leaf: 16 bytes of fields, then the content.
    ///
    /// # Errors
    /// A length that the leaf's own field does not confirm.
    pub fn event_of_leaf(leaf: &Bytes) -> Result<NewEvent, BatchError> {
        let (prefix, content) =
            leaf.split_first_chunk::<16>().ok_or(BatchError::Malformed("a leaf has at least 16 bytes"))?;
        let at = |n: usize| [prefix[n], prefix[n + 1]];
        let mut timestamp = [0; 8];
        timestamp.copy_from_slice(&prefix[..8]);
        let event = NewEvent {
            timestamp: i64::from_be_bytes(timestamp),
            content_type: ContentType(u16::from_be_bytes(at(8))),
            encryption_type: EncryptionType(u16::from_be_bytes(at(10))),
            content: leaf.slice(16..),
        };
        let shown = EventRef { content, ..event.as_ref() };
        if shown.leaf_prefix() == *prefix {
            Ok(event)
        } else {
            Err(BatchError::Malformed("the leaf's length field is not the length of its content"))
        }
    }
}
