//! The whole configuration of a node: each part belongs to its crate, this is where they meet.

use crate::{broker::RegistrationConfig, cli::failure::Failure, peer::NetworkConfig};
use anyhow::{Context, anyhow, bail};
use mainstem_api::{HttpConfig, PublisherConfig, QuicConfig, SessionConfig, WebSocketConfig, WorkersConfig};
use mainstem_chain::{Deployment, FollowerConfig, RpcConfig, WalletConfig};
use serde::{Deserialize, Serialize};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

/// The file that `mainstem init` writes: every key with its default and the reason for it.
pub(crate) const DEFAULT_FILE: &str = include_str!("../mainstem.default.toml");

/// Where a node's configuration is, unless another file is named.
pub(crate) const FILE: &str = "mainstem.toml";

/// Everything that can be set. Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Where the node keeps its key, its certificate's key and its store. This and every other relative path is taken from the
    /// file's folder. `--data-dir` and `MAINSTEM_DATA_DIR` go before it.
    pub(crate) data_dir: PathBuf,
    /// Folder of the plugins. Without it, `plugins` in `data_dir`.
    pub(crate) plugins_dir: Option<PathBuf>,
    /// Where HTTP and WebSocket listen (TCP).
    pub(crate) http_listen: SocketAddr,
    /// Name or address (no port) that others reach this node by. It is what `GET /info` and the connection profile tell, and
    /// requests may call the node so in `Host`. Without it they are told the addresses that are listened on, and nothing
    /// where those are "any" (`0.0.0.0`).
    pub(crate) public_name: Option<String>,
    /// Certificate and key (PEM) for QUIC, of an authority that clients know. Without them the node signs its own, which
    /// clients pin.
    pub(crate) tls: Option<TlsFiles>,
    /// The chain.
    pub(crate) chain: ChainConfig,
    /// Keys that the node signs with for clients with an API key.
    pub(crate) api_keys: Vec<ApiKey>,
    /// Chain writes of clients with API keys.
    pub(crate) manage: ManageConfig,
    /// How long history is kept.
    pub(crate) retention: Retention,
    /// The node as a broker of the network.
    pub(crate) registration: RegistrationConfig,
    pub(crate) broker: mainstem_protocol::Config,
    pub(crate) store: mainstem_store::Config,
    pub(crate) writer: mainstem_store::WriterConfig,
    /// Reading the event log.
    pub(crate) reader: ReaderConfig,
    pub(crate) quic: QuicConfig,
    pub(crate) http: HttpConfig,
    pub(crate) websocket: WebSocketConfig,
    pub(crate) session: SessionConfig,
    pub(crate) publisher: PublisherConfig,
    pub(crate) workers: WorkersConfig,
    /// Other brokers.
    pub(crate) network: NetworkConfig,
    /// Bounds of plugins.
    pub(crate) plugins: mainstem_plugin_host::Config,
}

/// Paths of PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsFiles {
    /// The certificate, and those that lead to its authority.
    pub(crate) certificate: PathBuf,
    /// Its key.
    pub(crate) key: PathBuf,
}

/// How the node meets the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ChainConfig {
    /// Seconds without an answer of the chain after which `/healthz` is degraded (503): streams and rights stay as they
    /// were meanwhile. 0 is never.
    pub(crate) answer_age_s_max: u64,
    /// The same without a new block, for chains that have one regularly. 0 is never, which suits a development chain.
    pub(crate) head_age_s_max: u64,
    /// JSON-RPC endpoints.
    pub(crate) rpc: RpcConfig,
    /// The network's contracts. `mainstem dev` deploys its own; a node of a real network must name them.
    pub(crate) contracts: Option<Deployment>,
    pub(crate) follower: FollowerConfig,
    pub(crate) wallet: WalletConfig,
}

impl Default for ChainConfig {
    fn default() -> Self {
        Self {
            // Five blocks of Ethereum, and more than any one request may take with its repetitions.
            answer_age_s_max: 60,
            head_age_s_max: 0,
            rpc: RpcConfig::default(),
            contracts: None,
            follower: FollowerConfig::default(),
            wallet: WalletConfig::default(),
        }
    }
}

/// An API key and the key that signs for whoever has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApiKey {
    /// SHA-256 of the API key, 64 hex digits: `printf %s "$KEY" | sha256sum`.
    pub(crate) sha256: String,
    /// File with the secret key (hex) that signs.
    pub(crate) key_file: PathBuf,
}

/// Reading the event log, on threads apart from each other so that no reader holds up a publisher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ReaderConfig {
    /// Threads that read what publishing waits for: heads of series, and single batches.
    pub(crate) head_threads: usize,
    /// Threads that read pages of history, one for each subscription that is behind at most.
    pub(crate) page_threads: usize,
    /// Threads that look for where the last n events begin.
    pub(crate) last_threads: usize,
    /// Such looks that wait. One more is refused with `OVERLOADED`.
    pub(crate) last_waiting_max: usize,
    /// Threads that read what other brokers ask for and what is compared with theirs: series, and the heads of all of them.
    pub(crate) repair_threads: usize,
}

impl Default for ReaderConfig {
    fn default() -> Self {
        // Each of them waits for the disk most of its time. Repair has time: a broker that comes back must not slow the others.
        Self { head_threads: 2, page_threads: 4, last_threads: 2, last_waiting_max: 1_024, repair_threads: 1 }
    }
}

/// Chain writes that clients with API keys ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ManageConfig {
    /// Under way at once, each until the node's view shows it. One more waits.
    pub(crate) running_max: usize,
    /// That wait; at least 1. One more gets `OVERLOADED`.
    pub(crate) waiting_max: usize,
}

impl Default for ManageConfig {
    fn default() -> Self {
        // A public chain takes 12 seconds for a block, and an answer is waited for 60.
        Self { running_max: 32, waiting_max: 128 }
    }
}

/// How long history is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Retention {
    /// Days for streams whose metadata name no `storageDays`; 0 keeps for ever.
    pub(crate) default_days: u32,
    /// Most days that any stream is kept, whatever its metadata or the default ask for; 0 sets no bound. `storageDays` is
    /// set by whoever owns the stream, so without a bound a stranger may have history kept for ever.
    pub(crate) max_days: u32,
    /// Seconds for which the chain must show a stream as removed before its history is kept for `default_days` only: a
    /// reorg or another endpoint may bring it back. Counted anew when the node starts.
    pub(crate) removed_wait_s: u64,
    /// Seconds between two looks for what is too old.
    pub(crate) check_s: u64,
    /// Batches removed at a time, so that writing goes on meanwhile.
    pub(crate) batches_at_once: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            default_days: 30,
            max_days: 0,
            // Far beyond any reorg, and time for somebody to notice an endpoint that lies.
            removed_wait_s: 24 * 60 * 60,
            check_s: 60,
            batches_at_once: 1_000,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "mainstem-data".into(),
            plugins_dir: None,
            // Streamr's port for HTTP.
            http_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7171)),
            public_name: None,
            tls: None,
            chain: ChainConfig::default(),
            api_keys: Vec::new(),
            manage: ManageConfig::default(),
            retention: Retention::default(),
            registration: RegistrationConfig::default(),
            broker: mainstem_protocol::Config::default(),
            store: mainstem_store::Config::default(),
            writer: mainstem_store::WriterConfig::default(),
            reader: ReaderConfig::default(),
            quic: QuicConfig::default(),
            http: HttpConfig::default(),
            websocket: WebSocketConfig::default(),
            session: SessionConfig::default(),
            publisher: PublisherConfig::default(),
            workers: WorkersConfig::default(),
            network: NetworkConfig::default(),
            plugins: mainstem_plugin_host::Config::default(),
        }
    }
}

impl Config {
    /// Folder of the plugins.
    pub(crate) fn plugins_dir(&self) -> PathBuf {
        self.plugins_dir.clone().unwrap_or_else(|| self.data_dir.join(crate::plugins::FOLDER))
    }

    /// Reads a configuration file.
    ///
    /// # Errors
    /// The file cannot be read, or a key is unknown or has a wrong value; the message names place and key.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        // IMPORTANT: wrong configuration is wrong use (exit code 64), whatever it is that is wrong.
        let wrong = |error: anyhow::Error| Failure::usage(format!("in {}: {error:#}", path.display()));
        let mut config: Self =
            toml::from_str(&text).map_err(|error| wrong(anyhow!(described(&error, &text))))?;
        config.check().map_err(wrong)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        for path in config.paths() {
            // An absolute path stays as it is.
            *path = folder.join(&*path);
        }
        Ok(config)
    }

    /// A node's configuration: this file, or [`FILE`] where there is one, else the defaults.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub(crate) fn named_or_here(file: Option<&Path>) -> anyhow::Result<Self> {
        let file = file.or_else(|| Some(Path::new(FILE)).filter(|file| file.exists()));
        file.map_or_else(|| Ok(Self::default()), Self::load)
    }

    /// Every path in it.
    pub(crate) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let tls = self.tls.iter_mut().flat_map(|files| [&mut files.certificate, &mut files.key]);
        let keys = self.api_keys.iter_mut().map(|key| &mut key.key_file);
        std::iter::once(&mut self.data_dir).chain(&mut self.plugins_dir).chain(tls).chain(keys)
    }

    /// Whether the bounds go together.
    fn check(&self) -> anyhow::Result<()> {
        self.websocket.check()?;
        self.registration.check()?;
        self.workers.check()?;
        self.plugins.check()?;
        let (threads, instances) = (self.workers.plugin_threads, self.plugins.instances_max);
        if threads > instances {
            bail!(
                "workers.plugin_threads is {threads}, and a plugin has plugins.instances_max, {instances}, instances: take as many \
                 threads at most, or raise that"
            );
        }
        self.network.check()
    }
}

/// What is wrong and where. IMPORTANT: not the line itself, as the library shows it, nor a value: keys of servers stand in parameters.
fn described(error: &toml::de::Error, text: &str) -> String {
    let message = error.message();
    // Of a text where something else belongs: it is told that it is one.
    let message = match (message.find(": string \""), message.rfind("\", expected")) {
        (Some(from), Some(to)) if from < to => {
            format!("{}: a string{}", &message[..from], &message[to + 1..])
        }
        _ => message.to_owned(),
    };
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else { return message };
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_file_says_the_defaults() {
        let written: Config = toml::from_str(DEFAULT_FILE).unwrap();
        assert_eq!(written, Config::default());
    }

    #[test]
    fn the_default_file_names_every_key_that_can_be_set() {
        let all = toml::Value::try_from(Config::default()).unwrap();
        let written: toml::Value = toml::from_str(DEFAULT_FILE).unwrap();
        fn missing(all: &toml::Value, written: Option<&toml::Value>, path: &str, out: &mut Vec<String>) {
            let Some(table) = all.as_table() else {
                if written.is_none() {
                    out.push(path.to_owned());
                }
                return;
            };
            for (key, value) in table {
                missing(value, written.and_then(|table| table.get(key)), &format!("{path}.{key}"), out);
            }
        }
        let mut out = Vec::new();
        missing(&all, Some(&written), "", &mut out);
        assert_eq!(out, Vec::<String>::new());
    }

    #[test]
    fn every_relative_path_is_taken_from_the_files_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mainstem.toml");
        let text = "data_dir = 'data'\n[tls]\ncertificate = 'c.pem'\nkey = '/etc/k.pem'\n\
                    [[api_keys]]\nsha256 = '00'\nkey_file = 'p.key'\n";
        std::fs::write(&file, text).unwrap();
        let config = Config::load(&file).unwrap();
        let tls = config.tls.unwrap();
        for (path, expected) in [
            (&config.data_dir, folder.path().join("data")),
            (&tls.certificate, folder.path().join("c.pem")),
            (&tls.key, "/etc/k.pem".into()),
            (&config.api_keys[0].key_file, folder.path().join("p.key")),
        ] {
            assert_eq!(*path, expected);
        }
    }

    /// What is said of a file that cannot be loaded.
    fn refused(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mainstem.toml");
        std::fs::write(&file, text).unwrap();
        Config::load(&file).unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_without_what_stands_there() {
        for (text, place, what) in [
            ("[store]\nparameters = { secret = 'hidden', }}\n", "line 2, column ", ""),
            ("[store]\n  parameters.secret = 'hidden\n", "line 2, column ", ""),
            ("[store]\nparameters = 'hidden'\n", "line 2, column 14", "a string, expected a map"),
            ("[store]\nrecords.index_rows_max = 'hidden \" x'\n", "line 2, column 26", "a string, expected"),
            ("[store]\nschem = 'hidden'\n", "line 2, column 1", "schem"),
            (
                "\n\n[store]\nparameters = { \"é\" = 'hidden', secret = 5 }\n",
                "line 4, column 41",
                "expected a string",
            ),
        ] {
            let error = refused(text);
            assert!(error.contains(place) && error.contains(what), "{error}");
            assert!(!error.contains("hidden") && error.lines().count() == 1, "{error}");
        }
    }

    #[test]
    fn bounds_that_cannot_be_are_refused_by_name_whether_there_are_plugins_or_not() {
        for (text, what) in [
            ("[workers]\nplugin_threads = 33\n", "workers.plugin_threads is 33"),
            ("[workers]\nqueue_max = 0\n", "workers.queue_max"),
            ("[workers]\nqueue_max = 4611686018427387904\n", "workers.queue_max"),
            ("[workers]\nslow_percent_max = 0\n", "workers.slow_percent_max is 0"),
            ("[workers]\nslow_percent_max = 101\n", "workers.slow_percent_max is 101"),
            ("[plugins]\nhttp_requests_max = 4611686018427387904\n", "plugins.http_requests_max"),
            ("[plugins]\nfuel_default = 0\n", "plugins.fuel_default is 0"),
        ] {
            let error = refused(text);
            assert!(error.contains(what), "{error}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let error = toml::from_str::<Config>("[broker]\nsession_max = 1").unwrap_err().to_string();
        assert!(error.contains("session_max"), "{error}");
    }
}
