//! Modules of plugins, as `tools/plugins.sh` builds them.

use super::BenchArgs;
use anyhow::{Context, anyhow};
use mainstem_plugin_host::{Capability, Compiler, Config, Grants, Host, Plugin};
use std::{
    fs,
    path::{Path, PathBuf},
};

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

    /// Names of all that are there, in order.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(crate) fn names(&self) -> anyhow::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "wasm")
                && let Some(name) = path.file_stem().and_then(|name| name.to_str())
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
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
