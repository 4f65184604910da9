use mainstem_plugin_abi::configuration::{HEAD_BYTES, MARK};
use thiserror::Error;

/// Why a configuration cannot be written into a module.
#[derive(Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigureError {
    /// It has no place for one.
    #[error("the module has no place for a configuration: it is one of a plugin that takes none")]
    NoPlace,
    /// It has several, or one that is cut.
    #[error("the module's place for a configuration is damaged: build the module again")]
    Damaged,
    /// The configuration is too long.
    #[error(
        "the configuration has {bytes} bytes: the module has room for {capacity}, so leave some of it out"
    )]
    TooLong {
        /// Its length.
        bytes: usize,
        /// What there is room for.
        capacity: usize,
    },
}

/// The module with this configuration, in place of any that it has. Its hash, and so its id, is another one then.
///
/// # Errors
/// A module without a place for it, and a configuration that is longer than that place.
pub fn configure(module: &[u8], configuration: &[u8]) -> Result<Vec<u8>, ConfigureError> {
    let mut places = module.windows(MARK.len()).enumerate().filter(|(_, bytes)| bytes == MARK);
    let (at, _) = places.next().ok_or(ConfigureError::NoPlace)?;
    if places.next().is_some() {
        return Err(ConfigureError::Damaged);
    }
    let (head, rest) = module.split_at(at + MARK.len());
    let (capacity, _) = rest.split_first_chunk::<4>().ok_or(ConfigureError::Damaged)?;
    let capacity = u32::from_le_bytes(*capacity) as usize;
    let room = rest.get(8..).and_then(|rest| rest.get(..capacity)).ok_or(ConfigureError::Damaged)?;
    if configuration.len() > room.len() {
        return Err(ConfigureError::TooLong { bytes: configuration.len(), capacity });
    }
    let length = (configuration.len() as u32).to_le_bytes();
    let mut out = [head, &rest[..4], &length, configuration].concat();
    // What a longer one left behind would be a part of the hash.
    out.resize(at + HEAD_BYTES + capacity, 0);
    out.extend_from_slice(&module[out.len()..]);
    Ok(out)
}
