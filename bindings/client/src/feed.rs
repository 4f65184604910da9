//! One partition of a subscription: asks, proves, puts in order, resumes; until it ends or nobody listens.

mod gap;

use crate::{
    BrokerUrl, ClientError, Damage, Delivery, ErrorKind, EventBatch, Fork, Gap,
    connection::Core,
    encryption::reading::Contents,
    frame::{CaughtUp, Subscribe, Told},
    guard::{SeriesGuard, Verdict},
    output::{Ended, Item, Left, Output},
    proving::{Proven, Raw, Unknown, prove},
    session::{Session, Subscribed},
};
use mainstem_model::{Batch, Code, Cursor, Header, ReadStart, VerifiedBatch};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};

/// Batches that are proven in one go: enough small ones to be worth a thread's while.
const GROUP_BYTES_MAX: usize = 64 << 10;
/// A batch up to this size that comes alone is proven where it was read: that takes less than waking another thread and
/// being woken by it.
const PROVEN_HERE_BYTES_MAX: usize = 2 << 10;
/// Wait before asking again what the broker could not do just now.
const AGAIN: Duration = Duration::from_millis(250);
/// The longest wait before asking a chain again that does not answer.
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// Looked back when a cursor means nothing to the broker any more: twice what clocks may differ.
const LOOK_BACK_MS: i64 = 600_000;

/// Why a feed leaves a session.
#[derive(Debug)]
enum Stop {
    /// Nobody listens any more.
    Left,
    /// All was told, or it can not go on.
    Ended(Result<bool, ClientError>),
    /// Ask again behind the cursor, at once or in a moment.
    Again(Duration),
}

impl From<Left> for Stop {
    fn from(_: Left) -> Self {
        Self::Left
    }
}

/// What is being proven, in order of arrival.
#[derive(Debug)]
enum Piece {
    Batches { bytes: usize, proven: oneshot::Receiver<Proven> },
    CaughtUp { cursor: Cursor, state: CaughtUp },
    Ended { cursor: Option<Cursor>, error: Option<ClientError> },
}

/// What to do about a lost stream: as a rule its connection is lost with it; if not, not at once again.
async fn lost(session: &Session) -> Stop {
    let _ = timeout(AGAIN, session.ended()).await;
    Stop::Again(Duration::ZERO)
}

/// Waits until nobody listens any more.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone does not listen either.
    let _ = stop.wait_for(|stop| *stop).await;
}

#[derive(Debug)]
pub(crate) struct Feed {
    core: Arc<Core>,
    ask: Subscribe,
    check_publishers: bool,
    out: Output,
    stop: watch::Receiver<bool>,
    /// Told when the broker has taken the subscription, or why not.
    started: Option<oneshot::Sender<Result<(), ClientError>>>,
    guard: SeriesGuard,
    /// Behind everything that was brought; none before the first.
    cursor: Option<Cursor>,
    /// Greatest timestamp of what was brought.
    latest: Option<i64>,
    told_caught_up: bool,
    /// Wrong things in a row.
    bad: u32,
    events: u64,
    /// This session's subscription goes on where another one's was lost.
    resumed: bool,
    /// Events of the past that came in over this session's subscription, as the broker counts them.
    counted: u64,
}

impl Feed {
    pub(crate) fn new(
        core: Arc<Core>,
        ask: Subscribe,
        check_publishers: bool,
        out: Output,
        stop: watch::Receiver<bool>,
        started: oneshot::Sender<Result<(), ClientError>>,
    ) -> Self {
        let guard = SeriesGuard::new(core.config.subscribe.series_max, ask.filter.from);
        Self {
            core,
            ask,
            check_publishers,
            out,
            stop,
            started: Some(started),
            guard,
            cursor: None,
            latest: None,
            told_caught_up: false,
            bad: 0,
            events: 0,
            resumed: false,
            counted: 0,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut stop = self.stop.clone();
        loop {
            let session = tokio::select! {
                session = self.core.session() => session,
                () = stopped(&mut stop) => return,
            };
            let reason = match session {
                Ok(session) => self.read(&session).await,
                Err(error) => Stop::Ended(Err(error)),
            };
            match reason {
                Stop::Left => return,
                Stop::Ended(result) => return self.end(result),
                Stop::Again(wait) => {
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = stopped(&mut stop) => return,
                    }
                }
            }
        }
    }

    fn end(&mut self, result: Result<bool, ClientError>) {
        let result = match (result, self.started.take()) {
            (Err(error), Some(started)) => {
                drop(started.send(Err(error)));
                return;
            }
            (result, Some(started)) => {
                drop(started.send(Ok(())));
                result
            }
            (result, None) => result,
        };
        let events = self.events;
        // Whoever has left does not hear it.
        let _ = self.out.send(Item::Ended { result: result.map(|complete| Ended { events, complete }) });
    }

    fn start(&mut self) {
        if let Some(started) = self.started.take() {
            drop(started.send(Ok(())));
        }
    }

    /// Reads over one session, for as long as it lasts.
    async fn read(&mut self, session: &Arc<Session>) -> Stop {
        self.resumed = self.cursor.is_some();
        if self.resumed && self.left() == Some(0) {
            return Stop::Ended(Ok(true));
        }
        let ask = Subscribe { start: self.cursor.map_or(self.ask.start, ReadStart::Cursor), ..self.ask };
        let mut subscribed = match session.subscribe(ask, self.is_shared()).await {
            Ok(subscribed) => subscribed,
            Err(error) => return self.refused(error),
        };
        self.counted = 0;
        // Of what is now, the cursor that comes first says where it begins: until then nothing is certain.
        if self.ask.start != ReadStart::Now {
            self.start();
        }
        let stop = match self.pump(session, &mut subscribed).await {
            Ok(stop) | Err(stop) => stop,
        };
        let ended = matches!(stop, Stop::Ended(_)) && !(self.resumed && self.left() == Some(0));
        if !ended && !session.is_gone() {
            session.unsubscribe(subscribed.subscription);
        }
        stop
    }

    /// How many of the last n events are still to come, if so many were asked for. IMPORTANT: a cursor has no such bound, so
    /// what resumes by one would bring what was published meanwhile as well.
    const fn left(&self) -> Option<u64> {
        if let (ReadStart::Last(count), false) = (self.ask.start, self.ask.live) {
            return Some(count.saturating_sub(self.events));
        }
        None
    }

    fn is_shared(&self) -> bool {
        matches!(self.core.config.broker.url, BrokerUrl::WebSocket(_))
    }

    async fn pump(&mut self, session: &Arc<Session>, subscribed: &mut Subscribed) -> Result<Stop, Stop> {
        let unproven_max = self.core.config.subscribe.unproven_bytes_max;
        let mut stop = self.stop.clone();
        let gone = session.ended();
        tokio::pin!(gone);
        let mut pieces: VecDeque<Piece> = VecDeque::new();
        let mut unproven = 0;
        let mut more = true;
        loop {
            if let Some(Piece::CaughtUp { .. } | Piece::Ended { .. }) = pieces.front() {
                match pieces.pop_front() {
                    Some(Piece::CaughtUp { cursor, state }) => self.caught_up(session, cursor, state)?,
                    Some(Piece::Ended { cursor, error }) => return Err(self.ended(cursor, error)),
                    Some(Piece::Batches { .. }) | None => {}
                }
                continue;
            }
            if pieces.is_empty() && !more {
                // IMPORTANT: a session that ends ends its subscriptions, some a moment before it is seen to be gone itself.
                if session.is_gone() || subscribed.has_overflowed() {
                    return Ok(Stop::Again(Duration::ZERO));
                }
                let error = ClientError::protocol("the broker broke a subscription off without a word");
                return Err(self.reject(session, error));
            }
            let proven = async {
                match pieces.front_mut() {
                    Some(Piece::Batches { proven, .. }) => proven.await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return Ok(Stop::Left),
                proven = proven => {
                    if let Some(Piece::Batches { bytes, .. }) = pieces.pop_front() {
                        unproven -= bytes;
                    }
                    let Ok(proven) = proven else {
                        return Ok(Stop::Ended(Err(ClientError::new(ErrorKind::Unknown, "a proving thread is gone"))));
                    };
                    self.bring(session, proven).await?;
                }
                told = subscribed.next(), if more && unproven < unproven_max => match told {
                    Ok(Some(first)) => {
                        let group = self.gather(first, subscribed, &mut pieces);
                        match group {
                            Ok(bytes) => unproven += bytes,
                            Err(error) => return Err(self.reject(session, error)),
                        }
                    }
                    Ok(None) => more = false,
                    Err(error) if error.kind == ErrorKind::Protocol => return Err(self.reject(session, error)),
                    Err(_) => return Ok(lost(session).await),
                },
                _ = &mut gone => return Ok(Stop::Again(Duration::ZERO)),
            }
        }
    }

    /// Hands what has arrived to the proving threads; gives its bytes.
    fn gather(
        &self,
        first: Told,
        subscribed: &mut Subscribed,
        pieces: &mut VecDeque<Piece>,
    ) -> Result<usize, ClientError> {
        let (mut raws, mut bytes, mut total) = (Vec::new(), 0, 0);
        let mut next = Some(first);
        while let Some(told) = next {
            match told {
                Told::Deliver { cursor, received_at, batch, .. } => {
                    bytes += batch.len();
                    raws.push(Raw { cursor, received_at, batch });
                }
                Told::CaughtUp { cursor, state, .. } => {
                    self.prove(&mut raws, &mut bytes, pieces);
                    pieces.push_back(Piece::CaughtUp { cursor, state });
                }
                Told::Ended { cursor, error, .. } => {
                    self.prove(&mut raws, &mut bytes, pieces);
                    pieces.push_back(Piece::Ended { cursor, error });
                    return Ok(total);
                }
                Told::Hello(_)
                | Told::SignedIn { .. }
                | Told::Ack { .. }
                | Told::Subscribed { .. }
                | Told::Refused { .. }
                | Told::Unsubscribed { .. }
                | Told::Pong { .. } => {
                    return Err(ClientError::protocol("an answer came on a subscription's stream"));
                }
            }
            total += raws.last().filter(|_| bytes > 0).map_or(0, |raw: &Raw| raw.batch.len());
            if bytes >= GROUP_BYTES_MAX {
                break;
            }
            next = subscribed.next_ready()?;
        }
        self.prove(&mut raws, &mut bytes, pieces);
        Ok(total)
    }

    fn prove(&self, raws: &mut Vec<Raw>, bytes: &mut usize, pieces: &mut VecDeque<Piece>) {
        if raws.is_empty() {
            return;
        }
        let (raws, verifier) = (std::mem::take(raws), self.core.verifier.clone());
        let keyring = self.core.publishing.keyring().clone();
        let proven = if pieces.is_empty()
            && raws.len() == 1
            && *bytes <= PROVEN_HERE_BYTES_MAX
            && !raws.iter().any(|raw| Batch::is_of_plugin(&raw.batch))
            && !keyring.has_plugins()
        {
            let (sender, proven) = oneshot::channel();
            drop(sender.send(prove(&verifier, &keyring, raws)));
            proven
        } else {
            self.core.provers.ask(move || prove(&verifier, &keyring, raws))
        };
        pieces.push_back(Piece::Batches { bytes: std::mem::take(bytes), proven });
    }

    /// Takes proven batches in, in order.
    async fn bring(&mut self, session: &Arc<Session>, proven: Proven) -> Result<(), Stop> {
        let mut unknown = proven.unknown.into_iter().peekable();
        for (index, (batch, contents, cursor, received_at)) in proven.batches.into_iter().enumerate() {
            while let Some(before) = unknown.next_if(|it| it.at <= index) {
                self.pass_over(before)?;
            }
            self.take(session, batch, contents, cursor, received_at).await?;
        }
        unknown.try_for_each(|last| self.pass_over(last))?;
        match proven.error {
            // It may be told later, and nobody is to blame.
            Some(error) if error.code == Some(Code::SignatureUnavailable) => Err(self.doubt(error)),
            Some(error) => Err(self.reject(session, error)),
            None => Ok(()),
        }
    }

    /// A batch of a signature type that nobody here knows: that is told, and what is behind it is read.
    fn pass_over(&mut self, unknown: Unknown) -> Result<(), Stop> {
        let at = self.ask.at;
        self.out.send(Item::Notice(Delivery::Rejected { at, error: unknown.error }))?;
        // They came: that they are left out was told.
        self.counted += if self.told_caught_up { 0 } else { unknown.count };
        self.cursor = Some(unknown.cursor);
        Ok(())
    }

    /// Whether a batch holds cannot be told now: it is read again in a moment, a few times.
    fn doubt(&mut self, error: ClientError) -> Stop {
        self.bad += 1;
        tracing::warn!(at = %self.ask.at, %error, "a batch could not be proven now");
        if self.bad > self.core.config.subscribe.bad_batches_max {
            return Stop::Ended(Err(error));
        }
        Stop::Again(AGAIN)
    }

    async fn take(
        &mut self,
        session: &Arc<Session>,
        batch: VerifiedBatch,
        contents: Contents,
        cursor: Cursor,
        received_at: i64,
    ) -> Result<(), Stop> {
        let (header, id) = (batch.header().clone(), batch.id());
        self.check(session, &header).await?;
        if !self.told_caught_up {
            self.counted += u64::from(header.count.saturating_sub(cursor.skip()));
        }
        let mut verdict = self.guard.judge(&header, id);
        if let Verdict::Gap { timestamp, .. } = verdict {
            self.fill(session, &header, timestamp).await?;
            verdict = self.guard.judge(&header, id);
        }
        match verdict {
            Verdict::Duplicate => {}
            Verdict::Fork { first: None } => {}
            Verdict::Fork { first: Some(first) } => {
                let fork = Fork {
                    at: self.ask.at,
                    origin: header.origin,
                    series: header.series,
                    sequence: header.sequence,
                    first,
                    second: id,
                };
                self.out.send(Item::Notice(Delivery::Fork(fork)))?;
            }
            Verdict::Next | Verdict::Gap { .. } => {
                if let Verdict::Gap { from, .. } = verdict {
                    let gap = Gap {
                        at: self.ask.at,
                        origin: header.origin,
                        series: header.series,
                        from,
                        to: header.sequence,
                    };
                    self.out.send(Item::Notice(Delivery::Gap(gap)))?;
                }
                self.guard.take(&header, id);
                if self.is_permitted(session, &header).await? {
                    self.output(EventBatch::new(batch, contents, cursor, received_at, &self.ask.filter))
                        .await?;
                }
            }
        }
        self.bad = 0;
        self.cursor = Some(cursor.with_skip(header.count));
        Ok(())
    }

    /// Whether a proven batch is one that was asked for.
    async fn check(&mut self, session: &Arc<Session>, header: &Header) -> Result<(), Stop> {
        let wrong = if header.stream_partition != self.ask.at {
            Some(format!("a batch of {} came for {}", header.stream_partition, self.ask.at))
        } else if self.ask.filter.origin.is_some_and(|origin| origin != header.origin) {
            Some(format!("a batch of {} came, which is not the origin that was asked for", header.origin))
        } else {
            None
        };
        if let Some(wrong) = wrong {
            return Err(self.reject(session, ClientError::new(ErrorKind::InvalidMessage, wrong)));
        }
        Ok(())
    }

    /// Whether the chain lets a batch's origin publish; if not, that is told and the batch passed over. A chain that does not
    /// answer is asked again.
    ///
    /// Only of what is live: today's rights say nothing about events of the past.
    async fn is_permitted(&self, session: &Arc<Session>, header: &Header) -> Result<bool, Stop> {
        let Some(chain) = self.core.chain.as_ref().filter(|_| self.check_publishers && self.told_caught_up)
        else {
            return Ok(true);
        };
        let mut stop = self.stop.clone();
        let (mut gone, mut wait) = (std::pin::pin!(session.ended()), AGAIN);
        loop {
            match chain.may_publish(self.ask.at.stream, header.origin).await {
                Ok(true) => return Ok(true),
                Ok(false) => {
                    let message = format!("{} may not publish to {}", header.origin, self.ask.at.stream);
                    let error = ClientError::new(ErrorKind::MissingPermission, message);
                    self.out.send(Item::Notice(Delivery::Rejected { at: self.ask.at, error }))?;
                    return Ok(false);
                }
                Err(error) => tracing::warn!(%error, "the chain does not say who may publish; asking again"),
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => wait = (2 * wait).min(AGAIN_MAX),
                () = stopped(&mut stop) => return Err(Stop::Left),
                _ = &mut gone => return Err(Stop::Again(Duration::ZERO)),
            }
        }
    }

    async fn output(&mut self, batch: EventBatch) -> Result<(), Stop> {
        let left = self.left().filter(|_| self.resumed);
        let batch = left.map_or_else(|| batch.clone(), |left| batch.clone().first(left));
        let events = batch.len();
        self.latest = self.latest.max(Some(batch.header().timestamp_max));
        if events == 0 {
            return Ok(());
        }
        self.events += events as u64;
        self.out.batch(batch).await?;
        if left.is_some() && self.left() == Some(0) { Err(Stop::Ended(Ok(true))) } else { Ok(()) }
    }

    fn caught_up(&mut self, session: &Arc<Session>, cursor: Cursor, state: CaughtUp) -> Result<(), Stop> {
        let CaughtUp { events, damaged, more } = state;
        if !self.told_caught_up && events != self.counted {
            let error = ClientError::new(
                ErrorKind::Gap,
                format!("the broker counts {events} events of the past, {} came", self.counted),
            );
            return Err(self.reject(session, error));
        }
        self.cursor = Some(cursor);
        self.start();
        if damaged > 0 {
            let damage = Damage { at: self.ask.at, batches: damaged };
            self.out.send(Item::Notice(Delivery::Damaged(damage)))?;
        }
        if !more && !std::mem::replace(&mut self.told_caught_up, true) {
            self.out.send(Item::CaughtUp { at: self.ask.at, cursor })?;
        }
        Ok(())
    }

    fn ended(&mut self, cursor: Option<Cursor>, error: Option<ClientError>) -> Stop {
        // A cursor in history ends where its history ended; behind that is what came since.
        let from_history = matches!(self.ask.start, ReadStart::Cursor(Cursor::History { .. }));
        if let (None, true, Some(Cursor::Arrival { .. })) = (&error, from_history, cursor) {
            self.cursor = cursor;
            self.ask.start = cursor.map_or(self.ask.start, ReadStart::Cursor);
            return Stop::Again(Duration::ZERO);
        }
        match error {
            None if self.ask.live => Stop::Again(AGAIN),
            None => Stop::Ended(Ok(true)),
            Some(error) if error.code == Some(Code::DamagedHistory) && !self.ask.live => {
                Stop::Ended(Ok(false))
            }
            Some(error) => self.refused(error),
        }
    }

    /// The broker does not go on with a subscription.
    fn refused(&mut self, error: ClientError) -> Stop {
        if error.code == Some(Code::InvalidCursor) && self.cursor.take().is_some() {
            // Another store than before. By time, then; what was had is told apart by its series.
            tracing::warn!(at = %self.ask.at, "the broker does not know our place any more; resuming by time");
            if let Some(latest) = self.latest {
                self.ask.start = ReadStart::From;
                self.ask.filter.from = self.ask.filter.from.max(latest.saturating_sub(LOOK_BACK_MS));
            }
            let at = self.ask.at;
            let notice = self.out.send(Item::Notice(Delivery::Rejected { at, error }));
            return notice.err().map_or(Stop::Again(Duration::ZERO), Stop::from);
        }
        let lost = matches!(error.kind, ErrorKind::Disconnected | ErrorKind::Timeout);
        let busy = matches!(error.kind, ErrorKind::Overloaded | ErrorKind::Storage | ErrorKind::Chain);
        if lost {
            Stop::Again(Duration::ZERO)
        } else if busy && self.started.is_none() {
            Stop::Again(AGAIN)
        } else {
            Stop::Ended(Err(error))
        }
    }

    /// The broker sent something that does not hold: tell, and read on over another connection.
    fn reject(&mut self, session: &Arc<Session>, error: ClientError) -> Stop {
        self.bad += 1;
        tracing::warn!(at = %self.ask.at, %error, "the broker sent something that does not hold");
        session.fail(error.clone());
        if self.bad > self.core.config.subscribe.bad_batches_max {
            return Stop::Ended(Err(error));
        }
        let at = self.ask.at;
        let notice = self.out.send(Item::Notice(Delivery::Rejected { at, error }));
        notice.err().map_or(Stop::Again(Duration::ZERO), Stop::from)
    }
}
