use mainstem_chain::ChainError;
use mainstem_client::{ClientError, ErrorKind};
use mainstem_model::Refusal;
use mainstem_store::StoreError;
use std::io;

/// Wrong use or configuration.
pub(crate) const USAGE: u8 = 64;
/// Input data that is not what was asked for.
pub(crate) const DATA: u8 = 65;
/// Broker, node or chain cannot be reached or cannot serve now.
pub(crate) const UNAVAILABLE: u8 = 69;
/// A file could not be read or written.
pub(crate) const IO: u8 = 74;
/// A right is missing.
pub(crate) const PERMISSION: u8 = 77;
/// Everything else.
pub(crate) const OTHER: u8 = 1;

/// What every `--help` says about exit codes.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   something else failed
  64  wrong use or configuration
  65  bad input data
  69  the broker, the node or the chain cannot be reached or cannot serve now
  74  a file could not be read or written
  77  a right is missing";

/// Why a command did not do what it was asked: for the shell, for a program, for a person.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) exit: u8,
    /// Stable name: the broker's code where there is one.
    pub(crate) code: String,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(exit: u8, code: &str, message: impl Into<String>) -> Self {
        Self { exit, code: code.to_owned(), message: message.into() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, "INVALID_ARGUMENT", message)
    }

    pub(crate) fn data(message: impl Into<String>) -> Self {
        Self::new(DATA, "INVALID_DATA", message)
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(UNAVAILABLE, "UNAVAILABLE", message)
    }

    pub(crate) fn io(message: impl Into<String>) -> Self {
        Self::new(IO, "IO", message)
    }

    pub(crate) fn permission(message: impl Into<String>) -> Self {
        Self::new(PERMISSION, "MISSING_PERMISSION", message)
    }

    /// Finds what an error is, through the contexts around it. `None` when whoever read our output has gone: no failure.
    pub(crate) fn of(error: &anyhow::Error) -> Option<Self> {
        for cause in error.chain() {
            let found = if let Some(failure) = cause.downcast_ref::<Self>() {
                Self::new(failure.exit, &failure.code, String::new())
            } else if let Some(error) = cause.downcast_ref::<ClientError>() {
                of_client(error)
            } else if let Some(error) = cause.downcast_ref::<ChainError>() {
                of_chain(error)
            } else if let Some(refusal) = cause.downcast_ref::<Refusal>() {
                of_client(&refusal.clone().into())
            } else if let Some(error) = cause.downcast_ref::<StoreError>() {
                of_store(error)
            } else if let Some(error) = cause.downcast_ref::<io::Error>() {
                if error.kind() == io::ErrorKind::BrokenPipe {
                    return None;
                }
                Self::io("")
            } else {
                continue;
            };
            return Some(Self { message: sentence(error), ..found });
        }
        Some(Self::new(OTHER, "OTHER", sentence(error)))
    }
}

/// The contexts and the cause on one line, each said once.
fn sentence(error: &anyhow::Error) -> String {
    let mut sentence = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if sentence.contains(&cause) {
            continue;
        }
        if !sentence.is_empty() {
            sentence.push_str(": ");
        }
        sentence.push_str(&cause);
    }
    sentence.replace('\n', " ")
}

#[allow(clippy::wildcard_enum_match_arm, reason = "kinds to come are of no known exit code")]
fn of_client(error: &ClientError) -> Failure {
    let exit = match error.kind {
        ErrorKind::InvalidArgument | ErrorKind::NotConfigured | ErrorKind::WrongNetwork => USAGE,
        ErrorKind::StreamNotFound
        | ErrorKind::InvalidPartition
        | ErrorKind::InvalidTimestamp
        | ErrorKind::InvalidCursor
        | ErrorKind::InvalidSignature
        | ErrorKind::InvalidMessage
        | ErrorKind::TooLarge => DATA,
        ErrorKind::MissingPermission | ErrorKind::InvalidSignIn => PERMISSION,
        ErrorKind::Disconnected
        | ErrorKind::Timeout
        | ErrorKind::Overloaded
        | ErrorKind::Storage
        | ErrorKind::Protocol
        | ErrorKind::Chain => UNAVAILABLE,
        _ => OTHER,
    };
    let name = error.code.map_or(error.kind.as_str(), mainstem_model::Code::as_str);
    Failure::new(exit, name, String::new())
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the rest, known and to come, is trouble with the chain")]
fn of_chain(error: &ChainError) -> Failure {
    match error {
        ChainError::Config(_) | ChainError::WrongChain { .. } => Failure::new(USAGE, "INVALID_ARGUMENT", ""),
        ChainError::Argument(_) => Failure::new(DATA, "INVALID_ARGUMENT", ""),
        ChainError::Revert(revert) if is_about_rights(&revert.name) => Failure::permission(""),
        ChainError::Revert(revert) => Failure::new(OTHER, &format!("REVERT_{}", revert.name), ""),
        _ => Failure::new(UNAVAILABLE, "CHAIN", ""),
    }
}

/// Errors of our contracts that say that the caller may not.
pub(crate) fn is_about_rights(name: &str) -> bool {
    matches!(
        name,
        "RegistryNotOwner"
            | "StreamMissingRight"
            | "StreamNotOwner"
            | "StreamFlagsNotYours"
            | "StreamNotOffered"
    )
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the rest, known and to come, is trouble with the disk")]
fn of_store(error: &StoreError) -> Failure {
    match error {
        StoreError::ForeignCursor => Failure::data(""),
        _ => Failure::io(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};

    #[test]
    fn contexts_do_not_hide_the_exit_code() {
        let error = anyhow::Error::from(Failure::data("line 3 is not JSON")).context("publishing");
        let failure = Failure::of(&error).unwrap();
        assert_eq!((failure.exit, failure.message.as_str()), (DATA, "publishing: line 3 is not JSON"));
    }

    #[test]
    fn every_kind_has_its_code() {
        let refusal = |code| anyhow::Error::from(Refusal::new(code, "no"));
        let chain = |error: ChainError| anyhow::Error::from(error);
        let io = |kind| anyhow::Error::from(io::Error::from(kind));
        for (error, exit) in [
            (refusal(mainstem_model::Code::MissingPermission), PERMISSION),
            (refusal(mainstem_model::Code::Overloaded), UNAVAILABLE),
            (refusal(mainstem_model::Code::InvalidPartition), DATA),
            (chain(ChainError::Argument("no".to_owned())), DATA),
            (chain(ChainError::Timeout { endpoint: String::new(), after_ms: 1 }), UNAVAILABLE),
            (io(io::ErrorKind::PermissionDenied), IO),
            (anyhow!("no"), OTHER),
        ] {
            assert_eq!(Failure::of(&error).unwrap().exit, exit, "{error}");
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_no_failure() {
        let gone: Result<(), _> = Err(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(Failure::of(&gone.context("printing").unwrap_err()).is_none());
    }
}
