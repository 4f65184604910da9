#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::super::{Answer, Meter, Privileges, Surroundings, answer, http::Web};
use crate::Config;
use mainstem_plugin_abi::{
    Capability,
    plugin_capnp::{FailureCode, blob_request, host_request},
    write,
};
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

fn privileges(folder: &Path, config: &Config) -> Privileges {
    let granted = BTreeSet::from([Capability::Blob]);
    let surroundings = Surroundings::of(Web::new(1));
    Privileges::new("guest".into(), granted, BTreeSet::new(), Some(folder.to_owned()), surroundings, config)
}

fn ask(privileges: &Privileges, name: &str, fill: impl FnOnce(blob_request::Builder<'_>)) -> Answer {
    let request = write::<host_request::Owned>(64, |request| {
        let mut blob = request.init_blob();
        blob.set_name(name);
        fill(blob);
    });
    let mut meter = Meter::new(1 << 40, Instant::now() + Duration::from_secs(60));
    answer(privileges, &request, &mut meter).unwrap()
}

fn append(privileges: &Privileges, name: &str, bytes: &[u8]) -> Answer {
    ask(privileges, name, |mut blob| blob.set_append(bytes))
}

fn size(privileges: &Privileges, name: &str) -> u64 {
    let answer = ask(privileges, name, |mut blob| blob.set_size(()));
    let Answer::Size(size) = answer else { panic!("{answer:?}") };
    size
}

fn read(privileges: &Privileges, name: &str, offset: u64, length: u32) -> Vec<u8> {
    let answer = ask(privileges, name, |blob| {
        let mut range = blob.init_read();
        range.set_offset(offset);
        range.set_length(length);
    });
    let Answer::Bytes(bytes) = answer else { panic!("{answer:?}") };
    bytes
}

fn names(privileges: &Privileges, after: &str, count: u32) -> Vec<(String, u64)> {
    let answer = ask(privileges, after, |mut blob| blob.set_list(count));
    let Answer::Names(names) = answer else { panic!("{answer:?}") };
    names
}

fn refused(answer: Answer, code: FailureCode, why: &str) {
    let Answer::Failed(given, message) = answer else { panic!("{answer:?}") };
    assert!(given == code && message.contains(why), "{given:?}: {message}");
}

fn done(answer: &Answer) {
    assert!(matches!(answer, Answer::Done | Answer::Size(_)), "{answer:?}");
}

#[test]
fn files_are_appended_to_read_cut_put_and_deleted_and_are_there_when_the_folder_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    // It is made when it is first used.
    let path = folder.path().join("files");
    let before = privileges(&path, &Config::default());
    assert!(!path.exists());
    assert_eq!((size(&before, "a"), read(&before, "a", 0, 9), names(&before, "", 9)), (0, vec![], vec![]));
    done(&append(&before, "a", b"0123"));
    assert!(matches!(append(&before, "a", b"456789"), Answer::Size(10)));
    done(&ask(&before, "b.1_2-3", |mut blob| blob.set_put(b"whole")));
    done(&ask(&before, "c", |mut blob| blob.set_put(b"")));
    done(&ask(&before, "a", |mut blob| blob.set_cut(7)));
    done(&ask(&before, "a", |mut blob| blob.set_cut(99)));
    done(&ask(&before, "c", |mut blob| blob.set_delete(())));
    done(&ask(&before, "never", |mut blob| blob.set_delete(())));
    done(&ask(&before, "b.1_2-3", |mut blob| blob.set_put(b"other")));
    for name in ["a", "c", "never"] {
        done(&ask(&before, name, |mut blob| blob.set_sync(())));
    }
    drop(before);
    let after = privileges(&path, &Config::default());
    let all = [("a".to_owned(), 7), ("b.1_2-3".to_owned(), 5)];
    assert_eq!(names(&after, "", 9), all);
    assert_eq!((names(&after, "a", 9), names(&after, "", 1)), (all[1..].to_vec(), all[..1].to_vec()));
    assert_eq!(read(&after, "a", 0, 100), b"0123456");
    assert_eq!((read(&after, "a", 5, 100), read(&after, "a", 7, 1)), (b"56".to_vec(), vec![]));
    assert_eq!(read(&after, "a", u64::MAX, 4), b"");
    assert_eq!((read(&after, "a", 2, 3), size(&after, "a")), (b"234".to_vec(), 7));
    assert_eq!(fs::read(path.join("b.1_2-3")).unwrap(), b"other");
}

#[test]
fn no_name_leads_out_of_the_folder_or_to_a_file_of_the_nodes_own() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("secret"), "secret").unwrap();
    let path = folder.path().join("files");
    let privileges = privileges(&path, &Config::default());
    let long = "a".repeat(129);
    for name in [
        "",
        ".",
        "..",
        "../secret",
        "/etc/passwd",
        "a/b",
        ".lock",
        ".put",
        "A",
        "a b",
        "a\0",
        "ä",
        "-a",
        "_a",
        &long,
    ] {
        refused(append(&privileges, name, b"x"), FailureCode::Invalid, "no name of a file");
        let put = ask(&privileges, name, |mut blob| blob.set_put(b"x"));
        refused(put, FailureCode::Invalid, "no name of a file");
        let delete = ask(&privileges, name, |mut blob| blob.set_delete(()));
        refused(delete, FailureCode::Invalid, "no name of a file");
        let read = ask(&privileges, name, |blob| blob.init_read().set_length(9));
        refused(read, FailureCode::Invalid, "no name of a file");
    }
    done(&append(&privileges, &long[..128], b"x"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    // A link that somebody has laid there is not followed, and is none of its files.
    std::os::unix::fs::symlink(folder.path().join("secret"), path.join("link")).unwrap();
    assert_eq!(read(&privileges, "link", 0, 9), b"");
    refused(append(&privileges, "link", b"x"), FailureCode::Internal, "link");
    assert_eq!(fs::read(folder.path().join("secret")).unwrap(), b"secret");
}

#[test]
fn bytes_and_files_and_what_one_request_asks_for_have_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { blob_bytes_max: 10, blob_files_max: 2, ..Config::default() };
    let privileges = privileges(folder.path(), &config);
    done(&append(&privileges, "a", b"12345"));
    done(&append(&privileges, "b", b"12345"));
    refused(append(&privileges, "a", b"6"), FailureCode::Limit, "11 bytes");
    refused(append(&privileges, "c", b""), FailureCode::Limit, "2 files");
    let put = ask(&privileges, "c", |mut blob| blob.set_put(b""));
    refused(put, FailureCode::Limit, "2 files");
    // What takes the place of something has its room.
    done(&ask(&privileges, "a", |mut blob| blob.set_put(b"54321")));
    let put = ask(&privileges, "a", |mut blob| blob.set_put(b"654321"));
    refused(put, FailureCode::Limit, "11 bytes");
    done(&ask(&privileges, "a", |mut blob| blob.set_cut(1)));
    done(&append(&privileges, "b", b"6789"));
    done(&ask(&privileges, "b", |mut blob| blob.set_delete(())));
    done(&append(&privileges, "c", b"123456789"));
    let list = ask(&privileges, "", |mut blob| blob.set_list(1_025));
    refused(list, FailureCode::Limit, "1025 names");
    let read = ask(&privileges, "a", |blob| blob.init_read().set_length((1 << 20) + 1));
    refused(read, FailureCode::Limit, "bytes");
}

#[test]
fn a_folder_is_used_by_one_plugin_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let one = privileges(folder.path(), &Config::default());
    let other = privileges(folder.path(), &Config::default());
    done(&append(&one, "a", b"1"));
    refused(append(&other, "a", b"1"), FailureCode::Unavailable, "another process");
    drop(one);
    done(&append(&other, "a", b"2"));
    assert_eq!(read(&other, "a", 0, 9), b"12");
}

#[test]
fn without_the_grant_or_a_folder_there_are_no_files() {
    let config = Config::default();
    let without = |granted: &[Capability]| {
        let granted = granted.iter().copied().collect();
        Privileges::new(
            "guest".into(),
            granted,
            BTreeSet::new(),
            None,
            Surroundings::of(Web::new(1)),
            &config,
        )
    };
    refused(append(&without(&[]), "a", b"1"), FailureCode::Denied, "blob is not granted");
    refused(append(&without(&[Capability::Blob]), "a", b"1"), FailureCode::Unsupported, "no folder");
}

#[test]
fn what_is_written_and_what_is_waited_for_the_disk_costs_fuel_and_no_time() {
    let folder = tempfile::tempdir().unwrap();
    let privileges = privileges(folder.path(), &Config::default());
    let request = write::<host_request::Owned>(64, |request| {
        let mut blob = request.init_blob();
        blob.set_name("a");
        blob.set_append(&[7; 8_000]);
    });
    let until = Instant::now() + Duration::from_secs(60);
    let mut meter = Meter::new(1_000_000_000, until);
    answer(&privileges, &request, &mut meter).unwrap();
    let waited = u64::try_from(meter.waited().as_micros()).unwrap();
    assert_eq!(meter.fuel(), 1_000_000_000 - 1_000 - 4 * waited);
    assert!(meter.waited() > Duration::ZERO && meter.until() == until + meter.waited());
    let mut meter = Meter::new(500, until);
    assert!(answer(&privileges, &request, &mut meter).is_err(), "there is fuel for half of it");
    assert_eq!(size(&privileges, "a"), 8_000);
}
