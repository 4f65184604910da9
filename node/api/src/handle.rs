use crate::{NetworkSeen, session::now_ms};
use mainstem_model::{Address, Code, Grant, Header, Network, Refusal, Registry, Right, StreamId, Verifier};
use mainstem_protocol::{InEvent, ServerMessage, SessionId};
use std::sync::{
    Arc, PoisonError, RwLock, RwLockReadGuard,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::{mpsc, oneshot};

/// What the listeners send to the driver.
#[derive(Debug)]
pub enum Input {
    /// A session begins; what it is told goes to `outbox`. The state machine bounds what it puts there.
    Open {
        /// The new session.
        session: SessionId,
        /// Set when the edge knows who it is already.
        identity: Option<Address>,
        /// Where its messages go.
        outbox: mpsc::UnboundedSender<ServerMessage>,
    },
    /// Anything that happens within a session.
    Event(InEvent),
    /// Something to be done on the chain in the name of an identity of this node.
    Manage(Manage),
    /// Somebody asks how the network looks from here.
    Network(oneshot::Sender<Arc<NetworkSeen>>),
}

/// A change on the chain that a light client asks for; the node signs the transaction with `identity`'s key.
#[derive(Debug)]
pub struct Manage {
    /// Whose key signs.
    pub identity: Address,
    /// What to do.
    pub action: ManageAction,
    /// Gets the stream concerned, once the transaction is in a block and the node's own view shows it. Closed when nobody
    /// waits for the answer any more: what was not sent by then is not sent.
    pub reply: oneshot::Sender<Result<StreamId, Refusal>>,
}

/// What can be changed on the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManageAction {
    /// Create a stream.
    Create {
        /// Metadata, JSON.
        metadata: String,
        /// Path of the alias `0xowner/path`.
        path: Option<String>,
        /// First grants.
        grants: Vec<(Address, Grant)>,
    },
    /// Replace a stream's metadata.
    SetMetadata {
        /// The stream.
        stream: StreamId,
        /// Metadata, JSON.
        metadata: String,
    },
    /// Add to an account's rights; [`Address::ZERO`] is everyone.
    ///
    /// IMPORTANT: the contract sets rights whole. They are added to what the account has on the chain just before it is
    /// sent, never to what the node's view shows, which may be older: a revoked right must not come back.
    Grant {
        /// The stream.
        stream: StreamId,
        /// Who gets them.
        account: Address,
        /// What is added.
        rights: AddedRights,
    },
    /// Take all rights of an account.
    Revoke {
        /// The stream.
        stream: StreamId,
        /// Who loses them.
        account: Address,
    },
    /// Remove a stream for good.
    Remove {
        /// The stream.
        stream: StreamId,
    },
}

/// Rights to be added to those that an account has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AddedRights {
    /// May read until this Unix second, included.
    pub subscribe_until: Option<u64>,
    /// May publish until this Unix second, included.
    pub publish_until: Option<u64>,
    /// Flags of [`Grant`].
    pub flags: u8,
}

impl AddedRights {
    /// What an account has afterwards that has `grant` now. A named time replaces the one before.
    #[must_use]
    pub fn to(self, grant: Grant) -> Grant {
        Grant {
            subscribe_until: self.subscribe_until.unwrap_or(grant.subscribe_until),
            publish_until: self.publish_until.unwrap_or(grant.publish_until),
            flags: grant.flags | self.flags,
        }
    }
}

/// The listeners' way into the node: cheap to clone.
#[derive(Clone, Debug)]
pub struct NodeHandle {
    inbox: mpsc::Sender<Input>,
    next_session: Arc<AtomicU64>,
    registry: Arc<RwLock<Registry>>,
    verifier: Arc<Verifier>,
    node: Address,
    publish_window_bytes: usize,
}

impl NodeHandle {
    /// `inbox` leads to the driver; `registry` is the view that the driver keeps up to date; `node` is the node's own address.
    pub fn new(
        inbox: mpsc::Sender<Input>,
        registry: Arc<RwLock<Registry>>,
        verifier: Arc<Verifier>,
        node: Address,
    ) -> Self {
        let next_session = Arc::new(AtomicU64::new(1));
        Self { inbox, next_session, registry, verifier, node, publish_window_bytes: usize::MAX }
    }

    /// Has batches refused before they are proven that the broker would refuse after it: those of a session that has more
    /// than `bytes` of batches on their way to their acks. The broker's own `publish_window_bytes`.
    #[must_use]
    pub const fn with_publish_window(mut self, bytes: usize) -> Self {
        self.publish_window_bytes = bytes;
        self
    }

    /// Bytes of batches that a session may have on their way to their acks.
    pub(crate) const fn publish_window_bytes(&self) -> usize {
        self.publish_window_bytes
    }

    /// The node's own address.
    pub const fn node(&self) -> Address {
        self.node
    }

    /// The network that batches are proven for.
    pub fn network(&self) -> &Network {
        self.verifier.network()
    }

    /// What proves batches; for a worker thread, not an async one.
    pub const fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }

    /// Streams and rights, for reading. Not to be held across an `.await`.
    pub fn registry(&self) -> RwLockReadGuard<'_, Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses a batch by its header alone when its origin may not publish there: a stranger's batch costs a look, not a
    /// proof. What is of another network is for the proof to refuse.
    ///
    /// # Errors
    /// As the broker would say it of the proven batch.
    pub fn screen(&self, header: &Header) -> Result<(), Refusal> {
        if header.network != self.verifier.network_id() {
            return Ok(());
        }
        let now_s = u64::try_from(now_ms() / 1000).unwrap_or(0);
        let (at, origin) = (header.stream_partition, Some(header.origin.account()));
        self.registry().check(at, origin, Right::Publish, now_s).map(|_stream| ())
    }

    /// Begins a session and gives its number and what it is told.
    ///
    /// # Errors
    /// `SHUTTING_DOWN` when the driver is gone.
    pub async fn open(
        &self,
        identity: Option<Address>,
    ) -> Result<(SessionId, mpsc::UnboundedReceiver<ServerMessage>), Refusal> {
        let session = SessionId(self.next_session.fetch_add(1, Ordering::Relaxed));
        let (outbox, messages) = mpsc::unbounded_channel();
        self.send(Input::Open { session, identity, outbox }).await?;
        Ok((session, messages))
    }

    /// Tells the driver what happened. Waits while the driver is behind.
    ///
    /// # Errors
    /// `SHUTTING_DOWN` when the driver is gone.
    pub async fn event(&self, event: InEvent) -> Result<(), Refusal> {
        self.send(Input::Event(event)).await
    }

    /// Changes something on the chain in the name of one of the node's identities.
    ///
    /// # Errors
    /// What the chain refused, or `SHUTTING_DOWN`.
    pub async fn manage(&self, identity: Address, action: ManageAction) -> Result<StreamId, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(Input::Manage(Manage { identity, action, reply })).await?;
        answer.await.unwrap_or_else(|_| Err(shutting_down()))
    }

    /// The network as the node sees it now, or saw it a moment ago.
    ///
    /// # Errors
    /// `SHUTTING_DOWN` when the driver is gone.
    pub async fn network_seen(&self) -> Result<Arc<NetworkSeen>, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(Input::Network(reply)).await?;
        answer.await.map_err(|_| shutting_down())
    }

    async fn send(&self, input: Input) -> Result<(), Refusal> {
        self.inbox.send(input).await.map_err(|_| shutting_down())
    }
}

fn shutting_down() -> Refusal {
    Refusal::new(Code::ShuttingDown, "the node is shutting down; connect again in a moment")
}
