use crate::{HostError, PluginId};
use mainstem_crypto::sha256;
use std::{
    fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Bytes of the hash that a file begins with.
const CHECKSUM: usize = 32;

/// Compiled modules on disk, one file each: SHA-256 of the rest, then machine code. Whoever can write here runs code as the node,
/// so the folder is the user's alone.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    /// What names hold beside the plugin: what compiling depends on.
    compiled_by: String,
}

impl Cache {
    /// Opens the folder, or makes it.
    pub(crate) fn open(folder: PathBuf, compiled_by: [u8; 32]) -> Result<Self, HostError> {
        let fault = |fault| HostError::Cache { path: folder.display().to_string(), fault };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(fault)?;
        check_writers(&folder).map_err(fault)?;
        Ok(Self { folder, compiled_by: hex::encode(compiled_by) })
    }

    /// The compiled module, if there is one that is whole.
    pub(crate) fn read(&self, id: PluginId) -> Option<Vec<u8>> {
        let path = self.path(id);
        let mut bytes = fs::read(&path).ok()?;
        if bytes.len() >= CHECKSUM && bytes[..CHECKSUM] == sha256(&bytes[CHECKSUM..]) {
            bytes.drain(..CHECKSUM);
            return Some(bytes);
        }
        tracing::warn!(path = %path.display(), "compiled plugin is damaged and will be compiled again");
        None
    }

    /// Keeps a compiled module. Without room it is compiled again next time.
    pub(crate) fn write(&self, id: PluginId, artefact: &[u8]) {
        if let Err(error) = self.try_write(id, artefact) {
            tracing::warn!(path = %self.folder.display(), %error, "compiled plugin is not kept");
        }
    }

    fn try_write(&self, id: PluginId, artefact: &[u8]) -> io::Result<()> {
        // Whole or not at all: a file with its own name appears when it is complete.
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(&sha256(artefact))?;
        file.write_all(artefact)?;
        file.persist(self.path(id))?;
        self.forget_others(id)
    }

    /// Removes what other versions of this program, or other processors, have compiled.
    fn forget_others(&self, id: PluginId) -> io::Result<()> {
        let (own, of_id) = (self.path(id), format!("{id}-"));
        for file in fs::read_dir(&self.folder)? {
            let path = file?.path();
            let is_of_id = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&of_id));
            if is_of_id && path != own {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn path(&self, id: PluginId) -> PathBuf {
        self.folder.join(format!("{id}-{}.artefact", &self.compiled_by[..32]))
    }
}

fn check_writers(folder: &Path) -> io::Result<()> {
    let metadata = fs::metadata(folder)?;
    let own = rustix::process::geteuid().as_raw();
    if metadata.uid() != own || metadata.permissions().mode() & 0o022 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "others may write there, and so run code as this user: take a folder of this user's own, with mode 0700",
        ));
    }
    Ok(())
}
