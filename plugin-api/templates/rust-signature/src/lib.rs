//! A signature type: what begins here checks Ed25519 over the batch id, by the public key that is the origin.

use mainstem_plugin_sdk::{Check, Failure, Host, Scheme, Signature, Signed, Verdict};

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

    // With `signs = true` in plugin.toml, clients sign by `fn sign(host, key, batch_ids)`.
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
}
