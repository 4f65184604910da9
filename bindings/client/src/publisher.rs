use crate::{ClientError, PublishConfig};
use mainstem_model::{AckLevel, BatchId, NewEvent, PartitionKey, SeriesId, StreamId, StreamPartition};
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

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
/// clones share series and buffers.
#[derive(Clone, Debug)]
pub struct Publisher {}

impl Publisher {
    /// Hands in an event. Waits only while the buffer is full; the receipt tells when and as what it was acked, and may be
    /// dropped.
    ///
    /// # Errors
    /// The event is too large; an earlier event of this publisher was refused for good.
    pub async fn publish(&self, event: NewEvent) -> Result<PublishReceipt, ClientError> {
        let _ = event;
        todo!()
    }

    /// The same, to the partition of a key.
    ///
    /// # Errors
    /// As [`Publisher::publish`]; the publisher is of one partition.
    pub async fn publish_keyed(&self, event: NewEvent, key: &PartitionKey) -> Result<PublishReceipt, ClientError> {
        let _ = (event, key);
        todo!()
    }

    /// Hands in an event if there is room now; gives it back if not.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub fn try_publish(&self, event: NewEvent) -> Result<Result<PublishReceipt, NewEvent>, ClientError> {
        let _ = event;
        todo!()
    }

    /// Waits until everything handed in so far is acked.
    ///
    /// # Errors
    /// An event was refused for good, also one whose receipt was dropped.
    pub async fn flush(&self) -> Result<(), ClientError> {
        todo!()
    }

    /// How it batches.
    pub fn config(&self) -> &PublishConfig {
        todo!()
    }
}

/// What became of an event: a future that may be dropped.
#[derive(Clone, Debug)]
pub struct PublishReceipt {}

/// An acked event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Where.
    pub stream_partition: StreamPartition,
    /// The series.
    pub series: SeriesId,
    /// Its number in the series.
    pub sequence: u64,
    /// The batch it went in.
    pub batch: BatchId,
    /// What holds now.
    pub level: AckLevel,
}

impl Future for PublishReceipt {
    type Output = Result<Published, ClientError>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        todo!()
    }
}
