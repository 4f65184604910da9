//! Taking batches in: rights, clock, order within the series, the journal, acks.

mod acks;
mod checks;

use crate::{
    Config, OutEvent, ReadToken, SessionId, WriteToken,
    context::Context,
    copies::{self, CopyWaiter},
    links,
    offer::{Offer, Outcomes, Source},
    rule::Rule,
    series::{Recent, SeriesCache, SeriesState},
};
use acks::{answer, send_ack};
use bytes::Bytes;
use checks::{are_proof, check_future, check_revoked, check_time, gap};
use mainstem_model::{
    AckLevel, Address, Batch, BatchId, Code, Equivocation, Refusal, Right, SeriesHead, SeriesKey,
    SeriesVerdict, VerifiedBatch,
};
use std::{collections::BTreeMap, sync::Arc};

/// Proofs of other brokers that are on their way to the store at once; others come again.
const PROOFS_AT_ONCE: usize = 64;

/// Batches on their way from a session to the journal.
#[derive(Debug)]
pub(crate) struct Ingest {
    series: SeriesCache,
    /// Batches whose series' head is being read, in order of arrival.
    waiting: BTreeMap<SeriesKey, Vec<Offer>>,
    /// Batches compared with what is stored at their place.
    compared: BTreeMap<ReadToken, Offer>,
    writes: BTreeMap<WriteToken, Write>,
    /// Proofs of others whose series' head is being read.
    proofs: BTreeMap<SeriesKey, Equivocation>,
    /// Proofs on their way to the store.
    freezing: BTreeMap<WriteToken, Freezing>,
    next_write: u64,
    queue_bytes: usize,
    /// Writes of history under way.
    filling: usize,
    failed: Option<Refusal>,
    pub(crate) outcomes: Outcomes,
}

#[derive(Debug)]
struct Write {
    series: SeriesKey,
    batch: Arc<VerifiedBatch>,
    received_at: i64,
    stored: bool,
    /// It fills up history.
    past: bool,
    /// Its series remembers it until it is stored.
    remembered: bool,
    waiters: Vec<Waiter>,
}

/// A batch for a place that is taken, until the proof is kept.
#[derive(Debug)]
struct Freezing {
    /// Who brought the second one; `None` if another broker had the proof.
    offer: Option<Offer>,
    proof: (Bytes, Bytes),
    series: SeriesKey,
    first: BatchId,
    bytes: usize,
}

/// Who waits for a write.
#[derive(Debug)]
struct Waiter {
    asker: Asker,
    level: AckLevel,
    bytes: usize,
    duplicate: bool,
    told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    /// A client for whom this broker is enough.
    Client { session: SessionId, request: u64 },
    /// Those who count copies.
    Copies,
    /// Another broker.
    Peer(Address),
}

/// A batch that has just reached the journal, for delivery.
#[derive(Debug)]
pub(crate) struct StoredBatch {
    pub(crate) batch: Arc<VerifiedBatch>,
    pub(crate) position: u64,
    pub(crate) received_at: i64,
    /// It fills up history: readers are not told of it.
    pub(crate) past: bool,
}

impl Ingest {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            series: SeriesCache::new(config.series_cache_max),
            waiting: BTreeMap::new(),
            compared: BTreeMap::new(),
            writes: BTreeMap::new(),
            proofs: BTreeMap::new(),
            freezing: BTreeMap::new(),
            next_write: 0,
            queue_bytes: 0,
            filling: 0,
            failed: None,
            outcomes: Outcomes::default(),
        }
    }

    /// Whether history is on its way into the store.
    pub(crate) const fn is_filling(&self) -> bool {
        self.filling > 0
    }

    pub(crate) const fn queue_bytes(&self) -> usize {
        self.queue_bytes
    }

    pub(crate) fn series_len(&self) -> usize {
        self.series.len()
    }

    /// Somebody brings a proven batch.
    pub(crate) fn handle_offer(&mut self, offer: Offer, cx: &mut Context<'_>) {
        if let Err(refusal) = self.admit(&offer, cx) {
            return match offer.source {
                // It has taken no room yet.
                Source::Client { session, request, .. } => cx.refuse(session, request, refusal),
                Source::Store { .. } | Source::Feed { .. } | Source::Repair { .. } => {
                    cx.refuse_offer(&offer, refusal);
                }
            };
        }
        let key = SeriesKey::of(offer.batch.header());
        if let Source::Client { session, request, ack } = offer.source
            && !cx.network.is_mine(key.stream_partition)
            && cx.keeps(Rule::PassesOn)
        {
            // IMPORTANT: what this broker would keep of it counts for nobody.
            let waiter = CopyWaiter { session, request, ack, duplicate: false };
            return copies::wait(&offer.batch, waiter, cx);
        }
        if let Some(waiting) = self.waiting.get_mut(&key) {
            waiting.push(offer);
        } else if self.series.find(&key).is_some() {
            self.place(offer, None, cx);
        } else {
            self.waiting.insert(key, vec![offer]);
            cx.out.push(OutEvent::ReadHead { series: key });
        }
    }

    /// The head of a series if it is remembered; else it is being read now.
    pub(crate) fn head(&mut self, key: &SeriesKey, cx: &mut Context<'_>) -> Option<SeriesHead> {
        if let Some(state) = self.series.find(key) {
            return Some(state.head);
        }
        if !self.waiting.contains_key(key) {
            self.waiting.insert(*key, Vec::new());
            cx.out.push(OutEvent::ReadHead { series: *key });
        }
        None
    }

    /// Whether a series that is remembered goes no further than this.
    pub(crate) fn reaches(&mut self, key: &SeriesKey, next_sequence: u64) -> bool {
        self.series.find(key).is_some_and(|state| state.head.next_sequence <= next_sequence)
    }

    /// Everything that can be said of a batch without its series; takes room in the session's window, which is what bounds
    /// the reads that batches of unknown series cause.
    ///
    /// IMPORTANT: nothing here may turn true by time alone. A publisher sends again what was not acked, however long it was
    /// away, and what is stored must be acked then: see [`check_time`].
    fn admit(&self, offer: &Offer, cx: &mut Context<'_>) -> Result<(), Refusal> {
        if let Some(refusal) = &self.failed {
            return Err(refusal.clone());
        }
        let (batch, header) = (&offer.batch, offer.batch.header());
        let (at, origin) = (header.stream_partition, Some(header.origin.account()));
        match offer.source {
            _ if !cx.keeps(offer.source.right()) => {}
            // It had the right when it was taken in elsewhere; whether it has it now says nothing.
            Source::Repair { .. } | Source::Feed { .. } => cx.check_past(at, origin)?,
            Source::Client { .. } | Source::Store { .. } => {
                cx.registry.check(at, origin, Right::Publish, cx.now.unix_s())?;
                check_revoked(batch, cx.registry)?;
            }
        }
        if matches!(offer.source, Source::Store { .. })
            && !cx.network.is_kept(at)
            && cx.keeps(Rule::CopiesAssigned)
        {
            let why = format!("{at} is not assigned to {}", cx.network.me());
            return Err(Refusal::new(Code::NotAssigned, why));
        }
        let bytes = batch.bytes().len();
        // IMPORTANT: what waits for copies takes room from clients alone. If it did from copies as well, brokers that have many of each
        // would refuse each other's, and wait for each other.
        let waits = if let Source::Client { .. } = offer.source { cx.copies.bytes() } else { 0 };
        if !self.has_room(waits, bytes, cx) {
            return Err(Refusal::new(Code::Overloaded, "the journal is behind; try again in a moment"));
        }
        let Source::Client { session, ack, .. } = offer.source else { return Ok(()) };
        let owners = if cx.network.is_alone() { 1 } else { cx.network.owners(at).len() };
        if usize::from(ack.copies) > owners {
            return Err(Refusal::new(
                Code::InvalidArgument,
                format!("an ack of {} brokers was asked for, and {owners} keep this partition", ack.copies),
            ));
        }
        match cx.sessions.find(session) {
            Some(session) => session.take_window(bytes, cx.config),
            None => Err(Refusal::new(Code::ShuttingDown, "the session is closed")),
        }
    }

    /// Whether a batch of so many bytes has room on its way to the journal, after others of so many. What is alone there has.
    pub(crate) fn has_room(&self, after: usize, bytes: usize, cx: &Context<'_>) -> bool {
        let queued = self.queue_bytes + after;
        let fits = queued + bytes <= cx.config.write_queue_bytes_max;
        queued == 0 || fits || !cx.keeps(Rule::WriteQueue)
    }

    /// The head of a series was read; its waiting batches can be placed.
    pub(crate) fn handle_head(
        &mut self,
        key: SeriesKey,
        result: Result<Option<SeriesHead>, Refusal>,
        cx: &mut Context<'_>,
    ) {
        let waiting = self.waiting.remove(&key).unwrap_or_default();
        let proof = self.proofs.remove(&key);
        match result {
            Ok(head) => {
                let mut head = head.unwrap_or(SeriesHead::START);
                // IMPORTANT: the store does not know yet of a proof that is on its way to it.
                head.frozen |= self.freezing.values().any(|freezing| freezing.series == key);
                self.series.insert(key, SeriesState::new(head));
                if let Some(proof) = proof.filter(|_| !head.frozen) {
                    self.keep_proof(None, proof, cx);
                }
                for offer in waiting {
                    self.place(offer, None, cx);
                }
            }
            Err(refusal) => {
                for offer in waiting {
                    cx.refuse_offer(&offer, refusal.clone());
                }
            }
        }
    }

    /// Puts a batch at its place in its series, which is known. `leap`: what lies between the head and this sequence is gone
    /// everywhere, so the series may go on there.
    pub(crate) fn place(&mut self, offer: Offer, leap: Option<u64>, cx: &mut Context<'_>) {
        let header = offer.batch.header();
        let key = SeriesKey::of(header);
        if let Source::Feed { peer } = offer.source {
            links::handle_feed(header, peer, cx);
        }
        let Some(state) = self.series.find(&key) else {
            // Forgotten between read and use: read again.
            self.waiting.insert(key, vec![offer]);
            return cx.out.push(OutEvent::ReadHead { series: key });
        };
        if state.head.frozen && cx.keeps(Rule::Frozen) {
            let refusal = Refusal::new(
                Code::SeriesFrozen,
                format!(
                    "series {} was frozen after two batches for one place; begin another series",
                    key.series
                ),
            );
            return cx.refuse_offer(&offer, refusal);
        }
        let head = state.head;
        let goes_on =
            leap == Some(header.sequence) || matches!(offer.source, Source::Repair { anchor: true, .. });
        match head.judge(header) {
            SeriesVerdict::Next => self.take_next(offer, cx),
            SeriesVerdict::Past if matches!(offer.source, Source::Repair { past: true, .. }) => {
                self.append(offer, true, cx);
            }
            SeriesVerdict::Past if !cx.keeps(Rule::Duplicates) => self.append(offer, false, cx),
            SeriesVerdict::Past => self.compare(offer, cx),
            SeriesVerdict::Gap if goes_on && header.timestamp_min >= head.timestamp => {
                self.take_next(offer, cx)
            }
            SeriesVerdict::Gap if !cx.keeps(Rule::Gaps) => self.take_next(offer, cx),
            SeriesVerdict::Gap => self.outcomes.gaps.push((offer, head.next_sequence)),
            SeriesVerdict::Backdated => {
                let refusal = Refusal::new(
                    Code::InvalidTimestamp,
                    format!("the time of series {} does not go back; begin another series", key.series),
                );
                cx.refuse_offer(&offer, refusal);
            }
            SeriesVerdict::Fork if !cx.keeps(Rule::Forks) => self.take_next(offer, cx),
            SeriesVerdict::Fork => {
                if let Some(peer) = offer.source.peer() {
                    self.outcomes.forks.push((key, head.next_sequence, peer));
                }
                let refusal = gap(format!(
                    "series {} goes on from batch {}, this one from {}",
                    key.series, head.last, header.previous
                ));
                cx.refuse_offer(&offer, refusal);
            }
        }
    }

    /// The refusal of a batch that lacks those before it.
    pub(crate) fn gap_of(offer: &Offer, stands_at: u64) -> Refusal {
        let header = offer.batch.header();
        gap(format!(
            "series {} stands at sequence {stands_at} and this batch begins at {}; send what lies between first",
            header.series, header.sequence
        ))
    }

    /// The batch is the next of its series, or the first that is known here.
    fn take_next(&mut self, offer: Offer, cx: &mut Context<'_>) {
        let checked = match offer.source {
            Source::Client { .. } | Source::Store { .. } if !cx.keeps(Rule::ClockWindow) => Ok(()),
            Source::Feed { .. } | Source::Repair { .. } if !cx.keeps(Rule::Future) => Ok(()),
            Source::Client { .. } | Source::Store { .. } => check_time(&offer.batch, cx.config, cx.now),
            // Others took it in when it was new.
            Source::Feed { .. } | Source::Repair { .. } => {
                check_future(offer.batch.header(), cx.config, cx.now)
            }
        };
        if let Err(refusal) = checked {
            return cx.refuse_offer(&offer, refusal);
        }
        let past = matches!(offer.source, Source::Repair { past: true, .. });
        self.append(offer, past, cx);
    }

    fn append(&mut self, offer: Offer, past: bool, cx: &mut Context<'_>) {
        let Offer { source, batch } = offer;
        let key = SeriesKey::of(batch.header());
        let bytes = batch.bytes().len();
        let write = self.next_write();
        let mut remembered = false;
        if let Some(state) = self.series.find(&key)
            && state.head.next_sequence <= batch.header().sequence
        {
            remembered = true;
            state.head = SeriesHead::after(&batch);
            state.remember(Recent {
                sequence: batch.header().sequence,
                next_sequence: batch.header().next_sequence(),
                id: batch.id(),
                write,
            });
        }
        self.queue_bytes += bytes;
        cx.counters.batches_accepted += 1;
        cx.counters.events_accepted += u64::from(batch.header().count);
        cx.counters.bytes_accepted += bytes as u64;
        let received_at = cx.now.unix_ms;
        let mut durable = false;
        let mut waiters = Vec::new();
        match source {
            Source::Client { session, request, ack } => {
                durable = ack.level == AckLevel::Durable;
                if ack.copies > 1 {
                    waiters.push(Waiter {
                        asker: Asker::Copies,
                        level: ack.level,
                        bytes,
                        duplicate: false,
                        told: false,
                    });
                    copies::wait(&batch, CopyWaiter { session, request, ack, duplicate: false }, cx);
                } else {
                    let told = ack.level == AckLevel::Accepted;
                    let asker = Asker::Client { session, request };
                    waiters.push(Waiter { asker, level: ack.level, bytes, duplicate: false, told });
                    if told {
                        send_ack(cx, session, request, &batch, ack.level, false);
                    }
                    copies::send(&batch, false, &BTreeMap::new(), cx);
                }
            }
            Source::Store { peer, durable: wanted } => {
                durable = wanted;
                let level = if wanted { AckLevel::Durable } else { AckLevel::Stored };
                waiters.push(Waiter {
                    asker: Asker::Peer(peer),
                    level,
                    bytes,
                    duplicate: false,
                    told: false,
                });
            }
            Source::Feed { peer } => links::handle_new(batch.header(), peer, None, cx),
            Source::Repair { .. } if past => {
                self.filling += 1;
                cx.counters.batches_backfilled += 1;
            }
            Source::Repair { peer, missed, .. } => {
                cx.counters.batches_repaired += 1;
                links::handle_new(batch.header(), peer, missed, cx);
            }
        }
        self.writes.insert(
            write,
            Write {
                series: key,
                batch: batch.clone(),
                received_at,
                stored: false,
                past,
                remembered,
                waiters,
            },
        );
        cx.out.push(OutEvent::Append { write, batch, received_at, durable, past });
    }

    /// The batch's place is taken: by itself, or by another.
    fn compare(&mut self, offer: Offer, cx: &mut Context<'_>) {
        let header = offer.batch.header();
        let key = SeriesKey::of(header);
        let recent = self.series.find(&key).and_then(|state| state.recall(header.sequence));
        match recent {
            Some(recent) if recent.id == offer.batch.id() => self.join(offer, recent.write, cx),
            _ => {
                let read = cx.read_token();
                cx.out.push(OutEvent::ReadBatch { read, series: key, sequence: header.sequence });
                self.compared.insert(read, offer);
            }
        }
    }

    /// A duplicate waits for what the first one waits for.
    fn join(&mut self, offer: Offer, write: WriteToken, cx: &mut Context<'_>) {
        let Offer { source, batch } = offer;
        let bytes = batch.bytes().len();
        let (asker, level) = match source {
            Source::Feed { .. } | Source::Repair { .. } => return,
            Source::Store { peer, durable } => {
                (Asker::Peer(peer), if durable { AckLevel::Durable } else { AckLevel::Stored })
            }
            Source::Client { session, request, ack } if ack.copies > 1 => {
                copies::wait(&batch, CopyWaiter { session, request, ack, duplicate: true }, cx);
                (Asker::Copies, ack.level)
            }
            Source::Client { session, request, ack } => (Asker::Client { session, request }, ack.level),
        };
        cx.counters.batches_duplicate += 1;
        let stored = self.writes.get(&write).is_none_or(|write| write.stored);
        let reached = if stored { AckLevel::Stored } else { AckLevel::Accepted };
        let waiter = Waiter { asker, level, bytes, duplicate: true, told: false };
        if level <= reached {
            return answer(&waiter, &batch, reached, cx);
        }
        match self.writes.get_mut(&write) {
            Some(first) if !first.stored => {
                first.waiters.push(waiter);
                if level == AckLevel::Durable {
                    cx.out.push(OutEvent::Sync { write });
                }
            }
            _ => self.sync(waiter, batch, cx),
        }
    }

    /// A stored batch is to become durable.
    fn sync(&mut self, waiter: Waiter, batch: Arc<VerifiedBatch>, cx: &mut Context<'_>) {
        let write = self.next_write();
        let series = SeriesKey::of(batch.header());
        let received_at = cx.now.unix_ms;
        self.writes.insert(
            write,
            Write {
                series,
                batch,
                received_at,
                stored: true,
                past: false,
                remembered: false,
                waiters: vec![waiter],
            },
        );
        cx.out.push(OutEvent::Sync { write });
    }

    /// What is stored at a batch's place was read.
    pub(crate) fn handle_batch(
        &mut self,
        read: ReadToken,
        result: Result<Option<Bytes>, Refusal>,
        cx: &mut Context<'_>,
    ) {
        let Some(offer) = self.compared.remove(&read) else { return };
        let stored = result.and_then(|bytes| match bytes {
            Some(bytes) => Ok(Some(Batch::parse(bytes)?)),
            None => Ok(None),
        });
        match stored {
            Ok(Some(first)) if first.id() == offer.batch.id() => self.join(offer, WriteToken(0), cx),
            Ok(Some(first)) => self.freeze(offer, first, cx),
            Ok(None) => {
                let key = SeriesKey::of(offer.batch.header());
                // Still on its way to the journal: the conflicting one is in memory.
                let in_flight =
                    self.series.find(&key).and_then(|state| state.recall(offer.batch.header().sequence));
                if let Some(same) = in_flight.filter(|recent| recent.id == offer.batch.id()) {
                    return self.join(offer, same.write, cx);
                }
                let first =
                    in_flight.and_then(|recent| self.writes.get(&recent.write)).map(|w| w.batch.clone());
                match first {
                    Some(first) => self.freeze(offer, Arc::unwrap_or_clone(first).into_batch(), cx),
                    None => {
                        let refusal = gap(
                            "the batch's place in its series is past, and what stood there is no longer kept"
                                .into(),
                        );
                        cx.refuse_offer(&offer, refusal);
                    }
                }
            }
            Err(refusal) => cx.refuse_offer(&offer, refusal),
        }
    }

    /// Two batches for one place: keep both as proof and take no more of this series.
    ///
    /// IMPORTANT: until the proof lies in the store both batches are held, so they count: the one in its session's window,
    /// both in the journal's queue.
    fn freeze(&mut self, offer: Offer, first: Batch, cx: &mut Context<'_>) {
        let second = Batch::clone(&offer.batch);
        self.keep_proof(Some(offer), Equivocation { first, second }, cx);
    }

    /// Another broker has the proof that an origin signed two batches for one place.
    pub(crate) fn handle_proof(
        &mut self,
        first: &Arc<VerifiedBatch>,
        second: &Arc<VerifiedBatch>,
        cx: &mut Context<'_>,
    ) -> Result<(), &'static str> {
        let key = SeriesKey::of(first.header());
        if !are_proof(first, second) && cx.keeps(Rule::Proofs) {
            return Err("the two batches prove nothing");
        }
        if cx.check_past(key.stream_partition, Some(key.origin.account())).is_err() || self.failed.is_some() {
            return Ok(());
        }
        let under_way = self.freezing.len() + self.proofs.len();
        if under_way >= PROOFS_AT_ONCE || self.freezing.values().any(|freezing| freezing.series == key) {
            return Ok(());
        }
        let proof = Equivocation { first: Batch::clone(first), second: Batch::clone(second) };
        // IMPORTANT: only one that is news is kept and told on, or it would go round for ever.
        match self.head(&key, cx) {
            Some(head) if head.frozen => {}
            Some(_) => self.keep_proof(None, proof, cx),
            None => drop(self.proofs.insert(key, proof)),
        }
        Ok(())
    }

    fn keep_proof(&mut self, offer: Option<Offer>, proof: Equivocation, cx: &mut Context<'_>) {
        let key = proof.series();
        if let Some(state) = self.series.find(&key) {
            state.head.frozen = true;
        }
        cx.counters.equivocations += 1;
        let write = self.next_write();
        let both = (proof.first.bytes().clone(), proof.second.bytes().clone());
        let bytes = both.0.len() + both.1.len();
        self.queue_bytes += bytes;
        self.freezing
            .insert(write, Freezing { offer, proof: both, series: key, first: proof.first.id(), bytes });
        let bytes_max = cx.config.proof_bytes_per_origin_max;
        cx.out.push(OutEvent::Freeze { write, proof: Box::new(proof), bytes_max });
    }

    /// The proof of an equivocation lies in the store, or will not.
    pub(crate) fn handle_frozen(
        &mut self,
        write: WriteToken,
        result: Result<(), Refusal>,
        cx: &mut Context<'_>,
    ) {
        let Some(Freezing { offer, proof, series: key, first, bytes }) = self.freezing.remove(&write) else {
            return;
        };
        self.queue_bytes = self.queue_bytes.saturating_sub(bytes);
        // One whose proof could not be written stays frozen as long as it is remembered.
        if result.is_ok() {
            self.outcomes.proofs.push((key, proof.0, proof.1));
        }
        let Some(offer) = offer else { return };
        let message = format!(
            "series {} has batch {first} at this place; both are kept as proof and the series is frozen",
            key.series
        );
        cx.refuse_offer(&offer, Refusal::new(Code::Equivocation, message));
    }

    /// Writes reached the journal. Gives the batches for delivery, in order of their positions.
    pub(crate) fn handle_stored(
        &mut self,
        writes: Vec<(WriteToken, u64)>,
        cx: &mut Context<'_>,
    ) -> Vec<StoredBatch> {
        let mut stored = Vec::with_capacity(writes.len());
        for (token, position) in writes {
            let Some(write) = self.writes.get_mut(&token) else { continue };
            self.filling -= usize::from(write.past && !write.stored);
            write.stored = true;
            self.queue_bytes = self.queue_bytes.saturating_sub(write.batch.bytes().len());
            cx.counters.batches_stored += 1;
            if write.remembered
                && let Some(state) = self.series.find(&write.series)
            {
                state.in_flight = state.in_flight.saturating_sub(1);
            }
            stored.push(StoredBatch {
                batch: write.batch.clone(),
                position,
                received_at: write.received_at,
                past: write.past,
            });
            let level = if cx.keeps(Rule::AckFsync) { AckLevel::Stored } else { AckLevel::Durable };
            self.tell(token, level, cx);
        }
        stored
    }

    /// fsync returned for writes.
    pub(crate) fn handle_durable(&mut self, writes: Vec<WriteToken>, cx: &mut Context<'_>) {
        for token in writes {
            self.tell(token, AckLevel::Durable, cx);
        }
    }

    /// Tells everybody who waits for `level` or less; forgets a stored write that nobody waits for.
    fn tell(&mut self, token: WriteToken, level: AckLevel, cx: &mut Context<'_>) {
        let Some(write) = self.writes.get_mut(&token) else { return };
        let batch = write.batch.clone();
        let (done, left): (Vec<_>, Vec<_>) =
            write.waiters.drain(..).partition(|waiter| waiter.level <= level);
        write.waiters = left;
        if write.waiters.is_empty() && write.stored {
            self.writes.remove(&token);
        }
        for waiter in done {
            answer(&waiter, &batch, level, cx);
        }
    }

    /// The store failed for good: nobody gets an ack any more.
    pub(crate) fn handle_failure(&mut self, refusal: Refusal, cx: &mut Context<'_>) {
        let waiting = std::mem::take(&mut self.waiting).into_values().flatten();
        let compared = std::mem::take(&mut self.compared).into_values();
        let freezing = std::mem::take(&mut self.freezing).into_values().filter_map(|freezing| freezing.offer);
        for offer in waiting.chain(compared).chain(freezing) {
            cx.refuse_offer(&offer, refusal.clone());
        }
        for write in std::mem::take(&mut self.writes).into_values() {
            for waiter in write.waiters {
                let Asker::Client { session, request } = waiter.asker else { continue };
                cx.release(session, waiter.bytes);
                if !waiter.told {
                    cx.refuse(session, request, refusal.clone());
                }
            }
        }
        self.queue_bytes = 0;
        self.failed = Some(refusal);
    }

    fn next_write(&mut self) -> WriteToken {
        self.next_write += 1;
        WriteToken(self.next_write)
    }
}
