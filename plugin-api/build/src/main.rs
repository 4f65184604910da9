//! Writes a `plugin.toml` into a module: `mainstem-plugin-build MODULE.wasm plugin.toml OUT.wasm`.

use anyhow::{Context, Result, bail};
use std::{env, fs, process::ExitCode};

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
    let arguments: Vec<_> = env::args_os().skip(1).collect();
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
