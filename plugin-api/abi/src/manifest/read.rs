use super::{
    Capability, Claim, ColumnClaim, ColumnType, EncryptionClaim, Limits, Manifest, ManifestError,
    OperatorClaim, Parameter, Port, SignatureClaim, StorageClaim,
};
use crate::{
    Version,
    plugin_capnp::{self as wire, manifest, operator_claim, parameter, port},
};
use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use capnp::{NotInSchema, text};

pub(super) fn decode(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    let message = crate::read(bytes).map_err(|error| ManifestError::Malformed(error.to_string()))?;
    let of = message.get_root::<manifest::Reader<'_>>()?;
    let abi = of.get_abi()?;
    let limits = of.get_limits()?;
    let claim = match of.get_claim().which() {
        Ok(manifest::claim::Signature(claim)) => {
            let claim = claim?;
            Claim::Signature(SignatureClaim {
                signature_type: claim.get_signature_type(),
                origin_types: claim.get_origin_types()?.to_vec(),
                signs: claim.get_signs(),
            })
        }
        Ok(manifest::claim::Operators(claims)) => {
            Claim::Operators(claims?.iter().map(operator).collect::<Result<_, _>>()?)
        }
        Ok(manifest::claim::Encryption(claim)) => {
            let claim = claim?;
            Claim::Encryption(EncryptionClaim {
                encryption_type: claim.get_encryption_type(),
                key_bytes: claim.get_key_bytes(),
                wraps: claim.get_wraps(),
            })
        }
        Ok(manifest::claim::Storage(claim)) => {
            let claim = claim?;
            Claim::Storage(StorageClaim {
                scheme: string(claim.get_scheme()?)?,
                parameters: claim.get_parameters()?.iter().map(read_parameter).collect::<Result<_, _>>()?,
            })
        }
        Err(NotInSchema(kind)) => return Err(ManifestError::Kind(kind)),
    };
    Ok(Manifest {
        name: string(of.get_name()?)?,
        version: string(of.get_version()?)?,
        description: string(of.get_description()?)?,
        abi: Version { major: abi.get_major(), minor: abi.get_minor() },
        abi_minor_least: of.get_abi_minor_least(),
        claim,
        // One that is not known cannot be granted either.
        capabilities: of.get_capabilities()?.iter().filter_map(Result::ok).map(capability).collect(),
        limits: Limits {
            memory_bytes: limits.get_memory_bytes(),
            fuel: limits.get_fuel(),
            deadline_ms: limits.get_deadline_ms(),
        },
    })
}

fn operator(of: operator_claim::Reader<'_>) -> Result<OperatorClaim, ManifestError> {
    Ok(OperatorClaim {
        name: string(of.get_name()?)?,
        description: string(of.get_description()?)?,
        inputs: of.get_inputs()?.iter().map(read_port).collect::<Result<_, _>>()?,
        outputs: of.get_outputs()?.iter().map(read_port).collect::<Result<_, _>>()?,
        parameters: of.get_parameters()?.iter().map(read_parameter).collect::<Result<_, _>>()?,
    })
}

fn read_port(of: port::Reader<'_>) -> Result<Port, ManifestError> {
    let columns = of.get_columns()?.iter().map(|column| {
        Ok(ColumnClaim { name: string(column.get_name()?)?, column_type: column_type(column.get_type())? })
    });
    Ok(Port { name: string(of.get_name()?)?, columns: columns.collect::<Result<Vec<_>, ManifestError>>()? })
}

fn read_parameter(of: parameter::Reader<'_>) -> Result<Parameter, ManifestError> {
    Ok(Parameter {
        name: string(of.get_name()?)?,
        description: string(of.get_description()?)?,
        parameter_type: column_type(of.get_type())?,
        default: string(of.get_default()?)?,
    })
}

fn string(of: text::Reader<'_>) -> Result<String, ManifestError> {
    of.to_string().map_err(|_| ManifestError::Malformed("a text is not UTF-8".into()))
}

fn column_type(of: Result<wire::ColumnType, NotInSchema>) -> Result<ColumnType, ManifestError> {
    match of {
        Ok(wire::ColumnType::Int64) => Ok(ColumnType::Int64),
        Ok(wire::ColumnType::Float64) => Ok(ColumnType::Float64),
        Ok(wire::ColumnType::Text) => Ok(ColumnType::Text),
        Ok(wire::ColumnType::Data) => Ok(ColumnType::Data),
        Err(NotInSchema(kind)) => {
            Err(ManifestError::Malformed(alloc::format!("a column of type {kind}, which is not known")))
        }
    }
}

const fn capability(of: wire::Capability) -> Capability {
    match of {
        wire::Capability::Crypto => Capability::Crypto,
        wire::Capability::Clock => Capability::Clock,
        wire::Capability::Random => Capability::Random,
        wire::Capability::Log => Capability::Log,
        wire::Capability::Blob => Capability::Blob,
        wire::Capability::Http => Capability::Http,
        wire::Capability::Chain => Capability::Chain,
    }
}

impl From<capnp::Error> for ManifestError {
    fn from(error: capnp::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}
