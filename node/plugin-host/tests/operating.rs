//! Operators: rows go in and come out as their claim says.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and says why")]

mod guest;

use guest::{Guest, reply};
use mainstem_plugin_abi::{
    Claim, ColumnClaim, ColumnType, OperatorClaim, Parameter, Port,
    plugin_capnp::{FailureCode, reply as reply_of, request as request_of},
    read, write,
};
use mainstem_plugin_host::{CallError, Column, Emitted, Event, Fault, Operator, Plugin, Rows, Values};
use std::collections::BTreeMap;

const TYPES: [ColumnType; 4] = ColumnType::ALL;

fn port(name: &str, types: &[ColumnType]) -> Port {
    let columns = types.iter().map(|of| ColumnClaim { name: format!("c-{}", of.name()), column_type: *of });
    Port { name: name.into(), columns: columns.collect() }
}

fn parameter(name: &str, parameter_type: ColumnType, default: &str) -> Parameter {
    Parameter { name: name.into(), description: String::new(), parameter_type, default: default.into() }
}

fn claim() -> Claim {
    Claim::Operators(vec![OperatorClaim {
        name: "all".into(),
        description: String::new(),
        inputs: vec![port("in", &TYPES), port("events", &[])],
        outputs: vec![port("out", &TYPES), port("events", &[])],
        parameters: vec![
            parameter("above", ColumnType::Float64, "0"),
            parameter("key", ColumnType::Data, "00ff"),
            parameter("count", ColumnType::Int64, ""),
        ],
    }])
}

/// `done` to the first call, and this to all others.
fn answering(answer: &[u8]) -> Guest {
    let done = reply(|mut reply| reply.set_done(()));
    let mut guest = Guest::answering(&[&done[..], answer].concat());
    guest.manifest.claim = claim();
    guest.manifest.capabilities.clear();
    guest.more = "(global $started (mut i32) (i32.const 0))".into();
    let later = guest::place(guest::DATA + done.len() as u32, answer.len());
    let first = guest::place(guest::DATA, done.len());
    guest.call = format!(
        "(if (global.get $started) (then (return {later}))) (global.set $started (i32.const 1)) {first}"
    );
    guest
}

fn start(plugin: &Plugin) -> Operator {
    plugin.operator("all", &BTreeMap::from([("count".into(), "3".into())])).unwrap()
}

fn rows() -> Rows {
    Rows {
        timestamps: vec![1, -2, i64::MAX],
        values: Values::Columns(vec![
            Column::Int64(vec![i64::MIN, 0, 7]),
            Column::Float64(vec![0.5, -0.0, f64::INFINITY]),
            Column::Text(vec!["one".into(), String::new(), "zwölf".into()]),
            Column::Data(vec![vec![1, 2], Vec::new(), vec![255; 100]]),
        ]),
    }
}

fn events() -> Rows {
    let event = |content: &[u8]| Event { content_type: 3, content: content.into() };
    Rows { timestamps: vec![5, 6], values: Values::Events(vec![event(b"one"), event(b"")]) }
}

/// A reply that emits what one test or another asks for.
fn emitting(fill: impl FnOnce(reply_of::Builder<'_>)) -> Vec<u8> {
    write::<reply_of::Owned>(1_024, fill)
}

fn emit_rows() -> Vec<u8> {
    emitting(|reply| {
        let mut batches = reply.init_emitted(2);
        let mut batch = batches.reborrow().get(0);
        batch.set_port(1);
        batch.reborrow().set_timestamps(&[5_i64, 6][..]).unwrap();
        let mut events = batch.init_events(2);
        for (index, content) in [&b"one"[..], b""].iter().enumerate() {
            let mut event = events.reborrow().get(index as u32);
            event.set_content_type(3);
            event.set_content(content);
        }
        let mut batch = batches.get(1);
        batch.reborrow().set_timestamps(&[1_i64, -2, i64::MAX][..]).unwrap();
        let mut columns = batch.init_columns(4);
        columns.reborrow().get(0).set_int64(&[i64::MIN, 0, 7][..]).unwrap();
        columns.reborrow().get(1).set_float64(&[0.5, -0.0, f64::INFINITY][..]).unwrap();
        let mut texts = columns.reborrow().get(2).init_text(3);
        texts.set(0, "one");
        texts.set(2, "zwölf");
        let mut data = columns.reborrow().get(3).init_data(3);
        data.set(0, &[1, 2]);
        data.set(2, &[255; 100]);
    })
}

#[test]
fn emitted_rows_are_read_in_their_order_and_with_all_their_columns() {
    let plugin = answering(&emit_rows()).load();
    let mut operator = start(&plugin);
    let right = vec![Emitted { port: 1, rows: events() }, Emitted { port: 0, rows: rows() }];
    assert_eq!(operator.on_batch(0, &rows()).unwrap(), right);
    assert_eq!(operator.on_batch(1, &events()).unwrap(), right);
    assert_eq!(operator.on_watermark(-5).unwrap(), right);
    assert_eq!(
        (plugin.counters().calls, plugin.counters().items, plugin.counters().instances_made),
        (4, 5, 1)
    );
}

#[test]
fn nothing_emitted_is_right_too() {
    let plugin = answering(&emitting(|reply| {
        reply.init_emitted(0);
    }))
    .load();
    assert_eq!(start(&plugin).on_watermark(1).unwrap(), []);
}

#[test]
fn a_plugin_is_given_rows_and_parameters_as_they_are() {
    // It emits, as its state, the request before.
    let state = reply(|reply| reply.init_state(16 << 10).fill(0));
    let mut guest = answering(&state);
    let at = guest::DATA as usize + guest.data.len() - (16 << 10);
    guest.call = format!(
        "(if (i32.eq (local.get $len) (global.get $started))
            (then (return {})))
        (global.set $started (i32.const 32))
        (i64.store (i32.const {at}) (i64.extend_i32_u (local.get $len)))
        (memory.copy (i32.const {}) (local.get $ptr) (local.get $len))
        {}",
        guest::place(guest::DATA + 24, state.len()),
        at + 8,
        guest::place(guest::DATA, guest.data.len() - state.len()),
    );
    let plugin = guest.load();
    let mut operator = start(&plugin);
    let before = |operator: &mut Operator| {
        let state = operator.snapshot().unwrap();
        state[8..][..u64::from_le_bytes(state[..8].try_into().unwrap()) as usize].to_vec()
    };
    let asked = before(&mut operator);
    let message = read(&asked).unwrap();
    let root = message.get_root::<request_of::Reader<'_>>().unwrap();
    let request_of::Start(started) = root.which().unwrap() else { panic!() };
    let started = started.unwrap();
    assert_eq!(started.get_operator().unwrap(), "all");
    let values: Vec<_> = started.get_parameters().unwrap().iter().collect();
    let values: Vec<_> = values
        .iter()
        .map(|value| {
            (value.get_name().unwrap().to_str().unwrap(), value.get_value().unwrap().to_str().unwrap())
        })
        .collect();
    assert_eq!(values, [("above", "0"), ("key", "00ff"), ("count", "3")]);
    operator.restore(&[1, 2, 3, 4, 5, 6, 7, 8, 9]).unwrap();
    let asked = before(&mut operator);
    let message = read(&asked).unwrap();
    let root = message.get_root::<request_of::Reader<'_>>().unwrap();
    let request_of::Restore(state) = root.which().unwrap() else { panic!() };
    assert_eq!(state.unwrap(), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

fn fault_of(emitted: &[u8]) -> String {
    let plugin = answering(emitted).load();
    let mut operator = start(&plugin);
    let error = operator.on_watermark(1).unwrap_err();
    println!("{error}");
    let CallError::Fault { fault: Fault::Reply(what), .. } = error else { panic!("{error}") };
    assert!(matches!(operator.on_watermark(1), Err(CallError::Lost { .. })));
    assert!(matches!(operator.snapshot(), Err(CallError::Lost { .. })));
    what
}

#[test]
fn what_is_emitted_and_not_claimed_is_a_fault_and_the_operator_is_lost() {
    let of =
        |port: u16, rows: u32, fill: &dyn Fn(mainstem_plugin_abi::plugin_capnp::port_batch::Builder<'_>)| {
            fault_of(&emitting(|reply| {
                let mut batch = reply.init_emitted(1).get(0);
                batch.set_port(port);
                batch.reborrow().init_timestamps(rows);
                fill(batch);
            }))
        };
    assert!(of(2, 0, &|_| ()).contains("2 outputs, and none is 2"));
    assert!(
        of(0, 1, &|batch| {
            batch.init_events(1);
        })
        .contains("has columns")
    );
    assert!(
        of(1, 1, &|batch| {
            batch.init_columns(1);
        })
        .contains("whole events")
    );
    assert!(
        of(1, 2, &|batch| {
            batch.init_events(1);
        })
        .contains("1 events for 2 timestamps")
    );
    assert!(
        of(0, 1, &|batch| {
            batch.init_columns(3);
        })
        .contains("3 columns, and it has 4")
    );
    assert!(
        of(0, 1, &|batch| {
            batch.init_columns(4);
        })
        .contains("c-int64 has 0 values for 1 rows")
    );
    assert!(
        of(0, 1, &|batch| {
            let mut columns = batch.init_columns(4);
            columns.reborrow().get(0).init_float64(1);
        })
        .contains("c-int64 is float64")
    );
    assert!(fault_of(&reply(|mut reply| reply.set_done(()))).contains("nothing that is emitted"));
}

#[test]
fn text_that_is_no_utf_8_is_a_fault() {
    let mut emitted = emit_rows();
    let at = emitted.windows(6).position(|bytes| bytes == "zwölf".as_bytes()).unwrap();
    emitted[at + 3] = 0;
    assert!(fault_of(&emitted).contains("UTF-8"));
}

#[test]
fn rows_that_do_not_fit_an_input_do_not_reach_the_plugin() {
    let plugin = answering(&emit_rows()).load();
    let mut operator = start(&plugin);
    let mut short = rows();
    short.timestamps.pop();
    for (port, rows) in [(2, rows()), (0, events()), (1, rows()), (0, short)] {
        let error = operator.on_batch(port, &rows).unwrap_err();
        assert!(matches!(error, CallError::Asked { .. }), "{error}");
    }
    assert_eq!(plugin.counters().calls, 1);
    operator.on_batch(0, &rows()).unwrap();
}

#[test]
fn parameters_that_are_not_claimed_or_not_of_their_type_do_not_reach_the_plugin() {
    let plugin = answering(&[]).load();
    let fault = |parameters: &[(&str, &str)]| {
        let given = parameters.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        plugin.operator("all", &given).unwrap_err().to_string()
    };
    assert!(fault(&[]).contains("count of all has no default"));
    assert!(fault(&[("count", "3"), ("below", "3")]).contains("no parameter \"below\""));
    assert!(fault(&[("count", "three")]).contains("not a whole number"));
    assert!(fault(&[("count", "3"), ("above", "high")]).contains("not a number"));
    assert!(fault(&[("count", "3"), ("key", "0F")]).contains("lower case"));
    assert!(plugin.operator("none", &BTreeMap::new()).unwrap_err().to_string().contains("but all"));
    assert_eq!(plugin.counters().calls, 0);
}

#[test]
fn a_start_that_the_plugin_refuses_is_its_answer() {
    let failed = reply(|reply| {
        let mut failed = reply.init_failed();
        failed.set_code(FailureCode::Invalid);
        failed.set_message("count must be even");
    });
    let mut guest = answering(&[]);
    (guest.call, guest.data) = (guest::place(guest::DATA, failed.len()), failed);
    let plugin = guest.load();
    let given = BTreeMap::from([("count".into(), "3".into())]);
    let error = plugin.operator("all", &given).unwrap_err();
    assert!(matches!(error, CallError::Failed { code: FailureCode::Invalid, .. }), "{error}");
    assert_eq!(plugin.counters().instances, 0, "the one of loading went for it");
}

#[test]
fn a_plugin_of_operators_is_no_signature_scheme() {
    let plugin = answering(&[]).load();
    assert!(matches!(plugin.verify(&[]), Err(CallError::Asked { .. })));
    assert!(mainstem_plugin_host::SignaturePlugin::new(plugin).is_none());
}
