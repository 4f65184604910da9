//! A key wrapped for the holder of a secp256k1 key: ECIES with ECDH, HKDF-SHA256 (RFC 5869) and AES-256-GCM.
//!
//! Of 32 random bytes the ephemeral secret key is made. With P the recipient's and E the ephemeral public key, both compressed (33 bytes),
//! and x the 32 bytes of the x-coordinate of the point that both sides get: HKDF-SHA256 without salt over x, with the info
//! `mainstem:wrap:1` ‖ E ‖ P, gives 44 bytes, which are an AES key (32) and a nonce (12). What is wrapped is E ‖ ciphertext ‖ tag,
//! without associated bytes: 49 bytes more than the key.

use crate::{AesGcm, CryptoError, PublicKey, SecretKey};
use hkdf::Hkdf;
use k256::elliptic_curve::point::AffineCoordinates;
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

/// What HKDF is told that its output is for.
const INFO: &[u8] = b"mainstem:wrap:1";
/// Bytes of a compressed point.
const POINT_BYTES: usize = 33;

/// Bytes by which what is wrapped is longer than the key.
pub const WRAP_OVERHEAD_BYTES: usize = POINT_BYTES + AesGcm::TAG_BYTES;

/// Wraps a key for the holder of the secret key to `recipient`. The random bytes must never be used for anything else.
///
/// # Errors
/// [`CryptoError::SecretKey`] when the random bytes are no secret key, which is so of one in 2^128: draw others.
pub fn wrap(key: &[u8], recipient: &PublicKey, random: &[u8; 32]) -> Result<Vec<u8>, CryptoError> {
    let ephemeral = SecretKey::from_bytes(random)?;
    let point = ephemeral.public_key().to_sec1();
    let (cipher, nonce) = derive(&ephemeral, recipient, &point, &recipient.to_sec1());
    let sealed = cipher.seal(&nonce, &[], key);
    Ok([&point[..], &sealed[AesGcm::NONCE_BYTES..]].concat())
}

/// The key that was wrapped for the holder of `secret`.
///
/// # Errors
/// [`CryptoError::SealedLength`] of what is too short, [`CryptoError::PublicKey`] when it does not begin with a point,
/// [`CryptoError::Forged`] of what was wrapped for somebody else or was changed.
pub fn unwrap(secret: &SecretKey, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    if wrapped.len() < WRAP_OVERHEAD_BYTES {
        return Err(CryptoError::SealedLength(wrapped.len()));
    }
    let (point, text) = wrapped.split_at(POINT_BYTES);
    let ephemeral = PublicKey::from_sec1(point)?;
    let (cipher, nonce) = derive(secret, &ephemeral, point, &secret.public_key().to_sec1());
    cipher.open(&[], &[&nonce[..], text].concat())
}

/// The cipher and nonce that both sides get, one by the secret of `point` and one by that of `recipient`.
fn derive(
    secret: &SecretKey,
    other: &PublicKey,
    point: &[u8],
    recipient: &[u8],
) -> (AesGcm, [u8; AesGcm::NONCE_BYTES]) {
    let mut scalar = secret.scalar();
    let shared = other.point() * scalar;
    scalar.zeroize();
    let x = Zeroizing::new(<[u8; 32]>::from(shared.to_affine().x()));
    let mut okm = Zeroizing::new([0; AesGcm::KEY_BYTES + AesGcm::NONCE_BYTES]);
    let info = [INFO, point, recipient].concat();
    // IMPORTANT: 44 bytes are far below what HKDF gives.
    Hkdf::<Sha256>::new(None, x.as_slice()).expand(&info, okm.as_mut_slice()).expect("44 bytes can be had");
    let mut key = Zeroizing::new([0; AesGcm::KEY_BYTES]);
    key.copy_from_slice(&okm[..AesGcm::KEY_BYTES]);
    let mut nonce = [0; AesGcm::NONCE_BYTES];
    nonce.copy_from_slice(&okm[AesGcm::KEY_BYTES..]);
    (AesGcm::new(&key), nonce)
}
