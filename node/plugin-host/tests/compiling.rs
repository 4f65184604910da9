//! Modules are compiled once, by a process that cannot take more than it may.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and says why")]

mod guest;

use guest::{Guest, all, item, verdicts};
use mainstem_plugin_host::{CompileError, Compiler, Config, Grants, Host, HostError, LoadError, Verdict};
use std::{
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

fn module() -> Vec<u8> {
    Guest::answering(&verdicts(&[0])).module()
}

/// Cargo puts examples beside the folder that tests are in.
fn child() -> Compiler {
    let program = std::env::current_exe().unwrap().parent().unwrap().join("../examples/compile_child");
    assert!(program.exists(), "run all targets, so that cargo builds {}", program.display());
    Compiler::Child { program, args: Vec::new() }
}

fn shell(script: &str) -> Compiler {
    Compiler::Child { program: "/bin/sh".into(), args: ["-c", script].map(OsString::from).into() }
}

fn fault_of(compiler: Compiler, config: Config) -> String {
    let host = Host::new(config, None, compiler).unwrap();
    let LoadError::Compile(error) = host.load(&module(), all()).unwrap_err() else { panic!() };
    println!("{error}");
    assert_eq!(host.counters().compiled, 0);
    error.to_string()
}

fn in_cache(folder: &Path) -> Host {
    Host::new(Config::default(), Some(folder.join("cache")), Compiler::InProcess).unwrap()
}

fn file_in(folder: &Path) -> PathBuf {
    let files: Vec<_> =
        fs::read_dir(folder.join("cache")).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[test]
fn a_child_compiles_as_this_process_does() {
    let host = Host::new(Config::default(), None, child()).unwrap();
    let plugin = host.load(&module(), all()).unwrap();
    assert_eq!(plugin.verify(&[item()]).unwrap(), [Verdict::Valid]);
}

#[test]
fn a_child_says_why_it_refuses_a_module() {
    let host = Host::new(Config::default(), None, child()).unwrap();
    let guest = Guest { more: "(func (result i32))".into(), ..Guest::default() };
    let error = host.load(&guest.module(), all()).unwrap_err();
    assert!(matches!(error, LoadError::Compile(CompileError::Refused(_))), "{error}");
    assert!(error.to_string().contains("type mismatch"), "{error}");
}

#[test]
fn a_child_that_needs_more_memory_than_it_may_have_is_ended() {
    let fault = fault_of(child(), Config { compile_memory_bytes_max: 8 << 20, ..Config::default() });
    assert!(fault.contains("compile_memory_bytes_max"), "{fault}");
}

#[test]
fn a_child_that_takes_too_long_is_ended() {
    let start = Instant::now();
    let config = Config { compile_seconds_max: 1, ..Config::default() };
    let fault = fault_of(shell("exec sleep 20"), config.clone());
    assert!(fault.contains("compile_seconds_max, 1 s"), "{fault}");
    // With outputs closed it is not heard any more, and waited for all the same.
    let fault = fault_of(shell("exec sleep 20 >&- 2>&-"), config);
    assert!(fault.contains("compile_seconds_max, 1 s"), "{fault}");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_child_that_fails_is_quoted() {
    let fault = fault_of(shell("echo the disk is full >&2; exit 3"), Config::default());
    assert!(fault.contains("the disk is full") && fault.contains('3'), "{fault}");
    assert!(fault_of(shell("kill -9 $$"), Config::default()).contains("signal: 9"));
}

#[test]
fn what_is_no_artefact_is_refused() {
    for script in ["exit 0", "echo artefact", "cat"] {
        assert!(fault_of(shell(script), Config::default()).contains("cannot use"), "{script}");
    }
}

#[test]
fn a_program_that_is_not_there_is_named_as_the_fault() {
    let compiler = Compiler::Child { program: "/nowhere/mainstem".into(), args: Vec::new() };
    assert!(fault_of(compiler, Config::default()).contains("cannot be run"));
}

#[test]
fn a_module_is_compiled_once() {
    let folder = tempfile::tempdir().unwrap();
    let host = in_cache(folder.path());
    host.load(&module(), all()).unwrap();
    host.load(&module(), Grants::default()).unwrap();
    assert_eq!((host.counters().compiled, host.counters().cached), (1, 1));
    let later = in_cache(folder.path());
    assert_eq!(later.load(&module(), all()).unwrap().verify(&[item()]).unwrap(), [Verdict::Valid]);
    assert_eq!((later.counters().compiled, later.counters().cached), (0, 1));
}

#[test]
fn another_module_is_another_file() {
    let folder = tempfile::tempdir().unwrap();
    let host = in_cache(folder.path());
    host.load(&module(), all()).unwrap();
    host.load(&Guest::answering(&verdicts(&[1])).module(), all()).unwrap();
    assert_eq!((host.counters().compiled, host.counters().cached), (2, 0));
}

#[test]
fn a_damaged_file_is_compiled_again() {
    let folder = tempfile::tempdir().unwrap();
    in_cache(folder.path()).load(&module(), all()).unwrap();
    let path = file_in(folder.path());
    let whole = fs::read(&path).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let damaged = [
        Vec::new(),
        vec![0; 31],
        whole[..whole.len() / 2].to_vec(),
        flipped(0),
        flipped(40),
        flipped(whole.len() - 1),
    ];
    for bytes in damaged {
        fs::write(&path, &bytes).unwrap();
        let host = in_cache(folder.path());
        assert_eq!(host.load(&module(), all()).unwrap().verify(&[item()]).unwrap(), [Verdict::Valid]);
        assert_eq!((host.counters().compiled, host.counters().cached), (1, 0));
        assert_eq!(fs::read(file_in(folder.path())).unwrap().len(), whole.len());
    }
}

#[test]
fn a_module_that_is_refused_leaves_nothing_in_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let guest = Guest { more: "(func (result i32))".into(), ..Guest::default() };
    in_cache(folder.path()).load(&guest.module(), all()).unwrap_err();
    assert_eq!(fs::read_dir(folder.path().join("cache")).unwrap().count(), 0);
}

#[test]
fn a_folder_that_others_may_write_to_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let error = Host::new(Config::default(), Some(folder.path().into()), Compiler::InProcess).unwrap_err();
    assert!(matches!(error, HostError::Cache { .. }), "{error}");
    assert!(error.to_string().contains("0700"), "{error}");
}

#[test]
fn bounds_that_cannot_be_are_refused_by_name() {
    let fault = |config| Host::new(config, None, Compiler::InProcess).unwrap_err().to_string();
    assert!(
        fault(Config { deadline_ms_default: 2_000, ..Config::default() }).contains("deadline_ms_default")
    );
    assert!(fault(Config { memory_bytes_default: 0, ..Config::default() }).contains("memory_bytes_default"));
    assert!(fault(Config { instances_max: 0, ..Config::default() }).contains("instances_max"));
}
