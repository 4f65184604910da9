use crate::NodeHandle;
use bytes::Bytes;
use mainstem_model::{Address, Batch, Code, Cursor, Refusal};
use mainstem_protocol::{InEvent, ServerMessage, SessionId, Subscribe, SubscriptionId};
use tokio::{runtime, sync::mpsc};

/// A session of one request; closed when dropped.
#[derive(Debug)]
pub(super) struct Session {
    handle: NodeHandle,
    id: SessionId,
    messages: mpsc::UnboundedReceiver<ServerMessage>,
}

impl Session {
    pub(super) async fn open(handle: &NodeHandle, identity: Option<Address>) -> Result<Self, Refusal> {
        let (id, messages) = handle.open(identity).await?;
        Ok(Self { handle: handle.clone(), id, messages })
    }

    /// Tells the broker what happened in this session.
    pub(super) async fn send(&self, event: impl FnOnce(SessionId) -> InEvent) -> Result<(), Refusal> {
        self.handle.event(event(self.id)).await
    }

    /// The next message. Cancel safe.
    pub(super) async fn hear(&mut self) -> Result<ServerMessage, Refusal> {
        self.messages.recv().await.ok_or_else(|| {
            Refusal::new(Code::ShuttingDown, "the node is shutting down; connect again in a moment")
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let (handle, session) = (self.handle.clone(), self.id);
        if let Ok(runtime) = runtime::Handle::try_current() {
            runtime.spawn(async move { handle.event(InEvent::SessionClosed { session }).await });
        }
    }
}

/// A batch as it was delivered.
#[derive(Debug)]
pub(super) struct Delivered {
    pub(super) batch: Batch,
    /// Reading from here gives this batch again; its skip counts leading events that are not part of the answer.
    pub(super) cursor: Cursor,
    pub(super) received_at: i64,
}

/// Reads the past of one partition in a session of its own, batch by batch, at the caller's speed.
#[derive(Debug)]
pub(super) struct Reader {
    session: Session,
    subscription: SubscriptionId,
    /// Where the past ended, once it has.
    end: Option<Cursor>,
    ended: bool,
}

impl Reader {
    /// Begins to read.
    ///
    /// # Errors
    /// What the broker refuses: the right, the partition, the range.
    pub(super) async fn open(
        handle: &NodeHandle,
        identity: Option<Address>,
        subscribe: Subscribe,
    ) -> Result<Self, Refusal> {
        let mut session = Session::open(handle, identity).await?;
        session.send(|session| InEvent::Subscribe { session, request: 1, subscribe }).await?;
        loop {
            match session.hear().await? {
                ServerMessage::Subscribed { subscription, .. } => {
                    return Ok(Self { session, subscription, end: None, ended: false });
                }
                ServerMessage::Refused { refusal, .. } => return Err(refusal),
                // Nothing else comes before the answer.
                ServerMessage::SignedIn { .. }
                | ServerMessage::Ack { .. }
                | ServerMessage::Deliver { .. }
                | ServerMessage::CaughtUp { .. }
                | ServerMessage::Ended { .. }
                | ServerMessage::Unsubscribed { .. } => {}
            }
        }
    }

    /// The next batch; `None` when all was told.
    ///
    /// # Errors
    /// Why reading ended early: the right was revoked, the store failed, a stretch is damaged.
    pub(super) async fn next(&mut self) -> Result<Option<Delivered>, Refusal> {
        while !self.ended {
            match self.session.hear().await? {
                ServerMessage::Deliver { cursor, received_at, batch, .. } => {
                    self.flushed(batch.len()).await?;
                    return Ok(Some(Delivered { batch: parse(batch)?, cursor, received_at }));
                }
                ServerMessage::Ended { cursor, refusal, .. } => {
                    self.ended = true;
                    self.end = cursor;
                    if let Some(refusal) = refusal {
                        return Err(refusal);
                    }
                }
                ServerMessage::Refused { refusal, .. } => return Err(refusal),
                ServerMessage::SignedIn { .. }
                | ServerMessage::Ack { .. }
                | ServerMessage::Subscribed { .. }
                | ServerMessage::CaughtUp { .. }
                | ServerMessage::Unsubscribed { .. } => {}
            }
        }
        Ok(None)
    }

    /// Where the past ended; `None` before it has.
    pub(super) const fn end(&self) -> Option<Cursor> {
        self.end
    }

    /// Room for more: what was taken goes to the client next, and the caller comes back only when it has gone.
    async fn flushed(&self, bytes: usize) -> Result<(), Refusal> {
        let subscription = self.subscription;
        self.session.send(|session| InEvent::Flushed { session, subscription, bytes }).await
    }
}

/// Reads a batch of the broker's own.
pub(super) fn parse(bytes: Bytes) -> Result<Batch, Refusal> {
    Batch::parse(bytes).map_err(|_| Refusal::new(Code::DamagedHistory, "a stored batch is damaged here"))
}
