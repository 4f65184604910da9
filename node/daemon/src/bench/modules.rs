//! Modules of plugins, as `tools/plugins.sh` builds them.

use super::BenchArgs;
use anyhow::{Context, anyhow};
use mainstem_plugin_host::{Capability, Compiler, Config, Grants, Host, Plugin};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The plugins of this repository, each a folder of `plugins/`.
pub(crate) const SHIPPED: [&str; 15] = [
    "aes-256-gcm",
    "ed25519",
    "erc1271",
    "ewma-anomaly",
    "filter",
    "memory",
    "ml-dsa-65",
    "p256-c",
    "s3",
    "scale-as",
    "secp256k1",
    "segments",
    "window-aggregate",
    "x509",
    "xchacha20poly1305",
];

/// A folder of them.
#[derive(Clone, Debug)]
pub(crate) struct Modules {
    folder: PathBuf,
}

impl Modules {
    /// Those that `--plugins` names, or that lie where this program was built.
    ///
    /// # Errors
    /// There is no such folder.
    pub(crate) fn open(args: &BenchArgs) -> anyhow::Result<Self> {
        let folder = match &args.plugins {
            Some(folder) => folder.clone(),
            None => beside_program()?,
        };
        if folder.is_dir() {
            return Ok(Self { folder });
        }
        Err(anyhow!(
            "{} is no folder with modules of plugins: build them (tools/plugins.sh), or name another with --plugins",
            folder.display()
        ))
    }

    /// A module by its name.
    ///
    /// # Errors
    /// It is not there.
    pub(crate) fn read(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let path = self.path(name);
        fs::read(&path).with_context(|| {
            format!(
                "the module {} cannot be read: build it (tools/plugins.sh {name}), or name another folder with --plugins",
                path.display()
            )
        })
    }

    /// Whether there is one.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.path(name).is_file()
    }

    /// Loads one, with these grants.
    ///
    /// # Errors
    /// It is not there, or is no plugin.
    pub(crate) fn load(&self, host: &Host, name: &str, grants: Grants) -> anyhow::Result<Plugin> {
        let module = self.read(name)?;
        host.load(&module, grants).with_context(|| format!("the plugin {name} cannot be loaded"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.wasm"))
    }
}

/// A host with the bounds that a node has by default.
///
/// # Errors
/// The machine cannot run WebAssembly.
pub(crate) fn host() -> anyhow::Result<Host> {
    Ok(Host::new(Config::default(), None, Compiler::InProcess)?)
}

/// `crypto`, and files in a folder.
pub(crate) fn with_files(folder: &Path) -> Grants {
    let mut grants = Grants { files: Some(folder.to_owned()), ..Grants::default() };
    grants.capabilities.insert(Capability::Blob);
    grants
}

/// cargo puts programs into a folder of the target folder, and `tools/plugins.sh` modules into another.
fn beside_program() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("this program's own file cannot be found")?;
    let target = program.parent().and_then(Path::parent).unwrap_or(Path::new("target"));
    Ok(target.join("plugins"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plugin_of_the_repository_is_named() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
        let folders = fs::read_dir(folder).unwrap().map(Result::unwrap);
        let plugins = folders.filter(|entry| entry.path().join("plugin.toml").exists());
        let mut names: Vec<_> = plugins.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, SHIPPED);
    }
}
