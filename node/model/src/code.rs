use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Stable names of refusals, the same on every edge. The sentence beside one may change, the code does not.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code, for documents and tests.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Reads a code from the wire; `None` for one that this version does not know.
            pub fn from_wire(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

codes! {
    /// The frame, message or body is not what the protocol says.
    MalformedFrame = "MALFORMED_FRAME",
    /// The batch is not what the format says.
    MalformedBatch = "MALFORMED_BATCH",
    /// A batch is larger than the format or this node allows.
    BatchTooLarge = "BATCH_TOO_LARGE",
    /// More than 1024 events in a batch, or none.
    InvalidEventCount = "INVALID_EVENT_COUNT",
    /// An event's content is larger than allowed.
    ContentTooLarge = "CONTENT_TOO_LARGE",
    /// The batch was signed for another chain or registry.
    WrongNetwork = "WRONG_NETWORK",
    /// No built-in and no plugin knows this signature type.
    UnknownSignatureType = "UNKNOWN_SIGNATURE_TYPE",
    /// The origin's type does not go with the signature type.
    UnknownOriginType = "UNKNOWN_ORIGIN_TYPE",
    /// The signature is not the origin's over this header.
    InvalidSignature = "INVALID_SIGNATURE",
    /// Whether the signature holds cannot be told at present: send it again later.
    SignatureUnavailable = "SIGNATURE_UNAVAILABLE",
    /// The delegation is not the origin's, has expired, was revoked or does not name the stream.
    InvalidDelegation = "INVALID_DELEGATION",
    /// The events are not those that were signed.
    MerkleRootMismatch = "MERKLE_ROOT_MISMATCH",
    /// A timestamp is outside what is allowed.
    InvalidTimestamp = "INVALID_TIMESTAMP",
    /// The stream id is not an id.
    InvalidStreamId = "INVALID_STREAM_ID",
    /// The partition is out of the stream's range.
    InvalidPartition = "INVALID_PARTITION",
    /// A field of a request has a wrong value.
    InvalidArgument = "INVALID_ARGUMENT",
    /// The cursor is damaged or belongs to another store.
    InvalidCursor = "INVALID_CURSOR",
    /// The registry has no such stream.
    StreamNotFound = "STREAM_NOT_FOUND",
    /// The right that this takes was not granted, has expired or was revoked.
    MissingPermission = "MISSING_PERMISSION",
    /// The series has a hole before this batch.
    SeriesGap = "SERIES_GAP",
    /// Another batch has this place in the series: kept as proof, the series is frozen.
    Equivocation = "EQUIVOCATION",
    /// The series was frozen after an equivocation.
    SeriesFrozen = "SERIES_FROZEN",
    /// This needs a signed-in session.
    NotSignedIn = "NOT_SIGNED_IN",
    /// The sign-in is not a signature over this connection's challenge.
    InvalidSignIn = "INVALID_SIGN_IN",
    /// The API key is missing.
    MissingApiKey = "MISSING_API_KEY",
    /// The API key is not one of this node's.
    UnknownApiKey = "UNKNOWN_API_KEY",
    /// The web origin or host is not on the node's list.
    ForbiddenOrigin = "FORBIDDEN_ORIGIN",
    /// The connection has no such subscription.
    UnknownSubscription = "UNKNOWN_SUBSCRIPTION",
    /// A count has reached its limit.
    LimitReached = "LIMIT_REACHED",
    /// Too much at once: slow down and try again.
    Overloaded = "OVERLOADED",
    /// Fewer brokers than asked for say in time that they keep the batch.
    TooFewCopies = "TOO_FEW_COPIES",
    /// The broker is not one of those that the partition is assigned to.
    NotAssigned = "NOT_ASSIGNED",
    /// The store has failed; nothing more is acknowledged.
    StoreUnavailable = "STORE_UNAVAILABLE",
    /// A part of the stored history is damaged here.
    DamagedHistory = "DAMAGED_HISTORY",
    /// The node has not yet caught up with the chain, or the chain does not answer.
    ChainUnavailable = "CHAIN_UNAVAILABLE",
    /// No such path, or nothing there.
    NotFound = "NOT_FOUND",
    /// The path exists and does not take this method.
    MethodNotAllowed = "METHOD_NOT_ALLOWED",
    /// The body's media type is not the one this takes.
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE",
    /// The node is shutting down.
    ShuttingDown = "SHUTTING_DOWN",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal: a code for machines and one sentence for people, naming the field, its fault and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Stable code.
    pub code: Code,
    /// One sentence; no secret, no payload, no stack.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Refusal {}
