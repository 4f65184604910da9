//! Wiring: configuration in, a running node out.

use crate::{
    broker::Broker,
    chain_seen::ChainSeen,
    config::{ChainConfig, Config},
    driver::{Driver, Internal, Stopped},
    interrupts::Interrupts,
    metrics::Metrics,
    network::{Network, Show},
    operator::Operator,
    peer::{NetworkConfig, Peers},
    peers_seen::{self, PeersSeen},
    plugins::{ChainReads, Plugins},
    reader::Reader,
    retention, store,
};
use anyhow::{Context, bail};
use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::get};
use mainstem_api::{
    Identities, NodeHandle, NodeInfo, NodePublisher, QuicListener, TlsIdentity, Workers, http, write_secret,
};
use mainstem_chain::{ChainError, Deployment, Follower, NetworkView, Rpc};
use mainstem_crypto::{Address, SecretKey};
use mainstem_model::{Registry, RegistryChange, SignatureScheme, Verifier};
use mainstem_protocol::{Counters, Node};
use mainstem_store::{EventLog, Writer};
use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::{Arc, RwLock},
    time::{Duration, Instant},
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
};

/// Inputs of all listeners on their way to the driver. With more, listeners wait.
const INPUTS_MAX: usize = 4096;
/// How long open connections may take to end at a shutdown.
const DRAIN: Duration = Duration::from_secs(5);

/// A node at work.
#[derive(Debug)]
pub(crate) struct Running {
    /// Where programs on this machine reach it, `host:port`.
    pub(crate) reached: Reached,
    /// SHA-256 of the QUIC key, which clients pin.
    pub(crate) pin: [u8; 32],
    /// The node's own address, which clients may insist on.
    pub(crate) node: Address,
    /// The network of brokers.
    pub(crate) network: Network,
    stop: watch::Sender<bool>,
    listeners: Vec<JoinHandle<()>>,
    helpers: Vec<JoinHandle<()>>,
    driver: JoinHandle<Stopped>,
    log: Arc<dyn EventLog>,
}

/// Starts a node. `deployment` names the network's contracts.
///
/// # Errors
/// A port is taken, a file cannot be used, the store cannot be opened, the chain does not answer or is another one.
pub(crate) async fn start(config: Config, deployment: Deployment) -> anyhow::Result<Running> {
    fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("cannot make the folder {}", config.data_dir.display()))?;
    let key = node_key(&config.data_dir.join("node.key"))?;
    let tls = match &config.tls {
        Some(files) => TlsIdentity::from_files(&files.certificate, &files.key)?,
        None => TlsIdentity::self_signed(&config.data_dir.join("quic-key.pem"))?,
    };
    let (identities, keys) = identities(&config)?;
    let rpc = Rpc::new(config.chain.rpc.clone())?;
    let plugins = load_plugins(&config, &rpc).await?;
    let log = open_store(&config, &plugins).await?;

    // The view of the chain first: without it every request would be refused.
    let mut follower = Follower::new(rpc.clone(), config.chain.follower.clone(), &deployment)?;
    let poll = Duration::from_millis(config.chain.follower.poll_ms.max(1));
    let (changes, head, first_network) = first_view(&mut follower, poll).await?;

    let network = deployment.network();
    let registry = Arc::new(RwLock::new(Registry::default()));
    let (inbox, inputs) = mpsc::channel(INPUTS_MAX);
    let (tell, internal) = mpsc::unbounded_channel();
    let (manage, managed) = mpsc::channel(config.manage.waiting_max.max(1));
    let (counters, counted) = watch::channel(Counters::default());
    let (view, viewed) = watch::channel(0);
    let (seen, chain) = watch::channel(ChainSeen::new(head, Instant::now()));
    let verifier =
        plugins.schemes().fold(Verifier::new(network), |verifier, scheme| verifier.with(Arc::new(scheme)));
    let handle = NodeHandle::new(inbox, registry.clone(), Arc::new(verifier), key.address())
        .with_publish_window(config.broker.publish_window_bytes);
    let of_plugins = plugins.schemes().map(|scheme| scheme.signature_type());
    let mut workers = config.workers.clone();
    workers.plugin_threads = workers.plugin_threads().min(config.plugins.instances_max);
    let workers = Workers::with_plugins(&workers, of_plugins).context("no threads for proving batches")?;
    let (show, network, wanted) = Show::new(key.address(), config.network.view(key.address()));
    if let Some(first) = &first_network {
        show.show(first);
    }
    let (tell_peers, peers_seen) = watch::channel(PeersSeen::default());
    let keeping = peers_seen::keep(key.address(), wanted.clone(), counted.clone(), tell_peers);
    // One that is no broker of any network opens no port for others.
    let peers = if config.registration.enabled || wanted.borrow().is_some() {
        let verifier = handle.verifier().clone();
        Some(Peers::start(&config.network, &key, verifier, workers.clone(), wanted).await?)
    } else {
        None
    };
    let mut metrics = Metrics::new(counted.clone(), chain.clone());
    let mut registration = config.registration.clone();
    if let Some(peers) = &peers {
        metrics.add_peers(peers.counted());
        if registration.enabled {
            registration.endpoints = peers.with_ports(&registration.endpoints)?;
            registration.check()?;
        }
    }

    metrics.add_plugins(plugins.clone());

    let completions = tell.clone();
    let report = move |done| drop(completions.send(Internal::Completed(done)));
    let node = Node::new(config.broker.clone(), log.log_id()).named(key.address());
    let driver = Driver {
        node: if log.partitions()?.is_empty() { node.over_empty_log() } else { node },
        writer: Writer::spawn(log.clone(), config.writer.clone(), report)
            .context("no thread for the store")?,
        reader: Reader::spawn(&config.reader, log.clone(), tell.clone())
            .context("no threads for reading the store")?,
        inputs,
        internal,
        registry: registry.clone(),
        view,
        manage,
        counters,
        sessions: HashMap::new(),
        out: Vec::new(),
        peers,
        seen: None,
    };
    let removed = retention::Removed::default();
    removed.note(&changes);
    drop(tell.send(Internal::Chain(changes, Some(head))));
    let driver = tokio::spawn(driver.run());

    let operator = Operator::new(
        &rpc,
        &deployment,
        &keys,
        &config.chain.wallet,
        config.manage.running_max,
        viewed.clone(),
    );
    let mut helpers = vec![
        tokio::spawn(follow(follower, poll, tell, (seen, show), removed.clone())),
        tokio::spawn(operator.run(managed)),
        tokio::spawn(keeping),
        tokio::spawn(retention::run(config.retention.clone(), log.clone(), registry, removed)),
    ];
    if config.registration.enabled {
        let how = (registration, config.chain.wallet.clone());
        let broker = Broker::new(&rpc, &deployment, key.clone(), how, network.clone(), viewed);
        helpers.push(tokio::spawn(broker.run()));
    }

    let publisher =
        Arc::new(NodePublisher::new(handle.clone(), workers.clone(), identities, config.publisher.clone()));
    let (stop, stopped) = watch::channel(false);
    let quic = QuicListener::bind(
        config.quic.clone(),
        config.session.clone(),
        &tls,
        handle.clone(),
        workers.clone(),
    )?;
    let quic_address = quic.address();
    let tcp = TcpListener::bind(config.http_listen)
        .await
        .with_context(|| format!("cannot listen on {} (TCP)", config.http_listen))?;
    let http_address = tcp.local_addr()?;
    let name = config.public_name.as_deref();
    let info = info(&config, quic_address, http_address, tls.pin());
    let mut http_config = config.http.clone();
    http_config.hosts.push(host_of(http_address.ip()));
    http_config.hosts.extend(name.map(bracketed));
    if name.is_none() && (quic_address.ip().is_unspecified() || http_address.ip().is_unspecified()) {
        tracing::warn!(
            "no public_name: others are not told where this node is, and HTTP answers to local names only"
        );
    }
    let routes = http::router(handle, http_config.clone(), info, workers, publisher).merge(own_routes(
        metrics,
        counted,
        (chain, config.chain.clone()),
        (peers_seen, config.network.clone()),
        plugins,
    ));
    let mut quic_stopped = stopped.clone();
    let listeners = vec![
        tokio::spawn(quic.serve(async move { drop(quic_stopped.wait_for(|stop| *stop).await) })),
        tokio::spawn(async move { http::serve(tcp, routes, &http_config, stopped, DRAIN).await }),
    ];
    tracing::info!(quic = %quic_address, http = %http_address, node = %key.address(), "the node is up");
    Ok(Running {
        reached: Reached {
            quic: told(name, quic_address).unwrap_or_else(|| local(quic_address)),
            http: told(name, http_address).unwrap_or_else(|| local(http_address)),
        },
        pin: tls.pin(),
        node: key.address(),
        network,
        stop,
        listeners,
        helpers,
        driver,
        log,
    })
}

impl Running {
    /// Serves until `stop` or until the store fails; then ends in order: listeners, what they had on its way, the store.
    /// `stop` tells how many of the `interrupts` it has heard; one more cuts the waiting for listeners short.
    ///
    /// # Errors
    /// The store failed, or one more came.
    pub(crate) async fn until(
        mut self,
        stop: impl Future<Output = u32>,
        interrupts: &Interrupts,
    ) -> anyhow::Result<()> {
        let (heard, failed) = tokio::select! {
            heard = stop => (heard, None),
            stopped = &mut self.driver => (0, Some(stopped)),
        };
        tracing::info!("shutting down");
        self.stop.send_replace(true);
        let (listeners, helpers) = (self.listeners, self.helpers);
        // They drain at the same time; each has a bound of its own.
        let drained = async {
            for listener in listeners {
                drop(listener.await);
            }
        };
        tokio::select! {
            () = drained => {}
            () = interrupts.heard(heard + 1) => {
                // What was acked is in the journal; whoever is still connected is cut off.
                bail!("a second signal: the node ends without waiting for its connections");
            }
        }
        for helper in helpers {
            helper.abort();
        }
        let stopped = match failed {
            Some(stopped) => stopped,
            // The last handles go with the listeners' tasks; what hangs on one does not hold up the end.
            None => match tokio::time::timeout(DRAIN, &mut self.driver).await {
                Ok(stopped) => stopped,
                Err(_) => {
                    self.driver.abort();
                    Ok(Stopped::Closed)
                }
            },
        };
        let log = self.log;
        match stopped {
            Ok(Stopped::StoreFailed(why)) => {
                bail!("the store failed: {why}; check the disk and start the node again")
            }
            Ok(Stopped::Closed) => {
                tokio::task::spawn_blocking(move || log.sync()).await?.context("the last fsync failed")
            }
            Err(error) => bail!("the driver ended: {error}"),
        }
    }
}

/// The node's own key, made at the first start.
pub(crate) fn node_key(path: &Path) -> anyhow::Result<SecretKey> {
    match fs::read_to_string(path) {
        Ok(text) => SecretKey::from_hex(&text).with_context(|| format!("{} holds no key", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = random_key();
            write_secret(path, &hex::encode(key.to_bytes().as_slice()))
                .with_context(|| format!("cannot write {}", path.display()))?;
            Ok(key)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// A new secret key from the system's randomness.
pub(crate) fn random_key() -> SecretKey {
    loop {
        // All but one in 2^128 random numbers are keys.
        if let Ok(key) = SecretKey::from_bytes(&rand::random()) {
            return key;
        }
    }
}

fn identities(config: &Config) -> anyhow::Result<(Identities, Vec<SecretKey>)> {
    let (mut identities, mut keys) = (Identities::new(), Vec::new());
    for entry in &config.api_keys {
        let path = &entry.key_file;
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let key = SecretKey::from_hex(&text).with_context(|| format!("{} holds no key", path.display()))?;
        let address = identities.add(key.clone());
        identities.allow(&entry.sha256, address).context("in api_keys")?;
        keys.push(key);
    }
    Ok((identities, keys))
}

/// Compiling takes a processor for a while, so not on a thread that others wait on.
async fn load_plugins(config: &Config, rpc: &Rpc) -> anyhow::Result<Plugins> {
    let (bounds, folder) = (config.plugins.clone(), config.plugins_dir());
    let chain = ChainReads::new(rpc.clone(), &bounds);
    let files = config.data_dir.join(crate::plugins::FILES);
    tokio::task::spawn_blocking(move || Plugins::load(&bounds, &folder, Some(chain), Some(&files))).await?
}

async fn open_store(config: &Config, plugins: &Plugins) -> anyhow::Result<Arc<dyn EventLog>> {
    let (config, plugins) = (config.clone(), plugins.clone());
    tokio::task::spawn_blocking(move || store::open(&config, &plugins)).await?
}

/// Follows the chain from the beginning to its head.
async fn first_view(
    follower: &mut Follower,
    poll: Duration,
) -> anyhow::Result<(Vec<RegistryChange>, u64, Option<Arc<NetworkView>>)> {
    let mut changes = Vec::new();
    loop {
        let step = follower.step().await.context("the chain cannot be followed")?;
        changes.extend(step.changes);
        if step.synced {
            return Ok((changes, step.head.map_or(0, |head| head.number), step.network));
        }
        if step.waiting {
            tracing::warn!("the chain's head is below the block of the contracts; waiting for it");
            tokio::time::sleep(poll).await;
        }
    }
}

/// Goes on following; a chain that does not answer is asked again.
async fn follow(
    mut follower: Follower,
    poll: Duration,
    tell: mpsc::UnboundedSender<Internal>,
    (seen, shown): (watch::Sender<ChainSeen>, Show),
    removed: retention::Removed,
) {
    let mut silent: Option<ChainError> = None;
    loop {
        tokio::time::sleep(poll).await;
        match follower.step().await {
            Ok(step) => {
                if silent.take().is_some() {
                    tracing::info!("the chain answers again");
                }
                removed.note(&step.changes);
                // IMPORTANT: before the block's number is shown: who waits for a block looks at the network next.
                if let Some(changed) = &step.network {
                    shown.show(changed);
                }
                let head = step.head.map(|head| head.number);
                let mut moved = false;
                seen.send_modify(|seen| moved = seen.hear(head, Instant::now()));
                // IMPORTANT: the number goes with the changes, so that none is taken for shown before the other.
                let news = moved || !step.changes.is_empty();
                if news && tell.send(Internal::Chain(step.changes, head)).is_err() {
                    return;
                }
            }
            Err(error) => {
                if silent.is_none() {
                    tracing::warn!(%error, "the chain does not answer; streams and rights stay as they were");
                }
                silent = Some(error);
            }
        }
    }
}

/// Where a node is reached, `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    /// QUIC.
    pub(crate) quic: String,
    /// HTTP and WebSocket.
    pub(crate) http: String,
}

/// What others are told: the public name, else the address that is listened on, unless it is "any", which leads nowhere.
fn told(name: Option<&str>, listens: SocketAddr) -> Option<String> {
    match name {
        Some(name) => Some(format!("{}:{}", bracketed(name), listens.port())),
        None if listens.ip().is_unspecified() => None,
        None => Some(listens.to_string()),
    }
}

/// What leads to a listener on any address from this machine.
fn local(listens: SocketAddr) -> String {
    let ip: IpAddr = match listens {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, listens.port()).to_string()
}

/// A host as it stands in URLs and in `Host`.
fn bracketed(name: &str) -> String {
    name.parse().map_or_else(|_| name.to_owned(), host_of)
}

fn host_of(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

fn info(config: &Config, quic: SocketAddr, http: SocketAddr, pin: [u8; 32]) -> NodeInfo {
    NodeInfo {
        version: env!("CARGO_PKG_VERSION").into(),
        broker: config.broker.clone(),
        quic: told(config.public_name.as_deref(), quic),
        websocket: told(config.public_name.as_deref(), http).map(|http| format!("ws://{http}/ws")),
        certificate_sha256: Some(hex::encode(pin)),
        session: config.session.clone(),
        sockets: config.websocket.clone(),
        listener_limits: BTreeMap::from([
            ("quic_connections_max".into(), config.quic.connections_max as u64),
            ("quic_connections_per_address_max".into(), config.quic.connections_per_address_max as u64),
        ]),
    }
}

/// For who runs the node: not part of the API, and not behind its checks of `Host` and `Origin`.
fn own_routes(
    metrics: Metrics,
    counters: watch::Receiver<Counters>,
    (chain, chain_bounds): (watch::Receiver<ChainSeen>, ChainConfig),
    (peers, peer_bounds): (watch::Receiver<PeersSeen>, NetworkConfig),
    plugins: Plugins,
) -> Router {
    let metrics = Arc::new(metrics);
    Router::new()
        .route(
            "/metrics",
            get(move || {
                let text = metrics.text();
                async move {
                    ([("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
                }
            }),
        )
        .route("/plugins", get(move || std::future::ready(Json(plugins.seen()))))
        .route(
            "/healthz",
            get(move || {
                // The sender lives in the driver: without it nothing is taken in any more.
                let alive = counters.has_changed().is_ok();
                let trouble = if alive {
                    let (chain, peers, now) = (*chain.borrow(), *peers.borrow(), Instant::now());
                    // One is enough to act on; rights that may be old are the worse of them.
                    chain.trouble(&chain_bounds, now).or_else(|| peers.trouble(&peer_bounds, now))
                } else {
                    Some("the store has failed".to_owned())
                };
                async move {
                    match trouble {
                        None => (StatusCode::OK, "ok\n".to_owned()).into_response(),
                        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
                    }
                }
            }),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_told_where_the_node_is_and_never_any_address() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        for (name, listens, expected) in [
            (None, "0.0.0.0:7172", None),
            (None, "[::]:7172", None),
            (None, "192.0.2.1:7172", Some("192.0.2.1:7172")),
            (None, "[2001:db8::1]:7172", Some("[2001:db8::1]:7172")),
            (Some("broker.example"), "0.0.0.0:7172", Some("broker.example:7172")),
            (Some("2001:db8::1"), "[::]:1", Some("[2001:db8::1]:1")),
            (Some("[2001:db8::1]"), "[::]:1", Some("[2001:db8::1]:1")),
        ] {
            assert_eq!(told(name, address(listens)).as_deref(), expected, "{name:?} {listens}");
        }
        assert_eq!(local(address("0.0.0.0:1")), "127.0.0.1:1");
        assert_eq!(local(address("[::]:1")), "[::1]:1");
        assert_eq!(host_of("::1".parse().unwrap()), "[::1]");
    }
}
