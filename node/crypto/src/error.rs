/// Why bytes were refused as a key, a signature or an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CryptoError {
    /// Not 32 bytes, zero, or not below the order of secp256k1.
    #[error("the secret key is not a number between 1 and the order of secp256k1 (32 bytes)")]
    SecretKey,
    /// Not a point of the curve.
    #[error("the public key is not a point of secp256k1 (33 or 65 bytes, SEC1)")]
    PublicKey,
    /// A signature is 65 bytes: r, s, v.
    #[error("a signature is 65 bytes (r, s, v), this has {0}")]
    SignatureLength(usize),
    /// A compact signature is 64 bytes: r, s.
    #[error("a compact signature is 64 bytes (r, s), this has {0}")]
    CompactLength(usize),
    /// `r` or `s` is zero or not below the curve order.
    #[error("r or s of the signature is out of range")]
    SignatureRange,
    /// `s` is in the upper half: the malleable twin of a valid signature.
    #[error("s of the signature is in the upper half of the order; sign with low s (EIP-2)")]
    HighS,
    /// `v` is neither 27 nor 28.
    #[error("v of the signature is {0}, expected 27 or 28")]
    RecoveryId(u8),
    /// The signature is well formed and was not made by this key over this digest.
    #[error("the signature was not made by this key over this message")]
    Mismatch,
    /// Too short for a nonce and a tag, or a point and a tag.
    #[error(
        "what is sealed has at least a nonce and a tag, what is wrapped a point and a tag; this has {0} bytes"
    )]
    SealedLength(usize),
    /// Another key, other associated bytes, or something was changed.
    #[error("it was not sealed with this key and these associated bytes, or was changed since")]
    Forged,
    /// Not `0x` and 40 hex digits.
    #[error("an address is 0x and 40 hex digits, got {0:?}")]
    Address(String),
}
