//! Reads back what brokers have kept.

use super::{
    signed::Series,
    wire::{self, Down, Told},
};
use anyhow::{Context, bail};
use bytes::Bytes;
use mainstem_model::{Batch, SeriesId, StreamPartition};
use std::{collections::BTreeMap, time::Duration};

/// How long a broker may say nothing while it is read.
const SILENCE: Duration = Duration::from_secs(30);

/// Gives every batch to `take` until all that was asked for came.
///
/// # Errors
/// The broker refuses, ends early or falls silent.
pub(crate) async fn end(
    down: &mut Down,
    mut take: impl FnMut(&Bytes) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    loop {
        let told = tokio::time::timeout(SILENCE, down.next()).await.context("a broker fell silent")??;
        match told {
            Told::Batch(batch) => take(&batch)?,
            Told::Ended { complete: true } => return Ok(()),
            Told::Ended { complete: false } => bail!("the broker ended what was read"),
            Told::Refused { code, .. } => bail!("the broker refused with {code}"),
            Told::Ack { .. } | Told::CaughtUp | Told::Other => {}
        }
    }
}

/// How what a broker has kept compares with what it acked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) batches: u64,
    /// Acked, and not there.
    pub(crate) lost: u64,
    /// There more than once.
    pub(crate) doubled: u64,
    /// There and never acked: the ack was still to come when the run ended.
    pub(crate) unacked: u64,
    /// Not those bytes that were signed, or out of the order of their series.
    pub(crate) wrong: u64,
}

/// Reads a partition at one broker and compares it, byte by byte, with the series and with which of their batches were acked.
///
/// # Errors
/// The broker refuses, ends early or falls silent.
pub(crate) async fn compare(
    url: &str,
    at: StreamPartition,
    sent: &[(&Series, &[bool])],
) -> anyhow::Result<Kept> {
    let place = |(index, (series, _)): (usize, &(&Series, &[bool]))| (series.key().series, index);
    let places: BTreeMap<SeriesId, usize> = sent.iter().enumerate().map(place).collect();
    let mut seen: Vec<Vec<u8>> = sent.iter().map(|(series, _)| vec![0; series.batches().len()]).collect();
    let mut stands = vec![0; sent.len()];
    let mut kept = Kept::default();
    let (mut up, mut down) = wire::connect(url).await?;
    up.subscribe(1, at, false).await?;
    end(&mut down, |bytes| {
        let header = Batch::peek_header(bytes)?;
        // Another series is none of ours.
        let Some(&index) = places.get(&header.series) else { return Ok(()) };
        let (series, _) = sent[index];
        let number = usize::try_from(header.sequence)? / usize::from(header.count.max(1));
        kept.batches += 1;
        if series.batches().get(number) != Some(bytes) || number < stands[index] {
            kept.wrong += 1;
        }
        stands[index] = number;
        match seen[index].get_mut(number) {
            Some(times) => *times = times.saturating_add(1),
            None => kept.wrong += 1,
        }
        Ok(())
    })
    .await?;
    for ((_, acked), seen) in sent.iter().zip(&seen) {
        for (number, times) in seen.iter().enumerate() {
            let was_acked = acked.get(number).copied().unwrap_or(false);
            kept.lost += u64::from(was_acked && *times == 0);
            kept.unacked += u64::from(!was_acked && *times > 0);
            kept.doubled += u64::from(*times > 1);
        }
    }
    Ok(kept)
}
