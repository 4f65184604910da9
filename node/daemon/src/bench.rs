//! `mainstem bench`: how fast a broker of its own is on this machine, everything proven and stored, beside NATS JetStream.

mod broker;
mod brokers;
mod bucket;
mod crowd;
#[cfg(feature = "flamegraph")]
mod flame;
mod growth;
mod latency;
#[cfg(feature = "guests")]
mod misbehaving;
mod modules;
mod nats;
mod overload;
mod plugin_store;
mod plugins;
mod read_back;
mod relay;
mod reopen;
mod report;
mod shares;
mod signed;
mod soak;
mod sockets;
mod throughput;
mod wire;

use anyhow::ensure;
use broker::{Broker, Over};
use report::Report;
use std::{path::PathBuf, time::Duration};

/// Seconds of a throughput run, unless others are asked for.
const SECONDS: u64 = 20;

/// Options of `mainstem bench`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct BenchArgs {
    /// Seconds of each throughput run [default: 20], and of the soak [default: 1800]
    #[arg(long)]
    pub(crate) seconds: Option<u64>,
    /// Bytes of an event's content
    #[arg(long, default_value_t = 200)]
    pub(crate) event_bytes: usize,
    /// Bytes of contents that a publisher puts into one batch
    #[arg(long, default_value_t = 60 << 10)]
    pub(crate) batch_bytes: usize,
    /// Numbers of subscribers to try after one
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100])]
    pub(crate) subscribers: Vec<usize>,
    /// Sockets of the memory run
    #[arg(long, default_value_t = 5_000)]
    pub(crate) sockets: usize,
    /// Subscribers that take nothing, of the stalled run
    #[arg(long, default_value_t = 1_000)]
    pub(crate) stalled: usize,
    /// MiB of events to restart with
    #[arg(long, default_value_t = 1024)]
    pub(crate) stored_mib: u64,
    /// Only these parts: throughput, nats, latency, durable, fanout, websocket, memory, stalled, restart, growth, relay, overload,
    /// plugins, misbehaving, soak, flamegraph
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Folder with modules of plugins [default: where tools/plugins.sh puts them, beside this program's folder]
    #[arg(long)]
    pub(crate) plugins: Option<PathBuf>,
    /// A server that speaks S3, for the plugin s3 in the soak, such as `tools/s3.sh` brings; it must have a bucket `mainstem`
    #[arg(long, env = "MAINSTEM_S3")]
    pub(crate) s3: Option<String>,
    /// Id and key of a user of that server: `id:key`
    #[arg(long, env = "MAINSTEM_S3_KEYS", hide_env_values = true)]
    pub(crate) s3_keys: Option<String>,
    /// Folder for the result (bench.json)
    #[arg(long, default_value = "bench-output")]
    pub(crate) out: PathBuf,
}

impl BenchArgs {
    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == part)
    }

    /// Of each throughput run.
    fn seconds(&self) -> u64 {
        self.seconds.unwrap_or(SECONDS)
    }

    fn run_time(&self) -> Duration {
        Duration::from_secs(self.seconds())
    }
}

/// Runs the parts one after the other and shows a table.
///
/// # Errors
/// The broker does not start, an event is lost or comes twice; a soak misses what it is to show.
pub(crate) async fn run(args: BenchArgs) -> anyhow::Result<()> {
    let mut report = Report::new(&args);
    if args.wants("throughput") {
        let broker = Broker::start().await?;
        let row = throughput::run(&broker, &args, 1, Over::Quic).await?;
        let cpu = row.figure("cpu_us_per_delivery_broker") + row.figure("cpu_us_per_delivery_clients");
        report.add(row);
        report.add(shares::run(&args, cpu)?);
    }
    if args.wants("nats") {
        match nats::run(&args).await? {
            Some(row) => report.add(row),
            None => report
                .note("nats-server is not installed (Debian: apt-get install nats-server): no comparison"),
        }
    }
    if args.wants("latency") {
        let broker = Broker::start().await?;
        report.add(latency::run(&broker, mainstem_model::AckLevel::Stored, 1_000, 10_000).await?);
    }
    if args.wants("durable") {
        let broker = Broker::start().await?;
        report.add(latency::run(&broker, mainstem_model::AckLevel::Durable, 100, 1_000).await?);
        report.add(throughput::durable(&broker, &args).await?);
    }
    if args.wants("fanout") {
        for count in &args.subscribers {
            let broker = Broker::start().await?;
            report.add(throughput::run(&broker, &args, *count, Over::Quic).await?);
        }
    }
    if args.wants("websocket") {
        let broker = Broker::start().await?;
        report.add(throughput::run(&broker, &args, 1, Over::WebSocket).await?);
        report.add(sockets::json(&broker, &args).await?);
    }
    if args.wants("memory") {
        let broker = Broker::start().await?;
        report.add(sockets::idle(&broker, args.sockets).await?);
    }
    if args.wants("stalled") {
        for row in sockets::stalled(args.stalled).await? {
            report.add(row);
        }
    }
    if args.wants("restart") {
        report.add(reopen::run(Broker::start().await?, &args, args.stored_mib << 20).await?);
    }
    if args.wants("growth") {
        growth::run(&args, &mut report).await?;
    }
    if args.wants("relay") {
        for row in relay::run(&args).await? {
            report.add(row);
        }
    }
    if args.wants("overload") {
        overload::run(&args, &mut report).await?;
    }
    if args.wants("plugins") {
        plugins::run(&args, &mut report)?;
    }
    if args.wants("misbehaving") {
        misbehave(&args, &mut report).await?;
    }
    // Half an hour is nothing to do without being asked.
    if args.only.iter().any(|only| only == "soak") {
        soak::run(&args, &mut report)?;
    }
    if args.wants("flamegraph") {
        flame(&args, &mut report).await?;
    }
    let missed = report.missed();
    report.finish(&args.out)?;
    ensure!(missed.is_empty(), "not as it is to be: {}", missed.join(", "));
    Ok(())
}

#[cfg(feature = "flamegraph")]
async fn flame(args: &BenchArgs, report: &mut Report) -> anyhow::Result<()> {
    let path = flame::run(args).await?;
    report.note(&format!("flame graph: {}", path.display()));
    Ok(())
}

#[cfg(not(feature = "flamegraph"))]
#[expect(clippy::unused_async, reason = "as with the feature")]
async fn flame(_: &BenchArgs, report: &mut Report) -> anyhow::Result<()> {
    report.note("no flame graph: this build is without the feature `flamegraph`, which `make bench` has");
    Ok(())
}

#[cfg(feature = "guests")]
async fn misbehave(args: &BenchArgs, report: &mut Report) -> anyhow::Result<()> {
    misbehaving::run(args, report).await
}

#[cfg(not(feature = "guests"))]
#[expect(clippy::unused_async, reason = "as with the feature")]
async fn misbehave(_: &BenchArgs, report: &mut Report) -> anyhow::Result<()> {
    report.note(
        "no plugins that misbehave: this build is without the feature `guests`, which `make bench` has",
    );
    Ok(())
}
