//! The operators of this repository, as `tools/plugins.sh` builds them, give the rows that they should.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mainstem_plugin_host::{
    CallError, Column, Compiler, Config, Emitted, FailureCode, Grants, Host, Operator, Rows, Values,
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

fn start(module: &str, name: &str, parameters: &[(&str, &str)]) -> Result<Operator, CallError> {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    let path = target.join("plugins").join(format!("{module}.wasm"));
    let module = fs::read(&path);
    let module = module.unwrap_or_else(|_| panic!("{} is missing: run tools/plugins.sh", path.display()));
    // Machines that do other things too are slow at times.
    let ms = 10_000;
    let config = Config { deadline_ms_default: ms, deadline_ms_max: ms, ..Config::default() };
    let host = Host::new(config, None, Compiler::InProcess).unwrap();
    let plugin = host.load(&module, Grants::default()).unwrap();
    let given: BTreeMap<_, _> =
        parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    plugin.operator(name, &given)
}

fn windows() -> Operator {
    start("window-aggregate", "window-aggregate", &[("window_ms", "10")]).unwrap()
}

fn anomalies(warm_up: &str) -> Operator {
    let parameters = [("alpha", "0.5"), ("threshold", "3"), ("warm_up", warm_up)];
    start("ewma-anomaly", "ewma-anomaly", &parameters).unwrap()
}

/// Rows of an input with one column of numbers.
fn rows(of: &[(i64, f64)]) -> Rows {
    let (timestamps, values) = of.iter().copied().unzip();
    Rows { timestamps, values: Values::Columns(vec![Column::Float64(values)]) }
}

/// What is emitted at the first output.
fn emitted(timestamps: &[i64], columns: Vec<Column>) -> Vec<Emitted> {
    let rows = Rows { timestamps: timestamps.to_vec(), values: Values::Columns(columns) };
    vec![Emitted { port: 0, rows }]
}

/// A window's last ms, and its count, sum, min, max and mean.
fn window(last_ms: i64, count: i64, numbers: [f64; 4]) -> Vec<Emitted> {
    let numbers = numbers.map(|number| Column::Float64(vec![number]));
    emitted(&[last_ms], [vec![Column::Int64(vec![count])], numbers.to_vec()].concat())
}

/// An anomaly's time, and its value, mean and score.
fn anomaly(time: i64, numbers: [f64; 3]) -> Vec<Emitted> {
    emitted(&[time], numbers.map(|number| Column::Float64(vec![number])).to_vec())
}

#[test]
fn scale_multiplies_every_number_and_leaves_the_timestamps() {
    let mut scale = start("scale-as", "scale", &[("factor", "2")]).unwrap();
    let times = [7, -3, i64::MIN, i64::MAX, 0, 0, 1];
    let numbers = [1.5, -2.25, 0.0, -0.0, f64::MAX, f64::NEG_INFINITY, f64::NAN];
    let given: Vec<_> = times.into_iter().zip(numbers).collect();
    let found = scale.on_batch(0, &rows(&given)).unwrap();
    let [Emitted { port: 0, rows: Rows { timestamps, values: Values::Columns(columns) } }] = &found[..]
    else {
        panic!("{found:?}")
    };
    assert_eq!(timestamps[..], times);
    let [Column::Float64(doubled)] = &columns[..] else { panic!("{columns:?}") };
    // By their bits, as the two zeros are equal. Which bits a NaN has is left open.
    let right = [3.0, -4.5, 0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY].map(f64::to_bits);
    assert_eq!(doubled[..6].iter().map(|number| number.to_bits()).collect::<Vec<_>>(), right);
    assert!(doubled.len() == 7 && doubled[6].is_nan(), "{doubled:?}");

    assert_eq!(scale.on_batch(0, &rows(&[])).unwrap(), []);
    assert_eq!(scale.on_watermark(i64::MAX).unwrap(), []);
    assert!(scale.snapshot().unwrap().is_empty());
}

#[test]
fn scale_has_1_for_a_factor_that_is_not_given_and_refuses_one_that_is_not_finite() {
    let mut scale = start("scale-as", "scale", &[]).unwrap();
    let right = emitted(&[5], vec![Column::Float64(vec![-2.5])]);
    assert_eq!(scale.on_batch(0, &rows(&[(5, -2.5)])).unwrap(), right);
    let refused = start("scale-as", "scale", &[("factor", "inf")]).unwrap_err();
    assert!(matches!(refused, CallError::Failed { code: FailureCode::Invalid, .. }), "{refused}");
}

#[test]
fn a_window_is_given_once_as_the_watermark_passes_its_end() {
    let mut windows = windows();
    let given = [(0, 1.0), (19, 5.0), (9, 3.0), (10, -2.0)];
    assert_eq!(windows.on_batch(0, &rows(&given)).unwrap(), []);
    assert_eq!(windows.on_watermark(9).unwrap(), []);
    assert_eq!(windows.on_watermark(10).unwrap(), window(9, 2, [4.0, 1.0, 3.0, 2.0]));
    assert_eq!(windows.on_watermark(10).unwrap(), []);
    // Too late, and no number.
    assert_eq!(windows.on_batch(0, &rows(&[(9, 7.0), (12, f64::NAN)])).unwrap(), []);
    assert_eq!(windows.on_watermark(500).unwrap(), window(19, 2, [3.0, -2.0, 5.0, 1.5]));
}

#[test]
fn a_window_before_1970_is_given_by_the_operator_that_was_restored() {
    let mut before = windows();
    assert_eq!(before.on_batch(0, &rows(&[(-1, 1.0), (-10, 2.0), (-11, 9.0)])).unwrap(), []);
    assert_eq!(before.on_watermark(-10).unwrap(), window(-11, 1, [9.0; 4]));
    let mut after = windows();
    after.restore(&before.snapshot().unwrap()).unwrap();
    for windows in [&mut before, &mut after] {
        assert_eq!(windows.on_watermark(-1).unwrap(), []);
        assert_eq!(windows.on_watermark(0).unwrap(), window(-1, 2, [3.0, 1.0, 2.0, 1.5]));
    }
}

#[test]
fn a_jump_after_rows_that_were_all_alike_is_given_with_its_mean_and_score() {
    let mut anomalies = anomalies("4");
    let alike: Vec<_> = (0..5).map(|time| (time, 3.0)).collect();
    assert_eq!(anomalies.on_batch(0, &rows(&alike)).unwrap(), []);
    assert_eq!(anomalies.on_batch(0, &rows(&[(5, f64::NAN), (6, f64::INFINITY)])).unwrap(), []);
    assert_eq!(anomalies.on_batch(0, &rows(&[(7, 3.5)])).unwrap(), anomaly(7, [3.5, 3.0, f64::INFINITY]));
    // It is learned from: the mean is 3.25 and the variance 1/16, then 1/32.
    assert_eq!(anomalies.on_batch(0, &rows(&[(8, 3.25)])).unwrap(), []);
    let score = 5.75 / 0.03125_f64.sqrt();
    assert_eq!(anomalies.on_batch(0, &rows(&[(9, 9.0)])).unwrap(), anomaly(9, [9.0, 3.25, score]));
    let score = -15.125 / 8.28125_f64.sqrt();
    assert_eq!(anomalies.on_batch(0, &rows(&[(10, -9.0)])).unwrap(), anomaly(10, [-9.0, 6.125, score]));
    assert_eq!(anomalies.on_watermark(11).unwrap(), []);
}

#[test]
fn a_jump_in_the_warm_up_is_not_given() {
    let given: Vec<_> = (0..6).map(|time| (time, if time == 5 { 3.5 } else { 3.0 })).collect();
    let right = anomaly(5, [3.5, 3.0, f64::INFINITY]);
    assert_eq!(anomalies("5").on_batch(0, &rows(&given)).unwrap(), right);
    assert_eq!(anomalies("6").on_batch(0, &rows(&given)).unwrap(), []);
}
