use super::{Answer, Meter, Stop};
use mainstem_crypto::{Address, Hash, KnownKeys, PublicKey, Signature};
use mainstem_plugin_abi::{
    limits::{CHECKED_MAX, HASHED_MAX},
    plugin_capnp::{FailureCode, SignatureScheme, check_signatures},
};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};

/// Fuel of one signature, whether its key is known or not: what a call costs does not hang on what others did.
const CHECK_FUEL: u64 = 60_000;

/// Fuel of a hash, beside that of its bytes: one of nothing takes as long as one of a block.
const HASH_FUEL: u64 = 64;

/// Hashes of items, one behind the other.
pub(super) fn hash(
    items: capnp::data_list::Reader<'_>,
    hash: impl Fn(&[u8]) -> Hash,
    meter: &mut Meter,
) -> Result<Answer, Stop> {
    if items.len() > HASHED_MAX {
        return Err(Stop::limit(items.len(), "items", HASHED_MAX));
    }
    let mut digests = Vec::with_capacity(items.len() as usize * 32);
    for item in items.iter() {
        let item = item?;
        meter.charge(HASH_FUEL + item.len() as u64)?;
        digests.extend_from_slice(&hash(item));
    }
    Ok(Answer::Digests(digests))
}

/// Whether signatures of one scheme hold.
pub(super) fn check(
    keys: &KnownKeys,
    request: check_signatures::Reader<'_>,
    meter: &mut Meter,
) -> Result<Answer, Stop> {
    let scheme = request.get_scheme().map_err(|error| {
        Stop::Failed(FailureCode::Unsupported, format!("this node knows no signature scheme {}", error.0))
    })?;
    let items = request.get_items()?;
    if items.len() > CHECKED_MAX {
        return Err(Stop::limit(items.len(), "signatures", CHECKED_MAX));
    }
    let mut checks = Vec::with_capacity(items.len() as usize);
    for item in items.iter() {
        meter.charge(CHECK_FUEL + item.get_message()?.len() as u64)?;
        checks.push(holds(keys, scheme, item.get_key()?, item.get_message()?, item.get_signature()?));
    }
    Ok(Answer::Checks(checks))
}

fn holds(keys: &KnownKeys, scheme: SignatureScheme, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let by = |algorithm: &'static dyn VerificationAlgorithm| {
        UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
    };
    match scheme {
        SignatureScheme::EcdsaSecp256k1 => by_secp256k1(key, message, signature).is_some(),
        SignatureScheme::EcdsaP256Sha256 => by(&ECDSA_P256_SHA256_FIXED),
        SignatureScheme::EcdsaP256Sha256Der => by(&ECDSA_P256_SHA256_ASN1),
        SignatureScheme::Ed25519 => by(&ED25519),
        SignatureScheme::RsaPkcs1Sha256 => by(&RSA_PKCS1_2048_8192_SHA256),
        SignatureScheme::RsaPssSha256 => by(&RSA_PSS_2048_8192_SHA256),
        SignatureScheme::EthereumAddress => by_address(keys, key, message, signature).is_some(),
    }
}

fn by_secp256k1(key: &[u8], digest: &[u8], signature: &[u8]) -> Option<()> {
    let key = PublicKey::from_sec1(key).ok()?;
    key.verify_compact(digest.try_into().ok()?, signature).ok()
}

fn by_address(keys: &KnownKeys, address: &[u8], digest: &[u8], signature: &[u8]) -> Option<()> {
    let (address, signature) = (Address::from_slice(address).ok()?, Signature::from_slice(signature).ok()?);
    keys.check(address, &digest.try_into().ok()?, &signature).ok()
}
