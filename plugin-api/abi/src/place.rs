/// Where a message lies in a plugin's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its first byte.
    pub ptr: u32,
    /// Its bytes.
    pub len: u32,
}

impl Place {
    /// As calls return it: ptr × 2^32 + len.
    pub const fn to_u64(self) -> u64 {
        (self.ptr as u64) << 32 | self.len as u64
    }

    /// What [`Place::to_u64`] gave.
    pub const fn from_u64(packed: u64) -> Self {
        Self { ptr: (packed >> 32) as u32, len: packed as u32 }
    }
}
