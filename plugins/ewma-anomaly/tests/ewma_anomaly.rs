//! Which rows are given, and that a restored operator goes on as the one before.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mainstem_plugin_ewma_anomaly::Plugin;
use mainstem_plugin_sdk::{FailureCode, RowContent, RowValues, Rows, harness::Harness};
use proptest::prelude::*;

const PARAMETERS: [(&str, &str); 3] = [("alpha", "0.25"), ("threshold", "3"), ("warm_up", "8")];

fn anomalies() -> Harness<Plugin> {
    let mut harness = Harness::default();
    harness.start("ewma-anomaly", &PARAMETERS).unwrap();
    harness
}

fn rows(values: &[f64]) -> Rows {
    Rows::columns(0, (0..).take(values.len()).collect(), vec![RowValues::Float64(values.to_vec())])
}

/// Timestamps and values of what is given.
fn given(harness: &mut Harness<Plugin>, values: &[f64]) -> Vec<(i64, f64)> {
    let mut found = Vec::new();
    for rows in harness.on_batch(&rows(values)).unwrap() {
        let RowContent::Columns(columns) = rows.content else { panic!("they are columns") };
        assert_eq!(columns.len(), 3);
        let RowValues::Float64(values) = &columns[0] else { panic!("values are numbers") };
        found.extend(rows.timestamps.into_iter().zip(values.iter().copied()));
    }
    found
}

#[test]
fn a_row_far_from_the_mean_is_given_and_the_others_are_not() {
    let mut values: Vec<f64> = (0..40).map(|index| f64::from(index % 3)).collect();
    values[30] = 50.0;
    assert_eq!(given(&mut anomalies(), &values), [(30, 50.0)]);
}

#[test]
fn nothing_is_judged_before_the_warm_up() {
    let values = [1.0, 1.0, 9.0, 1.0, 1.0, 1.0, 1.0, 1.0, 900.0];
    assert_eq!(given(&mut anomalies(), &values), [(8, 900.0)]);
    assert_eq!(given(&mut anomalies(), &values[..8]), []);
}

#[test]
fn what_is_not_finite_is_left_out() {
    let mut values = vec![1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0, f64::NAN, f64::INFINITY, 1.5];
    assert_eq!(given(&mut anomalies(), &values), []);
    values.push(99.0);
    assert_eq!(given(&mut anomalies(), &values), [(11, 99.0)]);
}

#[test]
fn a_parameter_out_of_its_bounds_is_told_by_its_name() {
    for (name, value) in [("alpha", "0"), ("alpha", "1.5"), ("threshold", "-1"), ("warm_up", "-1")] {
        let parameters =
            PARAMETERS.map(|(given, default)| (given, if given == name { value } else { default }));
        let failure = Harness::<Plugin>::default().start("ewma-anomaly", &parameters).unwrap_err();
        assert_eq!(failure.code, FailureCode::Invalid);
        assert!(failure.message.starts_with(&format!("the parameter {name} is {value}; it must be")));
    }
}

#[test]
fn a_state_that_is_none_is_refused_and_nothing_changes() {
    let mut before = anomalies();
    before.on_batch(&rows(&[1.0, 2.0])).unwrap();
    let state = before.snapshot().unwrap();
    let mut nan = state.clone();
    nan[9..17].copy_from_slice(&f64::NAN.to_le_bytes());
    for wrong in [&state[..24], &[&state[..], &[0]].concat(), &nan, &[]] {
        assert_eq!(before.restore(wrong).unwrap_err().code, FailureCode::Invalid);
    }
    assert_eq!(before.snapshot().unwrap(), state);
}

proptest! {
    #[test]
    fn a_restored_operator_goes_on_as_the_one_before(
        first in prop::collection::vec(any::<f64>(), 0..30),
        second in prop::collection::vec(-10.0..10.0, 0..30),
    ) {
        let mut before = anomalies();
        before.on_batch(&rows(&first)).unwrap();
        let mut after = anomalies();
        after.restore(&before.snapshot().unwrap()).unwrap();
        prop_assert_eq!(before.on_batch(&rows(&second)), after.on_batch(&rows(&second)));
        prop_assert_eq!(before.snapshot(), after.snapshot());
    }
}
