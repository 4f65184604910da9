//! A bucket on a server that speaks S3, for the plugin `s3`.

use super::BenchArgs;
use anyhow::Context;
use mainstem_plugin_host::{Capability, Grants, HttpHost};
use std::collections::BTreeMap;

/// Where the server is, and who uses it.
pub(crate) struct Bucket {
    endpoint: String,
    host: HttpHost,
    access_key: String,
    secret_key: String,
}

impl Bucket {
    /// The plugin that keeps records in it.
    pub(crate) const PLUGIN: &str = "s3";

    /// That of the options, if they name one.
    ///
    /// # Errors
    /// They name no server, or no key.
    pub(crate) fn of(args: &BenchArgs) -> anyhow::Result<Option<Self>> {
        let Some(endpoint) = &args.s3 else { return Ok(None) };
        let keys = args.s3_keys.as_deref().and_then(|keys| keys.split_once(':'));
        let (access_key, secret_key) =
            keys.context("--s3 wants a key: give id:key with --s3-keys or MAINSTEM_S3_KEYS")?;
        Ok(Some(Self {
            host: endpoint.parse().context("--s3")?,
            endpoint: endpoint.clone(),
            access_key: access_key.into(),
            secret_key: secret_key.into(),
        }))
    }

    pub(crate) fn grants(&self) -> Grants {
        let mut grants = Grants::default();
        grants.capabilities.extend([Capability::Http, Capability::Clock]);
        grants.http_hosts.insert(self.host.clone());
        grants
    }

    /// With names of objects that no other process has.
    pub(crate) fn parameters(&self) -> BTreeMap<String, String> {
        [
            ("endpoint", self.endpoint.clone()),
            ("bucket", "mainstem".into()),
            ("prefix", format!("bench/{}/", std::process::id())),
            ("access_key", self.access_key.clone()),
            ("secret_key", self.secret_key.clone()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}
