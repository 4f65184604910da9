use super::{random::Random, reference::Reference};
use crate::SessionId;
use mainstem_model::{
    Ack, AckLevel, Batch, BatchId, Code, Network, NewEvent, SeriesId, SeriesWriter, Signer, StreamPartition,
    VerifiedBatch, Verifier,
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// Acked batches that are kept to be sent again when a broker has lost them.
const RETAINED_MAX: usize = 64;
/// Batches without an ack; with more nothing is published.
const UNACKED_MAX: usize = 100;

/// A publisher as the client is: it keeps what was not acked and sends it again, what was acked and may be lost too when a
/// broker says that there is a gap, and begins another series when that is of no use.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) session: Option<SessionId>,
    pub(crate) broker: usize,
    /// The greatest number of copies it asks for.
    pub(crate) copies_max: u8,
    /// Seals two batches for one place now and then.
    pub(crate) forks: bool,
    /// When its right was taken everywhere.
    pub(crate) revoked_at: Option<i64>,
    pub(crate) revoking: bool,
    /// It has given up.
    pub(crate) stopped: bool,
    network: Network,
    at: StreamPartition,
    signer: Signer,
    number: u64,
    series: u64,
    writer: SeriesWriter,
    items: VecDeque<Item>,
    /// What was asked for in this session.
    requests: BTreeMap<u64, (BatchId, Ack)>,
    /// This session began with everything that is kept.
    rewound: bool,
    clock: i64,
}

#[derive(Debug)]
struct Item {
    batch: Arc<VerifiedBatch>,
    sent_at: i64,
    acked: Option<AckLevel>,
}

/// What a refusal makes a publisher do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Go on.
    None,
    /// Disconnect and come back.
    Reconnect,
    /// The answer is one that no honest broker gives.
    Wrong,
}

impl Publisher {
    pub(crate) fn new(network: Network, at: StreamPartition, signer: Signer, number: u64) -> Self {
        let writer = SeriesWriter::new(network, at, signer.clone(), SeriesId(number << 32));
        Self {
            session: None,
            broker: 0,
            copies_max: 1,
            forks: false,
            revoked_at: None,
            revoking: false,
            stopped: false,
            network,
            at,
            signer,
            number,
            series: 0,
            writer,
            items: VecDeque::new(),
            requests: BTreeMap::new(),
            rewound: false,
            clock: i64::MIN,
        }
    }

    pub(crate) const fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Whether everything was acked.
    pub(crate) fn is_done(&self) -> bool {
        self.stopped || self.unacked() == 0
    }

    /// It has begun another series.
    pub(crate) const fn has_begun_anew(&self) -> bool {
        self.series > 0
    }

    pub(crate) fn unacked(&self) -> usize {
        self.items.iter().filter(|item| item.acked.is_none()).count()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.unacked() >= UNACKED_MAX
    }

    /// Since when the oldest batch waits for its ack.
    pub(crate) fn waits_since(&self) -> Option<i64> {
        self.items.iter().find(|item| item.acked.is_none()).map(|item| item.sent_at)
    }

    /// Seals the next batch; its timestamps lie up to four seconds before `time`, so that history is not arrival.
    pub(crate) fn seal(
        &mut self,
        time: i64,
        random: &mut Random,
        verifier: &Verifier,
        reference: &mut Reference,
    ) -> Option<Arc<VerifiedBatch>> {
        let events = self.events(time, random);
        let batch = seal(&mut self.writer, &events, verifier)?;
        reference.seal(batch.clone(), false);
        self.items.push_back(Item { batch: batch.clone(), sent_at: i64::MAX, acked: None });
        Some(batch)
    }

    /// Seals two batches for one place; the second is nobody's to send again.
    pub(crate) fn fork(
        &mut self,
        time: i64,
        random: &mut Random,
        verifier: &Verifier,
        reference: &mut Reference,
    ) -> Option<[Arc<VerifiedBatch>; 2]> {
        let mut branch = self.writer.clone();
        let first = self.seal(time, random, verifier, reference)?;
        let events = self.events(self.clock, random);
        let second = seal(&mut branch, &events, verifier)?;
        reference.seal(second.clone(), false);
        reference.fork(*self.writer.key());
        Some([first, second])
    }

    fn events(&mut self, time: i64, random: &mut Random) -> Vec<NewEvent> {
        // Within a series time does not go back, nor within a batch, so that a range of time is a stretch of each series.
        let first = (time - random.span(0, 4_000)).max(self.clock);
        let count = random.span(1, 5);
        self.clock = first + count - 1;
        let content = |random: &mut Random| random.next().to_be_bytes().repeat(random.span(1, 20) as usize);
        (0..count).map(|n| NewEvent::binary(first + n, content(random).into())).collect()
    }

    /// A session began: what is to be sent first, in order.
    pub(crate) fn open(&mut self, session: SessionId) -> Vec<Arc<VerifiedBatch>> {
        self.session = Some(session);
        let all = self.rewound;
        let wanted = self.items.iter().filter(|item| all || item.acked.is_none());
        wanted.map(|item| item.batch.clone()).collect()
    }

    /// The session ended; answers that are under way are not heard.
    pub(crate) fn close(&mut self) -> Option<SessionId> {
        self.requests.clear();
        self.session.take()
    }

    pub(crate) fn draw_ack(&self, random: &mut Random) -> Ack {
        let levels = [AckLevel::Accepted, AckLevel::Stored, AckLevel::Durable];
        let level = random.pick(&levels).unwrap_or_default();
        // Of what is only accepted there is one copy.
        let copies =
            if level == AckLevel::Accepted { 1 } else { random.span(1, i64::from(self.copies_max) + 1) };
        Ack::new(level, copies as u8)
    }

    pub(crate) fn asked(&mut self, request: u64, batch: BatchId, ack: Ack, now: i64) {
        self.requests.insert(request, (batch, ack));
        if let Some(item) = self.items.iter_mut().find(|item| item.batch.id() == batch) {
            item.sent_at = now;
        }
    }

    /// An ack came: what had been asked for, if this was asked at all.
    pub(crate) fn acked(&mut self, request: u64, batch: BatchId, ack: Ack) -> Option<Ack> {
        let (asked, wanted) = self.requests.remove(&request)?;
        if asked != batch {
            return None;
        }
        if let Some(item) = self.items.iter_mut().find(|item| item.batch.id() == batch) {
            item.acked = item.acked.max(Some(ack.level));
        }
        while let Some(front) = self.items.front()
            && let Some(level) = front.acked
            && (level == AckLevel::Durable || self.items.len() > RETAINED_MAX)
        {
            self.items.pop_front();
        }
        if self.unacked() == 0 {
            self.rewound = false;
        }
        Some(wanted)
    }

    /// A refusal came.
    pub(crate) fn refused(&mut self, request: u64, code: Code) -> Turn {
        if request != 0 && self.requests.remove(&request).is_none() {
            return Turn::None;
        }
        match code {
            Code::SeriesGap if !self.rewound => self.rewound = true,
            Code::SeriesGap | Code::SeriesFrozen | Code::Equivocation | Code::InvalidTimestamp => {
                self.restart()
            }
            Code::MissingPermission if self.revoking => {
                self.stopped = true;
                self.items.clear();
            }
            // It is not heard of the right yet, or has too much to do, or too few brokers are there.
            Code::MissingPermission
            | Code::StreamNotFound
            | Code::Overloaded
            | Code::LimitReached
            | Code::ShuttingDown => {}
            Code::InvalidArgument | Code::InvalidPartition | Code::InvalidSignature => return Turn::Wrong,
            _ => {}
        }
        Turn::Reconnect
    }

    /// Goes on in another series. What was not acked is sealed anew, as if it were published now: whether it was stored is
    /// not known.
    fn restart(&mut self) {
        self.series += 1;
        let series = SeriesId((self.number << 32) | self.series);
        self.writer = SeriesWriter::new(self.network, self.at, self.signer.clone(), series);
        self.items.clear();
        self.rewound = false;
        self.clock = i64::MIN;
    }
}

/// Seals and proves.
pub(crate) fn seal(
    writer: &mut SeriesWriter,
    events: &[NewEvent],
    verifier: &Verifier,
) -> Option<Arc<VerifiedBatch>> {
    let batch = Batch::decode(writer.seal(events).ok()?.bytes().clone()).ok()?;
    verifier.verify(batch).ok().map(Arc::new)
}
