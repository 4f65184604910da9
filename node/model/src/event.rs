use bytes::Bytes;
use mainstem_crypto::{Hash, merkle};

/// What an event's content is. Numbers unknown here are carried and not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentType(pub u16);

impl ContentType {
    /// One JSON value, UTF-8.
    pub const JSON: Self = Self(1);
    /// Bytes.
    pub const BINARY: Self = Self(2);
    /// UTF-8 text.
    pub const TEXT: Self = Self(3);
}

/// How an event's content is sealed; 0 is not at all, 2 to 15 are reserved, 16 and up belong to plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EncryptionType(pub u16);

impl EncryptionType {
    /// In the clear.
    pub const NONE: Self = Self(0);
    /// AES-256-GCM; built in.
    pub const AES_256_GCM: Self = Self(1);

    /// Whether plugins know it: what sealing and opening cost is not known here.
    pub const fn is_of_plugin(self) -> bool {
        self.0 >= 16
    }
}

/// An event about to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Milliseconds since 1970-01-01 UTC.
    pub timestamp: i64,
    /// What the content is.
    pub content_type: ContentType,
    /// How the content is sealed.
    pub encryption_type: EncryptionType,
    /// At most [`CONTENT_BYTES_MAX`](crate::limits::CONTENT_BYTES_MAX) bytes.
    pub content: Bytes,
}

impl NewEvent {
    /// A JSON event in the clear.
    pub fn json(timestamp: i64, value: &serde_json::Value) -> Self {
        Self {
            timestamp,
            content_type: ContentType::JSON,
            encryption_type: EncryptionType::NONE,
            content: value.to_string().into(),
        }
    }

    /// A binary event in the clear.
    pub fn binary(timestamp: i64, content: Bytes) -> Self {
        Self { timestamp, content_type: ContentType::BINARY, encryption_type: EncryptionType::NONE, content }
    }

    /// The same, borrowed.
    pub fn as_ref(&self) -> EventRef<'_> {
        EventRef {
            timestamp: self.timestamp,
            content_type: self.content_type,
            encryption_type: self.encryption_type,
            content: &self.content,
        }
    }
}

/// One event of a batch, in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRef<'a> {
    /// Milliseconds since 1970-01-01 UTC.
    pub timestamp: i64,
    /// What the content is.
    pub content_type: ContentType,
    /// How the content is sealed.
    pub encryption_type: EncryptionType,
    /// The content.
    pub content: &'a [u8],
}

impl EventRef<'_> {
    /// What stands before the content in a leaf: timestamp i64, content type u16, encryption type u16, length of the
    /// content u32; big-endian, 16 bytes.
    pub fn leaf_prefix(&self) -> [u8; 16] {
        let mut out = [0; 16];
        out[..8].copy_from_slice(&self.timestamp.to_be_bytes());
        out[8..10].copy_from_slice(&self.content_type.0.to_be_bytes());
        out[10..12].copy_from_slice(&self.encryption_type.0.to_be_bytes());
        // IMPORTANT: contents are bounded far below 4 GiB before anything is hashed.
        out[12..].copy_from_slice(&(self.content.len() as u32).to_be_bytes());
        out
    }

    /// The leaf: prefix, then content.
    pub fn leaf(&self) -> Vec<u8> {
        [&self.leaf_prefix()[..], self.content].concat()
    }

    /// Hash of the leaf: `SHA-256(0x00 ‖ prefix ‖ content)`.
    pub fn leaf_hash(&self) -> Hash {
        merkle::leaf_hash(&[&self.leaf_prefix(), self.content])
    }
}
