//! Where one subscription's frames come from.

use crate::{ClientError, frame::Told, quic::QuicFrames};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
use tokio::sync::mpsc;

/// Frames of one subscription, in order.
#[derive(Debug)]
pub(crate) enum DeliverySource {
    /// A stream of its own; what is not read waits at the broker.
    Quic { frames: Box<QuicFrames>, first: Option<Told> },
    /// A share of the one socket.
    Shared(SharedSource),
}

impl DeliverySource {
    pub(crate) fn quic(frames: QuicFrames, first: Told) -> Self {
        Self::Quic { frames: Box::new(frames), first: Some(first) }
    }

    /// The next frame; `None` when nothing more comes. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Told>, ClientError> {
        match self {
            Self::Quic { frames, first } => match first.take() {
                Some(told) => Ok(Some(told)),
                None => frames.next().await,
            },
            Self::Shared(shared) => Ok(shared.next().await),
        }
    }

    /// The next frame if it is here already.
    pub(crate) fn next_ready(&mut self) -> Result<Option<Told>, ClientError> {
        match self {
            Self::Quic { frames, first } => match first.take() {
                Some(told) => Ok(Some(told)),
                None => frames.next_ready(),
            },
            Self::Shared(shared) => Ok(shared.next_ready()),
        }
    }

    /// Whether frames were dropped because nobody took them in time: resume from the last one that was had.
    pub(crate) fn has_overflowed(&self) -> bool {
        match self {
            Self::Quic { .. } => false,
            Self::Shared(shared) => shared.state.overflowed.load(Ordering::Acquire),
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    bytes: AtomicUsize,
    overflowed: AtomicBool,
}

/// The reading end of a share of a socket.
#[derive(Debug)]
pub(crate) struct SharedSource {
    frames: mpsc::UnboundedReceiver<Told>,
    state: Arc<Shared>,
}

/// The writing end, in the socket's reader. IMPORTANT: it never waits, as acks come over the same socket: at its bound it
/// drops what comes, and the subscription resumes when there is room.
#[derive(Debug)]
pub(crate) struct SharedSink {
    frames: Option<mpsc::UnboundedSender<Told>>,
    state: Arc<Shared>,
    bytes_max: usize,
}

pub(crate) fn shared(bytes_max: usize) -> (SharedSink, SharedSource) {
    let (sink, frames) = mpsc::unbounded_channel();
    let state = Arc::new(Shared::default());
    (SharedSink { frames: Some(sink), state: state.clone(), bytes_max }, SharedSource { frames, state })
}

impl SharedSink {
    /// `false` when the subscription is not to be read any more.
    pub(crate) fn put(&mut self, told: Told) -> bool {
        let Some(frames) = &self.frames else { return false };
        let bytes = weight(&told);
        let waiting = self.state.bytes.fetch_add(bytes, Ordering::Relaxed);
        if waiting > 0 && waiting + bytes > self.bytes_max {
            self.state.overflowed.store(true, Ordering::Release);
            self.frames = None;
            return false;
        }
        frames.send(told).is_ok()
    }
}

impl SharedSource {
    async fn next(&mut self) -> Option<Told> {
        let told = self.frames.recv().await?;
        Some(self.taken(told))
    }

    fn next_ready(&mut self) -> Option<Told> {
        let told = self.frames.try_recv().ok()?;
        Some(self.taken(told))
    }

    fn taken(&self, told: Told) -> Told {
        self.state.bytes.fetch_sub(weight(&told), Ordering::Relaxed);
        told
    }
}

fn weight(told: &Told) -> usize {
    if let Told::Deliver { batch, .. } = told { batch.len() + 128 } else { 128 }
}
