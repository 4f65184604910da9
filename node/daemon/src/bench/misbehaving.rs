//! Does anybody else notice plugins that misbehave? A publisher whose signatures a good plugin proves, and one of the node's own type, by turns
//! alone and beside publishers of signature types whose plugins loop, bomb, dawdle, flood and trap: beside each, and beside all at once.
//!
//! `--seconds` is the time of the turns alone of each; all of it takes some 17 times as long. Where a disk stalls, some tens of pairs of turns tell
//! little: the spread of each ratio says how little. `TMPDIR=/dev/shm` takes the disk out of it.

use super::{
    BenchArgs,
    broker::{Broker, CONFIG},
    modules::{Modules, host},
    report::{Report, Row},
    throughput::unix_ms,
    wire::{self, Told},
};
use crate::plugins::{Answers, FOLDER, Shelf};
use anyhow::{Context, bail};
use bytes::Bytes;
use hdrhistogram::Histogram;
use mainstem_client::{PublishConfig, StreamDefinition};
use mainstem_crypto::SecretKey;
use mainstem_model::{
    Ack, AckLevel, BatchId, Network, NewEvent, Origin, Partition, Right, SchemeSigner, SeriesId,
    SeriesWriter, SignatureFault, SignatureType, Signer, StreamPartition,
};
use mainstem_plugin_host::{Capability, Grants, PluginSigner};
use rand::seq::SliceRandom;
use std::{
    collections::BTreeSet,
    path::Path,
    slice,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Batches a second of each publisher that behaves.
const RATE: u32 = 200;
/// Of each that does not. Each of the slow ones takes a tenth of a second of a processor for a call.
const BAD_RATE: u32 = 2;
/// Batches of a turn, of each that behaves.
const TURN: usize = 400;
/// How long those that do not behave go on before it is looked at who notices: each has been called some times by then, and its thread goes
/// behind others once it has taken long.
const KNOWN_AFTER: Duration = Duration::from_secs(3);
/// Between turns, at least, and twice as long at most: what was begun before is over.
const SETTLES: Duration = Duration::from_millis(500);
/// Batches before the clock counts.
const WARM_UP: usize = 400;
/// Bytes of an event's content.
const CONTENT_BYTES: usize = 200;

/// Plugins that misbehave: what of, signature type, module as text, more lines of the manifest.
const BAD: [(&str, u8, &str, &str); 5] = [
    ("loops", 240, include_str!("../../../../plugins/fixtures/loop-until-deadline.wat"), LONG),
    ("bombs", 241, include_str!("../../../../plugins/fixtures/memory-in-steps.wat"), ""),
    ("dawdles", 242, include_str!("../../../../plugins/fixtures/slow.wat"), ""),
    ("floods", 243, include_str!("../../../../plugins/fixtures/log-flood.wat"), ""),
    ("traps", 244, include_str!("../../../../plugins/fixtures/trap-in-call.wat"), ""),
];

/// More fuel than time.
const LONG: &str = "[limits]\nfuel = 2000000000\n";

/// Fills the report.
///
/// # Errors
/// A module is missing, the broker does not start, a batch of a publisher that behaves is refused.
pub(crate) async fn run(args: &BenchArgs, report: &mut Report) -> anyhow::Result<()> {
    let modules = Modules::open(args)?;
    let module = modules.read("ed25519")?;
    // No plugin is switched off for its faults, so that they go on to the end: worse than a node lets them.
    let config = format!("{CONFIG}[plugins]\nfaults_per_minute_max = {}\n", u32::MAX);
    let broker = Broker::start_with(&config, |folder| install(folder, &module)).await?;
    let client = broker.client(PublishConfig::default()).await?;
    let stream = StreamDefinition::default().grant(None, &[Right::Subscribe, Right::Publish]);
    let at = client.create_stream(stream).await?.id.partition(Partition::ZERO);
    let place = Place { url: broker.websocket()?.to_owned(), network: broker.network()?, at };

    let plugin = modules.load(&host()?, "ed25519", Grants::default())?;
    let of_plugin = Signer::scheme(Arc::new(PluginSigner::new(plugin, vec![7; 32])?));
    let of_node = Signer::wallet(SecretKey::from_bytes(&[7; 32])?);
    let mut both = Both {
        plugin: Publisher::open(&place, of_plugin).await?,
        node: Publisher::open(&place, of_node).await?,
    };
    both.publish(WARM_UP).await?;
    let bad = Misbehaving::start(ALL, &place);
    tokio::time::sleep(KNOWN_AFTER).await;
    bad.stop()?;

    let pairs = (args.run_time().as_secs_f64() * f64::from(RATE) / TURN as f64).ceil() as usize;
    let mut runs: Vec<Turns> = BAD.iter().map(|(name, ..)| Turns::beside(name)).collect();
    runs.push(Turns::beside(ALL));
    for _ in 0..pairs.div_ceil(2).max(1) {
        // In an order of its own each time: what a machine does each minute would fall on one kind.
        let mut order: Vec<&mut Turns> = runs.iter_mut().collect();
        order.shuffle(&mut rand::rng());
        for run in order {
            run.take(&mut both, &place).await?;
        }
    }
    for run in &runs {
        compare(run.bad, slice::from_ref(run), report)?;
    }
    compare("one of these at a time", &runs[..BAD.len()], report)?;
    chance(&runs, report);
    Ok(())
}

/// Those beside which a publisher published, when they were all of them.
const ALL: &str = "all of these at once";

/// From each batch of a turn to its ack, µs.
struct Waits {
    plugin: Histogram<u64>,
    node: Histogram<u64>,
}

/// Which publisher's waits.
type Of = fn(&Waits) -> &Histogram<u64>;

const PUBLISHERS: [(&str, Of); 2] =
    [("another plugin's type", |waits| &waits.plugin), ("the node's own type", |waits| &waits.node)];

fn p99(of: &Histogram<u64>) -> f64 {
    of.value_at_quantile(0.99) as f64 / 1000.0
}

/// Turns alone and beside those that misbehave.
struct Turns {
    bad: &'static str,
    alone: Vec<Waits>,
    beside: Vec<Waits>,
}

impl Turns {
    const fn beside(bad: &'static str) -> Self {
        Self { bad, alone: Vec::new(), beside: Vec::new() }
    }

    /// Four more, in the order alone, beside, beside, alone: what the machine does meanwhile falls on both alike.
    async fn take(&mut self, both: &mut Both, place: &Place) -> anyhow::Result<()> {
        self.alone.push(both.publish_later().await?);
        for _ in 0..2 {
            let bad = Misbehaving::start(self.bad, place);
            self.beside.push(both.publish_later().await?);
            bad.stop()?;
        }
        self.alone.push(both.publish_later().await?);
        Ok(())
    }
}

/// How turns beside those that misbehave went, and those alone.
fn compare(bad: &str, runs: &[Turns], report: &mut Report) -> anyhow::Result<()> {
    for (whose, of) in PUBLISHERS {
        let [mut alone, mut beside] = [Histogram::<u64>::new(3)?, Histogram::<u64>::new(3)?];
        for run in runs {
            run.alone.iter().try_for_each(|turn| alone.add(of(turn)))?;
            run.beside.iter().try_for_each(|turn| beside.add(of(turn)))?;
        }
        // Each turn beside, and the one alone next to it.
        let pairs = runs.iter().flat_map(|run| run.beside.iter().zip(&run.alone));
        let of_alone = Spread::of(pairs.map(|(beside, alone)| p99(of(beside)) / p99(of(alone))));
        report.add(
            Row::new(format!(
                "plugins that misbehave: {bad}, called {BAD_RATE} times a second, by {RATE} batches/s of {whose}"
            ))
            .with("publish_ms_p99_alone", p99(&alone))
            .with("publish_ms_p99_beside", p99(&beside))
            .aimed("p99_of_alone", of_alone.median, "at most 1.2")
            .with("p99_of_alone_from", of_alone.from)
            .with("p99_of_alone_to", of_alone.to),
        );
    }
    Ok(())
}

/// The same ratio of turns alone, the earlier and the later one by turns.
fn chance(runs: &[Turns], report: &mut Report) {
    for (whose, of) in PUBLISHERS {
        let twos = runs.iter().flat_map(|run| run.alone.chunks_exact(2));
        let ratios = twos.enumerate().map(|(i, two)| p99(of(&two[i % 2])) / p99(of(&two[1 - i % 2])));
        let Spread { median, from, to } = Spread::of(ratios);
        report.add(
            Row::new(format!("no plugin that misbehaves, by {RATE} batches/s of {whose}"))
                .with("p99_alone_of_alone", median)
                .with("p99_alone_of_alone_from", from)
                .with("p99_alone_of_alone_to", to),
        );
    }
}

/// A median of ratios, and between what the true one lies in about 95 of a hundred runs, if the ratios do not hang together.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    median: f64,
    from: f64,
    to: f64,
}

impl Spread {
    /// # Panics
    /// There is no ratio.
    fn of(ratios: impl Iterator<Item = f64>) -> Self {
        let mut ratios: Vec<f64> = ratios.collect();
        ratios.sort_unstable_by(f64::total_cmp);
        let (count, last) = (ratios.len() as f64, ratios.len() - 1);
        // How many lie below the true median is binomial, its standard deviation half a root of all.
        let from = ((count / 2.0 - 0.98 * count.sqrt()).max(0.0) as usize).saturating_sub(1);
        let median = f64::midpoint(ratios[last / 2], ratios[last.div_ceil(2)]);
        Self { median, from: ratios[from], to: ratios[last - from] }
    }
}

/// Two that publish at once.
struct Both {
    plugin: Publisher,
    node: Publisher,
}

impl Both {
    async fn publish(&mut self, count: usize) -> anyhow::Result<Waits> {
        let (plugin, node) = tokio::try_join!(self.plugin.publish(count), self.node.publish(count))?;
        Ok(Waits { plugin, node })
    }

    /// A turn, once what was begun before is over, and at no beat that something else could keep.
    async fn publish_later(&mut self) -> anyhow::Result<Waits> {
        tokio::time::sleep(SETTLES.mul_f64(1.0 + rand::random::<f64>())).await;
        self.publish(TURN).await
    }
}

/// Publishers whose plugins misbehave, until they are stopped.
struct Misbehaving(Vec<(&'static str, tokio::task::JoinHandle<anyhow::Result<()>>)>);

impl Misbehaving {
    fn start(bad: &'static str, place: &Place) -> Self {
        let of_these = BAD.into_iter().filter(|(name, ..)| bad == ALL || bad == *name);
        let started = of_these
            .map(|(name, signed, ..)| (name, tokio::spawn(misbehave(place.clone(), SignatureType(signed)))));
        Self(started.collect())
    }

    /// # Errors
    /// One has ended by itself.
    fn stop(self) -> anyhow::Result<()> {
        for (name, task) in self.0 {
            if task.is_finished() {
                bail!("the publisher whose plugin {name} ended before the run did");
            }
            task.abort();
        }
        Ok(())
    }
}

/// Where batches go.
#[derive(Clone, Debug)]
struct Place {
    url: String,
    network: Network,
    at: StreamPartition,
}

/// Puts the good plugin and the bad ones on the broker's shelf.
fn install(folder: &Path, good: &[u8]) -> anyhow::Result<()> {
    let mut shelf = Shelf::open(&folder.join(FOLDER))?;
    let answers = Answers { grant: BTreeSet::from([Capability::Log]), ..Answers::default() };
    shelf.install(good, &Answers::default())?;
    for (name, signed, text, more) in BAD {
        let manifest = format!(
            "name = \"{name}\"\nversion = \"0.1.0\"\ndescription = \"A plugin that {name}\"\nabi = \"1.0\"\n\
             capabilities = [\"crypto\", \"log\"]\n[signature]\ntype = {signed}\norigin_types = [{signed}]\nsigns = false\n{more}"
        );
        let manifest = mainstem_plugin_build::parse(&manifest)?;
        let module =
            wat::parse_str(text).with_context(|| format!("the module of {name} is no text of one"))?;
        shelf.install(&mainstem_plugin_build::attach(&module, &manifest)?, &answers)?;
    }
    Ok(())
}

/// One that publishes batches of one event.
struct Publisher {
    series: SeriesWriter,
    up: wire::Up,
    down: wire::Down,
    /// Batches so far. Requests are numbered from 1.
    sent: u64,
}

impl Publisher {
    async fn open(place: &Place, signer: Signer) -> anyhow::Result<Self> {
        let series = SeriesWriter::new(place.network, place.at, signer, SeriesId(rand::random()));
        let (up, down) = wire::connect(&place.url).await?;
        Ok(Self { series, up, down, sent: 0 })
    }

    /// Publishes at a steady rate; µs from each to its ack.
    async fn publish(&mut self, count: usize) -> anyhow::Result<Histogram<u64>> {
        let Self { series, up, down, sent: before } = self;
        let first = *before + 1;
        *before += count as u64;
        let sent = Mutex::new(vec![None::<Instant>; count]);
        let known = || sent.lock().unwrap_or_else(PoisonError::into_inner);
        let acking = async {
            let mut waits = Histogram::<u64>::new(3)?;
            while waits.len() < count as u64 {
                match down.next().await? {
                    Told::Ack { request } => {
                        let at = request.checked_sub(first).context("an ack for the connection")?;
                        let begun = known().get(at as usize).copied().flatten();
                        let begun = begun.context("an ack for what was not sent")?;
                        waits.record(u64::try_from(begun.elapsed().as_micros())?)?;
                    }
                    Told::Refused { code, .. } => bail!("a batch that is right was refused: {code}"),
                    Told::Batch(_) | Told::CaughtUp | Told::Ended { .. } | Told::Other => {}
                }
            }
            anyhow::Ok(waits)
        };
        let sending = async {
            let mut tick = tokio::time::interval(Duration::from_secs(1) / RATE);
            for number in 0..count {
                tick.tick().await;
                let batch = series.seal(&[event()])?.bytes().clone();
                if let Some(at) = known().get_mut(number) {
                    *at = Some(Instant::now());
                }
                up.publish(first + number as u64, Ack::new(AckLevel::Stored, 1), &batch).await?;
                up.flush().await?;
            }
            anyhow::Ok(())
        };
        let (waits, ()) = tokio::try_join!(acking, sending)?;
        Ok(waits)
    }
}

/// Has a plugin called at a steady rate, from some moment on, until it is stopped. Each batch begins a series, as the one
/// before may have been refused; those of a plugin that ends with an answer are kept.
async fn misbehave(place: Place, signed: SignatureType) -> anyhow::Result<()> {
    let (mut up, mut down) = wire::connect(&place.url).await?;
    let hearing = async move {
        loop {
            if let Err(error) = down.next().await {
                return anyhow::Result::<()>::Err(error);
            }
        }
    };
    let sending = async move {
        let period = Duration::from_secs(1) / BAD_RATE;
        // Publishers do not agree on moments.
        let begins = tokio::time::Instant::now() + period.mul_f64(rand::random());
        let mut tick = tokio::time::interval_at(begins, period);
        for request in 1.. {
            tick.tick().await;
            let signer = Signer::scheme(Arc::new(Junk(signed)));
            let series = SeriesId(rand::random());
            let batch = SeriesWriter::new(place.network, place.at, signer, series).seal(&[event()])?;
            up.publish(request, Ack::new(AckLevel::Stored, 1), batch.bytes()).await?;
            up.flush().await?;
        }
        anyhow::Ok(())
    };
    tokio::try_join!(hearing, sending)?;
    Ok(())
}

fn event() -> NewEvent {
    NewEvent::binary(unix_ms(), Bytes::from(vec![0x5a; CONTENT_BYTES]))
}

/// Signs with what no plugin looks at.
#[derive(Debug)]
struct Junk(SignatureType);

impl SchemeSigner for Junk {
    fn signature_type(&self) -> SignatureType {
        self.0
    }

    fn origin(&self) -> Origin {
        Origin::of_plugin(self.0.0, &[9; 20])
            .unwrap_or_else(|| Origin::ethereum(mainstem_model::Address([9; 20])))
    }

    fn sign(&self, _: BatchId) -> Result<Vec<u8>, SignatureFault> {
        Ok(vec![7; 64])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_lies_within_its_spread_which_is_all_there_is_when_that_is_little() {
        let of = |count: u32| Spread::of((1..=count).rev().map(f64::from));
        assert_eq!(of(1), Spread { median: 1.0, from: 1.0, to: 1.0 });
        assert_eq!(of(4), Spread { median: 2.5, from: 1.0, to: 4.0 });
        // Of tables of the binomial distribution: the 40th and the 61st.
        assert_eq!(of(100), Spread { median: 50.5, from: 40.0, to: 61.0 });
    }
}
