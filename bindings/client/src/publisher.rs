use crate::{
    ClientError, PublishConfig, PublishReceipt,
    connection::Hold,
    lane::{Lane, LaneHold},
    publishing::Publishing,
};
use mainstem_model::{NewEvent, Partition, PartitionKey, StreamId, StreamPartition, limits};
use std::sync::{Arc, OnceLock};

/// Where a publisher publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishTarget {
    /// One partition.
    Partition(StreamPartition),
    /// A stream with so many partitions: events go by their key, those without to one drawn when the publisher is made.
    Keyed {
        /// The stream.
        stream: StreamId,
        /// How many partitions it has, 1..=100.
        partitions: u16,
    },
}

impl From<StreamPartition> for PublishTarget {
    fn from(at: StreamPartition) -> Self {
        Self::Partition(at)
    }
}

/// Publishes events; batches them, keeps them until they are acked, sends them again after a lost connection. Cloning is cheap:
/// clones share series and buffers. Dropping the last clone sends what is left, without anybody waiting for it: flush first.
///
/// ```no_run
/// # async fn example(client: mainstem_client::Client) -> Result<(), mainstem_client::ClientError> {
/// use mainstem_model::{Address, NewEvent, Partition, StreamId};
/// let publisher = client.publisher(StreamId(Address([2; 20])).partition(Partition::ZERO))?;
/// for n in 0..1_000_u64 {
///     publisher.publish(NewEvent::binary(1_700_000_000_000, n.to_be_bytes().to_vec().into())).await?;
/// }
/// publisher.flush().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Publisher(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    stream: StreamId,
    /// One for each partition, opened when it is first published to.
    lanes: Vec<OnceLock<LaneHold>>,
    /// Number of the first of `lanes`.
    base: u16,
    /// Where events without a key go, within `lanes`.
    default: usize,
    config: PublishConfig,
    publishing: Arc<Publishing>,
    /// Keeps the connection.
    _hold: Arc<Hold>,
}

impl Publisher {
    pub(crate) fn new(
        hold: Arc<Hold>,
        publishing: Arc<Publishing>,
        target: PublishTarget,
        config: PublishConfig,
    ) -> Result<Self, ClientError> {
        let (stream, base, count) = match target {
            PublishTarget::Partition(at) => (at.stream, at.partition.number(), 1),
            PublishTarget::Keyed { stream, partitions }
                if (1..=limits::PARTITIONS_MAX).contains(&partitions) =>
            {
                (stream, 0, partitions)
            }
            PublishTarget::Keyed { partitions, .. } => {
                return Err(ClientError::argument(format!(
                    "a stream has 1 to 100 partitions, not {partitions}"
                )));
            }
        };
        let inner = Inner {
            stream,
            lanes: (0..count).map(|_| OnceLock::new()).collect(),
            base,
            default: rand::random_range(0..usize::from(count)),
            config,
            publishing,
            _hold: hold,
        };
        let publisher = Self(Arc::new(inner));
        // Whatever stands in the way shows here and not at the first event.
        publisher.lane(publisher.0.default)?;
        Ok(publisher)
    }

    fn lane(&self, index: usize) -> Result<&Arc<Lane>, ClientError> {
        let slot = &self.0.lanes[index];
        if let Some(hold) = slot.get() {
            return Ok(&hold.0);
        }
        // Below PARTITIONS_MAX.
        let partition = Partition::try_from(self.0.base + index as u16)?;
        let lane = self.0.publishing.open_lane(self.0.stream.partition(partition), self.0.config.clone())?;
        Ok(&slot.get_or_init(|| LaneHold(lane)).0)
    }

    fn lane_of(&self, key: &PartitionKey) -> Result<&Arc<Lane>, ClientError> {
        let count = self.0.lanes.len() as u16;
        self.lane(usize::from(Partition::of_key(key, count).number()))
    }

    /// Hands in an event. Waits only while the buffer is full; the receipt tells when and as what it was acked, and may be
    /// dropped.
    ///
    /// Cancel safe: dropped while it waits, the event was not taken.
    ///
    /// # Errors
    /// The event is too large; an earlier event of this publisher was refused for good.
    pub async fn publish(&self, event: NewEvent) -> Result<PublishReceipt, ClientError> {
        let lane = self.lane(self.0.default)?;
        match lane.offer(event)? {
            Ok(receipt) => Ok(receipt),
            Err(event) => lane.room(event).await,
        }
    }

    /// The same, to the partition of a key. A publisher of one partition has all keys there.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub async fn publish_keyed(
        &self,
        event: NewEvent,
        key: &PartitionKey,
    ) -> Result<PublishReceipt, ClientError> {
        let lane = self.lane_of(key)?;
        match lane.offer(event)? {
            Ok(receipt) => Ok(receipt),
            Err(event) => lane.room(event).await,
        }
    }

    /// Hands in an event if there is room now; gives it back if not.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub fn try_publish(&self, event: NewEvent) -> Result<Result<PublishReceipt, NewEvent>, ClientError> {
        self.lane(self.0.default)?.offer(event)
    }

    /// Waits until everything handed in so far is acked. What waits for company goes at once.
    ///
    /// # Errors
    /// An event was refused for good, also one whose receipt was dropped. If it was refused for its timestamp alone, this
    /// is told once and the publisher goes on.
    pub async fn flush(&self) -> Result<(), ClientError> {
        for lane in self.0.lanes.iter().filter_map(OnceLock::get) {
            lane.0.flush().await?;
        }
        Ok(())
    }

    /// How it batches.
    pub fn config(&self) -> &PublishConfig {
        &self.0.config
    }
}
