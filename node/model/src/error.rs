use crate::{Code, NetworkId, Origin, Refusal, SignatureFault, limits};
use mainstem_crypto::CryptoError;

/// Why a batch was refused before any state was looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// Not a batch of our encoding.
    #[error("the batch is not in its one encoding: {0}")]
    Malformed(&'static str),
    /// Over the size limit.
    #[error("the batch has {0} bytes, at most {max} are allowed; send fewer or smaller events", max = limits::BATCH_BYTES_MAX)]
    TooLarge(usize),
    /// No events, or too many.
    #[error("the batch has {0} events, expected 1 to {max}", max = limits::EVENTS_PER_BATCH_MAX)]
    EventCount(usize),
    /// One event is too large.
    #[error("event {index} of the batch has {bytes} bytes of content, at most {max} are allowed", max = limits::CONTENT_BYTES_MAX)]
    ContentTooLarge {
        /// Which event, from 0.
        index: usize,
        /// Its size.
        bytes: usize,
    },
    /// Partition out of range.
    #[error("partition {0} is out of range, expected 0 to 99")]
    Partition(u16),
    /// Signed for another chain or registry.
    #[error("the batch was signed for network {0}, which is another chain id or registry than this one's")]
    Network(NetworkId),
    /// Neither built in nor a plugin's.
    #[error(
        "signature type {0} is not known here; install a plugin that claims it (mainstem plugin install FILE), or switch it on if \
         `mainstem plugin list` has it (mainstem plugin enable NAME), or sign with type 1 (secp256k1)"
    )]
    SignatureType(u8),
    /// The signature type is not one for origins of this type.
    #[error(
        "origin type {origin} does not go with signature type {signature}: types 1 and 2 take an Ethereum address (type 1), \
         a plugin's those that the plugin claims and this node grants it"
    )]
    OriginType {
        /// The origin's.
        origin: u8,
        /// The signature's.
        signature: u8,
    },
    /// Not the origin's signature.
    #[error("the signature does not hold: {0}")]
    Signature(CryptoError),
    /// A plugin does not say that the signature holds.
    #[error("the signature of type {0} does not hold: {1}")]
    Plugin(u8, SignatureFault),
    /// Something is wrong with the delegation.
    #[error("the delegation does not hold: {0}")]
    Delegation(&'static str),
    /// Events and header disagree.
    #[error(
        "the Merkle root over the events is not the signed one: an event was changed, added, dropped or moved"
    )]
    MerkleRoot,
    /// The header's time range is not that of its events, or spans too much.
    #[error("{0}")]
    Timestamps(&'static str),
}

impl BatchError {
    /// Whether it cannot be told here that the batch holds, now or at all; somebody else may know.
    pub const fn is_unprovable(&self) -> bool {
        self.is_unknown_scheme() || matches!(self, Self::Plugin(_, SignatureFault::Unavailable(_)))
    }

    /// Whether no scheme here knows the signature's type, for this origin.
    pub const fn is_unknown_scheme(&self) -> bool {
        // A plugin may be there elsewhere, or speak for more origins.
        matches!(self, Self::SignatureType(kind) if *kind >= Origin::PLUGINS)
            || matches!(self, Self::OriginType { signature, .. } if *signature >= Origin::PLUGINS)
    }

    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            Self::Malformed(_) => Code::MalformedBatch,
            Self::TooLarge(_) => Code::BatchTooLarge,
            Self::EventCount(_) => Code::InvalidEventCount,
            Self::ContentTooLarge { .. } => Code::ContentTooLarge,
            Self::Partition(_) => Code::InvalidPartition,
            Self::Network(_) => Code::WrongNetwork,
            Self::SignatureType(_) => Code::UnknownSignatureType,
            Self::OriginType { .. } => Code::UnknownOriginType,
            Self::Plugin(_, SignatureFault::Unavailable(_)) => Code::SignatureUnavailable,
            Self::Signature(_) | Self::Plugin(..) => Code::InvalidSignature,
            Self::Delegation(_) => Code::InvalidDelegation,
            Self::MerkleRoot => Code::MerkleRootMismatch,
            Self::Timestamps(_) => Code::InvalidTimestamp,
        }
    }
}

impl From<BatchError> for Refusal {
    fn from(error: BatchError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
