//! What is right at each call and breaks the ABI between calls is no fault; the checks of its kind find it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod guest;
mod misbehaving;

use mainstem_plugin_host::{Compiler, Config, Host, conformance};
use misbehaving::Fixture;
use std::{fs, path::Path};
use tempfile::TempDir;
use toml::Table;

const GOES_ON: &str = "counter: a snapshot that is restored goes on as it would have";

/// Modules of which each answer is right by itself, and which checks of their kind find them all the same.
const CONTAINED: [(&str, &[&str]); 4] = [
    ("well-behaved-operator.wat", &[]),
    (
        "state-between-calls.wat",
        &[
            "noise is no valid signature",
            "the same items have the same verdicts",
            "verdicts do not depend on the order of items",
        ],
    ),
    ("operator-forgets-in-snapshot.wat", &[GOES_ON]),
    ("operator-counts-calls.wat", &[GOES_ON]),
];

#[test]
fn what_is_contained_and_breaks_the_abi_between_calls_is_found_by_the_checks_of_its_kind() {
    let ms = 10_000;
    let config = Config { deadline_ms_default: ms, deadline_ms_max: ms, ..Config::default() };
    let host = Host::new(config, None, Compiler::InProcess).unwrap();
    let modules = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/fixtures"));
    let table: Table = fs::read_to_string(modules.join("fixtures.toml")).unwrap().parse().unwrap();
    let fixtures = table["fixture"].as_array().unwrap();
    for (file, checks) in CONTAINED {
        let mut fixtures = fixtures.iter().map(|of| Fixture(of.as_table().unwrap()));
        let of = fixtures.find(|of| of.file() == file).unwrap();
        let folder = TempDir::new().unwrap();
        let plugin = host.load(&of.module(modules), of.grants(folder.path())).unwrap();
        let findings = conformance(&plugin);
        let broken: Vec<_> = findings.iter().filter(|it| it.fault.is_some()).map(|it| &*it.check).collect();
        assert_eq!(broken, checks, "{file}: {findings:?}");
    }
}
