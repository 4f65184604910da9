use alloc::vec::Vec;
use capnp::{
    message::{Builder, HeapAllocator, Reader, ReaderOptions, ReaderSegments},
    traits::Owned,
};
use core::fmt;

/// How deep pointers of a message go at most.
const NESTING_MAX: i32 = 16;

/// The one segment of a message, where it lies.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a>(&'a [u8]);

impl ReaderSegments for Segment<'_> {
    fn get_segment(&self, id: u32) -> Option<&[u8]> {
        (id == 0).then_some(self.0)
    }

    fn len(&self) -> usize {
        1
    }
}

/// A message that is read in place: `message.get_root::<…>()`.
pub type Message<'a> = Reader<Segment<'a>>;

/// What is wrong with a message before anything of it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// Its length is 0 or no multiple of 8.
    Length(usize),
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Length(bytes) = self;
        write!(f, "a message of {bytes} bytes: it must be a multiple of 8 and at least 8")
    }
}

impl core::error::Error for MessageError {}

/// Looks at one segment as a message. Reading it costs no more than twice its length, however its pointers lie.
///
/// # Errors
/// A length that no message has.
pub fn read(segment: &[u8]) -> Result<Message<'_>, MessageError> {
    if segment.is_empty() || !segment.len().is_multiple_of(8) {
        return Err(MessageError::Length(segment.len()));
    }
    let mut options = ReaderOptions::new();
    options.traversal_limit_in_words(Some(segment.len() / 4 + 512)).nesting_limit(NESTING_MAX);
    Ok(Reader::new(Segment(segment), options))
}

/// Writes a message with root `T` as one segment. `words` is about how long it gets, in words of 8 bytes: with a better guess it is
/// copied less often.
pub fn write<T: Owned>(words: usize, fill: impl FnOnce(T::Builder<'_>)) -> Vec<u8> {
    let mut message = Builder::new(HeapAllocator::new().first_segment_words(in_words(words)));
    fill(message.init_root::<T::Builder<'_>>());
    let segments = message.get_segments_for_output();
    if let [only] = *segments {
        return only.to_vec();
    }
    let words = segments.iter().map(|segment| segment.len() / 8).sum();
    let mut whole = Builder::new(HeapAllocator::new().first_segment_words(in_words(words)));
    let root = message.get_root_as_reader::<T::Reader<'_>>();
    // IMPORTANT: what was just built is read again, and the copy is not longer than what it is a copy of.
    root.and_then(|root| whole.set_root(root)).expect("a message that was built can be read");
    whole.get_segments_for_output().concat()
}

fn in_words(words: usize) -> u32 {
    // A segment is less than 2^29 words; more is not kept at once anyway.
    u32::try_from(words).unwrap_or(u32::MAX).clamp(8, 1 << 26)
}
