mod check;
mod read;
mod write;

use crate::Version;
use alloc::{string::String, vec::Vec};
use core::fmt;

/// The custom section of a module that holds its manifest.
pub const SECTION: &str = "mainstem.manifest";
/// Bytes of a manifest.
pub const MANIFEST_BYTES_MAX: usize = 64 << 10;

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
    /// It seals and opens contents of one encryption type. Since 1.1.
    Encryption(EncryptionClaim),
    /// It keeps records. Since 1.1.
    Storage(StorageClaim),
}

impl Claim {
    /// What kind of plugin it is, as people call it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Signature(_) => "signature",
            Self::Operators(_) => "operator",
            Self::Encryption(_) => "encryption",
            Self::Storage(_) => "storage",
        }
    }
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

/// A plugin for encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncryptionClaim {
    /// 16 and up.
    pub encryption_type: u16,
    /// Bytes of a content key, 16 to 64.
    pub key_bytes: u16,
    /// It also wraps content keys for recipients.
    pub wraps: bool,
}

/// A plugin for storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageClaim {
    /// As a plugin's name: how the node's configuration names it.
    pub scheme: String,
    /// What is set when it starts.
    pub parameters: Vec<Parameter>,
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
    /// A folder of files of its own. Since 1.1.
    Blob,
    /// Requests to hosts that the node's operator names. Since 1.1.
    Http,
    /// Reads of contracts at a finalised block. Since 1.1.
    Chain,
}

impl Capability {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Crypto, Self::Clock, Self::Random, Self::Log, Self::Blob, Self::Http, Self::Chain];

    /// As `plugin.toml` and the node's configuration name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crypto => "crypto",
            Self::Clock => "clock",
            Self::Random => "random",
            Self::Log => "log",
            Self::Blob => "blob",
            Self::Http => "http",
            Self::Chain => "chain",
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
}
