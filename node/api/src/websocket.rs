//! WebSocket sessions: JSON in text messages, or the native frames in binary ones.
//!
//! The HTTP listener opens them (`/ws`) after it has checked `Host` and `Origin`. JSON is for hands and light clients: events
//! come one a message, `{"type":"event",…}`, in the shape that history has over HTTP. Messages are bounded, nothing is
//! compressed, and what waits for a socket is bounded by the broker, which is told what the socket has taken.

mod request;
mod response;

use crate::{
    NodeHandle, NodePublisher, SessionConfig, WebSocketConfig, Workers,
    config::ms,
    frame::{BadRequest, ClientMessage, ServerFrame, decode_request, message_of, split_message},
    session::{Asked, Outbox, Outgoing, Requests, Session, SessionParts},
};
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use mainstem_model::{Address, Code, Refusal};
use mainstem_protocol::{InEvent, ServerMessage, SessionId, SubscriptionId};
use request::JsonReader;
use response::JsonWriter;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

/// What every WebSocket session of a node needs.
#[derive(Debug)]
pub(crate) struct WebSockets {
    pub(crate) handle: NodeHandle,
    pub(crate) workers: Workers,
    pub(crate) publisher: Arc<NodePublisher>,
    pub(crate) session: SessionConfig,
    pub(crate) config: WebSocketConfig,
    /// The partition for events that name neither partition nor key.
    pub(crate) any_partition: u16,
}

/// The forms that messages have; a client chooses by sub-protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubProtocol {
    /// Text.
    Json,
    /// Binary.
    Capnp,
}

impl SubProtocol {
    pub(crate) const ALL: [Self; 2] = [Self::Json, Self::Capnp];

    /// Its name in `Sec-WebSocket-Protocol`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Json => "mainstem.json.v1",
            Self::Capnp => "mainstem.capnp.v1",
        }
    }
}

/// Who comes through the door.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    /// What the client signs in to: the web origin it came from, or the name it called the node by.
    pub(crate) audience: String,
    /// Set by an API key.
    pub(crate) identity: Option<Address>,
    pub(crate) protocol: SubProtocol,
    /// Says when the node shuts down.
    pub(crate) stop: Stop,
}

/// Says when the node shuts down; never when it was not told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(pub(crate) Option<watch::Receiver<bool>>);

impl Stop {
    /// Waits for it; gives what clients are told. Cancel safe.
    pub(crate) async fn asked(&mut self) -> Refusal {
        match &mut self.0 {
            // A sender that is gone stops too.
            Some(stop) => drop(stop.wait_for(|stop| *stop).await),
            None => std::future::pending().await,
        }
        Refusal::new(Code::ShuttingDown, "the node is shutting down; connect again in a moment")
    }
}

/// How long a closing session waits for its last words to be taken.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Bounds of a socket, to be set before it is upgraded.
pub(crate) fn bounded(upgrade: WebSocketUpgrade, config: &WebSocketConfig) -> WebSocketUpgrade {
    upgrade
        .max_message_size(config.message_bytes_max)
        .max_frame_size(config.message_bytes_max)
        .read_buffer_size(config.read_buffer_bytes)
        .write_buffer_size(config.write_buffer_bytes)
        .max_write_buffer_size(config.write_buffer_bytes_max)
}

/// Serves one socket to its end.
pub(crate) async fn serve_websocket(mut socket: WebSocket, all: Arc<WebSockets>, visitor: Visitor) {
    let Visitor { audience, identity, protocol, mut stop } = visitor;
    let parts = SessionParts {
        handle: &all.handle,
        workers: &all.workers,
        publisher: identity.map(|identity| (all.publisher.clone(), identity)),
        config: &all.session,
        audience,
    };
    let (session, outbox) = match Session::open(parts).await {
        Ok(opened) => opened,
        Err(refusal) => return close(&mut socket, Some(&refusal)).await,
    };
    let (sink, stream) = socket.split();
    let progress = Arc::new(AtomicBool::new(false));
    let writer = Writer {
        sink,
        outbox,
        session: session.id(),
        handle: all.handle.clone(),
        form: match protocol {
            SubProtocol::Json => Form::Json(JsonWriter::default()),
            SubProtocol::Capnp => Form::Capnp,
        },
        ping: ms(all.config.ping_ms),
        progress: progress.clone(),
    };
    let mut writing = tokio::spawn(writer.run());
    let reader = match protocol {
        SubProtocol::Json => Some(JsonReader::new(all.clone(), identity)),
        SubProtocol::Capnp => None,
    };
    let mut requests = Messages { stream, json: reader, patience: 2 * ms(all.config.ping_ms), progress };
    let refusal = session.run(&mut requests, stop.asked()).await;
    let Ok(Ok((mut sink, last))) = timeout(LAST_WORDS, &mut writing).await else { return writing.abort() };
    let refusal = refusal.or(last);
    let _ = timeout(LAST_WORDS, sink.send(close_message(refusal.as_ref()))).await;
}

async fn close(socket: &mut WebSocket, refusal: Option<&Refusal>) {
    let _ = timeout(LAST_WORDS, socket.send(close_message(refusal))).await;
}

/// The close frame: 1000 for an end that the client wanted, 1001 for a shutdown, else 1008, with the code as its reason.
pub(crate) fn close_message(refusal: Option<&Refusal>) -> Message {
    let (code, reason) = match refusal.map(|refusal| refusal.code) {
        None => (close_code::NORMAL, ""),
        Some(code) if code == Code::ShuttingDown => (close_code::AWAY, code.as_str()),
        Some(code) => (close_code::POLICY, code.as_str()),
    };
    Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::from_static(reason) }))
}

/// The way in.
struct Messages {
    stream: SplitStream<WebSocket>,
    /// `None`: binary frames.
    json: Option<JsonReader>,
    /// How long a socket may give no sign of life.
    patience: Duration,
    /// The socket took something since this was last looked at.
    progress: Arc<AtomicBool>,
}

impl Requests for Messages {
    async fn next(&mut self) -> Result<Option<Result<ClientMessage, BadRequest>>, Refusal> {
        loop {
            let message = match timeout(self.patience, self.stream.next()).await {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => {
                    tracing::debug!(%error, "websocket broken");
                    return Err(Refusal::new(
                        Code::MalformedFrame,
                        "the message is too large or not a WebSocket message; GET /info tells the bounds",
                    ));
                }
                Ok(None) => return Ok(None),
                Err(_elapsed) if self.progress.swap(false, Ordering::Relaxed) => continue,
                Err(_elapsed) => return Ok(None),
            };
            return Ok(Some(match (message, &mut self.json) {
                (Message::Text(text), Some(json)) => json.read(text.as_str()),
                (Message::Binary(bytes), None) => split_message(bytes)
                    .map_err(|refusal| BadRequest { request: 0, refusal })
                    .and_then(|frame| decode_request(&frame.head, frame.body)),
                (Message::Text(_), None) => Err(wrong_kind("binary")),
                (Message::Binary(_), Some(_)) => Err(wrong_kind("text")),
                (Message::Ping(_) | Message::Pong(_), _) => continue,
                (Message::Close(_), _) => return Ok(None),
            }));
        }
    }
}

fn wrong_kind(expected: &str) -> BadRequest {
    let message = format!("this sub-protocol has {expected} messages only");
    BadRequest { request: 0, refusal: Refusal::new(Code::MalformedFrame, message) }
}

enum Form {
    Json(JsonWriter),
    Capnp,
}

/// The way out.
struct Writer {
    sink: SplitSink<WebSocket, Message>,
    outbox: Outbox,
    session: SessionId,
    handle: NodeHandle,
    form: Form,
    ping: Duration,
    progress: Arc<AtomicBool>,
}

impl Writer {
    /// Writes until the session has ended; gives the sink back for the close, and why the broker ended it, if it did.
    async fn run(mut self) -> (SplitSink<WebSocket, Message>, Option<Refusal>) {
        let mut taken: Vec<Outgoing> = Vec::new();
        let mut pinged = Instant::now();
        loop {
            let quiet = self.ping.saturating_sub(pinged.elapsed());
            if let Ok(false) = timeout(quiet, self.outbox.take(&mut taken)).await {
                return (self.sink, None);
            }
            let last = taken.iter().find(|outgoing| outgoing.is_last);
            let last = last.and_then(|outgoing| outgoing.frame.refusal().cloned());
            if self.write(&mut taken).await.is_err() || last.is_some() {
                return (self.sink, last);
            }
            if pinged.elapsed() >= self.ping {
                pinged = Instant::now();
                if self.sink.send(Message::Ping(bytes::Bytes::new())).await.is_err() {
                    return (self.sink, None);
                }
            }
        }
    }

    async fn write(&mut self, taken: &mut Vec<Outgoing>) -> Result<(), axum::Error> {
        if taken.is_empty() {
            return Ok(());
        }
        let mut flushed: BTreeMap<SubscriptionId, usize> = BTreeMap::new();
        for outgoing in taken.drain(..) {
            if let ServerFrame::Message(ServerMessage::Deliver { subscription, batch, .. }) = &outgoing.frame
            {
                *flushed.entry(*subscription).or_default() += batch.len();
            }
            match &mut self.form {
                Form::Capnp => self.sink.feed(Message::Binary(message_of(&outgoing.frame))).await?,
                Form::Json(writer) => {
                    for text in writer.texts(&outgoing) {
                        self.sink.feed(Message::Text(text.into())).await?;
                    }
                }
            }
            self.progress.store(true, Ordering::Relaxed);
        }
        self.sink.flush().await?;
        let session = self.session;
        for (subscription, bytes) in flushed {
            // A driver that is gone is noticed by the session.
            let _ = self.handle.event(InEvent::Flushed { session, subscription, bytes }).await;
        }
        Ok(())
    }
}
