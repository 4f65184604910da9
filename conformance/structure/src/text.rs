//! Rules over the text of files. What they look for is written in pieces, so that they do not find themselves.

/// Modules of `std` that read or change the world.
const WORLD: &[&str] = &["env", "fs", "net", "os", "process", "thread"];

/// Calls that bring in a clock or randomness from outside.
const AMBIENT: &[&str] =
    &["SystemTime::now", "Instant::now", "thread_rng", "rand::rng", "OsRng", "getrandom"];

/// Lines of Rust that a file may have; generated files are not asked.
const LINES_MAX: usize = 700;

/// What a pure crate's source calls and may not.
pub fn forbidden_calls(source: &str) -> Vec<String> {
    let words =
        source.lines().flat_map(|line| line.split("//").next().unwrap_or_default().split_whitespace());
    let mut code = words.collect::<Vec<_>>().join(" ");
    for mark in ["::", "{", "}", ",", "("] {
        code = code.replace(&format!(" {mark}"), mark).replace(&format!("{mark} "), mark);
    }
    let mut found: Vec<_> =
        AMBIENT.iter().filter(|name| code.contains(**name)).map(|name| (*name).to_owned()).collect();
    for (at, start) in code.match_indices("std::") {
        let rest = &code[at + start.len()..];
        for name in first_names(rest) {
            if WORLD.contains(&name) {
                found.push(format!("std::{name}"));
            }
        }
    }
    found
}

/// The first names of a path, or of each path in a group `{a::b, c, d::{e}}`.
fn first_names(path: &str) -> Vec<&str> {
    let name = |text: &'_ str| text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let Some(group) = path.strip_prefix('{') else { return vec![&path[..name(path)]] };
    let (mut names, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' | ',' if depth == 0 => {
                let item = &group[start..at];
                names.push(&item[..name(item)]);
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names
}

/// Whether a manifest does not take the workspace's lints.
pub fn missing_workspace_lints(manifest: &str) -> bool {
    let mut lines = manifest.lines().map(str::trim).skip_while(|line| *line != "[lints]").skip(1);
    !lines.any(|line| line == "workspace = true")
}

/// Paths of somebody's machine.
pub fn machine_paths(text: &str) -> Vec<&'static str> {
    const PATHS: &[&str] =
        &[concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/"), concat!("C:\\", "Users")];
    // A path begins a word; within one it is a folder of ours.
    let begins = |at: usize| {
        !text[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '}'))
    };
    PATHS.iter().filter(|path| text.match_indices(**path).any(|(at, _)| begins(at))).copied().collect()
}

/// Whether a file is longer than one noun should be.
pub fn too_long(source: &str) -> Option<usize> {
    Some(source.lines().count()).filter(|lines| *lines > LINES_MAX)
}

/// Macros of unfinished work.
pub fn unfinished(source: &str) -> Vec<&'static str> {
    const MACROS: &[&str] = &[concat!("to", "do!("), concat!("unimple", "mented!("), concat!("db", "g!(")];
    MACROS.iter().filter(|name| source.contains(**name)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_into_the_world_are_found_in_every_form() {
        for (source, expected) in [
            ("let x = std::fs::read(p);", vec!["std::fs"]),
            ("use std::{\n    collections::BTreeMap,\n    fs,\n};", vec!["std::fs"]),
            ("use std::{collections::{BTreeMap, BTreeSet}, net::{self, IpAddr}, fmt};", vec!["std::net"]),
            ("use ::std::thread as t;", vec!["std::thread"]),
            ("let now = Instant::now();", vec!["Instant::now"]),
            ("let now = Instant :: now();", vec!["Instant::now"]),
            ("use rand::rng;", vec!["rand::rng"]),
            ("// std::fs is for others\nuse std::fmt;", vec![]),
            ("use std::{fmt, net_like, str::FromStr};", vec![]),
            ("use std::time::{Duration, Instant};", vec![]),
        ] {
            assert_eq!(forbidden_calls(source), expected, "{source}");
        }
    }

    #[test]
    fn a_manifest_without_the_workspace_lints_is_found() {
        assert!(!missing_workspace_lints("[package]\nname = \"x\"\n\n[lints]\nworkspace = true\n"));
        assert!(missing_workspace_lints("[package]\nname = \"x\"\nworkspace = true\n"));
        assert!(missing_workspace_lints("[lints]\n\n[lints.rust]\n"));
    }

    #[test]
    fn a_path_of_a_machine_is_found() {
        for start in [concat!("/ro", "ot/"), concat!("/ho", "me/")] {
            assert_eq!(machine_paths(&format!("see {start}x")), [start]);
            assert_eq!(machine_paths(&format!("portal{start}x")), Vec::<&str>::new());
        }
    }

    #[test]
    fn long_files_and_unfinished_work_are_found() {
        assert_eq!(too_long(&"x\n".repeat(LINES_MAX)), None);
        assert_eq!(too_long(&"x\n".repeat(LINES_MAX + 1)), Some(LINES_MAX + 1));
        assert_eq!(unfinished(concat!("fn f() { to", "do!() }")), [concat!("to", "do!(")]);
        assert!(unfinished("fn f() {}").is_empty());
    }
}
