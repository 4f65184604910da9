use super::{Capability, Claim, ColumnType, Manifest, OperatorClaim, Parameter, Port};
use crate::plugin_capnp::{self as wire, manifest, operator_claim, parameter, port};
use alloc::vec::Vec;

pub(super) fn encode(of: &Manifest) -> Vec<u8> {
    crate::write::<manifest::Owned>(256, |mut to: manifest::Builder<'_>| {
        to.set_name(&of.name);
        to.set_version(&of.version);
        to.set_description(&of.description);
        let mut abi = to.reborrow().init_abi();
        abi.set_major(of.abi.major);
        abi.set_minor(of.abi.minor);
        to.set_abi_minor_least(of.abi_minor_least);
        // Counts are checked before, and far from what 32 bits hold.
        let mut capabilities = to.reborrow().init_capabilities(of.capabilities.len() as u32);
        for (index, capability) in of.capabilities.iter().enumerate() {
            capabilities.set(index as u32, wire_capability(*capability));
        }
        let mut limits = to.reborrow().init_limits();
        limits.set_memory_bytes(of.limits.memory_bytes);
        limits.set_fuel(of.limits.fuel);
        limits.set_deadline_ms(of.limits.deadline_ms);
        match &of.claim {
            Claim::Signature(claim) => {
                let mut signature = to.init_claim().init_signature();
                signature.set_signature_type(claim.signature_type);
                signature.set_origin_types(&claim.origin_types);
                signature.set_signs(claim.signs);
            }
            Claim::Encryption(claim) => {
                let mut encryption = to.init_claim().init_encryption();
                encryption.set_encryption_type(claim.encryption_type);
                encryption.set_key_bytes(claim.key_bytes);
                encryption.set_wraps(claim.wraps);
            }
            Claim::Storage(claim) => {
                let mut storage = to.init_claim().init_storage();
                storage.set_scheme(&claim.scheme);
                write_parameters(storage.init_parameters(claim.parameters.len() as u32), &claim.parameters);
            }
            Claim::Operators(claims) => {
                let mut operators = to.init_claim().init_operators(claims.len() as u32);
                for (index, claim) in claims.iter().enumerate() {
                    operator(operators.reborrow().get(index as u32), claim);
                }
            }
        }
    })
}

fn operator(mut to: operator_claim::Builder<'_>, of: &OperatorClaim) {
    to.set_name(&of.name);
    to.set_description(&of.description);
    let mut inputs = to.reborrow().init_inputs(of.inputs.len() as u32);
    for (index, port) in of.inputs.iter().enumerate() {
        write_port(inputs.reborrow().get(index as u32), port);
    }
    let mut outputs = to.reborrow().init_outputs(of.outputs.len() as u32);
    for (index, port) in of.outputs.iter().enumerate() {
        write_port(outputs.reborrow().get(index as u32), port);
    }
    write_parameters(to.init_parameters(of.parameters.len() as u32), &of.parameters);
}

fn write_parameters(mut to: capnp::struct_list::Builder<'_, parameter::Owned>, of: &[Parameter]) {
    for (index, parameter) in of.iter().enumerate() {
        let mut to = to.reborrow().get(index as u32);
        to.set_name(&parameter.name);
        to.set_description(&parameter.description);
        to.set_type(wire_type(parameter.parameter_type));
        to.set_default(&parameter.default);
    }
}

fn write_port(mut to: port::Builder<'_>, of: &Port) {
    to.set_name(&of.name);
    let mut columns = to.init_columns(of.columns.len() as u32);
    for (index, column) in of.columns.iter().enumerate() {
        let mut to = columns.reborrow().get(index as u32);
        to.set_name(&column.name);
        to.set_type(wire_type(column.column_type));
    }
}

const fn wire_type(of: ColumnType) -> wire::ColumnType {
    match of {
        ColumnType::Int64 => wire::ColumnType::Int64,
        ColumnType::Float64 => wire::ColumnType::Float64,
        ColumnType::Text => wire::ColumnType::Text,
        ColumnType::Data => wire::ColumnType::Data,
    }
}

const fn wire_capability(of: Capability) -> wire::Capability {
    match of {
        Capability::Crypto => wire::Capability::Crypto,
        Capability::Clock => wire::Capability::Clock,
        Capability::Random => wire::Capability::Random,
        Capability::Log => wire::Capability::Log,
        Capability::Blob => wire::Capability::Blob,
        Capability::Http => wire::Capability::Http,
        Capability::Chain => wire::Capability::Chain,
    }
}
