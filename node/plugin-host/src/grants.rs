use crate::HttpHost;
use mainstem_plugin_abi::{Capability, Manifest};
use std::{collections::BTreeSet, path::PathBuf};

/// What the node's operator lets a plugin do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants {
    /// What it gets of what its manifest names. By default `crypto`, which is pure.
    pub capabilities: BTreeSet<Capability>,
    /// It may speak for origin type 1, Ethereum addresses, and so for every wallet. By default it may not.
    pub origin_ethereum: bool,
    /// The servers that it reaches, with `http`. By default none.
    pub http_hosts: BTreeSet<HttpHost>,
    /// The folder of its own files, for `blob`. It is made when it is first used, and is this plugin's alone. Without one `blob` is
    /// answered with `unsupported`.
    pub files: Option<PathBuf>,
}

impl Default for Grants {
    fn default() -> Self {
        let capabilities = BTreeSet::from([Capability::Crypto]);
        Self { capabilities, origin_ethereum: false, http_hosts: BTreeSet::new(), files: None }
    }
}

impl Grants {
    /// What is both asked for and granted.
    pub(crate) fn of(&self, manifest: &Manifest) -> BTreeSet<Capability> {
        let asked = manifest.capabilities.iter().copied();
        asked.filter(|capability| self.capabilities.contains(capability)).collect()
    }
}
