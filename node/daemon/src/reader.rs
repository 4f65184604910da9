//! Reads of the store, off the driver's loop: each runs on a thread of its lane and comes back as an event.
//!
//! Four lanes, so that who reads much holds up nobody else: what publishing waits for; pages; the search for the last n
//! events, the one read whose cost a client chooses; and repair, what brokers ask each other and compare. What waits is bounded
//! by the state machine, by the bytes that wait to be published, by the subscriptions that there are and by what it lets other
//! brokers ask; the third has a bound of its own.

use crate::{config::ReaderConfig, driver::Internal};
use mainstem_model::{
    Code, Cursor, Equivocation, ReadFilter, ReadStart, Refusal, SeriesKey, SeriesRange, StreamPartition,
};
use mainstem_protocol::{
    InEvent, LastArrival, Page, PastBatch, ReadToken, SeriesPage, SeriesStart, WriteToken,
};
use mainstem_store::{DamagedRange, EventLog, StoreError};
use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Sender, channel},
    },
    thread,
};
use tokio::sync::mpsc;

/// Batches in one page, of history or of a series; its bytes are bounded by who asks.
const PAGE_BATCHES_MAX: usize = 256;

/// The driver's way to read the store.
#[derive(Debug)]
pub(crate) struct Reader {
    log: Arc<dyn EventLog>,
    done: mpsc::UnboundedSender<Internal>,
    heads: Lane,
    pages: Lane,
    lasts: Lane,
    repairs: Lane,
}

impl Reader {
    pub(crate) fn spawn(
        config: &ReaderConfig,
        log: Arc<dyn EventLog>,
        done: mpsc::UnboundedSender<Internal>,
    ) -> io::Result<Self> {
        Ok(Self {
            log,
            done,
            heads: Lane::spawn("read-head", config.head_threads, usize::MAX)?,
            pages: Lane::spawn("read-page", config.page_threads, usize::MAX)?,
            lasts: Lane::spawn("read-last", config.last_threads, config.last_waiting_max)?,
            repairs: Lane::spawn("read-repair", config.repair_threads, usize::MAX)?,
        })
    }

    pub(crate) fn head(&self, series: SeriesKey) {
        self.run(&self.heads, move |log| InEvent::HeadRead {
            series,
            result: log.series_head(&series).map_err(refusal),
        });
    }

    pub(crate) fn batch(&self, read: ReadToken, series: SeriesKey, sequence: u64) {
        self.run(&self.heads, move |log| {
            let result = log.batch_at(&series, sequence).map(|stored| stored.map(|batch| batch.bytes));
            InEvent::BatchRead { read, result: result.map_err(refusal) }
        });
    }

    pub(crate) fn start(&self, read: ReadToken, at: StreamPartition, start: ReadStart, filter: ReadFilter) {
        let lane = if matches!(start, ReadStart::Last(_)) { &self.lasts } else { &self.pages };
        let taken = self.run(lane, move |log| InEvent::StartResolved {
            read,
            result: log.start(at, start, &filter).map_err(refusal),
        });
        if !taken {
            let why = "too many searches for the last n events wait; try again in a moment";
            let result = Err(Refusal::new(Code::Overloaded, why));
            drop(self.done.send(Internal::Read(InEvent::StartResolved { read, result })));
        }
    }

    pub(crate) fn page(
        &self,
        read: ReadToken,
        at: StreamPartition,
        cursor: Cursor,
        filter: ReadFilter,
        bytes_max: usize,
    ) {
        self.run(&self.pages, move |log| {
            let page = log.page(at, cursor, &filter, PAGE_BATCHES_MAX, bytes_max);
            InEvent::PageRead { read, result: page.map(past).map_err(refusal) }
        });
    }

    pub(crate) fn freeze(&self, write: WriteToken, proof: Box<Equivocation>, bytes_max: usize) {
        self.run(&self.heads, move |log| {
            let result = log.freeze(&proof, bytes_max);
            if let Err(error) = &result {
                tracing::error!(%error, series = ?proof.series(), "the proof of an equivocation was not kept");
            }
            InEvent::Frozen { write, result: result.map_err(refusal) }
        });
    }

    pub(crate) fn series(
        &self,
        read: ReadToken,
        series: SeriesKey,
        from: SeriesStart,
        until: u64,
        bytes_max: usize,
    ) {
        let from = match from {
            SeriesStart::Sequence(sequence) => mainstem_store::SeriesStart::Sequence(sequence),
            SeriesStart::ReceivedAt(since) => mainstem_store::SeriesStart::ReceivedAt(since),
        };
        self.run(&self.repairs, move |log| {
            let page = log.series_range(&series, from, until, PAGE_BATCHES_MAX, bytes_max);
            let page =
                page.map(|page| SeriesPage { batches: page.batches, base: page.base, more: page.more });
            InEvent::SeriesRead { read, result: page.map_err(refusal) }
        });
    }

    pub(crate) fn partitions(&self, read: ReadToken, after: Option<StreamPartition>, max: usize) {
        self.run(&self.repairs, move |log| InEvent::PartitionsListed {
            read,
            result: log.partitions_after(after, max).map_err(refusal),
        });
    }

    pub(crate) fn proof(&self, read: ReadToken, series: SeriesKey) {
        self.run(&self.repairs, move |log| InEvent::ProofRead {
            read,
            result: log.equivocation(&series).map_err(refusal),
        });
    }

    pub(crate) fn last(&self, read: ReadToken, at: StreamPartition, before_ms: i64) {
        self.run(&self.pages, move |log| InEvent::LastRead {
            read,
            result: last_arrival(log, at, before_ms).map_err(refusal),
        });
    }

    pub(crate) fn digests(&self, read: ReadToken, partitions: Vec<StreamPartition>) {
        self.run(&self.repairs, move |log| {
            let digests: Result<_, _> = partitions.into_iter().map(|at| log.digest(at)).collect();
            InEvent::HeadsDigested { read, result: digests.map_err(refusal) }
        });
    }

    pub(crate) fn summary(&self, read: ReadToken, range: SeriesRange, heads_max: usize, parts: usize) {
        self.run(&self.repairs, move |log| InEvent::HeadsSummarized {
            read,
            result: log.summarize(&range, heads_max, parts).map_err(refusal),
        });
    }

    fn run(&self, lane: &Lane, read: impl FnOnce(&dyn EventLog) -> InEvent + Send + 'static) -> bool {
        let (log, done) = (self.log.clone(), self.done.clone());
        // The driver is gone at shutdown only.
        lane.run(move || drop(done.send(Internal::Read(read(log.as_ref())))))
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// A few threads that take jobs in turn. They end, what waits done, when it is dropped.
#[derive(Debug)]
struct Lane {
    jobs: Sender<Job>,
    waiting: Arc<AtomicUsize>,
    waiting_max: usize,
}

impl Lane {
    fn spawn(name: &str, threads: usize, waiting_max: usize) -> io::Result<Self> {
        let (jobs, queue) = channel::<Job>();
        let (queue, waiting) = (Arc::new(Mutex::new(queue)), Arc::new(AtomicUsize::new(0)));
        for _ in 0..threads.max(1) {
            let (queue, waiting) = (queue.clone(), waiting.clone());
            thread::Builder::new().name(name.into()).spawn(move || {
                loop {
                    // Held while it waits for a job: the others wait for the lock then.
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = job else { return };
                    waiting.fetch_sub(1, Ordering::Relaxed);
                    if catch_unwind(AssertUnwindSafe(job)).is_err() {
                        tracing::error!("a read of the store ended in a panic");
                    }
                }
            })?;
        }
        Ok(Self { jobs, waiting, waiting_max })
    }

    /// Queues a job; `false` when too many wait.
    fn run(&self, job: impl FnOnce() + Send + 'static) -> bool {
        // Only the driver adds, so the bound is not passed in between.
        if self.waiting.load(Ordering::Relaxed) >= self.waiting_max {
            return false;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.jobs.send(Box::new(job)).is_ok()
    }
}

fn past(page: mainstem_store::Page) -> Page {
    let batch = |stored: mainstem_store::StoredBatch| PastBatch {
        bytes: stored.bytes,
        cursor: stored.cursor,
        count: stored.count,
        received_at: stored.received_at,
    };
    Page {
        batches: page.batches.into_iter().map(batch).collect(),
        next: page.next,
        at_end: page.at_end,
        damaged: page.damaged.iter().map(DamagedRange::batches_max).sum(),
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the rest, known and to come, is trouble with the store")]
fn refusal(error: StoreError) -> Refusal {
    let code = match &error {
        StoreError::ForeignCursor => Code::InvalidCursor,
        StoreError::Damaged(_) => Code::DamagedHistory,
        _ => Code::StoreUnavailable,
    };
    Refusal::new(code, error.to_string())
}

/// What came last in a partition, and so long before that.
fn last_arrival(log: &dyn EventLog, at: StreamPartition, before_ms: i64) -> Result<LastArrival, StoreError> {
    let end = log.end(at)?;
    let Some(last) = log.last(at)? else {
        return Ok(LastArrival { end, received_at: i64::MIN, before: i64::MIN });
    };
    let before = log.last_before(at, last.received_at.saturating_sub(before_ms))?;
    Ok(LastArrival { end, received_at: last.received_at, before: before.unwrap_or(last.received_at) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::now;
    use bytes::Bytes;
    use mainstem_crypto::SecretKey;
    use mainstem_model::{
        Address, HeadsSummary, Network, NewEvent, Origin, Partition, SeriesId, SeriesWriter, Signer,
        StreamId, Verifier,
    };
    use mainstem_store::{Append, MemoryLog};

    async fn next(events: &mut mpsc::UnboundedReceiver<Internal>) -> (u64, Option<Code>) {
        match events.recv().await {
            Some(Internal::Read(InEvent::StartResolved { read, result })) => {
                (read.0, result.err().map(|refusal| refusal.code))
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_flood_of_searches_is_refused_at_its_bound_and_holds_up_neither_pages_nor_publishers() {
        let (done, mut events) = mpsc::unbounded_channel();
        let config = ReaderConfig { last_threads: 1, last_waiting_max: 3, ..ReaderConfig::default() };
        let reader = Reader::spawn(&config, Arc::new(MemoryLog::new(7)), done).unwrap();
        // The lane's thread is in the middle of a long search.
        let (begun, begins) = channel();
        let (finish, finished) = channel::<()>();
        assert!(reader.lasts.run(move || {
            begun.send(()).unwrap();
            finished.recv().unwrap_err();
        }));
        begins.recv().unwrap();
        let at = StreamId(Address([2; 20])).partition(Partition::ZERO);
        for n in 0..4 {
            reader.start(ReadToken(n), at, ReadStart::Last(5), ReadFilter::ALL);
        }
        assert_eq!(next(&mut events).await, (3, Some(Code::Overloaded)));
        reader.start(ReadToken(9), at, ReadStart::Now, ReadFilter::ALL);
        assert_eq!(next(&mut events).await, (9, None));
        reader.head(SeriesKey {
            stream_partition: at,
            origin: Origin::ethereum(Address([3; 20])),
            series: SeriesId(1),
        });
        assert!(matches!(events.recv().await, Some(Internal::Read(InEvent::HeadRead { .. }))));
        drop(finish);
        for n in 0..3 {
            assert_eq!(next(&mut events).await, (n, None));
        }
    }

    /// Three batches of a series, at times 1, 2 and 3 of receiving.
    fn kept() -> (Arc<MemoryLog>, SeriesKey, Vec<Bytes>) {
        let network = Network { chain_id: 1, registry: Address([1; 20]) };
        let at = StreamId(Address([2; 20])).partition(Partition::ZERO);
        let signer = Signer::wallet(SecretKey::from_bytes(&[3; 32]).unwrap());
        let mut series = SeriesWriter::new(network, at, signer, SeriesId(1));
        let log = Arc::new(MemoryLog::new(7));
        let batches = (1..=3).map(|received_at| {
            let batch = series.seal(&[NewEvent::binary(received_at, Bytes::from_static(b"x"))]).unwrap();
            let bytes = batch.bytes().clone();
            let batch = Arc::new(Verifier::new(network).verify(batch).unwrap());
            log.append(&[Append { batch, received_at, past: received_at == 2 }]).unwrap();
            bytes
        });
        let batches = batches.collect();
        (log, *series.key(), batches)
    }

    #[tokio::test]
    async fn what_brokers_ask_each_other_is_answered_while_pages_and_publishers_wait() {
        let (log, series, batches) = kept();
        let at = series.stream_partition;
        let (done, mut events) = mpsc::unbounded_channel();
        let config = ReaderConfig { head_threads: 1, page_threads: 1, ..ReaderConfig::default() };
        let reader = Reader::spawn(&config, log.clone(), done).unwrap();
        let (finish, finished) = channel::<()>();
        let finished = Arc::new(Mutex::new(finished));
        for lane in [&reader.heads, &reader.pages] {
            let finished = finished.clone();
            assert!(lane.run(move || {
                finished.lock().unwrap().recv().unwrap_err();
            }));
        }
        reader.series(ReadToken(1), series, SeriesStart::Sequence(1), 2, usize::MAX);
        // Since 1970, or since now.
        reader.series(ReadToken(2), series, SeriesStart::ReceivedAt(0), u64::MAX, 0);
        reader.series(ReadToken(3), series, SeriesStart::ReceivedAt(now().unix_ms), u64::MAX, usize::MAX);
        reader.partitions(ReadToken(4), None, 9);
        reader.partitions(ReadToken(5), Some(at), 9);
        reader.digests(ReadToken(6), vec![at, at]);
        let key = (series.origin, series.series);
        reader.summary(ReadToken(7), SeriesRange { at, first: key, last: key }, 1, 2);
        for (token, expected, more) in [(1, &batches[1..2], false), (2, &batches[..1], true), (3, &[], false)]
        {
            let Some(Internal::Read(InEvent::SeriesRead { read, result })) = events.recv().await else {
                panic!()
            };
            let expected = SeriesPage { batches: expected.to_vec(), base: 0, more };
            assert_eq!((read.0, result), (token, Ok(expected)));
        }
        for (token, expected) in [(4, vec![at]), (5, vec![])] {
            let Some(Internal::Read(InEvent::PartitionsListed { read, result })) = events.recv().await else {
                panic!()
            };
            assert_eq!((read.0, result), (token, Ok(expected)));
        }
        let Some(Internal::Read(InEvent::HeadsDigested { read, result })) = events.recv().await else {
            panic!()
        };
        let digest = log.digest(at).unwrap();
        assert_eq!((read.0, result, digest.count), (6, Ok(vec![digest, digest]), 1));
        let Some(Internal::Read(InEvent::HeadsSummarized { read, result })) = events.recv().await else {
            panic!()
        };
        let head = log.series_head(&series).unwrap().unwrap();
        assert_eq!((read.0, result), (7, Ok(HeadsSummary::Heads(vec![(series, head)]))));
        drop(finish);
    }
}
