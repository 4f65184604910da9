use crate::StoreError;
use bytes::Bytes;
use mainstem_model::{
    BatchId, BatchKey, Cursor, Equivocation, HeadsDigest, HeadsSummary, ReadFilter, ReadStart, SeriesHead,
    SeriesKey, SeriesRange, StreamPartition, VerifiedBatch,
};
use std::{fmt::Debug, ops::Range, sync::Arc};

/// Stands where a batch has no arrival number: one that fills up history.
pub const NO_POSITION: u64 = u64::MAX;

/// A batch to be kept.
#[derive(Clone, Debug)]
pub struct Append {
    /// The batch, proven; and next in its series unless it is `past`.
    pub batch: Arc<VerifiedBatch>,
    /// When it came, milliseconds.
    pub received_at: i64,
    /// It fills up history: it is found by time and by series as any other, but it has no arrival number, and no reader of
    /// arrivals is given it. It may lie anywhere in its series; the head never goes back for it. Where there is a batch
    /// already nothing is changed.
    pub past: bool,
}

/// A batch as kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBatch {
    /// As signed.
    pub bytes: Bytes,
    /// Its id.
    pub id: BatchId,
    /// How many events it has.
    pub count: u16,
    /// When it came, milliseconds.
    pub received_at: i64,
    /// Its arrival number in its partition, or [`NO_POSITION`].
    pub position: u64,
    /// Reading from here gives it again; the skip counts leading events that are not part of the answer.
    pub cursor: Cursor,
}

/// A stretch that cannot be read here. Nothing of it was deleted; other replicas have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedRange {
    /// In which partition.
    pub at: StreamPartition,
    /// Arrival numbers, among which those of the batches are. Empty at [`NO_POSITION`] for what fills up history.
    pub positions: Range<u64>,
    /// Place in history and id of the one batch, when an index still tells.
    pub batch: Option<(BatchKey, BatchId)>,
    /// What is wrong.
    pub why: String,
}

impl DamagedRange {
    /// How many batches it may be, at most; of history that was filled up and lost its index nobody knows, and it counts as one.
    pub fn batches_max(&self) -> u64 {
        self.positions.end.saturating_sub(self.positions.start).max(1)
    }
}

/// Where in a series to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeriesStart {
    /// With the batch that holds this event number, or the first kept after it.
    Sequence(u64),
    /// With the first batch that came at this time, milliseconds, or later.
    ReceivedAt(i64),
}

/// Batches of one series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesPage {
    /// As signed, each beginning where the one before it ends.
    pub batches: Vec<Bytes>,
    /// The first sequence that is kept at all; the head's next one when none is.
    pub base: u64,
    /// There is more before what was asked for ends.
    pub more: bool,
}

/// A stretch of reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The batches wanted, in reading order.
    pub batches: Vec<StoredBatch>,
    /// Where to read on. A page that begins in history ends at the latest where history ends: the first `next` that is a
    /// [`Cursor::Arrival`] says that all of the past was given.
    pub next: Cursor,
    /// Nothing lies behind `next`.
    pub at_end: bool,
    /// Batches of this stretch that are damaged and were left out.
    pub damaged: Vec<DamagedRange>,
}

/// What trimming did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Batches removed.
    pub batches: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Where to look on; `None` when all was looked at. Always behind what was looked at, so that a caller gets to the end.
    pub next: Option<BatchKey>,
}

/// Where a partition's log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastArrival {
    /// Arrival number of the next batch.
    pub end: u64,
    /// When the last one came, milliseconds.
    pub received_at: i64,
}

/// Figures of one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionStats {
    /// Arrival number of the next batch.
    pub end: u64,
    /// Batches kept.
    pub batches: u64,
    /// Events of them.
    pub events: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Least timestamp kept, milliseconds.
    pub first_timestamp: Option<i64>,
    /// Least timestamp of the newest batch kept, milliseconds.
    pub last_timestamp: Option<i64>,
}

/// What a full check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Batches that are whole.
    pub batches: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Damaged batches.
    pub damaged: Vec<DamagedRange>,
    /// Damage that leaves every batch readable by its position: what an index or another table has lost.
    pub faults: Vec<String>,
}

/// The event log. Plain and synchronous: called from threads that may block.
pub trait EventLog: Send + Sync + Debug {
    /// Random number of this store, the same for its life: part of its cursors.
    fn log_id(&self) -> u64;

    /// Keeps all, in order, as one group. On return they are in the journal: they outlive the process, not yet the power.
    /// Gives their arrival numbers, [`NO_POSITION`] for those that are `past`.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`]; none of the group is kept for certain.
    fn append(&self, group: &[Append]) -> Result<Vec<u64>, StoreError>;

    /// fsync: on return everything appended before the call outlives the power.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`], now and for ever after.
    fn sync(&self) -> Result<(), StoreError>;

    /// Arrival number of a partition's next batch. It rises by one with each, and may leap when a store is opened: no number
    /// is given twice, though a power failure take the batch that had it.
    ///
    /// # Errors
    /// A damaged row.
    fn end(&self, at: StreamPartition) -> Result<u64, StoreError>;

    /// How far a series has come; `None` when it never began here.
    ///
    /// # Errors
    /// A damaged row.
    fn series_head(&self, series: &SeriesKey) -> Result<Option<SeriesHead>, StoreError>;

    /// The batch that holds event `sequence` of a series.
    ///
    /// # Errors
    /// A damaged row.
    fn batch_at(&self, series: &SeriesKey, sequence: u64) -> Result<Option<StoredBatch>, StoreError>;

    /// Batches of a series, from a start up to the last that begins before `until`: at most `batches_max` and about
    /// `bytes_max` bytes, but at least one if there is one. They end before a hole, whether it was never filled or is damaged; what
    /// lies behind it comes when it is asked for.
    ///
    /// By time, a bounded number of batches is looked at, from the newest before `until` back to the first that came earlier;
    /// the store's configuration says how many.
    ///
    /// # Errors
    /// A damaged row, if the batch to begin with is lost by it, or the beginning of the series.
    fn series_range(
        &self,
        series: &SeriesKey,
        from: SeriesStart,
        until: u64,
        batches_max: usize,
        bytes_max: usize,
    ) -> Result<SeriesPage, StoreError>;

    /// What the heads of all series of a partition come down to.
    ///
    /// # Errors
    /// A damaged row that nothing else makes up for.
    fn digest(&self, at: StreamPartition) -> Result<HeadsDigest, StoreError>;

    /// The heads in a range when they are at most `heads_max`; else at most `parts` parts of it, with about as many series
    /// each, and the digest of each part. The parts cover the range without gap or overlap.
    ///
    /// # Errors
    /// As [`digest`](EventLog::digest).
    fn summarize(
        &self,
        range: &SeriesRange,
        heads_max: usize,
        parts: usize,
    ) -> Result<HeadsSummary, StoreError>;

    /// Finds the cursor for a start: `Now` is the end; from `Last(n)` exactly the last n events follow, in the order of
    /// history, of the filter's origin (its times are not looked at), of what is kept now and among the newest batches, as many as the
    /// store's configuration lets it look at; `From` begins where events of
    /// the filter's time range can lie; a cursor is checked.
    ///
    /// # Errors
    /// [`StoreError::ForeignCursor`].
    fn start(&self, at: StreamPartition, start: ReadStart, filter: &ReadFilter)
    -> Result<Cursor, StoreError>;

    /// Reads on from a cursor: at most `batches_max` batches and about `bytes_max` bytes, but at least one batch if there
    /// is one; a bounded number of rows is looked at, so a page can be empty with more to come.
    ///
    /// A history cursor walks the batches that had arrived before its `until` in the order of history, up to the first
    /// whose least timestamp is after `filter.to`; then comes, in the order of arrival, what has arrived since, so that
    /// nothing is missed or doubled whatever arrives meanwhile. What fills up history comes in its place whatever `until` is, if
    /// the walk has not passed there, and only so. Who wants a range of the past only stops at the first
    /// `next` that is a [`Cursor::Arrival`].
    ///
    /// # Errors
    /// [`StoreError::ForeignCursor`], [`StoreError::Read`]. A damaged batch is left out and reported in the page; a
    /// damaged index is read around, slowly.
    fn page(
        &self,
        at: StreamPartition,
        cursor: Cursor,
        filter: &ReadFilter,
        batches_max: usize,
        bytes_max: usize,
    ) -> Result<Page, StoreError>;

    /// Keeps the proof of an equivocation, durably, and marks its series frozen for ever. The first proof of a series stays.
    /// Of one origin so many bytes of proofs are kept for a partition; others go then, and their series stay frozen.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`].
    fn freeze(&self, proof: &Equivocation, bytes_max: usize) -> Result<(), StoreError>;

    /// The proof for which a series is frozen, if it is kept: both batches, as signed.
    ///
    /// # Errors
    /// A damaged row.
    fn equivocation(&self, series: &SeriesKey) -> Result<Option<(Bytes, Bytes)>, StoreError>;

    /// Removes at most `max` batches whose greatest timestamp is before `before` (milliseconds), with every index row of
    /// theirs, in the order of history from `from` on. Heads and proofs stay. A damaged index is read around, slowly.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`], [`StoreError::Read`].
    fn trim(
        &self,
        at: StreamPartition,
        from: Option<BatchKey>,
        before: i64,
        max: usize,
    ) -> Result<Trimmed, StoreError>;

    /// Every partition that ever had a batch.
    ///
    /// # Errors
    /// A damaged index.
    fn partitions(&self) -> Result<Vec<StreamPartition>, StoreError>;

    /// At most `max` of them, in order, behind `after`.
    ///
    /// # Errors
    /// A damaged index.
    fn partitions_after(
        &self,
        after: Option<StreamPartition>,
        max: usize,
    ) -> Result<Vec<StreamPartition>, StoreError>;

    /// What arrived last in a partition and is kept; `None` when nothing is. Of damaged arrivals the newest that can be read.
    ///
    /// # Errors
    /// A damaged index.
    fn last(&self, at: StreamPartition) -> Result<Option<LastArrival>, StoreError>;

    /// When the last batch came, milliseconds, of those that came before a time, or the first that is kept if none did; `None` when none
    /// is. The log is halved by arrival numbers, so where the clock was set back this is one of several answers.
    ///
    /// # Errors
    /// What [`EventLog::page`] has.
    fn last_before(&self, at: StreamPartition, time: i64) -> Result<Option<i64>, StoreError> {
        halve(self.end(at)?, time, |from, until| {
            let mut cursor = Cursor::Arrival { log: self.log_id(), position: from, skip: 0 };
            loop {
                let page = self.page(at, cursor, &ReadFilter::ALL, 1, 1)?;
                if let Some(batch) = page.batches.first() {
                    return Ok(Some((batch.position, batch.received_at)));
                }
                if page.at_end || matches!(page.next, Cursor::Arrival { position, .. } if position >= until) {
                    return Ok(None);
                }
                cursor = page.next;
            }
        })
    }

    /// Figures of one partition.
    ///
    /// # Errors
    /// A damaged index.
    fn stats(&self, at: StreamPartition) -> Result<PartitionStats, StoreError>;

    /// Reads and checks everything; `progress` hears after each batch. For `mainstem doctor`.
    ///
    /// # Errors
    /// The list of partitions cannot be read.
    fn verify(&self, progress: &mut dyn FnMut(&Verified)) -> Result<Verified, StoreError>;
}

/// When the last of all came before a time, by arrival numbers below `end`, or the first of all. `first` gives number and time of the first one
/// from a number on, as far as it looks only up to another one.
pub(crate) fn halve<E>(
    end: u64,
    time: i64,
    mut first: impl FnMut(u64, u64) -> Result<Option<(u64, i64)>, E>,
) -> Result<Option<i64>, E> {
    let Some((oldest, came)) = first(0, end)? else { return Ok(None) };
    let (mut found, mut from, mut until) = (came, oldest, end);
    while from < until {
        let middle = from + (until - from) / 2;
        match first(middle, until)? {
            Some((position, came)) if position < until && came < time => {
                found = came;
                from = position.saturating_add(1);
            }
            Some(_) | None => until = middle,
        }
    }
    Ok(Some(found))
}
