use super::{
    Counters, Passed, What,
    aside::{Aside, Line, Note},
};
use mainstem_api::{
    Answer, Workers,
    peer::{Order, Unproven, decode},
};
use mainstem_crypto::Address;
use mainstem_model::{SeriesHead, SeriesKey, Verifier};
use mainstem_overlay::Frame;
use mainstem_protocol::{Lane, PeerFault, PeerMessage};
use std::{
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
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

/// Bounds of one lane of one broker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Messages that are being proven, at least 1; and as many more for each plugin's signature type.
    pub(super) proofs_max: usize,
    /// Bytes that wait for the proofs of plugins, each of which has an equal part of it and may have one message at any rate.
    pub(super) aside_bytes_max: usize,
}

/// One lane of one broker: frames in, proven messages out, in the same order.
///
/// IMPORTANT: but for what waits for a plugin's proofs. Nobody knows how long those take, and the signs of life, the copies and the acks of
/// all other streams would wait behind them. It waits [`Aside`]: where it fills that up, a batch on the live lane is refused,
/// so that its sender knows; the other lane brings what was asked for, and is read no further.
#[derive(Debug)]
pub(super) struct Pipe {
    peer: Address,
    lane: Lane,
    shared: Shared,
    bounds: Bounds,
    /// The last session whose beginning was handed on.
    began: Arc<watch::Sender<u64>>,
    items: mpsc::UnboundedReceiver<Item>,
    pending: VecDeque<Pending>,
    /// How many were ever pending, and how many of them were handed on.
    pushed: u64,
    handed_on: u64,
    aside: Aside,
}

pub(super) type Proof = Result<PeerMessage, PeerFault>;

#[allow(clippy::large_enum_variant, reason = "few at a time, and most are of the larger kind in the end")]
#[derive(Debug)]
pub(super) enum Pending {
    Ready(Passed),
    Proof { frame: Frame, answer: Answer<Proof> },
}

/// What was pending first. No proof: a worker panicked.
pub(super) enum Front {
    Ready(Passed),
    Proven(Frame, Option<Proof>),
}

impl Pipe {
    pub(super) fn new(
        peer: Address,
        lane: Lane,
        shared: Shared,
        bounds: Bounds,
        began: Arc<watch::Sender<u64>>,
        items: mpsc::UnboundedReceiver<Item>,
    ) -> Self {
        let share = bounds.aside_bytes_max / shared.workers.plugins_len().max(1);
        let aside = Aside::new(bounds.proofs_max, share);
        let pending = VecDeque::new();
        Self { peer, lane, shared, bounds, began, items, pending, pushed: 0, handed_on: 0, aside }
    }

    /// Runs until the overlay or the driver has gone.
    pub(super) async fn run(mut self) {
        loop {
            tokio::select! {
                biased;
                front = front(&mut self.pending), if !self.pending.is_empty() => {
                    self.handed_on += 1;
                    if self.hand_on(front).await.is_none() {
                        return;
                    }
                }
                front = self.aside.next(self.handed_on), if !self.aside.is_empty() => {
                    if self.hand_on(front).await.is_none() {
                        return;
                    }
                }
                item = self.items.recv(), if self.reads_on() => match item {
                    Some(item) => self.accept(item).await,
                    None => return,
                },
            }
        }
    }

    fn reads_on(&self) -> bool {
        self.pending.len() < self.bounds.proofs_max && (self.lane == Lane::Live || !self.aside.is_full())
    }

    async fn accept(&mut self, item: Item) {
        let peer = self.peer;
        let ready = |session, what| Pending::Ready(Passed { peer, session, what, frame: None });
        match item {
            Item::Began(session) => self.push(ready(session, What::Began)),
            Item::Ended(session) => {
                // IMPORTANT: or it would come behind the end of its session.
                for _ in 0..self.aside.clear() {
                    self.shared.counters.late();
                }
                self.push(ready(session, What::Ended));
            }
            Item::Frame(frame) => self.read(frame).await,
        }
    }

    /// Reads a frame and has its batches proven. One of a kind that is not known is passed over.
    async fn read(&mut self, frame: Frame) {
        let unproven = match decode(frame.bytes().clone()) {
            Ok(Some(unproven)) if unproven.lane() == self.lane => unproven,
            Ok(Some(_)) => {
                let fault = PeerFault::Malformed("a message on the lane of others");
                return self.push_proven(frame, Err(fault));
            }
            Ok(None) => return self.shared.counters.unknown(),
            Err(fault) => return self.push_proven(frame, Err(fault)),
        };
        if let Some(line) = self.line_of(&unproven, frame.session) {
            return self.set_aside(line, unproven, frame).await;
        }
        if self.is_proven_here(&unproven) {
            let proof = unproven.prove(&self.shared.verifier);
            let proof = proof.map(|message| self.hold_heads(message, frame.session));
            return self.push_proven(frame, proof);
        }
        let answer = unproven.prove_by(&self.shared.workers, &self.shared.verifier).await;
        self.push(Pending::Proof { frame, answer });
    }

    fn is_proven_here(&self, unproven: &Unproven) -> bool {
        let alone = self.pending.is_empty() && self.items.is_empty();
        match unproven.batch_count() {
            0 => true,
            1 => alone && unproven.batch_bytes() <= PROVEN_HERE_BYTES_MAX,
            _ => false,
        }
    }

    fn push_proven(&mut self, frame: Frame, proof: Proof) {
        let passed = self.proven(frame, proof);
        self.push(Pending::Ready(passed));
    }

    fn push(&mut self, message: Pending) {
        self.pushed += 1;
        self.pending.push_back(message);
    }

    /// In which line a message waits, if it does: in that of what it must not overtake, or of its plugin.
    fn line_of(&self, unproven: &Unproven, session: u64) -> Option<Line> {
        let order = if self.aside.is_empty() { None } else { unproven.order() };
        let behind = order.and_then(|order| self.aside.line_of(session, &order));
        behind.or_else(|| {
            let signed = unproven.waits_for(&self.shared.workers)?;
            Some(if unproven.order().is_some() { Line::Of(signed) } else { self.aside.own_line() })
        })
    }

    async fn set_aside(&mut self, line: Line, unproven: Unproven, frame: Frame) {
        let order = unproven.order().map(|order| (frame.session, order));
        let note = Note { order, bytes: frame.bytes().len(), after: self.pushed };
        let Shared { workers, verifier, .. } = &self.shared;
        if unproven.batch_count() == 0 {
            let proof = unproven.prove(verifier);
            let passed = self.proven(frame, proof);
            return self.aside.put(line, note, Pending::Ready(passed));
        }
        let answer = match self.lane {
            Lane::Bulk => Ok(unproven.prove_by(workers, verifier).await),
            Lane::Live if self.aside.has_room(line) => unproven.try_prove_by(workers, verifier),
            Lane::Live => Err(unproven),
        };
        match answer {
            Ok(answer) => self.aside.put(line, note, Pending::Proof { frame, answer }),
            Err(unproven) => self.push_proven(frame, Err(unproven.refuse())),
        }
    }

    /// Takes out what a broker says of series whose batches wait aside: it is told behind those, or the same would be pulled.
    fn hold_heads(&mut self, message: PeerMessage, session: u64) -> PeerMessage {
        let PeerMessage::Heads { heads } = message else { return message };
        if self.aside.is_empty() {
            return PeerMessage::Heads { heads };
        }
        let mut held: BTreeMap<Line, Vec<(SeriesKey, SeriesHead)>> = BTreeMap::new();
        let mut others = Vec::with_capacity(heads.len());
        for (series, head) in heads {
            match self.aside.line_of(session, &Order::Series(series)) {
                Some(line) if self.aside.has_room(line) => held.entry(line).or_default().push((series, head)),
                Some(_) | None => others.push((series, head)),
            }
        }
        for (line, heads) in held {
            let note = Note { order: None, bytes: size_of_val(heads.as_slice()), after: self.pushed };
            let what = What::Message(PeerMessage::Heads { heads });
            let passed = Passed { peer: self.peer, session, what, frame: None };
            self.aside.put(line, note, Pending::Ready(passed));
        }
        PeerMessage::Heads { heads: others }
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
    poll_fn(|cx| Pending::poll_first(pending, cx)).await
}

impl Pending {
    /// Takes out the first if it is there and proven. Otherwise whoever asks is woken.
    pub(super) fn poll_first(pending: &mut VecDeque<Self>, cx: &mut Context<'_>) -> Poll<Front> {
        let proof = match pending.front_mut() {
            Some(Self::Proof { answer, .. }) => ready!(pin!(answer.wait()).poll(cx)),
            Some(Self::Ready(_)) | None => None,
        };
        match pending.pop_front() {
            Some(Self::Ready(passed)) => Poll::Ready(Front::Ready(passed)),
            Some(Self::Proof { frame, .. }) => Poll::Ready(Front::Proven(frame, proof)),
            None => Poll::Pending,
        }
    }
}
