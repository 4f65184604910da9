//! The network of brokers, as one of them sees it.

use super::{Globals, context::Context, failure::Failure, http, table::Table};
use clap::Args;
use serde::Deserialize;
use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    time::{Duration, Instant},
};

/// How often `--watch` asks.
const WATCH: Duration = Duration::from_secs(1);
/// How long a node that has answered may be silent until `--watch` ends: as long as a restart may take.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Rows of one table for people; `--json` has what the broker tells.
const ROWS_MAX: usize = 30;
/// What makes a terminal begin at its top, and forget what is below.
const CLEAR: &str = "\u{1b}[H\u{1b}[J";

/// Show the network as one broker sees it: the others, its shards, what it follows and what it lacks
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mainstem network\n  mainstem network --watch\n  mainstem network --json | jq '.peers[] | select(.up | not)'\n\n\
                  silent is since the broker was last heard. score is for misbehaviour: 0 is good, at 100 it is dropped for a\n\
                  while. unkept is sent to it for keeping and not answered. Of the shards those are listed that move."
)]
pub(crate) struct NetworkArgs {
    /// Show it anew each second, until ctrl-c
    #[arg(short, long)]
    watch: bool,
}

pub(crate) async fn run(args: NetworkArgs, globals: &Globals) -> anyhow::Result<ExitCode> {
    let context = Context::load(globals)?;
    if !args.watch {
        show(&context, "").await?;
        return Ok(ExitCode::SUCCESS);
    }
    tokio::select! {
        () = crate::interrupts::interrupted() => Ok(ExitCode::SUCCESS),
        // It ends only with an error.
        ended = watch(&context) => ended.map(|()| ExitCode::SUCCESS),
    }
}

async fn watch(context: &Context) -> anyhow::Result<()> {
    let before = if io::stdout().is_terminal() { CLEAR } else { "" };
    // One that never answers is not there; one that no longer does may come back.
    let mut answered: Option<Instant> = None;
    let mut second = tokio::time::interval(WATCH);
    loop {
        second.tick().await;
        match show(context, before).await {
            Ok(()) => answered = Some(Instant::now()),
            Err(error) => match Failure::of(&error) {
                Some(failure)
                    if failure.exit == super::failure::UNAVAILABLE
                        && answered.is_some_and(|answered| answered.elapsed() < SILENCE_MAX) =>
                {
                    context.out.failure(&failure);
                }
                _ => return Err(error),
            },
        }
    }
}

async fn show(context: &Context, before: &str) -> anyhow::Result<()> {
    let base = context.http()?;
    let object = http::get_json(base, "/network").await?;
    let text = match Seen::deserialize(&object) {
        Ok(seen) => format!("{before}{}", seen.text()),
        Err(error) => {
            return Err(Failure::unavailable(format!(
                "the node at {base} tells of its network in another way than this version knows: {error}"
            ))
            .into());
        }
    };
    Ok(context.out.result(&object, text.trim_end_matches('\n'))?)
}

/// What `GET /network` tells, as far as it is shown.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    broker: Broker,
    counts: Counts,
    repair: Repair,
    peers: Vec<Peer>,
    kept: Vec<Shard>,
    links: Vec<Link>,
}

#[derive(Debug, Deserialize)]
struct Broker {
    address: String,
    epoch: u32,
    shards: u32,
    replicas: u32,
    ready: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    peers: usize,
    peers_up: usize,
    kept: usize,
    handoffs: usize,
    links: usize,
    links_standing: usize,
    followers: usize,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Repair {
    series_behind: u64,
    parked_bytes: u64,
    copies_waiting: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Peer {
    address: String,
    up: bool,
    ready: bool,
    silent_ms: Option<u64>,
    score: u32,
    outstanding_bytes: u64,
    pulls: u64,
    transport: Option<String>,
    rtt_ms: Option<f64>,
    queued_bytes: Lanes,
    dropped_ms: Option<u64>,
    endpoints: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Lanes {
    live: u64,
    bulk: u64,
}

#[derive(Debug, Deserialize)]
struct Shard {
    shard: u32,
    owners: Vec<String>,
    before: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Link {
    stream: String,
    partition: u16,
    full: Option<String>,
    heads: Vec<String>,
    stands: bool,
}

impl Seen {
    fn text(&self) -> String {
        let Self { broker, counts, repair, .. } = self;
        let state = if broker.ready { "ready" } else { "filling up" };
        let mut text = format!("broker   {}  {state}\n", broker.address);
        if counts.peers == 0 {
            text.push_str("network  alone: it keeps everything itself\n");
        } else {
            text.push_str(&format!(
                "network  epoch {}, {} shards, each at {} brokers\n",
                broker.epoch, broker.shards, broker.replicas
            ));
            text.push_str(&format!("\nbrokers  {} others, {} up\n", counts.peers, counts.peers_up));
            text.push_str(&self.peers());
            text.push_str(&format!(
                "\nshards   {} kept here, {} of them move\n",
                counts.kept, counts.handoffs
            ));
            text.push_str(&self.moving());
            text.push_str(&format!(
                "\nlinks    {} partitions followed at others, {} of them stand; others follow {} here\n",
                counts.links, counts.links_standing, counts.followers
            ));
            text.push_str(&self.links());
        }
        text.push_str(&format!(
            "\nrepair   {} series behind, {} bytes parked, {} batches wait for copies\n",
            repair.series_behind, repair.parked_bytes, repair.copies_waiting
        ));
        text
    }

    fn peers(&self) -> String {
        let mut table = Table::new([
            "address", "state", "silent", "rtt", "score", "unkept", "queued", "pulls", "over", "at",
        ]);
        for peer in self.peers.iter().take(ROWS_MAX) {
            table.row([
                peer.address.clone(),
                peer.state(),
                peer.silent_ms.map(|ms| format!("{ms} ms")).unwrap_or_default(),
                // What was measured once says nothing of one that is away.
                peer.rtt_ms.filter(|_| peer.up).map(|ms| format!("{ms:.1} ms")).unwrap_or_default(),
                peer.score.to_string(),
                format!("{} B", peer.outstanding_bytes),
                format!("{} B", peer.queued_bytes.live.saturating_add(peer.queued_bytes.bulk)),
                peer.pulls.to_string(),
                peer.transport.clone().unwrap_or_default(),
                peer.endpoints.first().cloned().unwrap_or_default(),
            ]);
        }
        table.text("  ") + &rest(self.peers.len().min(ROWS_MAX), self.counts.peers)
    }

    fn moving(&self) -> String {
        let moving = || self.kept.iter().filter(|shard| !shard.before.is_empty());
        if moving().next().is_none() {
            return String::new();
        }
        let mut table = Table::new(["shard", "goes to", "from"]);
        for shard in moving().take(ROWS_MAX) {
            table.row([shard.shard.to_string(), brief(&shard.owners), brief(&shard.before)]);
        }
        table.text("  ") + &rest(moving().count().min(ROWS_MAX), self.counts.handoffs)
    }

    fn links(&self) -> String {
        if self.links.is_empty() {
            return String::new();
        }
        let mut table = Table::new(["partition", "state", "batches from", "heads from"]);
        for link in self.links.iter().take(ROWS_MAX) {
            table.row([
                format!("{}#{}", link.stream, link.partition),
                if link.stands { "stands" } else { "waits" }.to_owned(),
                link.full.as_deref().map(short).unwrap_or_default(),
                brief(&link.heads),
            ]);
        }
        table.text("  ") + &rest(self.links.len().min(ROWS_MAX), self.counts.links)
    }
}

impl Peer {
    fn state(&self) -> String {
        match self.dropped_ms {
            Some(ms) => format!("dropped for {} s", ms.div_ceil(1_000)),
            None if !self.up => "away".to_owned(),
            None if !self.ready => "filling up".to_owned(),
            None => "up".to_owned(),
        }
    }
}

/// Several brokers.
fn brief(brokers: &[String]) -> String {
    brokers.iter().map(|broker| short(broker)).collect::<Vec<_>>().join(" ")
}

/// What is said of rows that are left out.
fn rest(shown: usize, all: usize) -> String {
    if all > shown { format!("  and {} more\n", all - shown) } else { String::new() }
}

/// An address as `0x1234…cdef`: the whole one stands in the table of brokers.
fn short(address: &str) -> String {
    let ends = address.get(..6).zip(address.len().checked_sub(4).and_then(|at| address.get(at..)));
    ends.filter(|_| address.len() > 12)
        .map_or_else(|| address.to_owned(), |(first, last)| format!("{first}…{last}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn text(object: &Value) -> String {
        Seen::deserialize(object).unwrap().text()
    }

    fn address(digit: char) -> String {
        format!("0x{}", digit.to_string().repeat(40))
    }

    fn seen(links: usize) -> Value {
        let peer = |digit: char, up: bool| {
            let mut peer = json!({"address": address(digit), "up": up, "ready": up, "score": 7, "outstandingBytes": 5,
                "pulls": 1, "queuedBytes": {"live": 2, "bulk": 3}, "endpoints": ["/ip4/192.0.2.1/udp/1"]});
            if up {
                peer["silentMs"] = json!(40);
                peer["rttMs"] = json!(1.25);
                peer["transport"] = json!("quic");
            }
            peer
        };
        let mut dropped = peer('c', false);
        dropped["droppedMs"] = json!(2_001);
        let link = |n: usize| {
            json!({"stream": address('d'), "partition": n, "stands": n > 0, "full": address('a'),
                "heads": [address('b'), address('c')]})
        };
        json!({
            "broker": {"address": address('9'), "epoch": 4, "shards": 64, "replicas": 3, "ready": false},
            "counts": {"peers": 3, "peersUp": 1, "kept": 50, "handoffs": 1, "links": links,
                "linksStanding": links - 1, "followers": 8},
            "repair": {"seriesBehind": 12, "parkedBytes": 13, "copiesWaiting": 14},
            "peers": [peer('a', true), peer('b', false), dropped],
            "kept": [{"shard": 5, "owners": [address('a')], "before": [address('b'), address('c')]},
                {"shard": 6, "owners": [address('a')], "before": []}],
            "links": (0..links).map(link).collect::<Vec<_>>(),
            "truncated": false,
        })
    }

    #[test]
    fn every_part_of_the_network_is_shown() {
        let text = text(&seen(2));
        for line in [
            format!("broker   {}  filling up", address('9')),
            "network  epoch 4, 64 shards, each at 3 brokers".into(),
            "brokers  3 others, 1 up".into(),
            "shards   50 kept here, 1 of them move".into(),
            "  5      0xaaaa…aaaa  0xbbbb…bbbb 0xcccc…cccc".into(),
            "links    2 partitions followed at others, 1 of them stand; others follow 8 here".into(),
            format!("  {}#0  waits   0xaaaa…aaaa   0xbbbb…bbbb 0xcccc…cccc", address('d')),
            "repair   12 series behind, 13 bytes parked, 14 batches wait for copies".into(),
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is missing in:\n{text}");
        }
        let row = |digit| {
            let of = address(digit);
            let line = text.lines().find(|line| line.trim_start().starts_with(&of)).unwrap();
            line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(row('a'), "up 40 ms 1.2 ms 7 5 B 5 B 1 quic /ip4/192.0.2.1/udp/1");
        assert_eq!(row('b'), "away 7 5 B 5 B 1 /ip4/192.0.2.1/udp/1");
        assert!(row('c').starts_with("dropped for 3 s 7"), "{text}");
        assert!(!text.contains("\n  6 "), "a shard that stays is only counted");
    }

    #[test]
    fn a_long_list_ends_with_how_many_there_are_besides() {
        let text = text(&seen(ROWS_MAX + 9));
        assert!(text.contains("\n  and 9 more\n"), "{text}");
        assert_eq!(text.matches('#').count(), ROWS_MAX);
    }

    #[test]
    fn addresses_are_shortened_and_what_is_none_is_left_as_it_is() {
        assert_eq!(short(&address('a')), "0xaaaa…aaaa");
        for text in ["", "0x12", "€€€€€"] {
            assert_eq!(short(text), text);
        }
    }
}
