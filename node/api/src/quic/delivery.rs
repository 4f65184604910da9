use crate::{
    NodeHandle,
    frame::{ServerFrame, put_front},
    session::{Asked, Outgoing},
};
use bytes::{Bytes, BytesMut};
use mainstem_model::{Code, Refusal};
use mainstem_protocol::{InEvent, ServerMessage, SessionId, SubscriptionId};
use quinn::{Connection, SendStream, WriteError};
use std::collections::BTreeMap;
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};

/// The streams of one session's subscriptions.
#[derive(Debug)]
pub(super) struct Deliveries {
    connection: Connection,
    session: SessionId,
    handle: NodeHandle,
    open: BTreeMap<SubscriptionId, Open>,
    tasks: JoinSet<()>,
    ended_max: usize,
}

#[derive(Debug)]
struct Open {
    queue: mpsc::UnboundedSender<ServerFrame>,
    task: AbortHandle,
}

impl Deliveries {
    pub(super) fn new(
        connection: Connection,
        session: SessionId,
        handle: NodeHandle,
        ended_max: usize,
    ) -> Self {
        Self { connection, session, handle, open: BTreeMap::new(), tasks: JoinSet::new(), ended_max }
    }

    /// Takes what belongs to a subscription; gives back what belongs to the session stream.
    pub(super) fn route(&mut self, outgoing: Outgoing) -> Option<ServerFrame> {
        match &outgoing.frame {
            ServerFrame::Message(ServerMessage::Subscribed { subscription, .. }) => self.begin(*subscription),
            ServerFrame::Message(
                ServerMessage::Deliver { subscription, .. } | ServerMessage::CaughtUp { subscription, .. },
            ) => {
                // What comes for one that was ended meanwhile is not wanted any more.
                if let Some(open) = self.open.get(subscription) {
                    let _ = open.queue.send(outgoing.frame);
                }
                return None;
            }
            ServerFrame::Message(ServerMessage::Ended { subscription, .. }) => {
                // The task goes on until the client has taken everything.
                if let Some(open) = self.open.remove(subscription) {
                    let _ = open.queue.send(outgoing.frame);
                }
                return None;
            }
            ServerFrame::Message(ServerMessage::Unsubscribed { .. }) => {
                if let Some(Asked::Unsubscribe(subscription)) = outgoing.answers
                    && let Some(open) = self.open.remove(&subscription)
                {
                    open.task.abort();
                    // What the task held is dropped with it; the broker counts it until it is told.
                    let (session, handle) = (self.session, self.handle.clone());
                    tokio::spawn(async move { dropped(&handle, session, subscription).await });
                }
            }
            ServerFrame::Message(
                ServerMessage::SignedIn { .. } | ServerMessage::Ack { .. } | ServerMessage::Refused { .. },
            )
            | ServerFrame::Hello(_)
            | ServerFrame::Pong { .. }
            | ServerFrame::Published { .. } => {}
        }
        Some(outgoing.frame)
    }

    /// Whether the client reads its ended subscriptions to their end.
    pub(super) fn check(&mut self) -> Result<(), Refusal> {
        while self.tasks.try_join_next().is_some() {}
        if self.tasks.len() > self.open.len() + self.ended_max {
            return Err(Refusal::new(
                Code::LimitReached,
                format!("{} ended subscriptions were not read to their end", self.ended_max),
            ));
        }
        Ok(())
    }

    fn begin(&mut self, subscription: SubscriptionId) {
        let (queue, frames) = mpsc::unbounded_channel();
        let delivery = Delivery {
            session: self.session,
            subscription,
            handle: self.handle.clone(),
            frames,
            gathered: Gathered::default(),
        };
        let task = self.tasks.spawn(delivery.run(self.connection.clone()));
        self.open.insert(subscription, Open { queue, task });
    }
}

/// One subscription's stream. The broker bounds what waits here; it is told what went out.
#[derive(Debug)]
struct Delivery {
    session: SessionId,
    subscription: SubscriptionId,
    handle: NodeHandle,
    frames: mpsc::UnboundedReceiver<ServerFrame>,
    gathered: Gathered,
}

/// Frames taken from the queue at once.
const FRAMES_MAX: usize = 128;
/// Bytes written at once: few wake-ups, and still news for the broker often enough.
const GATHERED_BYTES_MAX: usize = 256 << 10;

impl Delivery {
    async fn run(mut self, connection: Connection) {
        if self.deliver(connection).await.is_err() {
            self.frames.close();
            dropped(&self.handle, self.session, self.subscription).await;
        }
    }

    /// Tells the client until the subscription has ended.
    ///
    /// # Errors
    /// The client does not want the stream, or is gone.
    async fn deliver(&mut self, connection: Connection) -> Result<(), WriteError> {
        let mut frames = Vec::new();
        let mut stream = None;
        while self.frames.recv_many(&mut frames, FRAMES_MAX).await > 0 {
            if stream.is_none() {
                // Waits while the client grants no more streams.
                stream = connection.open_uni().await.ok().map(Stream);
            }
            let Some(Stream(stream)) = &mut stream else { return Err(WriteError::ClosedStream) };
            for frame in frames.drain(..) {
                self.gathered.put(&frame);
                if self.gathered.batch_bytes >= GATHERED_BYTES_MAX {
                    self.write(stream).await?;
                }
            }
            self.write(stream).await?;
        }
        if let Some(Stream(stream)) = &mut stream {
            let _ = stream.finish();
            let _ = stream.stopped().await;
        }
        Ok(())
    }

    async fn write(&mut self, stream: &mut SendStream) -> Result<(), WriteError> {
        let bytes = self.gathered.write(stream).await?;
        if bytes > 0 {
            let (session, subscription) = (self.session, self.subscription);
            // A driver that is gone is noticed by the session.
            let _ = self.handle.event(InEvent::Flushed { session, subscription, bytes }).await;
        }
        Ok(())
    }
}

/// Tells the broker that all it had handed out of a subscription is gone.
async fn dropped(handle: &NodeHandle, session: SessionId, subscription: SubscriptionId) {
    // A driver that is gone is noticed by the session.
    let _ = handle.event(InEvent::Flushed { session, subscription, bytes: usize::MAX }).await;
}

/// A stream that is cut off when its task is: nothing of a subscription that was ended stays in memory.
#[derive(Debug)]
struct Stream(SendStream);

impl Drop for Stream {
    fn drop(&mut self) {
        // Without effect on one that was finished and taken.
        let _ = self.0.reset(super::CLOSE_DONE);
    }
}

/// Frames laid out for one write: small ones together, large batches as they are.
#[derive(Debug, Default)]
struct Gathered {
    chunks: Vec<Bytes>,
    small: BytesMut,
    batch_bytes: usize,
}

/// Batches up to this many bytes are copied beside their heads; that costs less than a piece of their own.
const COPIED_BYTES_MAX: usize = 2 << 10;

impl Gathered {
    fn put(&mut self, frame: &ServerFrame) {
        put_front(frame, &mut self.small);
        let Some(batch) = frame.body() else { return };
        self.batch_bytes += batch.len();
        if batch.len() <= COPIED_BYTES_MAX {
            self.small.extend_from_slice(batch);
        } else {
            self.chunks.push(self.small.split().freeze());
            self.chunks.push(batch.clone());
        }
    }

    /// Writes all of it; gives the bytes of batches in it.
    async fn write(&mut self, stream: &mut SendStream) -> Result<usize, WriteError> {
        if !self.small.is_empty() {
            self.chunks.push(self.small.split().freeze());
        }
        if !self.chunks.is_empty() {
            stream.write_all_chunks(&mut self.chunks).await?;
            self.chunks.clear();
        }
        Ok(std::mem::take(&mut self.batch_bytes))
    }
}
