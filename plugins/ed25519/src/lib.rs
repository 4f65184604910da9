//! A signature type: Ed25519 over the batch id, by the public key that is the origin.

use ed25519_dalek::{Signer, SigningKey};
use mainstem_plugin_sdk::{Check, Failure, Host, Scheme, Signature, Signed, Verdict};

/// Bytes of a public key, which is the origin.
const KEY_BYTES: usize = 32;
/// Bytes of a signature.
const SIGNATURE_BYTES: usize = 64;

/// Signature type 17, of origin type 17.
#[derive(Debug)]
pub struct Ed25519;

impl Signature for Ed25519 {
    fn verify(host: &Host<'_>, items: &[Signed<'_>]) -> Result<Vec<Verdict>, Failure> {
        let checks: Vec<_> = items.iter().filter(|item| judge_form(item).is_none()).map(check).collect();
        let mut holds = host.check(Scheme::Ed25519, &checks)?.into_iter();
        let verdict = |item| {
            judge_form(item).unwrap_or_else(|| match holds.next() {
                Some(true) => Verdict::Valid,
                Some(false) | None => Verdict::Invalid,
            })
        };
        Ok(items.iter().map(verdict).collect())
    }

    /// The key is the seed of 32 bytes (RFC 8032, section 5.1.5).
    fn sign(_: &Host<'_>, key: &[u8], batch_ids: &[&[u8; 32]]) -> Result<Vec<Vec<u8>>, Failure> {
        let seed = key.try_into().map_err(|_| {
            Failure::invalid(format!("the key has {} bytes; it must be the seed of 32", key.len()))
        })?;
        let key = SigningKey::from_bytes(seed);
        Ok(batch_ids.iter().map(|id| key.sign(*id).to_bytes().to_vec()).collect())
    }
}

/// The verdict over what needs no arithmetic to be refused.
fn judge_form(item: &Signed<'_>) -> Option<Verdict> {
    if item.signature.len() != SIGNATURE_BYTES {
        return Some(Verdict::Malformed);
    }
    (item.origin.len() != KEY_BYTES).then_some(Verdict::Invalid)
}

fn check<'a>(item: &Signed<'a>) -> Check<'a> {
    Check { key: item.origin, message: item.batch_id, signature: item.signature }
}

mainstem_plugin_sdk::signature!(Ed25519);
