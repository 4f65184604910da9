//! A signature type: ML-DSA-65 (FIPS 204) over the batch id, by a public key whose hash is the origin.

mod scheme;

pub use scheme::{KEY_BYTES, SIGNATURE_BYTES, Seed, holds, is_signature};

use mainstem_plugin_sdk::{Failure, Host, Origin, Signature, Signed, Verdict};

/// Of hashes of public keys.
const ORIGIN_TYPE: u8 = 19;
/// What FIPS 204 calls the context. The batch id already says what it is the hash of.
const CONTEXT: &[u8] = b"";

/// Signature type 19, of origin type 19.
#[derive(Debug)]
pub struct MlDsa65;

impl Signature for MlDsa65 {
    fn verify(host: &Host<'_>, items: &[Signed<'_>]) -> Result<Vec<Verdict>, Failure> {
        let parts: Vec<_> = items.iter().map(|item| split(item.signature)).collect();
        let keys: Vec<_> = parts.iter().flatten().map(|(key, _)| &key[..]).collect();
        let mut origins = host.sha256(&keys)?.into_iter();
        let verdict = |(item, parts): (&Signed<'_>, _)| {
            let Some((key, signature)) = parts else { return Verdict::Malformed };
            let is_origin = origins.next().is_some_and(|origin| origin == item.origin);
            if is_origin && holds(key, item.batch_id, CONTEXT, signature) {
                Verdict::Valid
            } else if is_signature(signature) {
                Verdict::Invalid
            } else {
                Verdict::Malformed
            }
        };
        Ok(items.iter().zip(parts).map(verdict).collect())
    }

    /// The key is the seed of 32 bytes, ξ of FIPS 204, algorithm 1.
    fn sign(_: &Host<'_>, key: &[u8], batch_ids: &[&[u8; 32]]) -> Result<Vec<Vec<u8>>, Failure> {
        let seed = seed(key)?;
        let public = seed.public();
        let sign = |id: &&[u8; 32]| [&public[..], &seed.sign(*id, CONTEXT)].concat();
        Ok(batch_ids.iter().map(sign).collect())
    }

    fn origin(host: &Host<'_>, key: &[u8]) -> Result<Origin, Failure> {
        let value = host.sha256(&[&seed(key)?.public()])?.concat();
        Ok(Origin { origin_type: ORIGIN_TYPE, value })
    }
}

fn seed(key: &[u8]) -> Result<Seed, Failure> {
    let seed = key.try_into().map_err(|_| {
        Failure::invalid(format!("the key has {} bytes; it must be the seed of 32", key.len()))
    })?;
    Ok(Seed::new(seed))
}

/// The public key and the signature itself, if there are as many bytes as both have.
fn split(bytes: &[u8]) -> Option<(&[u8; KEY_BYTES], &[u8; SIGNATURE_BYTES])> {
    let (key, signature) = bytes.split_first_chunk()?;
    Some((key, signature.try_into().ok()?))
}

mainstem_plugin_sdk::signature!(MlDsa65);
