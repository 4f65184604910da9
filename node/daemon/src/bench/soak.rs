//! All plugins under load for a long time: does memory grow, does an instance or a descriptor stay?
//!
//! Plugins are gone through one after the other, each by some callers at once; storages are written to and read from all the while. What the
//! process holds is looked at when a pass is over: then each plugin has as many instances as were ever called at once, whoever came when.
//!
//! IMPORTANT: a fault takes an instance, and with it the memory that it has grown to, some MB. The next one grows to as much when the largest
//! call comes to it, which may be minutes later: so with faults, or with instances that are seldom called at once, the process grows and
//! shrinks by that without a leak. That is why callers go from plugin to plugin together, and calls have all the time that one may have.

mod keeper;

use keeper::Keeper;

use super::{
    BenchArgs,
    broker::rss_of,
    bucket::Bucket,
    modules::{Modules, with_files},
    report::{Report, Row},
};
use anyhow::{Context, anyhow, ensure};
use mainstem_plugin_host::{Claim, Compiler, Config, Host, Plugin, Status, conformance};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

/// How long it takes, unless others are asked for.
const SECONDS: u64 = 1_800;
/// Threads that call a plugin at once.
const CALLERS: usize = 2;

/// What the process held when a pass was over.
struct Sample {
    seconds: f64,
    rss_bytes: f64,
    descriptors: usize,
    instances: u64,
    /// The most memory of an instance so far, of all plugins together.
    guests_bytes: u64,
}

/// What a run gave.
#[derive(Default)]
struct Soaked {
    samples: Vec<Sample>,
    /// Visits to a plugin by all callers.
    visits: u64,
    /// Those in which something was found.
    broken: u64,
}

/// Fills the report.
///
/// # Errors
/// There are no modules, a plugin cannot be loaded, or a storage loses what it keeps.
pub(crate) fn run(args: &BenchArgs, report: &mut Report) -> anyhow::Result<()> {
    let modules = Modules::open(args)?;
    let bucket = Bucket::of(args)?;
    let folder = tempfile::tempdir()?;
    // A call may take as long as one may at most: what the machine does beside is to be no fault of a plugin.
    let bounds = Config::default();
    let bounds = Config { deadline_ms_default: bounds.deadline_ms_max, ..bounds };
    let host = Host::new(bounds, None, Compiler::InProcess)?;
    let (mut plugins, mut keepers) = (Vec::new(), Vec::new());
    for name in modules.names()? {
        let bucket = bucket.as_ref().filter(|_| name == Bucket::PLUGIN);
        let grants = bucket.map_or_else(|| with_files(&folder.path().join(&name)), Bucket::grants);
        let plugin = modules.load(&host, &name, grants)?;
        if !matches!(plugin.manifest().claim, Claim::Storage(_)) {
            plugins.push(plugin);
            continue;
        }
        match Keeper::start(plugin, bucket.map_or_else(BTreeMap::new, Bucket::parameters)) {
            Ok(keeper) => keepers.push(keeper),
            Err(error) => {
                report.note(&format!("soak: {name} is left out, as it does not start here: {error}"))
            }
        }
    }
    ensure!(!plugins.is_empty(), "there are no modules of plugins: build them (tools/plugins.sh)");
    let all: Vec<Plugin> = plugins.iter().chain(keepers.iter().map(Keeper::plugin)).cloned().collect();

    let time = Duration::from_secs(args.seconds.unwrap_or(SECONDS));
    let stop = AtomicBool::new(false);
    let soaked = thread::scope(|scope| {
        let stop = &stop;
        let keepers: Vec<_> =
            keepers.into_iter().map(|keeper| scope.spawn(move || keeper.keep(stop))).collect();
        let failed = || keepers.iter().any(ScopedJoinHandle::is_finished);
        let soaked = soak(time, &plugins, &all, failed);
        stop.store(true, Relaxed);
        for keeper in keepers {
            keeper.join().map_err(|_| anyhow!("a thread that writes to a storage panicked"))??;
        }
        soaked
    })?;
    let calls: u64 = all.iter().map(|plugin| plugin.counters().calls).sum();
    let faults: u64 = all.iter().map(|plugin| plugin.counters().faults.sum()).sum();
    let off = all.iter().filter(|plugin| plugin.status() != Status::On).count();
    let row = row(&soaked.samples, all.len(), folder.path())?
        .with("calls", calls as f64)
        .with("passes", soaked.samples.len() as f64)
        .with("visits", soaked.visits as f64)
        .aimed("visits_with_a_finding", soaked.broken as f64, "0")
        .aimed("faults", faults as f64, "0")
        .aimed("plugins_switched_off", off as f64, "0");
    report.add(row);
    Ok(())
}

/// Passes through all plugins until the time is over or something has failed.
fn soak(
    time: Duration,
    plugins: &[Plugin],
    all: &[Plugin],
    failed: impl Fn() -> bool,
) -> anyhow::Result<Soaked> {
    let begun = Instant::now();
    let mut soaked = Soaked::default();
    while begun.elapsed() < time && !failed() {
        for plugin in plugins {
            soaked.visits += 1;
            soaked.broken += u64::from(!visit(plugin)?);
        }
        soaked.samples.push(sample(begun, all)?);
    }
    Ok(soaked)
}

/// All callers do everything that the plugin's kind can do, its instances included. True if nothing was found. What was is told, and is one
/// finding however many saw it: half an hour is not to be lost to a moment in which the machine had no time for a call.
fn visit(plugin: &Plugin) -> anyhow::Result<bool> {
    let mut broken = BTreeMap::new();
    thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(|| conformance(plugin))).collect();
        for caller in callers {
            let findings = caller.join().map_err(|_| anyhow!("a thread that calls {plugin:?} panicked"))?;
            broken.extend(findings.into_iter().filter_map(|it| Some((it.check, it.fault?))));
        }
        anyhow::Ok(())
    })?;
    for (check, fault) in &broken {
        tracing::warn!(plugin = plugin.manifest().name, check, fault, "a plugin did not keep to the ABI");
    }
    Ok(broken.is_empty())
}

fn sample(begun: Instant, plugins: &[Plugin]) -> anyhow::Result<Sample> {
    let descriptors = std::fs::read_dir("/proc/self/fd").context("this machine does not tell descriptors")?;
    let counters = plugins.iter().map(Plugin::counters);
    Ok(Sample {
        seconds: begun.elapsed().as_secs_f64(),
        rss_bytes: rss_of("self") as f64,
        descriptors: descriptors.count(),
        instances: counters.clone().map(|it| it.instances).sum(),
        guests_bytes: counters.map(|it| it.memory_bytes_high).sum(),
    })
}

fn row(samples: &[Sample], plugins: usize, folder: &Path) -> anyhow::Result<Row> {
    let (before, later) = samples.split_at(samples.len() / 2);
    let (first, last) =
        (later.first().context("no pass was over in time")?, later.last().context("no pass")?);
    let instances = |of: &[Sample]| of.iter().map(|it| it.instances).max().unwrap_or(0) as f64;
    let descriptors = |of: &[Sample]| of.iter().map(|it| it.descriptors).max().unwrap_or(0) as f64;
    Ok(Row::new(format!("plugins: a soak of {:.0} s, {plugins} plugins", last.seconds))
        .with("rss_mb_at_half", first.rss_bytes / 1e6)
        .with("rss_mb_at_end", last.rss_bytes / 1e6)
        .aimed("rss_slope_percent_second_half", growth_percent(later), "at most 1")
        .with("guests_mb_high_at_half", first.guests_bytes as f64 / 1e6)
        .aimed("guests_mb_high_at_end", last.guests_bytes as f64 / 1e6, "as at half")
        .with("descriptors_most_first_half", descriptors(before))
        .aimed("descriptors_most_second_half", descriptors(later), "as in the first half")
        .with("instances_most_first_half", instances(before))
        .aimed("instances_most_second_half", instances(later), "as in the first half")
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
                guests_bytes: 0,
            };
            rss.iter().enumerate().map(sample).collect()
        };
        assert!(growth_percent(&samples(&[100.0; 5])).abs() < 1e-9);
        assert!((growth_percent(&samples(&[95.0, 100.0, 105.0])) - 10.0).abs() < 1e-9);
        assert!(growth_percent(&samples(&[90.0, 110.0, 90.0])).abs() < 1e-9);
        assert!(growth_percent(&samples(&[7.0])).abs() < 1e-9);
    }
}
