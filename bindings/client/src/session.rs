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
use mainstem_model::{Ack, BatchId, Challenge};
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
    /// Subscriptions that have, or will have, a stream of their own.
    open_streams: watch::Sender<u32>,
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
    /// Subscribe requests of a stream of their own that are not answered.
    subscribing: usize,
    /// Shares of a WebSocket.
    sinks: HashMap<u32, SharedSink>,
}

/// Streams of subscriptions that were left which may come while an answer is awaited.
const STRAY_MAX: usize = 64;

impl Answers {
    /// How many streams nobody has asked for, as far as is known.
    fn stray(&self) -> usize {
        self.streams.values().filter(|stream| matches!(stream, Stream::Early(_))).count()
    }

    /// When every answer is there, what none of them named is nobody's.
    fn forget_stray(&mut self) {
        if self.subscribing == 0 {
            self.streams.retain(|_, stream| !matches!(stream, Stream::Early(_)));
        }
    }
}

/// Counts a subscription with a stream of its own, for as long as it lives.
#[derive(Debug)]
struct OpenStream(watch::Sender<u32>);

impl OpenStream {
    fn new(session: &Session) -> Self {
        session.open_streams.send_modify(|open| *open += 1);
        Self(session.open_streams.clone())
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open = open.saturating_sub(1));
    }
}

#[derive(Debug)]
enum Waiter {
    Once(oneshot::Sender<Result<Told, ClientError>>),
    /// A subscribe request that is answered by a stream as well.
    Subscribe(oneshot::Sender<Result<Told, ClientError>>),
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
    /// It came before the answer that names it, if it ever is named.
    Early(DeliverySource),
    /// It was named; nobody has come for it yet.
    Expected,
    /// It is here, and was named.
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
            open_streams: watch::Sender::new(0),
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
        answers.subscribing = 0;
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
            return Ok(Subscribed { subscription, source: Source::Here(source), _open: None });
        }
        let open = OpenStream::new(self);
        let (told, answer) = oneshot::channel();
        self.answers().subscribing += 1;
        self.post(&Request::Subscribe(ask), Waiter::Subscribe(told));
        let Told::Subscribed { subscription, .. } = self.answer(answer).await? else {
            return Err(ClientError::protocol("a subscribe was answered with something else"));
        };
        let mut answers = self.answers();
        let source = match answers.streams.remove(&subscription) {
            Some(Stream::Arrived(source)) => Source::Here(source),
            Some(Stream::Awaited(_) | Stream::Expected | Stream::Early(_)) | None => {
                let (sender, source) = oneshot::channel();
                // IMPORTANT: `fail` clears these under the same lock after `gone` is set.
                if !self.is_gone() {
                    answers.streams.insert(subscription, Stream::Awaited(sender));
                }
                Source::Awaited(source)
            }
        };
        drop(answers);
        Ok(Subscribed { subscription, source, _open: Some(open) })
    }

    /// How many subscriptions have, or will have, a stream of their own.
    pub(crate) fn open_streams(&self) -> watch::Receiver<u32> {
        self.open_streams.subscribe()
    }

    pub(crate) const fn request_timeout(&self) -> Duration {
        self.request_timeout
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
        ack: Ack,
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
            Some(Waiter::Subscribe(waiter)) => self.subscribed(waiter, answer),
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
                    Ok(Told::Ack { batch: acked, ack, .. }) if acked == batch => {
                        lane.handle_ack(serial, request, ack);
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

    fn subscribed(
        &self,
        waiter: oneshot::Sender<Result<Told, ClientError>>,
        answer: Result<Told, ClientError>,
    ) {
        let mut answers = self.answers();
        answers.subscribing = answers.subscribing.saturating_sub(1);
        let taken =
            if let Ok(Told::Subscribed { subscription, .. }) = &answer { Some(*subscription) } else { None };
        if let Some(subscription) = taken {
            let named = match answers.streams.remove(&subscription) {
                Some(Stream::Early(source)) => Stream::Arrived(source),
                Some(stream) => stream,
                // Whoever asked comes for it in a moment.
                None => Stream::Expected,
            };
            answers.streams.insert(subscription, named);
        }
        answers.forget_stray();
        drop(answers);
        if waiter.send(answer).is_err()
            && let Some(subscription) = taken
        {
            // Nobody wants it any more.
            self.unsubscribe(subscription);
        }
    }

    /// A subscription's stream has said its first word.
    pub(crate) fn arrived(&self, subscription: u32, source: DeliverySource) {
        let mut answers = self.answers();
        match answers.streams.remove(&subscription) {
            Some(Stream::Awaited(waiter)) => drop(waiter.send(source)),
            Some(Stream::Expected) => drop(answers.streams.insert(subscription, Stream::Arrived(source))),
            Some(Stream::Arrived(_) | Stream::Early(_)) => {
                drop(answers);
                self.fail(ClientError::protocol("the broker opened two streams for one subscription"));
            }
            // IMPORTANT: of a subscription that was left, unless an answer is still to come: kept, it would never be read
            // and take from what the broker may open.
            None if self.is_gone() || answers.subscribing == 0 => {}
            None if answers.stray() >= answers.subscribing + STRAY_MAX => {
                drop(answers);
                self.fail(ClientError::protocol("the broker opened more streams than it was asked for"));
            }
            None => drop(answers.streams.insert(subscription, Stream::Early(source))),
        }
    }

    /// A stream ended before it had said whose it is: whoever waits for one asks again.
    pub(crate) fn stream_lost(&self) {
        self.answers().streams.retain(|_, stream| !matches!(stream, Stream::Awaited(_)));
    }

    fn share(&self, subscription: u32, told: Told) {
        let mut answers = self.answers();
        let Some(sink) = answers.sinks.get_mut(&subscription) else { return };
        let is_last = matches!(told, Told::Ended { .. });
        let is_read = sink.put(told);
        if is_last {
            answers.sinks.remove(&subscription);
        } else if !is_read {
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
    _open: Option<OpenStream>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workers::Workers;
    use mainstem_model::{Address, Cursor, Network, Partition, ReadFilter, ReadStart, StreamId};

    const CURSOR: Cursor = Cursor::Arrival { log: 1, position: 1, skip: 0 };

    fn session() -> Arc<Session> {
        let network = Network { chain_id: 1, registry: Address([1; 20]) };
        let sealer = Workers::start("test", 1).unwrap();
        let runtime = tokio::runtime::Handle::current();
        let keyring = Arc::new(crate::encryption::Keyring::new(&crate::EncryptionConfig::default()).unwrap());
        let publishing = Arc::new(Publishing::new(network, None, keyring, 1, sealer, runtime));
        let config = ClientConfig::new("quic://127.0.0.1".parse().unwrap(), network);
        Session::new(&config, &publishing).0
    }

    fn ask() -> Subscribe {
        let at = StreamId(Address([2; 20])).partition(Partition::ZERO);
        Subscribe { at, start: ReadStart::Now, filter: ReadFilter::ALL, live: true }
    }

    fn source() -> DeliverySource {
        DeliverySource::Shared(delivery::shared(1).1)
    }

    /// The number of the only request that waits for its answer.
    async fn only_request(session: &Session) -> u64 {
        loop {
            if let Some(request) = session.answers().waiters.keys().next() {
                return *request;
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn streams_of_subscriptions_that_were_left_are_dropped() {
        let session = session();
        session.arrived(5, source());
        assert!(session.answers().streams.is_empty());
        let subscribing = tokio::spawn({
            let session = session.clone();
            async move { session.subscribe(ask(), false).await.map(|subscribed| subscribed.subscription) }
        });
        let request = only_request(&session).await;
        // One of these is what is waited for; which one only the answer tells.
        session.arrived(6, source());
        session.arrived(7, source());
        assert_eq!(session.answers().streams.len(), 2);
        session.take(Told::Subscribed { request, subscription: 7 });
        assert_eq!(subscribing.await.unwrap().unwrap(), 7);
        assert!(session.answers().streams.is_empty());
        assert_eq!(*session.open_streams.borrow(), 0);
    }

    #[tokio::test]
    async fn whoever_waits_for_a_stream_hears_of_its_loss() {
        let session = session();
        let waiting = tokio::spawn({
            let session = session.clone();
            async move { session.subscribe(ask(), false).await?.next().await.map(drop) }
        });
        let request = only_request(&session).await;
        session.take(Told::Subscribed { request, subscription: 7 });
        while !matches!(session.answers().streams.get(&7), Some(Stream::Awaited(_))) {
            tokio::task::yield_now().await;
        }
        session.stream_lost();
        assert_eq!(waiting.await.unwrap().unwrap_err().kind, ErrorKind::Disconnected);
    }

    #[tokio::test]
    async fn the_share_of_an_ended_subscription_is_forgotten() {
        let session = session();
        let subscribing = tokio::spawn({
            let session = session.clone();
            async move { session.subscribe(ask(), true).await }
        });
        let request = only_request(&session).await;
        session.take(Told::Subscribed { request, subscription: 7 });
        let mut subscribed = subscribing.await.unwrap().unwrap();
        session.take(Told::Ended { subscription: 7, cursor: Some(CURSOR), error: None });
        assert!(session.answers().sinks.is_empty());
        assert!(matches!(subscribed.next().await, Ok(Some(Told::Ended { .. }))));
    }
}
