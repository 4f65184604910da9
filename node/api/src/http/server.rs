use super::{HttpConfig, error::ErrorBody};
use crate::{
    shares::{Share, Shares},
    websocket::Stop,
};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use mainstem_model::{Code, Refusal};
use std::{
    future::Future,
    io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Sleep, sleep, timeout},
};

/// The least that hyper takes as its buffer for headers.
const HEADER_BYTES_MIN: usize = 8 << 10;
/// Headers of one request.
const HEADERS_MAX: usize = 100;
/// Connections over their address' share that are told so at a time; further ones are closed without a word.
const TOLD_MAX: usize = 16;
/// How long one of them may take to hear it, and what is read of it meanwhile.
const TOLD_TIME: Duration = Duration::from_secs(1);
const READ_BYTES_MAX: u64 = 64 << 10;
/// What is waited after an accept that failed for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves HTTP/1.1 until `stop` turns true (or its sender is gone); then takes no more connections, ends the open requests and
/// returns, at the latest after `drain`. WebSockets are closed with 1001 and `SHUTTING_DOWN`.
///
/// Bounds (threat T13): connections, bytes and time of headers, time in which a client takes nothing. Only HTTP/1.1: there is no multiplexing to flood.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    config: &HttpConfig,
    mut stop: watch::Receiver<bool>,
    drain: Duration,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(config.header_timeout_ms))
        .max_buf_size(config.header_bytes_max.max(HEADER_BYTES_MIN))
        .max_headers(HEADERS_MAX);
    let slots = u32::try_from(config.connections_max.max(1)).unwrap_or(u32::MAX);
    let room = Arc::new(Semaphore::new(slots as usize));
    // Sockets outlive their requests; this is how they hear of the end.
    let router = router.layer(Extension(Stop(Some(stop.clone()))));
    let shares = Shares::new(config.connections_per_address_max);
    let told = Arc::new(Semaphore::new(TOLD_MAX));
    let patience = Duration::from_millis(config.write_timeout_ms);
    while !*stop.borrow() {
        let accepted = tokio::select! {
            _ = stop.changed() => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let Ok((stream, address, place)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Some(share) = shares.take(address) else {
            if let Ok(telling) = told.clone().try_acquire_owned() {
                tokio::spawn(tell_full(stream, telling));
            }
            continue;
        };
        let stream = Connection { stream, patience, stalled: None, _place: place, _share: share };
        let connection = http
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()))
            .with_upgrades();
        let mut stop = stop.clone();
        tokio::spawn(async move {
            let mut connection = std::pin::pin!(connection);
            // A connection that breaks is its client's affair.
            tokio::select! {
                _ = connection.as_mut() => return,
                _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        });
    }
    drop(listener);
    let _ = timeout(drain, room.acquire_many(slots)).await;
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
    let place = room.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, remote) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, remote.ip(), place))
}

/// Says that an address has as many connections as it may. Nothing is read before: who has too many gets one answer.
async fn tell_full(mut stream: TcpStream, telling: OwnedSemaphorePermit) {
    let refusal = Refusal::new(
        Code::LimitReached,
        "the limit of connections of one address is reached; close some, or use one for many requests",
    );
    let body = ErrorBody::of(&refusal).to_text();
    let answer = format!(
        "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\nretry-after: 1\r\n\r\n{body}",
        body.len()
    );
    let told = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // What was sent and not read would turn the close into a reset, which overtakes the answer.
        tokio::io::copy(&mut (&mut stream).take(READ_BYTES_MAX), &mut tokio::io::sink()).await
    };
    let _ = timeout(TOLD_TIME, told).await;
    drop(telling);
}

/// A connection that holds its place, also after it has become a WebSocket.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    /// How long a write may wait without anything of it being taken.
    patience: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
    _share: Share,
}

impl Connection {
    /// Ends a write that has waited for too long.
    fn bounded<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        match stalled.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bounded(written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.bounded(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
