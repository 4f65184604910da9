use core::fmt;

/// The version of the ABI that this crate is.
pub const ABI: Version = Version { major: 1, minor: 1 };

/// A version of the ABI. See `ABI.md`, "Versions".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Of one major version all can work together.
    pub major: u16,
    /// More of it is more calls and fields.
    pub minor: u16,
}

impl Version {
    /// As `mainstem_abi` gives it.
    pub const fn to_u32(self) -> u32 {
        (self.major as u32) << 16 | self.minor as u32
    }

    /// What [`Version::to_u32`] gave.
    pub const fn from_u32(packed: u32) -> Self {
        Self { major: (packed >> 16) as u16, minor: packed as u16 }
    }

    /// Reads `1.0`.
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}
