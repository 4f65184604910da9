use crate::Scheme;
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey, signature::hazmat::PrehashVerifier};
use ring::signature::{self as native, UnparsedPublicKey, VerificationAlgorithm};
use sha2::{Digest, Sha256};
use sha3::Keccak256;

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(super) fn keccak256(bytes: &[u8]) -> [u8; 32] {
    Keccak256::digest(bytes).into()
}

/// Whether a signature holds, as the host call `check` says it.
pub fn check(scheme: Scheme, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    match scheme {
        Scheme::EcdsaSecp256k1 => secp256k1(key, message, signature).is_some(),
        Scheme::EcdsaP256Sha256 => {
            key.len() == 65 && holds(&native::ECDSA_P256_SHA256_FIXED, key, message, signature)
        }
        Scheme::EcdsaP256Sha256Der => {
            key.len() == 65 && holds(&native::ECDSA_P256_SHA256_ASN1, key, message, signature)
        }
        Scheme::Ed25519 => holds(&native::ED25519, key, message, signature),
        Scheme::RsaPkcs1Sha256 => holds(&native::RSA_PKCS1_2048_8192_SHA256, key, message, signature),
        Scheme::RsaPssSha256 => holds(&native::RSA_PSS_2048_8192_SHA256, key, message, signature),
        Scheme::EthereumAddress => ethereum_address(message, signature).is_some_and(|found| found == key),
    }
}

fn holds(
    algorithm: &'static dyn VerificationAlgorithm,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> bool {
    UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
}

fn secp256k1(key: &[u8], digest: &[u8], signature: &[u8]) -> Option<()> {
    let digest: &[u8; 32] = digest.try_into().ok()?;
    let signature = low(signature)?;
    VerifyingKey::from_sec1_bytes(key).ok()?.verify_prehash(digest, &signature).ok()
}

fn ethereum_address(digest: &[u8], signature: &[u8]) -> Option<[u8; 20]> {
    let digest: &[u8; 32] = digest.try_into().ok()?;
    let (signature, [v]) = signature.split_last_chunk::<1>()?;
    let recovery = RecoveryId::from_byte(v.checked_sub(27).filter(|id| *id < 2)?)?;
    let key = VerifyingKey::recover_from_prehash(digest, &low(signature)?, recovery).ok()?;
    let hash = keccak256(&key.to_encoded_point(false).as_bytes()[1..]);
    hash.last_chunk().copied()
}

/// A signature r, s with the lesser of the two s that hold.
fn low(signature: &[u8]) -> Option<Signature> {
    Signature::from_slice(signature).ok().filter(|signature| signature.normalize_s().is_none())
}
