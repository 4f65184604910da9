//! A signature type: by a contract, which says itself whether a signature is its own ([ERC-1271](https://eips.ethereum.org/EIPS/eip-1271)).
//!
//! The contract is asked at one block that the event's own time names, so that every node hears the same, whenever it asks: what is
//! asked is in [`question`](question::question), when is in [`lag`](Lag), how a client signs for a contract with one owner is in `owner`.

mod lag;
mod owner;
mod question;

pub use lag::{LAG_SECONDS, LAG_SECONDS_MAX, Lag, LagError};
pub use question::{digest, is_yes, question};

use mainstem_plugin_sdk::{Configuration, Failure, FailureCode, Host, Origin, Signature, Signed, Verdict};
use owner::Owner;
use std::sync::OnceLock;

/// Of contracts.
pub const CONTRACT: u8 = 21;

/// How long before an event its contract is asked.
static CONFIGURATION: Configuration<1024> = Configuration::empty();
/// The same, read once by an instance.
static LAG: OnceLock<Result<Lag, LagError>> = OnceLock::new();

/// Signature type 21, of origin type 21.
#[derive(Debug)]
pub struct Erc1271;

impl Signature for Erc1271 {
    fn verify(host: &Host<'_>, items: &[Signed<'_>]) -> Result<Vec<Verdict>, Failure> {
        match LAG.get_or_init(|| Lag::read(CONFIGURATION.bytes())) {
            Ok(lag) => Ok(items.iter().map(|item| verify(host, *lag, item)).collect()),
            Err(error) => Err(Failure::invalid(error.to_string())),
        }
    }

    /// The key is the contract's address and the private key of its one owner, 52 bytes.
    fn sign(_: &Host<'_>, key: &[u8], batch_ids: &[&[u8; 32]]) -> Result<Vec<Vec<u8>>, Failure> {
        let owner = Owner::read(key)?;
        Ok(batch_ids.iter().map(|id| owner.sign(&digest(id)).to_vec()).collect())
    }

    fn origin(_: &Host<'_>, key: &[u8]) -> Result<Origin, Failure> {
        Ok(Origin { origin_type: CONTRACT, value: Owner::read(key)?.contract.to_vec() })
    }
}

/// Whether the contract that is the item's origin takes its signature.
pub fn verify(host: &Host<'_>, lag: Lag, item: &Signed<'_>) -> Verdict {
    let Ok(contract) = item.origin.try_into() else { return Verdict::Invalid };
    let Some(at) = lag.before(item.timestamp) else { return Verdict::Invalid };
    match host.call_contract(contract, &question(&digest(item.batch_id), item.signature), at) {
        Ok(answer) if !answer.reverted && is_yes(&answer.output) => Verdict::Valid,
        Ok(_) => Verdict::Invalid,
        // There was no chain at that time, so no contract.
        Err(Failure { code: FailureCode::Invalid, .. }) => Verdict::Invalid,
        // IMPORTANT: whatever else keeps the node from reading says nothing of the signature.
        Err(_) => Verdict::Unavailable,
    }
}

mainstem_plugin_sdk::signature!(Erc1271);
