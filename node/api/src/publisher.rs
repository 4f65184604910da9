//! Publishing in the name of the node's own identities: light clients send plain content and an API key, the node signs.
//!
//! One clerk (a task with one session) for each identity; it keeps a series for each partition it publishes to and has one
//! batch of each on its way: while that one travels the next one fills, so nothing waits when idle and a busy partition
//! gets large batches.

mod clerk;
mod config;
mod identities;
mod lane;

pub use config::PublisherConfig;
pub use identities::{Identities, IdentityError};

use crate::{NodeHandle, Workers};
use clerk::{Clerk, Job};
use mainstem_model::{Ack, Address, BatchError, BatchId, Code, NewEvent, Refusal, StreamPartition, limits};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::{mpsc, oneshot};

/// What became of published events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The batch they travelled in; events of other requests may be in it too.
    pub batch: BatchId,
    /// Place of the first of them in the batch; the others follow it.
    pub first_index: u16,
    /// What holds: at least what was asked for.
    pub ack: Ack,
    /// The broker had the batch before. It does not happen unless the node lost an answer.
    pub duplicate: bool,
}

/// Signs and publishes for clients that have an API key instead of a key of their own.
#[derive(Debug)]
pub struct NodePublisher {
    handle: NodeHandle,
    workers: Workers,
    identities: Identities,
    config: PublisherConfig,
    clerks: Mutex<BTreeMap<Address, Post>>,
}

/// The way to one clerk.
#[derive(Clone, Debug)]
struct Post {
    jobs: mpsc::UnboundedSender<Job>,
    queue: Arc<Queue>,
}

/// What waits at one clerk; what is in batches on their way counts too.
#[derive(Debug, Default)]
struct Queue {
    events: AtomicUsize,
    bytes: AtomicUsize,
}

/// Room taken in a clerk's queue; given back when dropped.
#[derive(Debug)]
struct Room {
    queue: Arc<Queue>,
    events: usize,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.queue.events.fetch_sub(self.events, Ordering::Relaxed);
        self.queue.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Events that were taken and are on their way.
///
/// Dropping it does not take them back.
#[derive(Debug)]
pub struct Submitted(oneshot::Receiver<Result<Published, Refusal>>);

impl Submitted {
    /// Waits for the ack.
    ///
    /// # Errors
    /// What the broker refused; `SHUTTING_DOWN` when it cannot be known whether the events were taken.
    pub async fn wait(mut self) -> Result<Published, Refusal> {
        self.answer().await
    }

    /// The same. Cancel safe: awaiting it again goes on waiting.
    pub(crate) async fn answer(&mut self) -> Result<Published, Refusal> {
        (&mut self.0).await.unwrap_or_else(|_| Err(unknown_outcome()))
    }
}

impl NodePublisher {
    /// A publisher for these identities. Tasks start with the first publish, so this needs no runtime.
    pub fn new(
        handle: NodeHandle,
        workers: Workers,
        identities: Identities,
        config: PublisherConfig,
    ) -> Self {
        Self { handle, workers, identities, config, clerks: Mutex::default() }
    }

    /// Whose keys it has.
    pub const fn identities(&self) -> &Identities {
        &self.identities
    }

    /// Its bounds.
    pub const fn config(&self) -> &PublisherConfig {
        &self.config
    }

    /// Publishes events and waits for their ack. They stay together, in their order, in one batch.
    ///
    /// Not cancel safe in the sense that dropping the future does not take the events back.
    ///
    /// # Errors
    /// `UNKNOWN_API_KEY` for an identity that is not this node's, `OVERLOADED` when too much waits already, what the format or
    /// the broker refuses.
    pub async fn publish(
        &self,
        identity: Address,
        at: StreamPartition,
        events: Vec<NewEvent>,
        ack: impl Into<Ack>,
    ) -> Result<Published, Refusal> {
        self.submit(identity, at, events, ack)?.wait().await
    }

    /// The first half of [`NodePublisher::publish`]: takes the events, in the order of the calls. Needs a tokio runtime.
    ///
    /// # Errors
    /// As there, but for what only the broker can tell.
    pub fn submit(
        &self,
        identity: Address,
        at: StreamPartition,
        events: Vec<NewEvent>,
        ack: impl Into<Ack>,
    ) -> Result<Submitted, Refusal> {
        check(&events)?;
        let post = self.post(identity)?;
        let room = self.take_room(&post.queue, &events)?;
        let (reply, answer) = oneshot::channel();
        let ack = ack.into();
        post.jobs.send(Job { at, events, ack, reply, room }).map_err(|_| unknown_outcome())?;
        Ok(Submitted(answer))
    }

    /// The way to the identity's clerk, who is put to work when there is none.
    fn post(&self, identity: Address) -> Result<Post, Refusal> {
        let mut clerks = self.clerks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(post) = clerks.get(&identity).filter(|post| !post.jobs.is_closed()) {
            return Ok(post.clone());
        }
        let signer = self.identities.signer(identity).ok_or_else(|| {
            Refusal::new(Code::UnknownApiKey, format!("this node has no key of {identity} to sign with"))
        })?;
        let (jobs, inbox) = mpsc::unbounded_channel();
        let clerk = Clerk::new(self.handle.clone(), self.workers.clone(), signer, self.config.clone());
        tokio::spawn(clerk.run(inbox));
        let post = Post { jobs, queue: Arc::default() };
        clerks.insert(identity, post.clone());
        Ok(post)
    }

    fn take_room(&self, queue: &Arc<Queue>, events: &[NewEvent]) -> Result<Room, Refusal> {
        let bytes = events.iter().map(|event| event.content.len()).sum();
        let room = Room { queue: queue.clone(), events: events.len(), bytes };
        let waiting = (
            queue.events.fetch_add(room.events, Ordering::Relaxed),
            queue.bytes.fetch_add(room.bytes, Ordering::Relaxed),
        );
        // Who comes alone always finds room.
        let full = waiting.0 > 0
            && (waiting.0 + room.events > self.config.queue_events_max
                || waiting.1 + room.bytes > self.config.queue_bytes_max);
        if full {
            return Err(Refusal::new(
                Code::Overloaded,
                "too much of this identity waits to be published; try again in a moment",
            ));
        }
        Ok(room)
    }
}

/// What the format would refuse of these events alone, so that it does not spoil a batch for others.
fn check(events: &[NewEvent]) -> Result<(), Refusal> {
    if events.is_empty() || events.len() > limits::EVENTS_PER_BATCH_MAX {
        return Err(BatchError::EventCount(events.len()).into());
    }
    for (index, event) in events.iter().enumerate() {
        let bytes = event.content.len();
        if bytes > limits::CONTENT_BYTES_MAX {
            return Err(BatchError::ContentTooLarge { index, bytes }.into());
        }
    }
    Ok(())
}

fn unknown_outcome() -> Refusal {
    Refusal::new(
        Code::ShuttingDown,
        "the node is shutting down; it is not known whether the events were taken",
    )
}
