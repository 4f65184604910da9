use crate::{BatchError, BatchId, ContentType, EncryptionType, EventRef, Header, NewEvent, limits};
use bytes::Bytes;
use capnp::{
    message::{Builder, HeapAllocator, ReaderOptions},
    serialize,
};
use mainstem_crypto::{Hash, merkle};
use mainstem_schema::batch_capnp;
use std::{fmt, ops::Range};

/// A batch as it travels and is stored: parsed, in its one encoding, within the format's limits; not yet proven.
///
/// Cloning is cheap: the bytes are shared. Events are read in place.
#[derive(Clone, PartialEq, Eq)]
pub struct Batch {
    bytes: Bytes,
    id: BatchId,
    header: Header,
    signature: Bytes,
    delegation: Bytes,
    events: Vec<EventSpan>,
}

#[derive(Clone, PartialEq, Eq)]
struct EventSpan {
    timestamp: i64,
    content_type: ContentType,
    encryption_type: EncryptionType,
    content: Range<usize>,
}

impl Batch {
    /// Puts a signed batch together.
    ///
    /// # Errors
    /// Counts and sizes over the limits, events that do not fit the header's count.
    pub fn assemble(
        header: &Header,
        signature: &[u8],
        delegation: &[u8],
        events: &[NewEvent],
    ) -> Result<Self, BatchError> {
        check_events(events.iter().map(|event| event.content.len()))?;
        let bytes = encode(&header.encode(), signature, delegation, events.iter().map(NewEvent::as_ref));
        Self::parse(bytes.into())
    }

    /// Reads a batch from outside.
    ///
    /// # Errors
    /// Whatever is not exactly what [`Batch::assemble`] writes: every bit counts, so that a batch has one form.
    pub fn decode(bytes: Bytes) -> Result<Self, BatchError> {
        let batch = Self::parse(bytes)?;
        let canonical = encode(&batch.header.encode(), &batch.signature, &batch.delegation, batch.events());
        if canonical != batch.bytes {
            return Err(BatchError::Malformed("the encoding has bits that its fields do not explain"));
        }
        Ok(batch)
    }

    /// Reads a batch that this program wrote or checked before: the store's own.
    ///
    /// # Errors
    /// As [`Batch::decode`], without the comparison of every bit.
    pub fn parse(bytes: Bytes) -> Result<Self, BatchError> {
        if bytes.len() > limits::BATCH_BYTES_MAX {
            return Err(BatchError::TooLarge(bytes.len()));
        }
        let malformed = |_: capnp::Error| BatchError::Malformed("not a Cap'n Proto batch");
        let mut options = ReaderOptions::new();
        // Every byte may be read twice at most: pointers cannot make a small message look large.
        options.traversal_limit_in_words(Some(bytes.len() / 4 + 64)).nesting_limit(8);
        let mut rest = &bytes[..];
        let message =
            serialize::read_message_from_flat_slice_no_alloc(&mut rest, options).map_err(malformed)?;
        if !rest.is_empty() {
            return Err(BatchError::Malformed("there are bytes behind the batch"));
        }
        let root = message.get_root::<batch_capnp::batch::Reader<'_>>().map_err(malformed)?;
        let header_bytes = root.get_header().map_err(malformed)?;
        let header = Header::decode(header_bytes)?;
        let id = BatchId(mainstem_crypto::sha256(header_bytes));
        let signature =
            bounded(&bytes, root.get_signature().map_err(malformed)?, limits::SIGNATURE_BYTES_MAX)?;
        let delegation =
            bounded(&bytes, root.get_delegation().map_err(malformed)?, limits::DELEGATION_BYTES_MAX)?;
        let list = root.get_events().map_err(malformed)?;
        if list.len() != u32::from(header.count) {
            return Err(BatchError::Malformed("there are more or fewer events than the header counts"));
        }
        let mut events = Vec::with_capacity(usize::from(header.count));
        for (index, event) in list.iter().enumerate() {
            let content = event.get_content().map_err(malformed)?;
            if content.len() > limits::CONTENT_BYTES_MAX {
                return Err(BatchError::ContentTooLarge { index, bytes: content.len() });
            }
            events.push(EventSpan {
                timestamp: event.get_timestamp(),
                content_type: ContentType(event.get_content_type()),
                encryption_type: EncryptionType(event.get_encryption_type()),
                content: range_of(&bytes, content),
            });
        }
        Ok(Self { id, header, signature, delegation, events, bytes })
    }

    /// The header of a batch that this program wrote or checked before, without a look at its events.
    ///
    /// # Errors
    /// Not the bytes of a batch.
    pub fn peek_header(bytes: &[u8]) -> Result<Header, BatchError> {
        // In the one encoding the header's data stands behind the segment table, the root pointer and four pointers.
        const AT: usize = 8 + 8 + 4 * 8;
        let header =
            bytes.get(AT..AT + Header::LENGTH).ok_or(BatchError::Malformed("not a Cap'n Proto batch"))?;
        Header::decode(header)
    }

    /// Whether such bytes are signed by a type that plugins know. Not so of what is no batch.
    pub fn is_of_plugin(bytes: &[u8]) -> bool {
        Self::peek_header(bytes).is_ok_and(|header| header.signature_type.is_of_plugin())
    }

    /// The bytes that travel and are stored.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// SHA-256 of the header.
    pub const fn id(&self) -> BatchId {
        self.id
    }

    /// What is signed.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The signature's bytes.
    pub const fn signature(&self) -> &Bytes {
        &self.signature
    }

    /// The delegation's bytes; empty unless the signature type is 2.
    pub const fn delegation(&self) -> &Bytes {
        &self.delegation
    }

    /// The events, in series order.
    pub fn events(&self) -> impl ExactSizeIterator<Item = EventRef<'_>> + Clone {
        self.events.iter().map(|span| EventRef {
            timestamp: span.timestamp,
            content_type: span.content_type,
            encryption_type: span.encryption_type,
            content: &self.bytes[span.content.clone()],
        })
    }

    /// One event.
    pub fn event(&self, index: usize) -> Option<EventRef<'_>> {
        self.events().nth(index)
    }

    /// The content of one event, sharing the batch's memory.
    pub fn content(&self, index: usize) -> Option<Bytes> {
        self.events.get(index).map(|span| self.bytes.slice(span.content.clone()))
    }

    /// The hashes of the leaves, in order.
    pub fn leaf_hashes(&self) -> Vec<Hash> {
        self.events().map(|event| event.leaf_hash()).collect()
    }

    /// The Merkle root over the events as they are.
    pub fn merkle_root(&self) -> Hash {
        merkle::root_in_place(&mut self.leaf_hashes())
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Batch({}, {}, {} events, <{}b>)",
            self.id,
            self.header.stream_partition,
            self.header.count,
            self.bytes.len()
        )
    }
}

/// Checks counts and sizes of events that are to become a batch.
pub(crate) fn check_events(sizes: impl ExactSizeIterator<Item = usize>) -> Result<(), BatchError> {
    let count = sizes.len();
    if count == 0 || count > limits::EVENTS_PER_BATCH_MAX {
        return Err(BatchError::EventCount(count));
    }
    let mut total = 0;
    for (index, bytes) in sizes.enumerate() {
        if bytes > limits::CONTENT_BYTES_MAX {
            return Err(BatchError::ContentTooLarge { index, bytes });
        }
        total += bytes;
    }
    if total > limits::BATCH_BYTES_MAX {
        return Err(BatchError::TooLarge(total));
    }
    Ok(())
}

/// The one encoding: one segment; header, signature, delegation, events, contents in this order; nothing else.
fn encode<'a>(
    header: &[u8],
    signature: &[u8],
    delegation: &[u8],
    events: impl ExactSizeIterator<Item = EventRef<'a>> + Clone,
) -> Vec<u8> {
    let words = |bytes: usize| bytes.div_ceil(8);
    // Root pointer and struct 5, list tag 1, an event 3 and its content.
    let size = 6
        + words(header.len())
        + words(signature.len())
        + words(delegation.len())
        + events.clone().map(|event| 3 + words(event.content.len())).sum::<usize>();
    // Bounded by the format's limits, so it fits 32 bits.
    let mut message = Builder::new(HeapAllocator::new().first_segment_words(size as u32));
    let mut root = message.init_root::<batch_capnp::batch::Builder<'_>>();
    root.set_header(header);
    root.set_signature(signature);
    root.set_delegation(delegation);
    let mut list = root.init_events(events.len() as u32);
    for (index, event) in events.enumerate() {
        let mut slot = list.reborrow().get(index as u32);
        slot.set_timestamp(event.timestamp);
        slot.set_content_type(event.content_type.0);
        slot.set_encryption_type(event.encryption_type.0);
        slot.set_content(event.content);
    }
    let mut bytes = Vec::with_capacity(8 + size * 8);
    // IMPORTANT: writing into a Vec does not fail.
    serialize::write_message(&mut bytes, &message).expect("a Vec takes every write");
    bytes
}

fn bounded(whole: &Bytes, part: &[u8], max: usize) -> Result<Bytes, BatchError> {
    if part.len() > max {
        return Err(BatchError::Malformed("the signature or delegation is too long"));
    }
    Ok(whole.slice(range_of(whole, part)))
}

/// Where `part`, a piece of `whole`, lies in it. Empty data points nowhere.
fn range_of(whole: &[u8], part: &[u8]) -> Range<usize> {
    if part.is_empty() {
        return 0..0;
    }
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.len()
}
