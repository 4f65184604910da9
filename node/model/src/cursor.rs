use crate::{Code, Header, Origin, Refusal, SeriesId};
use std::{fmt, str::FromStr};

/// Place of a batch in the order that history is served in: (timestamp, origin, series, sequence).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchKey {
    /// Least timestamp of the batch, milliseconds.
    pub timestamp: i64,
    /// Who made it.
    pub origin: Origin,
    /// The series.
    pub series: SeriesId,
    /// Sequence of its first event.
    pub sequence: u64,
}

impl BatchKey {
    /// Length of the encoding, whose byte order is the key's order.
    pub const LENGTH: usize = 58;

    /// The key of a batch.
    pub const fn of(header: &Header) -> Self {
        Self {
            timestamp: header.timestamp_min,
            origin: header.origin,
            series: header.series,
            sequence: header.sequence,
        }
    }

    /// Timestamp with its sign bit flipped, origin, series, sequence; big-endian, so that bytes sort as keys do.
    pub fn encode(&self) -> [u8; Self::LENGTH] {
        let mut out = [0; Self::LENGTH];
        out[..8].copy_from_slice(&((self.timestamp as u64) ^ (1 << 63)).to_be_bytes());
        out[8..42].copy_from_slice(&self.origin.to_bytes());
        out[42..50].copy_from_slice(&self.series.0.to_be_bytes());
        out[50..].copy_from_slice(&self.sequence.to_be_bytes());
        out
    }

    /// Reads what [`BatchKey::encode`] wrote.
    pub fn decode(bytes: &[u8; Self::LENGTH]) -> Option<Self> {
        let number = |at: usize| {
            let mut out = [0; 8];
            out.copy_from_slice(&bytes[at..at + 8]);
            u64::from_be_bytes(out)
        };
        let mut origin = [0; Origin::ENCODED_LENGTH];
        origin.copy_from_slice(&bytes[8..42]);
        Some(Self {
            timestamp: (number(0) ^ (1 << 63)) as i64,
            origin: Origin::from_bytes(&origin)?,
            series: SeriesId(number(42)),
            sequence: number(50),
        })
    }
}

/// Where a reader stands in one partition at one broker's store: what comes next, and how much of it is had already.
///
/// To a client it is opaque but for the last two bytes, which count the events already had of the batch that comes next.
/// Text form: hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// In arrival order: the batch at `position` comes next. What a live reader has.
    Arrival {
        /// Which store; positions of another mean nothing.
        log: u64,
        /// Arrival number within the partition, from 0; some have no batch.
        position: u64,
        /// Events of that batch already had.
        skip: u16,
    },
    /// In the order of history, before `until`: the batch at `key`, or the first after it, comes next; behind the last of
    /// them reading goes on in arrival order at `until`. What fills up history and never arrived comes whatever `until` is.
    History {
        /// Which store.
        log: u64,
        /// Arrival position at which reading history began.
        until: u64,
        /// Place in history.
        key: BatchKey,
        /// Events of the batch at exactly `key` already had.
        skip: u16,
    },
}

impl Cursor {
    /// Greatest length of the encoding, bytes.
    pub const LENGTH_MAX: usize = 1 + 8 + 8 + BatchKey::LENGTH + 2;

    /// Which store it belongs to.
    pub const fn log(&self) -> u64 {
        match self {
            Self::Arrival { log, .. } | Self::History { log, .. } => *log,
        }
    }

    /// How many events of the next batch are had already.
    pub const fn skip(&self) -> u16 {
        match self {
            Self::Arrival { skip, .. } | Self::History { skip, .. } => *skip,
        }
    }

    /// The same place with `skip` events of the next batch had already.
    #[must_use]
    pub const fn with_skip(self, skip: u16) -> Self {
        match self {
            Self::Arrival { log, position, .. } => Self::Arrival { log, position, skip },
            Self::History { log, until, key, .. } => Self::History { log, until, key, skip },
        }
    }

    /// The bytes on the wire: kind, log, position or until, key (history only), skip.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::LENGTH_MAX);
        match self {
            Self::Arrival { log, position, .. } => {
                out.push(1);
                out.extend_from_slice(&log.to_be_bytes());
                out.extend_from_slice(&position.to_be_bytes());
            }
            Self::History { log, until, key, .. } => {
                out.push(2);
                out.extend_from_slice(&log.to_be_bytes());
                out.extend_from_slice(&until.to_be_bytes());
                out.extend_from_slice(&key.encode());
            }
        }
        out.extend_from_slice(&self.skip().to_be_bytes());
        out
    }

    /// Reads the bytes on the wire.
    ///
    /// # Errors
    /// `INVALID_CURSOR`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        Self::read(bytes).ok_or_else(|| {
            Refusal::new(
                Code::InvalidCursor,
                "the cursor is damaged; use one that a delivery brought, or resend by time",
            )
        })
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (log, rest) = rest.split_first_chunk::<8>()?;
        let (position, rest) = rest.split_first_chunk::<8>()?;
        let (log, position) = (u64::from_be_bytes(*log), u64::from_be_bytes(*position));
        match kind {
            1 => Some(Self::Arrival { log, position, skip: u16::from_be_bytes(rest.try_into().ok()?) }),
            2 => {
                let (key, rest) = rest.split_first_chunk::<{ BatchKey::LENGTH }>()?;
                let skip = u16::from_be_bytes(rest.try_into().ok()?);
                Some(Self::History { log, until: position, key: BatchKey::decode(key)?, skip })
            }
            _ => None,
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.encode()))
    }
}

impl FromStr for Cursor {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        Self::decode(&hex::decode(text).unwrap_or_default())
    }
}

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStart {
    /// Nothing of the past.
    Now,
    /// The last n events.
    Last(u64),
    /// Everything of the filter's time range.
    From,
    /// What comes after a cursor.
    Cursor(Cursor),
}

/// What a reader wants to see. Batches are served whole; events outside the range are for the reader to drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadFilter {
    /// Only this origin.
    pub origin: Option<Origin>,
    /// Least event timestamp, milliseconds, included.
    pub from: i64,
    /// Greatest event timestamp, milliseconds, included.
    pub to: i64,
}

impl ReadFilter {
    /// Everything.
    pub const ALL: Self = Self { origin: None, from: i64::MIN, to: i64::MAX };

    /// Whether a batch has, by its header, anything that is wanted.
    pub fn wants(&self, header: &Header) -> bool {
        self.origin.is_none_or(|origin| origin == header.origin)
            && header.timestamp_max >= self.from
            && header.timestamp_min <= self.to
    }

    /// Whether an event of a wanted batch is wanted.
    pub const fn wants_timestamp(&self, timestamp: i64) -> bool {
        self.from <= timestamp && timestamp <= self.to
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_crypto::Address;

    #[test]
    fn cursors_read_what_they_write_and_refuse_the_rest() {
        let key = BatchKey {
            timestamp: -5,
            origin: Origin::ethereum(Address([1; 20])),
            series: SeriesId(2),
            sequence: 3,
        };
        for cursor in [
            Cursor::Arrival { log: 1, position: 2, skip: 3 },
            Cursor::History { log: 1, until: 2, key, skip: 1024 },
        ] {
            assert_eq!(cursor.to_string().parse::<Cursor>(), Ok(cursor));
            let bytes = cursor.encode();
            assert!(bytes.len() <= Cursor::LENGTH_MAX);
            assert!(Cursor::decode(&bytes[..bytes.len() - 1]).is_err());
            assert!(Cursor::decode(&[&bytes[..], &[0]].concat()).is_err());
            assert_eq!(bytes[bytes.len() - 2..], cursor.skip().to_be_bytes());
        }
        assert_eq!("zz".parse::<Cursor>().unwrap_err().code, Code::InvalidCursor);
    }

    #[test]
    fn encoded_keys_sort_as_keys_do() {
        let key = |timestamp, who, sequence| BatchKey {
            timestamp,
            origin: Origin::ethereum(Address([who; 20])),
            series: SeriesId(0),
            sequence,
        };
        let keys = [key(-1, 9, 9), key(0, 1, 1), key(0, 1, 2), key(0, 2, 0), key(i64::MAX, 0, 0)];
        assert!(keys.is_sorted());
        assert!(keys.map(|key| key.encode()).is_sorted());
    }
}
