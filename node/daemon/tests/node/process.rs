use mainstem_chain::{Deployment, RpcConfig, WalletConfig};
use mainstem_client::{Broker, ChainConfig, Client, ClientConfig, Identity, PublishConfig, StreamDefinition};
use mainstem_crypto::SecretKey;
use mainstem_model::{Partition, Right, StreamPartition};
use serde_json::Value;
use std::{
    fs,
    net::UdpSocket,
    path::Path,
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// The first two accounts of the well-known test mnemonic; `mainstem dev` funds them.
pub(crate) const OWNER: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
pub(crate) const READER: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";

/// A `mainstem dev` on free ports, killed when dropped.
pub(crate) struct Node {
    child: Child,
    profile: Value,
}

impl Node {
    pub(crate) fn start(folder: &Path) -> Self {
        Self::start_on(folder, 0)
    }

    /// With a QUIC port of its own choice, so that clients find it again after a restart.
    pub(crate) fn start_on(folder: &Path, quic_port: u16) -> Self {
        Self::start_with(folder, quic_port, &[])
    }

    /// With variables in its environment.
    pub(crate) fn start_with(folder: &Path, quic_port: u16, variables: &[(&str, &Path)]) -> Self {
        Self::start_configured(folder, quic_port, None, variables)
    }

    /// As [`Node::start_with`], with a configuration.
    pub(crate) fn start_configured(
        folder: &Path,
        quic_port: u16,
        config: Option<&Path>,
        variables: &[(&str, &Path)],
    ) -> Self {
        let mut command = Self::command(folder, quic_port);
        command.envs(variables.iter().copied());
        if let Some(config) = config {
            command.arg("--config").arg(config);
        }
        Self::started(command, folder)
    }

    /// So many brokers, with epochs of a second.
    pub(crate) fn start_network(folder: &Path, brokers: u16) -> Self {
        let mut command = Self::command(folder, 0);
        command.args(["--epoch-seconds", "1", "--brokers", &brokers.to_string()]);
        Self::started(command, folder)
    }

    pub(crate) fn program() -> Command {
        // MAINSTEM_BIN: another build of the program, for long runs beside which this one may be built anew.
        Command::new(
            std::env::var_os("MAINSTEM_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_mainstem").into()),
        )
    }

    /// What starts it.
    pub(crate) fn command(folder: &Path, quic_port: u16) -> Command {
        let mut command = Self::program();
        command
            .arg("--data-dir")
            .arg(folder)
            .args(["dev", "--http-port", "0", "--rpc-port", "0", "--quic-port", &quic_port.to_string()])
            .stdout(Stdio::null());
        command
    }

    /// Runs the command until the node is up.
    pub(crate) fn started(mut command: Command, folder: &Path) -> Self {
        let file = folder.join("dev/connection.json");
        drop(fs::remove_file(&file));
        let child = command.spawn().unwrap();
        let mut node = Self { child, profile: Value::Null };
        let begun = Instant::now();
        while !file.exists() {
            assert!(node.child.try_wait().unwrap().is_none(), "the node ended");
            assert!(begun.elapsed() < Duration::from_secs(60), "the node did not come up");
            std::thread::sleep(Duration::from_millis(10));
        }
        node.profile = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        node
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// How it ended, once it has.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Its standard error, if that is a pipe.
    pub(crate) fn stderr(&mut self) -> ChildStderr {
        self.child.stderr.take().unwrap()
    }

    /// Where the chain is.
    pub(crate) fn rpc(&self) -> &str {
        self.profile["rpc"].as_str().unwrap()
    }

    pub(crate) fn deployment(&self) -> Deployment {
        serde_json::from_value(self.profile["deployment"].clone()).unwrap()
    }

    /// Where HTTP is.
    pub(crate) fn http(&self) -> &str {
        self.profile["http"].as_str().unwrap()
    }

    pub(crate) fn config(&self, key: &str) -> ClientConfig {
        self.config_of(&self.profile, key)
    }

    /// For another broker of its network.
    pub(crate) fn config_of(&self, profile: &Value, key: &str) -> ClientConfig {
        let deployment = self.deployment();
        let mut broker: Broker = profile["broker"].as_str().unwrap().parse().unwrap();
        broker.pin = Some(profile["pin"].as_str().unwrap().parse().unwrap());
        let mut config = ClientConfig::new(broker, deployment.network());
        config.identity = Identity::Wallet(SecretKey::from_hex(key).unwrap());
        config.chain = Some(ChainConfig {
            rpc: RpcConfig::one(self.profile["rpc"].as_str().unwrap()),
            wallet: WalletConfig { receipt_interval_ms: 20, ..WalletConfig::default() },
            from_block: deployment.block,
        });
        config.reconnect.first = Duration::from_millis(20);
        config.reconnect.max = Duration::from_millis(200);
        config
    }

    pub(crate) async fn client(&self, key: &str) -> Client {
        self.client_with(key, PublishConfig::default()).await
    }

    /// A client of another broker of its network.
    pub(crate) async fn client_of(&self, profile: &Value, key: &str) -> Client {
        Client::connect(self.config_of(profile, key)).await.unwrap()
    }

    pub(crate) async fn client_with(&self, key: &str, publish: PublishConfig) -> Client {
        Client::connect(ClientConfig { publish, ..self.config(key) }).await.unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A new stream of one partition that everyone may read.
pub(crate) async fn public_stream(client: &Client) -> StreamPartition {
    let stream = StreamDefinition::default().grant(None, &[Right::Subscribe]);
    client.create_stream(stream).await.unwrap().id.partition(Partition::ZERO)
}

/// The first of so many UDP ports in a row that nobody uses. IMPORTANT: none that the system gives to who asks for any: somebody
/// else would have it when a node that was killed starts again.
pub(crate) fn free_ports(count: u16) -> u16 {
    loop {
        let first = rand::random_range(10_000..30_000);
        if (first..first + count).all(|port| UdpSocket::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
}

/// The wall clock, milliseconds.
pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}
