use core::fmt;

/// Which records an object has, as its name says it: names have the order of places.
///
/// `<first>` of records that were appended together, `<first>-<last>` of those that were in several objects and were put together; 16 hex
/// digits each. An object whose whole span is within that of another one was put together with others into that one, and counts no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stem {
    /// The place of its first record, when it was written first.
    pub first: u64,
    /// The place of its last one, if it was put together of others.
    pub last: Option<u64>,
}

/// What an object is, as the end of its name says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `.records`
    Records,
    /// `.gone`: those of the records beside it that were trimmed.
    Gone,
}

/// The name of an object behind the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// Records, or what was trimmed of them.
    Of(Stem, Kind),
    /// `<number>.trimmed`: places that were trimmed, which are not noted beside their objects yet.
    Trimmed(u64),
}

impl Stem {
    /// Of records that were appended together.
    pub const fn of(first: u64) -> Self {
        Self { first, last: None }
    }

    /// The greatest place that is certainly within it.
    pub(crate) fn end(&self) -> u64 {
        self.last.unwrap_or(self.first)
    }
}

impl Name {
    /// Reads what [`Name`] writes; nothing of other names. All are read at each start, so that no more is done than is needed.
    pub fn read(name: &[u8]) -> Option<Self> {
        let (first, rest) = name.split_first_chunk::<16>()?;
        let first = place(first)?;
        let (last, kind) = match rest.strip_prefix(b"-") {
            None => (None, rest),
            Some(rest) => {
                let (last, kind) = rest.split_first_chunk::<16>()?;
                (Some(place(last)?), kind)
            }
        };
        let stem = Stem { first, last };
        match (kind, last) {
            (b".records", _) => Some(Self::Of(stem, Kind::Records)),
            (b".gone", _) => Some(Self::Of(stem, Kind::Gone)),
            (b".trimmed", None) => Some(Self::Trimmed(first)),
            _ => None,
        }
    }
}

impl fmt::Display for Stem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last {
            None => write!(f, "{:016x}", self.first),
            Some(last) => write!(f, "{:016x}-{last:016x}", self.first),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(stem, Kind::Records) => write!(f, "{stem}.records"),
            Self::Of(stem, Kind::Gone) => write!(f, "{stem}.gone"),
            Self::Trimmed(number) => write!(f, "{number:016x}.trimmed"),
        }
    }
}

/// Of 16 hex digits in lower case.
fn place(digits: &[u8; 16]) -> Option<u64> {
    digits.iter().try_fold(0, |place, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(place << 4 | u64::from(value))
    })
}
