use mainstem_chain::ChainError;
use mainstem_model::{BatchError, Code, Refusal};
use std::{borrow::Cow, fmt};

/// What kind of thing went wrong: coarse and stable, the same in every language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The registry has no such stream.
    StreamNotFound,
    /// A right is missing, has expired or was revoked; or a sign-in is needed.
    MissingPermission,
    /// The broker did not take the sign-in.
    InvalidSignIn,
    /// An argument or option has a wrong value; nothing was sent.
    InvalidArgument,
    /// A partition that the stream has not.
    InvalidPartition,
    /// A timestamp outside what the broker takes.
    InvalidTimestamp,
    /// The cursor is damaged or of another broker's store.
    InvalidCursor,
    /// A batch whose signature, delegation or Merkle root does not hold.
    InvalidSignature,
    /// A batch or event that is not what the format says, or not what was asked for.
    InvalidMessage,
    /// An event or batch is too large.
    TooLarge,
    /// The broker is of another network than the configuration says.
    WrongNetwork,
    /// Events are missing: a series jumped, and the broker could not fill the hole.
    Gap,
    /// Two different batches for one place of a series.
    Equivocation,
    /// The publisher's series can not go on; begin another publisher.
    SeriesStopped,
    /// No connection, or it was lost.
    Disconnected,
    /// It took longer than the configuration allows.
    Timeout,
    /// A limit is reached, or the broker is behind; try again later.
    Overloaded,
    /// The broker's store failed or is damaged in part.
    Storage,
    /// The client was closed.
    ClientClosed,
    /// The other side broke the protocol.
    Protocol,
    /// The chain could not be asked, or refused.
    Chain,
    /// This takes something that the configuration has not: a wallet, a chain.
    NotConfigured,
    /// Anything else.
    Unknown,
}

impl ErrorKind {
    /// The name across languages; Streamr's own where it has one.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StreamNotFound => "STREAM_NOT_FOUND",
            Self::MissingPermission => "MISSING_PERMISSION",
            Self::InvalidSignIn => "INVALID_SIGN_IN",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::InvalidPartition => "INVALID_PARTITION",
            Self::InvalidTimestamp => "INVALID_TIMESTAMP",
            Self::InvalidCursor => "INVALID_CURSOR",
            Self::InvalidSignature => "INVALID_SIGNATURE",
            Self::InvalidMessage => "INVALID_MESSAGE_CONTENT",
            Self::TooLarge => "TOO_LARGE",
            Self::WrongNetwork => "WRONG_NETWORK",
            Self::Gap => "GAP",
            Self::Equivocation => "EQUIVOCATION",
            Self::SeriesStopped => "SERIES_STOPPED",
            Self::Disconnected => "DISCONNECTED",
            Self::Timeout => "TIMEOUT",
            Self::Overloaded => "OVERLOADED",
            Self::Storage => "STORAGE_NODE_ERROR",
            Self::ClientClosed => "CLIENT_DESTROYED",
            Self::Protocol => "PROTOCOL_ERROR",
            Self::Chain => "CHAIN_ERROR",
            Self::NotConfigured => "UNSUPPORTED_OPERATION",
            Self::Unknown => "UNKNOWN_ERROR",
        }
    }

    /// The kind that a broker's code belongs to.
    pub const fn of(code: Code) -> Self {
        match code {
            Code::StreamNotFound => Self::StreamNotFound,
            Code::MissingPermission
            | Code::NotSignedIn
            | Code::MissingApiKey
            | Code::UnknownApiKey
            | Code::ForbiddenOrigin => Self::MissingPermission,
            Code::InvalidSignIn => Self::InvalidSignIn,
            Code::InvalidArgument | Code::InvalidStreamId => Self::InvalidArgument,
            Code::InvalidPartition => Self::InvalidPartition,
            Code::InvalidTimestamp => Self::InvalidTimestamp,
            Code::InvalidCursor => Self::InvalidCursor,
            Code::InvalidSignature
            | Code::InvalidDelegation
            | Code::MerkleRootMismatch
            | Code::UnknownSignatureType
            | Code::UnknownOriginType => Self::InvalidSignature,
            Code::MalformedBatch | Code::InvalidEventCount => Self::InvalidMessage,
            Code::BatchTooLarge | Code::ContentTooLarge => Self::TooLarge,
            Code::WrongNetwork => Self::WrongNetwork,
            Code::SeriesGap => Self::SeriesStopped,
            Code::Equivocation | Code::SeriesFrozen => Self::Equivocation,
            Code::LimitReached
            | Code::Overloaded
            | Code::TooFewCopies
            | Code::NotAssigned
            | Code::SignatureUnavailable => Self::Overloaded,
            Code::StoreUnavailable | Code::DamagedHistory => Self::Storage,
            Code::ChainUnavailable => Self::Chain,
            Code::ShuttingDown => Self::Disconnected,
            Code::MalformedFrame
            | Code::UnknownSubscription
            | Code::NotFound
            | Code::MethodNotAllowed
            | Code::UnsupportedMediaType => Self::Protocol,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why something did not work: a stable kind, the broker's code if it was the broker, and one sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientError {
    /// Coarse and stable.
    pub kind: ErrorKind,
    /// The broker's or the format's own code, where there is one.
    pub code: Option<Code>,
    /// One sentence; no secret, no payload.
    pub message: String,
}

impl ClientError {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, code: None, message: message.into().into_owned() }
    }

    pub(crate) fn argument(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    pub(crate) fn protocol(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Protocol, message)
    }

    pub(crate) fn disconnected(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Disconnected, message)
    }

    pub(crate) fn closed() -> Self {
        Self::new(ErrorKind::ClientClosed, "the client was closed")
    }

    /// Whether the same may succeed later without anybody changing anything.
    pub const fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::Disconnected | ErrorKind::Timeout | ErrorKind::Overloaded | ErrorKind::Storage
        )
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "{code}: {}", self.message),
            None => write!(f, "{}: {}", self.kind, self.message),
        }
    }
}

impl std::error::Error for ClientError {}

impl From<Refusal> for ClientError {
    fn from(refusal: Refusal) -> Self {
        Self { kind: ErrorKind::of(refusal.code), code: Some(refusal.code), message: refusal.message }
    }
}

impl From<BatchError> for ClientError {
    fn from(error: BatchError) -> Self {
        Refusal::from(error).into()
    }
}

impl From<ChainError> for ClientError {
    fn from(error: ChainError) -> Self {
        let kind = if matches!(error, ChainError::Argument(_) | ChainError::Config(_)) {
            ErrorKind::InvalidArgument
        } else if matches!(error, ChainError::WrongChain { .. }) {
            ErrorKind::WrongNetwork
        } else {
            ErrorKind::Chain
        };
        Self::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_broker_has_a_kind() {
        for code in Code::ALL {
            assert_ne!(ErrorKind::of(*code), ErrorKind::Unknown, "{code}");
        }
    }
}
