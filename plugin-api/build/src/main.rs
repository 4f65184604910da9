//! Writes a `plugin.toml` into a module: `mainstem-plugin-build MODULE.wasm plugin.toml OUT.wasm`. With `--configure` before the paths it
//! fills any file into a plugin's place for a configuration: `mainstem-plugin-build --configure PLUGIN.wasm roots.pem OUT.wasm`.

use anyhow::{Context, Result, bail};
use std::{env, ffi::OsString, fs, process::ExitCode};

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<()> {
    let mut arguments: Vec<_> = env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "--configure") {
        arguments.remove(0);
        return configure(&arguments);
    }
    let [module, toml, out] = &arguments[..] else {
        bail!("three paths are needed: mainstem-plugin-build MODULE.wasm plugin.toml OUT.wasm");
    };
    let text = fs::read_to_string(toml).with_context(|| format!("cannot read {}", toml.display()))?;
    let manifest =
        mainstem_plugin_build::parse(&text).with_context(|| format!("cannot use {}", toml.display()))?;
    let bytes = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let plugin = mainstem_plugin_build::attach(&bytes, &manifest)
        .with_context(|| format!("cannot use {}", module.display()))?;
    fs::write(out, plugin).with_context(|| format!("cannot write {}", out.display()))
}

fn configure(paths: &[OsString]) -> Result<()> {
    let [plugin, configuration, out] = paths else {
        bail!("three paths are needed: mainstem-plugin-build --configure PLUGIN.wasm CONFIGURATION OUT.wasm");
    };
    let bytes = fs::read(plugin).with_context(|| format!("cannot read {}", plugin.display()))?;
    let configuration =
        fs::read(configuration).with_context(|| format!("cannot read {}", configuration.display()))?;
    let configured = mainstem_plugin_build::configure(&bytes, &configuration)
        .with_context(|| format!("cannot use {}", plugin.display()))?;
    fs::write(out, configured).with_context(|| format!("cannot write {}", out.display()))
}
