//! Bounds of the format itself: the same for every node. What one node may bound tighter is in its configuration.

/// Events in one batch.
pub const EVENTS_PER_BATCH_MAX: usize = 1024;
/// Bytes of one event's content.
pub const CONTENT_BYTES_MAX: usize = 1 << 20;
/// Bytes by which an encryption scheme may make a content longer, beside the key id: nonce, tag, padding. A longer one is a fault.
pub const SEAL_BYTES_MAX: usize = 256;
/// Bytes of a wrapped content key, and of the public key that it is wrapped for.
pub const WRAPPED_KEY_BYTES_MAX: usize = 16 << 10;
/// Bytes of one batch as it travels.
pub const BATCH_BYTES_MAX: usize = (1 << 20) + (64 << 10);
/// Bytes of a signature (plugins may need kilobytes; types 1 and 2 take exactly 65).
pub const SIGNATURE_BYTES_MAX: usize = 16 << 10;
/// Bytes of a delegation.
pub const DELEGATION_BYTES_MAX: usize = 4 << 10;
/// Streams one delegation can name.
pub const DELEGATION_STREAMS_MAX: usize = 128;
/// Partitions of a stream.
pub const PARTITIONS_MAX: u16 = 100;
/// Bytes of a stream's metadata (JSON).
pub const METADATA_BYTES_MAX: usize = 4096;
/// Span between the first and the last timestamp of a batch. It bounds how far a search by time must look back.
pub const BATCH_SPAN_MS_MAX: i64 = 60_000;
