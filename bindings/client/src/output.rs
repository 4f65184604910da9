//! The bounded queue between a subscription's feeds and the application.

use crate::{ClientError, Delivery, EventBatch};
use mainstem_model::{Cursor, StreamPartition};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// The application has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left;

/// What a feed brings to its subscription.
#[derive(Debug)]
pub(crate) enum Item {
    Batch(EventBatch, OwnedSemaphorePermit),
    Notice(Delivery),
    CaughtUp { at: StreamPartition, cursor: Cursor },
    Ended { result: Result<Ended, ClientError> },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) events: u64,
    pub(crate) complete: bool,
}

/// The bounded queue towards the application.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    items: mpsc::UnboundedSender<Item>,
    room: Arc<Semaphore>,
    bytes_max: usize,
}

impl Output {
    pub(crate) fn new(bytes_max: usize) -> (Self, mpsc::UnboundedReceiver<Item>) {
        let (items, receiver) = mpsc::unbounded_channel();
        let bytes_max = bytes_max.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        (Self { items, room: Arc::new(Semaphore::new(bytes_max)), bytes_max }, receiver)
    }

    /// Waits for room.
    pub(crate) async fn batch(&self, batch: EventBatch) -> Result<(), Left> {
        // At most `bytes_max`, which fits 32 bits: a larger batch takes the whole queue.
        let bytes = batch.bytes().min(self.bytes_max) as u32;
        let permit = tokio::select! {
            permit = self.room.clone().acquire_many_owned(bytes) => permit.map_err(|_| Left)?,
            () = self.items.closed() => return Err(Left),
        };
        self.send(Item::Batch(batch, permit))
    }

    pub(crate) fn send(&self, item: Item) -> Result<(), Left> {
        self.items.send(item).map_err(|_| Left)
    }
}
