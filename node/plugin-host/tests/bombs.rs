//! Modules that are large to compile take no more than the process that compiles them may, and the host lives on.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and says why")]

mod guest;
mod misbehaving;

use guest::{Guest, item, verdicts};
use mainstem_plugin_host::{CompileError, Compiler, Config, Host, LoadError};
use misbehaving::{Callee, Fixture, Resident, call, ended, refused, spent};
use std::{collections::BTreeSet, fs, path::Path, process::Command, time::Duration};
use toml::Table;

/// Less than by default, so that all of them together take half a minute. What does not meet a bound here would not take much more there.
const COMPILE_SECONDS_MAX: u32 = 2;
const COMPILE_MEMORY_BYTES_MAX: u64 = 128 << 20;

/// What loading may take of a processor here, where the module is read, checked and made an instance of.
const LOAD_MAX: Duration = Duration::from_secs(2);

/// What loading may take on the clock of a machine that is busy, beside what compiling may.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Cargo puts examples beside the folder that tests are in.
fn child() -> Compiler {
    let program = std::env::current_exe().unwrap().parent().unwrap().join("../examples/compile_child");
    assert!(program.exists(), "run all targets, so that cargo builds {}", program.display());
    Compiler::Child { program, args: Vec::new() }
}

/// How a module that was refused met a bound of compiling, if it did.
fn bound_of(error: &LoadError) -> Option<&'static str> {
    let LoadError::Compile(error) = error else { return None };
    match error {
        CompileError::Deadline(_) => Some("time"),
        // It cannot say so itself: there is no memory left to say it.
        CompileError::Ended(_) => Some("memory"),
        CompileError::Refused(_) | CompileError::Spawn(_) | CompileError::Artefact(_) | _ => None,
    }
}

#[test]
fn a_module_that_is_large_to_compile_takes_no_more_than_compiling_may() {
    let fixtures = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/fixtures"));
    let folder = tempfile::tempdir().unwrap();
    let script = fixtures.join("bombs.py");
    assert!(Command::new("python3").arg("-B").arg(script).arg(folder.path()).status().unwrap().success());
    let config = Config {
        compile_seconds_max: COMPILE_SECONDS_MAX,
        compile_memory_bytes_max: COMPILE_MEMORY_BYTES_MAX,
        ..Config::default()
    };
    let host = Host::new(config.clone(), None, child()).unwrap();
    let bystander = Guest::answering(&verdicts(&[0])).load_in(&host);
    let table: Table = fs::read_to_string(fixtures.join("fixtures.toml")).unwrap().parse().unwrap();
    let of_table = table["fixture"].as_array().unwrap().iter().map(|of| Fixture(of.as_table().unwrap()));
    let (mut count, mut met) = (0, BTreeSet::new());
    for of in of_table.filter(|of| of.text("made_by").is_some()) {
        count += 1;
        let module = of.module(folder.path());
        let resident = Resident::new();
        let (loaded, took) = spent(|| host.load(&module, of.grants(folder.path())));
        let (end, sentence) = match loaded {
            Err(error) => {
                met.extend(bound_of(&error));
                (refused(&error), error.to_string())
            }
            Ok(plugin) => match call(&plugin, &mut Callee::Plugin, &mut Vec::new(), "verify:1") {
                Err(error) => (ended(&error).into(), error.to_string()),
                Ok(_) => ("ok".into(), String::new()),
            },
        };
        let grown = resident.grown();
        println!("{}: {end} {sentence}; {took:?}, {} MiB here", of.file(), grown >> 20);
        let right = of.text("expect").unwrap();
        assert!(right == "any" || end == right, "{} must end with {right} and ends with {end}", of.file());
        assert!(end == "ok" || sentence.len() > 20, "{}: {sentence:?} tells no reason", of.file());
        assert!(took.processor < LOAD_MAX, "{}: {took:?}", of.file());
        let wait_max = Duration::from_secs(COMPILE_SECONDS_MAX.into()) + WAIT_MAX;
        assert!(took.wall < wait_max, "{}: {took:?}", of.file());
        assert!(grown < config.compile_memory_bytes_max, "{}: {grown} bytes", of.file());
        assert_eq!(bystander.verify(&[item()]).unwrap().len(), 1, "{}", of.file());
    }
    assert!(count > 20, "{count} modules");
    // Else nothing here has tried a bound. Which one it is comes to depend on how fast the machine is.
    assert!(!met.is_empty(), "no module met a bound");
}
