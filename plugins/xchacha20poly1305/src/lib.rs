//! Encryption type 17: XChaCha20-Poly1305 with nonces of 24 bytes, which may be drawn at random for as many contents as one likes.

use chacha20poly1305::{KeyInit, XChaCha20Poly1305, aead::AeadInPlace};
use mainstem_plugin_sdk::{Encryption, Failure, Host, OpenFault, Opened, Plain, Sealed};

/// Bytes of a nonce.
const NONCE: usize = 24;
/// Bytes of a tag.
const TAG: usize = 16;

/// The type.
#[derive(Debug)]
pub struct XChaCha20;

impl Encryption for XChaCha20 {
    fn seal(_: &Host<'_>, key: &[u8], items: &[Plain<'_>]) -> Result<Vec<Vec<u8>>, Failure> {
        let cipher = cipher(key)?;
        items.iter().map(|item| seal(&cipher, item)).collect()
    }

    fn open(_: &Host<'_>, key: &[u8], items: &[Sealed<'_>]) -> Result<Vec<Opened>, Failure> {
        let cipher = cipher(key)?;
        Ok(items.iter().map(|item| open(&cipher, item)).collect())
    }
}

fn cipher(key: &[u8]) -> Result<XChaCha20Poly1305, Failure> {
    XChaCha20Poly1305::new_from_slice(key)
        .map_err(|_| Failure::invalid(format!("the key has {} bytes; it must be 32", key.len())))
}

/// Nonce, ciphertext, tag.
fn seal(cipher: &XChaCha20Poly1305, item: &Plain<'_>) -> Result<Vec<u8>, Failure> {
    let Some((nonce, _)) = item.nonce.split_first_chunk::<NONCE>() else {
        return Err(Failure::internal("a nonce of 32 bytes begins with 24"));
    };
    let mut sealed = Vec::with_capacity(NONCE + item.content.len() + TAG);
    sealed.extend_from_slice(nonce);
    sealed.extend_from_slice(item.content);
    let tag = cipher
        .encrypt_in_place_detached(nonce.into(), item.associated, &mut sealed[NONCE..])
        .map_err(|_| Failure::invalid("the content is longer than this cipher takes"))?;
    sealed.extend_from_slice(&tag);
    Ok(sealed)
}

fn open(cipher: &XChaCha20Poly1305, item: &Sealed<'_>) -> Opened {
    let (nonce, rest) = item.sealed.split_first_chunk::<NONCE>().ok_or(OpenFault::Malformed)?;
    let (text, tag) = rest.split_last_chunk::<TAG>().ok_or(OpenFault::Malformed)?;
    let mut content = text.to_vec();
    cipher
        .decrypt_in_place_detached(nonce.into(), item.associated, &mut content, tag.into())
        .map_err(|_| OpenFault::Forged)?;
    Ok(content)
}

mainstem_plugin_sdk::encryption!(XChaCha20);
