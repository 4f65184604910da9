//! As many events as go through two brokers, in at the one and out at the other, beside one broker in the same run.

use super::{BenchArgs, brokers::Brokers, report::Row, throughput};
use crate::config::Config;
use anyhow::Context;
use mainstem_model::AckLevel;

/// How the two are to each other.
const WAYS: [(&str, usize, u8, [usize; 2]); 4] = [
    ("one broker", 1, 1, [0, 0]),
    ("in at the broker that keeps the partition, out at another", 2, 1, [0, 1]),
    ("in at another, out at the broker that keeps the partition", 2, 1, [1, 0]),
    ("in at one, out at the other, both keep the partition", 2, 2, [0, 1]),
];

/// Events that the reader is behind at most: on two cores that all of them share, whoever is in front takes all it can get, and
/// what is measured is what the others have left.
const LAG_MAX: u64 = 100_000;

pub(crate) async fn run(args: &BenchArgs) -> anyhow::Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    for (name, count, replicas, [ingress, egress]) in WAYS {
        let brokers = Brokers::start(count, replicas, Config::default()).await?;
        let partitions = brokers.stream(8).await?;
        let kept_by_first = |at: &&_| brokers.owners(**at).first() == Some(&0);
        let at = *partitions.iter().find(kept_by_first).context("the first broker keeps nothing")?;
        let batching = throughput::batching(args, AckLevel::Stored);
        let publisher = brokers.client(ingress, batching.clone()).await?;
        let reader = brokers.client(egress, batching).await?;
        let cpu = || brokers.cpu().iter().sum();
        let through = throughput::through(publisher, at, vec![reader], Some(LAG_MAX), args, cpu).await?;
        let row = through.row(format!("relay: {name}"), 1);
        let ratio = rows.first().map_or(1.0, |one| row.figure("events_per_s") / one.figure("events_per_s"));
        rows.push(row.with("of_one_broker", ratio));
    }
    Ok(rows)
}
