//! Reads of the store, off the driver's loop: each runs on a blocking thread and comes back as an event.

use crate::driver::Internal;
use mainstem_model::{
    Code, Cursor, Equivocation, ReadFilter, ReadStart, Refusal, SeriesKey, StreamPartition,
};
use mainstem_protocol::{InEvent, Page, PastBatch, ReadToken, WriteToken};
use mainstem_store::{EventLog, StoreError};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Batches in one page; its bytes are bounded by who asks.
const PAGE_BATCHES_MAX: usize = 256;

/// The driver's way to read the store.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    log: Arc<dyn EventLog>,
    done: mpsc::UnboundedSender<Internal>,
}

impl Reader {
    pub(crate) fn new(log: Arc<dyn EventLog>, done: mpsc::UnboundedSender<Internal>) -> Self {
        Self { log, done }
    }

    pub(crate) fn head(&self, series: SeriesKey) {
        self.run(move |log| InEvent::HeadRead { series, result: log.series_head(&series).map_err(refusal) });
    }

    pub(crate) fn batch(&self, read: ReadToken, series: SeriesKey, sequence: u64) {
        self.run(move |log| {
            let result = log.batch_at(&series, sequence).map(|stored| stored.map(|batch| batch.bytes));
            InEvent::BatchRead { read, result: result.map_err(refusal) }
        });
    }

    pub(crate) fn start(&self, read: ReadToken, at: StreamPartition, start: ReadStart, filter: ReadFilter) {
        self.run(move |log| InEvent::StartResolved {
            read,
            result: log.start(at, start, &filter).map_err(refusal),
        });
    }

    pub(crate) fn page(
        &self,
        read: ReadToken,
        at: StreamPartition,
        cursor: Cursor,
        filter: ReadFilter,
        bytes_max: usize,
    ) {
        self.run(move |log| {
            let page = log.page(at, cursor, &filter, PAGE_BATCHES_MAX, bytes_max);
            InEvent::PageRead { read, result: page.map(past).map_err(refusal) }
        });
    }

    pub(crate) fn freeze(&self, write: WriteToken, proof: Box<Equivocation>, kept_max: usize) {
        self.run(move |log| {
            let result = log.freeze(&proof, kept_max);
            if let Err(error) = &result {
                tracing::error!(%error, series = ?proof.series(), "the proof of an equivocation was not kept");
            }
            InEvent::Frozen { write, result: result.map_err(refusal) }
        });
    }

    fn run(&self, read: impl FnOnce(&dyn EventLog) -> InEvent + Send + 'static) {
        let Self { log, done } = self.clone();
        tokio::task::spawn_blocking(move || {
            // The driver is gone at shutdown only.
            drop(done.send(Internal::Read(read(log.as_ref()))));
        });
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
        damaged: page.damaged.iter().map(|range| range.positions.end - range.positions.start).sum(),
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
