use std::collections::{BTreeMap, BTreeSet};

/// What a dependency is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The crate itself, or its build script.
    Normal,
    /// Its tests and examples alone.
    Dev,
}

/// A package and what it names in its manifest.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Names of its direct dependencies.
    pub dependencies: Vec<(String, Kind)>,
}

/// The daemon's package: what everything ends in.
const DAEMON: &str = "mainstem";

/// Which of our crates each of our crates may stand on; the daemon may see all. An edge here is not an edge that must be.
const EDGES: &[(&str, &[&str])] = &[
    ("mainstem-schema", &[]),
    ("mainstem-crypto", &[]),
    ("mainstem-model", &["mainstem-schema", "mainstem-crypto"]),
    ("mainstem-protocol", &["mainstem-model"]),
    ("mainstem-store", &["mainstem-model"]),
    ("mainstem-chain", &["mainstem-model", "mainstem-crypto"]),
    ("mainstem-devchain", &[]),
    ("mainstem-overlay", &["mainstem-crypto"]),
    ("mainstem-api", &["mainstem-protocol", "mainstem-crypto", "mainstem-model", "mainstem-schema"]),
    ("mainstem-plugin-abi", &[]),
    ("mainstem-plugin-build", &["mainstem-plugin-abi"]),
    ("mainstem-plugin-sdk", &["mainstem-plugin-abi"]),
    ("mainstem-plugin-ed25519", &["mainstem-plugin-sdk"]),
    ("mainstem-plugin-aes-256-gcm", &["mainstem-plugin-sdk"]),
    ("mainstem-plugin-xchacha20poly1305", &["mainstem-plugin-sdk"]),
    ("mainstem-plugin-erc1271", &["mainstem-plugin-sdk"]),
    ("mainstem-plugin-ewma-anomaly", &["mainstem-plugin-sdk"]),
    ("mainstem-plugin-filter", &["mainstem-plugin-sdk"]),
    ("mainstem-plugin-memory", &["mainstem-plugin-sdk"]),
    ("mainstem-plugin-ml-dsa-65", &["mainstem-plugin-sdk"]),
    ("mainstem-plugin-secp256k1", &["mainstem-plugin-sdk"]),
    ("mainstem-plugin-segments", &["mainstem-plugin-sdk"]),
    ("mainstem-plugin-window-aggregate", &["mainstem-plugin-sdk"]),
    ("mainstem-plugin-x509", &["mainstem-plugin-sdk"]),
    ("mainstem-plugin-host", &["mainstem-plugin-abi", "mainstem-model", "mainstem-crypto"]),
    (
        "mainstem-client",
        &["mainstem-model", "mainstem-crypto", "mainstem-schema", "mainstem-chain", "mainstem-plugin-host"],
    ),
    ("mainstem-structure", &[]),
];

/// What tests may stand on beside that.
const TEST_EDGES: &[(&str, &[&str])] = &[
    // Themselves: their tests have the simulator, or the harness, switched on.
    ("mainstem-protocol", &["mainstem-crypto", "mainstem-protocol"]),
    ("mainstem-plugin-sdk", &["mainstem-plugin-sdk"]),
    ("mainstem-plugin-host", &["mainstem-plugin-build"]),
    ("mainstem-store", &["mainstem-crypto", "mainstem-plugin-host"]),
    ("mainstem-chain", &["mainstem-devchain"]),
    ("mainstem-api", &["mainstem-store"]),
    ("mainstem-client", &["mainstem-api", "mainstem-protocol", "mainstem-store", "mainstem-devchain"]),
];

/// Libraries (a trailing `*` stands for any ending) that only some of our crates may name.
const PLACES: &[(&str, &[&str])] = &[
    ("ethers-*", &["mainstem-chain"]),
    ("quinn", &["mainstem-api", "mainstem-client"]),
    ("fjall", &["mainstem-store"]),
    ("libp2p", &["mainstem-overlay"]),
    ("libp2p-*", &["mainstem-overlay"]),
    ("yamux", &["mainstem-overlay"]),
    ("wasmtime", &["mainstem-plugin-host"]),
    ("wasmtime-*", &["mainstem-plugin-host"]),
    ("revm", &["mainstem-devchain"]),
    ("revm-*", &["mainstem-devchain"]),
];

/// What no package of ours may bring in, however far below.
const NOWHERE: &[&str] =
    &["ethers", "ethers-providers", "ethers-middleware", "native-tls", "openssl", "openssl-sys"];

/// The crates without I/O, clock and randomness.
const PURE: &[&str] = &["mainstem-crypto", "mainstem-model", "mainstem-protocol"];

/// What they may not stand on, however far below.
const NOT_BELOW_PURE: &[&str] = &["async-std", "mio", "rand", "smol", "socket2", "tokio"];

/// What they may not name themselves. `getrandom` lies below k256 (elliptic-curve's `std`) and nothing calls it.
const NOT_IN_PURE: &[&str] = &["fastrand", "getrandom", "rand"];

fn allowed<'a>(table: &'a [(&str, &'a [&str])], name: &str) -> Option<&'a [&'a str]> {
    table.iter().find(|(crate_name, _)| *crate_name == name).map(|(_, names)| *names)
}

/// Edges between our crates that the table does not know, and crates that it does not know.
pub fn undeclared_edges(ours: &[Package]) -> Vec<String> {
    let names: BTreeSet<_> = ours.iter().map(|package| package.name.as_str()).collect();
    let mut found = Vec::new();
    for package in ours {
        let name = package.name.as_str();
        let own = allowed(EDGES, name);
        if own.is_none() && name != DAEMON {
            found.push(format!("{name} is not in the table of edges"));
        }
        for (to, kind) in package.dependencies.iter().filter(|(to, _)| names.contains(to.as_str())) {
            let by_table = own.is_some_and(|own| own.contains(&to.as_str()));
            let by_tests = allowed(TEST_EDGES, name).is_some_and(|names| names.contains(&to.as_str()));
            let fits = name == DAEMON || by_table || (*kind == Kind::Dev && by_tests);
            if to == DAEMON || !fits {
                found.push(format!("{name} -> {to} ({kind:?})"));
            }
        }
    }
    found
}

/// Libraries named by a crate that is not their place.
pub fn misplaced(ours: &[Package]) -> Vec<String> {
    let mut found = Vec::new();
    for package in ours {
        for (to, _) in &package.dependencies {
            let place = PLACES.iter().find(|(library, _)| match library.strip_suffix('*') {
                Some(start) => to.starts_with(start),
                None => to == library,
            });
            if place.is_some_and(|(_, places)| !places.contains(&package.name.as_str())) {
                found.push(format!("{} names {to}", package.name));
            }
            if PURE.contains(&package.name.as_str()) && NOT_IN_PURE.contains(&to.as_str()) {
                found.push(format!("{} names {to}", package.name));
            }
        }
    }
    found
}

/// Packages that may be nowhere among those that are resolved.
pub fn forbidden_anywhere<'a>(resolved: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    resolved.into_iter().filter(|name| NOWHERE.contains(name)).map(str::to_owned).collect()
}

/// What the pure crates bring in and may not. `below` gives the names of all packages that each package stands on,
/// tests aside.
pub fn forbidden_below(below: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut found = Vec::new();
    for name in PURE {
        match below.get(*name) {
            None => found.push(format!("{name} is gone")),
            Some(names) => found.extend(
                names
                    .iter()
                    .filter(|below| NOT_BELOW_PURE.contains(&below.as_str()))
                    .map(|below| format!("{name} stands on {below}")),
            ),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, Kind)]) -> Package {
        let dependencies = dependencies.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
        Package { name: name.to_owned(), dependencies }
    }

    #[test]
    fn an_edge_outside_the_table_is_named() {
        let ours = [
            package("mainstem", &[("mainstem-store", Kind::Normal)]),
            package("mainstem-store", &[("mainstem-model", Kind::Normal), ("fjall", Kind::Normal)]),
            package("mainstem-model", &[("mainstem-store", Kind::Dev)]),
            package("mainstem-api", &[("mainstem", Kind::Dev), ("mainstem-store", Kind::Dev)]),
            package("mainstem-crypto", &[("mainstem-model", Kind::Normal)]),
            package("mainstem-new", &[]),
        ];
        assert_eq!(
            undeclared_edges(&ours),
            [
                "mainstem-model -> mainstem-store (Dev)",
                "mainstem-api -> mainstem (Dev)",
                "mainstem-crypto -> mainstem-model (Normal)",
                "mainstem-new is not in the table of edges",
            ]
        );
    }

    #[test]
    fn a_test_edge_does_not_serve_the_crate_itself() {
        let ours = [
            package("mainstem-chain", &[("mainstem-devchain", Kind::Normal)]),
            package("mainstem-devchain", &[]),
        ];
        assert_eq!(undeclared_edges(&ours), ["mainstem-chain -> mainstem-devchain (Normal)"]);
    }

    #[test]
    fn a_library_out_of_its_place_is_named() {
        let ours = [
            package("mainstem-chain", &[("ethers-core", Kind::Normal), ("quinn", Kind::Dev)]),
            package("mainstem-devchain", &[("revm", Kind::Normal), ("ethers-core", Kind::Dev)]),
            package("mainstem-model", &[("rand", Kind::Normal), ("fjall", Kind::Normal)]),
            package(
                "mainstem-api",
                &[("quinn", Kind::Normal), ("rand", Kind::Normal), ("revm-state", Kind::Normal)],
            ),
        ];
        assert_eq!(
            misplaced(&ours),
            [
                "mainstem-chain names quinn",
                "mainstem-devchain names ethers-core",
                "mainstem-model names rand",
                "mainstem-model names fjall",
                "mainstem-api names revm-state",
            ]
        );
    }

    #[test]
    fn a_banned_package_is_found_however_far_below() {
        assert_eq!(forbidden_anywhere(["serde", "openssl", "ethers-core", "ethers"]), ["openssl", "ethers"]);
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let below = BTreeMap::from([
            ("mainstem-crypto".to_owned(), set(&["k256", "getrandom"])),
            ("mainstem-model".to_owned(), set(&["serde", "tokio"])),
            ("mainstem-api".to_owned(), set(&["tokio"])),
        ]);
        assert_eq!(forbidden_below(&below), ["mainstem-model stands on tokio", "mainstem-protocol is gone"]);
    }
}
