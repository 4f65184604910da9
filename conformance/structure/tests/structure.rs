//! The repository keeps its own rules.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};
use mainstem_structure::{
    Kind, Package, forbidden_anywhere, forbidden_below, forbidden_calls, has_tests, invariants,
    machine_paths, misplaced, missing_workspace_lints, too_long, undeclared_edges, unfinished,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::Command,
    sync::LazyLock,
};

static METADATA: LazyLock<Metadata> =
    LazyLock::new(|| MetadataCommand::new().manifest_path(root().join("Cargo.toml")).exec().unwrap());

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn holds(broken: &[String]) {
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

fn ours() -> Vec<Package> {
    let package = |package: &&cargo_metadata::Package| Package {
        name: package.name.to_string(),
        dependencies: package
            .dependencies
            .iter()
            .map(|dependency| {
                let dev = dependency.kind == DependencyKind::Development;
                (dependency.name.clone(), if dev { Kind::Dev } else { Kind::Normal })
            })
            .collect(),
    };
    METADATA.workspace_packages().iter().map(package).collect()
}

/// Names of all packages that each of ours stands on, tests aside.
fn below() -> BTreeMap<String, BTreeSet<String>> {
    let resolve = METADATA.resolve.as_ref().unwrap();
    let names: BTreeMap<&PackageId, &str> =
        METADATA.packages.iter().map(|package| (&package.id, package.name.as_str())).collect();
    let edges: BTreeMap<&PackageId, Vec<&PackageId>> = resolve
        .nodes
        .iter()
        .map(|node| {
            let built = node.deps.iter().filter(|dependency| {
                dependency.dep_kinds.iter().any(|kind| kind.kind != DependencyKind::Development)
            });
            (&node.id, built.map(|dependency| &dependency.pkg).collect())
        })
        .collect();
    let mut out = BTreeMap::new();
    for package in METADATA.workspace_packages() {
        let (mut seen, mut open) = (BTreeSet::new(), vec![&package.id]);
        while let Some(id) = open.pop() {
            for to in edges.get(id).into_iter().flatten() {
                if seen.insert(*to) {
                    open.push(to);
                }
            }
        }
        let names = seen.into_iter().map(|id| names[id].to_owned()).collect();
        out.insert(package.name.to_string(), names);
    }
    out
}

/// Files of the repository, by path, with their text; those that are no text are left out.
fn files() -> Vec<(String, String)> {
    let output = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output()
        .expect("git lists the repository's files");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).unwrap();
    let files: Vec<_> = names
        .split_terminator('\0')
        .filter_map(|name| Some((name.to_owned(), fs::read_to_string(root().join(name)).ok()?)))
        .collect();
    assert!(files.len() > 50, "only {} files", files.len());
    files
}

fn rust_files() -> Vec<(String, String)> {
    files().into_iter().filter(|(name, _)| name.ends_with(".rs") && !name.contains("/generated/")).collect()
}

#[test]
fn crates_stand_on_each_other_as_the_design_says() {
    holds(&undeclared_edges(&ours()));
}

#[test]
fn libraries_are_named_by_their_own_crates_only() {
    holds(&misplaced(&ours()));
}

#[test]
fn banned_packages_are_nowhere() {
    holds(&forbidden_anywhere(METADATA.packages.iter().map(|package| package.name.as_str())));
}

#[test]
fn the_pure_crates_stand_on_no_sockets_runtime_or_randomness() {
    let below = below();
    assert!(below["mainstem-api"].contains("tokio"), "the walk finds what there is");
    holds(&forbidden_below(&below));
}

#[test]
fn the_pure_crates_call_no_files_sockets_threads_clock_or_randomness() {
    let mut broken = Vec::new();
    let mut count = 0;
    for (name, source) in rust_files() {
        if ["node/crypto/src/", "node/model/src/", "node/protocol/src/"]
            .iter()
            .any(|dir| name.starts_with(dir))
        {
            count += 1;
            broken.extend(forbidden_calls(&source).into_iter().map(|call| format!("{name}: {call}")));
        }
    }
    assert!(count > 20, "only {count} files");
    holds(&broken);
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    let manifests = METADATA.workspace_packages().into_iter().map(|package| &package.manifest_path);
    let missing = manifests.filter(|path| missing_workspace_lints(&fs::read_to_string(path).unwrap()));
    holds(&missing.map(ToString::to_string).collect::<Vec<_>>());
}

#[test]
fn no_file_names_a_path_of_a_machine() {
    let of = |(name, text): &(String, String)| {
        machine_paths(text).into_iter().map(|path| format!("{name}: {path}")).collect::<Vec<_>>()
    };
    holds(&files().iter().flat_map(of).collect::<Vec<_>>());
}

#[test]
fn no_source_file_is_longer_than_700_lines() {
    let of = |(name, text): &(String, String)| too_long(text).map(|lines| format!("{name}: {lines} lines"));
    holds(&rust_files().iter().filter_map(of).collect::<Vec<_>>());
}

#[test]
fn no_source_file_holds_unfinished_work() {
    let of = |(name, text): &(String, String)| {
        unfinished(text).into_iter().map(|found| format!("{name}: {found}")).collect::<Vec<_>>()
    };
    holds(&rust_files().iter().flat_map(of).collect::<Vec<_>>());
}

#[test]
fn each_invariant_of_the_architecture_names_a_test_that_is_there() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let stated = invariants(&text);
    assert!(stated.len() > 20, "{}", stated.len());
    let tested = |path: &String| fs::read_to_string(root().join(path)).is_ok_and(|text| has_tests(&text));
    // A folder of tests has them in the files below.
    let below = |path: &String| {
        let files = fs::read_dir(root().join(path)).into_iter().flatten().flatten();
        files.map(|file| format!("{path}/{}", file.file_name().display())).any(|file| tested(&file))
    };
    let of = |(statement, paths): &(&str, Vec<String>)| {
        let holds = paths.iter().any(|path| tested(path) || below(path));
        (!holds).then(|| format!("no test is named, or there is none in what is named: {statement}"))
    };
    holds(&stated.iter().filter_map(of).collect::<Vec<_>>());
}
