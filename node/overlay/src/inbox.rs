use crate::{
    frame::{Lane, RefusalCode},
    overlay::Direction,
};
use bytes::Bytes;
use mainstem_crypto::Address;
use std::{fmt, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// After so many in a row from the live lanes one from the bulk lanes goes first, so that repair never starves.
const LIVE_RUN_MAX: u32 = 16;

/// What the overlay reports.
#[derive(Debug)]
pub enum Incoming {
    /// A session with a wanted broker began: frames can be queued for it, and come from it after this.
    Connected {
        /// The broker.
        peer: Address,
        /// Number of the session: greater than that of any before, of whichever broker.
        session: u64,
        /// Who dialed.
        direction: Direction,
        /// The round trip, if it is known already; `Overlay::metrics` has it later.
        rtt: Option<Duration>,
    },
    /// The session ended. Frames that were queued for the broker are lost, and those that it sent may be. Of the live lane
    /// nothing follows from that session; frames of the bulk lane that had arrived may, and carry its number.
    Disconnected {
        /// The broker.
        peer: Address,
        /// Number of the session.
        session: u64,
        /// Who had dialed.
        direction: Direction,
        /// The last round trip that was measured.
        rtt: Option<Duration>,
        /// Why.
        reason: DisconnectReason,
    },
    /// A frame arrived, whole, and in its lane's order.
    Frame(Frame),
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectReason {
    /// The connection is gone, or the peer closed a lane.
    Closed,
    /// The broker is no longer wanted.
    Removed,
    /// The peer began anew on another connection.
    Replaced,
    /// We cut the peer off, for what it sent.
    Misbehaved(RefusalCode),
    /// The peer cut us off.
    Refused(RefusalCode),
}

/// A received frame. Its bytes count against its sender's bound until this is dropped or turned into bytes, so whoever
/// holds it slows down that sender and nobody else.
pub struct Frame {
    /// Who sent it.
    pub peer: Address,
    /// In which session.
    pub session: u64,
    /// On which lane.
    pub lane: Lane,
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl Frame {
    pub(crate) fn new(
        peer: Address,
        session: u64,
        lane: Lane,
        bytes: Bytes,
        room: OwnedSemaphorePermit,
    ) -> Self {
        Self { peer, session, lane, bytes, _room: room }
    }

    /// What was sent.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What was sent; from here on it is the caller's to bound.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} {} <{}b>)", self.peer, self.lane, self.bytes.len())
    }
}

/// Where everything that the overlay reports comes out.
///
/// Frames are bounded for each peer and lane (`inbox_bytes_max`). Sessions' beginnings and ends come in order with the
/// frames of the live lane; a frame of the bulk lane may come before its session's beginning or after its end, which the
/// session's number tells.
#[derive(Debug)]
pub struct Inbox {
    live: mpsc::UnboundedReceiver<Incoming>,
    bulk: mpsc::UnboundedReceiver<Frame>,
    live_run: u32,
}

/// The other end.
#[derive(Clone, Debug)]
pub(crate) struct InboxSender {
    pub(crate) live: mpsc::UnboundedSender<Incoming>,
    pub(crate) bulk: mpsc::UnboundedSender<Frame>,
}

/// The channels themselves have no bound: a frame has a permit of its peer's semaphore, and of the others there are two for
/// each session.
pub(crate) fn channel() -> (InboxSender, Inbox) {
    let (live, live_out) = mpsc::unbounded_channel();
    let (bulk, bulk_out) = mpsc::unbounded_channel();
    (InboxSender { live, bulk }, Inbox { live: live_out, bulk: bulk_out, live_run: 0 })
}

impl InboxSender {
    pub(crate) fn frame(&self, frame: Frame) {
        // Nobody receives any more: the overlay is about to end.
        match frame.lane {
            Lane::Live => drop(self.live.send(Incoming::Frame(frame))),
            Lane::Bulk => drop(self.bulk.send(frame)),
        }
    }

    pub(crate) fn session(&self, change: Incoming) {
        drop(self.live.send(change));
    }
}

impl Inbox {
    /// The next report; live goes before bulk. None when the overlay has stopped. Cancel safe.
    pub async fn recv(&mut self) -> Option<Incoming> {
        if self.live_run >= LIVE_RUN_MAX {
            self.live_run = 0;
            if let Ok(frame) = self.bulk.try_recv() {
                return Some(Incoming::Frame(frame));
            }
        }
        tokio::select! {
            biased;
            incoming = self.live.recv() => {
                self.live_run += 1;
                incoming
            }
            Some(frame) = self.bulk.recv() => {
                self.live_run = 0;
                Some(Incoming::Frame(frame))
            }
        }
    }
}
