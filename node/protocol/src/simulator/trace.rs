use super::{meter::kind_of, random::mix};
use crate::{InEvent, OutEvent, PeerMessage, ServerMessage};
use mainstem_model::{Batch, BatchId, SeriesKey, VerifiedBatch};
use std::{collections::VecDeque, fmt::Write};

/// Steps kept for a report.
const TAIL: usize = 60;
const TICK: &str = "tick";
/// Lines kept while tracing.
const LINES_MAX: usize = 400_000;

/// What has happened, as a running hash; the last steps, for a report.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: [u64; 2],
    steps: u64,
    tail: VecDeque<Step>,
    lines: Option<VecDeque<String>>,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    now: i64,
    broker: usize,
    what: &'static str,
    number: u64,
}

impl Trace {
    pub(crate) fn new(tracing: bool) -> Self {
        Self {
            hash: [1, 2],
            steps: 0,
            tail: VecDeque::with_capacity(TAIL),
            lines: tracing.then(VecDeque::new),
        }
    }

    pub(crate) const fn hash(&self) -> [u64; 2] {
        self.hash
    }

    pub(crate) const fn steps(&self) -> u64 {
        self.steps
    }

    pub(crate) fn take_in(&mut self, now: i64, broker: usize, event: &InEvent) {
        let (what, number) = mark_in(event);
        self.step(now, broker, what, number);
        if self.lines.is_some() {
            self.line(format!("{now:>8} broker {broker} <- {event:?}"));
        }
    }

    pub(crate) fn give_out(&mut self, now: i64, broker: usize, event: &OutEvent) {
        self.mix(mark_out(event));
        if self.lines.is_some() {
            let delivered = match event {
                OutEvent::Send { message: ServerMessage::Deliver { batch, .. }, .. } => {
                    Batch::peek_header(batch).ok().map(|header| header.id())
                }
                _ => None,
            };
            let what = delivered.map_or(String::new(), |id| format!(" of {id:?}"));
            self.line(format!("{now:>8} broker {broker} -> {event:?}{what}"));
        }
    }

    pub(crate) fn step(&mut self, now: i64, broker: usize, what: &'static str, number: u64) {
        self.steps += 1;
        let name = what.bytes().fold(0, |hash: u64, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        self.mix((now as u64) ^ ((broker as u64) << 40));
        self.mix(name ^ number.rotate_left(17));
        // They come whatever happens.
        if what == TICK {
            return;
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(Step { now, broker, what, number });
    }

    fn mix(&mut self, number: u64) {
        let [a, b] = self.hash;
        self.hash = [mix(a ^ number), b.rotate_left(23).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number];
    }

    fn line(&mut self, line: String) {
        let Some(lines) = &mut self.lines else { return };
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// Every line is kept.
    pub(crate) const fn is_whole(&self) -> bool {
        self.lines.is_some()
    }

    /// The last steps; all lines if they were kept.
    pub(crate) fn tell(&self, out: &mut String) {
        if let Some(lines) = &self.lines {
            for line in lines {
                out.push_str(line);
                out.push('\n');
            }
            return;
        }
        for Step { now, broker, what, number } in &self.tail {
            let _ = writeln!(out, "{now:>8} ms  broker {broker}  {what} {number:x}");
        }
    }
}

fn short(id: BatchId) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&id.0[..8]);
    u64::from_be_bytes(first)
}

fn of_batch(batch: &VerifiedBatch) -> u64 {
    short(batch.id())
}

fn of_series(series: &SeriesKey) -> u64 {
    series.series.0
}

fn mark_in(event: &InEvent) -> (&'static str, u64) {
    match event {
        InEvent::SessionOpened { session, .. } => ("session opened", session.0),
        InEvent::SessionClosed { session } => ("session closed", session.0),
        InEvent::SignedIn { session, .. } => ("signed in", session.0),
        InEvent::Publish { batch, .. } => ("publish", of_batch(batch)),
        InEvent::Subscribe { session, .. } => ("subscribe", session.0),
        InEvent::Unsubscribe { session, .. } => ("unsubscribe", session.0),
        InEvent::Flushed { session, bytes, .. } => ("flushed", session.0 ^ ((*bytes as u64) << 32)),
        InEvent::HeadRead { series, .. } => ("head read", of_series(series)),
        InEvent::BatchRead { read, .. } => ("batch read", read.0),
        InEvent::Stored { writes } => ("stored", writes.last().map_or(0, |(write, at)| write.0 ^ (at << 32))),
        InEvent::Frozen { write, .. } => ("frozen", write.0),
        InEvent::Durable { writes } => ("durable", writes.last().map_or(0, |write| write.0)),
        InEvent::StoreFailed { .. } => ("store failed", 0),
        InEvent::StartResolved { read, .. } => ("start resolved", read.0),
        InEvent::PageRead { read, result } => {
            let count = result.as_ref().map_or(0, |page| page.batches.len());
            ("page read", read.0 ^ ((count as u64) << 32))
        }
        InEvent::Registry(_) => ("registry", 0),
        InEvent::Assigned(assignment) => ("assigned", assignment.epoch.into()),
        InEvent::PeerUp { .. } => ("peer up", 0),
        InEvent::PeerDown { .. } => ("peer down", 0),
        InEvent::Peer { message, .. } => {
            let kind = kind_of(message);
            (super::meter::MESSAGE_NAMES[kind], of_message(message))
        }
        InEvent::PeerFaulty { .. } => ("peer faulty", 0),
        InEvent::SeriesRead { read, .. } => ("series read", read.0),
        InEvent::ProofRead { read, .. } => ("proof read", read.0),
        InEvent::LastRead { read, .. } => ("last read", read.0),
        InEvent::PartitionsListed { read, .. } => ("partitions listed", read.0),
        InEvent::HeadsDigested { read, .. } => ("heads digested", read.0),
        InEvent::HeadsSummarized { read, .. } => ("heads summarized", read.0),
        InEvent::Tick => (TICK, 0),
    }
}

fn of_message(message: &PeerMessage) -> u64 {
    match message {
        PeerMessage::Store { batch, .. } => of_batch(batch),
        PeerMessage::Feed { batch } | PeerMessage::Pulled { batch, .. } => batch.id().map_or(0, short),
        PeerMessage::Held { last, .. } => short(*last),
        PeerMessage::Heads { heads } => {
            heads.iter().fold(0, |all: u64, (key, head)| all ^ of_series(key) ^ short(head.last))
        }
        PeerMessage::Pull { pull, .. } | PeerMessage::PullEnd { pull, .. } => *pull,
        PeerMessage::Resolve { read, .. } | PeerMessage::Read { read, .. } => *read,
        _ => 0,
    }
}

fn mark_out(event: &OutEvent) -> u64 {
    let (kind, number) = match event {
        OutEvent::Append { batch, .. } => (1, of_batch(batch)),
        OutEvent::Sync { write } => (2, write.0),
        OutEvent::ReadHead { series } => (3, of_series(series)),
        OutEvent::ReadBatch { read, .. } => (4, read.0),
        OutEvent::Freeze { write, .. } => (5, write.0),
        OutEvent::ResolveStart { read, .. } => (6, read.0),
        OutEvent::ReadPage { read, .. } => (7, read.0),
        OutEvent::ReadSeries { read, .. } => (8, read.0),
        OutEvent::ReadProof { read, .. } => (15, read.0),
        OutEvent::ReadLast { read, .. } => (16, read.0),
        OutEvent::ListPartitions { read, .. } => (9, read.0),
        OutEvent::DigestHeads { read, .. } => (10, read.0),
        OutEvent::SummarizeHeads { read, .. } => (11, read.0),
        OutEvent::Tell { message, .. } => (12, (kind_of(message) as u64) ^ (of_message(message) << 8)),
        OutEvent::Connect { peer } => {
            (17, peer.as_bytes().iter().fold(0, |all, byte| (all << 5) ^ u64::from(*byte)))
        }
        OutEvent::Part { peer } => {
            (18, peer.as_bytes().iter().fold(0, |all, byte| (all << 5) ^ u64::from(*byte)))
        }
        OutEvent::Drop { for_ms, .. } => (13, *for_ms),
        OutEvent::Send { session, .. } => (14, session.0),
    };
    number.rotate_left(8) ^ kind
}
