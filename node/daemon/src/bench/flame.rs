//! A flame graph of one process that holds publisher, broker and subscriber: where every microsecond goes, in one picture.

use super::{
    BenchArgs,
    broker::{Broker, Over},
    throughput,
};
use anyhow::Context;
use pprof::ProfilerGuardBuilder;
use std::{fs::File, path::PathBuf, time::Duration};

/// Samples a second; a prime, so that nothing periodic hides.
const SAMPLES_PER_S: i32 = 997;
const SECONDS: u64 = 8;

/// Writes `flamegraph.svg` into the output folder and gives its path.
pub(crate) async fn run(args: &BenchArgs) -> anyhow::Result<PathBuf> {
    let broker = Broker::start_within().await?;
    let args = BenchArgs { seconds: Some(args.seconds().min(SECONDS)), ..args.clone() };
    let profiler = ProfilerGuardBuilder::default()
        .frequency(SAMPLES_PER_S)
        // Unwinding from within these may lock up.
        .blocklist(&["libc", "libgcc", "pthread", "vdso"])
        .build()?;
    throughput::run(&broker, &args, 1, Over::Quic).await?;
    // Threads of one kind are one tower.
    let by_kind = |frames: &mut pprof::Frames| {
        let end = frames.thread_name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-').len();
        frames.thread_name.truncate(end);
        frames.thread_id = 0;
    };
    let report = profiler.report().frames_post_processor(by_kind).build()?;
    std::fs::create_dir_all(&args.out)?;
    let path = args.out.join("flamegraph.svg");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    report.flamegraph(file)?;
    // What still runs of the broker ends with it.
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok(path)
}
