//! What plugins cost: signatures, rows, calls and storage, each beside what the node does without one.

use super::{
    BenchArgs,
    modules::{Modules, host},
    plugin_store,
    report::{Report, Row},
};
use anyhow::{Context, ensure};
use mainstem_crypto::{Address, KnownKeys, SecretKey, Signature, personal_message_digest, recover, sha256};
use mainstem_plugin_host::{
    Column, Event, Grants, Host, Operator, Plugin, Rows, SignedItem, Values, Verdict,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    hint::black_box,
    time::{Duration, Instant},
};

/// Signatures of one call.
const SIGNATURES: usize = 256;
/// Origins of them when these are few, and so busy that a node has tables of their keys.
const BUSY: usize = 16;
/// As many as a guest that has no help proves in one call with the fuel that its manifest asks for.
const ALONE: usize = 64;
/// Rows of one batch.
const ROWS: usize = 1_024;
/// Bytes of an event's content.
const CONTENT_BYTES: usize = 64;
/// Rounds of each figure: the best counts, as other work on the machine only ever makes it worse.
const ROUNDS: usize = 7;
/// How long a round takes, about.
const ROUND: Duration = Duration::from_millis(100);
/// The twin of signature type 1, built with WebAssembly's wide arithmetic.
const WIDE: &str = "secp256k1+wide-arithmetic";

/// Fills the report.
///
/// # Errors
/// A module is missing, a plugin is at fault, a signature does not hold.
pub(crate) fn run(args: &BenchArgs, report: &mut Report) -> anyhow::Result<()> {
    let modules = Modules::open(args)?;
    let host = host()?;
    let wide = has_wide(&modules, report)?;
    for origins in [BUSY, SIGNATURES] {
        report.add(signatures(&modules, &host, wide, origins)?);
    }
    report.add(calls(&modules, &host)?);
    report.add(rows(&modules, &host)?);
    report.add(plugin_store::run(&modules)?);
    Ok(())
}

/// Batch ids, and who signed them with what.
struct Signed {
    headers: Vec<[u8; 203]>,
    ids: Vec<[u8; 32]>,
    addresses: Vec<[u8; 20]>,
    signatures: Vec<Signature>,
}

impl Signed {
    fn by(origins: usize) -> anyhow::Result<Self> {
        let mut signed =
            Self { headers: Vec::new(), ids: Vec::new(), addresses: Vec::new(), signatures: Vec::new() };
        for number in 0..SIGNATURES {
            let key = SecretKey::from_bytes(&sha256(&(number % origins).to_le_bytes()))?;
            let header = [number as u8; 203];
            let id = sha256(&header);
            signed.headers.push(header);
            signed.ids.push(id);
            signed.addresses.push(key.address().0);
            signed.signatures.push(key.sign(&personal_message_digest(&id)));
        }
        Ok(signed)
    }

    fn items<'a>(&'a self, bytes: &'a [Vec<u8>]) -> Vec<SignedItem<'a>> {
        (0..SIGNATURES)
            .map(|at| SignedItem {
                header: &self.headers[at],
                batch_id: self.ids[at],
                origin_type: 1,
                origin: &self.addresses[at],
                timestamp: 0,
                signature: &bytes[at],
            })
            .collect()
    }

    /// What a node does for signature type 1 without a plugin.
    fn hold(&self, keys: &KnownKeys) -> bool {
        (0..SIGNATURES).all(|at| {
            let (origin, digest) = (Address(self.addresses[at]), personal_message_digest(&self.ids[at]));
            keys.check(origin, &digest, &self.signatures[at]).is_ok()
        })
    }

    /// The same, if it had never seen the origins.
    fn hold_of_strangers(&self) -> bool {
        (0..SIGNATURES).all(|at| {
            let digest = personal_message_digest(&self.ids[at]);
            recover(&digest, &self.signatures[at]).is_ok_and(|key| key.address().0 == self.addresses[at])
        })
    }
}

/// Whether there is a twin with wide arithmetic that is another module.
fn has_wide(modules: &Modules, report: &mut Report) -> anyhow::Result<bool> {
    if !modules.has(WIDE) {
        report.note(&format!(
            "no guest with wide arithmetic: build it (tools/plugins.sh {WIDE}) to see what it brings"
        ));
        return Ok(false);
    }
    let differs = modules.read(WIDE)? != modules.read("secp256k1")?;
    if !differs {
        // k256 chooses its arithmetic by the width of a pointer.
        report.note(&format!(
            "{WIDE} is the same module, byte by byte: its curve is in limbs of 32 bits, which need no wide arithmetic"
        ));
    }
    Ok(differs)
}

fn signatures(modules: &Modules, host: &Host, wide: bool, origins: usize) -> anyhow::Result<Row> {
    let signed = Signed::by(origins)?;
    let bytes: Vec<Vec<u8>> = signed.signatures.iter().map(|it| it.as_bytes().to_vec()).collect();
    let items = signed.items(&bytes);
    let bare = || Grants { capabilities: BTreeSet::new(), ..Grants::default() };
    let through = modules.load(host, "secp256k1", Grants::default())?;
    let alone = modules.load(host, "secp256k1", bare())?;
    let wide = wide.then(|| modules.load(host, WIDE, bare())).transpose()?;
    for (plugin, of_call) in [(Some(&through), SIGNATURES), (Some(&alone), ALONE), (wide.as_ref(), ALONE)] {
        for (plugin, items) in
            plugin.into_iter().flat_map(|plugin| items.chunks(of_call).map(move |it| (plugin, it)))
        {
            let verdicts = plugin.verify(items)?;
            ensure!(
                verdicts.iter().all(|it| *it == Verdict::Valid),
                "{plugin:?} refuses signatures that hold"
            );
        }
    }
    let keys = KnownKeys::default();
    ensure!(signed.hold(&keys) && signed.hold_of_strangers(), "signatures that were just made do not hold");

    let verify = |plugin: &Plugin, of_call| {
        items.chunks(of_call).for_each(|items| drop(black_box(plugin.verify(items))));
    };
    let mut native = || _ = black_box(signed.hold(&keys));
    let mut native_of_strangers = || _ = black_box(signed.hold_of_strangers());
    let (mut by_host, mut by_guest) = (|| verify(&through, SIGNATURES), || verify(&alone, ALONE));
    let mut by_wide = || wide.iter().for_each(|wide| verify(wide, ALONE));
    let mut works: Vec<&mut dyn FnMut()> =
        vec![&mut native, &mut by_host, &mut by_guest, &mut native_of_strangers];
    if wide.is_some() {
        works.push(&mut by_wide);
    }
    let times = least(&mut works);
    let us = |at: usize| times.get(at).map_or(f64::NAN, |ns| ns / 1e3);
    let mut row =
        Row::new(format!("plugins: {SIGNATURES} signatures of type 1 (secp256k1), of {origins} origins"))
            .with("native_us", us(0))
            .with("native_of_strangers_us", us(3))
            .with("by_host_crypto_us", us(1))
            .with("by_guest_alone_us", us(2))
            .aimed("by_host_crypto_of_native", us(1) / us(0), "at most 1.3")
            .with("by_guest_alone_of_native", us(2) / us(0))
            .with("by_guest_alone_of_strangers", us(2) / us(3));
    if wide.is_some() {
        row = row
            .with("by_guest_wide_us", us(4))
            .with("by_guest_wide_of_native", us(4) / us(0))
            .with("by_guest_wide_of_guest_alone", us(4) / us(2));
    }
    for (name, plugin) in [("host crypto", &through), ("guest alone", &alone)] {
        let faults = plugin.counters().faults.sum();
        ensure!(
            faults == 0,
            "secp256k1 by {name} had {faults} faults: is the machine busy with something else?"
        );
    }
    Ok(row)
}

fn calls(modules: &Modules, host: &Host) -> anyhow::Result<Row> {
    let plugin = modules.load(host, "p256-c", Grants::default())?;
    let rust = modules.load(host, "ed25519", Grants::default())?;
    let filter = modules.load(host, "filter", Grants::default())?;
    plugin.verify(&[])?;
    rust.verify(&[])?;
    let mut clock = || _ = black_box(Instant::now());
    let mut empty = || drop(black_box(plugin.verify(&[])));
    let mut empty_rust = || drop(black_box(rust.verify(&[])));
    let mut first = || drop(black_box(filter.operator("filter", &BTreeMap::new())));
    let times = least(&mut [&mut clock, &mut empty, &mut empty_rust, &mut first]);
    let ns = |at: usize| times.get(at).copied().unwrap_or(f64::NAN);
    Ok(Row::new("plugins: calls, with all limits on".into())
        .with("clock_read_once_us", ns(0) / 1e3)
        .aimed("empty_call_of_c_guest_us", ns(1) / 1e3, "at most 0.2")
        .with("empty_call_of_rust_guest_us", ns(2) / 1e3)
        .aimed("instance_and_first_call_us", ns(3) / 1e3, "at most 60"))
}

fn rows(modules: &Modules, host: &Host) -> anyhow::Result<Row> {
    let filter = modules.load(host, "filter", Grants::default())?;
    let scale = modules.load(host, "scale-as", Grants::default())?;
    let timestamps: Vec<i64> = (0..ROWS as i64).collect();
    // Every second one passes the filter.
    let values = (0..ROWS).map(|row| if row % 2 == 0 { 1.5 } else { -1.5 }).collect();
    let columns =
        Rows { timestamps: timestamps.clone(), values: Values::Columns(vec![Column::Float64(values)]) };
    let event =
        |row: usize| Event { content_type: (row % 2) as u16, content: vec![row as u8; CONTENT_BYTES] };
    let events = Rows { timestamps, values: Values::Events((0..ROWS).map(event).collect()) };

    let start = |plugin: &Plugin, name: &str, parameter: (&str, &str)| {
        let given = BTreeMap::from([(parameter.0.to_owned(), parameter.1.to_owned())]);
        plugin.operator(name, &given).with_context(|| format!("the operator {name} does not start"))
    };
    let mut filters = start(&filter, "filter", ("above", "0"))?;
    let mut scales = start(&scale, "scale", ("factor", "2"))?;
    let mut of_type = start(&filter, "of-type", ("content_type", "1"))?;
    for (operator, rows, expected) in
        [(&mut filters, &columns, ROWS / 2), (&mut scales, &columns, ROWS), (&mut of_type, &events, ROWS / 2)]
    {
        let given: usize = operator.on_batch(0, rows)?.iter().map(|it| it.rows.timestamps.len()).sum();
        ensure!(given == expected, "{operator:?} gives {given} rows, and {expected} are right");
    }
    let call = |operator: &mut Operator, rows: &Rows| drop(black_box(operator.on_batch(0, rows)));
    let mut by_filter = || call(&mut filters, &columns);
    let mut by_scale = || call(&mut scales, &columns);
    let mut by_type = || call(&mut of_type, &events);
    let times = least(&mut [&mut by_filter, &mut by_scale, &mut by_type]);
    let rate = |at: usize| times.get(at).map_or(f64::NAN, |ns| ROWS as f64 / ns * 1e9);
    Ok(Row::new(format!("plugins: operators on one core, {ROWS} rows a batch"))
        .aimed("filter_rows_per_s", rate(0), "at least 50 000 000")
        .aimed("map_rows_per_s", rate(1), "at least 50 000 000")
        .aimed("filter_of_whole_events_per_s", rate(2), "at least 10 000 000")
        .with("bytes_of_a_whole_event", CONTENT_BYTES as f64))
}

/// ns that each work takes, the least of some rounds. In each round all have their turn, so that what is compared ran at the same time.
fn least(works: &mut [&mut dyn FnMut()]) -> Vec<f64> {
    let counts: Vec<u32> = works.iter_mut().map(|work| count(*work)).collect();
    let mut best = vec![f64::INFINITY; works.len()];
    for _ in 0..ROUNDS {
        for ((work, count), best) in works.iter_mut().zip(&counts).zip(&mut best) {
            let begun = Instant::now();
            for _ in 0..*count {
                work();
            }
            *best = best.min(begun.elapsed().as_secs_f64() * 1e9 / f64::from(*count));
        }
    }
    best
}

/// How often a work is done in a round.
fn count(work: &mut dyn FnMut()) -> u32 {
    let (begun, mut count) = (Instant::now(), 0_u32);
    while begun.elapsed() < ROUND / 4 {
        work();
        count += 1;
    }
    count.saturating_mul(4)
}
