use crate::{ContentType, EncryptionType, EventRef, Header, NetworkId, Origin, StreamPartition};
use std::{fmt, str::FromStr};
use zeroize::Zeroizing;

mod aes_gcm;

pub use aes_gcm::Aes256GcmScheme;

/// How contents of one encryption type are sealed and opened. Type 1 is built in; others come as plugins. For clients: a broker never
/// calls it.
///
/// Calls may take as long as the scheme's bounds say: make them on a worker thread.
pub trait EncryptionScheme: fmt::Debug + Send + Sync {
    /// Of which type.
    fn encryption_type(&self) -> EncryptionType;

    /// Bytes of a content key.
    fn key_bytes(&self) -> usize;

    /// Seals contents with one key; as many as items, in their order. What is sealed is at most
    /// [`SEAL_BYTES_MAX`](crate::limits::SEAL_BYTES_MAX) longer than the content.
    ///
    /// # Errors
    /// A key of another length; what keeps a plugin from it.
    fn seal(&self, key: &[u8], items: &[Plain<'_>]) -> Result<Vec<Vec<u8>>, EncryptionFault>;

    /// Opens what was sealed with one key; as many answers as items, in their order, each for itself.
    ///
    /// # Errors
    /// As [`EncryptionScheme::seal`].
    fn open(&self, key: &[u8], items: &[Sealed<'_>]) -> Result<Vec<Opened>, EncryptionFault>;

    /// Wraps a content key for each of the recipients, whose public keys have the form that the scheme says; 32 random bytes for each,
    /// one behind the other.
    ///
    /// # Errors
    /// [`EncryptionFault::Unsupported`] if it does not wrap; a key that is none.
    fn wrap(&self, key: &[u8], recipients: &[&[u8]], random: &[u8]) -> Result<Vec<Vec<u8>>, EncryptionFault>;

    /// The content key that was wrapped for the holder of a private key.
    ///
    /// # Errors
    /// As [`EncryptionScheme::wrap`]; [`EncryptionFault::Invalid`] of what was not wrapped for this key.
    fn unwrap(&self, private_key: &[u8], wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, EncryptionFault>;
}

/// What is to be sealed.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a> {
    /// 32 bytes that were drawn at random for this item alone: the scheme takes as many as it needs.
    pub nonce: [u8; 32],
    /// Bound to the content, and not sealed.
    pub associated: &'a [u8],
    /// The content.
    pub content: &'a [u8],
}

/// What was sealed.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    /// As it was sealed with.
    pub associated: &'a [u8],
    /// What [`EncryptionScheme::seal`] gave.
    pub sealed: &'a [u8],
}

/// A content, or why there is none.
pub type Opened = Result<Vec<u8>, OpenFault>;

/// Why a content does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenFault {
    /// Another key, other associated bytes, or something was changed.
    #[error("it was not sealed with this key for this event, or was changed since")]
    Forged,
    /// Its bytes are nothing that this scheme seals.
    #[error("its bytes are nothing that is sealed by this type")]
    Malformed,
}

/// Why a scheme does not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncryptionFault {
    /// The scheme has no such call.
    #[error("encryption type {0} does not wrap keys")]
    Unsupported(u16),
    /// A key, or what was wrapped, is none.
    #[error("{0}")]
    Invalid(String),
    /// It cannot be done now.
    #[error("it cannot be done now: {0}")]
    Unavailable(String),
}

/// Names a content key: 16 bytes, drawn at random with it, in the clear before every content that it seals.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; Self::LENGTH]);

impl KeyId {
    /// Bytes of an id.
    pub const LENGTH: usize = 16;
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Not 32 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id of a key is 32 hex digits, got {0:?}")]
pub struct KeyIdError(String);

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        let mut id = [0; Self::LENGTH];
        hex::decode_to_slice(text, &mut id).map_err(|_| KeyIdError(text.chars().take(64).collect()))?;
        Ok(Self(id))
    }
}

/// A content key. Wiped from memory when dropped; never printed.
#[derive(Clone)]
pub struct ContentKey {
    /// Its name.
    pub id: KeyId,
    /// What it seals by.
    pub encryption_type: EncryptionType,
    key: Zeroizing<Vec<u8>>,
}

impl ContentKey {
    /// Of bytes as long as the type's keys are.
    pub fn new(id: KeyId, encryption_type: EncryptionType, key: impl Into<Zeroizing<Vec<u8>>>) -> Self {
        Self { id, encryption_type, key: key.into() }
    }

    /// The secret bytes.
    pub fn secret(&self) -> &[u8] {
        &self.key
    }
}

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentKey({}, type {})", self.id, self.encryption_type.0)
    }
}

/// The content of a sealed event: key id, then what the scheme sealed.
pub fn sealed_content(key: KeyId, sealed: &[u8]) -> Vec<u8> {
    [&key.0[..], sealed].concat()
}

/// Key id and what the scheme sealed; `None` of what is shorter than a key id.
pub fn split_sealed(content: &[u8]) -> Option<(KeyId, &[u8])> {
    let (id, sealed) = content.split_first_chunk()?;
    Some((KeyId(*id), sealed))
}

/// What the events of a batch have in common that a sealed content is bound to. Not series and sequence: what a publisher sealed goes out
/// in another series after some losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealContext {
    /// Chain and registry.
    pub network: NetworkId,
    /// Stream and partition.
    pub stream_partition: StreamPartition,
    /// Who makes the event.
    pub origin: Origin,
}

/// The domain tag: what this is, and its version.
const DOMAIN: &[u8; 18] = b"mainstem/content/1";

impl SealContext {
    /// Length of the associated bytes.
    pub const LENGTH: usize = 134;

    /// Of a batch.
    pub const fn of(header: &Header) -> Self {
        Self { network: header.network, stream_partition: header.stream_partition, origin: header.origin }
    }

    /// The associated bytes of one event. All integers big-endian, at fixed places:
    ///
    /// ```text
    ///   0  domain tag and version, ASCII "mainstem/content/1"  18
    ///  18  network id                                          32
    ///  50  stream                                              20
    ///  70  partition, u16                                       2
    ///  72  origin type, u8; length, u8; origin, padded         34
    /// 106  timestamp, i64 ms                                    8
    /// 114  content type, u16                                    2
    /// 116  encryption type, u16                                 2
    /// 118  key id                                              16
    /// 134
    /// ```
    pub fn associated(
        &self,
        timestamp: i64,
        content_type: ContentType,
        encryption_type: EncryptionType,
        key: KeyId,
    ) -> [u8; Self::LENGTH] {
        let mut out = [0; Self::LENGTH];
        out[..18].copy_from_slice(DOMAIN);
        out[18..50].copy_from_slice(&self.network.0);
        out[50..70].copy_from_slice(self.stream_partition.stream.0.as_bytes());
        out[70..72].copy_from_slice(&self.stream_partition.partition.number().to_be_bytes());
        out[72..106].copy_from_slice(&self.origin.to_bytes());
        out[106..114].copy_from_slice(&timestamp.to_be_bytes());
        out[114..116].copy_from_slice(&content_type.0.to_be_bytes());
        out[116..118].copy_from_slice(&encryption_type.0.to_be_bytes());
        out[118..].copy_from_slice(&key.0);
        out
    }

    /// The associated bytes of an event that is there.
    pub fn associated_of(&self, event: &EventRef<'_>, key: KeyId) -> [u8; Self::LENGTH] {
        self.associated(event.timestamp, event.content_type, event.encryption_type, key)
    }
}
