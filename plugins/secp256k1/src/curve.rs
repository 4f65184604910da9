use k256::ecdsa::{RecoveryId, Signature, SigningKey, VerifyingKey};
use sha3::{Digest, Keccak256};

/// A private key.
pub(crate) struct Key(SigningKey);

impl Key {
    /// Of 32 bytes that are a key.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 32] = bytes.try_into().ok()?;
        SigningKey::from_bytes(bytes.into()).ok().map(Self)
    }

    /// Whose signatures it makes.
    pub(crate) fn address(&self) -> [u8; 20] {
        address(self.0.verifying_key())
    }

    /// r, s, v, by RFC 6979: one key and digest make one signature.
    pub(crate) fn sign(&self, digest: &[u8; 32]) -> [u8; 65] {
        let signed = self.0.sign_prehash_recoverable(digest);
        let (signature, recovery) = signed.expect("a digest of 32 bytes is signed by every key");
        let mut bytes = [27; 65];
        bytes[..64].copy_from_slice(&signature.to_bytes());
        bytes[64] += u8::from(recovery.is_y_odd());
        bytes
    }
}

pub(crate) fn keccak256(bytes: &[u8]) -> [u8; 32] {
    Keccak256::digest(bytes).into()
}

/// Whether bytes are r, s, v in range, with the lower s.
pub(crate) fn is_signature(bytes: &[u8]) -> bool {
    read(bytes).is_some()
}

/// Whose signature over the digest it is, if anybody's.
pub(crate) fn signer(digest: &[u8; 32], signature: &[u8]) -> Option<[u8; 20]> {
    let (signature, recovery) = read(signature)?;
    let key = VerifyingKey::recover_from_prehash(digest, &signature, recovery).ok()?;
    Some(address(&key))
}

fn read(bytes: &[u8]) -> Option<(Signature, RecoveryId)> {
    let (signature, [v]) = bytes.split_last_chunk::<1>()?;
    let recovery = RecoveryId::from_byte(v.checked_sub(27).filter(|id| *id < 2)?)?;
    let signature = Signature::from_slice(signature).ok()?;
    signature.normalize_s().is_none().then_some((signature, recovery))
}

fn address(key: &VerifyingKey) -> [u8; 20] {
    let hash = keccak256(&key.to_encoded_point(false).as_bytes()[1..]);
    let mut address = [0; 20];
    address.copy_from_slice(&hash[12..]);
    address
}
