//! The plugins of a node: which there are, what they were granted, and loading those that are switched on.

mod chain;
mod shelf;

pub(crate) use chain::ChainReads;
pub(crate) use shelf::{Answers, Entry, Shelf, ShelfError};

use anyhow::{Context, bail};
use mainstem_plugin_host::{
    Claim, Compiler, Config, EncryptionPlugin, Host, Plugin, SignaturePlugin, Status,
};
use serde::Serialize;
use std::{ffi::OsString, path::Path, sync::Arc};

/// Where plugins lie in a data folder.
pub(crate) const FOLDER: &str = "plugins";

/// Where plugins have folders of their own in a data folder, each by its id.
pub(crate) const FILES: &str = "files";

/// What this program is called with to compile a module within bounds, and does nothing else then.
pub(crate) const COMPILE: &str = "compile-plugin";

/// A host that compiles in processes of their own, and keeps what it has compiled beside the modules. Without `chain` its plugins
/// read none.
///
/// # Errors
/// A bound that cannot be, a folder that cannot be used.
pub(crate) fn host(config: &Config, folder: &Path, chain: Option<ChainReads>) -> anyhow::Result<Host> {
    let program = std::env::current_exe().context("this program's own file cannot be found")?;
    let compiler = Compiler::Child { program, args: vec![OsString::from(COMPILE)] };
    let host = Host::new(config.clone(), Some(Shelf::compiled(folder)), compiler)?;
    Ok(match chain {
        Some(chain) => host.with_contracts(Arc::new(chain)),
        None => host,
    })
}

/// The plugins of a node that are switched on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plugins(Arc<[Plugin]>);

impl Plugins {
    /// Loads what the folder of plugins says. They read `chain`, if there is one; `files` is where those that keep files have folders of
    /// their own. Takes as long as compiling what was never compiled here.
    ///
    /// # Errors
    /// A plugin that is on and cannot be loaded: without it the node would refuse what it has stored.
    pub(crate) fn load(
        config: &Config,
        folder: &Path,
        chain: Option<ChainReads>,
        files: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let shelf = Shelf::open(folder)?;
        let on: Vec<_> = shelf.entries().iter().filter(|entry| entry.enabled).collect();
        if on.is_empty() {
            return Ok(Self::default());
        }
        let host = host(config, folder, chain)?;
        let mut plugins = Vec::new();
        for entry in on {
            let loaded = shelf.module(entry).map_err(anyhow::Error::from);
            let loaded = loaded.and_then(|module| Ok(host.load(&module, entry.grants(files))?));
            let plugin = loaded.with_context(|| {
                let (name, id) = (&entry.name, entry.id);
                format!("plugin {name} cannot be loaded; `mainstem plugin disable {id}` starts the node without it")
            })?;
            tracing::info!(name = entry.name, version = entry.version, id = %entry.id, "plugin is on");
            plugins.push(plugin);
        }
        let found = Self(plugins.into());
        found.check_claims()?;
        Ok(found)
    }

    /// The list may have been written by hand.
    fn check_claims(&self) -> anyhow::Result<()> {
        for (index, plugin) in self.iter().enumerate() {
            for before in self.iter().take(index) {
                if let Some(what) = shelf::shared(before.manifest(), plugin.manifest()) {
                    let (one, other) = (before.id(), plugin.id());
                    bail!(
                        "plugins {one} and {other} both claim {what}: disable one of them (mainstem plugin disable {other})"
                    );
                }
            }
        }
        Ok(())
    }

    /// Those for signatures.
    pub(crate) fn schemes(&self) -> impl Iterator<Item = SignaturePlugin> + '_ {
        self.0.iter().filter_map(|plugin| SignaturePlugin::new(plugin.clone()))
    }

    /// Those for encryption, which clients call.
    pub(crate) fn encryption(&self) -> impl Iterator<Item = EncryptionPlugin> + '_ {
        self.0.iter().filter_map(|plugin| EncryptionPlugin::new(plugin.clone()))
    }

    /// Those for storage, with the scheme of each.
    pub(crate) fn storages(&self) -> impl Iterator<Item = (&str, &Plugin)> {
        self.0.iter().filter_map(|plugin| match &plugin.manifest().claim {
            Claim::Storage(claim) => Some((claim.scheme.as_str(), plugin)),
            Claim::Signature(_) | Claim::Encryption(_) | Claim::Operators(_) => None,
        })
    }

    /// The one of a name, or whose id begins so.
    pub(crate) fn find(&self, name: &str) -> Option<&Plugin> {
        let id = |plugin: &Plugin| name.len() >= 8 && plugin.id().to_string().starts_with(name);
        self.iter().find(|plugin| plugin.manifest().name == name || id(plugin))
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Plugin> {
        self.0.iter()
    }

    /// What there is to say of each.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.iter().map(Seen::of).collect()
    }
}

/// A plugin at work, as `GET /plugins` tells of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Seen {
    id: String,
    name: String,
    version: String,
    /// Why it is off, if it is.
    off: Option<String>,
    calls: u64,
    items: u64,
    failed: u64,
    faults: u64,
    time_us: u64,
    instances: u64,
    memory_bytes_high: u64,
}

impl Seen {
    fn of(plugin: &Plugin) -> Self {
        let counters = plugin.counters();
        let off = match plugin.status() {
            Status::On => None,
            Status::Off { reason } => Some(reason),
        };
        Self {
            id: plugin.id().to_string(),
            name: plugin.manifest().name.clone(),
            version: plugin.manifest().version.clone(),
            off,
            calls: counters.calls,
            items: counters.items,
            failed: counters.failed,
            faults: counters.faults.sum(),
            time_us: counters.time_us,
            instances: counters.instances,
            memory_bytes_high: counters.memory_bytes_high,
        }
    }
}
