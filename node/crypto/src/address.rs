use crate::{CryptoError, keccak256};
use std::{fmt, str::FromStr};

/// A 20-byte Ethereum address. Text is lower-case hex with `0x`; any case is read, a checksum is not demanded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Address(pub [u8; 20]);

impl Address {
    /// `address(0)`: in a grant it stands for everyone.
    pub const ZERO: Self = Self([0; 20]);

    /// The address as bytes.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// Reads exactly 20 bytes.
    ///
    /// # Errors
    /// [`CryptoError::Address`] for any other length.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, CryptoError> {
        bytes.try_into().map(Self).map_err(|_| CryptoError::Address(hex::encode(bytes)))
    }

    /// The mixed-case form of EIP-55, for showing to people.
    pub fn checksummed(&self) -> String {
        let lower = hex::encode(self.0);
        let hash = keccak256(lower.as_bytes());
        let mut text = String::with_capacity(42);
        text.push_str("0x");
        for (i, c) in lower.chars().enumerate() {
            let nibble = hash[i / 2] >> (4 * (1 - i % 2)) & 0xf;
            text.push(if nibble >= 8 { c.to_ascii_uppercase() } else { c });
        }
        text
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Address {
    type Err = CryptoError;

    fn from_str(text: &str) -> Result<Self, CryptoError> {
        let wrong = || CryptoError::Address(text.chars().take(64).collect());
        let digits = text.strip_prefix("0x").ok_or_else(wrong)?;
        let mut bytes = [0; 20];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| wrong())?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksummed_text_follows_the_examples_of_eip_55() {
        for text in
            ["0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb"]
        {
            assert_eq!(text.parse::<Address>().unwrap().checksummed(), text);
        }
    }

    #[test]
    fn text_without_prefix_or_with_a_wrong_length_is_refused() {
        for text in ["", "0x", "5aaeb6053f3e94c9b9a09f33669435e7ef1beaed", "0x00", "0xzz", "€"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
