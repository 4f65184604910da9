//! One signed-in connection: requests go out, answers find who asked, deliveries find their subscription.

mod opening;

pub(crate) use opening::{Running, open};

use crate::{
    ClientConfig, ClientError, ErrorKind,
    delivery::{self, DeliverySource, SharedSink},
    frame::{self, Hello, Request, Subscribe, Told},
    lane::Lane,
    publishing::Publishing,
};
use bytes::Bytes;
use mainstem_crypto::SecretKey;
use mainstem_model::{AckLevel, BatchId, Challenge};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::timeout,
};

/// A connection that has said hello, and is signed in if there is an identity.
#[derive(Debug)]
pub(crate) struct Session {
    /// Among all sessions of the client, from 1.
    pub(crate) number: u64,
    outgoing: mpsc::UnboundedSender<Bytes>,
    next_request: AtomicU64,
    answers: Mutex<Answers>,
    /// Why it is gone, once it is.
    gone: watch::Sender<Option<ClientError>>,
    request_timeout: Duration,
    /// Bytes that one subscription may have waiting on a shared socket.
    shared_bytes_max: usize,
    /// Bytes of batches on their way to their acks.
    pub(crate) publish_bytes: AtomicUsize,
    pub(crate) publishing: Arc<Publishing>,
    /// Wakes the writer: there are batches to send, or there is room for them.
    pub(crate) ready: Notify,
    hello: watch::Sender<Option<Hello>>,
    heard: Mutex<Instant>,
}

#[derive(Debug, Default)]
struct Answers {
    waiters: HashMap<u64, Waiter>,
    streams: HashMap<u32, Stream>,
    /// Shares of a WebSocket.
    sinks: HashMap<u32, SharedSink>,
}

#[derive(Debug)]
enum Waiter {
    Once(oneshot::Sender<Result<Told, ClientError>>),
    /// A subscribe request over a shared socket.
    Shared(oneshot::Sender<Result<(u32, DeliverySource), ClientError>>),
    Publish {
        lane: Arc<Lane>,
        serial: u64,
        batch: BatchId,
        bytes: usize,
    },
    Nobody,
}

#[derive(Debug)]
enum Stream {
    Arrived(DeliverySource),
    Awaited(oneshot::Sender<DeliverySource>),
}

/// What is to be written: requests first, then batches.
#[derive(Debug)]
pub(crate) struct Front {
    requests: mpsc::UnboundedReceiver<Bytes>,
}

impl Session {
    fn new(config: &ClientConfig, publishing: &Arc<Publishing>) -> (Arc<Self>, Front) {
        let (outgoing, requests) = mpsc::unbounded_channel();
        let number = publishing.next_session();
        let session = Self {
            number,
            outgoing,
            // IMPORTANT: unlike those of other sessions, so that no late answer is taken for another's.
            next_request: AtomicU64::new((number << 32) + 1),
            answers: Mutex::default(),
            gone: watch::Sender::new(None),
            request_timeout: config.transport.request_timeout,
            shared_bytes_max: config.subscribe.queue_bytes_max,
            publish_bytes: AtomicUsize::new(0),
            publishing: publishing.clone(),
            ready: Notify::new(),
            hello: watch::Sender::new(None),
            heard: Mutex::new(Instant::now()),
        };
        (Arc::new(session), Front { requests })
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn hello(&self) -> Result<Hello, ClientError> {
        let mut hello = self.hello.subscribe();
        tokio::select! {
            said = hello.wait_for(Option::is_some) => match said {
                Ok(said) => said.clone().ok_or_else(|| ClientError::protocol("the broker said no hello")),
                Err(_) => Err(ClientError::protocol("the broker said no hello")),
            },
            error = self.ended() => Err(error),
        }
    }

    async fn sign_in(&self, key: &SecretKey, hello: &Hello) -> Result<(), ClientError> {
        let challenge = Challenge { node: hello.node, audience: hello.audience.clone(), nonce: hello.nonce };
        // The broker's own clock: a wrong one here must not shut anybody out. The nonce is what makes it fresh.
        let issued_at = hello.now;
        let signature = *key.sign(&challenge.digest(issued_at)).as_bytes();
        let ask = Request::SignIn { address: key.address(), issued_at, signature };
        if let Told::SignedIn { .. } = self.ask(&ask).await? {
            return Ok(());
        }
        Err(ClientError::protocol("a sign-in was answered with something else"))
    }

    /// Ends the session; the first reason stays.
    pub(crate) fn fail(&self, error: ClientError) {
        self.gone.send_if_modified(|gone| {
            let first = gone.is_none();
            if first {
                *gone = Some(error);
            }
            first
        });
        // Whoever waits sees that nothing will come.
        let mut answers = self.answers();
        answers.waiters.clear();
        answers.streams.clear();
        answers.sinks.clear();
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.borrow().is_some()
    }

    /// Waits for the end; gives why.
    pub(crate) async fn ended(&self) -> ClientError {
        let mut gone = self.gone.subscribe();
        match gone.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_else(ClientError::closed),
            Err(_) => ClientError::closed(),
        }
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&self, ask: &Request) -> Result<Told, ClientError> {
        let (told, answer) = oneshot::channel();
        self.post(ask, Waiter::Once(told));
        self.answer(answer).await
    }

    async fn answer<T>(&self, answer: oneshot::Receiver<Result<T, ClientError>>) -> Result<T, ClientError> {
        let limit = self.request_timeout;
        tokio::select! {
            answer = timeout(limit, answer) => match answer {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(ClientError::disconnected("the connection was lost before the answer came")),
                Err(_) => {
                    let error = ClientError::new(
                        ErrorKind::Timeout,
                        format!("the broker did not answer a request within {} ms", limit.as_millis()),
                    );
                    // What it still says would be taken for answers to nobody: begin anew.
                    self.fail(error.clone());
                    Err(error)
                }
            },
            error = self.ended() => Err(error),
        }
    }

    /// Begins a subscription at the broker; gives its number.
    pub(crate) async fn subscribe(&self, ask: Subscribe, shared: bool) -> Result<Subscribed, ClientError> {
        if shared {
            let (told, answer) = oneshot::channel();
            self.post(&Request::Subscribe(ask), Waiter::Shared(told));
            let (subscription, source) = self.answer(answer).await?;
            return Ok(Subscribed { subscription, source: Source::Here(source) });
        }
        let Told::Subscribed { subscription, .. } = self.ask(&Request::Subscribe(ask)).await? else {
            return Err(ClientError::protocol("a subscribe was answered with something else"));
        };
        let mut answers = self.answers();
        let source = match answers.streams.remove(&subscription) {
            Some(Stream::Arrived(source)) => Source::Here(source),
            Some(Stream::Awaited(_)) | None => {
                let (sender, source) = oneshot::channel();
                // IMPORTANT: `fail` clears these under the same lock after `gone` is set.
                if !self.is_gone() {
                    answers.streams.insert(subscription, Stream::Awaited(sender));
                }
                Source::Awaited(source)
            }
        };
        Ok(Subscribed { subscription, source })
    }

    /// Ends a subscription at the broker; waits for no answer.
    pub(crate) fn unsubscribe(&self, subscription: u32) {
        let mut answers = self.answers();
        answers.streams.remove(&subscription);
        answers.sinks.remove(&subscription);
        drop(answers);
        self.post(&Request::Unsubscribe(subscription), Waiter::Nobody);
    }

    /// A sign of life; what it is answered with does not matter.
    pub(crate) fn ping(&self) {
        self.post(&Request::Ping, Waiter::Nobody);
    }

    pub(crate) fn heard_for(&self) -> Duration {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    pub(crate) fn hear(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn post(&self, ask: &Request, waiter: Waiter) {
        let request = self.next_request.fetch_add(1, Ordering::Relaxed);
        let front = frame::encode(request, ask, 0);
        self.answers().waiters.insert(request, waiter);
        // A writer that is gone is noticed by `ended`.
        let _ = self.outgoing.send(front);
    }

    /// Numbers a publish request and notes who waits for its ack; gives the frame's front.
    pub(crate) fn publish(
        &self,
        lane: Arc<Lane>,
        serial: u64,
        batch: BatchId,
        bytes: usize,
        ack: AckLevel,
    ) -> (u64, Bytes) {
        let request = self.next_request.fetch_add(1, Ordering::Relaxed);
        self.publish_bytes.fetch_add(bytes, Ordering::SeqCst);
        self.answers().waiters.insert(request, Waiter::Publish { lane, serial, batch, bytes });
        (request, frame::encode(request, &Request::Publish(ack), bytes))
    }

    /// Takes what the broker says on the session stream, or of a subscription on a shared socket.
    pub(crate) fn take(self: &Arc<Self>, told: Told) {
        match told {
            Told::Hello(hello) => {
                if self.hello.send_replace(Some(hello)).is_some() {
                    self.fail(ClientError::protocol("the broker said hello twice"));
                }
            }
            Told::Pong { request } | Told::SignedIn { request } | Told::Unsubscribed { request } => {
                self.answered(request, Ok(told));
            }
            Told::Subscribed { request, .. } => self.answered(request, Ok(told)),
            Told::Ack { request, .. } => self.answered(request, Ok(told)),
            Told::Refused { request: 0, error } => self.fail(error),
            Told::Refused { request, error } => self.answered(request, Err(error)),
            Told::Deliver { subscription, .. }
            | Told::CaughtUp { subscription, .. }
            | Told::Ended { subscription, .. } => self.share(subscription, told),
        }
    }

    fn answered(self: &Arc<Self>, request: u64, answer: Result<Told, ClientError>) {
        let waiter = self.answers().waiters.remove(&request);
        match waiter {
            // Asked by nobody who still lives.
            None | Some(Waiter::Nobody) => {}
            Some(Waiter::Once(waiter)) => drop(waiter.send(answer)),
            Some(Waiter::Shared(waiter)) => {
                let answer = answer.and_then(|told| {
                    let Told::Subscribed { subscription, .. } = told else {
                        return Err(ClientError::protocol("a subscribe was answered with something else"));
                    };
                    let (sink, source) = delivery::shared(self.shared_bytes_max);
                    self.answers().sinks.insert(subscription, sink);
                    Ok((subscription, DeliverySource::Shared(source)))
                });
                drop(waiter.send(answer));
            }
            Some(Waiter::Publish { lane, serial, batch, bytes }) => {
                self.publish_bytes.fetch_sub(bytes, Ordering::SeqCst);
                match answer {
                    Ok(Told::Ack { batch: acked, level, .. }) if acked == batch => {
                        lane.handle_ack(serial, request, level);
                    }
                    Ok(_) => {
                        self.fail(ClientError::protocol("the broker acked another batch than was sent"));
                    }
                    Err(error) => lane.handle_refusal(serial, request, error, self),
                }
                self.publishing.wake_if_waiting();
            }
        }
    }

    /// A subscription's stream has said its first word.
    pub(crate) fn arrived(&self, subscription: u32, source: DeliverySource) {
        let mut answers = self.answers();
        match answers.streams.remove(&subscription) {
            Some(Stream::Awaited(waiter)) => drop(waiter.send(source)),
            Some(Stream::Arrived(_)) => {
                drop(answers);
                self.fail(ClientError::protocol("the broker opened two streams for one subscription"));
            }
            None if self.is_gone() => {}
            None => drop(answers.streams.insert(subscription, Stream::Arrived(source))),
        }
    }

    fn share(&self, subscription: u32, told: Told) {
        let mut answers = self.answers();
        let Some(sink) = answers.sinks.get_mut(&subscription) else { return };
        if !sink.put(told) {
            answers.sinks.remove(&subscription);
            drop(answers);
            self.post(&Request::Unsubscribe(subscription), Waiter::Nobody);
        }
    }
}

/// A subscription that the broker has taken.
#[derive(Debug)]
pub(crate) struct Subscribed {
    pub(crate) subscription: u32,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Here(DeliverySource),
    Awaited(oneshot::Receiver<DeliverySource>),
}

impl Subscribed {
    /// The next frame; `None` when nothing more comes. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Told>, ClientError> {
        self.source().await?.next().await
    }

    /// The next frame if it is here already.
    pub(crate) fn next_ready(&mut self) -> Result<Option<Told>, ClientError> {
        match &mut self.source {
            Source::Here(source) => source.next_ready(),
            Source::Awaited(_) => Ok(None),
        }
    }

    /// Whether frames were dropped because nobody took them in time.
    pub(crate) fn has_overflowed(&self) -> bool {
        matches!(&self.source, Source::Here(source) if source.has_overflowed())
    }

    async fn source(&mut self) -> Result<&mut DeliverySource, ClientError> {
        if let Source::Awaited(waiting) = &mut self.source {
            let source = waiting.await;
            self.source =
                Source::Here(source.map_err(|_| ClientError::disconnected("the connection was lost"))?);
        }
        match &mut self.source {
            Source::Here(source) => Ok(source),
            Source::Awaited(_) => Err(ClientError::protocol("a subscription has no stream")),
        }
    }
}

impl Front {
    /// Waits for something to write and puts it into `chunks`, heads and bodies in turn; `false` at the end of the session.
    /// Cancel safe while `chunks` is empty.
    pub(crate) async fn take(&mut self, session: &Arc<Session>, chunks: &mut Vec<Bytes>) -> bool {
        loop {
            while let Ok(front) = self.requests.try_recv() {
                chunks.push(front);
            }
            if session.hello.borrow().is_some() {
                session.publishing.collect(session, chunks);
            }
            if !chunks.is_empty() {
                return true;
            }
            tokio::select! {
                front = self.requests.recv() => match front {
                    Some(front) => chunks.push(front),
                    None => return false,
                },
                () = session.ready.notified() => {}
                _ = session.ended() => return false,
            }
        }
    }
}
