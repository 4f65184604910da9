//! Brokers as processes of their own that can be killed, stopped and started again.

use crate::process::{Node, OWNER, free_ports};
use mainstem_chain::{Follower, FollowerConfig, NetworkView, Rpc, RpcConfig};
use mainstem_client::{Client, ClientConfig, PublishConfig, ResendRange};
use mainstem_crypto::{Address, SecretKey};
use mainstem_model::{Ack, AckLevel, StreamPartition};
use serde_json::Value;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// How long anything may take on a machine that does other things too.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// `mainstem dev` with several brokers; broker 1 has the chain. All are killed when it is dropped.
pub(crate) struct Brokers {
    pub(crate) dev: Node,
    folder: PathBuf,
    _temporary: TempDir,
    /// Processes beside the first one, by their numbers from 2 on.
    others: Vec<Process>,
}

struct Process {
    /// `None` when it was killed.
    pid: Option<u32>,
    /// What this test has started; `mainstem dev` has the rest.
    own: Option<(Child, ChildStdin)>,
}

impl Brokers {
    /// So many, with epochs of so many seconds.
    pub(crate) fn start(count: u16, epoch_seconds: u32) -> Self {
        Self::start_with(count, epoch_seconds, "")
    }

    /// With a configuration. The folder and its logs stay if the environment has KEEP.
    pub(crate) fn start_with(count: u16, epoch_seconds: u32, configuration: &str) -> Self {
        let mut temporary = tempfile::tempdir().unwrap();
        let folder = &temporary.path().to_owned();
        if std::env::var_os("KEEP").is_some() {
            temporary.disable_cleanup(true);
            println!("kept: {}", folder.display());
        }
        let log = File::create(folder.join("dev.log")).unwrap();
        let ports = free_ports(2 * count);
        let mut command = Node::command(folder, ports);
        command.args(["--peer-port", &(ports + count).to_string()]);
        command.stderr(log);
        let file = folder.join("given.toml");
        fs::write(&file, configuration).unwrap();
        command.arg("--config").arg(&file);
        command.args(["--epoch-seconds", &epoch_seconds.to_string(), "--brokers", &count.to_string()]);
        let dev = Node::started(command, folder);
        let pid = |number| {
            let text = fs::read_to_string(folder.join(format!("dev/broker-{number}/pid"))).unwrap();
            Process { pid: Some(text.trim().parse().unwrap()), own: None }
        };
        Self {
            dev,
            folder: folder.join("dev"),
            _temporary: temporary,
            others: (2..=count).map(pid).collect(),
        }
    }

    pub(crate) fn numbers(&self) -> std::ops::RangeInclusive<u16> {
        1..=self.others.len() as u16 + 1
    }

    /// Where a broker has its data.
    pub(crate) fn folder(&self, number: u16) -> PathBuf {
        if number == 1 { self.folder.clone() } else { self.folder.join(format!("broker-{number}")) }
    }

    /// What a broker says of itself since it serves.
    pub(crate) fn profile(&self, number: u16) -> Value {
        serde_json::from_slice(&fs::read(self.folder(number).join("connection.json")).unwrap()).unwrap()
    }

    /// A broker's address.
    pub(crate) fn address(&self, number: u16) -> Address {
        self.profile(number)["node"].as_str().unwrap().parse().unwrap()
    }

    /// What the chain says of the brokers now.
    pub(crate) async fn view(&self) -> Arc<NetworkView> {
        let rpc = Rpc::new(RpcConfig::one(self.dev.rpc())).unwrap();
        let mut follower = Follower::new(rpc, FollowerConfig::default(), &self.dev.deployment()).unwrap();
        while !follower.step().await.unwrap().synced {}
        follower.network().unwrap().clone()
    }

    /// The numbers of the brokers that a partition is assigned to.
    pub(crate) async fn owners(&self, at: StreamPartition) -> Vec<u16> {
        let owners = self.view().await.assignment.brokers_of(at);
        self.numbers().filter(|number| owners.contains(&self.address(*number))).collect()
    }

    /// The port at which other brokers reach this one.
    pub(crate) async fn peer_port(&self, number: u16) -> u16 {
        let view = self.view().await;
        view.endpoints[&self.address(number)][0].split('/').nth(4).unwrap().parse().unwrap()
    }

    /// For a client that waits until every event is durable at two brokers, and soon sees that its broker has died.
    pub(crate) fn config(&self, number: u16) -> ClientConfig {
        let mut config = self.dev.config_of(&self.profile(number), OWNER);
        config.publish =
            PublishConfig { ack: Ack::new(AckLevel::Durable, 2), batch_events_max: 8, ..config.publish };
        config.transport.idle = Duration::from_secs(3);
        config.transport.keep_alive = Duration::from_secs(1);
        config.transport.connect_timeout = Duration::from_secs(3);
        config.transport.request_timeout = Duration::from_secs(10);
        config
    }

    pub(crate) async fn client(&self, number: u16) -> Client {
        Client::connect(self.config(number)).await.unwrap()
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub(crate) fn kill(&mut self, number: u16) {
        let lock = File::open(self.folder(number).join("store/lock")).unwrap();
        let process = self.process(number);
        signal(process.pid.unwrap(), "KILL");
        if let Some((mut child, _)) = process.own.take() {
            child.wait().unwrap();
        }
        // From here on the number may be another's.
        process.pid = None;
        // Held as long as the process lives.
        await_sync("the end of a killed broker", || lock.try_lock().is_ok());
    }

    /// Starts it again, and returns at once.
    pub(crate) fn start_again(&mut self, number: u16) {
        let folder = self.folder(number);
        // It is written anew as soon as the broker serves.
        fs::remove_file(folder.join("connection.json")).unwrap();
        let started = spawn(&folder);
        let process = self.process(number);
        process.pid = Some(started.0.id());
        process.own = Some(started);
    }

    /// Waits until a broker that was started serves.
    pub(crate) async fn serves(&self, number: u16) {
        let file = self.folder(number).join("connection.json");
        await_until("a broker that serves", || fs::read(&file).is_ok_and(|text| !text.is_empty())).await;
    }

    /// Stops it where it stands.
    pub(crate) fn pause(&mut self, number: u16) {
        signal(self.process(number).pid.unwrap(), "STOP");
    }

    /// Lets it go on.
    pub(crate) fn resume(&mut self, number: u16) {
        signal(self.process(number).pid.unwrap(), "CONT");
    }

    fn process(&mut self, number: u16) -> &mut Process {
        &mut self.others[usize::from(number) - 2]
    }

    /// Writes the configuration of another broker, as `mainstem dev` would have; gives the key that it will have.
    pub(crate) fn configure(&self, number: u16) -> SecretKey {
        let (old, folder) = (self.folder(number - 1), self.folder(number));
        fs::create_dir_all(&folder).unwrap();
        let mut config: toml::Table = fs::read_to_string(old.join("mainstem.toml")).unwrap().parse().unwrap();
        config["data_dir"] = folder.to_str().unwrap().into();
        config["quic"]["listen"] = format!("127.0.0.1:{}", free_ports(1)).into();
        let endpoint = vec![format!("/ip4/127.0.0.1/udp/{}/quic-v1", free_ports(1))];
        config["network"]["overlay"]["listen"] = endpoint.clone().into();
        config["registration"]["endpoints"] = endpoint.into();
        fs::write(folder.join("mainstem.toml"), config.to_string()).unwrap();
        let key = [number as u8; 32];
        fs::write(folder.join("node.key"), format!("{:02x}", number).repeat(32)).unwrap();
        SecretKey::from_bytes(&key).unwrap()
    }

    /// A broker whose configuration is there is started as one of them.
    pub(crate) fn take(&mut self, number: u16) {
        assert_eq!(usize::from(number), self.others.len() + 2);
        let own = spawn(&self.folder(number));
        self.others.push(Process { pid: Some(own.0.id()), own: Some(own) });
    }

    /// Ends all of them in disorder.
    pub(crate) fn kill_all(&mut self) {
        for number in self.numbers().skip(1) {
            self.kill(number);
        }
        self.dev.kill();
    }

    /// A figure that a broker shows to Prometheus; `None` while it does not answer.
    pub(crate) async fn figure(&self, number: u16, name: &str) -> Option<u64> {
        let text = tokio::time::timeout(Duration::from_secs(2), self.metrics(number)).await.ok()??;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.trim().parse().ok()
    }

    async fn metrics(&self, number: u16) -> Option<String> {
        let file = fs::read(self.folder(number).join("connection.json")).ok()?;
        let profile: Value = serde_json::from_slice(&file).ok()?;
        let host = profile["http"].as_str()?.strip_prefix("http://")?;
        let mut socket = TcpStream::connect(host).await.ok()?;
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.ok()?;
        let mut text = String::new();
        socket.read_to_string(&mut text).await.ok()?;
        Some(text)
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        // IMPORTANT: also those that are stopped: they would not see the end of their input.
        for process in &mut self.others {
            match (&mut process.own, process.pid) {
                (Some((child, _)), _) => drop((child.kill(), child.wait())),
                // Once the first one is gone the number may be another's.
                (None, Some(pid)) if self.dev.is_running() => signal(pid, "KILL"),
                (None, _) => {}
            }
        }
    }
}

fn spawn(folder: &Path) -> (Child, ChildStdin) {
    let log = File::options().create(true).append(true).open(folder.join("broker.log")).unwrap();
    let mut child = Node::program()
        .arg("--data-dir")
        .arg(folder)
        .args(["node", "--end-with-stdin", "--config"])
        .arg(folder.join("mainstem.toml"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let pipe = child.stdin.take().unwrap();
    (child, pipe)
}

fn signal(pid: u32, name: &str) {
    // It may have ended by itself.
    drop(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).stderr(Stdio::null()).status());
}

/// Waits until something is so; looks often, for what other processes do wakes nobody here.
pub(crate) async fn await_until(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < DEADLINE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn await_sync(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < DEADLINE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until a broker sees a stream that was made elsewhere.
pub(crate) async fn sees(client: &Client, at: StreamPartition) {
    let begun = Instant::now();
    loop {
        match crate::reader::history(client, at, ResendRange::Last(1)).await {
            Ok(_) => return,
            Err(error) => assert!(begun.elapsed() < DEADLINE, "the stream is not seen: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
