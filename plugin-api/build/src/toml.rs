use mainstem_plugin_abi::{
    Capability, Claim, ColumnClaim, ColumnType, EncryptionClaim, Limits, Manifest, ManifestError,
    OperatorClaim, Parameter, Port, SignatureClaim, StorageClaim, Version,
};
use serde::{Deserialize, Deserializer, de::Error as _};
use thiserror::Error;

/// Why a text is no `plugin.toml`.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TomlError {
    /// It is no TOML, a key is unknown or missing, or a value is of the wrong type. Says the line.
    #[error("plugin.toml is not right: {0}")]
    Toml(#[from] toml::de::Error),
    /// `abi` is no version.
    #[error("abi in plugin.toml is {0:?}; it must be the ABI's major and minor version, such as \"1.0\"")]
    Abi(String),
    /// It is of several kinds, or of none.
    #[error(
        "plugin.toml has {0}; it must have one of [signature], [encryption] and [storage], or at least one [[operator]]"
    )]
    Claim(String),
    /// A parameter's default is no value of its type.
    #[error("the default of {of}'s parameter {parameter} is {default:?}; it must be {right}")]
    Default {
        /// The operator, or the scheme.
        of: String,
        /// The parameter.
        parameter: String,
        /// What stands there.
        default: String,
        /// What may stand there.
        right: &'static str,
    },
    /// A value is outside its bounds.
    #[error("in plugin.toml, {0}")]
    Manifest(#[from] ManifestError),
}

/// Reads a `plugin.toml`. Keys that it does not know are errors.
///
/// # Errors
/// The first thing that is wrong, with the key and what is right.
pub fn parse(text: &str) -> Result<Manifest, TomlError> {
    let file: File = toml::from_str(text)?;
    let operators = file.operator.into_iter().map(OperatorClaim::from).collect::<Vec<_>>();
    let mut claims = [
        file.signature.map(|table| Claim::Signature(table.into())),
        file.encryption.map(|table| Claim::Encryption(table.into())),
        file.storage.map(|table| Claim::Storage(table.into())),
        (!operators.is_empty()).then_some(Claim::Operators(operators)),
    ]
    .into_iter()
    .flatten();
    let claim = match (claims.next(), claims.next()) {
        (Some(claim), None) => claim,
        (Some(one), Some(other)) => {
            return Err(TomlError::Claim(format!("both {} and {}", one.kind(), other.kind())));
        }
        (None, _) => return Err(TomlError::Claim("none of these".into())),
    };
    let manifest = Manifest {
        name: file.name,
        version: file.version,
        description: file.description,
        abi: Version::parse(&file.abi).ok_or(TomlError::Abi(file.abi))?,
        abi_minor_least: file.abi_minor_least,
        claim,
        capabilities: file.capabilities,
        limits: file.limits.into(),
    };
    manifest.check()?;
    check_defaults(&manifest.claim)?;
    Ok(manifest)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    version: String,
    description: String,
    abi: String,
    #[serde(default)]
    abi_minor_least: u16,
    #[serde(default, deserialize_with = "capabilities")]
    capabilities: Vec<Capability>,
    signature: Option<SignatureTable>,
    encryption: Option<EncryptionTable>,
    storage: Option<StorageTable>,
    #[serde(default)]
    operator: Vec<OperatorTable>,
    #[serde(default)]
    limits: LimitsTable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureTable {
    #[serde(rename = "type")]
    signature_type: u8,
    origin_types: Vec<u8>,
    #[serde(default)]
    signs: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EncryptionTable {
    #[serde(rename = "type")]
    encryption_type: u16,
    key_bytes: u16,
    #[serde(default)]
    wraps: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StorageTable {
    scheme: String,
    #[serde(default)]
    parameters: Vec<ParameterTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OperatorTable {
    name: String,
    description: String,
    inputs: Vec<PortTable>,
    #[serde(default)]
    outputs: Vec<PortTable>,
    #[serde(default)]
    parameters: Vec<ParameterTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PortTable {
    name: String,
    #[serde(default)]
    columns: Vec<ColumnTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnTable {
    name: String,
    #[serde(rename = "type", deserialize_with = "column_type")]
    column_type: ColumnType,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ParameterTable {
    name: String,
    description: String,
    #[serde(rename = "type", deserialize_with = "column_type")]
    parameter_type: ColumnType,
    #[serde(default)]
    default: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsTable {
    memory_bytes: u64,
    fuel: u64,
    deadline_ms: u32,
}

impl From<SignatureTable> for SignatureClaim {
    fn from(table: SignatureTable) -> Self {
        let SignatureTable { signature_type, origin_types, signs } = table;
        Self { signature_type, origin_types, signs }
    }
}

impl From<EncryptionTable> for EncryptionClaim {
    fn from(table: EncryptionTable) -> Self {
        let EncryptionTable { encryption_type, key_bytes, wraps } = table;
        Self { encryption_type, key_bytes, wraps }
    }
}

impl From<StorageTable> for StorageClaim {
    fn from(table: StorageTable) -> Self {
        let StorageTable { scheme, parameters } = table;
        Self { scheme, parameters: parameters.into_iter().map(Parameter::from).collect() }
    }
}

impl From<OperatorTable> for OperatorClaim {
    fn from(table: OperatorTable) -> Self {
        Self {
            name: table.name,
            description: table.description,
            inputs: table.inputs.into_iter().map(Port::from).collect(),
            outputs: table.outputs.into_iter().map(Port::from).collect(),
            parameters: table.parameters.into_iter().map(Parameter::from).collect(),
        }
    }
}

impl From<PortTable> for Port {
    fn from(table: PortTable) -> Self {
        let column = |ColumnTable { name, column_type }| ColumnClaim { name, column_type };
        Self { name: table.name, columns: table.columns.into_iter().map(column).collect() }
    }
}

impl From<ParameterTable> for Parameter {
    fn from(table: ParameterTable) -> Self {
        let ParameterTable { name, description, parameter_type, default } = table;
        Self { name, description, parameter_type, default }
    }
}

impl From<LimitsTable> for Limits {
    fn from(table: LimitsTable) -> Self {
        let LimitsTable { memory_bytes, fuel, deadline_ms } = table;
        Self { memory_bytes, fuel, deadline_ms }
    }
}

fn capabilities<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Capability>, D::Error> {
    let names = Vec::<String>::deserialize(from)?;
    let capability = |name: &String| {
        let found = Capability::ALL.into_iter().find(|capability| capability.name() == name);
        let all = Capability::ALL.map(Capability::name).join(", ");
        found.ok_or_else(|| D::Error::custom(format!("{name:?} is no capability; there are {all}")))
    };
    names.iter().map(capability).collect()
}

fn column_type<'de, D: Deserializer<'de>>(from: D) -> Result<ColumnType, D::Error> {
    let name = String::deserialize(from)?;
    let found = ColumnType::ALL.into_iter().find(|column_type| column_type.name() == name);
    let all = ColumnType::ALL.map(ColumnType::name).join(", ");
    found.ok_or_else(|| D::Error::custom(format!("{name:?} is no type of a column; there are {all}")))
}

fn check_defaults(claim: &Claim) -> Result<(), TomlError> {
    let check = |of: &str, parameters: &[Parameter]| {
        let misfits = |parameter: &Parameter| misfit(parameter.parameter_type, &parameter.default);
        match parameters.iter().find_map(|parameter| Some((parameter, misfits(parameter)?))) {
            None => Ok(()),
            Some((Parameter { name, default, .. }, right)) => Err(TomlError::Default {
                of: of.into(),
                parameter: name.clone(),
                default: default.clone(),
                right,
            }),
        }
    };
    match claim {
        Claim::Signature(_) | Claim::Encryption(_) => Ok(()),
        Claim::Storage(claim) => check(&claim.scheme, &claim.parameters),
        Claim::Operators(claims) => claims.iter().try_for_each(|claim| check(&claim.name, &claim.parameters)),
    }
}

/// What would be right, if `default` is not. Empty is right: the parameter must be given then.
fn misfit(of: ColumnType, default: &str) -> Option<&'static str> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let (fits, right) = match of {
        ColumnType::Int64 => (default.parse::<i64>().is_ok(), "a whole number, such as \"60000\""),
        ColumnType::Float64 => (default.parse().is_ok_and(f64::is_finite), "a number, such as \"0.5\""),
        ColumnType::Text => (true, "a text"),
        ColumnType::Data => (
            default.len().is_multiple_of(2) && default.bytes().all(is_digit),
            "pairs of lower case hexadecimal digits, such as \"00ff\"",
        ),
    };
    (!default.is_empty() && !fits).then_some(right)
}
