use super::{CLOSE_DONE, CLOSE_REFUSED, delivery::Deliveries};
use crate::{
    NodeHandle, QuicConfig, SessionConfig, Workers,
    config::ms,
    frame::{BadRequest, ClientMessage, FrameReader, decode_request, put_front},
    session::{Outbox, Outgoing, Requests, Session, SessionParts},
};
use bytes::{Buf, Bytes, BytesMut};
use mainstem_model::{Code, Refusal};
use quinn::{Connection, Incoming, RecvStream, SendStream};
use std::time::Duration;
use tokio::{
    sync::watch,
    time::{Instant, timeout, timeout_at},
};

/// What every connection needs.
#[derive(Debug)]
pub(super) struct Connections {
    pub(super) config: QuicConfig,
    pub(super) session: SessionConfig,
    pub(super) handle: NodeHandle,
    pub(super) workers: Workers,
    /// The name under which sign-ins are taken: [`TlsIdentity::audience`](crate::TlsIdentity::audience).
    pub(super) audience: String,
}

/// How long a closing connection waits for its last words to be taken.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves one connection to its end.
pub(super) async fn serve_connection(incoming: Incoming, all: &Connections, stopped: watch::Receiver<bool>) {
    let remote = incoming.remote_address();
    let handshake = async {
        let connection = incoming.accept().ok()?.await.ok()?;
        Some(connection)
    };
    let Ok(Some(connection)) = timeout(ms(all.config.handshake_ms), handshake).await else {
        return tracing::debug!(%remote, "handshake failed");
    };
    let refusal = match timeout(ms(all.config.handshake_ms), connection.accept_bi()).await {
        Ok(Ok((down, up))) => serve_session(&connection, down, up, all, stopped).await,
        Ok(Err(_closed)) => None,
        Err(_elapsed) => Some(Refusal::new(
            Code::MalformedFrame,
            "the session stream was not opened in time; send a first frame on a bidirectional stream",
        )),
    };
    match refusal {
        None => connection.close(CLOSE_DONE, b""),
        Some(refusal) => {
            tracing::debug!(%remote, %refusal, "connection refused");
            connection.close(CLOSE_REFUSED, refusal.to_string().as_bytes());
        }
    }
}

async fn serve_session(
    connection: &Connection,
    down: SendStream,
    up: RecvStream,
    all: &Connections,
    mut stopped: watch::Receiver<bool>,
) -> Option<Refusal> {
    let parts = SessionParts {
        handle: &all.handle,
        workers: &all.workers,
        publisher: None,
        config: &all.session,
        audience: all.audience.clone(),
    };
    let (session, outbox) = match Session::open(parts).await {
        Ok(opened) => opened,
        Err(refusal) => return Some(refusal),
    };
    let deliveries =
        Deliveries::new(connection.clone(), session.id(), all.handle.clone(), all.config.ended_streams_max);
    let writer = Writer { down, outbox, deliveries };
    let writing = tokio::spawn(writer.run());
    let mut requests = FrameRequests::new(up, ms(all.config.frame_ms));
    let stop = async move {
        // A sender that is gone stops too.
        let _ = stopped.wait_for(|stopped| *stopped).await;
        Refusal::new(Code::ShuttingDown, "the node is shutting down; connect again in a moment")
    };
    let told = session.run(&mut requests, stop).await;
    let last = timeout(LAST_WORDS, writing).await.ok().and_then(Result::ok).flatten();
    told.or(last)
}

/// The way up: frames of the session stream.
struct FrameRequests {
    up: RecvStream,
    reader: FrameReader,
    chunks: [Bytes; CHUNKS],
    /// Chunks `at..filled` are still to be read.
    at: usize,
    filled: usize,
    frame_time: Duration,
    deadline: Option<Instant>,
}

/// Pieces taken from the stream at once; each is a packet's worth.
const CHUNKS: usize = 32;

impl FrameRequests {
    fn new(up: RecvStream, frame_time: Duration) -> Self {
        Self {
            up,
            reader: FrameReader::default(),
            chunks: [const { Bytes::new() }; CHUNKS],
            at: 0,
            filled: 0,
            frame_time,
            deadline: None,
        }
    }

    fn read_chunk(&mut self) -> Result<Option<Result<ClientMessage, BadRequest>>, Refusal> {
        let chunk = &mut self.chunks[self.at];
        let mut rest = &chunk[..];
        let frame = self.reader.read(&mut rest)?;
        let read = chunk.len() - rest.len();
        chunk.advance(read);
        if chunk.is_empty() {
            *chunk = Bytes::new();
            self.at += 1;
        }
        Ok(frame.map(|frame| decode_request(&frame.head, frame.body)))
    }
}

impl Requests for FrameRequests {
    fn has_more(&self) -> bool {
        self.at < self.filled || self.reader.is_within_frame()
    }

    async fn next(&mut self) -> Result<Option<Result<ClientMessage, BadRequest>>, Refusal> {
        loop {
            while self.at < self.filled {
                if let Some(request) = self.read_chunk()? {
                    self.deadline = None;
                    return Ok(Some(request));
                }
            }
            let chunks = self.up.read_chunks(&mut self.chunks);
            let read = if self.reader.is_within_frame() {
                let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + self.frame_time);
                timeout_at(deadline, chunks).await.map_err(|_| {
                    Refusal::new(Code::MalformedFrame, "the frame did not come whole in time; send it faster")
                })?
            } else {
                chunks.await
            };
            (self.at, self.filled) = match read {
                Ok(Some(count)) => (0, count),
                // Finished, reset, or the connection is gone: no more requests.
                Ok(None) | Err(_) => return Ok(None),
            };
        }
    }
}

/// The way down: answers on the session stream, deliveries on their own.
struct Writer {
    down: SendStream,
    outbox: Outbox,
    deliveries: Deliveries,
}

impl Writer {
    /// Writes until the session has ended; gives the refusal of the session as a whole that was written, if any.
    async fn run(mut self) -> Option<Refusal> {
        // Answers go before deliveries.
        let _ = self.down.set_priority(1);
        let mut taken: Vec<Outgoing> = Vec::new();
        let mut answers = BytesMut::new();
        let mut last = None;
        while last.is_none() && self.outbox.take(&mut taken).await {
            for outgoing in taken.drain(..) {
                if outgoing.is_last {
                    last = outgoing.frame.refusal().cloned();
                }
                if let Some(answer) = self.deliveries.route(outgoing) {
                    put_front(&answer, &mut answers);
                }
            }
            if let Err(refusal) = self.deliveries.check() {
                put_front(&crate::frame::ServerFrame::refused(0, refusal.clone()), &mut answers);
                last = Some(refusal);
            }
            if answers.is_empty() {
                continue;
            }
            let write = self.down.write_chunk(answers.split().freeze());
            if last.is_some() {
                // A client that ends because it reads nothing need not take these words either.
                let _ = timeout(LAST_WORDS, write).await;
            } else if write.await.is_err() {
                return None;
            }
        }
        // IMPORTANT: the client must have the last words before the connection is closed, which discards what is under way.
        if self.down.finish().is_ok() {
            let _ = timeout(LAST_WORDS, self.down.stopped()).await;
        }
        last
    }
}
