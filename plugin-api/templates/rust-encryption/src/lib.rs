//! An encryption type: what begins here is XChaCha20-Poly1305, whose nonces may be drawn at random.

use chacha20poly1305::{KeyInit, XChaCha20Poly1305, aead::AeadInPlace};
use mainstem_plugin_sdk::{Encryption, Failure, Host, OpenFault, Opened, Plain, Sealed};

/// Bytes of a nonce.
const NONCE: usize = 24;
/// Bytes of a tag.
const TAG: usize = 16;

/// Encryption type {{type}}.
pub struct Plugin{{type}};

impl Encryption for Plugin{{type}} {
    /// The reply depends on what is given alone: randomness comes with each item.
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

mainstem_plugin_sdk::encryption!(Plugin{{type}});

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_plugin_sdk::harness::Harness;

    #[test]
    fn what_was_sealed_opens_with_the_same_associated_bytes_alone() {
        let mut plugin = Harness::<Plugin>::default();
        let item = Plain { nonce: &[7; 32], associated: b"bound", content: b"content" };
        let sealed = plugin.seal(&[9; 32], &[item]).expect("it is a key").remove(0);
        let open = |associated| Sealed { associated, sealed: &sealed };
        let opened = plugin.open(&[9; 32], &[open(b"bound"), open(b"other")]);
        assert_eq!(opened, Ok(vec![Ok(b"content".to_vec()), Err(OpenFault::Forged)]));
    }
}
