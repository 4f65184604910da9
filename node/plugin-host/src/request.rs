#[cfg(test)]
use crate::next_minor::{Side, written};
use capnp::message::{Builder, HeapAllocator, ScratchSpaceHeapAllocator};
use mainstem_plugin_abi::{layout::Writer, plugin_capnp::request, write};

/// Words of a request that is built without a heap.
const SMALL_WORDS: usize = 128;

/// Words of a request. No plugin's memory holds more, and lists of a message are counted in 29 bits.
pub(crate) const WORDS_MAX: usize = 1 << 25;

/// A request, to be put into a plugin's memory.
pub(crate) trait Message {
    /// How long it is.
    fn bytes(&self) -> usize;

    /// Puts it into as many bytes.
    fn put(&self, to: &mut [u8]) -> Option<()>;
}

impl Message for &[u8] {
    fn bytes(&self) -> usize {
        self.len()
    }

    fn put(&self, to: &mut [u8]) -> Option<()> {
        to.get_mut(..self.len())?.copy_from_slice(self);
        Some(())
    }
}

/// A request that is written where it is to lie, without a copy before.
pub(crate) struct Laid<F> {
    /// As long as it gets, to the word.
    pub(crate) words: usize,
    pub(crate) lay: F,
}

impl<F: Fn(&mut Writer<'_>) -> Option<()>> Laid<F> {
    /// As a node of the next minor version sends it.
    #[cfg(test)]
    pub(crate) fn written(&self) -> Vec<u8> {
        let mut bytes = vec![0xaa; self.bytes()];
        self.put(&mut bytes).expect("a request is as long as it says");
        written(Side::Host, &bytes).into_owned()
    }
}

impl<F: Fn(&mut Writer<'_>) -> Option<()>> Message for Laid<F> {
    fn bytes(&self) -> usize {
        8 * self.words
    }

    fn put(&self, to: &mut [u8]) -> Option<()> {
        let mut writer = Writer::new(to);
        (self.lay)(&mut writer)?;
        (writer.bytes() == self.bytes()).then_some(())
    }
}

/// Builds a request and hands it on as one segment. `words` is at least its length in words of 8 bytes: with less it is built twice.
pub(crate) fn with_request<R>(
    words: usize,
    fill: impl Fn(request::Builder<'_>),
    send: impl FnOnce(&[u8]) -> R,
) -> R {
    #[cfg(test)]
    let send = |request: &[u8]| send(&written(Side::Host, request));
    if words <= SMALL_WORDS {
        let mut scratch = [0; 8 * SMALL_WORDS];
        let mut message = Builder::new(ScratchSpaceHeapAllocator::new(&mut scratch));
        fill(message.init_root());
        if let [only] = *message.get_segments_for_output() {
            return send(only);
        }
    } else if let Ok(first) = u32::try_from(words) {
        let mut message = Builder::new(HeapAllocator::new().first_segment_words(first));
        fill(message.init_root());
        if let [only] = *message.get_segments_for_output() {
            return send(only);
        }
    }
    send(&write::<request::Owned>(2 * words, fill))
}

/// Words that bytes take.
pub(crate) const fn words_of(bytes: usize) -> usize {
    bytes.div_ceil(8)
}
