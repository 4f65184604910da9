//! `mainstem dev`: a chain, the contracts, a broker and funded keys, in one process.

use crate::{
    cli::{failure::Failure, profile::Profile},
    config::Config,
    node,
};
use anyhow::Context;
use mainstem_chain::{Deployment, NetworkRules, Rpc, RpcConfig, Wallet, WalletConfig, deploy};
use mainstem_crypto::{SecretKey, sha256};
use mainstem_devchain::{SharedDevChain, dev_accounts};
use std::{
    fs::{self, File, TryLockError},
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};
use tokio::{net::TcpListener, sync::watch};

/// The API key that `mainstem dev` knows; it stands for the first funded account.
pub(crate) const DEV_API_KEY: &str = "dev";

/// Options of `mainstem dev`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DevArgs {
    /// Port of QUIC (UDP); 0 lets the system choose
    #[arg(long, default_value_t = 7172)]
    pub(crate) quic_port: u16,
    /// Port of HTTP and WebSocket (TCP)
    #[arg(long, default_value_t = 7171)]
    pub(crate) http_port: u16,
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
    let data_dir = data_dir.join("dev");
    if args.reset && data_dir.exists() {
        let _store = lock_file(&data_dir.join("store").join("lock"))?;
        fs::remove_dir_all(&data_dir).with_context(|| format!("cannot remove {}", data_dir.display()))?;
    }
    fs::create_dir_all(&data_dir).with_context(|| format!("cannot make {}", data_dir.display()))?;
    let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));

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
    let deployment = contracts(&rpc_url, &data_dir.join("contracts.json")).await?;

    let key_file = data_dir.join("account-0.key");
    if !key_file.exists() {
        mainstem_api::write_secret(&key_file, dev_accounts()[0].secret_key)?;
    }
    let mut config = args.config.as_deref().map_or_else(|| Ok(Config::default()), Config::load)?;
    config.data_dir = data_dir.clone();
    config.quic.listen = loopback(args.quic_port);
    config.http_listen = loopback(args.http_port);
    config.chain.rpc = RpcConfig { chain_id: Some(deployment.chain_id), ..RpcConfig::one(&rpc_url) };
    // The chain is in this process: looking often costs nothing.
    config.chain.follower.poll_ms = 100;
    config.chain.wallet.receipt_interval_ms = 20;
    config
        .api_keys
        .push(crate::config::ApiKey { sha256: hex::encode(sha256(DEV_API_KEY.as_bytes())), key_file });

    let running = node::start(config, deployment.clone()).await?;
    let profile = Profile {
        broker: format!("quic://{}", running.reached.quic),
        pin: Some(hex::encode(running.pin)),
        node: Some(running.node.to_string()),
        rpc: Some(rpc_url.clone()),
        deployment,
        http: Some(format!("http://{}", running.reached.http)),
        websocket: Some(format!("ws://{}/ws", running.reached.http)),
        private_key: Some(dev_accounts()[0].secret_key.to_owned()),
    };
    let profile_file = data_dir.join("connection.json");
    profile.save(&profile_file)?;
    greet(&running, &rpc_url, &profile_file);
    let ended = running.until(interrupted(), interrupted()).await;
    stop_chain.send_replace(true);
    drop(serving.await);
    ended
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

/// The contracts of this chain, deployed at the first start.
async fn contracts(rpc_url: &str, file: &Path) -> anyhow::Result<Deployment> {
    let rpc = Rpc::new(RpcConfig::one(rpc_url))?;
    if let Ok(text) = fs::read_to_string(file) {
        let deployment: Deployment = serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged; start with --reset", file.display()))?;
        if !rpc.code(deployment.stream_registry).await?.is_empty() {
            return Ok(deployment);
        }
    }
    let key = SecretKey::from_hex(dev_accounts()[0].secret_key)?;
    let wallet = Wallet::new(rpc, key, WalletConfig { receipt_interval_ms: 10, ..WalletConfig::default() });
    let deployment = deploy(&wallet, &NetworkRules::default()).await?;
    fs::write(file, serde_json::to_vec_pretty(&deployment)?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(deployment)
}

fn greet(running: &node::Running, rpc_url: &str, profile: &Path) {
    crate::cli::say(&format!(
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
    ));
}

/// Returns at ctrl-c or SIGTERM.
pub(crate) async fn interrupted() {
    #[cfg(unix)]
    {
        let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        else {
            return drop(tokio::signal::ctrl_c().await);
        };
        tokio::select! {
            interrupt = tokio::signal::ctrl_c() => drop(interrupt),
            _ = terminate.recv() => {}
        }
    }
    #[cfg(not(unix))]
    drop(tokio::signal::ctrl_c().await);
}
