//! A plugin's folder: made from a template, and built.

use super::super::{failure::Failure, output::Output};
use anyhow::Context;
use clap::{Args, ValueEnum};
use mainstem_plugin_host::inspect;
use serde_json::json;
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Where Debian's package rust-web-src has the sources of the standard library.
const DEBIAN_LIBRARY: &str = "/usr/lib/rustlib/src/rust/library";
/// A stack of 128 KiB leaves room for the data in a small memory.
const RUST_STACK: &str = "-Clink-arg=-zstack-size=131072";
const WASM: &str = "wasm32-unknown-unknown";

/// What kind of plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// It checks signatures of a type of its own
    Signature,
    /// It seals and opens contents by a type of its own
    Encryption,
    /// It keeps the log of a node
    Storage,
    /// It takes rows and gives rows
    Operator,
}

/// In which language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    /// With the SDK
    Rust,
    /// By the ABI alone
    C,
    /// By the ABI alone
    #[value(name = "assemblyscript")]
    AssemblyScript,
}

#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// Name of the plugin, and of the folder that is made for it
    name: String,
    /// What kind of plugin
    #[arg(long)]
    kind: Kind,
    /// In which language
    #[arg(long, default_value = "rust")]
    lang: Language,
    /// The signature type, and origin type, or the encryption type that it claims: 128 to 255 are free for your own network
    #[arg(long = "type", default_value_t = 200, value_parser = clap::value_parser!(u8).range(16..))]
    signature_type: u8,
    /// Folder of the SDK, plugin-api/sdk of Mainstem's sources [default: that of the sources this program was built from]
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// Folder with plugin.toml, and Cargo.toml or plugin.c unless there is a module
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// The module, a .wasm that another compiler made: nothing is compiled, and it gets the manifest of the folder's plugin.toml in place
    /// of any that it has
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
    /// Where the plugin goes [default: NAME.wasm in its folder]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigureArgs {
    /// The module
    module: PathBuf,
    /// What is filled in
    configuration: PathBuf,
    /// Where the configured plugin goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Files of a template, by their path in the folder.
type Template = &'static [(&'static str, &'static str)];

// Behind a semicolon stand a plugin and files of it that are taken as they are.
macro_rules! template {
    ($folder:literal: $($file:literal),+ $(; $from:literal: $($taken:literal),+)?) => {
        &[
            $(($file, include_str!(concat!("../../../../../plugin-api/templates/", $folder, "/", $file)))),+
            $(, $(($taken, include_str!(concat!("../../../../../plugins/", $from, "/", $taken)))),+)?
        ]
    };
}

const RUST_SIGNATURE: Template =
    template!("rust-signature": "Cargo.toml", "README.md", "plugin.toml", "src/lib.rs");
const RUST_ENCRYPTION: Template =
    template!("rust-encryption": "Cargo.toml", "README.md", "plugin.toml", "src/lib.rs");
const RUST_STORAGE: Template =
    template!("rust-storage": "Cargo.toml", "README.md", "plugin.toml", "src/lib.rs");
const RUST_OPERATOR: Template =
    template!("rust-operator": "Cargo.toml", "README.md", "plugin.toml", "src/lib.rs");
const C_SIGNATURE: Template = template!("c-signature": "README.md", "plugin.toml", "plugin.c");
const ASSEMBLYSCRIPT_OPERATOR: Template = template!(
    "assemblyscript-operator": "README.md", "package.json", "plugin.toml", "assembly/name.ts";
    "scale-as": "assembly/index.ts", "assembly/reader.ts", "assembly/reply.ts"
);

pub(super) fn new(args: &NewArgs, out: Output) -> anyhow::Result<()> {
    let template = template(args.kind, args.lang)?;
    let folder = Path::new(&args.name);
    let name = folder.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(fits) || name.len() > 64 {
        let message =
            format!("{name:?} is no name for a plugin: take 1 to 64 of a-z, 0-9 and -, a letter first");
        return Err(Failure::usage(message).into());
    }
    if folder.exists() {
        return Err(
            Failure::usage(format!("{} is there already: take another name", folder.display())).into()
        );
    }
    let sdk = if args.lang == Language::Rust { sdk(args.sdk.as_deref())? } else { String::new() };
    for (file, text) in template {
        let path = folder.join(file);
        let text = text
            .replace("{{name}}", name)
            .replace("{{type}}", &args.signature_type.to_string())
            .replace("{{sdk}}", &format!("path = {sdk:?}"));
        let whole = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, text));
        whole.map_err(|error| Failure::io(format!("cannot write {}: {error}", path.display())))?;
    }
    let object = json!({"folder": folder.display().to_string(), "name": name});
    let build = match args.lang {
        Language::Rust | Language::C => "mainstem plugin build",
        Language::AssemblyScript => "npm install && npm run build",
    };
    let text = format!("{} is there\nnext: cd {} && {build}", folder.display(), folder.display());
    Ok(out.result(&object, &text)?)
}

/// What a folder begins with.
fn template(kind: Kind, lang: Language) -> Result<Template, Failure> {
    let none = |language: &str, kinds: &str| {
        Failure::usage(format!(
            "in {language} there is a template for {kinds} alone: take --lang rust, or begin from plugin-api/ABI.md"
        ))
    };
    match (kind, lang) {
        (Kind::Signature, Language::Rust) => Ok(RUST_SIGNATURE),
        (Kind::Encryption, Language::Rust) => Ok(RUST_ENCRYPTION),
        (Kind::Storage, Language::Rust) => Ok(RUST_STORAGE),
        (Kind::Operator, Language::Rust) => Ok(RUST_OPERATOR),
        (Kind::Signature, Language::C) => Ok(C_SIGNATURE),
        (Kind::Operator, Language::AssemblyScript) => Ok(ASSEMBLYSCRIPT_OPERATOR),
        (Kind::Encryption | Kind::Storage | Kind::Operator, Language::C) => Err(none("C", "signatures")),
        (Kind::Signature | Kind::Encryption | Kind::Storage, Language::AssemblyScript) => {
            Err(none("AssemblyScript", "operators"))
        }
    }
}

/// The folder of the SDK, as an absolute path.
fn sdk(named: Option<&Path>) -> Result<String, Failure> {
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugin-api/sdk");
    let folder = named.unwrap_or(&built_from);
    let found = folder.canonicalize().ok().filter(|folder| folder.join("Cargo.toml").exists());
    let missing = || {
        Failure::usage(format!(
            "{} is not the plugin SDK: pass --sdk with the folder plugin-api/sdk of Mainstem's sources",
            folder.display()
        ))
    };
    Ok(found.ok_or_else(missing)?.display().to_string())
}

pub(super) fn configure(args: &ConfigureArgs, out: Output) -> anyhow::Result<()> {
    let read = |path: &Path| {
        fs::read(path).map_err(|error| Failure::io(format!("cannot read {}: {error}", path.display())))
    };
    let configured = mainstem_plugin_build::configure(&read(&args.module)?, &read(&args.configuration)?)
        .map_err(|error| Failure::data(format!("cannot configure {}: {error}", args.module.display())))?;
    let (id, manifest) = inspect(&configured).map_err(|error| Failure::data(error.to_string()))?;
    fs::write(&args.out, &configured)
        .map_err(|error| Failure::io(format!("cannot write {}: {error}", args.out.display())))?;
    let object = json!({"name": manifest.name, "id": id.to_string(), "path": args.out.display().to_string()});
    let text = format!("{} {} in {}\nid  {id}", manifest.name, manifest.version, args.out.display());
    Ok(out.result(&object, &text)?)
}

pub(super) fn build(args: &BuildArgs, out: Output) -> anyhow::Result<()> {
    let folder = &args.folder;
    let described = folder.join("plugin.toml");
    let text = fs::read_to_string(&described)
        .map_err(|error| Failure::io(format!("cannot read {}: {error}", described.display())))?;
    let manifest = mainstem_plugin_build::parse(&text).map_err(|error| Failure::data(error.to_string()))?;
    let module = if let Some(made) = &args.module {
        fs::read(made).map_err(|error| Failure::io(format!("cannot read {}: {error}", made.display())))?
    } else if folder.join("Cargo.toml").exists() {
        build_rust(folder)?
    } else if folder.join("plugin.c").exists() {
        build_c(folder)?
    } else {
        let message = format!(
            "{} has neither a Cargo.toml nor a plugin.c: pass --module with the .wasm that another compiler made of it",
            folder.display()
        );
        return Err(Failure::usage(message).into());
    };
    let plugin = mainstem_plugin_build::attach(&module, &manifest)
        .map_err(|error| Failure::data(error.to_string()))?;
    let path = args.out.clone().unwrap_or_else(|| folder.join(format!("{}.wasm", manifest.name)));
    let (id, _) = inspect(&plugin).map_err(super::refused)?;
    fs::write(&path, &plugin)
        .map_err(|error| Failure::io(format!("cannot write {}: {error}", path.display())))?;
    let object = json!({"file": path.display().to_string(), "bytes": plugin.len(), "id": id.to_string()});
    Ok(out.result(&object, &format!("{}, {} bytes\nid  {id}", path.display(), plugin.len()))?)
}

/// The module that Cargo makes of a folder, with the standard library that is installed for WebAssembly, or Debian's.
fn build_rust(folder: &Path) -> anyhow::Result<Vec<u8>> {
    let has_target = output(Command::new("rustc").args(["--print", "sysroot"]))
        .is_ok_and(|sysroot| Path::new(sysroot.trim()).join("lib/rustlib").join(WASM).join("lib").is_dir());
    let target = folder.join("target");
    let mut cargo = if has_target {
        Command::new("cargo")
    } else if Path::new(DEBIAN_LIBRARY).is_dir() && Path::new("/usr/bin/cargo").exists() {
        let mut cargo = Command::new("/usr/bin/cargo");
        cargo
            .env("RUSTC", "/usr/bin/rustc")
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "wasm-ld");
        cargo
    } else {
        let message = "Rust has no standard library for WebAssembly: `rustup target add wasm32-unknown-unknown`, or on Debian \
                       `apt-get install rustc-web cargo-web rust-web-src lld`";
        return Err(Failure::unavailable(message).into());
    };
    let manifest_path = folder.join("Cargo.toml");
    cargo
        .args(["build", "--release", "--quiet", "--lib", "--target", WASM, "--manifest-path"])
        .arg(&manifest_path)
        .arg("--target-dir")
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", RUST_STACK);
    if !has_target {
        cargo.arg("-Zbuild-std=std,panic_abort");
    }
    run(&mut cargo, "cargo")?;
    let text = fs::read_to_string(&manifest_path)?;
    let cargo_toml: toml::Table = toml::from_str(&text).context("Cargo.toml is no TOML")?;
    let name =
        cargo_toml.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str);
    let name = name.context("Cargo.toml has no package.name")?.replace('-', "_");
    let path = target.join(WASM).join("release").join(format!("{name}.wasm"));
    fs::read(&path).with_context(|| format!("cargo made no {}: is crate-type \"cdylib\"?", path.display()))
}

fn build_c(folder: &Path) -> anyhow::Result<Vec<u8>> {
    let module = tempfile::NamedTempFile::new()?;
    let mut clang = Command::new(std::env::var_os("CLANG").unwrap_or_else(|| "clang".into()));
    clang
        .args(["--target=wasm32", "-std=c11", "-O2", "-ffreestanding", "-nostdlib", "-mbulk-memory", "-Wall"])
        .args(["-Wl,--no-entry", "-Wl,--stack-first", "-Wl,-z,stack-size=65536", "-Wl,--strip-all", "-o"])
        .arg(module.path())
        .arg(folder.join("plugin.c"));
    run(&mut clang, "clang, with lld")?;
    Ok(fs::read(module.path())?)
}

/// Runs a compiler; what it says goes to stderr.
fn run(command: &mut Command, what: &str) -> anyhow::Result<()> {
    let status = command.stdout(std::process::Stdio::null()).status();
    let status =
        status.map_err(|error| Failure::unavailable(format!("{what} cannot be run: {error}; install it")))?;
    if !status.success() {
        return Err(Failure::data(format!("{what} did not build the plugin: {status}")).into());
    }
    Ok(())
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output()?;
    anyhow::ensure!(output.status.success(), "{} failed", command.get_program().display());
    Ok(String::from_utf8(output.stdout)?)
}
