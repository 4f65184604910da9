//! Taking batches in: rights, clock, order within the series, the journal, acks.

use crate::{
    Config, Counters, Now, OutEvent, ReadToken, ServerMessage, SessionId, WriteToken,
    series::{Recent, SeriesCache, SeriesState},
    session::Sessions,
};
use bytes::Bytes;
use mainstem_model::{
    Ack, AckLevel, Batch, BatchId, Code, Equivocation, Header, Refusal, Registry, Right, SeriesHead,
    SeriesKey, SeriesVerdict, VerifiedBatch,
};
use std::{collections::BTreeMap, sync::Arc};

/// A batch that somebody waits for.
#[derive(Clone, Debug)]
pub(crate) struct Publish {
    pub(crate) session: SessionId,
    pub(crate) request: u64,
    pub(crate) ack: Ack,
    pub(crate) batch: Arc<VerifiedBatch>,
}

/// Batches on their way from a session to the journal.
#[derive(Debug)]
pub(crate) struct Ingest {
    series: SeriesCache,
    /// Batches whose series' head is being read, in order of arrival.
    waiting: BTreeMap<SeriesKey, Vec<Publish>>,
    /// Batches compared with what is stored at their place.
    compared: BTreeMap<ReadToken, Publish>,
    writes: BTreeMap<WriteToken, Write>,
    /// Proofs on their way to the store.
    freezing: BTreeMap<WriteToken, Freezing>,
    next_write: u64,
    queue_bytes: usize,
    failed: Option<Refusal>,
}

#[derive(Debug)]
struct Write {
    series: SeriesKey,
    batch: Arc<VerifiedBatch>,
    received_at: i64,
    stored: bool,
    waiters: Vec<Waiter>,
}

/// A batch for a place that is taken, until the proof is kept.
#[derive(Debug)]
struct Freezing {
    publish: Publish,
    first: BatchId,
    bytes: usize,
}

/// Who waits for a write.
#[derive(Debug)]
struct Waiter {
    session: SessionId,
    request: u64,
    ack: Ack,
    bytes: usize,
    duplicate: bool,
    told: bool,
}

/// A batch that has just reached the journal, for delivery.
#[derive(Debug)]
pub(crate) struct StoredBatch {
    pub(crate) batch: Arc<VerifiedBatch>,
    pub(crate) position: u64,
    pub(crate) received_at: i64,
}

/// What ingest needs of the rest of the node while it handles one event.
pub(crate) struct Context<'a> {
    pub(crate) config: &'a Config,
    pub(crate) registry: &'a Registry,
    pub(crate) sessions: &'a mut Sessions,
    pub(crate) counters: &'a mut Counters,
    pub(crate) next_read: &'a mut u64,
    pub(crate) now: Now,
    pub(crate) out: &'a mut Vec<OutEvent>,
}

impl Context<'_> {
    pub(crate) fn refuse(&mut self, session: SessionId, request: u64, refusal: Refusal) {
        self.counters.count_refusal(refusal.code);
        self.out.push(OutEvent::Send { session, message: ServerMessage::Refused { request, refusal } });
    }

    pub(crate) fn read_token(&mut self) -> ReadToken {
        *self.next_read += 1;
        ReadToken(*self.next_read)
    }

    fn release(&mut self, session: SessionId, bytes: usize) {
        if let Some(session) = self.sessions.find(session) {
            session.publish_bytes = session.publish_bytes.saturating_sub(bytes);
        }
    }

    /// Refuses a batch that had taken room in its session's window.
    fn refuse_publish(&mut self, publish: &Publish, refusal: Refusal) {
        self.release(publish.session, publish.batch.bytes().len());
        self.refuse(publish.session, publish.request, refusal);
    }
}

impl Ingest {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            series: SeriesCache::new(config.series_cache_max),
            waiting: BTreeMap::new(),
            compared: BTreeMap::new(),
            writes: BTreeMap::new(),
            freezing: BTreeMap::new(),
            next_write: 0,
            queue_bytes: 0,
            failed: None,
        }
    }

    pub(crate) const fn queue_bytes(&self) -> usize {
        self.queue_bytes
    }

    pub(crate) fn series_len(&self) -> usize {
        self.series.len()
    }

    /// A session publishes a proven batch.
    pub(crate) fn handle_publish(&mut self, publish: Publish, cx: &mut Context<'_>) {
        if let Err(refusal) = self.admit(&publish, cx) {
            return cx.refuse(publish.session, publish.request, refusal);
        }
        let key = SeriesKey::of(publish.batch.header());
        if let Some(waiting) = self.waiting.get_mut(&key) {
            waiting.push(publish);
        } else if self.series.find(&key).is_some() {
            self.place(publish, cx);
        } else {
            self.waiting.insert(key, vec![publish]);
            cx.out.push(OutEvent::ReadHead { series: key });
        }
    }

    /// Everything that can be said of a batch without its series; takes room in the session's window, which is what bounds
    /// the reads that batches of unknown series cause.
    ///
    /// IMPORTANT: nothing here may turn true by time alone. A publisher sends again what was not acked, however long it was
    /// away, and what is stored must be acked then: see [`check_time`].
    fn admit(&self, publish: &Publish, cx: &mut Context<'_>) -> Result<(), Refusal> {
        if let Some(refusal) = &self.failed {
            return Err(refusal.clone());
        }
        let (batch, header) = (&publish.batch, publish.batch.header());
        let origin = header.origin.address();
        cx.registry.check(header.stream_partition, origin, Right::Publish, cx.now.unix_s())?;
        check_revoked(batch, cx.registry)?;
        let bytes = batch.bytes().len();
        if self.queue_bytes > 0 && self.queue_bytes + bytes > cx.config.write_queue_bytes_max {
            return Err(Refusal::new(Code::Overloaded, "the journal is behind; try again in a moment"));
        }
        match cx.sessions.find(publish.session) {
            Some(session) => session.take_window(bytes, cx.config),
            None => Err(Refusal::new(Code::ShuttingDown, "the session is closed")),
        }
    }

    /// The head of a series was read; its waiting batches can be placed.
    pub(crate) fn handle_head(
        &mut self,
        key: SeriesKey,
        result: Result<Option<SeriesHead>, Refusal>,
        cx: &mut Context<'_>,
    ) {
        let waiting = self.waiting.remove(&key).unwrap_or_default();
        match result {
            Ok(head) => {
                self.series.insert(key, SeriesState::new(head.unwrap_or(SeriesHead::START)));
                for publish in waiting {
                    self.place(publish, cx);
                }
            }
            Err(refusal) => {
                for publish in waiting {
                    cx.refuse_publish(&publish, refusal.clone());
                }
            }
        }
    }

    /// Puts a batch at its place in its series, which is known.
    fn place(&mut self, publish: Publish, cx: &mut Context<'_>) {
        let header = publish.batch.header();
        let key = SeriesKey::of(header);
        let Some(state) = self.series.find(&key) else {
            // Forgotten between read and use: read again.
            self.waiting.insert(key, vec![publish]);
            return cx.out.push(OutEvent::ReadHead { series: key });
        };
        if state.head.frozen {
            let refusal = Refusal::new(
                Code::SeriesFrozen,
                format!(
                    "series {} was frozen after two batches for one place; begin another series",
                    key.series
                ),
            );
            return cx.refuse_publish(&publish, refusal);
        }
        match state.head.judge(header) {
            SeriesVerdict::Next => match check_time(&publish.batch, cx.config, cx.now) {
                Ok(()) => self.accept(publish, cx),
                Err(refusal) => cx.refuse_publish(&publish, refusal),
            },
            SeriesVerdict::Past => self.compare(publish, cx),
            SeriesVerdict::Gap => {
                let refusal = gap(format!(
                    "series {} stands at sequence {} and this batch begins at {}; send what lies between first",
                    key.series, state.head.next_sequence, header.sequence
                ));
                cx.refuse_publish(&publish, refusal);
            }
            SeriesVerdict::Backdated => {
                let refusal = Refusal::new(
                    Code::InvalidTimestamp,
                    format!("the time of series {} does not go back; begin another series", key.series),
                );
                cx.refuse_publish(&publish, refusal);
            }
            SeriesVerdict::Fork => {
                let refusal = gap(format!(
                    "series {} goes on from batch {}, this one from {}",
                    key.series, state.head.last, header.previous
                ));
                cx.refuse_publish(&publish, refusal);
            }
        }
    }

    /// The batch is the next of its series.
    fn accept(&mut self, publish: Publish, cx: &mut Context<'_>) {
        let Publish { session, request, ack, batch } = publish;
        let key = SeriesKey::of(batch.header());
        let bytes = batch.bytes().len();
        let write = self.next_write();
        if let Some(state) = self.series.find(&key) {
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
        let told = ack.level == AckLevel::Accepted;
        if told {
            send_ack(cx, session, request, &batch, ack.level, false);
        }
        let received_at = cx.now.unix_ms;
        let waiters = vec![Waiter { session, request, ack, bytes, duplicate: false, told }];
        self.writes
            .insert(write, Write { series: key, batch: batch.clone(), received_at, stored: false, waiters });
        cx.out.push(OutEvent::Append {
            write,
            batch,
            received_at,
            durable: ack.level == AckLevel::Durable,
            past: false,
        });
    }

    /// The batch's place is taken: by itself, or by another.
    fn compare(&mut self, publish: Publish, cx: &mut Context<'_>) {
        let header = publish.batch.header();
        let key = SeriesKey::of(header);
        let recent = self.series.find(&key).and_then(|state| state.recall(header.sequence));
        match recent {
            Some(recent) if recent.id == publish.batch.id() => self.join(publish, recent.write, cx),
            _ => {
                let read = cx.read_token();
                cx.out.push(OutEvent::ReadBatch { read, series: key, sequence: header.sequence });
                self.compared.insert(read, publish);
            }
        }
    }

    /// A duplicate waits for what the first one waits for.
    fn join(&mut self, publish: Publish, write: WriteToken, cx: &mut Context<'_>) {
        let Publish { session, request, ack, batch } = publish;
        cx.counters.batches_duplicate += 1;
        let bytes = batch.bytes().len();
        let stored = self.writes.get(&write).is_none_or(|write| write.stored);
        let reached = if stored { AckLevel::Stored } else { AckLevel::Accepted };
        if ack.level <= reached {
            cx.release(session, bytes);
            return send_ack(cx, session, request, &batch, reached, true);
        }
        let waiter = Waiter { session, request, ack, bytes, duplicate: true, told: false };
        match self.writes.get_mut(&write) {
            Some(first) if !first.stored => {
                first.waiters.push(waiter);
                if ack.level == AckLevel::Durable {
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
        self.writes.insert(write, Write { series, batch, received_at, stored: true, waiters: vec![waiter] });
        cx.out.push(OutEvent::Sync { write });
    }

    /// What is stored at a batch's place was read.
    pub(crate) fn handle_batch(
        &mut self,
        read: ReadToken,
        result: Result<Option<Bytes>, Refusal>,
        cx: &mut Context<'_>,
    ) {
        let Some(publish) = self.compared.remove(&read) else { return };
        let stored = result.and_then(|bytes| match bytes {
            Some(bytes) => Ok(Some(Batch::parse(bytes)?)),
            None => Ok(None),
        });
        match stored {
            Ok(Some(first)) if first.id() == publish.batch.id() => self.join(publish, WriteToken(0), cx),
            Ok(Some(first)) => self.freeze(publish, first, cx),
            Ok(None) => {
                let key = SeriesKey::of(publish.batch.header());
                // Still on its way to the journal: the conflicting one is in memory.
                let in_flight =
                    self.series.find(&key).and_then(|state| state.recall(publish.batch.header().sequence));
                if let Some(same) = in_flight.filter(|recent| recent.id == publish.batch.id()) {
                    return self.join(publish, same.write, cx);
                }
                let first =
                    in_flight.and_then(|recent| self.writes.get(&recent.write)).map(|w| w.batch.clone());
                match first {
                    Some(first) => self.freeze(publish, Arc::unwrap_or_clone(first).into_batch(), cx),
                    None => {
                        let refusal = gap(
                            "the batch's place in its series is past, and what stood there is no longer kept"
                                .into(),
                        );
                        cx.refuse_publish(&publish, refusal);
                    }
                }
            }
            Err(refusal) => cx.refuse_publish(&publish, refusal),
        }
    }

    /// Two batches for one place: keep both as proof and take no more of this series.
    ///
    /// IMPORTANT: until the proof lies in the store both batches are held, so they count: the one in its session's window,
    /// both in the journal's queue.
    fn freeze(&mut self, publish: Publish, first: Batch, cx: &mut Context<'_>) {
        let key = SeriesKey::of(publish.batch.header());
        if let Some(state) = self.series.find(&key) {
            state.head.frozen = true;
        }
        cx.counters.equivocations += 1;
        let write = self.next_write();
        let bytes = first.bytes().len() + publish.batch.bytes().len();
        self.queue_bytes += bytes;
        let (first_id, second) = (first.id(), Batch::clone(&publish.batch));
        self.freezing.insert(write, Freezing { publish, first: first_id, bytes });
        let proof = Box::new(Equivocation { first, second });
        cx.out.push(OutEvent::Freeze { write, proof, kept_max: cx.config.proofs_per_origin_max });
    }

    /// The proof of an equivocation lies in the store, or will not.
    pub(crate) fn handle_frozen(
        &mut self,
        write: WriteToken,
        result: Result<bool, Refusal>,
        cx: &mut Context<'_>,
    ) {
        let Some(Freezing { publish, first, bytes }) = self.freezing.remove(&write) else { return };
        self.queue_bytes = self.queue_bytes.saturating_sub(bytes);
        let key = SeriesKey::of(publish.batch.header());
        // One whose proof could not be written stays frozen as long as it is remembered.
        let kept = *result.as_ref().unwrap_or(&false);
        if let Some(state) = self.series.find(&key) {
            state.head.frozen = kept || result.is_err();
        }
        let what = if kept {
            "both are kept as proof and the series is frozen"
        } else {
            "no further proof is kept of its origin"
        };
        let message = format!("series {} has batch {first} at this place; {what}", key.series);
        cx.refuse_publish(&publish, Refusal::new(Code::Equivocation, message));
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
            write.stored = true;
            self.queue_bytes = self.queue_bytes.saturating_sub(write.batch.bytes().len());
            cx.counters.batches_stored += 1;
            if let Some(state) = self.series.find(&write.series) {
                state.in_flight = state.in_flight.saturating_sub(1);
            }
            stored.push(StoredBatch { batch: write.batch.clone(), position, received_at: write.received_at });
            self.tell(token, AckLevel::Stored, cx);
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
            write.waiters.drain(..).partition(|waiter| waiter.ack.level <= level);
        write.waiters = left;
        if write.waiters.is_empty() && write.stored {
            self.writes.remove(&token);
        }
        for waiter in done {
            cx.release(waiter.session, waiter.bytes);
            if !waiter.told {
                send_ack(cx, waiter.session, waiter.request, &batch, level, waiter.duplicate);
            }
        }
    }

    /// The store failed for good: nobody gets an ack any more.
    pub(crate) fn handle_failure(&mut self, refusal: Refusal, cx: &mut Context<'_>) {
        let waiting = std::mem::take(&mut self.waiting).into_values().flatten();
        let compared = std::mem::take(&mut self.compared).into_values();
        let freezing = std::mem::take(&mut self.freezing).into_values().map(|freezing| freezing.publish);
        for publish in waiting.chain(compared).chain(freezing) {
            cx.refuse_publish(&publish, refusal.clone());
        }
        for write in std::mem::take(&mut self.writes).into_values() {
            for waiter in write.waiters {
                cx.release(waiter.session, waiter.bytes);
                if !waiter.told {
                    cx.refuse(waiter.session, waiter.request, refusal.clone());
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

fn send_ack(
    cx: &mut Context<'_>,
    session: SessionId,
    request: u64,
    batch: &VerifiedBatch,
    level: AckLevel,
    duplicate: bool,
) {
    let message = ServerMessage::Ack { request, batch: batch.id(), ack: level.into(), duplicate };
    cx.out.push(OutEvent::Send { session, message });
}

fn gap(message: String) -> Refusal {
    Refusal::new(Code::SeriesGap, message)
}

fn check_revoked(batch: &VerifiedBatch, registry: &Registry) -> Result<(), Refusal> {
    let Some((digest, _)) = batch.delegation_used() else { return Ok(()) };
    let revoked = batch.header().origin.address().is_some_and(|wallet| registry.is_revoked(wallet, digest));
    if revoked {
        return Err(Refusal::new(Code::InvalidDelegation, "the wallet has revoked this delegation on chain"));
    }
    Ok(())
}

/// Whether a batch that is not here yet may be taken in at this time.
fn check_time(batch: &VerifiedBatch, config: &Config, now: Now) -> Result<(), Refusal> {
    if batch.delegation_used().is_some_and(|(_, expiry)| now.unix_s() > expiry) {
        return Err(Refusal::new(
            Code::InvalidDelegation,
            "the delegation has expired; let the wallet sign another",
        ));
    }
    check_clock(batch.header(), config, now)
}

fn check_clock(header: &Header, config: &Config, now: Now) -> Result<(), Refusal> {
    let window = config.timestamp_window_ms;
    let (earliest, latest) = (now.unix_ms.saturating_sub(window), now.unix_ms.saturating_add(window));
    if header.timestamp_min >= earliest && header.timestamp_max <= latest {
        return Ok(());
    }
    Err(Refusal::new(
        Code::InvalidTimestamp,
        format!(
            "the events' timestamps {} to {} are more than {window} ms from the broker's clock, {}; set the clock",
            header.timestamp_min, header.timestamp_max, now.unix_ms
        ),
    ))
}
