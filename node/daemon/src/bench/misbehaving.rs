//! Does anybody else notice plugins that misbehave? A publisher whose signatures a good plugin proves, and one of the node's own type, by turns
//! alone and beside publishers of signature types whose plugins loop, bomb, dawdle, flood and trap.

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
use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};

/// Batches a second of each publisher that behaves.
const RATE: u32 = 200;
/// Of each that does not. Each of the slow ones takes a tenth of a second of a processor for a call.
const BAD_RATE: u32 = 2;
/// Turns of those that behave alone and beside the others: what the machine does meanwhile then falls on both.
const TURNS: usize = 4;
/// How long those that do not behave go on before it is looked at who notices: each has been called some times by then, and its thread goes
/// behind others once it has taken long.
const KNOWN_AFTER: Duration = Duration::from_secs(3);
/// Of those, how many are slow, for how long a call lasts, and a tenth of the time is all that a node lets them have.
const SLOW: usize = 2;
const SLOW_CALL: Duration = Duration::from_millis(100);
/// Batches before the clock counts.
const WARM_UP: usize = 200;
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
    let count = (args.run_time().as_secs() as usize * RATE as usize).div_ceil(TURNS);
    let [mut alone, mut machine, mut beside] = [Waits::new()?, Waits::new()?, Waits::new()?];
    let both = async || {
        tokio::try_join!(publish(&place, of_plugin.clone(), count), publish(&place, of_node.clone(), count))
    };
    for _ in 0..TURNS {
        alone.add(both().await?)?;
        let loops = Loops::start();
        machine.add(both().await?)?;
        drop(loops);
        let bad = Misbehaving::start(&place);
        tokio::time::sleep(KNOWN_AFTER).await;
        beside.add(both().await?)?;
        bad.stop()?;
    }
    let of_both = [
        ("another plugin's type", [&alone.plugin, &machine.plugin, &beside.plugin]),
        ("the node's own type", [&alone.node, &machine.node, &beside.node]),
    ];
    for (whose, [alone, machine, beside]) in of_both {
        let ms = |of: &Histogram<u64>, quantile| of.value_at_quantile(quantile) as f64 / 1000.0;
        let [p99_alone, p99_machine, p99_beside] = [alone, machine, beside].map(|of| ms(of, 0.99));
        report.add(
            Row::new(format!(
                "plugins that misbehave, each called {BAD_RATE} times a second, by {RATE} batches/s of {whose}"
            ))
            .with("publish_ms_p50_alone", ms(alone, 0.5))
            .with("publish_ms_p50_beside_loops_elsewhere", ms(machine, 0.5))
            .with("publish_ms_p50_beside", ms(beside, 0.5))
            .with("publish_ms_p99_alone", p99_alone)
            .with("publish_ms_p99_beside_loops_elsewhere", p99_machine)
            .with("publish_ms_p99_beside", p99_beside)
            .aimed("p99_of_alone", p99_beside / p99_alone, "at most 1.2")
            .with("p99_of_loops_elsewhere", p99_beside / p99_machine),
        );
    }
    Ok(())
}

/// From each batch to its ack, µs.
struct Waits {
    plugin: Histogram<u64>,
    node: Histogram<u64>,
}

impl Waits {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { plugin: Histogram::new(3)?, node: Histogram::new(3)? })
    }

    fn add(&mut self, (plugin, node): (Histogram<u64>, Histogram<u64>)) -> anyhow::Result<()> {
        self.plugin.add(plugin)?;
        Ok(self.node.add(node)?)
    }
}

/// Loops outside of the broker that want no more than what nobody else does, each for as long as one of a slow plugin: what the machine makes
/// of being busy, whoever it is.
struct Loops {
    until: Arc<AtomicBool>,
}

impl Loops {
    fn start() -> Self {
        let until = Arc::new(AtomicBool::new(false));
        for _ in 0..SLOW {
            let ends = until.clone();
            thread::spawn(move || {
                let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
                // Where it may not, it is a harder measure.
                let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
                while !ends.load(Relaxed) {
                    let begun = Instant::now();
                    while begun.elapsed() < SLOW_CALL {
                        std::hint::spin_loop();
                    }
                    thread::sleep(9 * SLOW_CALL);
                }
            });
        }
        Self { until }
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        self.until.store(true, Relaxed);
    }
}

/// Publishers whose plugins misbehave, until they are stopped.
struct Misbehaving(Vec<tokio::task::JoinHandle<anyhow::Result<()>>>);

impl Misbehaving {
    fn start(place: &Place) -> Self {
        let publishers = BAD.map(|(_, signed, ..)| misbehave(place.clone(), SignatureType(signed)));
        Self(publishers.into_iter().map(tokio::spawn).collect())
    }

    /// # Errors
    /// One has ended by itself.
    fn stop(self) -> anyhow::Result<()> {
        for (task, (name, ..)) in self.0.iter().zip(BAD) {
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

/// Publishes batches of one event at a steady rate; µs from each to its ack.
async fn publish(place: &Place, signer: Signer, count: usize) -> anyhow::Result<Histogram<u64>> {
    let mut series = SeriesWriter::new(place.network, place.at, signer, SeriesId(rand::random()));
    let (mut up, mut down) = wire::connect(&place.url).await?;
    let total = count + WARM_UP;
    let sent = Arc::new(Mutex::new(vec![None::<Instant>; total]));
    let known = sent.clone();
    let acking = async move {
        let mut waits = Histogram::<u64>::new(3)?;
        let mut acked = 0;
        while acked < total {
            match down.next().await? {
                Told::Ack { request } => {
                    // Requests are numbered from 1.
                    let at = (request as usize).checked_sub(1).context("an ack for the connection")?;
                    let begun =
                        known.lock().unwrap_or_else(PoisonError::into_inner).get(at).copied().flatten();
                    let begun = begun.context("an ack for what was not sent")?;
                    if at >= WARM_UP {
                        waits.record(u64::try_from(begun.elapsed().as_micros())?)?;
                    }
                    acked += 1;
                }
                Told::Refused { code, .. } => bail!("a batch that is right was refused: {code}"),
                Told::Batch(_) | Told::CaughtUp | Told::Ended { .. } | Told::Other => {}
            }
        }
        anyhow::Ok(waits)
    };
    let sending = async move {
        let mut tick = tokio::time::interval(Duration::from_secs(1) / RATE);
        for number in 0..total {
            tick.tick().await;
            let batch = series.seal(&[event()])?.bytes().clone();
            if let Some(at) = sent.lock().unwrap_or_else(PoisonError::into_inner).get_mut(number) {
                *at = Some(Instant::now());
            }
            up.publish(number as u64 + 1, Ack::new(AckLevel::Stored, 1), &batch).await?;
            up.flush().await?;
        }
        anyhow::Ok(up)
    };
    let (waits, _) = tokio::try_join!(acking, sending)?;
    Ok(waits)
}

/// Has a plugin called at a steady rate, until it is stopped. Each batch begins a series, as none is ever kept.
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
        let mut tick = tokio::time::interval(Duration::from_secs(1) / BAD_RATE);
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
