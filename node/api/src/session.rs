//! One client's session, whatever it came by: its requests in order towards the broker, batches proven on the way.

mod ledger;
mod outbox;
mod pace;

pub(crate) use ledger::{Asked, Ledger};
pub(crate) use outbox::{Outbox, Outgoing};

use crate::{
    NodeHandle, NodePublisher, SessionConfig, Submitted, Workers,
    config::ms,
    frame::{BadRequest, ClientMessage, Hello, ServerFrame, SignIn},
    workers::{Answer, prove},
};
use bytes::Bytes;
use mainstem_model::{
    Ack, Address, Batch, BatchError, Challenge, Code, NewEvent, Refusal, StreamPartition, VerifiedBatch,
};
use mainstem_protocol::{InEvent, SessionId};
use pace::Pace;
use rand::TryRngCore;
use std::{collections::VecDeque, future::Future, sync::Arc, time::SystemTime};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

/// Where requests come from.
pub(crate) trait Requests: Send {
    /// The next request, or why it is none; `None` when the client has no more.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// Why no more can be read: told to the client, then the session ends.
    fn next(
        &mut self,
    ) -> impl Future<Output = Result<Option<Result<ClientMessage, BadRequest>>, Refusal>> + Send;

    /// Whether some of the next request is here already; true when that is not known.
    fn has_more(&self) -> bool {
        true
    }
}

/// A batch up to this size that comes alone is proven where it was read: that takes less than waking another thread and
/// being woken by it. Whoever sends more at once has it proven by the workers, beside other sessions' work.
const PROVEN_HERE_BYTES_MAX: usize = 2 << 10;

/// What a session begins with.
#[derive(Debug)]
pub(crate) struct SessionParts<'a> {
    pub(crate) handle: &'a NodeHandle,
    pub(crate) workers: &'a Workers,
    /// Set for an API key: what signs, and for whom. The session is signed in as that identity.
    pub(crate) publisher: Option<(Arc<NodePublisher>, Address)>,
    pub(crate) config: &'a SessionConfig,
    /// The name under which sign-ins are taken.
    pub(crate) audience: String,
}

/// The inbound half of a session. Its end, or loss, is told to the broker.
#[derive(Debug)]
pub(crate) struct Session {
    open: OpenSession,
    workers: Workers,
    publisher: Option<(Arc<NodePublisher>, Address)>,
    config: SessionConfig,
    challenge: Arc<Challenge>,
    ledger: Arc<Ledger>,
    edge: mpsc::Sender<ServerFrame>,
    /// Requests on their way to the broker, in order.
    pending: VecDeque<Pending>,
    unproven_bytes: usize,
    sign_ins: u32,
    pace: Pace,
    /// A batch that waits for room; nothing is read behind it.
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    request: u64,
    ack: Ack,
    batch: Bytes,
    until: Instant,
}

#[derive(Debug)]
enum Pending {
    Ready(Step),
    Proof { request: u64, ack: Ack, bytes: usize, answer: Answer<Result<Arc<VerifiedBatch>, BatchError>> },
    SignIn { request: u64, address: Address, answer: Answer<Result<(), Refusal>> },
    Events { request: u64, count: u16, submitted: Submitted },
}

/// What is to be done about a request, in its turn.
#[derive(Debug)]
enum Step {
    /// The broker is told.
    Forward(InEvent),
    /// The edge answers by itself.
    Answer { request: u64, frame: ServerFrame },
    /// A batch was proven, or not.
    Proven { request: u64, ack: Ack, bytes: usize, result: Result<Arc<VerifiedBatch>, Refusal> },
}

impl Session {
    /// Begins a session.
    ///
    /// # Errors
    /// `SHUTTING_DOWN` when the driver is gone, or the system gives no randomness.
    pub(crate) async fn open(parts: SessionParts<'_>) -> Result<(Self, Outbox), Refusal> {
        let SessionParts { handle, workers, publisher, config, audience } = parts;
        let mut nonce = [0; 16];
        rand::rngs::OsRng.try_fill_bytes(&mut nonce).map_err(|error| {
            tracing::error!(%error, "the system gives no randomness");
            Refusal::new(Code::Overloaded, "the node cannot take sign-ins now; try again later")
        })?;
        let (id, broker) = handle.open(publisher.as_ref().map(|(_, identity)| *identity)).await?;
        let open = OpenSession { id, handle: handle.clone() };
        let ledger = Arc::new(Ledger::new(config));
        let (edge, edge_frames) = mpsc::channel(16);
        let challenge = Arc::new(Challenge { node: handle.node(), audience, nonce });
        let hello = Hello {
            node: handle.node(),
            nonce,
            network: handle.network().id(),
            audience: challenge.audience.clone(),
            now: now_ms(),
        };
        // There is room, and the receiver is here.
        let _ = edge.try_send(ServerFrame::Hello(hello));
        let outbox = Outbox::new(broker, edge_frames, ledger.clone());
        let session = Self {
            open,
            workers: workers.clone(),
            publisher,
            config: config.clone(),
            challenge,
            ledger,
            edge,
            pending: VecDeque::new(),
            unproven_bytes: 0,
            sign_ins: 0,
            pace: Pace::new(config.requests_per_second_max),
            waiting: None,
        };
        Ok((session, outbox))
    }

    pub(crate) const fn id(&self) -> SessionId {
        self.open.id
    }

    /// Serves the client until it has no more requests, something is wrong, or `stop` says so; then waits for the answers
    /// still owed, for a while. Gives the refusal of the session as a whole that the client was told, if any.
    pub(crate) async fn run(
        mut self,
        requests: &mut impl Requests,
        stop: impl Future<Output = Refusal>,
    ) -> Option<Refusal> {
        let edge = self.edge.clone();
        let refusal = tokio::select! {
            refusal = stop => Some(refusal),
            result = self.serve(requests) => result.err(),
            // Nothing can be told any more.
            () = edge.closed() => return None,
        };
        let drain = ms(self.config.drain_ms);
        let rest = async {
            // What was read and not yet handed on is unanswered, so its sender knows that it does not count.
            if self.drain().await.is_ok() {
                self.ledger.all_answered().await;
            }
        };
        tokio::select! {
            _ = timeout(drain, rest) => {}
            () = edge.closed() => return None,
        }
        if let Some(refusal) = &refusal {
            let _ = timeout(drain, edge.send(ServerFrame::refused(0, refusal.clone()))).await;
        }
        refusal
    }

    async fn serve(&mut self, requests: &mut impl Requests) -> Result<(), Refusal> {
        loop {
            let paced = self.pace.until();
            let waits = self.waiting.as_ref().map(|waiting| waiting.until);
            let reads = paced.is_none() && waits.is_none() && self.ledger.has_room() && self.has_proof_room();
            tokio::select! {
                biased;
                step = front(self.open.id, &mut self.pending), if !self.pending.is_empty() => self.step(step).await?,
                () = self.ledger.answered(), if waits.is_some() || (paced.is_none() && !reads) => {
                    self.admit().await?;
                }
                () = pause(waits), if waits.is_some() => self.admit().await?,
                () = pause(paced), if paced.is_some() => {}
                next = requests.next(), if reads => match next? {
                    Some(request) => {
                        self.check_bad_batches()?;
                        self.pace.count(1);
                        self.accept(request, !requests.has_more()).await?;
                    }
                    None => return Ok(()),
                },
            }
        }
    }

    async fn drain(&mut self) -> Result<(), Refusal> {
        if let Some(waiting) = self.waiting.take() {
            let refused = self.no_room(waiting.request);
            self.take_in(refused).await?;
        }
        while !self.pending.is_empty() {
            let step = front(self.open.id, &mut self.pending).await;
            self.step(step).await?;
        }
        Ok(())
    }

    fn has_proof_room(&self) -> bool {
        self.unproven_bytes < self.config.unproven_bytes_max
    }

    /// Takes a request in. Requests reach the broker in the order of these calls.
    /// `alone`: nothing else of this client waits behind it.
    async fn accept(
        &mut self,
        request: Result<ClientMessage, BadRequest>,
        alone: bool,
    ) -> Result<(), Refusal> {
        let message = match request {
            Ok(message) => message,
            Err(BadRequest { request, refusal }) => {
                return self.tell(ServerFrame::refused(request, refusal)).await;
            }
        };
        let (request, asked) = asked(&message);
        if !self.ledger.ask(request, asked) {
            let refusal = Refusal::new(
                Code::InvalidArgument,
                format!("request {request} is still open; use each number once"),
            );
            return self.tell(ServerFrame::refused(request, refusal)).await;
        }
        let session = self.open.id;
        let pending = match message {
            ClientMessage::SignIn { request, sign_in } => self.sign_in(request, sign_in).await?,
            ClientMessage::Publish { request, ack, batch } => {
                if !self.take_window(request, batch.len()) {
                    let until = Instant::now() + ms(self.config.refusal_wait_ms);
                    self.waiting = Some(Waiting { request, ack, batch, until });
                    return Ok(());
                }
                let here = alone
                    && self.pending.is_empty()
                    && batch.len() <= PROVEN_HERE_BYTES_MAX
                    && !Batch::is_of_plugin(&batch);
                self.publish(request, ack, batch, here).await
            }
            ClientMessage::PublishEvents { request, ack, at, events } => {
                self.publish_events(request, ack, at, events)
            }
            ClientMessage::Subscribe { request, subscribe } => {
                Pending::Ready(Step::Forward(InEvent::Subscribe { session, request, subscribe }))
            }
            ClientMessage::Unsubscribe { request, subscription } => {
                Pending::Ready(Step::Forward(InEvent::Unsubscribe { session, request, subscription }))
            }
            ClientMessage::Ping { request } => {
                Pending::Ready(Step::Answer { request, frame: ServerFrame::Pong { request } })
            }
        };
        self.take_in(pending).await
    }

    async fn take_in(&mut self, pending: Pending) -> Result<(), Refusal> {
        match pending {
            Pending::Ready(step) if self.pending.is_empty() => self.step(step).await,
            pending @ (Pending::Ready(_)
            | Pending::Proof { .. }
            | Pending::SignIn { .. }
            | Pending::Events { .. }) => {
                self.pending.push_back(pending);
                Ok(())
            }
        }
    }

    /// A batch that waits gets room if there is some now, and is refused if it has waited long enough.
    async fn admit(&mut self) -> Result<(), Refusal> {
        let Some(waiting) = self.waiting.take() else { return Ok(()) };
        let Waiting { request, ack, batch, until } = waiting;
        let pending = if self.take_window(request, batch.len()) {
            self.publish(request, ack, batch, false).await
        } else if until <= Instant::now() {
            self.no_room(request)
        } else {
            self.waiting = Some(Waiting { request, ack, batch, until });
            return Ok(());
        };
        self.take_in(pending).await
    }

    async fn publish(&mut self, request: u64, ack: Ack, batch: Bytes, here: bool) -> Pending {
        // What cannot be read is for the proof to refuse.
        let screened = Batch::peek_header(&batch).map_or(Ok(()), |header| self.open.handle.screen(&header));
        if let Err(refusal) = screened {
            let frame = ServerFrame::refused(request, refusal);
            return Pending::Ready(Step::Answer { request, frame });
        }
        let bytes = batch.len();
        self.unproven_bytes += bytes;
        let verifier = self.open.handle.verifier().clone();
        if here {
            let result = prove(&verifier, batch).map_err(Refusal::from);
            return Pending::Ready(Step::Proven { request, ack, bytes, result });
        }
        let answer = self.workers.submit_proof(verifier, batch).await;
        Pending::Proof { request, ack, bytes, answer }
    }

    /// Takes room for a batch in the session's window, before anything is done for it.
    ///
    /// Why here, when the broker counts too: a proof is most of what a small batch costs. A broker that proves what it then
    /// refuses does little else once it is offered several times what it can do.
    fn take_window(&self, request: u64, bytes: usize) -> bool {
        self.ledger.take_window(request, bytes, self.open.handle.publish_window_bytes())
    }

    fn no_room(&self, request: u64) -> Pending {
        let max = self.open.handle.publish_window_bytes();
        let why = format!("more than {max} bytes wait for their ack; send on as acks come");
        let frame = ServerFrame::refused(request, Refusal::new(Code::Overloaded, why));
        Pending::Ready(Step::Answer { request, frame })
    }

    async fn sign_in(&mut self, request: u64, sign_in: SignIn) -> Result<Pending, Refusal> {
        self.sign_ins += 1;
        if self.sign_ins > self.config.sign_ins_max {
            return Err(Refusal::new(
                Code::LimitReached,
                format!("a connection may try to sign in {} times; open another", self.config.sign_ins_max),
            ));
        }
        let challenge = self.challenge.clone();
        let SignIn { address, issued_at, signature } = sign_in;
        let check = move || challenge.verify(address, issued_at, &signature, now_ms()).map(|_key| ());
        Ok(Pending::SignIn { request, address, answer: self.workers.submit(check).await })
    }

    fn publish_events(&self, request: u64, ack: Ack, at: StreamPartition, events: Vec<NewEvent>) -> Pending {
        // At most what the format allows, or the publisher refuses them.
        let count = events.len() as u16;
        let submitted = match &self.publisher {
            Some((publisher, identity)) => publisher.submit(*identity, at, events, ack),
            None => Err(Refusal::new(Code::MissingApiKey, "the node signs events for API keys only")),
        };
        match submitted {
            Ok(submitted) => Pending::Events { request, count, submitted },
            Err(refusal) => {
                Pending::Ready(Step::Answer { request, frame: ServerFrame::refused(request, refusal) })
            }
        }
    }

    async fn step(&mut self, step: Step) -> Result<(), Refusal> {
        match step {
            Step::Forward(event) => self.open.handle.event(event).await,
            Step::Answer { request, frame } => {
                self.ledger.answer(request);
                self.tell(frame).await
            }
            Step::Proven { request, ack, bytes, result } => {
                self.unproven_bytes -= bytes;
                match result {
                    Ok(batch) => {
                        let session = self.open.id;
                        self.open.handle.event(InEvent::Publish { session, request, ack, batch }).await
                    }
                    Err(refusal) => self.refuse_batch(request, refusal).await,
                }
            }
        }
    }

    async fn refuse_batch(&mut self, request: u64, refusal: Refusal) -> Result<(), Refusal> {
        self.ledger.answer(request);
        self.tell(ServerFrame::refused(request, refusal)).await?;
        self.ledger.count_bad_batch();
        self.check_bad_batches()
    }

    fn check_bad_batches(&self) -> Result<(), Refusal> {
        let max = self.config.bad_batches_max;
        if self.ledger.bad_batches() <= max {
            return Ok(());
        }
        Err(Refusal::new(
            Code::LimitReached,
            format!("more than {max} batches of this connection did not prove or were equivocations"),
        ))
    }

    /// Tells the client something. Waits while it does not read.
    async fn tell(&self, frame: ServerFrame) -> Result<(), Refusal> {
        self.edge.send(frame).await.map_err(|_| Refusal::new(Code::ShuttingDown, "the connection is closed"))
    }
}

/// Waits for the first of `pending` and takes it out. Cancel safe.
async fn front(session: SessionId, pending: &mut VecDeque<Pending>) -> Step {
    let step = match pending.front_mut() {
        None => std::future::pending().await,
        Some(Pending::Ready(_)) => None,
        Some(Pending::Proof { request, ack, bytes, answer }) => {
            let result =
                answer.wait().await.map_or_else(|| Err(failed()), |result| result.map_err(Refusal::from));
            Some(Step::Proven { request: *request, ack: *ack, bytes: *bytes, result })
        }
        Some(Pending::SignIn { request, address, answer }) => {
            let (request, address) = (*request, *address);
            Some(match answer.wait().await.unwrap_or_else(|| Err(failed())) {
                Ok(()) => Step::Forward(InEvent::SignedIn { session, request, address }),
                Err(refusal) => Step::Answer { request, frame: ServerFrame::refused(request, refusal) },
            })
        }
        Some(Pending::Events { request, count, submitted }) => {
            let (request, count) = (*request, *count);
            let frame = match submitted.answer().await {
                Ok(published) => ServerFrame::Published { request, published, count },
                Err(refusal) => ServerFrame::refused(request, refusal),
            };
            Some(Step::Answer { request, frame })
        }
    };
    match (pending.pop_front(), step) {
        (Some(Pending::Ready(step)), None) | (_, Some(step)) => step,
        (_, None) => std::future::pending().await,
    }
}

async fn pause(until: Option<Instant>) {
    if let Some(until) = until {
        sleep_until(until).await;
    }
}

fn failed() -> Refusal {
    Refusal::new(Code::Overloaded, "the node failed at this request; it was logged")
}

fn asked(message: &ClientMessage) -> (u64, Asked) {
    match message {
        ClientMessage::Subscribe { request, subscribe } => {
            (*request, Asked::Subscribe { from: subscribe.filter.from, to: subscribe.filter.to })
        }
        ClientMessage::Unsubscribe { request, subscription } => (*request, Asked::Unsubscribe(*subscription)),
        ClientMessage::SignIn { request, .. }
        | ClientMessage::Publish { request, .. }
        | ClientMessage::PublishEvents { request, .. }
        | ClientMessage::Ping { request } => (*request, Asked::Other),
    }
}

/// A session that the broker knows of. Dropped, it is closed there too.
#[derive(Debug)]
struct OpenSession {
    id: SessionId,
    handle: NodeHandle,
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        let (session, handle) = (self.id, self.handle.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // A driver that is gone needs no word.
            runtime.spawn(async move { handle.event(InEvent::SessionClosed { session }).await });
        }
    }
}

pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
