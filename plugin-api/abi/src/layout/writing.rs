use super::{sizes, tags, words_of};

/// Writes a message front to back into a place that is long enough. Each method gives `None` where it is not.
#[derive(Debug)]
pub struct Writer<'a> {
    words: &'a mut [[u8; 8]],
    used: usize,
}

impl<'a> Writer<'a> {
    /// Into so many bytes; what is behind the last whole word of them stays as it is.
    pub fn new(to: &'a mut [u8]) -> Self {
        Self { words: to.as_chunks_mut::<8>().0, used: 0 }
    }

    /// Bytes of the message.
    pub const fn bytes(&self) -> usize {
        8 * self.used
    }

    /// The root, with its tag. Where its first pointer stands.
    pub fn root(&mut self, (data_words, pointers): (usize, usize), tag: u16) -> Option<usize> {
        let root = self.take(1)?;
        let at = self.take(data_words + pointers)?;
        self.set(root, struct_pointer(at - root - 1, data_words, pointers))?;
        self.set(at, tag.into())?;
        Some(at + data_words)
    }

    /// A struct that a pointer shows to. Its first word.
    pub fn fields(&mut self, pointer: usize, (data_words, pointers): (usize, usize)) -> Option<usize> {
        let at = self.take(data_words + pointers)?;
        self.set(pointer, struct_pointer(at - pointer - 1, data_words, pointers))?;
        Some(at)
    }

    /// A list of structs. The first word of the first one.
    pub fn structs(
        &mut self,
        pointer: usize,
        (data_words, pointers): (usize, usize),
        count: usize,
    ) -> Option<usize> {
        let words = count.checked_mul(data_words + pointers)?;
        let tag = self.take(words.checked_add(1)?)?;
        self.set(pointer, list_pointer(tag - pointer - 1, 7, words))?;
        self.set(tag, struct_pointer(count, data_words, pointers))?;
        Some(tag + 1)
    }

    /// Bytes that a pointer shows to.
    pub fn data(&mut self, pointer: usize, bytes: &[u8]) -> Option<()> {
        let begin = self.used;
        let to = self.words.get_mut(begin..begin.checked_add(words_of(bytes.len()))?)?;
        if let Some(last) = to.last_mut() {
            *last = [0; 8];
        }
        self.used += to.len();
        to.as_flattened_mut().get_mut(..bytes.len())?.copy_from_slice(bytes);
        self.set(pointer, list_pointer(begin - pointer - 1, 2, bytes.len()))
    }

    /// Whole numbers that a pointer shows to.
    pub fn i64s(&mut self, pointer: usize, numbers: &[i64]) -> Option<()> {
        let begin = self.used;
        let to = self.words.get_mut(begin..begin.checked_add(numbers.len())?)?;
        to.iter_mut().zip(numbers).for_each(|(word, number)| *word = number.to_le_bytes());
        self.used += numbers.len();
        self.set(pointer, list_pointer(begin - pointer - 1, 5, numbers.len()))
    }

    /// A word of its own.
    pub fn set(&mut self, at: usize, value: u64) -> Option<()> {
        *self.words.get_mut(at)? = value.to_le_bytes();
        Some(())
    }

    /// Fills a `PortBatch` whose first word is `at` with whole events.
    pub fn events<'e>(
        &mut self,
        at: usize,
        port: u16,
        timestamps: &[i64],
        events: impl ExactSizeIterator<Item = (u16, &'e [u8])>,
    ) -> Option<()> {
        self.set(at, u64::from(port) | u64::from(tags::EVENTS) << 16)?;
        let (pointer, step) = (at + sizes::PORT_BATCH.0, sizes::EVENT.0 + sizes::EVENT.1);
        self.i64s(pointer, timestamps)?;
        let mut event = self.structs(pointer + 1, sizes::EVENT, events.len())?;
        for (content_type, content) in events {
            self.set(event, content_type.into())?;
            self.data(event + sizes::EVENT.0, content)?;
            event += step;
        }
        Some(())
    }

    /// The next words, all 0.
    fn take(&mut self, words: usize) -> Option<usize> {
        let begin = self.used;
        self.words.get_mut(begin..begin.checked_add(words)?)?.fill([0; 8]);
        self.used += words;
        Some(begin)
    }
}

/// Words that [`Writer::events`] takes, beside the contents.
pub const fn event_words(count: usize) -> usize {
    1 + 3 * count
}

const fn struct_pointer(offset: usize, data_words: usize, pointers: usize) -> u64 {
    (offset as u64) << 2 & 0xffff_ffff | (data_words as u64) << 32 | (pointers as u64) << 48
}

const fn list_pointer(offset: usize, size: u64, count: usize) -> u64 {
    1 | (offset as u64) << 2 & 0xffff_ffff | size << 32 | (count as u64) << 35
}
