//! Where the CPU goes: each kind of work timed alone on a batch of the same shape, times how often an event meets it.

use super::{BenchArgs, report::Row, throughput::unix_ms};
use bytes::Bytes;
use mainstem_crypto::{Address, PreparedKey, SecretKey, personal_message_digest};
use mainstem_model::{
    Batch, Network, NewEvent, Partition, SeriesId, SeriesWriter, Signer, StreamId, VerifiedBatch, Verifier,
};
use mainstem_store::{Append, DiskLog, EventLog};
use std::{sync::Arc, time::Instant};

/// Batches that each kind of work is timed over.
const BATCHES: u32 = 300;
/// Batches that the store appends at a time, as under load.
const GROUP: usize = 8;

/// `total` is the CPU that an event costs in the throughput run, broker and clients together, microseconds.
///
/// # Errors
/// The temporary store cannot be used.
pub(crate) fn run(args: &BenchArgs, total: f64) -> anyhow::Result<Row> {
    let network = Network { chain_id: 31337, registry: Address([1; 20]) };
    let at = StreamId(Address([2; 20])).partition(Partition::ZERO);
    let key = SecretKey::from_bytes(&[7; 32])?;
    let mut series = SeriesWriter::new(network, at, Signer::wallet(key.clone()), SeriesId(1));
    let count = (args.batch_bytes / (args.event_bytes + 24)).clamp(1, 1024);
    let events = vec![NewEvent::binary(unix_ms(), Bytes::from(vec![0x5a; args.event_bytes])); count];
    let batch = series.seal(&events)?;
    let per_event =
        |begun: Instant, times: u32| begun.elapsed().as_secs_f64() * 1e6 / f64::from(times) / count as f64;

    let begun = Instant::now();
    for _ in 0..BATCHES {
        std::hint::black_box(batch.merkle_root());
    }
    let hashing = 3.0 * per_event(begun, BATCHES);

    let digest = personal_message_digest(&batch.id().0);
    let (prepared, signature) = (PreparedKey::new(key.public_key()), key.sign(&digest));
    // The table of the generator is made at the first check.
    prepared.verify(&digest, &signature)?;
    let begun = Instant::now();
    for _ in 0..BATCHES {
        std::hint::black_box(key.sign(&digest));
    }
    let signing = per_event(begun, BATCHES);
    let begun = Instant::now();
    for _ in 0..BATCHES {
        std::hint::black_box(prepared.verify(&digest, &signature))?;
    }
    let signatures = signing + 2.0 * per_event(begun, BATCHES);

    let begun = Instant::now();
    for _ in 0..BATCHES {
        std::hint::black_box(Batch::decode(batch.bytes().clone()))?;
    }
    let codec = 3.0 * per_event(begun, BATCHES);

    let store = store(&network, &mut series, &events)? / count as f64;
    let rest = total - hashing - signatures - codec - store;
    let share = |part: f64| 100.0 * part / total;
    Ok(Row::new(format!("share of the CPU of one event ({total:.2} µs, batches of {count})"))
        .with("hashing_percent", share(hashing))
        .with("signatures_percent", share(signatures))
        .with("codec_percent", share(codec))
        .with("store_percent", share(store))
        .with("transport_and_runtime_percent", share(rest)))
}

/// CPU microseconds that one batch costs the store, its background work included.
fn store(network: &Network, series: &mut SeriesWriter, events: &[NewEvent]) -> anyhow::Result<f64> {
    let folder = std::env::temp_dir().join(format!("mainstem-bench-store-{:016x}", rand::random::<u64>()));
    let log = DiskLog::open(&folder, &mainstem_store::Config::default(), 1)?;
    let verifier = Verifier::new(*network);
    let mut batches = Vec::new();
    for _ in 0..BATCHES * 4 {
        let verified: VerifiedBatch = verifier.verify(series.seal(events)?)?;
        batches.push(Append { batch: Arc::new(verified), received_at: unix_ms(), past: false });
    }
    let before = super::broker::cpu_of("self");
    for group in batches.chunks(GROUP) {
        log.append(group)?;
    }
    log.sync()?;
    let used = super::broker::cpu_of("self") - before;
    drop(log);
    std::fs::remove_dir_all(&folder)?;
    Ok(used * 1e6 / batches.len() as f64)
}
