//! Keys, hashes, signatures, encryption and Merkle trees of Mainstem.
//!
//! What it is: thin, typed faces over `k256`, `sha2`, `sha3` and `aes-gcm`, in exactly the forms that the wire needs.
//! What it is not: it draws no randomness, reads no clock and opens no file; a caller brings 32 random bytes.
//!
//! ```
//! use mainstem_crypto::{SecretKey, personal_message_digest};
//! let key = SecretKey::from_bytes(&[7; 32]).expect("7…7 is below the curve order");
//! let digest = personal_message_digest(b"hello");
//! let signature = key.sign(&digest);
//! assert!(key.public_key().verify(&digest, &signature).is_ok());
//! assert_eq!(mainstem_crypto::recover(&digest, &signature).unwrap().address(), key.address());
//! ```

mod address;
mod aes_gcm;
mod ecies;
mod error;
mod hash;
mod key;
mod known_keys;
pub mod merkle;
mod prepared;
mod signature;

pub use address::Address;
pub use aes_gcm::AesGcm;
pub use ecies::{WRAP_OVERHEAD_BYTES, unwrap, wrap};
pub use error::CryptoError;
pub use hash::{Hash, Sha256, keccak256, keccak256_of, personal_message_digest, sha256};
pub use key::{PublicKey, SecretKey, recover};
pub use known_keys::KnownKeys;
pub use prepared::PreparedKey;
pub use signature::Signature;
