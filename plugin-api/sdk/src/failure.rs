use mainstem_plugin_abi::{
    MessageError,
    limits::TEXT_BYTES_MAX,
    plugin_capnp::{FailureCode, failure},
};
use std::fmt;

/// Why a call is answered with `failed`, by the plugin or by the node: a code for programs and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Of what kind it is.
    pub code: FailureCode,
    /// A sentence that names the field, its fault and the remedy.
    pub message: String,
}

impl Failure {
    /// A failure; of a sentence over 1,024 bytes the first ones are kept.
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(TEXT_BYTES_MAX));
        Self { code, message }
    }

    /// This call, or what it asks for, is not known here.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(FailureCode::Unsupported, message)
    }

    /// The message is none of this ABI.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::new(FailureCode::Malformed, message)
    }

    /// What is asked for makes no sense: a parameter, a key, a state.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(FailureCode::Invalid, message)
    }

    /// It may work later.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(FailureCode::Unavailable, message)
    }

    /// It is over a limit.
    pub fn limit(message: impl Into<String>) -> Self {
        Self::new(FailureCode::Limit, message)
    }

    /// One's own fault.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(FailureCode::Internal, message)
    }

    pub(crate) fn read(from: failure::Reader<'_>) -> Self {
        // A code that is new to us counts as the last resort.
        let code = from.get_code().unwrap_or(FailureCode::Internal);
        let message = from.get_message().ok().and_then(|text| text.to_str().ok()).unwrap_or_default();
        Self::new(code, message)
    }

    pub(crate) fn write(&self, mut to: failure::Builder<'_>) {
        to.set_code(self.code);
        to.set_message(&*self.message);
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<capnp::Error> for Failure {
    fn from(error: capnp::Error) -> Self {
        Self::malformed(format!("the message is none of this ABI: {error}"))
    }
}

impl From<MessageError> for Failure {
    fn from(error: MessageError) -> Self {
        Self::malformed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_sentence_is_cut_between_characters() {
        let long = format!("x{}", "ü".repeat(TEXT_BYTES_MAX));
        assert_eq!(Failure::invalid(long).message.len(), TEXT_BYTES_MAX - 1);
    }
}
