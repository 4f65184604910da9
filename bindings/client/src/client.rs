use crate::{
    ClientConfig, ClientError, Content, PublishConfig, PublishReceipt, PublishTarget, Publisher, ResendOptions,
    SubscribeOptions, Subscription,
};
use mainstem_model::{Address, Network, PartitionKey, StreamId, StreamPartition};

/// A client of one broker. Cloning is cheap; the last clone dropped closes the connection.
#[derive(Clone, Debug)]
pub struct Client {}

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
    /// A stream: by partition key; without one to a partition drawn once in the client's life.
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
    /// Connects and signs in. Later losses of the connection are mended in the background.
    ///
    /// # Errors
    /// The first connection could not be made, or the broker is not the one or of another network.
    pub async fn connect(config: ClientConfig) -> Result<Self, ClientError> {
        let _ = config;
        todo!()
    }

    /// In whose name it acts: the wallet's address, also for a session key.
    pub fn address(&self) -> Option<Address> {
        todo!()
    }

    /// The network.
    pub fn network(&self) -> &Network {
        todo!()
    }

    /// The broker's node, as it said at the last connection.
    pub fn node(&self) -> Address {
        todo!()
    }

    /// Whether it is connected.
    pub fn status(&self) -> Status {
        todo!()
    }

    /// A publisher with a new series in each partition it publishes to, batching as configured.
    ///
    /// # Errors
    /// No key to sign with; partitions out of range.
    pub fn publisher(&self, target: impl Into<PublishTarget>) -> Result<Publisher, ClientError> {
        let _ = target.into();
        todo!()
    }

    /// The same, batching in its own way.
    ///
    /// # Errors
    /// As [`Client::publisher`].
    pub fn publisher_with(
        &self,
        target: impl Into<PublishTarget>,
        config: PublishConfig,
    ) -> Result<Publisher, ClientError> {
        let _ = (target.into(), config);
        todo!()
    }

    /// Publishes one event through a publisher that the client keeps for its target.
    ///
    /// # Errors
    /// As [`Publisher::publish`]; the stream's partitions could not be looked up.
    pub async fn publish(
        &self,
        to: impl Into<PublishTo>,
        content: impl Into<Content>,
        options: PublishOptions,
    ) -> Result<PublishReceipt, ClientError> {
        let _ = (to.into(), content.into(), options);
        todo!()
    }

    /// Waits until everything handed in so far, to any publisher of this client, is acked.
    ///
    /// # Errors
    /// The first publisher's error.
    pub async fn flush(&self) -> Result<(), ClientError> {
        todo!()
    }

    /// Subscribes. Returns when the broker has taken the subscription.
    ///
    /// # Errors
    /// The broker refuses it; the partitions could not be looked up.
    pub async fn subscribe(&self, options: SubscribeOptions) -> Result<Subscription, ClientError> {
        let _ = options;
        todo!()
    }

    /// Reads a part of the past, which ends with [`Delivery::Completed`](crate::Delivery::Completed).
    ///
    /// # Errors
    /// As [`Client::subscribe`].
    pub async fn resend(&self, options: ResendOptions) -> Result<Subscription, ClientError> {
        let _ = options;
        todo!()
    }

    /// Closes the connection. What is not acked is lost: flush first.
    pub async fn close(&self) {
        todo!()
    }
}
