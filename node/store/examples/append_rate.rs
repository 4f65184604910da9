//! How fast the log takes batches in, and what that costs: `append_rate [MB/s, 0 = as fast as it goes] [seconds] [partitions]`.
//!
//! Batches of 300 events and 64 KiB, signed beforehand, go through the [`Writer`] as in a node: every tenth asks for
//! `durable`. At last a lone batch at a time is written, for the latency of an idle node. `MAINSTEM_BENCH_STORE` names the module of a
//! storage plugin that is to keep the log instead of the store on disk.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people to run and read")]

use mainstem_crypto::{Address, SecretKey};
use mainstem_model::{
    Batch, Network, NewEvent, Partition, SeriesId, SeriesWriter, Signer, StreamId, VerifiedBatch, Verifier,
};
use mainstem_plugin_host::{Capability, Compiler, Grants, Host};
use mainstem_store::{
    Append, Completion, Config, DiskLog, EventLog, RecordConfig, RecordLog, Write, Writer, WriterConfig,
};
use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

const EVENTS: usize = 300;
const CONTENT_BYTES: usize = 194;
/// Batches on their way at a time: what a busy node's queue would hold.
const INFLIGHT_MAX: usize = 64;

/// How long each write took.
#[derive(Default)]
struct Done {
    submitted: Vec<Instant>,
    stored: Vec<Duration>,
    durable: Vec<Duration>,
}

impl Done {
    fn take(&mut self, (at, report): (Instant, Completion)) {
        let wait = |token: u64| at - self.submitted[token as usize];
        match report {
            Completion::Stored(writes) => self.stored.extend(writes.iter().map(|(token, _)| wait(*token))),
            Completion::Durable(tokens) => self.durable.extend(tokens.iter().map(|token| wait(*token))),
            Completion::Failed { error, .. } => panic!("{error}"),
        }
    }
}

fn main() {
    let memtable_bytes = env::var("MAINSTEM_BENCH_MEMTABLE").ok().map(|text| text.parse().unwrap());
    let config = Config {
        memtable_bytes: memtable_bytes.unwrap_or(Config::default().memtable_bytes),
        ..Config::default()
    };
    if let Some(folder) = env::var_os("MAINSTEM_BENCH_IDLE") {
        return idle(folder.as_ref(), &config);
    }
    let argument = |n: usize, or: u64| env::args().nth(n).map_or(or, |text| text.parse().unwrap());
    let (rate, seconds, partitions) = (argument(1, 0), argument(2, 10), argument(3, 1));
    let folder =
        env::var_os("MAINSTEM_BENCH_DIR").map_or_else(env::temp_dir, PathBuf::from).join("append_rate");
    drop(fs::remove_dir_all(&folder));
    let count = if rate == 0 { 150 } else { rate } * seconds * 1_000_000 / 65_536;
    println!("signing {count} batches for {partitions} partitions");
    let batches = batches(count, u16::try_from(partitions).unwrap());
    let lone = batches.len() - 500;

    let log = open(&folder, &config);
    let (told, reports) = mpsc::sync_channel(1 << 20);
    let told = move |done| drop(told.send((Instant::now(), done)));
    let writer = Writer::spawn(log.clone(), WriterConfig::default(), told).unwrap();
    let (before, written_before, begun) = (cpu(), io("write_bytes"), Instant::now());
    let mut done = Done::default();
    let mut bytes = 0;
    for (token, batch) in batches[..lone].iter().enumerate() {
        if rate > 0 {
            let due = Duration::from_secs_f64(bytes as f64 / (rate * 1_000_000) as f64);
            thread::sleep(due.saturating_sub(begun.elapsed()));
        }
        bytes += batch.bytes().len() as u64;
        done.submitted.push(Instant::now());
        writer.submit(Write {
            token: token as u64,
            batch: batch.clone(),
            received_at: 0,
            durable: token % 10 == 0,
            past: false,
        });
        reports.try_iter().for_each(|report| done.take(report));
        while done.submitted.len() - done.stored.len() >= INFLIGHT_MAX {
            done.take(reports.recv().unwrap());
        }
    }
    drop(writer);
    reports.iter().for_each(|report| done.take(report));
    let took = begun.elapsed().as_secs_f64();
    let (spent, megabytes) = (cpu() - before, bytes as f64 / 1e6);
    println!(
        "{lone} batches in {took:.1} s: {:.0} batches/s, {:.0} MB/s; CPU {spent:.2} s = {:.2} core per 70 MB/s",
        lone as f64 / took,
        megabytes / took,
        spent / megabytes * 70.0,
    );
    println!(
        "{:.2} bytes written to the disk per byte taken in; {} durable",
        (io("write_bytes") - written_before) / megabytes / 1e6,
        done.durable.len()
    );
    percentiles("stored under load", &mut done.stored);
    percentiles("durable under load", &mut done.durable);

    thread::sleep(Duration::from_secs(1));
    let mut waits = Vec::new();
    for batch in &batches[lone..] {
        let begun = Instant::now();
        log.append(&[Append { batch: batch.clone(), received_at: 0, past: false }]).unwrap();
        waits.push(begun.elapsed());
        thread::sleep(Duration::from_millis(1));
    }
    percentiles("a lone append", &mut waits);
    drop(log);
    // In a process of its own, which has not held the batches.
    let idle =
        Command::new(env::current_exe().unwrap()).env("MAINSTEM_BENCH_IDLE", &folder).status().unwrap();
    assert!(idle.success());
    drop(fs::remove_dir_all(&folder));
}

fn open(folder: &Path, config: &Config) -> Arc<dyn EventLog> {
    let Some(module) = env::var_os("MAINSTEM_BENCH_STORE") else {
        return Arc::new(DiskLog::open(folder, config, 1).unwrap());
    };
    let host = Host::new(Default::default(), None, Compiler::InProcess).unwrap();
    let mut grants = Grants { files: Some(folder.join("files")), ..Grants::default() };
    grants.capabilities.insert(Capability::Blob);
    let plugin = host.load(&fs::read(module).unwrap(), grants).unwrap();
    let storage = plugin.storage(&BTreeMap::new()).unwrap();
    Arc::new(RecordLog::open(storage, &RecordConfig::default(), 1, folder).unwrap())
}

/// Opens what was written, and reads and checks it.
fn idle(folder: &Path, config: &Config) {
    let begun = Instant::now();
    let log = open(folder, config);
    let opened = begun.elapsed().as_secs_f64();
    println!("opened again in {opened:.2} s; {:.0} MB resident then", status("RssAnon") / 1e3);
    let (begun, read) = (Instant::now(), log.verify(&mut |_| {}).unwrap());
    let rate = read.bytes as f64 / 1e6 / begun.elapsed().as_secs_f64();
    println!(
        "checked {} batches at {rate:.0} MB/s; {:.0} MB resident then",
        read.batches,
        status("RssAnon") / 1e3
    );
}

fn batches(count: u64, partitions: u16) -> Vec<Arc<VerifiedBatch>> {
    let network = Network { chain_id: 31337, registry: Address([1; 20]) };
    let verifier = Verifier::new(network);
    let mut writers: Vec<_> = (0..partitions)
        .map(|partition| {
            let at = StreamId(Address([2; 20])).partition(Partition::try_from(partition).unwrap());
            SeriesWriter::new(
                network,
                at,
                Signer::wallet(SecretKey::from_bytes(&[7; 32]).unwrap()),
                SeriesId(1),
            )
        })
        .collect();
    (0..count)
        .map(|n| {
            let events: Vec<_> = (0..EVENTS)
                .map(|event| NewEvent::binary(n as i64, vec![event as u8; CONTENT_BYTES].into()))
                .collect();
            let place = n as usize % writers.len();
            let batch: Batch = writers[place].seal(&events).unwrap();
            Arc::new(verifier.verify(batch).unwrap())
        })
        .collect()
}

fn percentiles(name: &str, waits: &mut [Duration]) {
    waits.sort();
    let at = |percent: usize| waits.get((waits.len() * percent / 1000).min(waits.len().saturating_sub(1)));
    println!("{name}: p50 {:?}, p99 {:?}, p99.9 {:?}, most {:?}", at(500), at(990), at(999), waits.last());
}

/// CPU seconds of this process.
fn cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn io(name: &str) -> f64 {
    number(&fs::read_to_string("/proc/self/io").unwrap(), name)
}

fn status(name: &str) -> f64 {
    number(&fs::read_to_string("/proc/self/status").unwrap(), name)
}

fn number(text: &str, name: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
