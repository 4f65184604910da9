//! Modules that are large to compile take no more than the process that compiles them may, and the host lives on.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and says why")]

mod guest;
mod misbehaving;

use guest::{Guest, item, verdicts};
use mainstem_plugin_host::{Compiler, Config, Host};
use misbehaving::{Callee, Fixture, Resident, call, ended, refused, spent};
use std::{fs, path::Path, process::Command, time::Duration};
use toml::Table;

/// What loading may take beside compiling: the module is read, checked and made an instance of here.
const LOAD_MAX: Duration = Duration::from_secs(2);

/// Cargo puts examples beside the folder that tests are in.
fn child() -> Compiler {
    let program = std::env::current_exe().unwrap().parent().unwrap().join("../examples/compile_child");
    assert!(program.exists(), "run all targets, so that cargo builds {}", program.display());
    Compiler::Child { program, args: Vec::new() }
}

#[test]
fn a_module_that_is_large_to_compile_takes_no_more_than_compiling_may() {
    let modules = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/fixtures"));
    let folder = tempfile::tempdir().unwrap();
    let script = modules.join("bombs.py");
    let written = Command::new("python3").arg("-B").arg(script).arg(folder.path()).status().unwrap();
    assert!(written.success());
    let config = Config { compile_seconds_max: 2, ..Config::default() };
    let host = Host::new(config.clone(), None, child()).unwrap();
    let bystander = Guest::answering(&verdicts(&[0])).load_in(&host);
    let table: Table = fs::read_to_string(modules.join("fixtures.toml")).unwrap().parse().unwrap();
    let fixtures = table["fixture"].as_array().unwrap().iter().map(|of| Fixture(of.as_table().unwrap()));
    let mut count = 0;
    for of in fixtures.filter(|of| of.text("made_by").is_some()) {
        count += 1;
        let module = of.module(folder.path());
        let resident = Resident::new();
        let (loaded, took) = spent(|| host.load(&module, of.grants(folder.path())));
        let (end, sentence) = match loaded {
            Err(error) => (refused(&error), error.to_string()),
            Ok(plugin) => match call(&plugin, &mut Callee::Plugin, &mut Vec::new(), "verify:1") {
                Err(error) => (ended(&error).into(), error.to_string()),
                Ok(_) => ("ok".into(), String::new()),
            },
        };
        let grown = resident.grown();
        println!("{}: {end} {sentence}; {took:?}, {} MiB here", of.file(), grown >> 20);
        let right = of.text("expect").unwrap();
        assert!(right == "any" || end == right, "{} must end with {right} and ends with {end}", of.file());
        assert!(took.processor < LOAD_MAX, "{}: {took:?}", of.file());
        assert!(grown < config.compile_memory_bytes_max * 11 / 10, "{}: {grown} bytes", of.file());
        assert_eq!(bystander.verify(&[item()]).unwrap().len(), 1, "{}", of.file());
    }
    assert!(count > 20);
}
