mod read;
mod write;

use crate::Version;
use alloc::{string::String, vec::Vec};
use core::fmt;

/// The custom section of a module that holds its manifest.
pub const SECTION: &str = "mainstem.manifest";
/// Bytes of a manifest.
pub const MANIFEST_BYTES_MAX: usize = 64 << 10;

/// Bytes of the name of a plugin, an operator, a port, a column or a parameter.
const NAME_BYTES_MAX: usize = 64;
/// Bytes of a description.
const DESCRIPTION_BYTES_MAX: usize = 200;
/// The least signature type, and origin type, that a plugin may claim beside origin type 1.
const FREE_TYPE_LEAST: u8 = 16;
/// Origin type of an Ethereum address.
const ETHEREUM: u8 = 1;
const ORIGIN_TYPES_MAX: usize = 16;
const OPERATORS_MAX: usize = 64;
const PORTS_MAX: usize = 16;
const COLUMNS_MAX: usize = 256;
const PARAMETERS_MAX: usize = 64;
const CAPABILITIES_MAX: usize = 16;

/// What a plugin says of itself. Only [`Manifest::check`]ed ones are written or given out by [`Manifest::decode`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// 1 to 64 of `a-z`, `0-9` and `-`, beginning with a letter.
    pub name: String,
    /// A semantic version.
    pub version: String,
    /// One sentence.
    pub description: String,
    /// What it was built against.
    pub abi: Version,
    /// The least minor version that it works with.
    pub abi_minor_least: u16,
    /// What it is.
    pub claim: Claim,
    /// What it asks for, each once. What this version does not know is left out.
    pub capabilities: Vec<Capability>,
    /// What it wants.
    pub limits: Limits,
}

/// What a plugin is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It checks signatures of one type.
    Signature(SignatureClaim),
    /// It is one or more operators.
    Operators(Vec<OperatorClaim>),
}

/// A plugin for signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureClaim {
    /// 16 and up.
    pub signature_type: u8,
    /// Origin types that it speaks for: 16 and up, or 1.
    pub origin_types: Vec<u8>,
    /// It also signs, where a client holds the key.
    pub signs: bool,
}

/// One operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorClaim {
    /// As a plugin's name.
    pub name: String,
    /// One sentence.
    pub description: String,
    /// Where rows come in.
    pub inputs: Vec<Port>,
    /// Where rows go out.
    pub outputs: Vec<Port>,
    /// What is set when it starts.
    pub parameters: Vec<Parameter>,
}

/// Where rows come in or go out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// As a plugin's name, with `_` too.
    pub name: String,
    /// None: whole events.
    pub columns: Vec<ColumnClaim>,
}

/// A column of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnClaim {
    /// As a port's name.
    pub name: String,
    /// Of what its values are.
    pub column_type: ColumnType,
}

/// Of what values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ColumnType {
    /// Whole numbers.
    Int64,
    /// Numbers.
    Float64,
    /// UTF-8.
    Text,
    /// Bytes.
    Data,
}

impl ColumnType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Int64, Self::Float64, Self::Text, Self::Data];

    /// As `plugin.toml` names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int64 => "int64",
            Self::Float64 => "float64",
            Self::Text => "text",
            Self::Data => "data",
        }
    }
}

/// What is set when an operator starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// As a port's name.
    pub name: String,
    /// One sentence.
    pub description: String,
    /// Of what its value is.
    pub parameter_type: ColumnType,
    /// Empty: it must be given.
    pub default: String,
}

/// Something that a plugin cannot do by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// Hashes and signature checks by the node.
    Crypto,
    /// What time it is.
    Clock,
    /// Random bytes.
    Random,
    /// Lines in the node's log.
    Log,
}

impl Capability {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Crypto, Self::Clock, Self::Random, Self::Log];

    /// As `plugin.toml` and the node's configuration name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crypto => "crypto",
            Self::Clock => "clock",
            Self::Random => "random",
            Self::Log => "log",
        }
    }
}

/// What a plugin wants of the node; 0: its default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of an instance.
    pub memory_bytes: u64,
    /// Of a call.
    pub fuel: u64,
    /// Of a call.
    pub deadline_ms: u32,
}

/// Why something is no manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ManifestError {
    /// Not a message with a manifest as its root.
    Malformed(String),
    /// Over [`MANIFEST_BYTES_MAX`].
    TooLarge(usize),
    /// It is of a kind that this version does not know.
    Kind(u16),
    /// A field has a value that it cannot have.
    Field {
        /// Which, as in `plugin.toml`.
        field: &'static str,
        /// Its value, and what is right.
        fault: String,
    },
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "the manifest is not one: {what}"),
            Self::TooLarge(bytes) => {
                write!(f, "the manifest has {bytes} bytes, more than {MANIFEST_BYTES_MAX}: shorten its texts")
            }
            Self::Kind(kind) => write!(
                f,
                "the manifest is of kind {kind}, which this version does not know: use a newer version of Mainstem"
            ),
            Self::Field { field, fault } => write!(f, "the manifest's {field} {fault}"),
        }
    }
}

impl core::error::Error for ManifestError {}

impl Manifest {
    /// The manifest as a message of one segment.
    ///
    /// # Errors
    /// What [`Manifest::check`] finds, and more than [`MANIFEST_BYTES_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, ManifestError> {
        self.check()?;
        let bytes = write::encode(self);
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::TooLarge(bytes.len()));
        }
        Ok(bytes)
    }

    /// Reads what stands in a module.
    ///
    /// # Errors
    /// Whatever is none, and what [`Manifest::check`] finds.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::TooLarge(bytes.len()));
        }
        let manifest = read::decode(bytes)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Whether each field has a value that it can have.
    ///
    /// # Errors
    /// The first that has not.
    pub fn check(&self) -> Result<(), ManifestError> {
        check_name("name", &self.name, false)?;
        check_version(&self.version)?;
        check_description("description", &self.description)?;
        check_count("capabilities", self.capabilities.len(), 0, CAPABILITIES_MAX)?;
        check_unique("capabilities", self.capabilities.iter().map(|capability| capability.name()))?;
        match &self.claim {
            Claim::Signature(claim) => claim.check(),
            Claim::Operators(claims) => {
                if let Some(given) =
                    self.capabilities.iter().find(|of| matches!(of, Capability::Clock | Capability::Random))
                {
                    return Err(field(
                        "capabilities",
                        alloc::format!(
                            "name {}: an operator depends on what it is given alone, so take it out",
                            given.name()
                        ),
                    ));
                }
                check_count("operator list", claims.len(), 1, OPERATORS_MAX)?;
                check_unique("operator list", claims.iter().map(|claim| claim.name.as_str()))?;
                claims.iter().try_for_each(OperatorClaim::check)
            }
        }
    }
}

impl SignatureClaim {
    fn check(&self) -> Result<(), ManifestError> {
        if self.signature_type < FREE_TYPE_LEAST {
            let fault = alloc::format!(
                "is {}: types below 16 are the node's own, so take another",
                self.signature_type
            );
            return Err(field("signature.type", fault));
        }
        check_count("signature.origin_types", self.origin_types.len(), 1, ORIGIN_TYPES_MAX)?;
        for (index, kind) in self.origin_types.iter().enumerate() {
            if *kind < FREE_TYPE_LEAST && *kind != ETHEREUM {
                let fault = alloc::format!("have {kind}: it must be 16 or more, or 1 for Ethereum addresses");
                return Err(field("signature.origin_types", fault));
            }
            if self.origin_types[..index].contains(kind) {
                return Err(field("signature.origin_types", alloc::format!("have {kind} twice")));
            }
        }
        Ok(())
    }
}

impl OperatorClaim {
    fn check(&self) -> Result<(), ManifestError> {
        check_name("operator.name", &self.name, false)?;
        check_description("operator.description", &self.description)?;
        check_ports("operator.inputs", &self.inputs, 1)?;
        check_ports("operator.outputs", &self.outputs, 0)?;
        check_count("operator.parameters", self.parameters.len(), 0, PARAMETERS_MAX)?;
        check_unique("operator.parameters", self.parameters.iter().map(|parameter| parameter.name.as_str()))?;
        for parameter in &self.parameters {
            check_name("operator.parameters.name", &parameter.name, true)?;
            check_description("operator.parameters.description", &parameter.description)?;
        }
        Ok(())
    }
}

fn check_ports(of: &'static str, ports: &[Port], least: usize) -> Result<(), ManifestError> {
    check_count(of, ports.len(), least, PORTS_MAX)?;
    check_unique(of, ports.iter().map(|port| port.name.as_str()))?;
    for port in ports {
        check_name(of, &port.name, true)?;
        check_count(of, port.columns.len(), 0, COLUMNS_MAX)?;
        check_unique(of, port.columns.iter().map(|column| column.name.as_str()))?;
        for column in &port.columns {
            check_name(of, &column.name, true)?;
        }
    }
    Ok(())
}

fn check_name(of: &'static str, name: &str, underscore: bool) -> Result<(), ManifestError> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || underscore && c == '_';
    if name.len() <= NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(fits)
    {
        return Ok(());
    }
    let shown: String = name.chars().take(NAME_BYTES_MAX).collect();
    let rest = if underscore { "a-z, 0-9, - and _" } else { "a-z, 0-9 and -" };
    Err(field(of, alloc::format!("{shown:?} is no name: take 1 to 64 of {rest}, a letter first")))
}

fn check_version(version: &str) -> Result<(), ManifestError> {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let is_number = |part: &str| {
        !part.is_empty()
            && part.len() <= 9
            && part.bytes().all(|b| b.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    let rest = &version[core.len()..];
    let rest_fits = rest.is_empty()
        || rest.len() > 1
            && rest[1..].bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+'));
    if version.len() <= NAME_BYTES_MAX
        && core.split('.').count() == 3
        && core.split('.').all(is_number)
        && rest_fits
    {
        return Ok(());
    }
    let shown: String = version.chars().take(NAME_BYTES_MAX).collect();
    Err(field("version", alloc::format!("{shown:?} is no semantic version: write it like 1.2.3")))
}

fn check_description(of: &'static str, text: &str) -> Result<(), ManifestError> {
    if text.len() > DESCRIPTION_BYTES_MAX {
        let fault = alloc::format!("has {} bytes, more than {DESCRIPTION_BYTES_MAX}: shorten it", text.len());
        return Err(field(of, fault));
    }
    if text.chars().any(char::is_control) {
        return Err(field(of, "has control characters: write it as one line".into()));
    }
    Ok(())
}

fn check_count(of: &'static str, count: usize, least: usize, most: usize) -> Result<(), ManifestError> {
    if (least..=most).contains(&count) {
        return Ok(());
    }
    Err(field(of, alloc::format!("has {count} entries; {least} to {most} are right")))
}

fn check_unique<'a>(
    of: &'static str,
    names: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), ManifestError> {
    for (index, name) in names.clone().enumerate() {
        if names.clone().take(index).any(|before| before == name) {
            let shown: String = name.chars().take(NAME_BYTES_MAX).collect();
            return Err(field(of, alloc::format!("has {shown:?} twice: name each once")));
        }
    }
    Ok(())
}

fn field(field: &'static str, fault: String) -> ManifestError {
    ManifestError::Field { field, fault }
}
