use sha2::{Digest, Sha256};
use sha3::Keccak256;

/// A 32-byte digest.
pub type Hash = [u8; 32];

/// SHA-256 of `bytes` (FIPS 180-4).
pub fn sha256(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// Keccak-256 of `bytes`, as Ethereum uses it (not NIST SHA3-256).
pub fn keccak256(bytes: &[u8]) -> Hash {
    Keccak256::digest(bytes).into()
}

/// Keccak-256 of the concatenation of `parts`.
pub fn keccak256_of(parts: &[&[u8]]) -> Hash {
    let mut hasher = Keccak256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// The digest a wallet signs for `personal_sign(message)`: EIP-191 version `E`, keccak-256.
pub fn personal_message_digest(message: &[u8]) -> Hash {
    let prefix = format!("\x19Ethereum Signed Message:\n{}", message.len());
    keccak256_of(&[prefix.as_bytes(), message])
}
