//! ECIES on secp256k1: ECDH, HKDF-SHA256, AES-256-GCM.

use aes_gcm::{Aes256Gcm, KeyInit, aead::AeadInPlace};
use hkdf::Hkdf;
use k256::{
    NonZeroScalar, ProjectivePoint, PublicKey, SecretKey,
    elliptic_curve::{point::AffineCoordinates, sec1::ToEncodedPoint},
};
use mainstem_plugin_sdk::Failure;
use sha2::Sha256;

const INFO: &[u8] = b"mainstem:wrap:1";
/// Bytes of a compressed point.
const POINT: usize = 33;
const TAG: usize = 16;

pub(super) fn wrap(key: &[u8], recipient: &[u8], random: &[u8; 32]) -> Result<Vec<u8>, Failure> {
    let recipient = public_key(recipient)?;
    let ephemeral = secret_key(random)?;
    let point = compressed(&ephemeral.public_key());
    let (cipher, nonce) = derive(&ephemeral, &recipient, &point, &compressed(&recipient))?;
    let mut text = key.to_vec();
    let tag = cipher
        .encrypt_in_place_detached((&nonce).into(), &[], &mut text)
        .map_err(|_| Failure::internal("AES-GCM did not encrypt"))?;
    Ok([&point[..], &text, &tag].concat())
}

pub(super) fn unwrap(private_key: &[u8], wrapped: &[u8]) -> Result<Vec<u8>, Failure> {
    let secret = secret_key(private_key)?;
    let short = || Failure::invalid(format!("{} bytes are too few for a wrapped key", wrapped.len()));
    let (point, rest) = wrapped.split_first_chunk::<POINT>().ok_or_else(short)?;
    let (text, tag) = rest.split_last_chunk::<TAG>().ok_or_else(short)?;
    let ephemeral = public_key(point)?;
    let (cipher, nonce) = derive(&secret, &ephemeral, point, &compressed(&secret.public_key()))?;
    let mut key = text.to_vec();
    cipher
        .decrypt_in_place_detached((&nonce).into(), &[], &mut key, tag.into())
        .map_err(|_| Failure::invalid("it was not wrapped for this key, or was changed since"))?;
    Ok(key)
}

fn derive(
    secret: &SecretKey,
    other: &PublicKey,
    point: &[u8],
    recipient: &[u8],
) -> Result<(Aes256Gcm, [u8; 12]), Failure> {
    let scalar: NonZeroScalar = secret.to_nonzero_scalar();
    let shared = ProjectivePoint::from(*other.as_affine()) * *scalar;
    let mut okm = [0; 44];
    let info = [INFO, point, recipient].concat();
    let internal = || Failure::internal("44 bytes can be had of HKDF");
    Hkdf::<Sha256>::new(None, &shared.to_affine().x()).expand(&info, &mut okm).map_err(|_| internal())?;
    let cipher = Aes256Gcm::new_from_slice(&okm[..32]).map_err(|_| internal())?;
    let mut nonce = [0; 12];
    nonce.copy_from_slice(&okm[32..]);
    Ok((cipher, nonce))
}

fn secret_key(bytes: &[u8]) -> Result<SecretKey, Failure> {
    SecretKey::from_slice(bytes).map_err(|_| Failure::invalid("the private key is none of secp256k1"))
}

fn public_key(bytes: &[u8]) -> Result<PublicKey, Failure> {
    PublicKey::from_sec1_bytes(bytes).map_err(|_| Failure::invalid("the public key is no point of secp256k1"))
}

fn compressed(key: &PublicKey) -> [u8; POINT] {
    let mut bytes = [0; POINT];
    bytes.copy_from_slice(key.to_encoded_point(true).as_bytes());
    bytes
}
