//! A signature type: what the node's own type 1 is, secp256k1 over EIP-191 of the batch id by an Ethereum address, as a plugin.
//!
//! With `crypto` the node checks the signatures; without it the plugin does. Both say the same, and what the node's own code says.

mod curve;

use curve::Key;
use mainstem_plugin_sdk::{Check, Failure, FailureCode, Host, Origin, Scheme, Signature, Signed, Verdict};

/// Of Ethereum addresses.
const ETHEREUM: u8 = 1;
/// Of the same addresses, where the batch id itself is signed: so that vectors of ECDSA go through the plugin.
const PLAIN: u8 = 251;
/// What EIP-191 puts before a message of 32 bytes.
const PREFIX: &[u8] = b"\x19Ethereum Signed Message:\n32";

/// Signature type 250, of origin types 1 and 251.
#[derive(Debug)]
pub struct Secp256k1;

impl Signature for Secp256k1 {
    fn verify(host: &Host<'_>, items: &[Signed<'_>]) -> Result<Vec<Verdict>, Failure> {
        let digests: Vec<_> = items.iter().map(|item| digest(item.origin_type, item.batch_id)).collect();
        let holds = holds(host, items, &digests)?;
        let verdict = |(item, holds): (&Signed<'_>, _)| match holds {
            true => Verdict::Valid,
            false if curve::is_signature(item.signature) => Verdict::Invalid,
            false => Verdict::Malformed,
        };
        Ok(items.iter().zip(holds).map(verdict).collect())
    }

    /// The key has 32 bytes; behind a byte 251 it signs the batch ids themselves.
    fn sign(_: &Host<'_>, key: &[u8], batch_ids: &[&[u8; 32]]) -> Result<Vec<Vec<u8>>, Failure> {
        let (origin_type, key) = read(key)?;
        Ok(batch_ids.iter().map(|id| key.sign(&digest(origin_type, id)).to_vec()).collect())
    }

    fn origin(_: &Host<'_>, key: &[u8]) -> Result<Origin, Failure> {
        let (origin_type, key) = read(key)?;
        Ok(Origin { origin_type, value: key.address().to_vec() })
    }
}

fn holds(host: &Host<'_>, items: &[Signed<'_>], digests: &[[u8; 32]]) -> Result<Vec<bool>, Failure> {
    let check = |(item, digest): (&Signed<'_>, _)| {
        curve::signer(digest, item.signature).is_some_and(|signer| signer == item.origin)
    };
    let asked = items.iter().zip(digests);
    let checks: Vec<_> = asked
        .clone()
        .map(|(item, message)| Check { key: item.origin, message, signature: item.signature })
        .collect();
    match host.check(Scheme::EthereumAddress, &checks) {
        Err(failure) if failure.code == FailureCode::Denied => Ok(asked.map(check).collect()),
        answer => answer,
    }
}

fn digest(origin_type: u8, batch_id: &[u8; 32]) -> [u8; 32] {
    if origin_type == PLAIN { *batch_id } else { curve::keccak256(&[PREFIX, batch_id].concat()) }
}

fn read(bytes: &[u8]) -> Result<(u8, Key), Failure> {
    let (origin_type, key) = match bytes {
        [PLAIN, key @ ..] if key.len() == 32 => (PLAIN, key),
        key => (ETHEREUM, key),
    };
    let fault =
        || Failure::invalid("the key is none of secp256k1: it has 32 bytes, is not 0 and below the order");
    Ok((origin_type, Key::read(key).ok_or_else(fault)?))
}

mainstem_plugin_sdk::signature!(Secp256k1);
