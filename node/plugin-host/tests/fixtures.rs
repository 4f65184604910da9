//! Every module of `plugins/fixtures` ends as its table says, and the host lives on.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and says why")]

mod guest;

use guest::{all, host, item, with_section};
use mainstem_plugin_abi::{
    Capability, Claim, ColumnClaim, ColumnType, Limits, Manifest, OperatorClaim, Port, SignatureClaim,
    Version, plugin_capnp::FailureCode,
};
use mainstem_plugin_host::{
    CallError, Column, Fault, Grants, Host, LoadError, Operator, Plugin, Rows, Values,
};
use std::{collections::BTreeMap, fs, path::Path};
use toml::{Table, Value};

fn text<'a>(of: &'a Table, name: &str) -> Option<&'a str> {
    of.get(name).and_then(Value::as_str)
}

fn texts(of: &Table, name: &str) -> Option<Vec<String>> {
    let list = of.get(name)?.as_array()?;
    Some(list.iter().map(|value| value.as_str().unwrap().to_owned()).collect())
}

fn capabilities(names: Vec<String>) -> Vec<Capability> {
    let named = |name: String| Capability::ALL.into_iter().find(|it| it.name() == name).unwrap();
    names.into_iter().map(named).collect()
}

fn claim(of: &Table) -> Claim {
    if text(of, "kind") == Some("signature") {
        let signs = of.get("signs").and_then(Value::as_bool).unwrap_or(false);
        return Claim::Signature(SignatureClaim { signature_type: 240, origin_types: vec![240], signs });
    }
    let columns = vec![ColumnClaim { name: "value".into(), column_type: ColumnType::Float64 }];
    let port = |name: &str| Port { name: name.into(), columns: columns.clone() };
    Claim::Operators(vec![OperatorClaim {
        name: "counter".into(),
        description: String::new(),
        inputs: vec![port("in")],
        outputs: vec![port("out")],
        parameters: Vec::new(),
    }])
}

fn manifest(of: &Table) -> Manifest {
    let number = |name: &str| of.get(name).and_then(Value::as_integer).unwrap_or(0);
    let limits = of.get("limits").and_then(Value::as_table).cloned().unwrap_or_default();
    let limit = |name: &str| limits.get(name).and_then(Value::as_integer).unwrap_or(0);
    let abi = Version::parse(text(of, "abi").unwrap_or("1.0")).unwrap();
    let asked = texts(of, "capabilities").unwrap_or_else(|| {
        if text(of, "kind") == Some("signature") { vec!["crypto".into()] } else { Vec::new() }
    });
    Manifest {
        abi,
        abi_minor_least: number("abi_minor_least") as u16,
        claim: claim(of),
        capabilities: capabilities(asked),
        limits: Limits {
            memory_bytes: limit("memory_bytes") as u64,
            fuel: limit("fuel") as u64,
            deadline_ms: limit("deadline_ms") as u32,
        },
        ..guest::manifest()
    }
}

fn module(folder: &Path, of: &Table) -> Vec<u8> {
    let file = text(of, "file").unwrap();
    let bytes = fs::read(folder.join(file)).unwrap();
    if file.ends_with(".bin") {
        return bytes;
    }
    let plain = wat::parse_bytes(&bytes).unwrap().into_owned();
    let right = manifest(of).encode().unwrap();
    match text(of, "manifest").unwrap_or("right") {
        "none" => plain,
        "twice" => with_section(&with_section(&plain, &right), &right),
        "garbage" => with_section(&plain, &[255; 16]),
        "large" => with_section(&plain, &[0; 65_544]),
        "right" => with_section(&plain, &right),
        other => panic!("{other}"),
    }
}

enum Called {
    Plugin,
    Operator(Box<Operator>),
}

fn rows() -> Rows {
    Rows { timestamps: vec![1, 2, 3], values: Values::Columns(vec![Column::Float64(vec![0.5, 1.5, 2.5])]) }
}

/// `verify` with the verdicts in words, everything else with nothing.
fn call(plugin: &Plugin, on: &mut Called, state: &mut Vec<u8>, what: &str) -> Result<Vec<String>, CallError> {
    let (name, count) = what.split_once(':').unwrap_or((what, "0"));
    let count = count.parse::<usize>().unwrap();
    if name == "start" {
        *on = Called::Operator(Box::new(plugin.operator("counter", &BTreeMap::new())?));
        return Ok(Vec::new());
    }
    match (name, on) {
        ("verify", Called::Plugin) => {
            let verdicts =
                plugin
                    .verify(&vec![mainstem_plugin_host::SignedItem { origin_type: 240, ..item() }; count])?;
            Ok(verdicts.iter().map(|verdict| format!("{verdict:?}").to_lowercase()).collect())
        }
        ("sign", Called::Plugin) => plugin.sign(&[1; 32], &vec![[2; 32]; count]).map(|_| Vec::new()),
        ("on_batch", Called::Operator(operator)) => operator.on_batch(0, &rows()).map(|_| Vec::new()),
        ("on_watermark", Called::Operator(operator)) => operator.on_watermark(4).map(|_| Vec::new()),
        ("snapshot", Called::Operator(operator)) => {
            *state = operator.snapshot()?;
            Ok(Vec::new())
        }
        ("restore", Called::Operator(operator)) => operator.restore(state).map(|()| Vec::new()),
        other => panic!("{}", other.0),
    }
}

fn calls(plugin: &Plugin, of: &Table) -> Result<Vec<String>, CallError> {
    let default =
        if text(of, "kind") == Some("signature") { vec!["verify:1"] } else { vec!["start", "on_batch"] };
    let calls = texts(of, "calls").unwrap_or_else(|| default.into_iter().map(str::to_owned).collect());
    let (mut on, mut state) = (Called::Plugin, vec![1; 8]);
    let mut given = Vec::new();
    for what in &calls {
        given = call(plugin, &mut on, &mut state, what)?;
    }
    for _ in 1..of.get("repeat").and_then(Value::as_integer).unwrap_or(1) {
        given = call(plugin, &mut on, &mut state, calls.last().unwrap())?;
    }
    Ok(given)
}

fn failed(code: FailureCode) -> &'static str {
    match code {
        FailureCode::Unsupported => "failed.unsupported",
        FailureCode::Malformed => "failed.malformed",
        FailureCode::Invalid => "failed.invalid",
        FailureCode::Denied => "failed.denied",
        FailureCode::Unavailable => "failed.unavailable",
        FailureCode::Limit => "failed.limit",
        FailureCode::Internal => "failed.internal",
    }
}

fn ended(error: &CallError) -> &'static str {
    if let CallError::Failed { code, .. } = error {
        return failed(*code);
    }
    let CallError::Fault { fault, .. } = error else { return "no answer" };
    let of = |is: bool, name| is.then_some(name);
    of(matches!(fault, Fault::Trap(_)), "fault.trap")
        .or(of(matches!(fault, Fault::OutOfFuel(_)), "fault.fuel"))
        .or(of(matches!(fault, Fault::Deadline(_)), "fault.deadline"))
        .or(of(matches!(fault, Fault::Memory(_)), "fault.memory"))
        .unwrap_or("fault.reply")
}

fn refused(error: &LoadError) -> String {
    let is = |name: &str, is: bool| is.then(|| format!("load.{name}"));
    let start = |error: &LoadError| matches!(error, LoadError::Start(_));
    let loops = error.to_string().contains("fuel") || error.to_string().contains(" ms");
    let missing = error.to_string().contains("is missing");
    let export = matches!(error, LoadError::Export { .. });
    [
        is("too-large", matches!(error, LoadError::TooLarge { .. })),
        is("not-wasm", matches!(error, LoadError::NotWasm(_) | LoadError::Component)),
        is("no-manifest", matches!(error, LoadError::NoManifest)),
        is("two-manifests", matches!(error, LoadError::Manifests(_))),
        is("manifest", matches!(error, LoadError::Manifest(_))),
        is("abi-major", matches!(error, LoadError::AbiMajor { .. })),
        is("abi-minor", matches!(error, LoadError::AbiMinor { .. })),
        is("abi-differs", matches!(error, LoadError::AbiMismatch { .. })),
        is("compile", matches!(error, LoadError::Compile(_))),
        is("import", matches!(error, LoadError::Import { .. })),
        is("missing-export", export && missing),
        is("export-type", export),
        is("memory", matches!(error, LoadError::Memory { .. })),
        is("table", matches!(error, LoadError::Table(_))),
        is("start-loops", start(error) && loops),
    ]
    .into_iter()
    .flatten()
    .next()
    .unwrap_or_else(|| "load.start-traps".into())
}

/// What is not as the table says.
fn misfit(host: &Host, folder: &Path, of: &Table) -> Option<String> {
    let (file, expect) = (text(of, "file").unwrap(), text(of, "expect").unwrap());
    let mut grants = all();
    if let Some(granted) = texts(of, "granted") {
        grants = Grants { capabilities: capabilities(granted).into_iter().collect(), ..grants };
    }
    let (end, sentence) = match host.load(&module(folder, of), grants) {
        Err(error) => (refused(&error), error.to_string()),
        Ok(plugin) => match calls(&plugin, of) {
            Err(error) => (ended(&error).into(), error.to_string()),
            Ok(verdicts) => {
                let right = text(of, "verdict").unwrap_or("valid");
                let wrong = verdicts.iter().any(|verdict| verdict != right);
                (if wrong { format!("ok with {verdicts:?}") } else { "ok".into() }, String::new())
            }
        },
    };
    println!("{file}: {end} {sentence}");
    assert!(sentence.len() < 2_000 && !sentence.chars().any(char::is_control), "{file}: {sentence:?}");
    let (right, said) = expect.split_once(':').unwrap_or((expect, ""));
    if right == "any" || end == right && sentence.contains(said) {
        return None;
    }
    Some(format!("{file} must end with {expect} and ends with {end}: {sentence}"))
}

#[test]
fn each_misbehaving_module_ends_as_its_table_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/fixtures");
    let table: Table = fs::read_to_string(folder.join("fixtures.toml")).unwrap().parse().unwrap();
    let fixtures = table["fixture"].as_array().unwrap();
    assert!(fixtures.len() > 200);
    let host = host();
    let here = fixtures.iter().map(|of| of.as_table().unwrap()).filter(|of| !of.contains_key("made_by"));
    let misfits: Vec<_> = here.filter_map(|of| misfit(&host, &folder, of)).collect();
    assert!(misfits.is_empty(), "{}:\n{}", misfits.len(), misfits.join("\n"));
}
