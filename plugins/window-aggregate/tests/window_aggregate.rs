//! Which rows a window counts, when it is given, and that a restored operator goes on as the one before.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mainstem_plugin_sdk::{FailureCode, RowValues, Rows, harness::Harness};
use mainstem_plugin_window_aggregate::Plugin;
use proptest::prelude::*;

fn windows(window_ms: &str) -> Harness<Plugin> {
    let mut harness = Harness::default();
    harness.start("window-aggregate", &[("window_ms", window_ms)]).unwrap();
    harness
}

fn rows(rows: &[(i64, f64)]) -> Rows {
    let (timestamps, values) = rows.iter().copied().unzip();
    Rows::columns(0, timestamps, vec![RowValues::Float64(values)])
}

/// Last ms, count, sum, min, max and mean of a window.
type Aggregate = (i64, i64, f64, f64, f64, f64);

fn aggregates(of: &[Aggregate]) -> Vec<Rows> {
    let numbers = |at: fn(&Aggregate) -> f64| RowValues::Float64(of.iter().map(at).collect::<Vec<_>>());
    let columns = vec![
        RowValues::Int64(of.iter().map(|row| row.1).collect()),
        numbers(|row| row.2),
        numbers(|row| row.3),
        numbers(|row| row.4),
        numbers(|row| row.5),
    ];
    Rows::columns(0, of.iter().map(|row| row.0).collect(), columns).if_any()
}

#[test]
fn a_window_is_given_once_as_the_watermark_passes_its_end() {
    let mut windows = windows("10");
    assert_eq!(windows.on_batch(&rows(&[(0, 1.0), (19, 5.0), (9, 3.0), (10, -2.0)])), Ok(vec![]));
    assert_eq!(windows.on_watermark(9), Ok(vec![]));
    assert_eq!(windows.on_watermark(10), Ok(aggregates(&[(9, 2, 4.0, 1.0, 3.0, 2.0)])));
    assert_eq!(windows.on_watermark(10), Ok(vec![]));
    assert_eq!(windows.on_watermark(500), Ok(aggregates(&[(19, 2, 3.0, -2.0, 5.0, 1.5)])));
}

#[test]
fn windows_before_1970_and_at_the_ends_of_time_have_their_place() {
    let mut windows = windows("10");
    windows.on_batch(&rows(&[(-1, 1.0), (-10, 2.0), (i64::MIN, 3.0), (i64::MAX, 4.0)])).unwrap();
    let first = (i64::MIN.div_euclid(10) + 1) * 10 - 1;
    let expected = aggregates(&[(first, 1, 3.0, 3.0, 3.0, 3.0), (-1, 2, 3.0, 1.0, 2.0, 1.5)]);
    assert_eq!(windows.on_watermark(0), Ok(expected));
}

#[test]
fn what_comes_too_late_and_what_is_no_number_is_left_out() {
    let mut windows = windows("10");
    windows.on_watermark(10).unwrap();
    windows.on_batch(&rows(&[(9, 1.0), (10, f64::NAN), (11, 2.0)])).unwrap();
    assert_eq!(windows.on_watermark(20), Ok(aggregates(&[(19, 1, 2.0, 2.0, 2.0, 2.0)])));
}

#[test]
fn a_batch_that_opens_too_many_windows_is_refused_as_a_whole() {
    let mut windows = windows("1");
    let many: Vec<_> = (0..16_384).map(|time| (time, 1.0)).collect();
    windows.on_batch(&rows(&many[1..])).unwrap();
    let before = windows.snapshot().unwrap();
    let failure = windows.on_batch(&rows(&[(5, 1.0), (16_384, 1.0), (16_385, 1.0)])).unwrap_err();
    assert_eq!(failure.code, FailureCode::Limit);
    assert_eq!(windows.snapshot().unwrap(), before);
    windows.on_batch(&rows(&[(16_384, 1.0)])).unwrap();
}

#[test]
fn a_window_that_cannot_be_is_told_by_its_name() {
    for window_ms in ["0", "-1", "1.5", ""] {
        let mut harness = Harness::<Plugin>::default();
        let failure = harness.start("window-aggregate", &[("window_ms", window_ms)]).unwrap_err();
        assert_eq!(failure.code, FailureCode::Invalid);
        assert!(failure.message.contains("window_ms"), "{}", failure.message);
    }
}

#[test]
fn a_state_that_is_none_is_refused_and_nothing_changes() {
    let mut before = windows("10");
    before.on_batch(&rows(&[(1, 1.0), (11, 2.0)])).unwrap();
    let state = before.snapshot().unwrap();
    for len in 0..state.len() {
        assert_eq!(before.restore(&state[..len]).unwrap_err().code, FailureCode::Invalid);
    }
    let twice = [&state[..25], &state[25..65], &state[25..65]].concat();
    assert_eq!(before.restore(&twice).unwrap_err().code, FailureCode::Invalid);
    assert_eq!(before.restore(&[&state[..], &[0]].concat()).unwrap_err().code, FailureCode::Invalid);
    assert_eq!(windows("20").restore(&state).unwrap_err().code, FailureCode::Invalid);
    assert_eq!(before.snapshot().unwrap(), state);
}

#[derive(Clone, Debug)]
enum Step {
    Batch(Vec<(i64, f64)>),
    Watermark(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        prop::collection::vec((-100..100_i64, any::<f64>()), 0..20).prop_map(Step::Batch),
        (-100..100_i64).prop_map(Step::Watermark),
    ]
}

fn take(harness: &mut Harness<Plugin>, step: &Step) -> String {
    let given = match step {
        Step::Batch(batch) => harness.on_batch(&rows(batch)),
        Step::Watermark(time) => harness.on_watermark(*time),
    };
    // A sum can be NaN, which equals nothing; written out it does.
    format!("{given:?}")
}

proptest! {
    #[test]
    fn a_restored_operator_goes_on_as_the_one_before(
        first in prop::collection::vec(step(), 0..10),
        second in prop::collection::vec(step(), 0..10),
    ) {
        let mut before = windows("7");
        for step in &first {
            take(&mut before, step);
        }
        let mut after = windows("7");
        after.restore(&before.snapshot().unwrap()).unwrap();
        for step in &second {
            prop_assert_eq!(take(&mut before, step), take(&mut after, step));
        }
        prop_assert_eq!(before.snapshot(), after.snapshot());
    }
}
