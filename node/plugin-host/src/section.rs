use crate::{LoadError, PluginId};
use mainstem_plugin_abi::{ABI, Manifest, SECTION, Version};
use wasmtime::wasmparser::{Encoding, Parser, Payload};

/// What a module says of itself, without compiling it, and its id. Of any version of the ABI whose manifest can be read.
///
/// # Errors
/// What is no module, and a module without exactly one manifest.
pub fn inspect(module: &[u8]) -> Result<(PluginId, Manifest), LoadError> {
    let mut sections = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        // What else a module holds the compiler looks at.
        let payload = payload.map_err(|error| LoadError::NotWasm(error.to_string()))?;
        if let Payload::Version { encoding: Encoding::Component, .. } = payload {
            return Err(LoadError::Component);
        }
        if let Payload::CustomSection(section) = payload
            && section.name() == SECTION
        {
            sections.push(section.data());
        }
    }
    match *sections {
        [] => Err(LoadError::NoManifest),
        [section] => Ok((PluginId::of(module), Manifest::decode(section)?)),
        _ => Err(LoadError::Manifests(sections.len())),
    }
}

/// `ABI.md`, "Versions".
pub(crate) fn check_version(manifest: &Manifest) -> Result<(), LoadError> {
    if manifest.abi.major != ABI.major {
        return Err(LoadError::AbiMajor { plugin: manifest.abi, node: ABI });
    }
    if manifest.abi_minor_least > ABI.minor {
        let least = Version { major: ABI.major, minor: manifest.abi_minor_least };
        return Err(LoadError::AbiMinor { least, node: ABI });
    }
    Ok(())
}
