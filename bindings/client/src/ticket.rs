use crate::ClientError;
use mainstem_model::{Ack, BatchId, SeriesId, StreamPartition};
use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, Waker},
};

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
    /// What holds now: at least what was asked for.
    pub ack: Ack,
}

/// What became of a batch: shared by the receipts of its events.
#[derive(Debug, Default)]
pub(crate) struct Ticket {
    /// What its first event became.
    outcome: OnceLock<Result<Published, ClientError>>,
    wakers: Mutex<Vec<Waker>>,
}

impl Ticket {
    fn wakers(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first outcome stays.
    pub(crate) fn resolve(&self, outcome: Result<Published, ClientError>) {
        if self.outcome.set(outcome).is_ok() {
            for waker in std::mem::take(&mut *self.wakers()) {
                waker.wake();
            }
        }
    }
}

/// What becomes of an event: resolves at its ack, or when it is refused for good. May be dropped: then an error comes out of a
/// later `publish` or `flush`.
#[derive(Debug)]
pub struct PublishReceipt {
    ticket: Arc<Ticket>,
    index: u16,
    /// Where this receipt's waker is among the ticket's.
    slot: Option<usize>,
}

impl PublishReceipt {
    pub(crate) const fn new(ticket: Arc<Ticket>, index: u16) -> Self {
        Self { ticket, index, slot: None }
    }

    /// What became of it, if that is known.
    pub fn outcome(&self) -> Option<Result<Published, ClientError>> {
        let outcome = self.ticket.outcome.get()?;
        Some(
            outcome
                .clone()
                .map(|first| Published { sequence: first.sequence + u64::from(self.index), ..first }),
        )
    }
}

impl Clone for PublishReceipt {
    fn clone(&self) -> Self {
        Self::new(self.ticket.clone(), self.index)
    }
}

impl Future for PublishReceipt {
    type Output = Result<Published, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(outcome) = self.outcome() {
            return Poll::Ready(outcome);
        }
        let ticket = self.ticket.clone();
        let mut wakers = ticket.wakers();
        match self.slot.and_then(|slot| wakers.get_mut(slot)) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => {
                self.slot = Some(wakers.len());
                wakers.push(cx.waker().clone());
            }
        }
        // IMPORTANT: looked at again under the lock, behind which `resolve` takes the wakers.
        match self.outcome() {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        }
    }
}
