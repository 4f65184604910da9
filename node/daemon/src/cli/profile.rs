use super::failure::Failure;
use mainstem_chain::Deployment;
use serde::{Deserialize, Serialize};
use std::{
    fmt, fs, io,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Name of the profile inside the data folder.
const FILE: &str = "connection.json";

/// How commands find a node and its network: what `mainstem dev` and `mainstem node` leave behind.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Profile {
    /// `quic://host:port`.
    pub(crate) broker: String,
    /// SHA-256 of the broker's public key, 64 hex digits; without it the broker's certificate must be one the system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pin: Option<String>,
    /// The node's own address; a broker that says another one is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<String>,
    /// JSON-RPC endpoint of the chain; without it streams and rights cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rpc: Option<String>,
    /// The network's contracts.
    pub(crate) deployment: Deployment,
    /// `http://host:port` of the node's HTTP listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) http: Option<String>,
    /// `ws://host:port/ws`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) websocket: Option<String>,
    /// A funded key that everybody knows; only `mainstem dev` writes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) private_key: Option<String>,
}

impl Profile {
    /// Where the profile of a data folder lies: the node's, else that of `mainstem dev`.
    pub(crate) fn path(data_dir: &Path) -> PathBuf {
        let (node, dev) = (data_dir.join(FILE), data_dir.join("dev").join(FILE));
        if !node.exists() && dev.exists() { dev } else { node }
    }

    /// Reads a profile.
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        let text = fs::read(path).map_err(|error| {
            let why = if error.kind() == io::ErrorKind::NotFound {
                "does not exist".to_owned()
            } else {
                format!("cannot be read: {error}")
            };
            Failure::usage(format!(
                "the connection profile {} {why}; start `mainstem dev` or pass --profile <file>",
                path.display()
            ))
        })?;
        serde_json::from_slice(&text).map_err(|error| {
            Failure::usage(format!(
                "the connection profile {} is not understood: {error}; start `mainstem dev` anew or pass \
                 --profile <file>",
                path.display()
            ))
        })
    }

    /// Writes the profile, readable by its owner only: it may hold a key. Who reads meanwhile sees the old or the new one.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let temporary = path.with_extension(format!("{}.new", std::process::id()));
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(temporary, path)
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile")
            .field("broker", &self.broker)
            .field("deployment", &self.deployment)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"broker":"quic://127.0.0.1:7172","rpc":"http://127.0.0.1:8545","deployment":{
        "chain_id":31337,"block":1,"stream_registry":"0x0000000000000000000000000000000000000001",
        "data_coin":"0x0000000000000000000000000000000000000002",
        "event_verifier":"0x0000000000000000000000000000000000000003",
        "network_coordinator":"0x0000000000000000000000000000000000000004"},"privateKey":"0x07"}"#;

    #[test]
    fn reads_what_it_saves_and_keeps_the_key_to_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = Profile::path(folder.path());
        let profile: Profile = serde_json::from_str(TEXT).unwrap();
        profile.save(&path).unwrap();
        assert_eq!(Profile::load(&path).unwrap(), profile);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{profile:?}").contains("0x07"));
    }

    #[test]
    fn names_the_file_and_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = Profile::path(folder.path());
        for content in [None, Some("{"), Some("{}")] {
            if let Some(content) = content {
                fs::write(&path, content).unwrap();
            }
            let message = Profile::load(&path).unwrap_err().to_string();
            assert!(message.contains(path.to_str().unwrap()), "{message}");
            assert!(message.contains("mainstem dev"), "{message}");
        }
    }
}
