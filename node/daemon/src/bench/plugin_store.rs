//! A log in the storage plugin `segments` beside one on disk: the same batches, handed to the same writer, in turns.

use super::{
    modules::{Modules, host, with_files},
    report::Row,
};
use anyhow::{Context, bail};
use bytes::Bytes;
use mainstem_crypto::SecretKey;
use mainstem_model::{
    Address, Network, NewEvent, Partition, SeriesId, SeriesWriter, Signer, StreamId, VerifiedBatch, Verifier,
};
use mainstem_plugin_host::Plugin;
use mainstem_store::{
    Completion, Config, DiskLog, EventLog, RecordConfig, RecordLog, Write, Writer, WriterConfig,
};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, mpsc},
    time::Instant,
};

/// Events of a batch, and bytes of each: 64 KiB together.
const EVENTS: usize = 300;
const CONTENT_BYTES: usize = 194;
/// Batches of a run: about a second for a disk.
const BATCHES: usize = 4_000;
/// Runs of each store; the best counts.
const RUNS: usize = 3;
/// Batches on their way at a time: what a busy node's queue would hold.
const INFLIGHT_MAX: usize = 64;
/// Every so many batches one asks for `durable`.
const DURABLE_EVERY: usize = 10;

/// # Errors
/// The module is missing, a folder cannot be used, a write fails.
pub(crate) fn run(modules: &Modules) -> anyhow::Result<Row> {
    let batches = batches()?;
    let bytes: usize = batches.iter().map(|batch| batch.bytes().len()).sum();
    let folder = tempfile::tempdir()?;
    let (mut on_disk, mut in_plugin) = (f64::INFINITY, f64::INFINITY);
    for round in 0..RUNS {
        let at = folder.path().join(format!("disk-{round}"));
        on_disk = on_disk.min(write(Arc::new(DiskLog::open(&at, &Config::default(), 1)?), &batches)?);
        std::fs::remove_dir_all(&at)?;

        let at = folder.path().join(format!("segments-{round}"));
        let plugin = modules.load(&host()?, "segments", with_files(&at.join("files")))?;
        in_plugin = in_plugin.min(write(in_records(&plugin, &at)?, &batches)?);
        std::fs::remove_dir_all(&at)?;
    }
    let megabytes = bytes as f64 / 1e6;
    Ok(Row::new(format!("plugins: appends of {} bytes, one in {DURABLE_EVERY} durable", bytes / BATCHES))
        .with("disk_mb_per_s", megabytes / on_disk)
        .with("segments_mb_per_s", megabytes / in_plugin)
        .aimed("segments_of_disk", on_disk / in_plugin, "at least 0.4"))
}

fn in_records(plugin: &Plugin, at: &Path) -> anyhow::Result<Arc<dyn EventLog>> {
    let storage = plugin.storage(&BTreeMap::new())?;
    Ok(Arc::new(RecordLog::open(storage, &RecordConfig::default(), 1, at)?))
}

/// Seconds until all of them are stored.
fn write(log: Arc<dyn EventLog>, batches: &[Arc<VerifiedBatch>]) -> anyhow::Result<f64> {
    let (told, reports) = mpsc::sync_channel(1 << 20);
    let writer = Writer::spawn(log, WriterConfig::default(), move |done| drop(told.send(done)))?;
    let mut stored = 0;
    let mut take = |done: Completion| {
        match done {
            Completion::Stored(writes) => stored += writes.len(),
            Completion::Durable(_) => {}
            Completion::Failed { error, .. } => bail!("a write failed: {error}"),
        }
        anyhow::Ok(stored)
    };
    let begun = Instant::now();
    for (token, batch) in batches.iter().enumerate() {
        let durable = token % DURABLE_EVERY == 0;
        let (token, batch) = (token as u64, batch.clone());
        writer.submit(Write { token, batch, received_at: 0, durable, past: false });
        while let Ok(report) = reports.try_recv() {
            take(report)?;
        }
        let mut now = take(Completion::Stored(Vec::new()))?;
        while token as usize + 1 - now >= INFLIGHT_MAX {
            now = take(reports.recv().context("the writer ended")?)?;
        }
    }
    drop(writer);
    for report in reports.iter() {
        take(report)?;
    }
    let all = take(Completion::Stored(Vec::new()))?;
    let took = begun.elapsed().as_secs_f64();
    if all < batches.len() {
        bail!("{all} of {} batches were stored", batches.len());
    }
    Ok(took)
}

fn batches() -> anyhow::Result<Vec<Arc<VerifiedBatch>>> {
    let network = Network { chain_id: 31337, registry: Address([1; 20]) };
    let (verifier, key) = (Verifier::new(network), SecretKey::from_bytes(&[7; 32])?);
    let at = StreamId(Address([2; 20])).partition(Partition::ZERO);
    let mut series = SeriesWriter::new(network, at, Signer::wallet(key), SeriesId(1));
    (0..BATCHES)
        .map(|number| {
            let content = |event: usize| Bytes::from(vec![event as u8; CONTENT_BYTES]);
            let events: Vec<_> =
                (0..EVENTS).map(|event| NewEvent::binary(number as i64, content(event))).collect();
            Ok(Arc::new(verifier.verify(series.seal(&events)?)?))
        })
        .collect()
}
