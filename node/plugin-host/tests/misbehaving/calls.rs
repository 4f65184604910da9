use crate::guest::item;
use mainstem_model::{OpenFault, Opened, Plain, Query, Record, Sealed};
use mainstem_plugin_host::{
    CallError, Column, Operator, Plugin, Rows, SignedItem, StoragePlugin, Values, Verdict,
};
use std::collections::BTreeMap;

/// Who is called.
pub enum Callee {
    Plugin,
    Operator(Box<Operator>),
    Storage(Box<StoragePlugin>),
}

const KEY: [u8; 32] = [1; 32];
const QUERY: Query = Query { from: 1, until: 100, records_max: 4, bytes_max: 400, prefix_bytes: 0 };

/// Makes a call. What it gives is each verdict and each content in a word, and of everything else nothing.
pub fn call(
    plugin: &Plugin,
    on: &mut Callee,
    state: &mut Vec<u8>,
    what: &str,
) -> Result<Vec<&'static str>, CallError> {
    let (name, count) = what.split_once(':').unwrap_or((what, "0"));
    let count = count.parse::<usize>().unwrap();
    if name == "start" {
        *on = start(plugin)?;
        return Ok(Vec::new());
    }
    let none = match on {
        Callee::Plugin => return call_plugin(plugin, name, count),
        Callee::Operator(operator) => call_operator(operator, state, name),
        Callee::Storage(storage) => call_storage(storage, name, count),
    };
    none.map(|()| Vec::new())
}

fn start(plugin: &Plugin) -> Result<Callee, CallError> {
    if plugin.manifest().claim.kind() == "storage" {
        return Ok(Callee::Storage(Box::new(plugin.storage(&BTreeMap::new())?)));
    }
    Ok(Callee::Operator(Box::new(plugin.operator("counter", &BTreeMap::new())?)))
}

fn call_plugin(plugin: &Plugin, name: &str, count: usize) -> Result<Vec<&'static str>, CallError> {
    let key: &[u8] = &KEY;
    match name {
        "verify" => {
            let verdicts = plugin.verify(&vec![SignedItem { origin_type: 240, ..item() }; count])?;
            Ok(verdicts.into_iter().map(verdict).collect())
        }
        "sign" => plugin.sign(&KEY, &vec![[2; 32]; count]).map(|_| Vec::new()),
        "seal" => {
            let plain = Plain { nonce: [3; 32], associated: b"bound", content: &[4; 32] };
            plugin.seal(&KEY, &vec![plain; count]).map(|_| Vec::new())
        }
        "open" => {
            let sealed = Sealed { associated: b"bound", sealed: &[5; 64] };
            let opened = plugin.open(&KEY, &vec![sealed; count])?;
            Ok(opened.iter().map(content).collect())
        }
        "wrap" => plugin.wrap(&KEY, &vec![key; count], &vec![6; 32 * count]).map(|_| Vec::new()),
        "unwrap" => plugin.unwrap(&KEY, &[7; 80]).map(|_| Vec::new()),
        other => panic!("{other}"),
    }
}

fn call_operator(operator: &mut Operator, state: &mut Vec<u8>, name: &str) -> Result<(), CallError> {
    match name {
        "on_batch" => operator.on_batch(0, &rows()).map(drop),
        "on_watermark" => operator.on_watermark(4).map(drop),
        "snapshot" => {
            *state = operator.snapshot()?;
            Ok(())
        }
        "restore" => operator.restore(state),
        other => panic!("{other}"),
    }
}

fn call_storage(storage: &StoragePlugin, name: &str, count: usize) -> Result<(), CallError> {
    let places: Vec<u64> = (1..=count as u64).collect();
    match name {
        "append" => {
            let record = |place: &u64| Record { place: *place, timestamp: 8, value: vec![9; 100].into() };
            storage.append(&places.iter().map(record).collect::<Vec<_>>())
        }
        "sync" => storage.sync(),
        "query" => storage.query(&QUERY).map(drop),
        "query-later" => storage.query(&Query { from: 200, until: 300, ..QUERY }).map(drop),
        "query-heads" => storage.query(&Query { prefix_bytes: 2, ..QUERY }).map(drop),
        "fetch" => storage.fetch(&places).map(drop),
        "trim" => storage.trim(&places),
        other => panic!("{other}"),
    }
}

fn rows() -> Rows {
    Rows { timestamps: vec![1, 2, 3], values: Values::Columns(vec![Column::Float64(vec![0.5, 1.5, 2.5])]) }
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Valid => "valid",
        Verdict::Invalid => "invalid",
        Verdict::Malformed => "malformed",
        Verdict::Expired => "expired",
        Verdict::Untrusted => "untrusted",
        Verdict::Unavailable => "unavailable",
    }
}

fn content(opened: &Opened) -> &'static str {
    match opened {
        Ok(_) => "content",
        Err(OpenFault::Forged) => "forged",
        Err(OpenFault::Malformed) => "malformed",
    }
}
