use crate::CryptoError;
use k256::ecdsa::Signature as Ecdsa;
use std::fmt;

/// A recoverable ECDSA signature over secp256k1: `r` (32) ‖ `s` (32) ‖ `v` (27 or 28), low `s` only (EIP-2).
///
/// A value of this type is well formed; whether it fits a key and a message is for [`PublicKey::verify`](crate::PublicKey::verify).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    bytes: [u8; 65],
    pub(crate) ecdsa: Ecdsa,
}

impl Signature {
    /// Length on the wire, in bytes.
    pub const LENGTH: usize = 65;

    /// Reads `r ‖ s ‖ v`.
    ///
    /// # Errors
    /// Another length, `r` or `s` out of range, `s` in the upper half, or `v` neither 27 nor 28.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, CryptoError> {
        let bytes: [u8; 65] = bytes.try_into().map_err(|_| CryptoError::SignatureLength(bytes.len()))?;
        let ecdsa = compact(&bytes[..64])?;
        if !matches!(bytes[64], 27 | 28) {
            return Err(CryptoError::RecoveryId(bytes[64]));
        }
        Ok(Self { bytes, ecdsa })
    }

    pub(crate) fn new(ecdsa: Ecdsa, y_is_odd: bool) -> Self {
        let mut bytes = [0; 65];
        bytes[..64].copy_from_slice(&ecdsa.to_bytes());
        bytes[64] = 27 + u8::from(y_is_odd);
        Self { bytes, ecdsa }
    }

    pub(crate) fn y_is_odd(&self) -> bool {
        self.bytes[64] == 28
    }

    /// The 65 bytes.
    pub const fn as_bytes(&self) -> &[u8; 65] {
        &self.bytes
    }
}

/// Reads `r ‖ s`, low `s` only.
pub(crate) fn compact(bytes: &[u8]) -> Result<Ecdsa, CryptoError> {
    if bytes.len() != 64 {
        return Err(CryptoError::CompactLength(bytes.len()));
    }
    let ecdsa = Ecdsa::from_slice(bytes).map_err(|_| CryptoError::SignatureRange)?;
    if ecdsa.normalize_s().is_some() {
        return Err(CryptoError::HighS);
    }
    Ok(ecdsa)
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.bytes))
    }
}
