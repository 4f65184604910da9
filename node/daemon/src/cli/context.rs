use super::{Globals, failure::Failure, http, output::Output, profile::Profile};
use crate::{
    config::Config,
    plugins::{ChainReads, Plugins},
};
use anyhow::Context as _;
use mainstem_chain::{Rpc, RpcConfig, StreamRegistry, Wallet, WalletConfig};
use mainstem_client::{Broker, ChainConfig, Client, ClientConfig, Identity, PublishConfig, StreamKeys};
use mainstem_crypto::{Address, SecretKey};
use mainstem_model::{Delegation, Partition, StreamId};
use mainstem_plugin_host::PluginSigner;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long a change on the chain is waited for at the node.
const SETTLE: Duration = Duration::from_secs(10);
/// How often the node is asked meanwhile.
const SETTLE_STEP: Duration = Duration::from_millis(100);

/// What a command works with: the profile with the options over it, and in whose name.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) profile: Profile,
    pub(crate) key: Option<SecretKey>,
    delegation: Option<Delegation>,
    /// Folder of the plugins that batches are proven with; and the plugin that signs, with its key's file.
    plugins_dir: PathBuf,
    plugin: Option<(String, PathBuf)>,
    pub(crate) out: Output,
    /// What was connected, to be closed.
    clients: Mutex<Vec<Client>>,
}

/// The key in a file, for the plugin of a name.
fn plugin_signer(plugins: &Plugins, name: &str, key_file: &Path) -> anyhow::Result<PluginSigner> {
    let plugin = plugins.find(name).ok_or_else(|| {
        Failure::usage(format!("no plugin that is on is called {name:?}: `mainstem plugin list` shows them"))
    })?;
    let text = fs::read_to_string(key_file)
        .map_err(|error| Failure::io(format!("cannot read {}: {error}", key_file.display())))?;
    let digits = text.trim().trim_start_matches("0x");
    let key = hex::decode(digits).map_err(|error| {
        Failure::data(format!("{} has no key in hex digits: {error}", key_file.display()))
    })?;
    Ok(PluginSigner::new(plugin.clone(), key).map_err(|error| Failure::data(error.to_string()))?)
}

impl Context {
    pub(crate) fn load(globals: &Globals) -> Result<Self, Failure> {
        let mut profile = Profile::load(&globals.profile_path()?)?;
        if let Some(broker) = &globals.broker {
            // The profile's pin and node are the profile's broker's.
            if *broker != profile.broker {
                profile.pin = None;
                profile.node = None;
            }
            profile.broker.clone_from(broker);
        }
        if let Some(pin) = &globals.pin {
            profile.pin = Some(pin.clone());
        }
        if let Some(rpc) = &globals.rpc {
            profile.rpc = Some(rpc.clone());
        }
        if let Some(http) = &globals.http {
            profile.http = Some(http.clone());
        }
        let key = secret_key(globals, Some(&profile))?;
        let delegation = globals.delegation.as_deref().map(read_delegation).transpose()?;
        let plugin = globals.plugin.clone().zip(globals.plugin_key_file.clone());
        let (plugins_dir, out) = (globals.plugins_dir()?, globals.output());
        Ok(Self { profile, key, delegation, plugins_dir, plugin, out, clients: Mutex::default() })
    }

    /// Closes what was connected, so that the broker need not find out by silence.
    pub(crate) async fn close(&self) {
        let clients = std::mem::take(&mut *self.clients.lock().unwrap_or_else(PoisonError::into_inner));
        for client in clients {
            client.close().await;
        }
    }

    /// Something that signs batches, for what cannot be done without.
    pub(crate) fn need_signer(&self) -> Result<(), Failure> {
        if self.plugin.is_some() { Ok(()) } else { self.need_key().map(drop) }
    }

    /// The key, for what cannot be done without.
    pub(crate) fn need_key(&self) -> Result<&SecretKey, Failure> {
        self.key.as_ref().ok_or_else(|| {
            Failure::usage(
                "this takes a key; pass --key-file <file> or --private-key, or set MAINSTEM_PRIVATE_KEY",
            )
        })
    }

    /// In whose name: the key's own wallet, or the one whose delegation it has.
    pub(crate) fn address(&self) -> Result<Address, Failure> {
        let key = self.need_key()?;
        let Some(delegation) = &self.delegation else { return Ok(key.address()) };
        let wallet = delegation
            .wallet(&self.profile.deployment.network())
            .map_err(|error| Failure::usage(format!("the delegation does not hold: {error}")))?;
        Ok(wallet.address())
    }

    pub(crate) fn rpc(&self) -> Result<Rpc, anyhow::Error> {
        let config = self
            .rpc_config()
            .ok_or_else(|| Failure::usage("the profile names no endpoint of the chain; pass --rpc <url>"))?;
        Ok(Rpc::new(config)?)
    }

    fn rpc_config(&self) -> Option<RpcConfig> {
        let chain_id = Some(self.profile.deployment.chain_id);
        self.profile.rpc.as_ref().map(|url| RpcConfig { chain_id, ..RpcConfig::one(url) })
    }

    pub(crate) fn registry(&self) -> Result<StreamRegistry, anyhow::Error> {
        Ok(StreamRegistry::new(self.rpc()?, &self.profile.deployment))
    }

    pub(crate) fn wallet(&self) -> Result<Wallet, anyhow::Error> {
        if self.delegation.is_some() {
            return Err(
                Failure::permission("changing a stream takes the wallet's own key, not a session's").into()
            );
        }
        Ok(Wallet::new(self.rpc()?, self.need_key()?.clone(), WalletConfig::default()))
    }

    /// Connects to the broker and signs in, if there is a key.
    pub(crate) async fn connect(&self, publish: PublishConfig) -> Result<Client, anyhow::Error> {
        self.connect_with(publish, BTreeMap::new()).await
    }

    /// The same, with content keys.
    pub(crate) async fn connect_with(
        &self,
        publish: PublishConfig,
        keys: BTreeMap<StreamId, StreamKeys>,
    ) -> Result<Client, anyhow::Error> {
        let mut broker: Broker = self.profile.broker.parse()?;
        broker.pin = self.profile.pin.as_deref().map(str::parse).transpose()?;
        broker.node = self
            .profile
            .node
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(|error| Failure::usage(format!("the profile's node is no address: {error}")))?;
        let mut config = ClientConfig::new(broker, self.profile.deployment.network());
        config.publish = publish;
        config.identity = match (self.key.clone(), self.delegation.clone()) {
            (Some(key), Some(delegation)) => Identity::Session { key, delegation },
            (Some(key), None) => Identity::Wallet(key),
            (None, _) => Identity::None,
        };
        let folder = self.plugins_dir.clone();
        // Those that it may be installed with. A client does not need a node's configuration.
        let bounds = Config::named_or_here(None).map(|node| node.plugins).unwrap_or_else(|error| {
            tracing::warn!(error = format!("{error:#}"), "plugins have the default bounds");
            mainstem_plugin_host::Config::default()
        });
        let chain = self.rpc_config().map(Rpc::new).transpose()?.map(|rpc| ChainReads::new(rpc, &bounds));
        let load = move || Plugins::load(&bounds, &folder, chain, None);
        let plugins = tokio::task::spawn_blocking(load).await??;
        config.schemes = plugins.schemes().map(|scheme| Arc::new(scheme) as Arc<_>).collect();
        config.encryption.schemes = plugins.encryption().map(|scheme| Arc::new(scheme) as Arc<_>).collect();
        config.encryption.streams = keys;
        if let Some((name, key_file)) = &self.plugin {
            config.identity = Identity::Scheme(Arc::new(plugin_signer(&plugins, name, key_file)?));
        }
        let from_block = self.profile.deployment.block;
        config.chain =
            self.rpc_config().map(|rpc| ChainConfig { rpc, wallet: WalletConfig::default(), from_block });
        let broker = &self.profile.broker;
        let client = Client::connect(config).await.with_context(|| format!("connecting to {broker}"))?;
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).push(client.clone());
        Ok(client)
    }

    /// The node's HTTP listener.
    pub(crate) fn http(&self) -> Result<&str, Failure> {
        self.profile
            .http
            .as_deref()
            .ok_or_else(|| Failure::usage("the profile names no HTTP listener of a node; pass --http <url>"))
    }

    /// Waits until the node has heard of a change on the chain, so that the next command finds it. Gives up in silence where
    /// there is no node to ask, and after ten seconds.
    pub(crate) async fn settle(
        &self,
        path: &str,
        is_there: impl Fn(&Result<Value, Failure>) -> bool,
    ) -> bool {
        let Some(base) = self.profile.http.as_deref() else { return false };
        let begun = Instant::now();
        while begun.elapsed() < SETTLE {
            let answer = http::get_json(base, path).await;
            if is_there(&answer) {
                return true;
            }
            if matches!(&answer, Err(failure) if failure.code == "UNAVAILABLE") {
                return false;
            }
            tokio::time::sleep(SETTLE_STEP).await;
        }
        false
    }

    /// Finds the stream that a name stands for.
    pub(crate) async fn resolve(&self, name: &StreamName) -> Result<StreamId, anyhow::Error> {
        let (owner, path) = match &name.stream {
            NameKind::Id(id) => return Ok(*id),
            NameKind::Alias(owner, path) => (*owner, path),
            NameKind::Own(path) => (self.address()?, path),
        };
        self.registry()?.alias(owner, path).await?.ok_or_else(|| {
            Failure::new(
                super::failure::DATA,
                "STREAM_NOT_FOUND",
                format!("there is no stream {owner}/{path}; see `mainstem stream search`"),
            )
            .into()
        })
    }
}

/// The key by the options, else the environment (clap reads it), else the profile.
pub(crate) fn secret_key(globals: &Globals, profile: Option<&Profile>) -> Result<Option<SecretKey>, Failure> {
    let (text, from) = if let Some(path) = &globals.key_file {
        (Some(read_key_file(path, globals.output())?), format!("in {}", path.display()))
    } else if let Some(text) = &globals.private_key {
        (Some(text.clone()), "of --private-key or MAINSTEM_PRIVATE_KEY".to_owned())
    } else {
        (profile.and_then(|profile| profile.private_key.clone()), "in the profile".to_owned())
    };
    text.map(|text| {
        SecretKey::from_hex(text.trim()).map_err(|_| {
            Failure::usage(format!("the private key {from} is not 0x and 64 hex digits of a key"))
        })
    })
    .transpose()
}

fn read_key_file(path: &Path, out: Output) -> Result<String, Failure> {
    let unreadable = |error| Failure::io(format!("the key file {} cannot be read: {error}", path.display()));
    let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode();
    if mode & 0o077 != 0 {
        let text = format!("{} can be read by others; run `chmod 600 {0}`", path.display());
        out.notice(&serde_json::json!({"warning": text}), &format!("warning: {text}"));
    }
    fs::read_to_string(path).map_err(unreadable)
}

fn read_delegation(text: &str) -> Result<Delegation, Failure> {
    let bytes = hex::decode(text.trim().trim_start_matches("0x")).unwrap_or_default();
    Delegation::decode(&bytes).map_err(|error| Failure::usage(format!("the delegation is damaged: {error}")))
}

/// A stream as users write it: `0x…`, `0x…#2`, `0xowner/path`, `/path` (of the own address), each with `#partition` or without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamName {
    stream: NameKind,
    pub(crate) partition: Option<Partition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum NameKind {
    Id(StreamId),
    Alias(Address, String),
    Own(String),
}

impl std::str::FromStr for StreamName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, partition) = match text.rsplit_once('#') {
            Some((name, number)) => (name, Some(parse_partition(number)?)),
            None => (text, None),
        };
        let wrong =
            || "a stream is 0x and 40 hex digits, 0xowner/path, or /path for a stream of your own".to_owned();
        let stream = match name.split_once('/') {
            None => NameKind::Id(name.parse().map_err(|_| wrong())?),
            Some((_, "")) => return Err(wrong()),
            Some(("", path)) => NameKind::Own(path.to_owned()),
            Some((owner, path)) => NameKind::Alias(owner.parse().map_err(|_| wrong())?, path.to_owned()),
        };
        Ok(Self { stream, partition })
    }
}

impl StreamName {
    /// The partition by option or name; 0 when neither says.
    pub(crate) fn partition(&self, option: Option<Partition>) -> Result<Partition, Failure> {
        match (self.partition, option) {
            (Some(named), Some(option)) if named != option => Err(Failure::usage(format!(
                "the stream's name says partition {}, --partition says {}; give one of them",
                named.number(),
                option.number()
            ))),
            (named, option) => Ok(option.or(named).unwrap_or(Partition::ZERO)),
        }
    }
}

/// Reads a partition's number, for clap.
pub(crate) fn parse_partition(text: &str) -> Result<Partition, String> {
    let number: u16 = text.parse().map_err(|_| "a partition is a number from 0 to 99".to_owned())?;
    Partition::try_from(number).map_err(|refusal| refusal.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_named_in_four_ways() {
        let address = Address([0xab; 20]);
        let hex = address.to_string();
        let two = Partition::try_from(2).ok();
        for (text, stream, partition) in [
            (hex.clone(), NameKind::Id(StreamId(address)), None),
            (format!("{hex}#2"), NameKind::Id(StreamId(address)), two),
            (format!("{hex}/a/b"), NameKind::Alias(address, "a/b".to_owned()), None),
            ("/a#2".to_owned(), NameKind::Own("a".to_owned()), two),
        ] {
            assert_eq!(text.parse(), Ok(StreamName { stream, partition }), "{text}");
        }
        for text in ["", "/", "a", "a/b", "0x12", "/a#100", "/a#"] {
            assert!(text.parse::<StreamName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn name_and_option_must_not_contradict() {
        let name: StreamName = "/a#2".parse().unwrap();
        assert_eq!(name.partition(None).unwrap().number(), 2);
        assert!(name.partition(Some(Partition::ZERO)).is_err());
        assert_eq!("/a".parse::<StreamName>().unwrap().partition(None).unwrap(), Partition::ZERO);
    }
}
