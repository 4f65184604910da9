//! What the suite of the node's store does not show of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mainstem_plugin_memory::Plugin;
use mainstem_plugin_sdk::{FailureCode, Query, Record, harness::Harness};

fn started(bytes_max: &str) -> Harness<Plugin> {
    let mut plugin = Harness::<Plugin>::default();
    plugin.start("", &[("bytes_max", bytes_max)]).unwrap();
    plugin
}

#[test]
fn records_up_to_the_bound_are_kept_and_what_is_trimmed_makes_room() {
    let mut plugin = started("200");
    let record = |place| Record { place, timestamp: 7, value: &[1; 36] };
    plugin.append(&[record(1), record(2)]).unwrap();
    let full = plugin.append(&[record(3)]).unwrap_err();
    assert!(full.code == FailureCode::Limit && full.message.contains("bytes_max, 200"), "{full}");
    plugin.trim(&[1, 9]).unwrap();
    plugin.append(&[record(3)]).unwrap();
    plugin.sync().unwrap();
    let query = Query { from: 0, until: 10, records_max: 9, bytes_max: 999, prefix_bytes: 4 };
    let found = plugin.query(&query).unwrap();
    let places: Vec<_> = found.records.iter().map(|record| (record.place, record.value.len())).collect();
    assert_eq!((places, found.next), (vec![(2, 4), (3, 4)], 10));
    let found = plugin.query(&Query { records_max: 1, ..query }).unwrap();
    assert_eq!((found.records.len(), found.next), (1, 3));
}

#[test]
fn a_bound_that_is_none_is_refused_by_its_name() {
    for wrong in ["-1", "", "x"] {
        let refused = Harness::<Plugin>::default().start("", &[("bytes_max", wrong)]).unwrap_err();
        assert!(refused.code == FailureCode::Invalid && refused.message.contains("bytes_max"), "{refused}");
    }
}
