use super::{Answer, Meter, Privileges, Stop};
use crate::{ContractCall, NoAnswer};
use mainstem_crypto::Address;
use mainstem_plugin_abi::{
    limits::{CHAIN_GAS, CHAIN_INPUT_BYTES_MAX},
    plugin_capnp::{FailureCode, chain_call},
};
use std::time::{Duration, Instant};

/// Fuel of a read. It costs the node little beside waiting.
const READ_FUEL: u64 = 100_000;

/// What is left of a call's time when a read has none any more: for the plugin to say so.
const TO_SPEAK: Duration = Duration::from_millis(20);

/// Calls a contract. Who waits is the thread that called the plugin, for `chain_wait_ms_max` at most.
pub(super) fn call(
    privileges: &Privileges,
    request: chain_call::Reader<'_>,
    meter: &mut Meter,
) -> Result<Answer, Stop> {
    meter.charge(READ_FUEL)?;
    let (to, input, at_ms) = (request.get_to()?, request.get_input()?, request.get_at());
    let to = Address::from_slice(to)
        .map_err(|_| invalid(format!("the contract's address has {} bytes: 20 are right", to.len())))?;
    if at_ms <= 0 {
        return Err(invalid(format!(
            "{at_ms} is no time to read a contract at: take that of what is judged"
        )));
    }
    let (bytes, max) = (input.len(), CHAIN_INPUT_BYTES_MAX as usize);
    if bytes > max {
        return Err(Stop::limit(
            u32::try_from(bytes).unwrap_or(u32::MAX),
            "bytes of input",
            CHAIN_INPUT_BYTES_MAX,
        ));
    }
    let call = ContractCall { to, input: input.to_vec(), at_ms, gas: CHAIN_GAS };
    let wait = Instant::now() + privileges.chain_wait;
    let until = meter.until().checked_sub(TO_SPEAK).map_or(wait, |end| end.min(wait));
    match privileges.contracts.read(&call, until) {
        Ok(answer) if answer.output.len() > privileges.chain_output_bytes_max as usize => {
            let (bytes, max) = (answer.output.len(), privileges.chain_output_bytes_max);
            Err(Stop::Failed(
                FailureCode::Limit,
                format!(
                    "the contract answers {bytes} bytes, more than plugins.chain_output_bytes_max, {max}"
                ),
            ))
        }
        Ok(answer) => Ok(Answer::Contract(answer)),
        Err(NoAnswer::Unavailable(why)) => {
            // Whoever sent what is judged hears only that it cannot be told now: endpoints are nobody's business.
            if privileges.log.take(Instant::now()) {
                tracing::info!(plugin = privileges.plugin, contract = %call.to, why, "a contract cannot be read now");
            }
            Err(Stop::Failed(FailureCode::Unavailable, why))
        }
        Err(NoAnswer::Invalid(why)) => Err(invalid(why)),
    }
}

fn invalid(what: String) -> Stop {
    Stop::Failed(FailureCode::Invalid, what)
}
