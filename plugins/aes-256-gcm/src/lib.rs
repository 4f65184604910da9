//! Encryption type 18: what the built-in type 1 does, as a plugin, so that the two can be compared.

use aes_gcm::{Aes256Gcm, KeyInit, aead::AeadInPlace};
use mainstem_plugin_sdk::{Encryption, Failure, Host, OpenFault, Opened, Plain, Sealed};

mod wrapping;

/// Bytes of a nonce.
const NONCE: usize = 12;
/// Bytes of a tag.
const TAG: usize = 16;

/// The type.
#[derive(Debug)]
pub struct Aes256;

impl Encryption for Aes256 {
    fn seal(_: &Host<'_>, key: &[u8], items: &[Plain<'_>]) -> Result<Vec<Vec<u8>>, Failure> {
        let cipher = cipher(key)?;
        items.iter().map(|item| seal(&cipher, item)).collect()
    }

    fn open(_: &Host<'_>, key: &[u8], items: &[Sealed<'_>]) -> Result<Vec<Opened>, Failure> {
        let cipher = cipher(key)?;
        Ok(items.iter().map(|item| open(&cipher, item)).collect())
    }

    fn wrap(
        _: &Host<'_>,
        key: &[u8],
        recipients: &[&[u8]],
        random: &[[u8; 32]],
    ) -> Result<Vec<Vec<u8>>, Failure> {
        recipients
            .iter()
            .zip(random)
            .map(|(recipient, random)| wrapping::wrap(key, recipient, random))
            .collect()
    }

    fn unwrap(_: &Host<'_>, private_key: &[u8], wrapped: &[u8]) -> Result<Vec<u8>, Failure> {
        wrapping::unwrap(private_key, wrapped)
    }
}

fn cipher(key: &[u8]) -> Result<Aes256Gcm, Failure> {
    Aes256Gcm::new_from_slice(key)
        .map_err(|_| Failure::invalid(format!("the key has {} bytes; it must be 32", key.len())))
}

/// Nonce, ciphertext, tag.
fn seal(cipher: &Aes256Gcm, item: &Plain<'_>) -> Result<Vec<u8>, Failure> {
    let Some((nonce, _)) = item.nonce.split_first_chunk::<NONCE>() else {
        return Err(Failure::internal("a nonce of 32 bytes begins with 12"));
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

fn open(cipher: &Aes256Gcm, item: &Sealed<'_>) -> Opened {
    let (nonce, rest) = item.sealed.split_first_chunk::<NONCE>().ok_or(OpenFault::Malformed)?;
    let (text, tag) = rest.split_last_chunk::<TAG>().ok_or(OpenFault::Malformed)?;
    let mut content = text.to_vec();
    cipher
        .decrypt_in_place_detached(nonce.into(), item.associated, &mut content, tag.into())
        .map_err(|_| OpenFault::Forged)?;
    Ok(content)
}

mainstem_plugin_sdk::encryption!(Aes256);
