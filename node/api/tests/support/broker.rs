use super::{ALL, NETWORK, NODE, PRIVATE, STREAM, driver::Driver};
use mainstem_api::{
    Input, NodeHandle, QuicConfig, QuicListener, SessionConfig, TlsIdentity, Workers, WorkersConfig,
    new_key_pem,
};
use mainstem_model::{Address, Registry, RegistryChange, StreamId, StreamRecord, Verifier};
use mainstem_protocol::{Config, InEvent};
use std::{
    net::SocketAddr,
    sync::{
        Arc, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

/// A broker that listens on loopback.
pub struct Broker {
    pub address: SocketAddr,
    pub pin: [u8; 32],
    pub handle: NodeHandle,
    pub workers: Workers,
    /// Sessions that the driver knows of.
    pub sessions: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    pub served: JoinHandle<()>,
}

impl Broker {
    pub fn start() -> Self {
        Self::with(QuicConfig::default(), SessionConfig::default(), Config::default())
    }

    pub fn with(quic: QuicConfig, session: SessionConfig, node: Config) -> Self {
        let (handle, sessions) = start_node(node);
        let workers = Workers::start(&WorkersConfig::default()).unwrap();
        let identity = TlsIdentity::self_signed_by(&new_key_pem().unwrap()).unwrap();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = QuicConfig { listen, ..quic };
        let listener =
            QuicListener::bind(config, session, &identity, handle.clone(), workers.clone()).unwrap();
        let address = listener.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(listener.serve(async move {
            let _ = stopped.await;
        }));
        Self { address, pin: identity.pin(), handle, workers, sessions, stop: Some(stop), served }
    }

    pub fn stop(&mut self) {
        drop(self.stop.take());
    }
}

/// The state machine over a store in memory, and the way in. Sessions are counted on the way.
pub fn start_node(config: Config) -> (NodeHandle, Arc<AtomicUsize>) {
    let (inbox, mut counted) = mpsc::channel(4096);
    let (forward, inputs) = mpsc::channel(4096);
    let registry = Arc::new(RwLock::new(Registry::default()));
    let handle = NodeHandle::new(inbox, registry.clone(), Arc::new(Verifier::new(NETWORK)), NODE);
    let mut driver = Driver::new(config, registry);
    driver.apply(RegistryChange::Stream(record(STREAM)));
    driver.apply(RegistryChange::Grant(STREAM, Address::ZERO, ALL));
    driver.apply(RegistryChange::Stream(record(PRIVATE)));
    tokio::spawn(driver.run(inputs));
    let sessions = Arc::new(AtomicUsize::new(0));
    let count = sessions.clone();
    tokio::spawn(async move {
        while let Some(input) = counted.recv().await {
            match &input {
                Input::Open { .. } => {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Input::Event(InEvent::SessionClosed { .. }) => {
                    count.fetch_sub(1, Ordering::Relaxed);
                }
                Input::Event(_) | Input::Manage(_) | Input::Network(_) => {}
            }
            if forward.send(input).await.is_err() {
                return;
            }
        }
    });
    (handle, sessions)
}

fn record(id: StreamId) -> StreamRecord {
    StreamRecord {
        id,
        owner: Address([8; 20]),
        metadata: "{}".into(),
        partitions: 1,
        storage_days: None,
        path: None,
        key_epoch: 0,
        created_at: 0,
    }
}
