use crate::error::PluginIdError;
use mainstem_crypto::sha256;
use std::{fmt, str::FromStr};

/// The name of a plugin in configuration and in the cache: SHA-256 of its module, its manifest included. Text is 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PluginId(pub [u8; 32]);

impl PluginId {
    /// Of a module.
    pub fn of(module: &[u8]) -> Self {
        Self(sha256(module))
    }
}

impl fmt::Display for PluginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PluginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PluginId {
    type Err = PluginIdError;

    fn from_str(text: &str) -> Result<Self, PluginIdError> {
        let mut id = [0; 32];
        match hex::decode_to_slice(text, &mut id) {
            Ok(()) => Ok(Self(id)),
            Err(_) => Err(PluginIdError(text.chars().take(80).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let id = PluginId::of(b"module");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
    }

    #[test]
    fn text_that_is_no_id_is_refused() {
        for text in ["", "00", "0x", &"g".repeat(64), &"0".repeat(63), &"0".repeat(65), &"€".repeat(32)] {
            assert!(text.parse::<PluginId>().is_err(), "{text}");
        }
    }
}
