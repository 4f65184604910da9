//! Where the node keeps its log: on disk, or in a storage plugin.

use crate::{
    cli::failure::Failure,
    config::Config,
    plugins::{FILES, Plugins, Shelf},
};
use anyhow::Context;
use mainstem_plugin_host::{Capability, Claim, Plugin, inspect};
use mainstem_store::{DiskLog, EventLog, RecordLog};
use std::{path::PathBuf, sync::Arc};

/// Opens the log that the configuration names.
///
/// # Errors
/// A scheme that nothing serves, a parameter that is none, a store that cannot be opened.
pub(crate) fn open(config: &Config, plugins: &Plugins) -> anyhow::Result<Arc<dyn EventLog>> {
    let (scheme, parameters) = (config.store.scheme.as_str(), &config.store.parameters);
    let on_disk = config.data_dir.join("store");
    if scheme == mainstem_store::Config::DISK {
        if let Some(name) = parameters.keys().next() {
            let message = format!(
                "store.parameters has {name}, and store.scheme is \"disk\", which has none: take it out"
            );
            return Err(Failure::usage(message).into());
        }
        return Ok(Arc::new(DiskLog::open(&on_disk, &config.store, rand::random())?));
    }
    let plugin = plugins.storages().find(|(claimed, _)| *claimed == scheme).map(|(_, plugin)| plugin);
    let plugin = plugin.ok_or_else(|| unknown(scheme, plugins))?;
    let files = config.data_dir.join(FILES).join(plugin.id().to_string());
    let kept_in = if plugin.manifest().capabilities.contains(&Capability::Blob) {
        files
    } else {
        // It has no folder that anybody could look into.
        format!("the place that store.parameters name for scheme {scheme:?}").into()
    };
    check_former(config, scheme, plugin)?;
    if on_disk.join("log").exists() {
        tracing::warn!(folder = %on_disk.display(), scheme, "there is a log on disk, which is not used");
    }
    let storage = plugin.storage(parameters);
    let storage =
        storage.with_context(|| format!("the store cannot be started: store.scheme is {scheme:?}"))?;
    let log = RecordLog::open(storage, &config.store.records, rand::random(), kept_in)?;
    tracing::info!(scheme, plugin = plugin.manifest().name, id = %plugin.id(), "a plugin keeps the log");
    Ok(Arc::new(log))
}

fn unknown(scheme: &str, plugins: &Plugins) -> Failure {
    let known: Vec<_> = plugins.storages().map(|(scheme, _)| format!("{scheme:?}")).collect();
    let known = if known.is_empty() { String::new() } else { format!(", or {}", known.join(", ")) };
    Failure::usage(format!(
        "store.scheme is {scheme:?}, and no plugin that is on claims it: install one (mainstem plugin install FILE --grant blob) \
         or switch it on (mainstem plugin enable NAME); what there is: \"disk\"{known}"
    ))
}

/// IMPORTANT: another version of a plugin has another id, and so another folder. Beginning an empty log there would look like a loss.
fn check_former(config: &Config, scheme: &str, plugin: &Plugin) -> anyhow::Result<()> {
    let folder = |id| -> PathBuf { config.data_dir.join(FILES).join(format!("{id}")) };
    let now = folder(plugin.id());
    if now.exists() {
        return Ok(());
    }
    let shelf = Shelf::open(&config.plugins_dir())?;
    for entry in shelf.entries().iter().filter(|entry| entry.id != plugin.id() && folder(entry.id).exists()) {
        let (_, manifest) = inspect(&shelf.module(entry)?)?;
        if matches!(manifest.claim, Claim::Storage(claim) if claim.scheme == scheme) {
            return Err(Failure::usage(format!(
                "the records of scheme {scheme:?} are those of another version, {} {}: move {} to {} so that this one goes on with \
                 them, or start with that version (mainstem plugin enable {})",
                entry.name,
                entry.version,
                folder(entry.id).display(),
                now.display(),
                entry.id
            ))
            .into());
        }
    }
    Ok(())
}
