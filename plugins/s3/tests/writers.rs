//! Two that write behind one prefix, and one that asks for the same twice.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod in_memory;

use in_memory::{Shared, all, append, fetched, names, records, started};
use mainstem_plugin_sdk::{FailureCode, Record};

#[test]
fn another_node_behind_the_same_prefix_is_told_and_what_is_acked_stays() {
    let server = Shared::default();
    let (mut one, mut other) = (started(&server), started(&server));
    append(&mut one, &[1, 2]).unwrap();
    let before = server.borrow().objects.clone();
    let refused = other.append(&[Record { place: 1, timestamp: 5, value: b"another" }]).unwrap_err();
    assert_eq!(refused.code, FailureCode::Invalid);
    for part in ["a/0000000000000001.records", "another node", "the prefix a/"] {
        assert!(refused.message.contains(part), "{refused}");
    }
    assert_eq!(server.borrow().objects, before);
    assert_eq!(all(&mut started(&server)).0, records(&[1, 2]));
}

#[test]
fn a_write_that_was_done_and_not_answered_is_done_when_it_is_asked_again_also_of_a_new_instance() {
    let server = Shared::default();
    let mut plugin = started(&server);
    append(&mut plugin, &[1, 2]).unwrap();
    // Tried once more at once: that finds its own.
    server.borrow_mut().unanswered = 1;
    append(&mut plugin, &[3]).unwrap();
    // The server is away before that is read back.
    server.borrow_mut().unanswered = 1;
    server.borrow_mut().instead = vec![(503, Vec::new()); 3];
    assert_eq!(append(&mut plugin, &[4, 5]).unwrap_err().code, FailureCode::Unavailable);
    let mut again = started(&server);
    append(&mut plugin, &[4, 5]).unwrap();
    // The instance is another one since: a fault of a read has taken the first.
    append(&mut again, &[4, 5]).unwrap();
    assert_eq!(
        append(&mut again, &[4]).unwrap_err().code,
        FailureCode::Invalid,
        "the same place, and other records"
    );
    assert_eq!(append(&mut again, &[5]).unwrap_err().code, FailureCode::Invalid);
    append(&mut again, &[6]).unwrap();
    assert_eq!(all(&mut again).0, records(&[1, 2, 3, 4, 5, 6]));
    assert_eq!(fetched(&mut started(&server), &[3, 5, 6]), records(&[3, 5, 6]));
    assert_eq!(names(&server).len(), 4);
}
