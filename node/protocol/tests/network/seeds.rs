use mainstem_crypto::SecretKey;
use mainstem_model::Signer;
use mainstem_protocol::simulator::{Make, Settings, World, node};
use std::time::Instant;

pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// `SEED`, or so many from 0 on: `SEEDS` if it is set.
pub(crate) fn seeds(count: u64) -> Vec<u64> {
    match number("SEED") {
        Some(seed) => vec![seed],
        None => (0..number("SEEDS").unwrap_or(count)).collect(),
    }
}

/// Seconds that a world runs before it settles: `SPAN` if it is set.
pub(crate) fn span_s(usual: u64) -> u64 {
    number("SPAN").unwrap_or(usual)
}

pub(crate) fn key(number: u8) -> Signer {
    Signer::wallet(SecretKey::from_bytes(&[number; 32]).unwrap())
}

/// Runs one seed to its end; what was violated, and the trace.
pub(crate) fn run(settings: Settings, span_s: u64) -> (Result<(), String>, World) {
    run_of(node, settings, span_s)
}

/// As [`run`], of other machines.
pub(crate) fn run_of(make: Make, settings: Settings, span_s: u64) -> (Result<(), String>, World) {
    let tracing = std::env::var("TRACE").is_ok();
    let mut world = World::of(make, Settings { tracing, ..settings }, key);
    world.run(span_s as i64 * 1_000);
    world.settle();
    (world.check(), world)
}

/// Runs seeds and panics at the first violation.
pub(crate) fn check(count: u64, usual_span_s: u64, settings: impl Fn(u64) -> Settings) {
    check_of(node, count, usual_span_s, settings);
}

/// As [`check`], of other machines.
pub(crate) fn check_of(make: Make, count: u64, usual_span_s: u64, settings: impl Fn(u64) -> Settings) {
    let (seeds, span_s, began) = (seeds(count), span_s(usual_span_s), Instant::now());
    let (mut batches, mut required, mut steps) = (0, 0, 0);
    for seed in &seeds {
        let (result, world) = run_of(make, settings(*seed), span_s);
        if let Err(violation) = result {
            panic!("{violation}\n{}", world.report());
        }
        let (published, kept) = world.published();
        batches += published;
        required += kept;
        steps += world.steps();
    }
    // 70 seconds to settle come on top of each.
    let simulated = seeds.len() as f64 * (span_s + 70) as f64;
    println!(
        "{} seeds, {simulated} s simulated, {:.0} times as fast as real time; {steps} steps, {batches} batches, {required} of them required",
        seeds.len(),
        simulated / began.elapsed().as_secs_f64().max(0.001),
    );
}
