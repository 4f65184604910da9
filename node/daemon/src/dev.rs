//! `mainstem dev`: a chain, the contracts, a broker and funded keys, in one process; further brokers in others.

mod children;
mod network;

use crate::{
    cli::{failure::Failure, profile::Profile},
    config::Config,
    interrupts::Interrupts,
    node,
};
use anyhow::Context;
use children::{Children, Starting};
use mainstem_chain::{Deployment, RpcConfig};
use mainstem_crypto::sha256;
use mainstem_devchain::{SharedDevChain, dev_accounts};
use std::{
    fs::{self, File, TryLockError},
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{net::TcpListener, sync::watch};

/// The API key that `mainstem dev` knows; it stands for the first funded account.
pub(crate) const DEV_API_KEY: &str = "dev";

/// The most brokers on one machine.
const BROKERS_MAX: u16 = 64;
/// How long a broker of an earlier start may take to end: it does so when that one has, and a signal cannot be waited for.
const FREE_WAIT: Duration = Duration::from_secs(15);
/// How often is looked whether it has.
const FREE_LOOK: Duration = Duration::from_millis(50);

/// Options of `mainstem dev`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DevArgs {
    /// How many brokers; each but the first is a process of its own and has the ports behind those of the one before
    /// [default: as many as there are, at first 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(BROKERS_MAX)))]
    pub(crate) brokers: Option<u16>,
    /// Port of QUIC (UDP); 0 lets the system choose
    #[arg(long, default_value_t = 7172)]
    pub(crate) quic_port: u16,
    /// Port of HTTP and WebSocket (TCP)
    #[arg(long, default_value_t = 7171)]
    pub(crate) http_port: u16,
    /// Port for other brokers (UDP); 0 lets the system choose
    #[arg(long, default_value_t = 0)]
    pub(crate) peer_port: u16,
    /// Least length of an epoch, seconds; a broker joins within two. Stays as it was when the chain began
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) epoch_seconds: u32,
    /// Port of the chain's JSON-RPC (TCP), for wallets
    #[arg(long, default_value_t = 8545)]
    pub(crate) rpc_port: u16,
    /// Configuration file; its chain and ports are replaced
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// Begin with an empty chain and store
    #[arg(long)]
    pub(crate) reset: bool,
}

/// Runs until interrupted.
///
/// # Errors
/// A port is taken, the data folder cannot be used, the store fails.
pub(crate) async fn run(args: DevArgs, data_dir: &Path) -> anyhow::Result<()> {
    // IMPORTANT: before anything is removed or written, and until the end: another one may be running here.
    let _lock = lock(data_dir)?;
    // The other brokers' files name it, and paths in those are taken from their own folders.
    let data_dir = std::path::absolute(data_dir)?.join("dev");
    for number in children::known(&data_dir) {
        freed(&children::folder(&data_dir, number).join("store").join("lock")).await?;
    }
    if args.reset && data_dir.exists() {
        let _store = lock_file(&data_dir.join("store").join("lock"))?;
        fs::remove_dir_all(&data_dir).with_context(|| format!("cannot remove {}", data_dir.display()))?;
    }
    fs::create_dir_all(&data_dir).with_context(|| format!("cannot make {}", data_dir.display()))?;
    let brokers = brokers(&args, &data_dir)?;

    let chain_file = data_dir.join("chain.log");
    let chain = tokio::task::spawn_blocking(move || {
        SharedDevChain::open(mainstem_devchain::Config::default(), chain_file)
    })
    .await??;
    let listener = TcpListener::bind(loopback(args.rpc_port))
        .await
        .with_context(|| format!("cannot listen on port {} (TCP) for the chain", args.rpc_port))?;
    let rpc_url = format!("http://{}", listener.local_addr()?);
    let (stop_chain, mut chain_stopped) = watch::channel(false);
    let serving = tokio::spawn(mainstem_devchain::serve(listener, chain, async move {
        drop(chain_stopped.wait_for(|stop| *stop).await);
    }));
    let deployment =
        network::contracts(&rpc_url, &data_dir.join("contracts.json"), args.epoch_seconds).await?;

    let plan = Plan { args: &args, data_dir: &data_dir, rpc_url: &rpc_url, deployment: &deployment };
    let mut keys = Vec::new();
    for number in 1..=brokers {
        let folder = plan.folder(number);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        keys.push(node::node_key(&folder.join("node.key"))?.address());
    }
    network::fund(&rpc_url, &deployment, &keys).await?;

    let starting: Vec<Starting> = (2..=brokers)
        .map(|number| Starting::spawn(number, &plan.config(number)?))
        .collect::<anyhow::Result<_>>()?;
    let running = node::start(plan.config(1)?, deployment.clone()).await?;
    let key = dev_accounts()[0].secret_key;
    let (mut children, mut others) = (Children::default(), Vec::new());
    for child in starting {
        others.push(children.take(child, key).await?);
    }
    if brokers > 1 {
        network::all_active(running.network.clone(), &rpc_url, &deployment, &keys).await?;
    }
    let profile = Profile {
        broker: format!("quic://{}", running.reached.quic),
        pin: Some(hex::encode(running.pin)),
        node: Some(running.node.to_string()),
        rpc: Some(rpc_url.clone()),
        deployment,
        http: Some(format!("http://{}", running.reached.http)),
        websocket: Some(format!("ws://{}/ws", running.reached.http)),
        private_key: Some(key.to_owned()),
    };
    let profile_file = data_dir.join("connection.json");
    profile.save(&profile_file)?;
    greet(&running, &rpc_url, &profile_file, &others);
    let interrupts = Interrupts::listen()?;
    let stop = async {
        interrupts.heard(1).await;
        children.let_go();
        1
    };
    let ended = running.until(stop, &interrupts).await;
    // After an error nobody waits for anything: they are killed when this ends.
    if ended.is_ok() {
        children.end().await;
    }
    stop_chain.send_replace(true);
    drop(serving.await);
    ended
}

/// How many brokers to run.
fn brokers(args: &DevArgs, data_dir: &Path) -> anyhow::Result<u16> {
    let known = children::known(data_dir).last().copied().unwrap_or(1);
    match args.brokers {
        // Those that are not started would count all the same, and carry shards.
        Some(brokers) if brokers < known => Err(Failure::usage(format!(
            "this network has {known} brokers: start it with --brokers {known}, or anew with --reset"
        ))
        .into()),
        Some(brokers) => Ok(brokers),
        None => Ok(known),
    }
}

/// What the brokers' configurations are made of.
struct Plan<'a> {
    args: &'a DevArgs,
    data_dir: &'a Path,
    rpc_url: &'a str,
    deployment: &'a Deployment,
}

impl Plan<'_> {
    fn folder(&self, number: u16) -> PathBuf {
        if number == 1 { self.data_dir.to_owned() } else { children::folder(self.data_dir, number) }
    }

    fn config(&self, number: u16) -> anyhow::Result<Config> {
        let given = self.args.config.as_deref();
        let mut config = given.map_or_else(|| Ok(Config::default()), Config::load)?;
        for path in config.paths() {
            *path = std::path::absolute(&*path)?;
        }
        let key_file = self.data_dir.join("account-0.key");
        if !key_file.exists() {
            mainstem_api::write_secret(&key_file, dev_accounts()[0].secret_key)?;
        }
        config.data_dir = self.folder(number);
        // One shelf for all brokers: where `mainstem plugin install` puts them.
        config.plugins_dir =
            config.plugins_dir.or_else(|| Some(self.data_dir.parent()?.join(crate::plugins::FOLDER)));
        config.quic.listen = loopback(port(self.args.quic_port, number)?);
        config.http_listen = loopback(port(self.args.http_port, number)?);
        config.chain.rpc =
            RpcConfig { chain_id: Some(self.deployment.chain_id), ..RpcConfig::one(self.rpc_url) };
        config.chain.contracts = Some(self.deployment.clone());
        // The chain is on this machine: looking often costs nothing.
        config.chain.follower.poll_ms = 100;
        config.chain.wallet.receipt_interval_ms = 20;
        config.registration.enabled = true;
        config.registration.check_ms = 200;
        config.registration.turn_ms = 200;
        // Once the node listens, it tells what a 0 has become.
        let peer_port = port(self.args.peer_port, number)?;
        let endpoint = format!("/ip4/{}/udp/{peer_port}/quic-v1", Ipv4Addr::LOCALHOST);
        config.network.overlay.listen = vec![endpoint.parse()?];
        config.registration.endpoints = vec![endpoint];
        config
            .api_keys
            .push(crate::config::ApiKey { sha256: hex::encode(sha256(DEV_API_KEY.as_bytes())), key_file });
        Ok(config)
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// The port of a broker if the first one has `first`.
fn port(first: u16, number: u16) -> Result<u16, Failure> {
    match first {
        0 => Ok(0),
        first => first.checked_add(number - 1).ok_or_else(|| {
            Failure::usage(format!("there is no port {first} + {} for broker {number}", number - 1))
        }),
    }
}

/// Held as long as a `mainstem dev` uses its folder. Beside the folder, so that `--reset` does not remove it.
fn lock(data_dir: &Path) -> anyhow::Result<Option<File>> {
    fs::create_dir_all(data_dir).with_context(|| format!("cannot make {}", data_dir.display()))?;
    let path = data_dir.join("dev.lock");
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    lock_file(&path)
}

/// Takes the lock of a file that is there; whoever runs holds it.
fn lock_file(path: &Path) -> anyhow::Result<Option<File>> {
    let unusable = || format!("cannot lock {}", path.display());
    let file = match File::options().write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(unusable),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(Failure::io(format!(
            "a node is running with this folder (it holds {}); end it first, or name another folder with --data-dir",
            path.display()
        ))
        .into()),
        Err(TryLockError::Error(error)) => Err(error).with_context(unusable),
    }
}

/// Waits until nobody holds the lock of a file any more.
async fn freed(path: &Path) -> anyhow::Result<()> {
    let until = tokio::time::Instant::now() + FREE_WAIT;
    loop {
        match lock_file(path) {
            Err(_) if tokio::time::Instant::now() < until => tokio::time::sleep(FREE_LOOK).await,
            result => return result.map(drop),
        }
    }
}

fn greet(running: &node::Running, rpc_url: &str, profile: &Path, others: &[Profile]) {
    let mut text = format!(
        "mainstem dev is up\n\
         \n  QUIC       quic://{}  (key pin {})\
         \n  HTTP       http://{}\
         \n  WebSocket  ws://{}/ws\
         \n  chain      {rpc_url}  (chain id 31337, ten funded accounts; first: {})\
         \n  API key    {DEV_API_KEY}  (signs as the first account)\
         \n  profile    {}\n",
        running.reached.quic,
        hex::encode(running.pin),
        running.reached.http,
        running.reached.http,
        dev_accounts()[0].address,
        profile.display(),
    );
    for (at, other) in others.iter().enumerate() {
        let (quic, http) = (&other.broker, other.http.as_deref().unwrap_or_default());
        text.push_str(&format!("  broker {}   {quic}  {http}\n", at + 2));
    }
    if !others.is_empty() {
        text.push_str("\n  `mainstem network` shows how they fare, with --watch anew each second.\n");
    }
    crate::cli::say(&text);
}
