use crate::CryptoError;
use aes_gcm::{Aes256Gcm, KeyInit, aead::AeadInPlace};
use std::fmt;
use zeroize::Zeroizing;

/// AES-256 in Galois/counter mode (NIST SP 800-38D), with nonces of 96 and tags of 128 bits. The key is wiped from memory when this
/// is dropped; never printed.
///
/// A nonce must not come twice under one key. Nonces that are drawn at random are good for 2^32 messages of one key.
#[derive(Clone)]
pub struct AesGcm(Aes256Gcm);

impl AesGcm {
    /// Bytes of a key.
    pub const KEY_BYTES: usize = 32;
    /// Bytes of a nonce.
    pub const NONCE_BYTES: usize = 12;
    /// Bytes of a tag.
    pub const TAG_BYTES: usize = 16;
    /// Bytes by which what is sealed is longer than what it was made of.
    pub const OVERHEAD_BYTES: usize = Self::NONCE_BYTES + Self::TAG_BYTES;

    /// With 32 bytes of key.
    pub fn new(key: &[u8; Self::KEY_BYTES]) -> Self {
        Self(Aes256Gcm::new(key.into()))
    }

    /// Nonce ‖ ciphertext ‖ tag.
    pub fn seal(&self, nonce: &[u8; Self::NONCE_BYTES], associated: &[u8], content: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(content.len() + Self::OVERHEAD_BYTES);
        sealed.extend_from_slice(nonce);
        sealed.extend_from_slice(content);
        let text = &mut sealed[Self::NONCE_BYTES..];
        // IMPORTANT: it fails above 64 GiB of content alone.
        let tag =
            self.0.encrypt_in_place_detached(nonce.into(), associated, text).expect("it is below 64 GiB");
        sealed.extend_from_slice(&tag);
        sealed
    }

    /// What `seal` was given.
    ///
    /// # Errors
    /// [`CryptoError::SealedLength`] of what is too short, [`CryptoError::Forged`] of what this key and these associated bytes did not seal.
    pub fn open(&self, associated: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let short = || CryptoError::SealedLength(sealed.len());
        let (nonce, rest) = sealed.split_first_chunk::<{ Self::NONCE_BYTES }>().ok_or_else(short)?;
        let (text, tag) = rest.split_last_chunk::<{ Self::TAG_BYTES }>().ok_or_else(short)?;
        let mut content = Zeroizing::new(text.to_vec());
        self.0
            .decrypt_in_place_detached(nonce.into(), associated, &mut content, tag.into())
            .map_err(|_| CryptoError::Forged)?;
        Ok(content)
    }
}

impl fmt::Debug for AesGcm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AesGcm(<key>)")
    }
}
