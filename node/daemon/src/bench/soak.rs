//! All plugins under load for a long time: does memory grow, does an instance or a descriptor stay?

use super::{
    BenchArgs,
    broker::rss_of,
    modules::{Modules, host, with_files},
    report::{Report, Row},
};
use anyhow::{Context, ensure};
use mainstem_model::{Query, Record};
use mainstem_plugin_host::{Claim, Plugin, Status, StoragePlugin, conformance};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

/// How long it takes, unless others are asked for.
const SECONDS: u64 = 1_800;
/// How often a sample is taken, or more often if the run is short.
const SAMPLE: Duration = Duration::from_secs(5);
/// Samples of a run at least.
const SAMPLES_LEAST: u32 = 20;
/// Threads that call plugins; each goes through all of them.
const CALLERS: usize = 2;
/// Records that a storage keeps before the older half is trimmed.
const RECORDS: u64 = 4_000;
/// Records of one append, and bytes of each.
const APPENDED: u64 = 16;
const RECORD_BYTES: usize = 1_024;

/// What the process held at one time.
struct Sample {
    seconds: f64,
    rss_bytes: f64,
    descriptors: usize,
    instances: u64,
}

/// Rounds through what a plugin's kind can do.
#[derive(Default)]
struct Rounds {
    whole: AtomicU64,
    /// Something was found.
    broken: AtomicU64,
}

/// Fills the report.
///
/// # Errors
/// There are no modules, a plugin is at fault or does not keep to the ABI.
pub(crate) fn run(args: &BenchArgs, report: &mut Report) -> anyhow::Result<()> {
    let modules = Modules::open(args)?;
    let folder = tempfile::tempdir()?;
    let host = host()?;
    let (mut plugins, mut storages) = (Vec::new(), Vec::new());
    for name in modules.names()? {
        let plugin = modules.load(&host, &name, with_files(&folder.path().join(&name)))?;
        if !matches!(plugin.manifest().claim, Claim::Storage(_)) {
            plugins.push(plugin);
            continue;
        }
        match plugin.storage(&BTreeMap::new()) {
            Ok(storage) => storages.push(storage),
            Err(error) => {
                report.note(&format!("soak: {name} is left out, as it does not start here: {error}"))
            }
        }
    }
    ensure!(!plugins.is_empty(), "there are no modules of plugins: build them (tools/plugins.sh)");
    let all: Vec<Plugin> =
        plugins.iter().cloned().chain(storages.iter().map(|it| it.plugin().clone())).collect();

    let (stop, rounds) = (AtomicBool::new(false), Rounds::default());
    let time = Duration::from_secs(args.seconds.unwrap_or(SECONDS));
    let (stop, rounds, others) = (&stop, &rounds, &plugins[..]);
    let samples = thread::scope(|scope| {
        let call_all = move || {
            others.iter().for_each(|plugin| call(plugin, rounds));
            Ok(())
        };
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| scope.spawn(move || until(stop, call_all)))
            .chain(storages.iter().map(|storage| scope.spawn(move || keep(stop, storage))))
            .collect();
        let samples = watch(time, &all, || callers.iter().any(thread::ScopedJoinHandle::is_finished));
        stop.store(true, Relaxed);
        for caller in callers {
            caller.join().map_err(|_| anyhow::anyhow!("a thread that calls plugins panicked"))??;
        }
        samples
    })?;
    let calls: u64 = all.iter().map(|plugin| plugin.counters().calls).sum();
    let faults: u64 = all.iter().map(|plugin| plugin.counters().faults.sum()).sum();
    let off = all.iter().filter(|plugin| plugin.status() != Status::On).count();
    let row = row(&samples, all.len(), folder.path())?
        .with("calls", calls as f64)
        .with("rounds_of_conformance", rounds.whole.load(Relaxed) as f64)
        .aimed("rounds_with_a_finding", rounds.broken.load(Relaxed) as f64, "0")
        .aimed("faults", faults as f64, "0")
        .aimed("plugins_switched_off", off as f64, "0");
    report.add(row);
    Ok(())
}

fn until(stop: &AtomicBool, mut work: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
    while !stop.load(Relaxed) {
        work()?;
    }
    Ok(())
}

/// Everything that its kind can do, its instances included. What is found is counted, and told at the end: half an hour is not to be lost to
/// a moment in which the machine had no time for a call.
fn call(plugin: &Plugin, rounds: &Rounds) {
    let findings = conformance(plugin);
    let mut broken = findings.iter().filter(|finding| finding.fault.is_some()).peekable();
    let of = if broken.peek().is_none() { &rounds.whole } else { &rounds.broken };
    of.fetch_add(1, Relaxed);
    for finding in broken {
        let (plugin, check) = (&plugin.manifest().name, &finding.check);
        tracing::warn!(plugin, check, fault = finding.fault, "a plugin did not keep to the ABI");
    }
}

/// Appends, syncs, reads and trims, so that as much is kept at the end as soon after the beginning.
fn keep(stop: &AtomicBool, storage: &StoragePlugin) -> anyhow::Result<()> {
    let (mut next, mut oldest) = (0_u64, 0_u64);
    until(stop, || {
        let records: Vec<_> = (next..next + APPENDED)
            .map(|place| Record {
                place,
                timestamp: place as i64,
                value: vec![place as u8; RECORD_BYTES].into(),
            })
            .collect();
        storage.append(&records)?;
        next += APPENDED;
        if next % (16 * APPENDED) == 0 {
            storage.sync()?;
            let query = Query {
                from: oldest,
                until: next,
                records_max: 64,
                bytes_max: 1 << 20,
                prefix_bytes: RECORD_BYTES,
            };
            let found = storage.query(&query)?;
            ensure!(found.damaged.is_empty() && !found.records.is_empty(), "{storage:?} has lost records");
            let fetched = storage.fetch(&[oldest, next - 1])?;
            ensure!(fetched.records.len() == 2, "{storage:?} does not give what it keeps");
        }
        if next - oldest > RECORDS {
            let places: Vec<u64> = (oldest..next - RECORDS / 2).collect();
            storage.trim(&places)?;
            storage.sync()?;
            oldest = next - RECORDS / 2;
        }
        Ok(())
    })
}

fn watch(time: Duration, plugins: &[Plugin], failed: impl Fn() -> bool) -> anyhow::Result<Vec<Sample>> {
    let begun = Instant::now();
    let step = SAMPLE.min(time / SAMPLES_LEAST).max(Duration::from_millis(10));
    let mut samples = Vec::new();
    while begun.elapsed() < time && !failed() {
        thread::sleep(step);
        samples.push(Sample {
            seconds: begun.elapsed().as_secs_f64(),
            rss_bytes: rss_of("self") as f64,
            descriptors: std::fs::read_dir("/proc/self/fd")
                .context("this machine does not tell descriptors")?
                .count(),
            instances: plugins.iter().map(|plugin| plugin.counters().instances).sum(),
        });
    }
    Ok(samples)
}

fn row(samples: &[Sample], plugins: usize, folder: &Path) -> anyhow::Result<Row> {
    let later = &samples[samples.len() / 2..];
    let (first, last) = (later.first().context("no sample was taken")?, later.last().context("no sample")?);
    let highest = |of: &[Sample]| of.iter().map(|it| it.instances).max().unwrap_or(0) as f64;
    let descriptors = |of: &[Sample]| of.iter().map(|it| it.descriptors).max().unwrap_or(0) as f64;
    let (before, _) = samples.split_at(samples.len() / 2);
    Ok(Row::new(format!("plugins: a soak of {:.0} s, {plugins} plugins", last.seconds))
        .with("rss_mb_at_half", first.rss_bytes / 1e6)
        .with("rss_mb_at_end", last.rss_bytes / 1e6)
        .aimed("rss_slope_percent_second_half", growth_percent(later), "at most 1")
        .with("descriptors_most_first_half", descriptors(before))
        .aimed("descriptors_most_second_half", descriptors(later), "as in the first half")
        .with("instances_most_first_half", highest(before))
        .aimed("instances_most_second_half", highest(later), "as in the first half")
        .with("megabytes_of_files_at_end", super::broker::bytes_of(folder) as f64 / 1e6))
}

/// How much the line through the samples rises from the first to the last, in percent of their mean.
fn growth_percent(samples: &[Sample]) -> f64 {
    let count = samples.len() as f64;
    let mean = |of: fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (at, rss) = (mean(|it| it.seconds), mean(|it| it.rss_bytes));
    let both: f64 = samples.iter().map(|it| (it.seconds - at) * (it.rss_bytes - rss)).sum();
    let spread: f64 = samples.iter().map(|it| (it.seconds - at).powi(2)).sum();
    let span = samples.last().map_or(0.0, |it| it.seconds) - samples.first().map_or(0.0, |it| it.seconds);
    if spread > 0.0 { 100.0 * both / spread * span / rss } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_that_of_the_line_through_the_samples() {
        let samples = |rss: &[f64]| -> Vec<Sample> {
            let sample = |(at, rss): (usize, &f64)| Sample {
                seconds: at as f64,
                rss_bytes: *rss,
                descriptors: 0,
                instances: 0,
            };
            rss.iter().enumerate().map(sample).collect()
        };
        assert!(growth_percent(&samples(&[100.0; 5])).abs() < 1e-9);
        assert!((growth_percent(&samples(&[95.0, 100.0, 105.0])) - 10.0).abs() < 1e-9);
        assert!(growth_percent(&samples(&[90.0, 110.0, 90.0])).abs() < 1e-9);
        assert!(growth_percent(&samples(&[7.0])).abs() < 1e-9);
    }
}
