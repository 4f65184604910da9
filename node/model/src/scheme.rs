use crate::{BatchId, Header, Origin, SignatureType};
use std::fmt;

/// How signatures of one type are checked. Types 1 and 2 are built in; others come as plugins.
pub trait SignatureScheme: fmt::Debug + Send + Sync {
    /// Of which type.
    fn signature_type(&self) -> SignatureType;

    /// Whether it speaks for origins of a type.
    fn speaks_for(&self, origin_type: u8) -> bool;

    /// Whether each signature is the origin's over its header; as many answers as items, in their order. For a worker thread:
    /// it may take as long as the scheme's bounds say.
    fn verify(&self, items: &[SignedHeader<'_>]) -> Vec<Result<(), SignatureFault>>;
}

/// A key of such a type that signs.
pub trait SchemeSigner: fmt::Debug + Send + Sync {
    /// Of which type.
    fn signature_type(&self) -> SignatureType;

    /// Who signs.
    fn origin(&self) -> Origin;

    /// The signature over a batch. For a worker thread.
    ///
    /// # Errors
    /// What keeps it from signing.
    fn sign(&self, id: BatchId) -> Result<Vec<u8>, SignatureFault>;
}

/// A header with the signature over it.
#[derive(Clone, Copy, Debug)]
pub struct SignedHeader<'a> {
    /// What is signed.
    pub header: &'a Header,
    /// By whom, if it holds.
    pub signature: &'a [u8],
}

/// Why a scheme does not say that a signature holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// It is not the origin's over this header.
    #[error("it is not the origin's over this header")]
    Invalid,
    /// Its bytes are no signature of this type.
    #[error("its bytes are no signature of this type")]
    Malformed,
    /// What it stands on was not in force when the events were made.
    #[error("what it stands on was not in force when the events were made")]
    Expired,
    /// It stands on nothing that is trusted here.
    #[error("it stands on nothing that is trusted here")]
    Untrusted,
    /// It cannot be told now.
    #[error("it cannot be told now, so send it again later: {0}")]
    Unavailable(String),
}
