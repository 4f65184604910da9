//! A network for the bench: `mainstem dev --brokers N` with a fixed list of brokers, so that nobody is given other shards
//! while something is measured.

use super::broker::{cpu_of, rss_of};
use crate::{
    cli::profile::Profile,
    config::Config,
    node::node_key,
    peer::{NetworkConfig, StaticPeer},
};
use anyhow::{Context, bail};
use mainstem_chain::{RpcConfig, WalletConfig};
use mainstem_client::{Broker, ChainConfig, Client, ClientConfig, Identity, PublishConfig, StreamDefinition};
use mainstem_crypto::SecretKey;
use mainstem_model::{Address, Assignment, Network, Partition, Right, StreamPartition};
use std::{
    fs,
    net::UdpSocket,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

/// How long all of them may take to start: they register themselves too.
const START: Duration = Duration::from_secs(180);
/// How long they may take to see a new stream, or to end.
const WAIT: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);
/// Of the chain's epochs, which decide nothing here: long, so that few transactions are made meanwhile.
const EPOCH_SECONDS: u32 = 30;

/// Broker processes that know each other. The first has the chain, too. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Brokers {
    child: Child,
    folder: PathBuf,
    profiles: Vec<Profile>,
    pids: Vec<u32>,
    addresses: Vec<Address>,
    assignment: Arc<Assignment>,
    config: Config,
}

impl Brokers {
    /// So many, each partition kept by `replicas` of them, all else by `config`.
    pub(crate) async fn start(count: usize, replicas: u8, mut config: Config) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("mainstem-bench-{:016x}", rand::random::<u64>()));
        let ports = free_ports(u16::try_from(count)?);
        let mut addresses = Vec::new();
        for number in 1..=count {
            let own = folder_of(&folder, number);
            fs::create_dir_all(&own)?;
            addresses.push(node_key(&own.join("node.key"))?.address());
        }
        let peers = addresses.iter().zip(ports..).map(|(address, port)| {
            let endpoint = format!("/ip4/127.0.0.1/udp/{port}/quic-v1").parse()?;
            anyhow::Ok(StaticPeer { address: *address, endpoints: vec![endpoint], weight: u8::MAX })
        });
        config.network =
            NetworkConfig { peers: peers.collect::<anyhow::Result<_>>()?, replicas, ..config.network };
        // All clients come from one address here.
        config.http.connections_per_address_max = config.http.connections_max;
        let view = addresses.first().and_then(|first| config.network.view(*first));
        let assignment = view.context("there is no broker")?.assignment;
        let file = folder.join("bench.toml");
        fs::write(&file, toml::to_string_pretty(&config)?)?;
        let child = spawn(&folder, &file, count, ports)?;
        let mut brokers =
            Self { child, folder, profiles: Vec::new(), pids: Vec::new(), addresses, assignment, config };
        brokers.up(count).await?;
        Ok(brokers)
    }

    async fn up(&mut self, count: usize) -> anyhow::Result<()> {
        let file = self.folder.join("dev/connection.json");
        let begun = Instant::now();
        while !file.exists() {
            if begun.elapsed() > START || self.child.try_wait()?.is_some() {
                bail!("the brokers did not come up");
            }
            tokio::time::sleep(LOOK).await;
        }
        self.pids.push(self.child.id());
        for number in 1..=count {
            let own = folder_of(&self.folder, number);
            self.profiles.push(Profile::load(&own.join("connection.json"))?);
            if number > 1 {
                self.pids.push(fs::read_to_string(own.join("pid"))?.trim().parse()?);
            }
        }
        Ok(())
    }

    pub(crate) fn count(&self) -> usize {
        self.profiles.len()
    }

    /// What all of them were started with.
    pub(crate) const fn config(&self) -> &Config {
        &self.config
    }

    /// CPU seconds that each has used.
    pub(crate) fn cpu(&self) -> Vec<f64> {
        self.pids.iter().map(|pid| cpu_of(&pid.to_string())).collect()
    }

    /// Bytes of memory that each holds.
    pub(crate) fn rss(&self) -> Vec<u64> {
        self.pids.iter().map(|pid| rss_of(&pid.to_string())).collect()
    }

    /// Where a broker's WebSockets are; brokers are counted from 0.
    pub(crate) fn websocket(&self, broker: usize) -> anyhow::Result<&str> {
        self.profile(broker)?.websocket.as_deref().context("the broker has no WebSocket")
    }

    /// The network that batches are signed for.
    pub(crate) fn network(&self) -> anyhow::Result<Network> {
        Ok(self.profile(0)?.deployment.network())
    }

    /// The key that may do everything here.
    pub(crate) fn key(&self) -> anyhow::Result<SecretKey> {
        let key = self.profile(0)?.private_key.as_deref().context("the broker gave no key")?;
        Ok(SecretKey::from_hex(key)?)
    }

    /// A client at a broker, over QUIC.
    pub(crate) async fn client(&self, broker: usize, publish: PublishConfig) -> anyhow::Result<Client> {
        let profile = self.profile(broker)?;
        let mut address: Broker = profile.broker.parse()?;
        address.pin = profile.pin.as_deref().map(str::parse).transpose()?;
        let mut config = ClientConfig::new(address, profile.deployment.network());
        config.identity = Identity::Wallet(self.key()?);
        config.chain = Some(ChainConfig {
            rpc: RpcConfig::one(profile.rpc.clone().unwrap_or_default()),
            wallet: WalletConfig { receipt_interval_ms: 20, ..WalletConfig::default() },
            from_block: profile.deployment.block,
        });
        config.publish = publish;
        Ok(Client::connect(config).await?)
    }

    /// A new stream that everyone may read, once every broker sees it.
    pub(crate) async fn stream(&self, partitions: u16) -> anyhow::Result<Vec<StreamPartition>> {
        let client = self.client(0, PublishConfig::default()).await?;
        // Of one more it is asked whether it is there: what was asked for is carried to that broker for a while, reader or none.
        let stream = StreamDefinition::default().partitions(partitions + 1).grant(None, &[Right::Subscribe]);
        let stream = client.create_stream(stream).await?.id;
        let partition = |number| anyhow::Ok(stream.partition(Partition::try_from(number)?));
        let asked_for = partition(partitions)?;
        for broker in 0..self.count() {
            let begun = Instant::now();
            loop {
                let (mut up, mut down) = super::wire::connect(self.websocket(broker)?).await?;
                up.subscribe(1, asked_for, false).await?;
                match super::read_back::end(&mut down, |_| Ok(())).await {
                    Ok(()) => break,
                    Err(_) if begun.elapsed() < WAIT => tokio::time::sleep(LOOK).await,
                    Err(error) => return Err(error.context("a broker does not see the stream")),
                }
            }
        }
        (0..partitions).map(partition).collect()
    }

    /// The brokers that keep a partition, best first.
    pub(crate) fn owners(&self, at: StreamPartition) -> Vec<usize> {
        let owners = self.assignment.brokers_of(at);
        owners.iter().filter_map(|owner| self.addresses.iter().position(|address| address == owner)).collect()
    }

    fn profile(&self, broker: usize) -> anyhow::Result<&Profile> {
        self.profiles.get(broker).context("there is no such broker")
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        // The others end by themselves when the first has: the next to be measured waits for that.
        let begun = Instant::now();
        let is_there = |pid: &u32| Path::new(&format!("/proc/{pid}")).exists();
        while self.pids.iter().skip(1).any(is_there) && begun.elapsed() < WAIT {
            std::thread::sleep(LOOK);
        }
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn folder_of(folder: &Path, number: usize) -> PathBuf {
    let dev = folder.join("dev");
    if number == 1 { dev } else { dev.join(format!("broker-{number}")) }
}

fn spawn(folder: &Path, config: &Path, count: usize, ports: u16) -> anyhow::Result<Child> {
    let log = std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".into());
    Command::new(std::env::current_exe()?)
        .env("RUST_LOG", log)
        .arg("--data-dir")
        .arg(folder)
        .args(["dev", "--quic-port", "0", "--http-port", "0", "--rpc-port", "0"])
        .args(["--peer-port", &ports.to_string(), "--brokers", &count.to_string()])
        .args(["--epoch-seconds", &EPOCH_SECONDS.to_string(), "--config"])
        .arg(config)
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .context("the brokers do not start")
}

/// The first of so many UDP ports in a row that nobody uses.
fn free_ports(count: u16) -> u16 {
    loop {
        let first = rand::random_range(10_000..30_000);
        if (first..first + count).all(|port| UdpSocket::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
}
