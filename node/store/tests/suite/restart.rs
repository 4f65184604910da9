use crate::{
    Folder,
    batches::{Publisher, place},
    damage::files,
};
use mainstem_model::{Cursor, ReadFilter};
use mainstem_store::{Append, Config, DiskLog, EventLog, StoreError};
use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
};
use xxhash_rust::xxh3::xxh3_64;

pub(crate) const BEGIN: Cursor = Cursor::Arrival { log: 7, position: 0, skip: 0 };

fn open(path: &Path) -> Result<DiskLog, StoreError> {
    DiskLog::open(path, &Config::default(), 7)
}

fn refusal(path: &Path) -> String {
    open(path).map(|_| ()).unwrap_err().to_string()
}

fn filled(count: i64) -> (Folder, Vec<Append>) {
    let mut appends = Vec::new();
    let folder = Folder::filled_by(|log| {
        let mut publisher = Publisher::new(1, 1, place(0));
        appends.extend((0..count).map(|n| publisher.batch(&[n, n + 1])));
        for append in &appends {
            log.append(std::slice::from_ref(append)).unwrap();
        }
    });
    (folder, appends)
}

fn kept(log: &DiskLog) -> Vec<bytes::Bytes> {
    let page = log.page(place(0), BEGIN, &ReadFilter::ALL, 1000, usize::MAX).unwrap();
    assert!(page.at_end && page.damaged.is_empty());
    page.batches.into_iter().map(|batch| batch.bytes).collect()
}

fn journal(folder: &Folder) -> PathBuf {
    files(folder.path()).into_iter().rfind(|file| file.extension().is_some_and(|e| e == "jnl")).unwrap()
}

#[test]
fn a_reopened_store_has_everything_and_keeps_its_number() {
    let (folder, appends) = filled(20);
    let log = DiskLog::open(folder.path(), &Config::default(), 99).unwrap();
    assert_eq!(log.log_id(), 7);
    assert_eq!(kept(&log), appends.iter().map(|a| a.batch.bytes().clone()).collect::<Vec<_>>());
}

#[test]
fn a_store_open_elsewhere_is_refused_as_locked() {
    let (folder, _) = filled(0);
    let _log = open(folder.path()).unwrap();
    assert!(matches!(open(folder.path()), Err(StoreError::Locked { .. })));
}

/// L4: the length of what was durable is kept apart from the journal.
#[test]
fn l4_a_journal_that_lost_durable_writes_is_refused_and_left_as_it_is() {
    for cut in [1, 20, 400, 5_000] {
        let (folder, _) = filled(40);
        drop(open(folder.path()).unwrap());
        let journal = journal(&folder);
        let length = fs::metadata(&journal).unwrap().len();
        OpenOptions::new().write(true).open(&journal).unwrap().set_len(length - cut).unwrap();
        let why = refusal(folder.path());
        assert!(why.contains(".jnl"), "{why}");
        assert_eq!(fs::metadata(&journal).unwrap().len(), length - cut, "it was changed");
    }
}

#[test]
fn a_torn_write_that_was_not_durable_is_cut_off_and_all_before_it_is_kept() {
    let (folder, appends) = filled(10);
    drop(open(folder.path()).unwrap());
    let journal = journal(&folder);
    let whole = fs::read(&journal).unwrap();
    // The beginning of a write that goes on behind the end, and rubbish.
    for torn in [&whole[..60], &[2, 2, 2][..], &[1; 40]] {
        fs::write(&journal, [&whole[..], torn].concat()).unwrap();
        let log = open(folder.path()).unwrap();
        assert_eq!(kept(&log).len(), appends.len());
        assert!(log.verify(&mut |_| {}).unwrap().damaged.is_empty());
    }
}

/// L5: no data is deleted because something that describes it is missing or bad.
#[test]
fn a_whole_write_in_a_form_of_another_version_is_refused_and_not_cut_off() {
    let (folder, _) = filled(3);
    let file = journal(&folder);
    let mut bytes = fs::read(&file).unwrap();
    let ends: Vec<_> = (4..=bytes.len()).filter(|end| bytes[..*end].ends_with(b"FJL\x03")).collect();
    let [.., begin, end] = ends[..] else { panic!("the journal has too few writes") };
    // The items of the last write lie between its start, 13 bytes, and its end, 13 bytes.
    let items = begin + 13..end - 13;
    let row = bytes[items.clone()].windows(5).rposition(|key| key == b"group").unwrap();
    bytes[items.start + row + 5..][..24].fill(0xee);
    let sum = xxh3_64(&bytes[items.clone()]).to_le_bytes();
    bytes[items.end + 1..][..8].copy_from_slice(&sum);
    fs::write(&file, &bytes).unwrap();
    let why = refusal(folder.path());
    assert!(why.contains("a whole write that this version does not know"), "{why}");
    assert_eq!(fs::read(&file).unwrap(), bytes);
}

#[test]
fn a_store_of_another_format_is_refused_by_its_number() {
    let (folder, _) = filled(3);
    let manifest = folder.path().join("log/manifest");
    let text = "mainstem-store 1 0000000000000007";
    fs::write(&manifest, format!("{text} {:016x}\n", xxh3_64(text.as_bytes()))).unwrap();
    let why = refusal(folder.path());
    assert!(why.contains("mainstem-store 1") && why.contains("mainstem-store 2"), "{why}");
}

#[test]
fn l5_a_store_that_lost_a_file_is_refused_by_that_files_name_and_nothing_is_deleted() {
    let (folder, _) = filled(200);
    drop(open(folder.path()).unwrap());
    let path = folder.path();
    for lost in
        ["log/manifest", "log/synced", "log/version", "log/keyspaces/0/current", "log/keyspaces/1/current"]
    {
        let file = path.join(lost);
        let bytes = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        let before = files(path);
        let why = refusal(path);
        let name = lost.rsplit_once("/current").map_or(lost, |(table, _)| table);
        assert!(why.contains(name) && why.contains("restore"), "{why}");
        assert_eq!(files(path), before, "without {lost}");
        fs::write(&file, bytes).unwrap();
    }
    for lost in ["log/keyspaces/0", "log/keyspaces/3", "log"] {
        let (from, to) = (path.join(lost), path.join("elsewhere"));
        fs::rename(&from, &to).unwrap();
        let before = files(path);
        refusal(path);
        assert_eq!(files(path), before, "without {lost}");
        fs::rename(to, from).unwrap();
    }
    let journal = journal(&folder);
    let elsewhere = tempfile::tempdir().unwrap();
    fs::copy(&journal, elsewhere.path().join("journal")).unwrap();
    fs::remove_file(&journal).unwrap();
    // All is in the journal only or written out too; either nothing is missed or the store says so.
    if let Ok(log) = open(path) {
        assert_eq!(kept(&log).len(), 200);
    }
}

#[test]
fn a_folder_of_something_else_is_refused_and_an_interrupted_making_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("letter"), "dear").unwrap();
    assert!(refusal(folder.path()).contains("letter"));
    fs::remove_file(folder.path().join("letter")).unwrap();
    fs::create_dir_all(folder.path().join("new/keyspaces")).unwrap();
    fs::write(folder.path().join("new/lock"), "").unwrap();
    assert!(open(folder.path()).is_ok());
}
