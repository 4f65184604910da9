use sha2::Digest;
use sha3::Keccak256;

/// A 32-byte digest.
pub type Hash = [u8; 32];

/// SHA-256 of `bytes` (FIPS 180-4).
pub fn sha256(bytes: &[u8]) -> Hash {
    sha2::Sha256::digest(bytes).into()
}

/// SHA-256 of what comes piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Sha256(sha2::Sha256);

impl Sha256 {
    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all pieces.
    pub fn finish(self) -> Hash {
        self.0.finalize().into()
    }
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
