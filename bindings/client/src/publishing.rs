//! All publishers of one client: what is ready to be sent, within the broker's window.

use crate::{
    ClientError, PublishConfig, encryption::Keyring, lane::Lane, session::Session, workers::Workers,
};
use bytes::Bytes;
use mainstem_model::{Network, SealContext, Signer, StreamPartition};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::runtime::Handle;

/// Bytes of batches that are written at once: few wake-ups, and requests never wait long.
const GATHERED_BYTES_MAX: usize = 256 << 10;

#[derive(Debug)]
pub(crate) struct Publishing {
    network: Network,
    signer: Option<Signer>,
    keyring: Arc<Keyring>,
    window_bytes: usize,
    sealer: Workers,
    runtime: Handle,
    /// Lanes with something to send.
    ready: Mutex<VecDeque<Arc<Lane>>>,
    /// The window is full: whoever makes room wakes the writer.
    waiting: AtomicBool,
    /// Lanes that are in use or have something to send.
    lanes: Mutex<Vec<Arc<Lane>>>,
    /// Number of the session that batches go to; 0 is none.
    current: AtomicU64,
    /// That session, to wake its writer. IMPORTANT: never another's, who would swallow it.
    session: Mutex<Option<Arc<Session>>>,
    sessions: AtomicU64,
    closed: Mutex<Option<ClientError>>,
}

/// What sending of one lane came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    /// It has no more to send now.
    Done,
    /// Enough was gathered.
    Enough,
    /// The window is full.
    WindowFull,
    /// Batches go to another session now.
    Stale,
}

impl Publishing {
    pub(crate) const fn new(
        network: Network,
        signer: Option<Signer>,
        keyring: Arc<Keyring>,
        window_bytes: usize,
        sealer: Workers,
        runtime: Handle,
    ) -> Self {
        Self {
            network,
            signer,
            keyring,
            window_bytes,
            sealer,
            runtime,
            ready: Mutex::new(VecDeque::new()),
            waiting: AtomicBool::new(false),
            lanes: Mutex::new(Vec::new()),
            current: AtomicU64::new(0),
            session: Mutex::new(None),
            sessions: AtomicU64::new(0),
            closed: Mutex::new(None),
        }
    }

    /// The content keys.
    pub(crate) const fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    pub(crate) const fn sealer(&self) -> &Workers {
        &self.sealer
    }

    pub(crate) const fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// A number for a new session.
    pub(crate) fn next_session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A lane with a new series.
    pub(crate) fn open_lane(
        self: &Arc<Self>,
        at: StreamPartition,
        config: PublishConfig,
    ) -> Result<Arc<Lane>, ClientError> {
        let signer = self.signer.clone().ok_or_else(|| {
            ClientError::new(
                crate::ErrorKind::NotConfigured,
                "publishing takes a key: set the identity in the configuration",
            )
        })?;
        let (network, origin) = (self.network.id(), signer.origin());
        let sealing = self.keyring.sealing(SealContext { network, stream_partition: at, origin })?;
        let closed = lock(&self.closed);
        if let Some(error) = &*closed {
            return Err(error.clone());
        }
        let lane = Lane::start(self.clone(), self.network, at, signer, sealing, config);
        let mut lanes = lock(&self.lanes);
        lanes.retain(|lane| lane.is_in_use());
        lanes.push(lane.clone());
        Ok(lane)
    }

    pub(crate) fn lanes(&self) -> Vec<Arc<Lane>> {
        lock(&self.lanes).clone()
    }

    fn wake(&self) {
        if let Some(session) = &*lock(&self.session) {
            session.ready.notify_one();
        }
    }

    /// A lane has something to send.
    pub(crate) fn enqueue(&self, lane: Arc<Lane>) {
        lock(&self.ready).push_back(lane);
        self.wake();
    }

    /// Room was made in the window.
    pub(crate) fn wake_if_waiting(&self) {
        if self.waiting.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Whether batches go to this session.
    pub(crate) fn is_current(&self, session: &Session) -> bool {
        self.current.load(Ordering::SeqCst) == session.number
    }

    /// Puts batches to send into `chunks`, as many as the window and a handful take.
    pub(crate) fn collect(&self, session: &Arc<Session>, chunks: &mut Vec<Bytes>) {
        if !self.is_current(session) {
            return;
        }
        let mut budget = GATHERED_BYTES_MAX;
        while let Some(lane) = { lock(&self.ready).pop_front() } {
            match lane.send(session, self.window_bytes, &mut budget, chunks) {
                Sending::Done => {}
                // Another session has taken over meanwhile: it is for its writer.
                Sending::Stale => return self.enqueue(lane),
                Sending::Enough => return lock(&self.ready).push_back(lane),
                Sending::WindowFull => {
                    self.waiting.store(true, Ordering::SeqCst);
                    lock(&self.ready).push_front(lane);
                    // IMPORTANT: an ack may have made room between the look at the window and the store above.
                    if session.publish_bytes.load(Ordering::SeqCst) > 0 {
                        return;
                    }
                    self.waiting.store(false, Ordering::SeqCst);
                }
            }
        }
    }

    /// From now on batches go to this session; everything that is not acked is sent again, in order.
    pub(crate) fn begin(&self, session: &Arc<Session>) {
        // IMPORTANT: first the session, then the lanes: whatever a former session's writer still takes is taken back.
        self.current.store(session.number, Ordering::SeqCst);
        *lock(&self.session) = Some(session.clone());
        self.waiting.store(false, Ordering::SeqCst);
        let mut lanes = lock(&self.lanes);
        lanes.retain(|lane| lane.is_in_use());
        for lane in &*lanes {
            lane.rewind();
        }
        drop(lanes);
        self.wake();
    }

    /// Nothing will be sent any more.
    pub(crate) fn close(&self, error: &ClientError) {
        self.current.store(0, Ordering::SeqCst);
        *lock(&self.session) = None;
        *lock(&self.closed) = Some(error.clone());
        for lane in lock(&self.lanes).drain(..) {
            lane.fail(error.clone());
        }
        lock(&self.ready).clear();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
