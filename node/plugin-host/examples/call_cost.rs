//! What calls of plugins cost: `cargo run --release -p mainstem-plugin-host --example call_cost`.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints its figures")]

#[path = "../tests/guest/mod.rs"]
mod guest;

use guest::{Guest, item, place, verdicts};
use mainstem_crypto::{SecretKey, sha256};
use mainstem_plugin_abi::{
    Claim, ColumnClaim, ColumnType, OperatorClaim, Port,
    plugin_capnp::{SignatureScheme, host_request, reply},
    write,
};
use mainstem_plugin_host::{Column, Rows, Values};
use std::{
    collections::BTreeMap,
    hint::black_box,
    time::{Duration, Instant},
};

fn main() {
    println!("the clock, read once           {:>9.1} ns", each(1_000_000, || black_box(Instant::now())));
    let host = guest::host();
    let empty = Guest::answering(&verdicts(&[]));
    let module = empty.module();
    let plugin = host.load(&module, guest::all()).unwrap();
    println!("empty call                     {:>9.1} ns", each(1_000_000, || plugin.verify(&[]).unwrap()));

    if std::env::args().nth(1).as_deref() == Some("empty") {
        // For a profiler.
        return;
    }
    let one = Guest::answering(&verdicts(&[0])).load_in(&host);
    println!("call with one item             {:>9.1} ns", each(500_000, || one.verify(&[item()]).unwrap()));
    let many =
        Guest { memory: r#"(memory (export "memory") 8)"#.into(), ..Guest::answering(&verdicts(&[0; 256])) };
    let many = many.load_in(&host);
    let items = vec![item(); 256];
    println!(
        "call with 256, each            {:>9.1} ns",
        each(5_000, || many.verify(&items).unwrap()) / 256.0
    );

    println!(
        "load, cached in no file        {:>9.1} µs",
        each(20, || host.load(&module, guest::all()).unwrap()) / 1e3
    );
    let fresh = Guest::doing("unreachable");
    let fresh = fresh.load_in(&guest::with_config(mainstem_plugin_host::Config {
        faults_per_minute_max: u32::MAX,
        ..Default::default()
    }));
    let none = each(2_000, || fresh.verify(&[]).unwrap_err()) / 1e3;
    println!("instance, first call and trap  {none:>9.1} µs");

    checks(&host);
    columns(&host);
}

/// 256 signatures through the host against the same ones without a plugin.
fn checks(host: &mainstem_plugin_host::Host) {
    let signed: Vec<_> = (0..=255_u8)
        .map(|n| {
            let key = SecretKey::from_bytes(&[n / 2 + 1; 32]).unwrap();
            let digest = sha256(&[n]);
            (key.public_key(), digest, key.sign(&digest))
        })
        .collect();
    let native = each(20, || {
        for (key, digest, signature) in &signed {
            let key = mainstem_crypto::PublicKey::from_sec1(&key.to_sec1()).unwrap();
            key.verify_compact(black_box(digest), &signature.as_bytes()[..64]).unwrap();
        }
    });
    let request = write::<host_request::Owned>(10_000, |request| {
        let mut check = request.init_check();
        check.set_scheme(SignatureScheme::EcdsaSecp256k1);
        let mut list = check.init_items(256);
        for (index, (key, digest, signature)) in (0..).zip(&signed) {
            let mut item = list.reborrow().get(index);
            item.set_key(&key.to_sec1());
            item.set_message(digest);
            item.set_signature(&signature.as_bytes()[..64]);
        }
    });
    let answer = verdicts(&[0; 256]);
    let call = format!(
        "(drop (call $host (i32.const {}) (i32.const {}))) {}",
        guest::DATA as usize + answer.len(),
        request.len(),
        place(guest::DATA, answer.len())
    );
    let memory = r#"(memory (export "memory") 8)"#.into();
    let mut guest = Guest { call, memory, data: [answer, request].concat(), ..Guest::default() };
    // Other work on this machine must not end the bench.
    guest.manifest.limits.deadline_ms = 1_000;
    let plugin = guest.load_in(host);
    let items = vec![item(); 256];
    let through = each(20, || plugin.verify(&items).unwrap());
    println!("256 signatures, native         {:>9.1} µs", native / 1e3);
    println!("256 signatures, through a call {:>9.1} µs, {:.3} of native", through / 1e3, through / native);
}

/// 1,024 rows of two columns of numbers, in and out.
fn columns(host: &mainstem_plugin_host::Host) {
    let of = |name: &str| ColumnClaim { name: name.into(), column_type: ColumnType::Float64 };
    let port = |name: &str| Port { name: name.into(), columns: vec![of("a"), of("b")] };
    let claim = OperatorClaim {
        name: "echo".into(),
        description: String::new(),
        inputs: vec![port("in")],
        outputs: vec![port("out")],
        parameters: Vec::new(),
    };
    let done = guest::reply(|mut reply| reply.set_done(()));
    let emitted = write::<reply::Owned>(4_000, |reply| {
        let mut batch = reply.init_emitted(1).get(0);
        batch.reborrow().init_timestamps(1_024);
        let mut columns = batch.init_columns(2);
        columns.reborrow().get(0).init_float64(1_024);
        columns.get(1).init_float64(1_024);
    });
    let mut guest = Guest::answering(&[&done[..], &emitted].concat());
    guest.memory = r#"(memory (export "memory") 8)"#.into();
    guest.manifest.claim = Claim::Operators(vec![claim]);
    guest.manifest.capabilities.clear();
    guest.more = "(global $started (mut i32) (i32.const 0))".into();
    guest.call = format!(
        "(if (global.get $started) (then (return {}))) (global.set $started (i32.const 1)) {}",
        place(guest::DATA + done.len() as u32, emitted.len()),
        place(guest::DATA, done.len())
    );
    let plugin = guest.load_in(host);
    let mut operator = plugin.operator("echo", &BTreeMap::new()).unwrap();
    let column = || Column::Float64(vec![1.5; 1_024]);
    let rows = Rows { timestamps: vec![1; 1_024], values: Values::Columns(vec![column(), column()]) };
    let call = each(20_000, || operator.on_batch(0, &rows).unwrap());
    println!("1,024 rows in and out, a row   {:>9.1} ns", call / 1_024.0);
}

/// ns of one, the least of five runs.
fn each<R>(count: u32, mut once: impl FnMut() -> R) -> f64 {
    let run = |_| {
        let start = Instant::now();
        for _ in 0..count {
            black_box(once());
        }
        start.elapsed()
    };
    (0..5).map(run).min().unwrap_or(Duration::ZERO).as_secs_f64() * 1e9 / f64::from(count)
}
