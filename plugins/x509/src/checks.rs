use mainstem_plugin_sdk::{Check, Failure, Host, Scheme};
use std::collections::BTreeMap;

/// The schemes that are used here.
const SCHEMES: [Scheme; 4] =
    [Scheme::EcdsaP256Sha256Der, Scheme::Ed25519, Scheme::RsaPkcs1Sha256, Scheme::RsaPssSha256];

/// Signatures that the node is to check, each once: batches of one device come with the same certificates.
#[derive(Default)]
pub(crate) struct Checks<'a> {
    /// Key, message and signature, by the scheme's place in [`SCHEMES`].
    asked: [BTreeMap<[&'a [u8]; 3], bool>; 4],
}

/// One of them.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a>(usize, [&'a [u8]; 3]);

impl<'a> Checks<'a> {
    /// Asks for one; none of a scheme that is not used here.
    pub(crate) fn ask(&mut self, scheme: Scheme, parts: [&'a [u8]; 3]) -> Option<Asked<'a>> {
        let place = SCHEMES.iter().position(|of| *of == scheme)?;
        self.asked[place].insert(parts, false);
        Some(Asked(place, parts))
    }

    /// Has all of them checked.
    pub(crate) fn run(&mut self, host: &Host<'_>) -> Result<(), Failure> {
        for (scheme, asked) in SCHEMES.into_iter().zip(&mut self.asked) {
            if asked.is_empty() {
                continue;
            }
            let check = |[key, message, signature]: &[&'a [u8]; 3]| Check { key, message, signature };
            let checks: Vec<_> = asked.keys().map(check).collect();
            let holds = host.check(scheme, &checks)?;
            asked.values_mut().zip(holds).for_each(|(answer, holds)| *answer = holds);
        }
        Ok(())
    }

    /// Whether one holds, after [`Checks::run`].
    pub(crate) fn holds(&self, asked: &Asked<'_>) -> bool {
        self.asked[asked.0].get(&asked.1).copied().unwrap_or(false)
    }
}
