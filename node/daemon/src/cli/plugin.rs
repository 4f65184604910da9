//! Plugins: make one, look into one, put it into a node.

mod make;
mod report;

use super::{Globals, context::Context, failure::Failure, http, table::Table};
use crate::{
    config::Config,
    plugins::{self, Answers, Entry, Shelf, ShelfError},
};
use anyhow::Context as _;
use clap::Subcommand;
use mainstem_plugin_host::{Capability, Claim, Grants, HttpHost, LoadError, inspect};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Plugins.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Make a folder with a plugin to begin with
    #[command(
        after_help = "Examples:\n  mainstem plugin new my-signatures --kind signature --type 200 --lang rust\n  \
                           mainstem plugin new my-signatures --kind signature --type 200 --lang c\n  \
                           mainstem plugin new my-filter --kind operator --lang rust\n  \
                           mainstem plugin new my-filter --kind operator --lang assemblyscript"
    )]
    New(make::NewArgs),
    /// Build the plugin of a folder: its module, with the manifest of its plugin.toml in it
    #[command(after_help = "Examples:\n  cd my-signatures && mainstem plugin build\n  \
                           mainstem plugin build my-filter --module my-filter/module.wasm")]
    Build(make::BuildArgs),
    /// Fill a file into a plugin that has a place for it, such as the roots that x509 trusts; that makes another plugin, with an id of its own
    #[command(after_help = "Example:\n  mainstem plugin configure x509.wasm roots.pem --out x509-ours.wasm")]
    Configure(make::ConfigureArgs),
    /// Load a module as a node would, and try whether it keeps to the ABI
    #[command(after_help = "Example:\n  mainstem plugin check my-signatures.wasm")]
    Check {
        /// The module
        module: PathBuf,
        /// Capabilities that it is granted beside crypto, with commas between
        #[arg(long, value_delimiter = ',', value_parser = capability)]
        grant: Vec<Capability>,
        /// Configuration file of the node, whose bounds of plugins count [default: mainstem.toml, if there is one here]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Show what a module says of itself, without running it
    #[command(after_help = "Example:\n  mainstem plugin inspect my-signatures.wasm")]
    Inspect {
        /// The module, or the name or id of an installed plugin
        module: PathBuf,
    },
    /// Put a plugin into the data folder; the node calls it from its next start on
    #[command(
        after_help = "Examples:\n  mainstem plugin install my-signatures.wasm\n  mainstem plugin install my-probe.wasm --grant clock,log\n  \
                      mainstem plugin install my-storage.wasm --grant http --http-host s3.example.com,http://127.0.0.1:9000\n\n\
                      What a plugin asks for beside crypto has to be granted, or left out, by name."
    )]
    Install {
        /// The module
        module: PathBuf,
        /// What it gets of what it asks for, with commas between
        #[arg(long, value_delimiter = ',', value_parser = capability)]
        grant: Vec<Capability>,
        /// What it does not get though it asks for it, with commas between
        #[arg(long, value_delimiter = ',', value_parser = capability)]
        without: Vec<Capability>,
        /// It may speak for Ethereum addresses, and so for every wallet
        #[arg(long)]
        speaks_for_ethereum: bool,
        /// Servers that it may reach with http, with commas between: a host with or without a port, https unless it begins with http://.
        /// A name that leads to private addresses ends in =private
        #[arg(long, value_delimiter = ',', value_name = "HOST")]
        http_host: Vec<HttpHost>,
        /// Configuration file of the node, whose bounds and folder of plugins count [default: the bounds of mainstem.toml, if there is one here]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// List the plugins of the data folder, and how they do in the running node
    #[command(after_help = "Example:\n  mainstem plugin list")]
    List,
    /// Switch a plugin on, from the node's next start on
    #[command(after_help = "Example:\n  mainstem plugin enable my-signatures")]
    Enable {
        /// Its name, or 8 digits of its id or more
        plugin: String,
    },
    /// Switch a plugin off, from the node's next start on
    #[command(after_help = "Example:\n  mainstem plugin disable my-signatures")]
    Disable {
        /// Its name, or 8 digits of its id or more
        plugin: String,
    },
    /// Take a plugin out of the data folder
    #[command(after_help = "Example:\n  mainstem plugin remove my-signatures")]
    Remove {
        /// Its name, or 8 digits of its id or more
        plugin: String,
    },
}

pub(crate) async fn run(command: PluginCommand, globals: &Globals) -> anyhow::Result<ExitCode> {
    let out = globals.output();
    match command {
        PluginCommand::New(args) => make::new(&args, out)?,
        PluginCommand::Build(args) => make::build(&args, out)?,
        PluginCommand::Configure(args) => make::configure(&args, out)?,
        PluginCommand::Check { module, grant, config } => {
            return check(&module, grant, config.as_deref(), globals).await;
        }
        PluginCommand::Inspect { module } => {
            let (bytes, _) = read(&module, globals)?;
            let (id, manifest) = inspect(&bytes).map_err(refused).with_context(|| naming(&module, &bytes))?;
            out.result(&report::object(id, &manifest), &report::text(id, &manifest))?;
        }
        PluginCommand::Install { module, grant, without, speaks_for_ethereum, http_host, config } => {
            let answers = Answers {
                grant: grant.into_iter().collect(),
                without: without.into_iter().collect(),
                speaks_for_ethereum,
                http_hosts: http_host.into_iter().collect(),
            };
            install(&module, &answers, config.as_deref(), globals).await?;
        }
        PluginCommand::List => list(globals).await?,
        PluginCommand::Enable { plugin } => {
            let entry = shelf(globals)?.enable(&plugin, true).map_err(unshelved)?;
            out.result(&told(&entry), &format!("{} is on from the node's next start on", entry.name))?;
        }
        PluginCommand::Disable { plugin } => {
            let entry = shelf(globals)?.enable(&plugin, false).map_err(unshelved)?;
            out.result(&told(&entry), &format!("{} is off from the node's next start on", entry.name))?;
        }
        PluginCommand::Remove { plugin } => {
            let entry = shelf(globals)?.remove(&plugin).map_err(unshelved)?;
            out.result(&told(&entry), &format!("{} is removed, id {}", entry.name, entry.id))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn check(
    module: &Path,
    grant: Vec<Capability>,
    config: Option<&Path>,
    globals: &Globals,
) -> anyhow::Result<ExitCode> {
    let (bytes, _) = read(module, globals)?;
    let bounds = Config::named_or_here(config)?.plugins;
    let mut grants = Grants { origin_ethereum: true, ..Grants::default() };
    grants.capabilities.extend(grant);
    let (folder, file) = (globals.plugins_dir()?, module.to_owned());
    let report = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
        // Its files are gone when it was checked.
        let files = tempfile::tempdir()?;
        grants.files = Some(files.path().join(plugins::FILES));
        let host = plugins::host(&bounds, &folder, None)?;
        let loaded = host.load(&bytes, grants).map_err(refused);
        let plugin = loaded.with_context(|| naming(&file, &bytes))?;
        Ok((plugin.id(), plugin.manifest().clone(), mainstem_plugin_host::conformance(&plugin)))
    });
    let (id, manifest, findings) = report.await??;
    let broken = findings.iter().filter(|finding| finding.fault.is_some()).count();
    let mut object = report::object(id, &manifest);
    object["checks"] = findings
        .iter()
        .map(|finding| json!({"check": finding.check, "fault": finding.fault}))
        .collect::<Vec<_>>()
        .into();
    let lines = findings.iter().map(|finding| match &finding.fault {
        None => format!("  ok    {}", finding.check),
        Some(fault) => format!("  FAIL  {}: {fault}", finding.check),
    });
    let text =
        [report::text(id, &manifest), String::new()].into_iter().chain(lines).collect::<Vec<_>>().join("\n");
    globals.output().result(&object, &text)?;
    if broken > 0 {
        let message = format!("{broken} of {} checks failed: see plugin-api/ABI.md", findings.len());
        return Err(Failure::data(message).into());
    }
    Ok(ExitCode::SUCCESS)
}

/// It is loaded as the node will do it, so that what is amiss is known now and not at the node's next start.
async fn install(
    module: &Path,
    answers: &Answers,
    config: Option<&Path>,
    globals: &Globals,
) -> anyhow::Result<()> {
    let bytes = read_file(module)?;
    let node = Config::named_or_here(config)?;
    let folder = match (config, globals.named_data_dir()) {
        // Of the node that was named.
        (Some(_), None) => node.plugins_dir(),
        _ => globals.plugins_dir()?,
    };
    let bounds = node.plugins;
    let (tried, cache, file) = (bytes.clone(), folder.clone(), module.to_owned());
    let load = tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
        let loaded = plugins::host(&bounds, &cache, None)?.load(&tried, Grants::default()).map_err(refused);
        loaded.map(drop).with_context(|| naming(&file, &tried))
    });
    load.await??;
    let entry =
        Shelf::open(&folder).and_then(|mut shelf| shelf.install(&bytes, answers)).map_err(unshelved)?;
    let granted = match entry.capabilities.is_empty() {
        true => "nothing".to_owned(),
        false => granted(&entry, ", "),
    };
    let next = match inspect(&bytes).map_err(refused)?.1.claim {
        Claim::Storage(claim) => {
            format!("\nnext     scheme = {:?} in [store] of the node's configuration", claim.scheme)
        }
        Claim::Signature(_) | Claim::Encryption(_) | Claim::Operators(_) => String::new(),
    };
    let text = format!(
        "{} {} is installed and on from the next start on of a node whose plugins lie in {}\nid       {}\ngranted  {granted}{next}",
        entry.name,
        entry.version,
        folder.display(),
        entry.id
    );
    Ok(globals.output().result(&told(&entry), &text)?)
}

async fn list(globals: &Globals) -> anyhow::Result<()> {
    let shelf = shelf(globals)?;
    let seen = running(globals).await;
    let mut table = Table::new(["name", "version", "id", "on", "granted", "in the node", "calls", "faults"]);
    let mut objects = Vec::new();
    for entry in shelf.entries() {
        let its = seen.get(&entry.id.to_string());
        let number = |key: &str| its.map_or(String::new(), |its| its[key].to_string());
        let state = match its.map(|its| its["off"].as_str()) {
            None => "not loaded".to_owned(),
            Some(None) => "called".to_owned(),
            Some(Some(why)) => format!("off: {why}"),
        };
        table.row([
            entry.name.clone(),
            entry.version.clone(),
            entry.id.to_string().chars().take(12).collect(),
            if entry.enabled { "yes" } else { "no" }.to_owned(),
            granted(entry, ","),
            state,
            number("calls"),
            number("faults"),
        ]);
        let mut object = told(entry);
        object["running"] = its.cloned().unwrap_or(Value::Null);
        objects.push(object);
    }
    let text = match shelf.entries() {
        [] => "no plugins: `mainstem plugin install <file>` puts one here".to_owned(),
        [..] => table.text("").trim_end().to_owned(),
    };
    Ok(globals.output().result(&json!({ "plugins": objects }), &text)?)
}

/// What the node at hand tells of its plugins, by id; nothing if there is none.
async fn running(globals: &Globals) -> BTreeMap<String, Value> {
    let asked = async {
        let context = Context::load(globals).ok()?;
        http::get_json(context.http().ok()?, "/plugins").await.ok()
    };
    let list = asked.await.and_then(|object| object.as_array().cloned()).unwrap_or_default();
    let by_id = |its: Value| Some((its["id"].as_str()?.to_owned(), its));
    list.into_iter().filter_map(by_id).collect()
}

fn shelf(globals: &Globals) -> anyhow::Result<Shelf> {
    Ok(Shelf::open(&globals.plugins_dir()?).map_err(unshelved)?)
}

/// A module by its file, or by the name or id of an installed plugin.
fn read(module: &Path, globals: &Globals) -> anyhow::Result<(Vec<u8>, Option<Entry>)> {
    if module.exists() {
        return Ok((read_file(module)?, None));
    }
    let shelf = shelf(globals)?;
    match shelf.find(&module.display().to_string()) {
        Ok(entry) => Ok((shelf.module(entry).map_err(unshelved)?, Some(entry.clone()))),
        Err(ShelfError::Unknown(name)) => {
            Err(Failure::io(format!("there is no file {name}, and no installed plugin of that name")).into())
        }
        Err(error) => Err(unshelved(error).into()),
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::io(format!("cannot read {}: {error}", path.display())))
}

/// What a plugin was granted, and whom it reaches.
fn granted(entry: &Entry, between: &str) -> String {
    let hosts = entry.http_hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let shown = |name: &String| match name == Capability::Http.name() {
        true => format!("{name} ({hosts})"),
        false => name.clone(),
    };
    entry.capabilities.iter().map(shown).collect::<Vec<_>>().join(between)
}

fn told(entry: &Entry) -> Value {
    json!({
        "id": entry.id.to_string(),
        "name": entry.name,
        "version": entry.version,
        "enabled": entry.enabled,
        "capabilities": entry.capabilities,
        "speaksForEthereum": entry.speaks_for_ethereum,
        "httpHosts": entry.http_hosts,
    })
}

fn capability(text: &str) -> Result<Capability, String> {
    let known: BTreeSet<_> = Capability::ALL.into_iter().map(Capability::name).collect();
    Capability::ALL.into_iter().find(|it| it.name() == text).ok_or_else(|| {
        format!(
            "there is no capability {text:?}; there are {}",
            known.into_iter().collect::<Vec<_>>().join(", ")
        )
    })
}

/// What cannot be loaded: the file, and the plugin's name if that can be read.
fn naming(file: &Path, module: &[u8]) -> String {
    let name = inspect(module).map_or_else(|_| String::new(), |(_, it)| format!("plugin {} in ", it.name));
    format!("{name}{} cannot be loaded", file.display())
}

#[expect(clippy::needless_pass_by_value, reason = "a function for map_err")]
fn refused(error: LoadError) -> Failure {
    Failure::new(super::failure::DATA, "INVALID_PLUGIN", error.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "a function for map_err")]
fn unshelved(error: ShelfError) -> Failure {
    match &error {
        ShelfError::File { .. } | ShelfError::List { .. } => Failure::io(error.to_string()),
        ShelfError::Module(_) | ShelfError::Changed { .. } => {
            Failure::new(super::failure::DATA, "INVALID_PLUGIN", error.to_string())
        }
        ShelfError::NotGranted { .. }
        | ShelfError::SpeaksForEthereum(_)
        | ShelfError::NoHosts(_)
        | ShelfError::HostsUnasked(_)
        | ShelfError::Claimed { .. } => Failure::permission(error.to_string()),
        ShelfError::Unknown(_) | ShelfError::Ambiguous { .. } => Failure::usage(error.to_string()),
    }
}
