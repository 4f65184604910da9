//! What passes the filters.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mainstem_plugin_filter::Plugin;
use mainstem_plugin_sdk::{FailureCode, RowValues, Rows, harness::Harness};
use proptest::prelude::*;

fn filter(above: &str) -> Harness<Plugin> {
    let mut harness = Harness::default();
    harness.start("filter", &[("above", above)]).unwrap();
    harness
}

fn rows(values: &[f64]) -> Rows {
    Rows::columns(0, (0..).take(values.len()).collect(), vec![RowValues::Float64(values.to_vec())])
}

#[test]
fn rows_above_the_threshold_pass_with_their_timestamps() {
    let mut filter = filter("1.5");
    let passed = filter.on_batch(&rows(&[1.0, 2.0, 1.5, f64::NAN, f64::INFINITY])).unwrap();
    let expected = Rows::columns(0, vec![1, 4], vec![RowValues::Float64(vec![2.0, f64::INFINITY])]);
    assert_eq!(passed, [expected]);
}

#[test]
fn nothing_goes_out_if_no_row_passes() {
    assert_eq!(filter("0").on_batch(&rows(&[-1.0])).unwrap(), []);
    assert_eq!(filter("0").on_batch(&rows(&[])).unwrap(), []);
    assert_eq!(filter("0").on_watermark(7).unwrap(), []);
}

#[test]
fn a_threshold_that_is_no_number_is_told_by_its_name() {
    for (parameters, said) in [
        (vec![("above", "high")], "the parameter above is \"high\"; it must be a number, such as 0.5"),
        (vec![], "the parameter above is missing; give it a value"),
    ] {
        let failure = Harness::<Plugin>::default().start("filter", &parameters).unwrap_err();
        assert_eq!((failure.code, failure.message.as_str()), (FailureCode::Invalid, said));
    }
}

#[test]
fn columns_that_are_not_those_of_the_manifest_are_refused() {
    let whole = Rows::columns(0, vec![1], vec![RowValues::Int64(vec![1])]);
    assert_eq!(filter("0").on_batch(&whole).unwrap_err().code, FailureCode::Invalid);
    let events = Rows::events(0, vec![1], vec![(0, vec![1])]);
    assert_eq!(filter("0").on_batch(&events).unwrap_err().code, FailureCode::Invalid);
}

#[test]
fn events_of_the_content_type_pass_as_they_are_and_others_do_not() {
    let mut of_type = Harness::<Plugin>::default();
    of_type.start("of-type", &[("content_type", "2")]).unwrap();
    let events = vec![(2, vec![1]), (1, vec![2]), (2, vec![]), (0, vec![3])];
    let passed = of_type.on_batch(&Rows::events(0, vec![7, 8, 9, 10], events)).unwrap();
    assert_eq!(passed, [Rows::events(0, vec![7, 9], vec![(2, vec![1]), (2, vec![])])]);
    assert_eq!(of_type.on_batch(&Rows::events(0, vec![7], vec![(3, vec![])])).unwrap(), []);
    assert_eq!(of_type.on_batch(&rows(&[1.0])).unwrap_err().code, FailureCode::Invalid);
    for given in ["-1", "65536"] {
        let refused = Harness::<Plugin>::default().start("of-type", &[("content_type", given)]).unwrap_err();
        assert_eq!(refused.code, FailureCode::Invalid);
        assert!(refused.message.contains("it must be 0 to 65535"), "{refused:?}");
    }
}

proptest! {
    #[test]
    fn a_restored_filter_goes_on_as_the_one_before(values in prop::collection::vec(any::<f64>(), 0..50)) {
        let mut before = filter("0.5");
        let mut after = filter("0.5");
        after.restore(&before.snapshot().unwrap()).unwrap();
        prop_assert_eq!(before.on_batch(&rows(&values)), after.on_batch(&rows(&values)));
    }
}
