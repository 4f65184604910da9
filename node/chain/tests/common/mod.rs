//! Chains to test on: ours, in this process, and anvil, as a child process.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

pub mod proxy;

use mainstem_chain::{
    Deployment, NetworkRules, Rpc, RpcConfig, StreamRegistry, Wallet, WalletConfig, deploy,
};
use mainstem_crypto::SecretKey;
use mainstem_devchain::{Config, SharedDevChain, dev_accounts, serve};
use serde_json::json;
use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};
use tokio::{net::TcpListener, task::JoinHandle};

/// A chain that answers at `url` until it is dropped.
pub enum Chain {
    /// `mainstem-devchain` over HTTP.
    Dev { url: String, chain: SharedDevChain, server: JoinHandle<()> },
    /// anvil.
    Anvil { url: String, process: Child },
}

impl Chain {
    pub async fn dev() -> Self {
        Self::serve(SharedDevChain::in_memory(Config::default())).await
    }

    pub async fn serve(chain: SharedDevChain) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = chain.clone();
        let server = tokio::spawn(async move {
            serve(listener, served, std::future::pending()).await.unwrap();
        });
        Self::Dev { url, chain, server }
    }

    pub fn anvil() -> Self {
        let installed = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../contracts/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil");
        let path = std::env::var_os("MAINSTEM_ANVIL").map_or(installed, PathBuf::from);
        assert!(
            path.exists(),
            "anvil is not installed: run `npm ci --ignore-scripts` in contracts/, or let MAINSTEM_ANVIL name the binary"
        );
        let mut process = Command::new(path)
            .args(["--port", "0", "--hardfork", "cancun"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address =
            lines.find_map(|line| Some(line.unwrap().strip_prefix("Listening on ")?.to_owned())).unwrap();
        // Its output must be read, or it stops.
        std::thread::spawn(move || lines.for_each(drop));
        Self::Anvil { url: format!("http://{address}"), process }
    }

    pub fn url(&self) -> &str {
        match self {
            Self::Dev { url, .. } | Self::Anvil { url, .. } => url,
        }
    }

    pub fn rpc(&self) -> Rpc {
        Rpc::new(RpcConfig { timeout_ms: 20_000, ..RpcConfig::one(self.url()) }).unwrap()
    }

    pub fn wallet(&self, account: usize) -> Wallet {
        wallet(&self.rpc(), account)
    }

    /// Mines an empty block.
    pub async fn mine(&self) {
        self.rpc().write("evm_mine", json!([])).await.unwrap();
    }

    /// Mines an empty block of this time.
    pub async fn mine_at(&self, at_s: u64) {
        let rpc = self.rpc();
        rpc.write("evm_setNextBlockTimestamp", json!([at_s])).await.unwrap();
        rpc.write("evm_mine", json!([])).await.unwrap();
    }

    /// Drops the newest blocks.
    pub async fn reorg(&self, depth: u64) {
        self.rpc().write("mainstem_reorg", json!([{ "depth": depth }])).await.unwrap();
    }

    pub async fn deploy(&self) -> (Deployment, StreamRegistry) {
        let deployment = deploy(&self.wallet(0), &NetworkRules::default()).await.unwrap();
        let registry = StreamRegistry::new(self.rpc(), &deployment);
        (deployment, registry)
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        match self {
            Self::Dev { server, .. } => server.abort(),
            Self::Anvil { process, .. } => {
                let _ = process.kill();
                let _ = process.wait();
            }
        }
    }
}

/// One of the accounts that every development chain funds.
pub fn wallet(rpc: &Rpc, account: usize) -> Wallet {
    let key = SecretKey::from_hex(dev_accounts()[account].secret_key).unwrap();
    let config = WalletConfig { receipt_interval_ms: 5, receipt_wait_ms: 20_000, ..WalletConfig::default() };
    Wallet::new(rpc.clone(), key, config)
}

/// `SEED` from the environment, else a fixed one; printed, so that a failure can be repeated.
pub fn seed(fixed: u64) -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(fixed);
    println!("SEED={seed}");
    seed
}

pub fn metadata(partitions: u16, name: &str) -> String {
    json!({ "partitions": partitions, "name": name }).to_string()
}
