//! All plugins under load for a long time: does memory grow, does an instance or a descriptor stay?
//!
//! The plugins of a kind are gone through one after the other, each by some callers at once, and the kinds beside each other; storages are
//! written to and read from all the while. What the process holds is looked at when a pass is over: then each plugin has as many instances as
//! were ever called at once, whoever came when. Pages that nothing is in are given back before: how many the allocator keeps for a second goes
//! up and down by some MB with what the machine does.
//!
//! IMPORTANT: a fault takes an instance, and with it the memory that it has grown to, some MB. The next one grows to as much when the largest
//! call comes to it, which may be minutes later: so with faults, or with instances that are seldom called at once, the process grows and
//! shrinks by that without a leak. That is why callers go from plugin to plugin together, and calls have more time than in a node.

mod keeper;
mod work;

use keeper::Keeper;
use work::{Contracts, Worker, prepared};

use super::{
    BenchArgs,
    broker::rss_of,
    bucket::Bucket,
    modules::{Modules, SHIPPED, with_files},
    report::{Report, Row},
};
use crate::allocator::give_back;
use anyhow::{Context, anyhow, ensure};
use mainstem_plugin_host::{Capability, Claim, Compiler, Config, Host, Plugin, Status, conformance};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

/// How long it takes, unless others are asked for.
const SECONDS: u64 = 1_800;
/// Threads that call a plugin at once.
const CALLERS: usize = 2;
/// What a call may take, whatever its plugin wishes for: what all others do beside it is to be no fault of a plugin.
const DEADLINE_MS: u32 = 10_000;
/// Between two plugins of a kind, so that no kind keeps the others from the processors.
const PAUSE: Duration = Duration::from_millis(5);
/// Passes that there are at least: both halves have some, and the first one is in the first.
const PASSES_LEAST: usize = 4;
/// Descriptors that storages in a call have open for that moment.
const DESCRIPTORS_AT_WORK: usize = 4;

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
    visits: Visits,
}

/// Visits to a plugin by all callers.
#[derive(Clone, Copy, Default)]
struct Visits {
    made: u64,
    /// Those in which something was found.
    broken: u64,
}

impl Visits {
    const fn and(self, more: Self) -> Self {
        Self { made: self.made + more.made, broken: self.broken + more.broken }
    }
}

/// Fills the report.
///
/// # Errors
/// A module is missing, a plugin cannot be loaded, or a storage loses what it keeps.
pub(crate) fn run(args: &BenchArgs, report: &mut Report) -> anyhow::Result<()> {
    let modules = Modules::open(args)?;
    let bucket = Bucket::of(args)?;
    let folder = tempfile::tempdir()?;
    let bounds =
        Config { deadline_ms_default: DEADLINE_MS, deadline_ms_max: DEADLINE_MS, ..Config::default() };
    let host = Host::new(bounds, None, Compiler::InProcess)?.with_contracts(Arc::new(Contracts));
    let (mut kinds, mut keepers) = (BTreeMap::<_, Vec<Worker>>::new(), Vec::new());
    for name in SHIPPED {
        let bucket = bucket.as_ref().filter(|_| name == Bucket::PLUGIN);
        let mut grants = bucket.map_or_else(|| with_files(&folder.path().join(name)), Bucket::grants);
        grants.capabilities.insert(Capability::Chain);
        let module = prepared(name, modules.read(name)?, DEADLINE_MS)?;
        let loaded = host.load(&module, grants);
        let plugin = loaded.with_context(|| format!("the plugin {name} cannot be loaded"))?;
        if !matches!(plugin.manifest().claim, Claim::Storage(_)) {
            let worker = Worker::new(plugin)?;
            kinds.entry(worker.kind()).or_default().push(worker);
        } else if name == Bucket::PLUGIN && bucket.is_none() {
            report.note(&format!("soak: {name} is left out: name a server for it with --s3 (tools/s3.sh)"));
        } else {
            let keeper = Keeper::start(plugin, bucket.map_or_else(BTreeMap::new, Bucket::parameters));
            keepers.push(keeper.with_context(|| format!("the plugin {name} does not start"))?);
        }
    }
    let kinds: Vec<_> = kinds.into_values().collect();
    let workers = kinds.iter().flatten().map(|worker| &worker.plugin);
    let all: Vec<Plugin> = workers.chain(keepers.iter().map(Keeper::plugin)).cloned().collect();

    let time = Duration::from_secs(args.seconds.unwrap_or(SECONDS));
    let stop = AtomicBool::new(false);
    let soaked = thread::scope(|scope| {
        let stop = &stop;
        let keepers: Vec<_> =
            keepers.into_iter().map(|keeper| scope.spawn(move || keeper.keep(stop))).collect();
        let failed = || keepers.iter().any(ScopedJoinHandle::is_finished);
        let soaked = soak(time, &kinds, &all, failed);
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
        .with("visits", soaked.visits.made as f64)
        .required("visits_with_a_finding", soaked.visits.broken as f64, "0", soaked.visits.broken == 0)
        .required("faults", faults as f64, "0", faults == 0)
        .required("plugins_switched_off", off as f64, "0", off == 0);
    report.add(row);
    Ok(())
}

/// Passes through all plugins until the time is over or something has failed.
fn soak(
    time: Duration,
    kinds: &[Vec<Worker>],
    all: &[Plugin],
    failed: impl Fn() -> bool,
) -> anyhow::Result<Soaked> {
    let begun = Instant::now();
    let mut soaked = Soaked::default();
    while (begun.elapsed() < time || soaked.samples.len() < PASSES_LEAST) && !failed() {
        soaked.visits = soaked.visits.and(pass(kinds, soaked.samples.len() as u64)?);
        soaked.samples.push(sample(begun, all)?);
    }
    Ok(soaked)
}

/// Each kind goes through its plugins, and again until all have been through theirs: so all are under load at once.
fn pass(kinds: &[Vec<Worker>], round: u64) -> anyhow::Result<Visits> {
    let left = &AtomicUsize::new(kinds.len());
    thread::scope(|scope| {
        let threads: Vec<_> =
            kinds.iter().map(|workers| scope.spawn(move || go_through(workers, round, left))).collect();
        let mut visits = Visits::default();
        for thread in threads {
            let more = thread.join().map_err(|_| anyhow!("a thread that goes through plugins panicked"))?;
            visits = visits.and(more?);
        }
        anyhow::Ok(visits)
    })
}

/// A kind that is not through yet. IMPORTANT: it is when this is dropped, failed or not, as the others wait for it.
struct Left<'a>(&'a AtomicUsize);

impl Drop for Left<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Those of a kind; `left` kinds are not through yet.
fn go_through(workers: &[Worker], round: u64, left: &AtomicUsize) -> anyhow::Result<Visits> {
    let this = Left(left);
    let mut visits = visit_all(workers, round)?;
    drop(this);
    while left.load(Relaxed) > 0 {
        visits = visits.and(visit_all(workers, round)?);
    }
    Ok(visits)
}

fn visit_all(workers: &[Worker], round: u64) -> anyhow::Result<Visits> {
    let mut visits = Visits::default();
    for worker in workers {
        visits = visits.and(Visits { made: 1, broken: u64::from(!visit(worker, round)?) });
        thread::sleep(PAUSE);
    }
    Ok(visits)
}

/// All callers do everything that the plugin's kind can do, its instances included, and work with right results. True if nothing was found.
/// What was is told, and is one finding however many saw it: half an hour is not to be lost to a moment in which the machine had no time for
/// a call.
fn visit(worker: &Worker, round: u64) -> anyhow::Result<bool> {
    let (plugin, mut broken) = (&worker.plugin, BTreeMap::new());
    thread::scope(|scope| {
        let call = move || (conformance(plugin), worker.work(round));
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(call)).collect();
        for caller in callers {
            let (findings, work) =
                caller.join().map_err(|_| anyhow!("a thread that calls {plugin:?} panicked"))?;
            broken.extend(findings.into_iter().filter_map(|it| Some((it.check, it.fault?))));
            if let Err(error) = work {
                broken.insert("its work has the right results".to_owned(), format!("{error:#}"));
            }
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
    ensure!(give_back(), "the allocator does not give back pages");
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
    let instances = |of: &[Sample]| of.iter().map(|it| it.instances).max().unwrap_or(0);
    let descriptors = |of: &[Sample]| of.iter().map(|it| it.descriptors).max().unwrap_or(0);
    let slope = growth_percent(later);
    let (open, made) = (
        descriptors(later) <= descriptors(before) + DESCRIPTORS_AT_WORK,
        instances(later) <= instances(before),
    );
    Ok(Row::new(format!("plugins: a soak of {:.0} s, {plugins} plugins", last.seconds))
        .with("rss_mb_at_half", first.rss_bytes / 1e6)
        .with("rss_mb_at_end", last.rss_bytes / 1e6)
        .required("rss_slope_percent_second_half", slope, "at most 1", slope <= 1.0)
        .with("guests_mb_high_at_half", first.guests_bytes as f64 / 1e6)
        .with("guests_mb_high_at_end", last.guests_bytes as f64 / 1e6)
        .with("descriptors_most_first_half", descriptors(before) as f64)
        .required("descriptors_most_second_half", descriptors(later) as f64, "at most 4 more", open)
        .with("instances_most_first_half", instances(before) as f64)
        .required("instances_most_second_half", instances(later) as f64, "as in the first half", made)
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
