use super::{
    Capability, Claim, EncryptionClaim, Manifest, ManifestError, OperatorClaim, Parameter, Port,
    SignatureClaim, StorageClaim,
};
use alloc::string::String;

/// Bytes of the name of a plugin, an operator, a port, a column or a parameter.
const NAME_BYTES_MAX: usize = 64;
/// Bytes of a description.
const DESCRIPTION_BYTES_MAX: usize = 200;
/// The least signature type, encryption type, and origin type, that a plugin may claim beside origin type 1.
const FREE_TYPE_LEAST: u8 = 16;
/// Bytes of a content key.
const KEY_BYTES: core::ops::RangeInclusive<u16> = 16..=64;
/// Origin type of an Ethereum address.
const ETHEREUM: u8 = 1;
const ORIGIN_TYPES_MAX: usize = 16;
const OPERATORS_MAX: usize = 64;
const PORTS_MAX: usize = 16;
const COLUMNS_MAX: usize = 256;
const PARAMETERS_MAX: usize = 64;
const CAPABILITIES_MAX: usize = 16;

impl Manifest {
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
            Claim::Signature(claim) => {
                self.check_without(&[Capability::Blob, Capability::Http], "a signature type")?;
                claim.check()
            }
            Claim::Encryption(claim) => {
                self.check_without(&AMBIENT, "an encryption type")?;
                claim.check()
            }
            Claim::Storage(claim) => claim.check(),
            Claim::Operators(claims) => {
                self.check_without(&AMBIENT, "an operator")?;
                check_count("operator list", claims.len(), 1, OPERATORS_MAX)?;
                check_unique("operator list", claims.iter().map(|claim| claim.name.as_str()))?;
                claims.iter().try_for_each(OperatorClaim::check)
            }
        }
    }
}

/// What makes an answer depend on more than what was asked.
const AMBIENT: [Capability; 5] =
    [Capability::Clock, Capability::Random, Capability::Blob, Capability::Http, Capability::Chain];

impl Manifest {
    fn check_without(&self, denied: &[Capability], kind: &str) -> Result<(), ManifestError> {
        match self.capabilities.iter().find(|of| denied.contains(of)) {
            None => Ok(()),
            Some(given) => {
                let name = given.name();
                let fault = alloc::format!("name {name}: {kind} depends on what it is given, so take it out");
                Err(field("capabilities", fault))
            }
        }
    }
}

impl EncryptionClaim {
    fn check(self) -> Result<(), ManifestError> {
        let (kind, bytes) = (self.encryption_type, self.key_bytes);
        if kind < FREE_TYPE_LEAST.into() {
            let fault = alloc::format!("is {kind}: types below 16 are the node's own, so take another");
            return Err(field("encryption.type", fault));
        }
        if !KEY_BYTES.contains(&bytes) {
            let fault = alloc::format!("is {bytes}: content keys have 16 to 64 bytes");
            return Err(field("encryption.key_bytes", fault));
        }
        Ok(())
    }
}

impl StorageClaim {
    fn check(&self) -> Result<(), ManifestError> {
        check_name("storage.scheme", &self.scheme, false)?;
        check_parameters("storage.parameters", &self.parameters)
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
        check_parameters("operator.parameters", &self.parameters)
    }
}

fn check_parameters(of: &'static str, parameters: &[Parameter]) -> Result<(), ManifestError> {
    check_count(of, parameters.len(), 0, PARAMETERS_MAX)?;
    check_unique(of, parameters.iter().map(|parameter| parameter.name.as_str()))?;
    for parameter in parameters {
        check_name(of, &parameter.name, true)?;
        check_description(of, &parameter.description)?;
    }
    Ok(())
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
