//! Batches that are to be kept by several brokers: sent to each, counted as they answer.

use crate::{OutEvent, PeerMessage, ServerMessage, SessionId, context::Context, rule::Rule};
use mainstem_model::{Ack, AckLevel, Address, BatchId, Code, Refusal, SeriesKey, VerifiedBatch};
use std::{collections::BTreeMap, sync::Arc};

/// Every batch for which somebody waits for more than this broker.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    pending: BTreeMap<BatchId, Pending>,
    /// Where each of them ends.
    ends: BTreeMap<(SeriesKey, u64), BatchId>,
    bytes: usize,
}

#[derive(Debug)]
struct Pending {
    batch: Arc<VerifiedBatch>,
    waiters: Vec<CopyWaiter>,
    held: BTreeMap<Address, AckLevel>,
    refused: BTreeMap<Address, Refusal>,
    /// Who asks for it again meanwhile waits no longer than who was first: a publisher that goes when it has waited for long, and
    /// comes back, would never hear what there is to say.
    since: i64,
    sent_at: i64,
}

/// Who waits.
#[derive(Clone, Debug)]
pub(crate) struct CopyWaiter {
    pub(crate) session: SessionId,
    pub(crate) request: u64,
    pub(crate) ack: Ack,
    pub(crate) duplicate: bool,
}

/// Somebody waits for copies of a batch: see [`Copies::wait`].
pub(crate) fn wait(batch: &Arc<VerifiedBatch>, waiter: CopyWaiter, cx: &mut Context<'_>) {
    with(cx, |copies, cx| copies.wait(batch, waiter, cx));
}

/// A broker, or this one, has a series up to `next_sequence`, and `last` is what ends there.
pub(crate) fn held(
    broker: Address,
    series: SeriesKey,
    next_sequence: u64,
    last: BatchId,
    level: AckLevel,
    cx: &mut Context<'_>,
) {
    with(cx, |copies, cx| copies.held(broker, (series, next_sequence), last, level, cx));
}

/// A broker will not keep a batch.
pub(crate) fn refused(broker: Address, batch: BatchId, refusal: Refusal, cx: &mut Context<'_>) {
    with(cx, |copies, cx| copies.refused(broker, batch, refusal, cx));
}

/// Time has passed.
pub(crate) fn handle_tick(cx: &mut Context<'_>) {
    with(cx, Copies::handle_tick);
}

/// The store failed, and with it the broker.
pub(crate) fn handle_failure(refusal: &Refusal, cx: &mut Context<'_>) {
    with(cx, |copies, cx| copies.handle_failure(refusal, cx));
}

/// Nothing of what copies do comes back to them, so they can be taken out of their place meanwhile.
fn with(cx: &mut Context<'_>, act: impl FnOnce(&mut Copies, &mut Context<'_>)) {
    let mut copies = std::mem::take(cx.copies);
    act(&mut copies, cx);
    *cx.copies = copies;
}

impl Pending {
    /// What a publisher has to know if nobody has its batch and most owners will not have it: that what comes before may be lost,
    /// and it alone can bring that back, or that its series was frozen, and it has to begin another.
    ///
    /// IMPORTANT: an owner that says nothing must not keep that from it, nor one alone say so. A single owner may just be behind.
    fn refused_by_most(&self, cx: &Context<'_>) -> Option<&Refusal> {
        if !self.held.is_empty() || self.refused.is_empty() || !cx.keeps(Rule::RefusalsTold) {
            return None;
        }
        let owners = cx.network.owners(self.batch.header().stream_partition);
        let said = || owners.iter().filter_map(|owner| self.refused.get(owner));
        let proven = || said().filter(|refusal| is_proven(refusal));
        let gaps = || said().filter(|refusal| refusal.code == Code::SeriesGap);
        let are_most = |count: usize| 2 * count > owners.len();
        if are_most(proven().count()) {
            proven().next()
        } else if are_most(proven().count() + gaps().count()) {
            gaps().next()
        } else {
            None
        }
    }
}

impl Copies {
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Somebody waits for copies of a batch. It is sent to those who are to keep it.
    fn wait(&mut self, batch: &Arc<VerifiedBatch>, waiter: CopyWaiter, cx: &mut Context<'_>) {
        let durable = waiter.ack.level == AckLevel::Durable;
        let key = (SeriesKey::of(batch.header()), batch.header().next_sequence());
        let now = cx.now.up_ms;
        let bytes = &mut self.bytes;
        let pending = self.pending.entry(batch.id()).or_insert_with(|| {
            *bytes += batch.bytes().len();
            Pending {
                batch: batch.clone(),
                waiters: Vec::new(),
                held: BTreeMap::new(),
                refused: BTreeMap::new(),
                since: now,
                sent_at: now,
            }
        });
        pending.waiters.push(waiter);
        self.ends.insert(key, batch.id());
        send(batch, durable, &pending.held, cx);
        self.settle(batch.id(), cx);
    }

    fn held(
        &mut self,
        broker: Address,
        (series, next_sequence): (SeriesKey, u64),
        last: BatchId,
        level: AckLevel,
        cx: &mut Context<'_>,
    ) {
        // IMPORTANT: this batch and no other. Its id names those before it, but a broker that is new to the partition may have
        // begun its series here.
        if self.ends.get(&(series, next_sequence)) != Some(&last) {
            return;
        }
        // IMPORTANT: who was not asked to keep it does not count.
        if !cx.network.is_keeper(broker, series.stream_partition) && cx.keeps(Rule::AckKeepers) {
            return;
        }
        if let Some(pending) = self.pending.get_mut(&last) {
            let held = pending.held.entry(broker).or_insert(level);
            *held = (*held).max(level);
            self.settle(last, cx);
        }
    }

    fn refused(&mut self, broker: Address, batch: BatchId, refusal: Refusal, cx: &mut Context<'_>) {
        let Some(pending) = self.pending.get_mut(&batch) else { return };
        if !cx.network.is_keeper(broker, pending.batch.header().stream_partition) {
            return;
        }
        // It may not have seen yet what this broker sees of the chain; it is asked again.
        let sees_less =
            matches!(refusal.code, Code::StreamNotFound | Code::InvalidPartition | Code::MissingPermission);
        // One that kept the partition before, and has been let go, is right.
        let is_late = refusal.code == Code::NotAssigned
            && cx.network.is_owner(broker, pending.batch.header().stream_partition);
        if sees_less || is_late {
            return;
        }
        let refused = pending.refused.entry(broker).or_insert_with(|| refusal.clone());
        if !passes(&refusal) {
            *refused = refusal;
        }
        self.settle(batch, cx);
    }

    /// Tells those who have what they wait for, and those who cannot get it any more.
    fn settle(&mut self, id: BatchId, cx: &mut Context<'_>) {
        let Some(pending) = self.pending.get_mut(&id) else { return };
        let at = pending.batch.header().stream_partition;
        let (held, refused) = (&pending.held, &pending.refused);
        let proven = pending.refused_by_most(cx).filter(|refusal| is_proven(refusal)).cloned();
        let possible = cx
            .network
            .keepers(at)
            .filter(|keeper| held.contains_key(keeper) || !refused.contains_key(keeper))
            .count();
        let bytes = pending.batch.bytes().len();
        let mut told = Vec::new();
        pending.waiters.retain(|waiter| {
            let counts = |level: &&AckLevel| **level >= waiter.ack.level || !cx.keeps(Rule::AckLevel);
            let copies = held.values().filter(counts).count();
            if copies >= usize::from(waiter.ack.copies) || !cx.keeps(Rule::AckCount) {
                told.push((waiter.clone(), Ok(())));
                return false;
            }
            if let Some(refusal) = &proven {
                told.push((waiter.clone(), Err(refusal.clone())));
                return false;
            }
            if possible < usize::from(waiter.ack.copies) {
                // The same for all, as a rule; the one that weighs most comes first.
                let why = refused.values().min_by_key(|refusal| passes(refusal)).cloned();
                told.push((waiter.clone(), Err(why.unwrap_or_else(|| too_few(copies, waiter.ack)))));
                return false;
            }
            true
        });
        for (waiter, result) in told {
            cx.release(waiter.session, bytes);
            match result {
                Ok(()) => cx.out.push(OutEvent::Send {
                    session: waiter.session,
                    message: ServerMessage::Ack {
                        request: waiter.request,
                        batch: id,
                        ack: waiter.ack,
                        duplicate: waiter.duplicate,
                    },
                }),
                Err(refusal) => cx.refuse(waiter.session, waiter.request, refusal),
            }
        }
        self.forget_done(id);
    }

    fn forget_done(&mut self, id: BatchId) {
        if self.pending.get(&id).is_some_and(|pending| pending.waiters.is_empty())
            && let Some(pending) = self.pending.remove(&id)
        {
            let header = pending.batch.header();
            self.ends.remove(&(SeriesKey::of(header), header.next_sequence()));
            self.bytes -= pending.batch.bytes().len();
        }
    }

    /// Time has passed: what was not answered is sent again; who has waited too long is told.
    fn handle_tick(&mut self, cx: &mut Context<'_>) {
        let now = cx.now.up_ms;
        let mut late = Vec::new();
        for (id, pending) in &mut self.pending {
            if now - pending.since >= cx.config.copies_wait_ms && cx.keeps(Rule::CopiesWait) {
                late.push(*id);
            } else if now - pending.sent_at >= cx.config.copies_resend_ms && cx.keeps(Rule::CopiesAgain) {
                pending.sent_at = now;
                let durable = pending.waiters.iter().any(|waiter| waiter.ack.level == AckLevel::Durable);
                // What a broker had no room for then, it may have now.
                pending.refused.retain(|_, refusal| !passes(refusal));
                send(&pending.batch, durable, &pending.held, cx);
            }
        }
        for id in late {
            let Some(pending) = self.pending.get_mut(&id) else { continue };
            let bytes = pending.batch.bytes().len();
            let why = pending.refused_by_most(cx).cloned();
            for waiter in std::mem::take(&mut pending.waiters) {
                let copies = pending.held.values().filter(|level| **level >= waiter.ack.level).count();
                cx.release(waiter.session, bytes);
                let refusal = why.clone().unwrap_or_else(|| too_few(copies, waiter.ack));
                cx.refuse(waiter.session, waiter.request, refusal);
            }
            self.forget_done(id);
        }
    }

    fn handle_failure(&mut self, refusal: &Refusal, cx: &mut Context<'_>) {
        for pending in std::mem::take(&mut self.pending).into_values() {
            for waiter in pending.waiters {
                cx.release(waiter.session, pending.batch.bytes().len());
                cx.refuse(waiter.session, waiter.request, refusal.clone());
            }
        }
        self.ends.clear();
        self.bytes = 0;
    }
}

/// Sends a batch to the brokers that are to keep it, but those who have it.
pub(crate) fn send(
    batch: &Arc<VerifiedBatch>,
    durable: bool,
    held: &BTreeMap<Address, AckLevel>,
    cx: &mut Context<'_>,
) {
    if cx.network.is_alone() {
        return;
    }
    let header = batch.header();
    let key = (SeriesKey::of(header), header.next_sequence());
    let enough = if durable { AckLevel::Durable } else { AckLevel::Stored };
    let keepers: Vec<_> = cx.network.keepers(header.stream_partition).collect();
    for broker in keepers {
        if broker == cx.network.me() || held.get(&broker).is_some_and(|level| *level >= enough) {
            continue;
        }
        let Some(peer) = cx.peers.find(broker) else {
            cx.reach(broker);
            continue;
        };
        if peer.is_on_its_way(key, durable, cx.now.up_ms, cx.config)
            && cx.config.keeps(Rule::CopiesOnTheirWay)
        {
            continue;
        }
        // One that is behind gets it by repair, when it can.
        let (bytes, signed) = (batch.bytes().len(), header.signature_type);
        if peer.take_room(key, bytes, signed, durable, cx.now.up_ms, cx.config) {
            cx.counters.copies_sent += 1;
            let message = PeerMessage::Store { durable, batch: batch.clone() };
            cx.out.push(OutEvent::Tell { peer: broker, message });
        }
    }
}

/// Whether a refusal says nothing of the batch, but of the broker at this moment.
fn passes(refusal: &Refusal) -> bool {
    matches!(refusal.code, Code::Overloaded | Code::NotAssigned)
}

/// Whether a refusal is for good: two batches of one series contradict each other.
fn is_proven(refusal: &Refusal) -> bool {
    matches!(refusal.code, Code::SeriesFrozen | Code::Equivocation)
}

fn too_few(copies: usize, ack: Ack) -> Refusal {
    Refusal::new(
        Code::TooFewCopies,
        format!(
            "{copies} of {} brokers say in time that the batch is {}; it may be kept all the same: send it again",
            ack.copies,
            ack.level.as_str()
        ),
    )
}
