use super::{
    ALL, CLOSED, NETWORK, NODE, OPEN,
    driver::{Command, Driver},
    key,
};
use mainstem_api::{
    HttpConfig, Identities, NodeHandle, NodeInfo, NodePublisher, PublisherConfig, QuicConfig, QuicListener,
    SessionConfig, TlsIdentity, Workers, WorkersConfig, http, new_key_pem,
};
use mainstem_model::{Ack, Address, Network, Registry, RegistryChange, StreamId, StreamRecord, Verifier};
use mainstem_protocol::{Config, ServerMessage};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, RwLock},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot, watch},
};

/// What is done to a message before it goes out.
pub type Hook = Box<dyn FnMut(ServerMessage) -> Vec<ServerMessage> + Send>;

#[derive(Default)]
pub struct Setup {
    pub node: Config,
    pub quic: QuicConfig,
    pub session: SessionConfig,
    /// Else the tests' own.
    pub network: Option<Network>,
}

/// A broker that listens on loopback.
pub struct Broker {
    pub address: SocketAddr,
    pub http: SocketAddr,
    pub pin: [u8; 32],
    hook: Arc<Mutex<Option<Hook>>>,
    asked: Arc<Mutex<Vec<Ack>>>,
    commands: mpsc::UnboundedSender<Command>,
    _stop: watch::Sender<bool>,
}

impl Broker {
    pub async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub async fn with(setup: Setup) -> Self {
        let (inbox, inputs) = mpsc::channel(4096);
        let (commands, commanded) = mpsc::unbounded_channel();
        let registry = Arc::new(RwLock::new(Registry::default()));
        let network = setup.network.unwrap_or(NETWORK);
        let verifier = Arc::new(Verifier::new(network));
        let handle = NodeHandle::new(inbox, registry.clone(), verifier, NODE);
        let hook = Arc::new(Mutex::new(None));
        let asked = Arc::<Mutex<Vec<Ack>>>::default();
        let mut driver = Driver::new(setup.node, registry, hook.clone(), asked.clone());
        let alice = key(1).address();
        for change in [
            RegistryChange::Stream(record(OPEN, 4)),
            RegistryChange::Grant(OPEN, Address::ZERO, ALL),
            RegistryChange::Stream(record(CLOSED, 1)),
            RegistryChange::Grant(CLOSED, alice, ALL),
        ] {
            driver.apply(change);
        }
        tokio::spawn(driver.run(inputs, commanded));
        let workers = Workers::start(&WorkersConfig::default()).unwrap();
        let identity = TlsIdentity::self_signed_by(&new_key_pem().unwrap()).unwrap();
        let quic = QuicConfig { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..setup.quic };
        let listener =
            QuicListener::bind(quic, setup.session, &identity, handle.clone(), workers.clone()).unwrap();
        let address = listener.address();
        tokio::spawn(listener.serve(std::future::pending()));
        let publisher = Arc::new(NodePublisher::new(
            handle.clone(),
            workers.clone(),
            Identities::new(),
            PublisherConfig::default(),
        ));
        let config = HttpConfig::default();
        let info = NodeInfo { version: "test".into(), ..NodeInfo::default() };
        let router = http::router(handle, config.clone(), info, workers, publisher);
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http_address = tcp.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(async move { http::serve(tcp, router, &config, stopped, Duration::from_secs(1)).await });
        Self { address, http: http_address, pin: identity.pin(), hook, asked, commands, _stop: stop }
    }

    pub fn quic(&self) -> mainstem_client::Broker {
        let broker: mainstem_client::Broker = format!("quic://{}", self.address).parse().unwrap();
        broker.pinned(mainstem_client::Pin(self.pin)).of_node(NODE)
    }

    pub fn web_socket(&self) -> mainstem_client::Broker {
        format!("ws://{}", self.http).parse().unwrap()
    }

    /// From now on, what the broker says passes through this.
    pub fn tamper(&self, hook: impl FnMut(ServerMessage) -> Vec<ServerMessage> + Send + 'static) {
        *self.hook.lock().unwrap() = Some(Box::new(hook));
    }

    /// What publishers have asked for so far.
    pub fn asked(&self) -> Vec<Ack> {
        self.asked.lock().unwrap().clone()
    }

    pub fn be_honest(&self) {
        *self.hook.lock().unwrap() = None;
    }

    pub fn apply(&self, change: RegistryChange) {
        self.commands.send(Command::Apply(change)).unwrap();
    }

    /// The process dies and comes again, without the last batches that it had taken in.
    pub async fn crash(&self, lost: usize) {
        let (done, wait) = oneshot::channel();
        self.commands.send(Command::Crash { lost, done }).unwrap();
        wait.await.unwrap();
    }

    /// Takes nothing in until told so; gives how many batches are stored.
    pub async fn stored(&self) -> usize {
        let (done, wait) = oneshot::channel();
        self.commands.send(Command::Count(done)).unwrap();
        wait.await.unwrap()
    }

    /// Sets the broker's clock ahead of ours.
    pub fn set_ahead(&self, ahead_ms: i64) {
        self.commands.send(Command::Clock(ahead_ms)).unwrap();
    }

    pub fn pause(&self, paused: bool) {
        self.commands.send(Command::Pause(paused)).unwrap();
    }
}

pub fn record(id: StreamId, partitions: u16) -> StreamRecord {
    StreamRecord {
        id,
        owner: key(1).address(),
        metadata: "{}".into(),
        partitions,
        storage_days: None,
        path: None,
        key_epoch: 0,
        created_at: 0,
    }
}
