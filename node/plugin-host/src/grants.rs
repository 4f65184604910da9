use crate::HttpHost;
use mainstem_plugin_abi::{Capability, Manifest};
use std::collections::BTreeSet;

/// What the node's operator lets a plugin do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants {
    /// What it gets of what its manifest names. By default `crypto`, which is pure.
    pub capabilities: BTreeSet<Capability>,
    /// It may speak for origin type 1, Ethereum addresses, and so for every wallet. By default it may not.
    pub origin_ethereum: bool,
    /// The servers that it reaches, with `http`. By default none.
    pub http_hosts: BTreeSet<HttpHost>,
}

impl Default for Grants {
    fn default() -> Self {
        let capabilities = BTreeSet::from([Capability::Crypto]);
        Self { capabilities, origin_ethereum: false, http_hosts: BTreeSet::new() }
    }
}

impl Grants {
    /// What is both asked for and granted.
    pub(crate) fn of(&self, manifest: &Manifest) -> BTreeSet<Capability> {
        let asked = manifest.capabilities.iter().copied();
        asked.filter(|capability| self.capabilities.contains(capability)).collect()
    }
}
