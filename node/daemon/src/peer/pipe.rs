use super::{Counters, Passed, What};
use mainstem_api::{
    Answer, Workers,
    peer::{Unproven, decode},
};
use mainstem_crypto::Address;
use mainstem_model::Verifier;
use mainstem_overlay::Frame;
use mainstem_protocol::{Lane, PeerFault, PeerMessage};
use std::{collections::VecDeque, sync::Arc};
use tokio::sync::{mpsc, watch};

/// A batch up to this size that comes alone is proven where it was read: that takes less than waking another thread and
/// being woken by it.
const PROVEN_HERE_BYTES_MAX: usize = 2 << 10;

/// What a pipe takes in. Beginnings and ends come by the live lane.
#[derive(Debug)]
pub(super) enum Item {
    Began(u64),
    Ended(u64),
    Frame(Frame),
}

/// What all pipes have in common.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) verifier: Arc<Verifier>,
    pub(super) workers: Workers,
    pub(super) pass: mpsc::Sender<Passed>,
    pub(super) counters: Arc<Counters>,
}

/// One lane of one broker: frames in, proven messages out, in the same order.
#[derive(Debug)]
pub(super) struct Pipe {
    peer: Address,
    lane: Lane,
    shared: Shared,
    proofs_max: usize,
    /// The last session whose beginning was handed on.
    began: Arc<watch::Sender<u64>>,
    items: mpsc::UnboundedReceiver<Item>,
    pending: VecDeque<Pending>,
}

type Proof = Result<PeerMessage, PeerFault>;

#[allow(clippy::large_enum_variant, reason = "few at a time, and most are of the larger kind in the end")]
#[derive(Debug)]
enum Pending {
    Ready(Passed),
    Proof { frame: Frame, answer: Answer<Proof> },
}

/// What was pending first. No proof: a worker panicked.
enum Front {
    Ready(Passed),
    Proven(Frame, Option<Proof>),
}

impl Pipe {
    pub(super) const fn new(
        peer: Address,
        lane: Lane,
        shared: Shared,
        proofs_max: usize,
        began: Arc<watch::Sender<u64>>,
        items: mpsc::UnboundedReceiver<Item>,
    ) -> Self {
        Self { peer, lane, shared, proofs_max, began, items, pending: VecDeque::new() }
    }

    /// Runs until the overlay or the driver has gone.
    pub(super) async fn run(mut self) {
        loop {
            tokio::select! {
                biased;
                front = front(&mut self.pending), if !self.pending.is_empty() => {
                    if self.hand_on(front).await.is_none() {
                        return;
                    }
                }
                item = self.items.recv(), if self.pending.len() < self.proofs_max => match item {
                    Some(item) => self.accept(item).await,
                    None => return,
                },
            }
        }
    }

    async fn accept(&mut self, item: Item) {
        let peer = self.peer;
        let ready = |session, what| Pending::Ready(Passed { peer, session, what, frame: None });
        let pending = match item {
            Item::Began(session) => ready(session, What::Began),
            Item::Ended(session) => ready(session, What::Ended),
            Item::Frame(frame) => match self.read(frame).await {
                Some(pending) => pending,
                None => return,
            },
        };
        self.pending.push_back(pending);
    }

    /// Reads a frame and has its batches proven. None comes of a kind that is not known.
    async fn read(&mut self, frame: Frame) -> Option<Pending> {
        let unproven = match decode(frame.bytes().clone()) {
            Ok(Some(unproven)) if unproven.lane() == self.lane => unproven,
            Ok(Some(_)) => {
                let fault = PeerFault::Malformed("a message on the lane of others");
                return Some(Pending::Ready(self.proven(frame, Err(fault))));
            }
            Ok(None) => {
                self.shared.counters.unknown();
                return None;
            }
            Err(fault) => return Some(Pending::Ready(self.proven(frame, Err(fault)))),
        };
        if self.is_proven_here(&unproven) {
            let proof = unproven.prove(&self.shared.verifier);
            return Some(Pending::Ready(self.proven(frame, proof)));
        }
        let answer = unproven.prove_by(&self.shared.workers, &self.shared.verifier).await;
        Some(Pending::Proof { frame, answer })
    }

    fn is_proven_here(&self, unproven: &Unproven) -> bool {
        let alone = self.pending.is_empty() && self.items.is_empty();
        match unproven.batch_count() {
            0 => true,
            1 => alone && unproven.batch_bytes() <= PROVEN_HERE_BYTES_MAX && unproven.plugin_type().is_none(),
            _ => false,
        }
    }

    fn proven(&self, frame: Frame, proof: Proof) -> Passed {
        let what = match proof {
            Ok(message) => What::Message(message),
            Err(fault) => {
                self.shared.counters.fault(&fault);
                What::Fault(fault)
            }
        };
        Passed { peer: self.peer, session: frame.session, what, frame: Some(frame) }
    }

    /// Hands on what was first. `None`: the driver has gone.
    async fn hand_on(&self, front: Front) -> Option<()> {
        let passed = match front {
            Front::Ready(passed) => passed,
            Front::Proven(frame, Some(proof)) => self.proven(frame, proof),
            Front::Proven(_, None) => {
                tracing::error!(peer = %self.peer, "a broker's message is lost: its proof failed here");
                self.shared.counters.failed();
                return Some(());
            }
        };
        let session = passed.session;
        let begins = matches!(passed.what, What::Began);
        if self.lane == Lane::Bulk {
            // IMPORTANT: a session begins by the live lane, which may be behind.
            self.began.subscribe().wait_for(|began| *began >= session).await.ok()?;
        }
        self.shared.pass.send(passed).await.ok()?;
        if begins {
            self.began.send_replace(session);
        }
        Some(())
    }
}

/// Waits for the first of `pending` and takes it out. Cancel safe.
async fn front(pending: &mut VecDeque<Pending>) -> Front {
    let proof = match pending.front_mut() {
        Some(Pending::Proof { answer, .. }) => answer.wait().await,
        Some(Pending::Ready(_)) | None => None,
    };
    match pending.pop_front() {
        Some(Pending::Ready(passed)) => Front::Ready(passed),
        Some(Pending::Proof { frame, .. }) => Front::Proven(frame, proof),
        None => std::future::pending().await,
    }
}
