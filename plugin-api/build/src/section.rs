use mainstem_plugin_abi::{Manifest, ManifestError, SECTION};
use std::ops::Range;
use thiserror::Error;

/// What a core module begins with.
const CORE: &[u8; 8] = b"\0asm\x01\0\0\0";
/// What every WebAssembly binary begins with.
const MAGIC: &[u8; 4] = b"\0asm";
/// Id of a custom section; its bytes begin with its name.
const CUSTOM: u8 = 0;
/// The greatest id of a section: tags.
const ID_MAX: u8 = 13;

/// Why a manifest cannot be written into a module, or be found in it.
#[derive(Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The bytes do not begin as WebAssembly does.
    #[error("the file is no WebAssembly: it must begin with \\0asm; give the .wasm that the compiler made")]
    NotWasm,
    /// A component, or a version of WebAssembly that is not 1.
    #[error(
        "the file is no core module of WebAssembly 1 (a component, or another version): \
         build for wasm32-unknown-unknown, without the component model"
    )]
    NotCore,
    /// The sections do not fill the file.
    #[error("the module's section at byte {at} {fault}; build the module again")]
    Section {
        /// Where the section begins.
        at: usize,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// The manifest has a field that it cannot have.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// The module with this manifest as its last section, in place of any that it has.
///
/// # Errors
/// What is no core module, and what [`Manifest::encode`] refuses.
pub fn attach(module: &[u8], manifest: &Manifest) -> Result<Vec<u8>, AttachError> {
    let manifest = manifest.encode()?;
    let mut out = CORE.to_vec();
    for section in sections(module)? {
        if !section.is_manifest {
            out.extend_from_slice(&module[section.whole]);
        }
    }
    let mut content = Vec::with_capacity(SECTION.len() + manifest.len() + 1);
    write_u32(&mut content, SECTION.len());
    content.extend_from_slice(SECTION.as_bytes());
    content.extend_from_slice(&manifest);
    out.push(CUSTOM);
    write_u32(&mut out, content.len());
    out.extend(content);
    Ok(out)
}

/// The bytes of the manifest in a module, if it has one; the first if it has several.
///
/// # Errors
/// What is no core module.
pub fn find(module: &[u8]) -> Result<Option<&[u8]>, AttachError> {
    let found = sections(module)?.into_iter().find(|section| section.is_manifest);
    Ok(found.map(|section| &module[section.content]))
}

struct Section {
    /// With its id and length.
    whole: Range<usize>,
    /// Of a custom section, what lies behind its name.
    content: Range<usize>,
    is_manifest: bool,
}

/// Walks over all sections, so that a file which ends in the middle of one is not taken.
fn sections(module: &[u8]) -> Result<Vec<Section>, AttachError> {
    if !module.starts_with(MAGIC) {
        return Err(AttachError::NotWasm);
    }
    if !module.starts_with(CORE) {
        return Err(AttachError::NotCore);
    }
    let mut found = Vec::new();
    let mut at = CORE.len();
    while at < module.len() {
        let section = section(module, at).map_err(|fault| AttachError::Section { at, fault })?;
        at = section.whole.end;
        found.push(section);
    }
    Ok(found)
}

fn section(module: &[u8], at: usize) -> Result<Section, &'static str> {
    let id = module[at];
    if id > ID_MAX {
        return Err("is of a kind that WebAssembly 1 does not have");
    }
    let (len, begin) = read_u32(module, at + 1)?;
    let end = end_of(begin, len, module.len()).ok_or("goes on behind the end of the file")?;
    let mut content = begin..end;
    let mut is_manifest = false;
    if id == CUSTOM {
        let (len, name) = read_u32(&module[..end], begin)?;
        content.start = end_of(name, len, end).ok_or("has a name that goes on behind its end")?;
        is_manifest = module[name..content.start] == *SECTION.as_bytes();
    }
    Ok(Section { whole: at..end, content, is_manifest })
}

fn end_of(begin: usize, len: u32, bound: usize) -> Option<usize> {
    begin.checked_add(usize::try_from(len).ok()?).filter(|end| *end <= bound)
}

/// Reads an unsigned LEB128 of 32 bits, and where it ends.
fn read_u32(bytes: &[u8], begin: usize) -> Result<(u32, usize), &'static str> {
    let mut value = 0_u32;
    for (index, at) in (begin..).take(5).enumerate() {
        let byte = *bytes.get(at).ok_or("ends within a length")?;
        let bits = u32::from(byte & 0x7f);
        // The fifth byte has room for four bits.
        if index == 4 && byte > 0x0f {
            break;
        }
        value |= bits << (7 * index);
        if byte & 0x80 == 0 {
            return Ok((value, at + 1));
        }
    }
    Err("has a length of more than 32 bits")
}

fn write_u32(to: &mut Vec<u8>, value: usize) {
    // A manifest is bounded far below 32 bits.
    let mut rest = value;
    while rest >= 0x80 {
        to.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    to.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_they_are_written() {
        for value in [0, 1, 127, 128, 300, 16_383, 16_384, 65_536, u32::MAX] {
            let mut bytes = Vec::new();
            write_u32(&mut bytes, value as usize);
            assert_eq!(read_u32(&bytes, 0), Ok((value, bytes.len())));
        }
    }

    #[test]
    fn a_length_that_is_longer_than_it_may_be_is_refused() {
        assert_eq!(read_u32(&[0x80, 0x80, 0x80, 0x80, 0x10], 0), Err("has a length of more than 32 bits"));
        assert_eq!(read_u32(&[0x80; 6], 0), Err("has a length of more than 32 bits"));
        assert_eq!(read_u32(&[0x80, 0x80], 0), Err("ends within a length"));
        // Compilers leave room for lengths that they fill in later.
        assert_eq!(read_u32(&[0x85, 0x80, 0x80, 0x80, 0x00], 0), Ok((5, 5)));
    }
}
