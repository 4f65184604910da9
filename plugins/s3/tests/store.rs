//! The storage over a server that this test makes up: it keeps objects in memory and answers as S3 does.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod in_memory;
mod over_tcp;

use in_memory::{ALL, PARAMETERS, Shared, all, append, fetched, names, node, records, started};
use mainstem_plugin_s3::{Object, Plugin};
use mainstem_plugin_sdk::{
    FailureCode, Query, Record,
    harness::{Harness, Node},
};

#[test]
fn what_is_appended_is_on_the_server_at_once_and_there_again_for_who_starts_anew() {
    let server = Shared::default();
    let mut plugin = started(&server);
    assert_eq!(all(&mut plugin), (Vec::new(), Vec::new()));
    for places in [&[1, 2, 5][..], &[6], &[40, 41], &[1 << 40], &[(1 << 40) + 1], &[(1 << 40) + 300]] {
        append(&mut plugin, places).unwrap();
    }
    let places = [1, 2, 5, 6, 40, 41, 1 << 40, (1 << 40) + 1, (1 << 40) + 300];
    assert_eq!(all(&mut plugin), (records(&places), Vec::new()));
    // Without a sync: as after a kill.
    drop(plugin);
    let mut plugin = started(&server);
    assert_eq!(all(&mut plugin), (records(&places), Vec::new()));
    let fetched = plugin.fetch(&[41, 3, 1, 40, 2]).unwrap();
    let fetched: Vec<_> = fetched.records.into_iter().map(|record| (record.place, record.value)).collect();
    assert_eq!(fetched, records(&[41, 1, 40, 2]));
    let late = append(&mut started(&server), &[7]).unwrap_err();
    assert!(late.code == FailureCode::Invalid && late.message.contains("place 7"), "{late}");
    assert!(names(&server).iter().all(|name| name.starts_with("a/")));
}

#[test]
fn a_record_of_a_large_object_is_read_by_its_range_alone_and_a_small_one_is_read_once() {
    let server = Shared::default();
    let mut plugin = started(&server);
    let large: Vec<_> = (1..=3).map(|place| (place, vec![place as u8; 20_000])).collect();
    let record = |(place, value): &'_ (u64, Vec<u8>)| (*place, value.clone());
    let owned: Vec<_> = large.iter().map(record).collect();
    let all: Vec<_> =
        owned.iter().map(|(place, value)| Record { place: *place, timestamp: 1, value }).collect();
    plugin.append(&all).unwrap();
    append(&mut plugin, &[10, 11]).unwrap();
    append(&mut plugin, &[20]).unwrap();
    let asked = || std::mem::take(&mut server.borrow_mut().asked);
    asked();
    assert_eq!(
        fetched(&mut plugin, &[2, 11, 20]),
        [large[1].clone(), records(&[11]).remove(0), records(&[20]).remove(0)]
    );
    assert_eq!(asked(), [""; 0], "what was just written is in memory");
    let mut plugin = started(&server);
    asked();
    let (of_large, of_small) =
        ("GET /a/0000000000000001.records range", "GET /a/000000000000000a.records range");
    assert_eq!(fetched(&mut plugin, &[2]), [large[1].clone()]);
    assert_eq!(asked(), [of_large; 2], "its index, and the record");
    assert_eq!(fetched(&mut plugin, &[3]), [large[2].clone()]);
    assert_eq!(asked(), [of_large]);
    assert_eq!(fetched(&mut plugin, &[11]), records(&[11]));
    assert_eq!(fetched(&mut plugin, &[10]), records(&[10]));
    assert_eq!(asked(), [of_small]);
}

#[test]
fn what_is_trimmed_stays_away_and_objects_go_with_their_last_record() {
    let server = Shared::default();
    let mut plugin = started(&server);
    append(&mut plugin, &[1, 2, 3, 4, 5]).unwrap();
    append(&mut plugin, &[6, 7]).unwrap();
    plugin.trim(&[2, 6, 99]).unwrap();
    let at = |place: u64, kind: &str| format!("a/{place:016x}.{kind}");
    assert_eq!(names(&server), [at(1, "gone"), at(1, "records"), at(6, "gone"), at(6, "records")]);
    assert_eq!(all(&mut plugin).0, records(&[1, 3, 4, 5, 7]));
    assert_eq!(all(&mut started(&server)).0, records(&[1, 3, 4, 5, 7]));
    plugin.trim(&[7]).unwrap();
    plugin.sync().unwrap();
    assert_eq!(names(&server), [at(1, "gone"), at(1, "records")]);
    let before = server.borrow().objects[&at(1, "records")].len();
    plugin.trim(&[1, 3]).unwrap();
    plugin.sync().unwrap();
    assert_eq!(names(&server), [at(1, "records")], "more than half is gone, and it is written anew");
    assert!(server.borrow().objects[&at(1, "records")].len() < before);
    assert_eq!(all(&mut plugin).0, records(&[4, 5]));
    assert_eq!(all(&mut started(&server)).0, records(&[4, 5]));
    // A deletion that a kill came between leaves what was trimmed of it; the next one tidies up.
    server.borrow_mut().objects.remove(&at(1, "records"));
    server.borrow_mut().objects.insert(at(1, "gone"), Vec::new());
    started(&server).sync().unwrap();
    assert_eq!(names(&server), Vec::<String>::new());
}

#[test]
fn a_record_whose_bytes_have_changed_is_named_and_costs_no_other() {
    let server = Shared::default();
    append(&mut started(&server), &[1, 2, 3]).unwrap();
    append(&mut started(&server), &[8, 9]).unwrap();
    *server.borrow_mut().objects.get_mut("a/0000000000000001.records").unwrap().last_mut().unwrap() ^= 1;
    server.borrow_mut().objects.get_mut("a/0000000000000008.records").unwrap()[20] ^= 1;
    let mut plugin = started(&server);
    assert_eq!(all(&mut plugin), (records(&[1, 2]), vec![3, 8]));
    assert_eq!(plugin.fetch(&[3, 9]).unwrap().damaged, [3, 9]);
    plugin.sync().unwrap();
    assert_eq!(names(&server).len(), 2, "nothing is deleted for it");
}

#[test]
fn an_object_that_cannot_be_read_is_never_written_anew_and_is_read_again_each_time() {
    let server = Shared::default();
    let name = "a/0000000000000001.records";
    let mut plugin = started(&server);
    append(&mut plugin, &[1, 2, 3, 4, 5]).unwrap();
    append(&mut plugin, &[8]).unwrap();
    plugin.trim(&[1, 2, 3]).unwrap();
    let right = server.borrow().objects[name].clone();
    let damage = || server.borrow_mut().objects.get_mut(name).unwrap()[20] ^= 1;
    // It is to be written anew, that fails, and then it is damaged.
    server.borrow_mut().faults = vec![503; 3];
    drop(plugin.sync());
    damage();
    let damaged = server.borrow().objects[name].clone();
    for _ in 0..100 {
        plugin.sync().unwrap();
    }
    assert_eq!(server.borrow().objects[name], damaged);
    assert!(names(&server).contains(&"a/0000000000000001.gone".to_owned()));
    let mut plugin = started(&server);
    assert_eq!(fetched(&mut plugin, &[8]), records(&[8]));
    assert_eq!(plugin.fetch(&[2, 4]).unwrap().damaged, [4], "what was trimmed is not missed");
    plugin.sync().unwrap();
    assert_eq!(server.borrow().objects[name], damaged);
    // What is trimmed of it meanwhile is noted, so that it stays away.
    plugin.trim(&[4]).unwrap();
    assert_eq!(plugin.fetch(&[4, 5]).unwrap().damaged, [5]);
    server.borrow_mut().objects.insert(name.into(), right);
    assert_eq!(fetched(&mut plugin, &[1, 4, 5, 8]), records(&[5, 8]), "damage is not remembered");
    assert_eq!(fetched(&mut started(&server), &[1, 4, 5, 8]), records(&[5, 8]));
}

#[test]
fn what_stands_between_and_answers_wrongly_does_no_damage() {
    let server = Shared::default();
    append(&mut started(&server), &[1, 2, 3]).unwrap();
    // The last one is read at the start.
    append(&mut started(&server), &[4]).unwrap();
    let whole = server.borrow().objects["a/0000000000000001.records"].clone();
    for (status, body) in [
        (404, b"<html>not found</html>".to_vec()),
        (404, b"".to_vec()),
        (206, whole[..whole.len() - 1].to_vec()),
        (206, Vec::new()),
        (416, Vec::new()),
        (403, b"<html>who are you</html>".to_vec()),
    ] {
        let mut plugin = started(&server);
        server.borrow_mut().instead = vec![(status, body.clone()); 3];
        let refused = plugin.fetch(&[1]).unwrap_err();
        assert_eq!(refused.code, FailureCode::Unavailable, "{status} {body:?}: {refused}");
        server.borrow_mut().instead.clear();
        assert_eq!(fetched(&mut plugin, &[1, 2]), records(&[1, 2]), "{status} {body:?}");
    }
}

#[test]
fn a_list_of_what_was_trimmed_that_is_cut_on_its_way_brings_no_record_back() {
    let server = Shared::default();
    append(&mut started(&server), &[1, 2, 3]).unwrap();
    append(&mut started(&server), &[4]).unwrap();
    started(&server).trim(&[1, 2]).unwrap();
    let bytes = |name: &str| server.borrow().objects[name].clone();
    let (whole, gone) = (bytes("a/0000000000000001.records"), bytes("a/0000000000000001.gone"));
    for (status, body) in [(206, gone[..gone.len() - 8].to_vec()), (206, Vec::new()), (416, Vec::new())] {
        let mut plugin = started(&server);
        // The object first, and then the list.
        server.borrow_mut().instead = vec![(status, body.clone()), (206, whole.clone())];
        let refused = plugin.fetch(&[1, 2, 3]).unwrap_err();
        assert!(
            refused.code == FailureCode::Unavailable && refused.message.contains("a/0000000000000001.gone"),
            "{status} {body:?}: {refused}"
        );
        assert_eq!(fetched(&mut plugin, &[1, 2, 3]), records(&[3]), "{status} {body:?}");
    }
    // A note is read at the start.
    let mut plugin = started(&server);
    (11..=20).for_each(|place| append(&mut plugin, &[place]).unwrap());
    plugin.trim(&(11..=19).collect::<Vec<_>>()).unwrap();
    let note = bytes("a/0000000000000000.trimmed");
    server.borrow_mut().instead = vec![(206, note[..note.len() - 1].to_vec())];
    let refused = Harness::<Plugin>::new(node(&server)).start("", &PARAMETERS).unwrap_err();
    assert!(
        refused.code == FailureCode::Unavailable && refused.message.contains("a/0000000000000000.trimmed"),
        "{refused}"
    );
    assert_eq!(all(&mut started(&server)).0, records(&[3, 4, 20]));
}

#[test]
fn an_object_of_which_every_value_is_damaged_is_read_once_for_a_query_and_anew_for_the_next_one() {
    let server = Shared::default();
    let name = "a/0000000000000001.records";
    let places: Vec<u64> = (1..=200).filter(|place| place % 50 > 0).collect();
    append(&mut started(&server), &places).unwrap();
    let right = server.borrow().objects[name].clone();
    let index = Object::index_length(&right).unwrap();
    server.borrow_mut().objects.get_mut(name).unwrap()[index..].iter_mut().for_each(|byte| *byte ^= 1);
    let mut plugin = started(&server);
    let query = Query { records_max: 4_096, ..ALL };
    // It is the last one, which the start has read.
    for requests in [0, 1, 1] {
        server.borrow_mut().asked.clear();
        assert_eq!(plugin.query(&query).unwrap().damaged, places);
        assert_eq!(server.borrow().asked.len(), requests);
    }
    server.borrow_mut().objects.insert(name.into(), right);
    assert_eq!(plugin.query(&query).unwrap().records.len(), places.len(), "damage is not remembered");
}

#[test]
fn a_server_that_is_busy_is_asked_again_and_not_without_end() {
    let server = Shared::default();
    let mut plugin = started(&server);
    server.borrow_mut().faults = vec![503, 500];
    append(&mut plugin, &[1]).unwrap();
    server.borrow_mut().asked.clear();
    server.borrow_mut().faults = vec![503; 9];
    let refused = append(&mut plugin, &[2]).unwrap_err();
    assert_eq!(server.borrow().asked.len(), 3);
    assert!(
        refused.code == FailureCode::Unavailable && refused.message.contains("503, SlowDown"),
        "{refused}"
    );
    server.borrow_mut().asked.clear();
    server.borrow_mut().faults = vec![403];
    let refused = append(&mut plugin, &[2]).unwrap_err();
    assert_eq!((refused.code, server.borrow().asked.len()), (FailureCode::Invalid, 1));
    assert!(!refused.message.contains("geheim"), "{refused}");
}

#[test]
fn a_write_that_was_not_answered_is_asked_again_and_kept_once() {
    let server = Shared::default();
    let mut plugin = started(&server);
    append(&mut plugin, &[1, 2, 3, 4, 5]).unwrap();
    let fail = |after: &[u16]| server.borrow_mut().faults = [&[503; 3], after].concat();
    fail(&[]);
    assert_eq!(append(&mut plugin, &[6, 7]).unwrap_err().code, FailureCode::Unavailable);
    append(&mut plugin, &[6, 7]).unwrap();
    fail(&[]);
    plugin.trim(&[1, 2, 6, 7]).unwrap_err();
    plugin.trim(&[1, 2, 6, 7]).unwrap();
    plugin.trim(&[3]).unwrap();
    assert_eq!(all(&mut plugin).0, records(&[4, 5]));
    // The object is written anew, and what was trimmed of it is not deleted.
    fail(&[0]);
    plugin.sync().unwrap();
    assert_eq!(names(&server).len(), 2);
    // So much that nothing of before is in memory.
    let much = vec![8; 1 << 20];
    for place in 100..110 {
        plugin.append(&[Record { place, timestamp: 1, value: &much }]).unwrap();
    }
    assert_eq!(fetched(&mut plugin, &[4, 5]), records(&[4, 5]), "though they lie elsewhere in it");
    plugin.trim(&(100..110).collect::<Vec<_>>()).unwrap();
    let mut other = started(&server);
    assert_eq!(all(&mut other).0, records(&[4, 5]));
    // It rests for eight of them.
    for _ in 0..8 {
        plugin.sync().unwrap();
        assert!(names(&server).contains(&"a/0000000000000001.gone".to_owned()));
    }
    for _ in 0..8 {
        plugin.sync().unwrap();
    }
    assert_eq!(names(&server), ["a/0000000000000001.records"]);
    assert_eq!(all(&mut plugin).0, records(&[4, 5]));
}

#[test]
fn what_was_trimmed_before_an_object_was_written_anew_counts_no_more() {
    let server = Shared::default();
    let mut plugin = started(&server);
    append(&mut plugin, &[1, 2, 3, 4, 5]).unwrap();
    plugin.trim(&[1, 2, 3]).unwrap();
    let gone = server.borrow().objects["a/0000000000000001.gone"].clone();
    plugin.sync().unwrap();
    // As after a kill before that was deleted.
    server.borrow_mut().objects.insert("a/0000000000000001.gone".into(), gone);
    let mut plugin = started(&server);
    plugin.trim(&[4]).unwrap();
    assert_eq!(all(&mut plugin).0, records(&[5]));
    assert_eq!(all(&mut started(&server)).0, records(&[5]));
    plugin.trim(&[5]).unwrap();
    plugin.sync().unwrap();
    assert_eq!(names(&server), Vec::<String>::new());
}

#[test]
fn a_parameter_that_is_none_is_refused_by_its_name_and_no_key_is_told() {
    for (name, wrong) in [
        ("endpoint", "s3.example"),
        ("bucket", "B"),
        ("prefix", "../x"),
        ("prefix", "a b"),
        ("prefix", ""),
        ("objects_max", "99"),
        ("objects_max", "150001"),
        ("tries", "0"),
        ("tries", "11"),
        ("tries", "x"),
    ] {
        let parameters = PARAMETERS.map(|(key, value)| (key, if key == name { wrong } else { value }));
        let refused = Harness::<Plugin>::new(node(&Shared::default())).start("", &parameters).unwrap_err();
        assert!(refused.code == FailureCode::Invalid && refused.message.contains(name), "{refused}");
        assert!(!refused.message.contains("geheim"), "{refused}");
    }
    let node = Node { granted: Vec::new(), ..Node::default() };
    assert_eq!(Harness::<Plugin>::new(node).start("", &PARAMETERS).unwrap_err().code, FailureCode::Denied);
}

/// `tools/s3.sh` runs it.
#[test]
#[ignore = "it needs a server that speaks S3"]
fn a_log_of_many_appends_and_trims_is_there_again_on_a_server_that_speaks_s3() {
    let variable = |name| std::env::var(name).unwrap();
    let (endpoint, keys) = (variable("MAINSTEM_S3"), variable("MAINSTEM_S3_KEYS"));
    let (access_key, secret_key) = keys.split_once(':').unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now_ms = now.as_millis() as i64;
    let prefix = format!("store/{now_ms}/");
    let start = |secret_key: &str| {
        let node = Node { now_ms, servers: Box::new(over_tcp::over_tcp), ..Node::default() };
        let mut plugin = Harness::<Plugin>::new(node);
        let parameters = PARAMETERS.map(|(name, value)| match name {
            "endpoint" => (name, endpoint.as_str()),
            "bucket" => (name, "mainstem"),
            "prefix" => (name, prefix.as_str()),
            "access_key" => (name, access_key),
            "secret_key" => (name, secret_key),
            _ => (name, value),
        });
        plugin.start("", &parameters).map(|()| plugin)
    };
    let refused = start("another").unwrap_err();
    assert!(refused.message.contains("403, SignatureDoesNotMatch"), "{refused}");
    let mut plugin = start(secret_key).unwrap();
    let places: Vec<u64> = (1..=700).collect();
    for places in places.chunks(7) {
        append(&mut plugin, places).unwrap();
    }
    let gone: Vec<u64> = (1..=150).chain([200, 203, 301, 302, 303, 304]).collect();
    plugin.trim(&gone).unwrap();
    plugin.sync().unwrap();
    let left: Vec<u64> = places.into_iter().filter(|place| !gone.contains(place)).collect();
    assert_eq!(all(&mut plugin), (records(&left), Vec::new()));
    drop(plugin);
    let mut plugin = start(secret_key).unwrap();
    assert_eq!(all(&mut plugin), (records(&left), Vec::new()));
    let fetched = plugin.fetch(&[699, 150, 151, 333]).unwrap().records;
    assert_eq!(fetched.iter().map(|record| record.place).collect::<Vec<_>>(), [699, 151, 333]);
    plugin.trim(&left).unwrap();
    plugin.sync().unwrap();
    assert_eq!(all(&mut start(secret_key).unwrap()), (Vec::new(), Vec::new()));
}
