use crate::{
    Folder,
    batches::{Publisher, place},
    damage::{copy, files},
};
use mainstem_model::{BatchKey, Cursor, ReadFilter, ReadStart};
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

/// A cursor outlives the batches that it lies behind.
#[test]
fn a_cursor_from_before_a_power_failure_misses_nothing_that_comes_after_it() {
    let mut publisher = Publisher::new(1, 1, place(0));
    // With room enough that all is in the journal only.
    let folder = Folder(tempfile::tempdir().unwrap());
    drop(open(folder.path()).unwrap());
    let log = open(folder.path()).unwrap();
    let appends: Vec<_> = (0..50).map(|n| publisher.batch(&[n])).collect();
    log.append(&appends).unwrap();
    log.sync().unwrap();
    let durable = fs::read(journal(&folder)).unwrap();
    let durable = (4..=durable.len()).rfind(|end| durable[..*end].ends_with(b"FJL\x03")).unwrap();
    // Stored, told to readers, never fsynced.
    let mut lost = Publisher::new(1, 2, place(0));
    log.append(&(0..100).map(|n| lost.batch(&[n])).collect::<Vec<_>>()).unwrap();
    let now = log.start(place(0), ReadStart::Now, &ReadFilter::ALL).unwrap();
    let history = match log.start(place(0), ReadStart::From, &ReadFilter::ALL).unwrap() {
        Cursor::History { log, until, skip, .. } => {
            let key = BatchKey::of(appends[49].batch.header());
            Cursor::History { log, until, key, skip: skip + 1 }
        }
        cursor @ Cursor::Arrival { .. } => panic!("there is history, but it begins at {cursor:?}"),
    };
    // What the disk holds when the power fails now.
    let after = Folder(tempfile::tempdir().unwrap());
    copy(folder.path(), after.path());
    OpenOptions::new().write(true).open(journal(&after)).unwrap().set_len(durable as u64).unwrap();
    drop(log);

    let log = open(after.path()).unwrap();
    assert_eq!(kept(&log).len(), 50);
    let mut other = Publisher::new(2, 1, place(0));
    let new: Vec<_> = (0..100).map(|n| other.batch(&[n])).collect();
    log.append(&new).unwrap();
    for cursor in [now, history] {
        let (mut cursor, mut got) = (cursor, Vec::new());
        loop {
            let page = log.page(place(0), cursor, &ReadFilter::ALL, 1000, usize::MAX).unwrap();
            got.extend(page.batches.into_iter().filter(|batch| batch.cursor.skip() < batch.count));
            if page.at_end {
                break;
            }
            cursor = page.next;
        }
        let got: Vec<_> = got.into_iter().map(|batch| batch.id).collect();
        assert_eq!(got, new.iter().map(|a| a.batch.id()).collect::<Vec<_>>());
    }
}

#[test]
fn a_store_opened_again_and_again_gives_rising_positions_and_takes_every_cursor_it_gave() {
    let (folder, _) = filled(3);
    let mut publisher = Publisher::new(1, 2, place(0));
    let (mut cursors, mut end) = (vec![BEGIN], 3);
    for round in 0..5 {
        let log = open(folder.path()).unwrap();
        let begin = log.end(place(0)).unwrap();
        assert!(begin > end, "round {round}");
        cursors.push(log.start(place(0), ReadStart::Now, &ReadFilter::ALL).unwrap());
        let past = Cursor::Arrival { log: 7, position: begin + 1, skip: 0 };
        let refused = log.start(place(0), ReadStart::Cursor(past), &ReadFilter::ALL);
        assert!(matches!(refused, Err(StoreError::ForeignCursor)), "round {round}");
        // Nothing is written every other time.
        if round % 2 == 0 {
            assert_eq!(log.append(&[publisher.batch(&[round])]).unwrap(), [begin]);
        }
        end = log.end(place(0)).unwrap();
        for cursor in &cursors {
            log.start(place(0), ReadStart::Cursor(*cursor), &ReadFilter::ALL).unwrap();
            let page = log.page(place(0), *cursor, &ReadFilter::ALL, 1000, usize::MAX).unwrap();
            assert!(page.at_end && page.damaged.is_empty(), "round {round}");
        }
        assert!(log.verify(&mut |_| {}).unwrap().faults.is_empty());
    }
    assert_eq!(kept(&open(folder.path()).unwrap()).len(), 6);
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
    let begin = fs::read(&journal).unwrap()[..60].to_vec();
    // The beginning of a write that goes on behind the end, and rubbish.
    for torn in [&begin[..], &[2, 2, 2][..], &[1; 40]] {
        // Each opening writes to it.
        let whole = fs::read(&journal).unwrap();
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
    let text = "mainstem-store 2 0000000000000007";
    fs::write(&manifest, format!("{text} {:016x}\n", xxh3_64(text.as_bytes()))).unwrap();
    let why = refusal(folder.path());
    assert!(why.contains("mainstem-store 2") && why.contains("mainstem-store 3"), "{why}");
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
    fs::remove_file(&journal).unwrap();
    assert!(refusal(path).contains("no journal"));
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
