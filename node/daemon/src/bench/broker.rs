//! A broker of its own for the bench: `mainstem dev` as a child process, on free ports, in a folder that is thrown away.

use crate::cli::profile::Profile;
use anyhow::{Context, bail};
use mainstem_chain::{RpcConfig, WalletConfig};
use mainstem_client::{
    Broker as Address, ChainConfig, Client, ClientConfig, Identity, PublishConfig, StreamDefinition,
};
use mainstem_crypto::SecretKey;
use mainstem_model::{Partition, Right, StreamPartition};
use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How long the broker may take to start.
const START: Duration = Duration::from_secs(60);

/// All clients come from one address here, and one address has a share of the connections.
pub(crate) const CONFIG: &str = "[http]\nconnections_per_address_max = 10000\n";

/// By which transport a client comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Quic,
    /// Binary frames.
    WebSocket,
}

impl Over {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Quic => "QUIC",
            Self::WebSocket => "WebSocket (binary)",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Broker {
    process: Process,
    folder: PathBuf,
    profile: Option<Profile>,
}

#[derive(Debug)]
enum Process {
    Child(Child),
    /// A task of this process.
    #[cfg(feature = "flamegraph")]
    Within(tokio::task::JoinHandle<anyhow::Result<()>>),
}

impl Broker {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        Self::start_with(CONFIG, |_| Ok(())).await
    }

    /// With another configuration, and what `prepare` puts into its folder.
    pub(crate) async fn start_with(
        config: &str,
        prepare: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let folder = new_folder(config)?;
        prepare(&folder)?;
        let process = Process::Child(spawn(&folder)?);
        Self { process, folder, profile: None }.wait().await
    }

    /// In this process, so that one profile shows both sides.
    #[cfg(feature = "flamegraph")]
    pub(crate) async fn start_within() -> anyhow::Result<Self> {
        let folder = new_folder(CONFIG)?;
        let at = folder.clone();
        let args = crate::dev::DevArgs {
            brokers: None,
            quic_port: 0,
            http_port: 0,
            peer_port: 0,
            rpc_port: 0,
            epoch_seconds: 5,
            config: Some(at.join("bench.toml")),
            reset: false,
        };
        let task = tokio::spawn(async move { crate::dev::run(args, &at).await });
        Self { process: Process::Within(task), folder, profile: None }.wait().await
    }

    /// Kills it with -9. Its folder stays.
    pub(crate) fn kill(&mut self) {
        match &mut self.process {
            Process::Child(child) => {
                // One that has ended already is as good.
                drop(child.kill());
                drop(child.wait());
            }
            #[cfg(feature = "flamegraph")]
            Process::Within(task) => task.abort(),
        }
    }

    /// Starts it again on its folder, once it was killed.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        std::fs::remove_file(self.profile_file())?;
        self.process = Process::Child(spawn(&self.folder)?);
        self.up().await
    }

    async fn wait(mut self) -> anyhow::Result<Self> {
        self.up().await?;
        Ok(self)
    }

    async fn up(&mut self) -> anyhow::Result<()> {
        let file = self.profile_file();
        let begun = Instant::now();
        while !file.exists() {
            let ended = match &mut self.process {
                Process::Child(child) => child.try_wait()?.is_some(),
                #[cfg(feature = "flamegraph")]
                Process::Within(task) => task.is_finished(),
            };
            if begun.elapsed() > START || ended {
                bail!("the broker did not come up");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.profile = Some(Profile::load(&file)?);
        Ok(())
    }

    fn profile_file(&self) -> PathBuf {
        self.folder.join("dev/connection.json")
    }

    /// The network that batches are signed for.
    #[cfg(feature = "guests")]
    pub(crate) fn network(&self) -> anyhow::Result<mainstem_model::Network> {
        Ok(self.profile.as_ref().context("the broker is not up")?.deployment.network())
    }

    /// Where its WebSockets are.
    pub(crate) fn websocket(&self) -> anyhow::Result<&str> {
        let profile = self.profile.as_ref().context("the broker is not up")?;
        profile.websocket.as_deref().context("the broker has no WebSocket")
    }

    /// Bytes of all its files.
    pub(crate) fn stored_bytes(&self) -> u64 {
        bytes_of(&self.folder)
    }

    /// A client in the name of the first funded account.
    pub(crate) async fn client(&self, publish: PublishConfig) -> anyhow::Result<Client> {
        self.client_over(Over::Quic, publish).await
    }

    pub(crate) async fn client_over(&self, over: Over, publish: PublishConfig) -> anyhow::Result<Client> {
        let profile = self.profile.as_ref().context("the broker is not up")?;
        let url = match over {
            Over::Quic => profile.broker.as_str(),
            Over::WebSocket => self.websocket()?,
        };
        let mut broker: Address = url.parse()?;
        broker.pin = profile.pin.as_deref().map(str::parse).transpose()?;
        let mut config = ClientConfig::new(broker, profile.deployment.network());
        let key = profile.private_key.as_deref().context("the broker gave no key")?;
        config.identity = Identity::Wallet(SecretKey::from_hex(key)?);
        config.chain = Some(ChainConfig {
            rpc: RpcConfig::one(profile.rpc.clone().unwrap_or_default()),
            wallet: WalletConfig { receipt_interval_ms: 20, ..WalletConfig::default() },
            from_block: profile.deployment.block,
        });
        config.publish = publish;
        Ok(Client::connect(config).await?)
    }

    /// A new stream that everyone may read.
    pub(crate) async fn stream(&self, client: &Client) -> anyhow::Result<StreamPartition> {
        let stream = StreamDefinition::default().grant(None, &[Right::Subscribe]);
        Ok(client.create_stream(stream).await?.id.partition(Partition::ZERO))
    }

    /// CPU seconds that the broker has used.
    pub(crate) fn cpu(&self) -> f64 {
        cpu_of(&self.process_name())
    }

    /// Bytes of memory that the broker holds.
    pub(crate) fn rss(&self) -> u64 {
        rss_of(&self.process_name())
    }

    fn process_name(&self) -> String {
        match &self.process {
            Process::Child(child) => child.id().to_string(),
            #[cfg(feature = "flamegraph")]
            Process::Within(_) => "self".into(),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It is thrown away with its data.
        self.kill();
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn new_folder(config: &str) -> anyhow::Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("mainstem-bench-{:016x}", rand::random::<u64>()));
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("bench.toml"), config)?;
    Ok(folder)
}

fn spawn(folder: &Path) -> anyhow::Result<Child> {
    let log = std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".into());
    Command::new(std::env::current_exe()?)
        .env("RUST_LOG", log)
        .args(["--data-dir"])
        .arg(folder)
        .args(["dev", "--quic-port", "0", "--http-port", "0", "--rpc-port", "0", "--config"])
        .arg(folder.join("bench.toml"))
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .context("the broker does not start")
}

/// Bytes of all files of a folder.
pub(crate) fn bytes_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_of(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

/// Bytes of memory that a process holds.
pub(crate) fn rss_of(process: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) * 1024
}

/// CPU seconds of a process (`self` for this one), user and system.
pub(crate) fn cpu_of(process: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // utime and stime are fields 14 and 15 of proc(5); two stand before the name's end.
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
