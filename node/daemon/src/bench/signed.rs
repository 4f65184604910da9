//! Batches that were signed before the clock starts, so that whoever sends them costs the brokers no processor time.

use super::throughput::unix_ms;
use bytes::Bytes;
use mainstem_crypto::SecretKey;
use mainstem_model::{Network, NewEvent, SeriesId, SeriesKey, SeriesWriter, Signer, StreamPartition};
use std::num::NonZero;

/// Where and in whose name, and what a batch is made of.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) network: Network,
    pub(crate) at: StreamPartition,
    pub(crate) key: SecretKey,
    /// Events of one batch.
    pub(crate) events: usize,
    /// Bytes of an event's content.
    pub(crate) event_bytes: usize,
}

/// One publisher's series from its beginning.
#[derive(Debug)]
pub(crate) struct Series {
    writer: SeriesWriter,
    events: usize,
    event_bytes: usize,
    batches: Vec<Bytes>,
    /// Batches that were not there when they were wanted.
    late: u64,
}

impl Series {
    pub(crate) fn new(shape: &Shape) -> Self {
        let signer = Signer::wallet(shape.key.clone());
        let writer = SeriesWriter::new(shape.network, shape.at, signer, SeriesId(rand::random()));
        let (events, event_bytes) = (shape.events, shape.event_bytes);
        Self { writer, events, event_bytes, batches: Vec::new(), late: 0 }
    }

    pub(crate) const fn key(&self) -> &SeriesKey {
        self.writer.key()
    }

    /// Batches that were signed only when they were to be sent.
    pub(crate) const fn late(&self) -> u64 {
        self.late
    }

    /// The batches so far.
    pub(crate) fn batches(&self) -> &[Bytes] {
        &self.batches
    }

    /// The batch of a number, from 0 on; signed now if it is not there.
    ///
    /// # Errors
    /// The events make no batch.
    pub(crate) fn batch(&mut self, number: usize) -> anyhow::Result<Bytes> {
        while self.batches.len() <= number {
            self.sign()?;
            self.late += 1;
        }
        Ok(self.batches.get(number).cloned().unwrap_or_default())
    }

    fn sign(&mut self) -> anyhow::Result<()> {
        let content = Bytes::from(vec![0x5a; self.event_bytes]);
        let events = vec![NewEvent::binary(unix_ms(), content); self.events];
        self.batches.push(self.writer.seal(&events)?.bytes().clone());
        Ok(())
    }
}

/// Signs on all processors until each series has so many batches behind its given number.
///
/// # Errors
/// The events make no batch.
pub(crate) fn ahead(series: &mut [(&mut Series, usize)], count: usize) -> anyhow::Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = series.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let sign = |share: &mut [(&mut Series, usize)]| {
            for (series, number) in share {
                while series.batches.len() < *number + count {
                    series.sign()?;
                }
            }
            anyhow::Ok(())
        };
        let threads: Vec<_> =
            series.chunks_mut(share).map(|share| scope.spawn(move || sign(share))).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(signed) => signed,
            Err(_) => anyhow::bail!("signing panicked"),
        })
    })
}
