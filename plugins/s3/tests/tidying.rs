//! What is left over is tidied up a few requests at a time, and a kill between any two of them costs and brings back no record.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod in_memory;

use in_memory::{ALL, PARAMETERS, Shared, all, append, names, node, records, started};
use mainstem_plugin_s3::Plugin;
use mainstem_plugin_sdk::{FailureCode, LogLevel, Record, harness::Harness};

fn synced(plugin: &mut Harness<Plugin>, times: usize) {
    (0..times).for_each(|_| plugin.sync().unwrap());
}

fn places(server: &Shared) -> Vec<u64> {
    all(&mut started(server)).0.into_iter().map(|(place, _)| place).collect()
}

#[test]
fn small_neighbours_are_put_together_so_that_their_number_is_bounded_by_their_bytes() {
    let server = Shared::default();
    let mut plugin = started(&server);
    let places: Vec<u64> = (1..=2_000).collect();
    for place in &places {
        append(&mut plugin, &[*place]).unwrap();
        plugin.sync().unwrap();
    }
    let appended = server.borrow().asked.len();
    synced(&mut plugin, 9);
    assert!(names(&server).len() < 20, "{} objects", names(&server).len());
    assert!(appended < 2_000 * 3, "{appended} requests for 2,000 appends");
    let longest = server.borrow().objects.values().map(Vec::len).max().unwrap();
    assert!((50_000..1 << 20).contains(&longest), "{longest}");
    assert_eq!(all(&mut plugin), (records(&places), Vec::new()));
    assert_eq!(all(&mut started(&server)), (records(&places), Vec::new()));
    // Those of a bucket of before as well.
    let gone: Vec<u64> = places.iter().copied().filter(|place| place % 3 == 0).collect();
    plugin.trim(&gone).unwrap();
    synced(&mut plugin, 20);
    let left: Vec<u64> = places.iter().copied().filter(|place| place % 3 > 0).collect();
    assert_eq!(all(&mut plugin).0, records(&left));
    assert_eq!(all(&mut started(&server)).0, records(&left));
    plugin.trim(&left).unwrap();
    synced(&mut plugin, 20);
    assert_eq!(names(&server), Vec::<String>::new());
}

#[test]
fn a_kill_between_any_two_requests_of_tidying_up_leaves_each_record_once_and_trims_as_they_were() {
    let prepared = |server: &Shared| {
        let mut plugin = started(server);
        for first in (1..=64).step_by(4) {
            append(&mut plugin, &[first, first + 1, first + 2]).unwrap();
        }
        plugin
            .trim(&(1..=64).filter(|place| place % 7 < 2 || (40..48).contains(place)).collect::<Vec<_>>())
            .unwrap();
        plugin
    };
    let whole = Shared::default();
    synced(&mut prepared(&whole), 60);
    let expected = places(&whole);
    assert!(names(&whole).len() < 12, "{:?}", names(&whole));
    let requests = whole.borrow().asked.len();
    for until in 0..requests {
        let server = Shared::default();
        let mut plugin = prepared(&server);
        let begun = server.borrow().asked.len();
        if begun + until > requests {
            break;
        }
        // From then on nothing arrives any more.
        server.borrow_mut().ends_after = Some(begun + until);
        synced(&mut plugin, 60);
        server.borrow_mut().ends_after = None;
        drop(plugin);
        assert_eq!(places(&server), expected, "killed after {until} requests");
        // What is trimmed then stays away too, and all of it can be.
        let mut plugin = started(&server);
        plugin.trim(&[2, 3, 50, 51]).unwrap();
        let left: Vec<_> = expected.iter().copied().filter(|place| ![2, 3, 50, 51].contains(place)).collect();
        assert_eq!(places(&server), left, "killed after {until} requests");
        synced(&mut plugin, 90);
        assert_eq!(places(&server), left, "killed after {until} requests");
        plugin.trim(&left).unwrap();
        assert_eq!(places(&server), Vec::<u64>::new(), "killed after {until} requests");
    }
}

#[test]
fn what_is_put_together_without_an_answer_is_finished_before_anything_is_trimmed_of_it() {
    let server = Shared::default();
    let mut plugin = started(&server);
    (1..=10).for_each(|place| append(&mut plugin, &[place]).unwrap());
    // It is written, and the server is away before that is known.
    server.borrow_mut().unanswered = 3;
    plugin.sync().unwrap();
    assert_eq!(names(&server).len(), 11);
    plugin.trim(&[4, 5]).unwrap();
    assert_eq!(places(&server), [1, 2, 3, 6, 7, 8, 9, 10]);
    synced(&mut plugin, 20);
    assert_eq!(places(&server), [1, 2, 3, 6, 7, 8, 9, 10]);
    assert_eq!(names(&server).len(), 2, "{:?}", names(&server));
}

#[test]
fn what_is_deleted_does_not_come_back_from_what_it_was_put_together_of() {
    let server = Shared::default();
    let mut plugin = started(&server);
    (1..=10).for_each(|place| append(&mut plugin, &[place]).unwrap());
    // They are put together, and then nothing arrives any more.
    let begun = server.borrow().asked.len();
    server.borrow_mut().ends_after = Some(begun + 1);
    plugin.sync().unwrap();
    server.borrow_mut().ends_after = None;
    assert_eq!(names(&server).len(), 11);
    started(&server).trim(&(1..=10).collect::<Vec<_>>()).unwrap();
    assert_eq!(places(&server), Vec::<u64>::new());
}

#[test]
fn what_was_put_together_is_deleted_only_if_that_which_stands_for_it_can_be_read() {
    for damaged_byte in [20, usize::MAX] {
        let server = Shared::default();
        let mut plugin = started(&server);
        let places: Vec<u64> = (1..=10).collect();
        places.iter().for_each(|place| append(&mut plugin, &[*place]).unwrap());
        // They are put together, and then nothing arrives any more.
        let begun = server.borrow().asked.len();
        server.borrow_mut().ends_after = Some(begun + 1);
        plugin.sync().unwrap();
        server.borrow_mut().ends_after = None;
        drop(plugin);
        let name = "a/0000000000000001-000000000000000a.records";
        let right = server.borrow().objects[name].clone();
        let at = damaged_byte.min(right.len() - 1);
        server.borrow_mut().objects.get_mut(name).unwrap()[at] ^= 1;
        let mut plugin = started(&server);
        append(&mut plugin, &[50, 51, 52]).unwrap();
        plugin.trim(&[50, 51]).unwrap();
        synced(&mut plugin, 30);
        let log = plugin.node.log.borrow().clone();
        let said = log.iter().filter(|(_, text)| text.contains(&format!("delete {}", &name[2..]))).count();
        assert_eq!(said, 1, "{log:?}");
        assert_eq!(names(&server).len(), 12, "what else there is to do is done: {:?}", names(&server));
        // Nothing of it was lost, whichever of the two is mended.
        let without = server.borrow_mut().objects.remove(name).unwrap();
        assert_ne!(without, right);
        assert_eq!(self::places(&server), [&places[..], &[52]].concat());
        server.borrow_mut().objects.insert(name.to_owned(), right);
        synced(&mut started(&server), 30);
        assert_eq!(names(&server).len(), 2, "{:?}", names(&server));
        assert_eq!(self::places(&server), [&places[..], &[52]].concat());
    }
}

#[test]
fn what_a_note_names_is_passed_over_by_its_index_alone() {
    let server = Shared::default();
    let mut plugin = started(&server);
    let value = vec![1; 101 << 10];
    for place in 1..=20 {
        plugin.append(&[Record { place, timestamp: 1, value: &value }]).unwrap();
    }
    plugin.trim(&(1..=19).collect::<Vec<_>>()).unwrap();
    let mut plugin = started(&server);
    server.borrow_mut().given = 0;
    let found = plugin.query(&ALL).unwrap().records;
    assert_eq!(found.iter().map(|record| record.place).collect::<Vec<_>>(), [20]);
    let given = server.borrow().given;
    assert!(given < 1 << 20, "{given} bytes for 101 KiB");
}

#[test]
fn a_query_passes_over_a_bounded_number_of_objects_and_says_where_to_go_on() {
    let server = Shared::default();
    let mut plugin = started(&server);
    (1..=200).for_each(|place| append(&mut plugin, &[place]).unwrap());
    plugin.trim(&(1..=190).collect::<Vec<_>>()).unwrap();
    let mut plugin = started(&server);
    server.borrow_mut().asked.clear();
    let first = plugin.query(&ALL).unwrap();
    assert_eq!((first.records.len(), first.damaged.len(), first.next), (0, 0, 65));
    let asked = server.borrow().asked.len();
    assert!(asked <= 2 * 64, "{asked} requests in a call");
    assert_eq!(all(&mut plugin).0, records(&(191..=200).collect::<Vec<_>>()));
}

#[test]
fn with_as_many_notes_as_there_may_be_a_trim_works_some_off_and_is_asked_again_until_there_is_room() {
    let server = Shared::default();
    let mut plugin = started(&server);
    (1..=600).for_each(|place| append(&mut plugin, &[place]).unwrap());
    let notes = || names(&server).iter().filter(|name| name.ends_with(".trimmed")).count();
    // The oldest one has more objects than one call works off.
    plugin.trim(&(1..=300).collect::<Vec<_>>()).unwrap();
    let mut parts = (301..=600).collect::<Vec<_>>();
    for _ in 1..16 {
        plugin.trim(&parts.drain(..10).collect::<Vec<_>>()).unwrap();
    }
    assert_eq!(notes(), 16);
    let next: Vec<_> = parts.drain(..10).collect();
    let refused = plugin.trim(&next).unwrap_err();
    assert!(
        refused.code == FailureCode::Unavailable && refused.message.contains("when this is asked again"),
        "{refused}"
    );
    assert_eq!((notes(), names(&server).len()), (16, 600 - 256 + 16));
    plugin.trim(&next).unwrap();
    assert!(notes() <= 16, "{}", notes());
    assert_eq!(places(&server), parts);
}

#[test]
fn a_trim_of_thousands_of_objects_takes_one_request_and_is_worked_off_a_few_at_a_time() {
    let server = Shared::default();
    let mut plugin = started(&server);
    let value = vec![1; 101 << 10];
    let all_places: Vec<u64> = (1..=600).collect();
    for place in &all_places {
        plugin.append(&[Record { place: *place, timestamp: 1, value: &value }]).unwrap();
    }
    server.borrow_mut().asked.clear();
    plugin.trim(&all_places[..500]).unwrap();
    assert_eq!(server.borrow().asked, ["PUT /a/0000000000000000.trimmed"]);
    assert_eq!(plugin.fetch(&[1, 500, 501]).unwrap().records.len(), 1);
    assert_eq!(started(&server).fetch(&[1, 500, 501]).unwrap().records.len(), 1);
    let before = server.borrow().asked.len();
    plugin.sync().unwrap();
    assert!(server.borrow().asked.len() - before < 20);
    synced(&mut plugin, 200);
    assert_eq!(names(&server).len(), 100);
    server.borrow_mut().asked.clear();
    for part in all_places[500..].chunks(6) {
        plugin.trim(part).unwrap();
    }
    assert_eq!(names(&server), Vec::<String>::new(), "a few are trimmed at once");
}

#[test]
fn a_sync_that_cannot_tidy_up_says_so_in_the_log_and_is_done() {
    let server = Shared::default();
    let mut plugin = started(&server);
    append(&mut plugin, &[1, 2, 3]).unwrap();
    plugin.trim(&[1, 2]).unwrap();
    server.borrow_mut().faults = vec![403; 99];
    plugin.sync().unwrap();
    let said = plugin.node.log.borrow().clone();
    let (level, text) = said.first().unwrap();
    assert!(*level == LogLevel::Warn && text.contains("AccessDenied"), "{text}");
    server.borrow_mut().faults.clear();
    append(&mut plugin, &[4]).unwrap();
    assert_eq!(names(&server).len(), 3);
    synced(&mut plugin, 10);
    assert_eq!(names(&server).len(), 2);
}

#[test]
fn at_the_bound_of_objects_room_is_made_or_an_append_is_refused_with_what_to_do() {
    let server = Shared::default();
    let bounded = PARAMETERS.map(|(name, value)| (name, if name == "objects_max" { "100" } else { value }));
    let mut plugin = Harness::<Plugin>::new(node(&server));
    plugin.start("", &bounded).unwrap();
    // Never synced: room is made by appends alone.
    (1..=400).for_each(|place| append(&mut plugin, &[place]).unwrap());
    assert!(names(&server).len() <= 101);
    let value = vec![1; 101 << 10];
    let mut large = |place| plugin.append(&[Record { place, timestamp: 1, value: &value }]);
    let refused = (401..).find_map(|place| large(place).err()).unwrap();
    assert_eq!(refused.code, FailureCode::Limit);
    for part in ["the prefix a/", "objects_max is 100", "raise that, up to 150000"] {
        assert!(refused.message.contains(part), "{refused}");
    }
    let there = places(&server);
    assert_eq!(there[..400], (1..=400).collect::<Vec<_>>());
    append(&mut started(&server), &[9_999]).unwrap();
}
