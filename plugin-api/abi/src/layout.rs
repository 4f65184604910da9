//! Messages by their layout alone (`ABI.md`, "Layouts"), for the calls that are made most. What is read here is read alike by
//! [`read`](crate::read), at several times the price; what has another form than the usual is left to that.

mod reading;
mod writing;

pub use reading::{Fields, Structs, Words};
pub use writing::{Writer, event_words};

/// Words that so many bytes take.
pub const fn words_of(bytes: usize) -> usize {
    bytes.div_ceil(8)
}

/// Words of values and count of pointers of the structs that are laid out by hand, and tags. A test compares them with the schema.
pub mod sizes {
    /// `Request`.
    pub const REQUEST: (usize, usize) = (2, 1);
    /// `Reply`.
    pub const REPLY: (usize, usize) = (1, 1);
    /// `Signed`.
    pub const SIGNED: (usize, usize) = (2, 4);
    /// `PortBatch`.
    pub const PORT_BATCH: (usize, usize) = (1, 2);
    /// `Event`.
    pub const EVENT: (usize, usize) = (1, 1);
}

/// Tags of unions.
pub mod tags {
    /// `Request.verify`.
    pub const VERIFY: u16 = 1;
    /// `Request.onBatch`.
    pub const ON_BATCH: u16 = 3;
    /// `Reply.verdicts`.
    pub const VERDICTS: u16 = 2;
    /// `Reply.emitted`.
    pub const EMITTED: u16 = 4;
    /// `PortBatch.events`.
    pub const EVENTS: u16 = 1;
}
