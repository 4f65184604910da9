use core::fmt;
use xxhash_rust::xxh3::xxh3_64;

/// What an object begins with.
const MARK: &[u8; 8] = b"mstems3\x01";
/// Bytes before the index: mark, count of records.
const HEAD: usize = 12;
/// Bytes of a record in the index: place, timestamp, length, xxh3 of the value.
const ENTRY: usize = 28;
/// Bytes of the check behind the index.
const CHECK: usize = 8;

/// Records of one object.
pub const RECORDS_MAX: usize = 1 << 16;

/// Bytes before the values of an object with so many records, up to [`RECORDS_MAX`].
const fn index_bytes(records: usize) -> usize {
    HEAD + records * ENTRY + CHECK
}

/// Records that were appended together, as they lie in one object of a bucket.
///
/// mark (8) ‖ count u32 ‖ for each record place u64, timestamp i64, length u32, xxh3-64 of its value ‖ xxh3-64 of all before ‖ the values, one
/// behind the other. Integers are big-endian. An object is written whole, at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    entries: Vec<Entry>,
}

/// A record in an object's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub place: u64,
    /// In ms since 1970.
    pub timestamp: i64,
    /// Where its value begins in the object.
    pub offset: u64,
    /// Bytes of its value.
    pub length: u32,
    check: u64,
}

/// A record, read in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept<'a> {
    /// Of the whole store.
    pub place: u64,
    /// In ms since 1970.
    pub timestamp: i64,
    /// The node's own bytes.
    pub value: &'a [u8],
}

/// Why bytes are no object, or no value of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectError {
    /// They do not begin as one.
    Mark,
    /// There are fewer than the index says.
    Short,
    /// The index is not what was written.
    Index,
    /// The value is not what was written.
    Value,
    /// Records that cannot be in one object.
    Records,
}

impl fmt::Display for ObjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mark => "the object holds no records of this plugin",
            Self::Short => "the object is shorter than its index says",
            Self::Index => "the object's index was damaged",
            Self::Value => "the record's value was damaged",
            Self::Records => "the records are more than one object holds, or their places do not rise",
        })
    }
}

impl std::error::Error for ObjectError {}

impl Object {
    /// The bytes of an object of these records, up to [`RECORDS_MAX`], whose places rise.
    ///
    /// # Errors
    /// [`ObjectError::Records`] for others.
    pub fn encode(records: &[Kept<'_>]) -> Result<Vec<u8>, ObjectError> {
        let rise = records.windows(2).all(|pair| pair[0].place < pair[1].place);
        if records.len() > RECORDS_MAX || !rise {
            return Err(ObjectError::Records);
        }
        let values: usize = records.iter().map(|record| record.value.len()).sum();
        let mut bytes = Vec::with_capacity(index_bytes(records.len()) + values);
        bytes.extend_from_slice(MARK);
        bytes.extend_from_slice(&(records.len() as u32).to_be_bytes());
        for record in records {
            bytes.extend_from_slice(&record.place.to_be_bytes());
            bytes.extend_from_slice(&record.timestamp.to_be_bytes());
            bytes.extend_from_slice(&(record.value.len() as u32).to_be_bytes());
            bytes.extend_from_slice(&xxh3_64(record.value).to_be_bytes());
        }
        let check = xxh3_64(&bytes);
        bytes.extend_from_slice(&check.to_be_bytes());
        for record in records {
            bytes.extend_from_slice(record.value);
        }
        Ok(bytes)
    }

    /// How many bytes of an object come before its values, by its first twelve: so many are to be read for its index.
    ///
    /// # Errors
    /// They are none of an object's.
    pub fn index_length(start: &[u8]) -> Result<usize, ObjectError> {
        let (mark, rest) = start.split_first_chunk::<8>().ok_or(ObjectError::Short)?;
        if mark != MARK {
            return Err(ObjectError::Mark);
        }
        let count = rest.first_chunk::<4>().ok_or(ObjectError::Short)?;
        let count = u32::from_be_bytes(*count) as usize;
        if count > RECORDS_MAX { Err(ObjectError::Index) } else { Ok(index_bytes(count)) }
    }

    /// Reads an index; there may be more behind it, or all of the object.
    ///
    /// # Errors
    /// It is none, or was damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, ObjectError> {
        let length = Self::index_length(bytes)?;
        let index = bytes.get(..length).ok_or(ObjectError::Short)?;
        let (index, check) = index.split_last_chunk::<CHECK>().ok_or(ObjectError::Short)?;
        if xxh3_64(index) != u64::from_be_bytes(*check) {
            return Err(ObjectError::Index);
        }
        let mut offset = length as u64;
        let mut entries: Vec<Entry> = Vec::with_capacity((index.len() - HEAD) / ENTRY);
        for entry in index[HEAD..].as_chunks::<ENTRY>().0 {
            let entry = Entry::decode(entry, offset);
            if entries.last().is_some_and(|before| before.place >= entry.place) {
                return Err(ObjectError::Index);
            }
            offset += u64::from(entry.length);
            entries.push(entry);
        }
        Ok(Self { entries })
    }

    /// Its records, in the order of their places.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The record of a place.
    pub fn entry(&self, place: u64) -> Option<&Entry> {
        let at = self.entries.binary_search_by_key(&place, |entry| entry.place).ok()?;
        self.entries.get(at)
    }
}

impl Entry {
    fn decode(bytes: &[u8; ENTRY], offset: u64) -> Self {
        let word = |at: usize| u64::from_be_bytes(core::array::from_fn(|index| bytes[at + index]));
        Self {
            place: word(0),
            timestamp: word(8).cast_signed(),
            offset,
            length: u32::from_be_bytes(core::array::from_fn(|index| bytes[16 + index])),
            check: word(20),
        }
    }

    /// Its value, of bytes that begin at its offset.
    ///
    /// # Errors
    /// There are too few, or they are not what was written.
    pub fn value<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], ObjectError> {
        let value = bytes.get(..self.length as usize).ok_or(ObjectError::Short)?;
        if xxh3_64(value) == self.check { Ok(value) } else { Err(ObjectError::Value) }
    }
}
