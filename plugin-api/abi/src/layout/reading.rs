/// A list of 2-byte numbers, of bytes, of structs: how pointers name it.
const BYTES: u64 = 2;
const TWO_BYTES: u64 = 3;
const EIGHT_BYTES: u64 = 5;
const STRUCTS: u64 = 7;

/// A message that is read where it lies. It tells what has the usual form; `None` means that [`read`](crate::read) is to judge.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a>(&'a [[u8; 8]]);

/// A struct of a message.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    message: Words<'a>,
    /// Its first word.
    at: usize,
    data_words: usize,
    pointers: usize,
}

/// A list of structs of a message.
#[derive(Clone, Copy, Debug)]
pub struct Structs<'a> {
    first: Fields<'a>,
    count: usize,
    /// Of all of it.
    words: usize,
}

impl<'a> Words<'a> {
    /// Of a segment whose length is one that messages have.
    pub fn of(segment: &'a [u8]) -> Option<Self> {
        let (words, rest) = segment.as_chunks::<8>();
        (rest.is_empty() && !words.is_empty()).then_some(Self(words))
    }

    /// How many there are.
    pub const fn count(self) -> usize {
        self.0.len()
    }

    /// The root.
    pub fn root(self) -> Option<Fields<'a>> {
        let pointer = self.word(0)?;
        if pointer & 3 != 0 || pointer == 0 {
            return None;
        }
        let (data_words, pointers) = sizes(pointer);
        let at = self.target(0, pointer, data_words + pointers)?;
        Some(Fields { message: self, at, data_words, pointers })
    }

    fn word(self, at: usize) -> Option<u64> {
        self.0.get(at).map(|word| u64::from_le_bytes(*word))
    }

    /// Where the pointer at a word shows to, if all of so many words lies there.
    fn target(self, at: usize, pointer: u64, words: usize) -> Option<usize> {
        // Offsets are signed, and of 30 bits.
        let offset = (pointer as u32).cast_signed() >> 2;
        let begin = at.checked_add(1)?.checked_add_signed(offset as isize)?;
        (begin.checked_add(words)? <= self.0.len()).then_some(begin)
    }

    /// The words of the list that a pointer shows to, and the count of its elements.
    fn list(self, at: usize, size: u64, bytes: usize) -> Option<(&'a [[u8; 8]], usize)> {
        let pointer = self.word(at)?;
        if pointer & 3 != 1 || (pointer >> 32) & 7 != size {
            return None;
        }
        let count = (pointer >> 35) as usize;
        let words = super::words_of(count.checked_mul(bytes)?);
        let begin = self.target(at, pointer, words)?;
        Some((self.0.get(begin..begin + words)?, count))
    }
}

impl<'a> Fields<'a> {
    /// Words that it takes, without what it points to.
    pub const fn words(&self) -> usize {
        self.data_words + self.pointers
    }

    /// A number of 2 bytes by its place in the values; 0 where the struct is older than it.
    pub fn u16(&self, byte: usize) -> u16 {
        if byte / 8 >= self.data_words {
            return 0;
        }
        let word = self.message.word(self.at + byte / 8).unwrap_or_default();
        (word >> (8 * (byte % 8))) as u16
    }

    fn pointer(&self, index: usize) -> Option<usize> {
        (index < self.pointers).then_some(self.at + self.data_words + index)
    }

    /// Bytes. Those that are missing are none.
    pub fn bytes(&self, index: usize) -> Option<&'a [u8]> {
        let at = match self.pointer(index) {
            Some(at) if self.message.word(at)? != 0 => at,
            Some(_) | None => return Some(&[]),
        };
        let (words, count) = self.message.list(at, BYTES, 1)?;
        words.as_flattened().get(..count)
    }

    /// Numbers of 2 bytes, as enumerations are.
    pub fn u16s(&self, index: usize) -> Option<impl ExactSizeIterator<Item = u16> + 'a> {
        let (words, count) = self.message.list(self.pointer(index)?, TWO_BYTES, 2)?;
        let bytes = words.as_flattened().get(..2 * count)?;
        Some(bytes.as_chunks::<2>().0.iter().map(|bytes| u16::from_le_bytes(*bytes)))
    }

    /// Whole numbers of 8 bytes.
    pub fn i64s(&self, index: usize) -> Option<impl ExactSizeIterator<Item = i64> + 'a> {
        let (words, _) = self.message.list(self.pointer(index)?, EIGHT_BYTES, 8)?;
        Some(words.iter().map(|word| i64::from_le_bytes(*word)))
    }

    /// The one struct that a pointer shows to.
    pub fn fields(&self, index: usize) -> Option<Self> {
        let at = self.pointer(index)?;
        let pointer = self.message.word(at)?;
        if pointer & 3 != 0 || pointer == 0 {
            return None;
        }
        let (data_words, pointers) = sizes(pointer);
        let begin = self.message.target(at, pointer, data_words + pointers)?;
        Some(Self { message: self.message, at: begin, data_words, pointers })
    }

    /// A list of structs.
    pub fn structs(&self, index: usize) -> Option<Structs<'a>> {
        let at = self.pointer(index)?;
        let pointer = self.message.word(at)?;
        if pointer & 3 != 1 || (pointer >> 32) & 7 != STRUCTS {
            return None;
        }
        // Before the elements stands a word that says how many there are and what each has.
        let words = (pointer >> 35) as usize;
        let begin = self.message.target(at, pointer, words.checked_add(1)?)?;
        let tag = self.message.word(begin)?;
        if tag & 3 != 0 {
            return None;
        }
        let (data_words, pointers) = sizes(tag);
        let count = (tag as u32 >> 2) as usize;
        // IMPORTANT: structs of nothing could be any number of them in no words.
        if data_words + pointers == 0 || count.checked_mul(data_words + pointers)? > words {
            return None;
        }
        let first = Self { message: self.message, at: begin + 1, data_words, pointers };
        Some(Structs { first, count, words: words + 1 })
    }
}

impl<'a> Structs<'a> {
    /// How many there are.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Words that the list takes, without what its structs point to.
    pub const fn words(&self) -> usize {
        self.words
    }

    /// One of them.
    pub fn get(&self, index: usize) -> Option<Fields<'a>> {
        (index < self.count).then(|| self.nth(index))
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Fields<'a>> + use<'a> {
        let list = *self;
        (0..list.count).map(move |index| list.nth(index))
    }

    fn nth(&self, index: usize) -> Fields<'a> {
        let step = self.first.data_words + self.first.pointers;
        Fields { at: self.first.at + index * step, ..self.first }
    }
}

/// Words of values and count of pointers, as a pointer to a struct says them.
const fn sizes(pointer: u64) -> (usize, usize) {
    ((pointer >> 32) as u16 as usize, (pointer >> 48) as u16 as usize)
}
