use crate::{
    limiter::{Bucket, Rate},
    peer::Directory,
};
use futures_util::{AsyncRead, AsyncWrite};
use libp2p::core::{
    StreamMuxer, UpgradeInfo,
    muxing::StreamMuxerEvent,
    upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade},
};
use std::{
    collections::VecDeque,
    future::{Future, Ready, ready},
    io, iter,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker, ready},
    time::Instant,
};
use tokio::time::{Sleep, sleep};

/// Yamux with bounds.
///
/// libp2p's own wrapper leaves the receive windows of a connection at 1 GiB and offers no way to set them.
#[derive(Clone, Debug)]
pub(crate) struct Yamux(yamux::Config);

impl Yamux {
    /// `window_bytes` for all streams of a connection together, at least 256 KiB for each of `streams_max`.
    pub(crate) fn new(window_bytes: usize, streams_max: usize) -> Self {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(streams_max);
        config.set_max_connection_receive_window(Some(window_bytes));
        Self(config)
    }
}

impl UpgradeInfo for Yamux {
    type Info = &'static str;
    type InfoIter = iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        iter::once("/yamux/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Yamux {
    type Output = YamuxMuxer<C>;
    type Error = io::Error;
    type Future = Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, io: C, _: Self::Info) -> Self::Future {
        ready(Ok(YamuxMuxer::new(yamux::Connection::new(io, self.0, yamux::Mode::Server))))
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Yamux {
    type Output = YamuxMuxer<C>;
    type Error = io::Error;
    type Future = Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_outbound(self, io: C, _: Self::Info) -> Self::Future {
        ready(Ok(YamuxMuxer::new(yamux::Connection::new(io, self.0, yamux::Mode::Client))))
    }
}

pub(crate) struct YamuxMuxer<C> {
    connection: yamux::Connection<C>,
    /// Streams that came while nobody asked for them: yamux moves bytes only while it is asked for the next stream. Not more
    /// than yamux' own bound on streams, at which it ends the connection.
    waiting: VecDeque<yamux::Stream>,
    waker: Option<Waker>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> YamuxMuxer<C> {
    fn new(connection: yamux::Connection<C>) -> Self {
        Self { connection, waiting: VecDeque::new(), waker: None }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<yamux::Stream>> {
        let next = ready!(self.connection.poll_next_inbound(cx));
        Poll::Ready(next.unwrap_or(Err(yamux::ConnectionError::Closed)).map_err(io::Error::other))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for YamuxMuxer<C> {
    type Substream = yamux::Stream;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<yamux::Stream>> {
        if let Some(stream) = self.waiting.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        if let Poll::Ready(next) = self.poll_next(cx) {
            return Poll::Ready(next);
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<yamux::Stream>> {
        self.connection.poll_new_outbound(cx).map_err(io::Error::other)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.poll_close(cx).map_err(io::Error::other)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        let stream = ready!(self.poll_next(cx))?;
        self.waiting.push_back(stream);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        // There may be more to do; others shall run in between.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A muxer that takes new streams from its peer only at a bounded rate, whatever protocol they are for.
pub(crate) struct Limited<M> {
    muxer: M,
    bucket: Bucket,
    wait: Option<Pin<Box<Sleep>>>,
    directory: Arc<Directory>,
}

impl<M> Limited<M> {
    pub(crate) fn new(muxer: M, rate: Rate, directory: Arc<Directory>) -> Self {
        Self { muxer, bucket: Bucket::new(rate, Instant::now()), wait: None, directory }
    }
}

impl<M: StreamMuxer + Unpin> StreamMuxer for Limited<M> {
    type Substream = M::Substream;
    type Error = M::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<M::Substream, M::Error>> {
        let this = &mut *self;
        loop {
            if let Some(wait) = &mut this.wait {
                ready!(wait.as_mut().poll(cx));
                this.wait = None;
            }
            match this.bucket.check(Instant::now()) {
                Ok(()) => break,
                Err(wait) => {
                    this.directory.counters.substreams_delayed.fetch_add(1, Ordering::Relaxed);
                    this.wait = Some(Box::pin(sleep(wait)));
                }
            }
        }
        let stream = ready!(Pin::new(&mut this.muxer).poll_inbound(cx))?;
        // There is one: that was looked at above, and time only adds.
        let _ = this.bucket.take(Instant::now());
        Poll::Ready(Ok(stream))
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<M::Substream, M::Error>> {
        Pin::new(&mut self.muxer).poll_outbound(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), M::Error>> {
        Pin::new(&mut self.muxer).poll_close(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, M::Error>> {
        Pin::new(&mut self.muxer).poll(cx)
    }
}
