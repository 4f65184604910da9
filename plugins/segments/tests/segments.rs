//! What the power, a cut write and a flipped bit do to segments, and that all else tells what a plain list tells.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mainstem_plugin_sdk::{
    FailureCode, KeptRecord, Query, Record,
    harness::{Files, Harness, Node},
};
use mainstem_plugin_segments::Plugin;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

type Kept = BTreeMap<u64, Vec<u8>>;

const ALL: Query =
    Query { from: 0, until: u64::MAX, records_max: 5, bytes_max: 3_000, prefix_bytes: usize::MAX };

fn started(files: Files, segment_bytes: &str) -> Harness<Plugin> {
    let mut plugin = Harness::<Plugin>::new(Node { files, ..Node::default() });
    plugin.start("", &[("segment_bytes", segment_bytes)]).unwrap();
    plugin
}

/// It is started again over the files that it has.
fn restarted(plugin: &Harness<Plugin>) -> Harness<Plugin> {
    started(plugin.node.files.clone(), "2000")
}

fn append(plugin: &mut Harness<Plugin>, records: &Kept) {
    let records: Vec<_> = records
        .iter()
        .map(|(place, value)| Record { place: *place, timestamp: -(*place as i64), value })
        .collect();
    plugin.append(&records).unwrap();
}

/// All records, and the damaged places.
fn all(plugin: &mut Harness<Plugin>) -> (Kept, BTreeSet<u64>) {
    let (mut query, mut kept, mut damaged) = (ALL, Kept::new(), BTreeSet::new());
    while query.from < query.until {
        let found = plugin.query(&query).unwrap();
        assert!(found.next > query.from && found.records.len() + found.damaged.len() <= query.records_max);
        for KeptRecord { place, timestamp, value } in found.records {
            assert!((query.from..found.next).contains(&place) && timestamp == -(place as i64));
            kept.insert(place, value);
        }
        damaged.extend(found.damaged);
        query.from = found.next;
    }
    (kept, damaged)
}

/// The value that a place has in these tests: of many lengths, some of which pack well.
fn value(place: u64) -> Vec<u8> {
    let length = [0, 1, 40, 700, 90_000][(place % 9 / 2) as usize];
    if place.is_multiple_of(2) {
        return vec![place as u8; length / 10];
    }
    let mut state = place.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(length / 10)
    .collect()
}

#[derive(Clone, Debug)]
enum Step {
    Append(u8),
    Trim(Vec<u16>),
    Sync,
    Restart,
    CutPower,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => any::<u8>().prop_map(Step::Append),
        3 => proptest::collection::vec(any::<u16>(), 0..40).prop_map(Step::Trim),
        2 => Just(Step::Sync),
        1 => Just(Step::Restart),
        1 => Just(Step::CutPower),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_and_whenever_the_power_fails_what_is_kept_is_what_was_asked_for(steps in steps()) {
        let mut plugin = started(Files::default(), "2000");
        // What must be there now; what the power cannot take; what was trimmed since.
        let (mut kept, mut durable, mut trimmed) = (Kept::new(), Kept::new(), BTreeSet::new());
        let mut next = 1;
        for step in steps {
            match step {
                Step::Append(count) => {
                    // Places leap now and then, as where a node is started.
                    next += u64::from(count) * u64::from(count % 3);
                    let records: Kept = (next..next + u64::from(count % 50)).map(|place| (place, value(place))).collect();
                    next += records.len() as u64;
                    append(&mut plugin, &records);
                    kept.extend(records);
                }
                Step::Trim(some) => {
                    let places: Vec<_> = kept.keys().copied().collect();
                    let gone: BTreeSet<u64> = some
                        .iter()
                        .filter(|_| !places.is_empty())
                        .flat_map(|at| {
                            let at = usize::from(*at) % places.len();
                            places[at..places.len().min(at + 20)].to_vec()
                        })
                        .collect();
                    plugin.trim(&gone.iter().copied().collect::<Vec<_>>()).unwrap();
                    kept.retain(|place, _| !gone.contains(place));
                    trimmed.extend(gone);
                }
                Step::Sync => {
                    plugin.sync().unwrap();
                    (durable, trimmed) = (kept.clone(), BTreeSet::new());
                }
                Step::Restart => plugin = restarted(&plugin),
                Step::CutPower => {
                    plugin = started(plugin.node.files.without_power(), "2000");
                    let (found, damaged) = all(&mut plugin);
                    prop_assert!(damaged.is_empty(), "{damaged:?}");
                    for (place, value) in &durable {
                        prop_assert!(trimmed.contains(place) || found.get(place) == Some(value), "{place} is gone");
                    }
                    for (place, found) in &found {
                        let may = kept.contains_key(place) || trimmed.contains(place);
                        prop_assert!(may && *found == value(*place), "{place} should not be there");
                    }
                    next = next.max(found.last_key_value().map_or(0, |(place, _)| place + 1));
                    (kept, durable, trimmed) = (found.clone(), found, BTreeSet::new());
                }
            }
            let (found, damaged) = all(&mut plugin);
            prop_assert!(damaged.is_empty() && found == kept, "{:?}", damaged);
            let backwards: Vec<_> = kept.keys().rev().copied().chain([0, next]).collect();
            let fetched = plugin.fetch(&backwards).unwrap();
            prop_assert!(fetched.damaged.is_empty());
            let fetched: Vec<_> = fetched.records.into_iter().map(|record| (record.place, record.value)).collect();
            prop_assert_eq!(fetched, kept.clone().into_iter().rev().collect::<Vec<_>>());
        }
    }
}

fn filled(places: std::ops::Range<u64>) -> Harness<Plugin> {
    let mut plugin = started(Files::default(), "2000");
    for place in places {
        append(&mut plugin, &Kept::from([(place, value(place))]));
    }
    plugin.sync().unwrap();
    plugin
}

fn last_segment(plugin: &Harness<Plugin>) -> String {
    let now = plugin.node.files.now.borrow();
    now.keys().rfind(|name| name.ends_with(".seg")).unwrap().clone()
}

#[test]
fn a_write_that_is_cut_short_anywhere_leaves_all_before_it_and_room_for_what_comes() {
    let mut plugin = filled(1..30);
    let (name, kept) = (last_segment(&plugin), all(&mut plugin).0);
    let before = plugin.node.files.now.borrow()[&name].len();
    append(&mut plugin, &(40..45).map(|place| (place, value(place))).collect());
    assert_eq!(last_segment(&plugin), name, "it goes into the same file");
    let whole = plugin.node.files.now.borrow()[&name].clone();
    for length in before..whole.len() {
        let files = plugin.node.files.clone();
        files.now.borrow_mut().insert(name.clone(), whole[..length].to_vec());
        let mut plugin = started(files, "2000");
        assert_eq!(all(&mut plugin), (kept.clone(), BTreeSet::new()), "{length} bytes");
        append(&mut plugin, &Kept::from([(50, value(50))]));
        let mut plugin = restarted(&plugin);
        assert_eq!(all(&mut plugin).0.len(), kept.len() + 1, "{length} bytes");
    }
}

#[test]
fn a_bit_that_flips_is_told_by_its_place_and_nothing_else_is_lost() {
    let mut plugin = filled(1..80);
    let (kept, _) = all(&mut plugin);
    let files = plugin.node.files.clone();
    let names: Vec<_> = files.now.borrow().keys().cloned().collect();
    assert!(names.len() > 3, "{names:?}");
    for name in &names[..names.len() - 1] {
        let length = files.now.borrow()[name].len();
        // Every third, which meets each field of a frame.
        for byte in (0..length).step_by(3) {
            files.now.borrow_mut().get_mut(name).unwrap()[byte] ^= 4;
            let mut plugin = started(files.clone(), "2000");
            let (found, damaged) = all(&mut plugin);
            let lost: Vec<_> = kept.keys().filter(|place| !found.contains_key(place)).copied().collect();
            assert!(lost.len() == 1 && damaged.contains(&lost[0]), "{name} {byte}: {lost:?}, {damaged:?}");
            assert!(found.iter().all(|(place, found)| kept[place] == *found));
            let fetched = plugin.fetch(&lost).unwrap();
            assert!(fetched.records.is_empty() && fetched.damaged == lost, "{name} {byte}");
            files.now.borrow_mut().get_mut(name).unwrap()[byte] ^= 4;
        }
    }
}

#[test]
fn what_cannot_be_read_stays_where_it_is_when_all_around_it_is_trimmed() {
    let plugin = filled(1..80);
    let name = plugin.node.files.now.borrow().keys().next().unwrap().clone();
    let whole = plugin.node.files.now.borrow()[&name].clone();
    let begins: Vec<_> = (0..whole.len()).filter(|at| whole[*at..].starts_with(b"MSF1")).collect();
    // In the values of place 4; in the head of the frame of place 4.
    for (byte, is_named) in [(begins[4] - 1, true), (begins[3] + 20, false)] {
        let files = plugin.node.files.clone();
        files.now.borrow_mut().get_mut(&name).unwrap()[byte] ^= 1;
        let mut plugin = started(files, "2000");
        assert_eq!(all(&mut plugin).1, BTreeSet::from([4]));
        for place in (1..80).filter(|place| *place != 4) {
            plugin.trim(&[place]).unwrap();
        }
        plugin.sync().unwrap();
        let mut plugin = restarted(&plugin);
        let (kept, damaged) = all(&mut plugin);
        // Of a frame without a head nobody knows the places.
        assert!(kept.is_empty() && damaged.len() == 1 && (!is_named || damaged.contains(&4)), "{damaged:?}");
        assert!(plugin.node.files.now.borrow()[&name].len() < whole.len() / 2, "what was around it has gone");
    }
}

#[test]
fn trimming_gives_room_back_and_files_go_with_their_last_record() {
    let mut plugin = filled(1..200);
    let bytes =
        |plugin: &Harness<Plugin>| plugin.node.files.now.borrow().values().map(Vec::len).sum::<usize>();
    let full = bytes(&plugin);
    let odd: Vec<_> = (1..200).filter(|place| place % 4 > 0).collect();
    for places in odd.chunks(10) {
        plugin.trim(places).unwrap();
    }
    plugin.sync().unwrap();
    assert!(bytes(&plugin) < full * 6 / 10, "{} of {full} are left", bytes(&plugin));
    let full = bytes(&plugin);
    let mut plugin = restarted(&plugin);
    plugin.trim(&(1..200).filter(|place| place % 8 > 0).collect::<Vec<_>>()).unwrap();
    // One segment at a time, as long as the node lives.
    for _ in 0..30 {
        plugin.sync().unwrap();
    }
    assert!(bytes(&plugin) < full * 8 / 10, "{} of {full} are left", bytes(&plugin));
    assert_eq!(all(&mut plugin).0.len(), 200 / 8 - 1);
    plugin.trim(&(1..200).collect::<Vec<_>>()).unwrap();
    plugin.sync().unwrap();
    let mut plugin = restarted(&plugin);
    assert_eq!(all(&mut plugin).0.len(), 0);
    assert!(plugin.node.files.now.borrow().len() <= 2, "{:?}", plugin.node.files.now.borrow().keys());
    append(&mut plugin, &Kept::from([(300, value(300))]));
    assert_eq!(all(&mut restarted(&plugin)).0.len(), 1);
}

#[test]
fn places_that_go_back_and_segments_of_no_size_are_refused() {
    let mut plugin = filled(1..10);
    let refused = plugin.append(&[Record { place: 9, timestamp: 0, value: b"" }]).unwrap_err();
    assert!(refused.code == FailureCode::Invalid && refused.message.contains("place 9"), "{refused}");
    for wrong in ["0", "-1", "3145729", "x"] {
        let refused = Harness::<Plugin>::default().start("", &[("segment_bytes", wrong)]).unwrap_err();
        assert!(refused.message.contains("segment_bytes"), "{refused}");
    }
}

#[test]
fn without_files_it_does_not_start() {
    let node = Node { granted: Vec::new(), ..Node::default() };
    let refused = Harness::<Plugin>::new(node).start("", &[("segment_bytes", "2000")]).unwrap_err();
    assert!(refused.code == FailureCode::Denied && refused.message.contains("blob"), "{refused}");
}
