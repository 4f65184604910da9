use crate::{
    ClientConfig, ClientError, Content, ErrorKind, Identity, Partitions, PublishConfig, PublishReceipt,
    PublishTarget, Publisher, ResendOptions, SubscribeOptions, Subscription,
    chain::Chain,
    connection::{Core, Hold, Link},
    encryption::Keyring,
    publishing::Publishing,
    session,
    workers::Workers,
};
use mainstem_model::{Address, Network, Partition, PartitionKey, Signer, StreamId, StreamPartition, limits};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};
use tokio::runtime::Handle;

/// A client of one broker. Cloning is cheap; the connection is closed when the last clone, publisher and subscription is
/// dropped.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    hold: Arc<Hold>,
    address: Option<Address>,
    kept: Mutex<Kept>,
}

/// What the client remembers for [`Client::publish`].
#[derive(Debug, Default)]
struct Kept {
    partitions: HashMap<StreamId, u16>,
    publishers: HashMap<StreamId, Publisher>,
    single: HashMap<StreamPartition, Publisher>,
    /// The greatest timestamp given so far: the clock may be set back, a series' time must not go back.
    latest: i64,
}

/// Whether a client is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Signed in and working.
    Connected,
    /// The connection was lost; a new one is being made.
    Connecting,
    /// Closed for good, and why.
    Closed(ClientError),
}

/// Where [`Client::publish`] publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishTo {
    /// One partition.
    Partition(StreamPartition),
    /// A stream: by partition key; without one to a partition drawn once in the client's life. How many partitions the
    /// stream has is asked of the chain once.
    Stream(StreamId),
}

impl From<StreamPartition> for PublishTo {
    fn from(at: StreamPartition) -> Self {
        Self::Partition(at)
    }
}

impl From<StreamId> for PublishTo {
    fn from(stream: StreamId) -> Self {
        Self::Stream(stream)
    }
}

/// Options of [`Client::publish`].
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PublishOptions {
    /// Milliseconds since 1970; else now.
    pub timestamp: Option<i64>,
    /// What the event is filed under when its stream has several partitions.
    pub partition_key: Option<PartitionKey>,
}

impl Client {
    /// Connects and signs in. Later losses of the connection are mended in the background, on this runtime.
    ///
    /// # Errors
    /// The first connection could not be made, or the broker is not the one or of another network.
    pub async fn connect(config: ClientConfig) -> Result<Self, ClientError> {
        let signer = match &config.identity {
            Identity::None => None,
            Identity::Wallet(key) => Some(Signer::wallet(key.clone())),
            Identity::Session { key, delegation } => {
                Some(Signer::session(&config.network, key.clone(), delegation)?)
            }
            Identity::Scheme(signer) => Some(Signer::scheme(signer.clone())),
        };
        let address = signer.as_ref().and_then(|signer| signer.origin().address());
        let threads = |error| ClientError::new(ErrorKind::Unknown, format!("no threads: {error}"));
        let provers = match config.verify_threads {
            0 => std::thread::available_parallelism().map_or(2, |count| count.get().min(4)),
            count => count,
        };
        let publishing = Arc::new(Publishing::new(
            config.network,
            signer,
            Arc::new(Keyring::new(&config.encryption)?),
            config.publish.window_bytes,
            Workers::start("mainstem-seal", 1).map_err(threads)?,
            Handle::current(),
        ));
        let provers = Workers::start("mainstem-prove", provers).map_err(threads)?;
        let chain = config.chain.as_ref().map(|chain| Chain::new(&config, chain)).transpose()?;
        let running = session::open(&config, &publishing).await?;
        let core = Arc::new(Core::new(config, publishing, provers, chain));
        core.begin(&running);
        tokio::spawn(core.clone().supervise(running));
        Ok(Self(Arc::new(Inner { hold: Arc::new(Hold(core)), address, kept: Mutex::default() })))
    }

    fn core(&self) -> &Core {
        &self.0.hold.0
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn chain(&self) -> Result<&Chain, ClientError> {
        self.core().chain.as_ref().ok_or_else(|| {
            ClientError::new(ErrorKind::NotConfigured, "this takes a chain: set `chain` in the configuration")
        })
    }

    /// In whose name it acts: the wallet's address, also for a session key.
    pub fn address(&self) -> Option<Address> {
        self.0.address
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.core().config.network
    }

    /// The broker's node, as it said at the last connection.
    pub fn node(&self) -> Address {
        self.core().node()
    }

    /// Whether it is connected.
    pub fn status(&self) -> Status {
        match self.core().link() {
            Link::Up(session) if !session.is_gone() => Status::Connected,
            Link::Up(_) | Link::Connecting => Status::Connecting,
            Link::Closed(error) => Status::Closed(error),
        }
    }

    /// A publisher with a new series in each partition it publishes to, batching as configured.
    ///
    /// # Errors
    /// No key to sign with; partitions out of range; the client is closed.
    pub fn publisher(&self, target: impl Into<PublishTarget>) -> Result<Publisher, ClientError> {
        self.publisher_with(target, self.core().config.publish.clone())
    }

    /// The same, batching in its own way. The window is the client's: `window_bytes` is not looked at.
    ///
    /// # Errors
    /// As [`Client::publisher`].
    pub fn publisher_with(
        &self,
        target: impl Into<PublishTarget>,
        config: PublishConfig,
    ) -> Result<Publisher, ClientError> {
        Publisher::new(self.0.hold.clone(), self.core().publishing.clone(), target.into(), config)
    }

    /// Publishes one event through a publisher that the client keeps for its target. Await the receipt for the ack.
    ///
    /// # Errors
    /// As [`Publisher::publish`]; the stream's partitions could not be looked up. A publisher whose events were refused is
    /// not used again, unless its series was frozen as equivocal: then nothing more is published there in silence.
    pub async fn publish(
        &self,
        to: impl Into<PublishTo>,
        content: impl Into<Content>,
        options: PublishOptions,
    ) -> Result<PublishReceipt, ClientError> {
        let to = to.into();
        let publisher = self.kept_publisher(to).await?;
        let timestamp = options.timestamp.unwrap_or_else(|| self.now_ms());
        let event = content.into().into_event(timestamp);
        let published = match &options.partition_key {
            Some(key) => publisher.publish_keyed(event, key).await,
            None => publisher.publish(event).await,
        };
        if let Err(error) = &published
            && !matches!(error.kind, ErrorKind::Equivocation | ErrorKind::TooLarge)
        {
            self.forget_publisher(to);
        }
        published
    }

    async fn kept_publisher(&self, to: PublishTo) -> Result<Publisher, ClientError> {
        match to {
            PublishTo::Partition(at) => {
                let mut kept = self.kept();
                if let Some(publisher) = kept.single.get(&at) {
                    return Ok(publisher.clone());
                }
                let publisher = self.publisher(at)?;
                kept.single.insert(at, publisher.clone());
                Ok(publisher)
            }
            PublishTo::Stream(stream) => {
                if let Some(publisher) = self.kept().publishers.get(&stream) {
                    return Ok(publisher.clone());
                }
                let partitions = self.partitions(stream).await?;
                let mut kept = self.kept();
                if let Some(publisher) = kept.publishers.get(&stream) {
                    return Ok(publisher.clone());
                }
                let publisher = self.publisher(PublishTarget::Keyed { stream, partitions })?;
                kept.publishers.insert(stream, publisher.clone());
                Ok(publisher)
            }
        }
    }

    fn forget_publisher(&self, to: PublishTo) {
        let mut kept = self.kept();
        match to {
            PublishTo::Partition(at) => drop(kept.single.remove(&at)),
            PublishTo::Stream(stream) => drop(kept.publishers.remove(&stream)),
        }
    }

    /// How many partitions a stream has, asked of the chain once.
    async fn partitions(&self, stream: StreamId) -> Result<u16, ClientError> {
        if let Some(partitions) = self.kept().partitions.get(&stream) {
            return Ok(*partitions);
        }
        let partitions = self.get_stream(stream).await?.partitions.clamp(1, limits::PARTITIONS_MAX);
        self.kept().partitions.insert(stream, partitions);
        Ok(partitions)
    }

    pub(crate) fn forget_partitions(&self, stream: StreamId) {
        let mut kept = self.kept();
        kept.partitions.remove(&stream);
        kept.publishers.remove(&stream);
    }

    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        let mut kept = self.kept();
        kept.latest = kept.latest.max(now);
        kept.latest
    }

    /// Waits until everything handed in so far, to any publisher of this client, is acked.
    ///
    /// # Errors
    /// The first publisher's error.
    pub async fn flush(&self) -> Result<(), ClientError> {
        for lane in self.core().publishing.lanes() {
            lane.flush().await?;
        }
        Ok(())
    }

    /// Subscribes. Returns when the broker has taken the subscription: whatever it takes in from then on comes.
    ///
    /// # Errors
    /// The broker refuses it; the partitions could not be looked up.
    pub async fn subscribe(&self, options: SubscribeOptions) -> Result<Subscription, ClientError> {
        if options.check_publishers {
            self.chain()?;
        }
        let partitions = self.resolve(options.partitions).await?;
        if partitions.len() > 1 && matches!(options.start, crate::Start::Cursor(_)) {
            return Err(ClientError::argument(
                "a cursor is of one partition; give the cursors of several as Start::Cursors",
            ));
        }
        let asks = partitions.into_iter().map(|at| options.start.ask(at, options.origin)).collect();
        Subscription::begin(self.0.hold.clone(), asks, options.check_publishers).await
    }

    /// Reads a part of the past, which ends with [`Delivery::Completed`](crate::Delivery::Completed).
    ///
    /// # Errors
    /// As [`Client::subscribe`].
    pub async fn resend(&self, options: ResendOptions) -> Result<Subscription, ClientError> {
        let partitions = self.resolve(options.partitions).await?;
        if partitions.len() > 1 && matches!(options.range, crate::ResendRange::Cursor(_)) {
            return Err(ClientError::argument("a cursor is of one partition; resend each by itself"));
        }
        let asks = partitions.into_iter().map(|at| options.range.ask(at, options.origin)).collect();
        Subscription::begin(self.0.hold.clone(), asks, false).await
    }

    async fn resolve(&self, partitions: Partitions) -> Result<Vec<StreamPartition>, ClientError> {
        match partitions {
            Partitions::One(at) => Ok(vec![at]),
            Partitions::Some(mut all) => {
                all.sort_unstable();
                all.dedup();
                if all.is_empty() {
                    return Err(ClientError::argument("there is no partition to read"));
                }
                Ok(all)
            }
            Partitions::All(stream) => {
                let count = self.partitions(stream).await?;
                (0..count).map(|n| Ok(stream.partition(Partition::try_from(n)?))).collect()
            }
        }
    }

    /// Drops the connection and makes a new one, as after a change of networks. Nothing is lost or doubled by it.
    pub fn reconnect(&self) {
        if let Link::Up(session) = self.core().link() {
            session.fail(ClientError::disconnected("the application asked for a new connection"));
        }
    }

    /// Closes the connection and waits until the broker knows, for `close_timeout` at most. What is not acked fails with `ClientClosed`: flush first.
    pub async fn close(&self) {
        self.core().close();
        self.core().closed().await;
    }
}
