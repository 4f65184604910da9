//! Whether a plugin keeps to what `ABI.md` says of its kind, as far as that shows from outside.

mod encryption;
mod operators;
mod signatures;
mod storage;

use crate::{CallError, Plugin, Status};
use mainstem_plugin_abi::{
    Claim, ColumnType, Parameter,
    plugin_capnp::{FailureCode, reply, request},
};
use std::collections::BTreeMap;

/// Something that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What must be so.
    pub check: String,
    /// What was found instead; `None` if it is so.
    pub fault: Option<String>,
}

/// A value that fits no member of the union in any version.
const UNKNOWN: [u8; 2] = [0xff, 0xff];

/// Calls a plugin in many ways. A storage is left with what it was given, so it must have a folder of files of its own. It has faults
/// afterwards if it is at fault, and may be switched off. Faults that it had before are none of what is found; those of calls that others make
/// meanwhile are.
pub fn conformance(plugin: &Plugin) -> Vec<Finding> {
    let before = plugin.counters().faults.sum();
    let mut findings = vec![
        finding("a call that is not known is answered with unsupported", unknown_call(plugin)),
        finding("what is no message is answered with failed", no_message(plugin)),
    ];
    match &plugin.manifest().claim {
        Claim::Signature(claim) => findings.extend(signatures::findings(plugin, claim)),
        Claim::Operators(claims) => {
            findings.extend(claims.iter().flat_map(|claim| operators::findings(plugin, claim)));
        }
        Claim::Encryption(claim) => findings.extend(encryption::findings(plugin, claim)),
        Claim::Storage(claim) => findings.extend(storage::findings(plugin, claim)),
    }
    let faults = plugin.counters().faults.sum() - before;
    let whole = match plugin.status() {
        Status::Off { reason } => Err(reason),
        Status::On if faults > 0 => Err(format!("it had {faults}")),
        Status::On => Ok(()),
    };
    findings.push(finding("it had no faults", whole));
    findings
}

fn finding(check: impl Into<String>, outcome: Result<(), String>) -> Finding {
    Finding { check: check.into(), fault: outcome.err() }
}

fn unknown_call(plugin: &Plugin) -> Result<(), String> {
    let mut message = mainstem_plugin_abi::write::<request::Owned>(8, |mut to| to.set_snapshot(()));
    // The first data word begins with which member it is.
    message[8..10].copy_from_slice(&UNKNOWN);
    match plugin.call_any(&*message, 0, |_: reply::WhichReader<'_>| Ok(())) {
        Err(CallError::Failed { code: FailureCode::Unsupported, .. }) => Ok(()),
        Err(error) => Err(error.to_string()),
        Ok(()) => Err("it answered as if it knew it".into()),
    }
}

fn no_message(plugin: &Plugin) -> Result<(), String> {
    match plugin.call_any(&[0xff; 64][..], 0, |_: reply::WhichReader<'_>| Ok(())) {
        Err(CallError::Failed { .. }) => Ok(()),
        Err(error) => Err(error.to_string()),
        Ok(()) => Err("it answered as if it were one".into()),
    }
}

/// Values for the parameters that have no default.
fn samples(parameters: &[Parameter]) -> BTreeMap<String, String> {
    parameters
        .iter()
        .filter(|parameter| parameter.default.is_empty())
        .map(|parameter| (parameter.name.clone(), sample(parameter.parameter_type).to_owned()))
        .collect()
}

const fn sample(of: ColumnType) -> &'static str {
    match of {
        ColumnType::Int64 => "1000",
        ColumnType::Float64 => "0.5",
        ColumnType::Text => "text",
        ColumnType::Data => "00",
    }
}

/// Bytes that look like nothing, the same each time: xorshift64.
#[derive(Clone, Debug)]
struct Noise(u64);

impl Noise {
    fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.number() as u8).collect()
    }
}
