use crate::{LoadError, PluginId, instance::TABLES_MAX, sentence::sentence};
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
        let payload = payload.map_err(|error| LoadError::NotWasm(sentence(error.message().as_bytes())))?;
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

/// Global variables of a module: each takes 16 bytes of an instance beside its memory. Compilers make some hundreds at most.
const GLOBALS_MAX: u32 = 10_000;

/// Whether what a module begins with beside its memory, tables and globals, is within bounds. It is valid, as it was compiled.
pub(crate) fn check_beside_memory(module: &[u8], elements_max: u32) -> Result<(), LoadError> {
    let mut sizes = Vec::new();
    for payload in Parser::new(0).parse_all(module).map_while(Result::ok) {
        if let Payload::TableSection(tables) = payload {
            sizes.extend(tables.into_iter().map_while(Result::ok).map(|table| table.ty.initial));
        } else if let Payload::GlobalSection(globals) = payload
            && globals.count() > GLOBALS_MAX
        {
            return Err(LoadError::Globals { count: globals.count(), max: GLOBALS_MAX });
        }
    }
    if sizes.len() > TABLES_MAX {
        return Err(LoadError::Table(format!("{} tables, more than {TABLES_MAX}", sizes.len())));
    }
    match sizes.into_iter().find(|size| *size > elements_max.into()) {
        None => Ok(()),
        Some(size) => Err(LoadError::Table(format!(
            "a table of {size} elements, more than plugins.table_elements_max, {elements_max}"
        ))),
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
