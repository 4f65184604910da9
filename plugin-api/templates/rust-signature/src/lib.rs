//! A signature type: what begins here checks Ed25519 over the batch id, by the public key that is the origin.

use ed25519_dalek::{Signer, SigningKey};
use mainstem_plugin_sdk::{Check, Failure, Host, Origin, Scheme, Signature, Signed, Verdict};

/// Signature type {{type}}.
pub struct Plugin{{type}};

impl Signature for Plugin{{type}} {
    /// A verdict depends on the item alone, and one bad item changes nothing for the others.
    fn verify(host: &Host<'_>, items: &[Signed<'_>]) -> Result<Vec<Verdict>, Failure> {
        // The node checks natively, many at once; this needs the capability `crypto`.
        let checks: Vec<_> = items
            .iter()
            .map(|item| Check { key: item.origin, message: item.batch_id, signature: item.signature })
            .collect();
        let holds = host.check(Scheme::Ed25519, &checks)?;
        let verdict = |(item, holds): (&Signed<'_>, bool)| match (item.signature.len(), holds) {
            (64, true) => Verdict::Valid,
            (64, false) => Verdict::Invalid,
            _ => Verdict::Malformed,
        };
        Ok(items.iter().zip(holds).map(verdict).collect())
    }

    /// In clients, that hold the key; nodes never call it.
    fn sign(_: &Host<'_>, key: &[u8], batch_ids: &[&[u8; 32]]) -> Result<Vec<Vec<u8>>, Failure> {
        let key = signing_key(key)?;
        Ok(batch_ids.iter().map(|id| key.sign(*id).to_bytes().to_vec()).collect())
    }

    /// In clients: whose the key is.
    fn origin(_: &Host<'_>, key: &[u8]) -> Result<Origin, Failure> {
        Ok(Origin { origin_type: {{type}}, value: signing_key(key)?.verifying_key().to_bytes().to_vec() })
    }
}

fn signing_key(seed: &[u8]) -> Result<SigningKey, Failure> {
    let seed = seed.try_into().map_err(|_| {
        Failure::invalid(format!("the key has {} bytes; it must be the seed of 32", seed.len()))
    })?;
    Ok(SigningKey::from_bytes(seed))
}

mainstem_plugin_sdk::signature!(Plugin{{type}});

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_plugin_sdk::harness::{Harness, Item};

    #[test]
    fn what_is_no_signature_is_malformed_and_what_does_not_hold_is_invalid() {
        let item = |signature: &[u8]| Item {
            batch_id: vec![7; 32],
            origin_type: {{type}},
            origin: vec![1; 32],
            signature: signature.to_vec(),
            ..Item::default()
        };
        let verdicts = Harness::<Plugin>::default().verify(&[item(&[]), item(&[0; 64])]);
        assert_eq!(verdicts, Ok(vec![Verdict::Malformed, Verdict::Invalid]));
    }

    #[test]
    fn what_it_signs_holds_for_its_own_origin() {
        let mut plugin = Harness::<Plugin>::default();
        let (key, batch_id) = ([9; 32], vec![7; 32]);
        let Origin { origin_type, value: origin } = plugin.origin(&key).expect("it is a key");
        let signature = plugin.sign(&key, &[&batch_id]).expect("it is a key").remove(0);
        let item = Item { batch_id, origin_type, origin, signature, ..Item::default() };
        assert_eq!(plugin.verify(&[item]), Ok(vec![Verdict::Valid]));
    }
}
