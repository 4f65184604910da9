use super::{EncryptionFault, EncryptionScheme, OpenFault, Opened, Plain, Sealed};
use crate::EncryptionType;
use mainstem_crypto::{AesGcm, CryptoError, PublicKey, SecretKey};
use zeroize::Zeroizing;

/// Encryption type 1: AES-256-GCM. What is sealed is nonce (12, the first of the random bytes) ‖ ciphertext ‖ tag (16); a key is wrapped
/// for a secp256k1 key (33 bytes, compressed) by [`mainstem_crypto::wrap`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Aes256GcmScheme;

impl Aes256GcmScheme {
    fn cipher(key: &[u8]) -> Result<AesGcm, EncryptionFault> {
        let wrong = || invalid(format!("the content key has {} bytes; AES-256-GCM takes 32", key.len()));
        Ok(AesGcm::new(key.try_into().map_err(|_| wrong())?))
    }
}

impl EncryptionScheme for Aes256GcmScheme {
    fn encryption_type(&self) -> EncryptionType {
        EncryptionType::AES_256_GCM
    }

    fn key_bytes(&self) -> usize {
        AesGcm::KEY_BYTES
    }

    fn seal(&self, key: &[u8], items: &[Plain<'_>]) -> Result<Vec<Vec<u8>>, EncryptionFault> {
        let cipher = Self::cipher(key)?;
        let seal = |item: &Plain<'_>| {
            let mut nonce = [0; AesGcm::NONCE_BYTES];
            nonce.copy_from_slice(&item.nonce[..AesGcm::NONCE_BYTES]);
            cipher.seal(&nonce, item.associated, item.content)
        };
        Ok(items.iter().map(seal).collect())
    }

    fn open(&self, key: &[u8], items: &[Sealed<'_>]) -> Result<Vec<Opened>, EncryptionFault> {
        let cipher = Self::cipher(key)?;
        let open = |item: &Sealed<'_>| match cipher.open(item.associated, item.sealed) {
            Ok(mut content) => Ok(std::mem::take(&mut *content)),
            Err(CryptoError::SealedLength(_)) => Err(OpenFault::Malformed),
            Err(_) => Err(OpenFault::Forged),
        };
        Ok(items.iter().map(open).collect())
    }

    fn wrap(&self, key: &[u8], recipients: &[&[u8]], random: &[u8]) -> Result<Vec<Vec<u8>>, EncryptionFault> {
        let (random, rest) = random.as_chunks::<32>();
        if random.len() != recipients.len() || !rest.is_empty() {
            return Err(invalid("wrapping takes 32 random bytes for each recipient"));
        }
        let wrap = |(recipient, random): (&&[u8], &[u8; 32])| {
            let recipient = PublicKey::from_sec1(recipient).map_err(invalid)?;
            mainstem_crypto::wrap(key, &recipient, random).map_err(invalid)
        };
        recipients.iter().zip(random).map(wrap).collect()
    }

    fn unwrap(&self, private_key: &[u8], wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, EncryptionFault> {
        let wrong = || invalid(CryptoError::SecretKey);
        let secret = SecretKey::from_bytes(private_key.try_into().map_err(|_| wrong())?).map_err(invalid)?;
        mainstem_crypto::unwrap(&secret, wrapped).map_err(invalid)
    }
}

fn invalid(fault: impl ToString) -> EncryptionFault {
    EncryptionFault::Invalid(fault.to_string())
}
