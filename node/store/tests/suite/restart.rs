use crate::batches::{Publisher, place};
use mainstem_model::{Cursor, ReadFilter};
use mainstem_store::{Append, Config, DiskLog, EventLog, StoreError};
use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

const BEGIN: Cursor = Cursor::Arrival { log: 7, position: 0, skip: 0 };

fn open(path: &Path) -> Result<DiskLog, StoreError> {
    DiskLog::open(path, &Config::default(), 7)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() { found.extend(files(&entry.path())) } else { found.push(entry.path()) }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            assert!(fs::copy(entry.path(), target).is_ok())
        }
    }
}

fn filled(folder: &Path, count: i64) -> Vec<Append> {
    let log = open(folder).unwrap();
    let mut publisher = Publisher::new(1, 1, place(0));
    let appends: Vec<_> = (0..count).map(|n| publisher.batch(&[n, n + 1])).collect();
    for group in appends.chunks(3) {
        log.append(group).unwrap();
    }
    log.sync().unwrap();
    appends
}

#[test]
fn a_reopened_store_has_everything_and_keeps_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let appends = filled(folder.path(), 20);
    let log = DiskLog::open(folder.path(), &Config::default(), 99).unwrap();
    assert_eq!(log.log_id(), 7);
    let page = log.page(place(0), BEGIN, &ReadFilter::ALL, 100, usize::MAX).unwrap();
    let kept: Vec<_> = page.batches.iter().map(|b| b.bytes.clone()).collect();
    assert_eq!(kept, appends.iter().map(|a| a.batch.bytes().clone()).collect::<Vec<_>>());
}

#[test]
fn a_store_open_elsewhere_is_refused_as_locked() {
    let folder = tempfile::tempdir().unwrap();
    let _log = open(folder.path()).unwrap();
    assert!(matches!(open(folder.path()), Err(StoreError::Locked { .. })));
}

/// L3–L5 of the threat list: whatever single bit is flipped, in whatever file, each batch is served as it was or reported;
/// or the store refuses to open. It never serves other bytes, never takes damage for the end without saying so, and deletes
/// nothing.
#[test]
fn l3_a_flipped_bit_anywhere_is_never_served_and_nothing_is_deleted() {
    let original = tempfile::tempdir().unwrap();
    let appends = filled(original.path(), 30);
    let names: Vec<PathBuf> = files(original.path())
        .into_iter()
        .map(|f| f.strip_prefix(original.path()).unwrap().to_owned())
        .collect();
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1_u64);
    println!("SEED={seed}");
    let mut state = seed;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % below.max(1)
    };
    let (mut refused, mut reported, mut whole) = (0, 0, 0);
    let mut silent = Vec::new();
    for round in 0..120 {
        let folder = tempfile::tempdir().unwrap();
        copy(original.path(), folder.path());
        let name = &names[usize::try_from(random(names.len() as u64)).unwrap()];
        let path = folder.path().join(name);
        let mut bytes = fs::read(&path).unwrap();
        // Journals are preallocated: flip where something is written.
        let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
        if used == 0 {
            continue;
        }
        let at = usize::try_from(random(used as u64)).unwrap();
        bytes[at] ^= 1 << random(8);
        fs::write(&path, bytes).unwrap();
        let before = files(folder.path());
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let log = open(folder.path()).map_err(|_| ())?;
            let page = log.page(place(0), BEGIN, &ReadFilter::ALL, 100, usize::MAX).map_err(|_| ())?;
            Ok::<_, ()>((page, log.stats(place(0)).map_err(|_| ())?))
        }));
        match outcome {
            Err(_) | Ok(Err(())) => refused += 1,
            Ok(Ok((page, _))) => {
                for stored in &page.batches {
                    let original = &appends[usize::try_from(stored.position).unwrap()];
                    assert_eq!(stored.bytes, original.batch.bytes(), "round {round}: {name:?} at {at}");
                }
                match page.batches.len() + page.damaged.len() {
                    30 if page.damaged.is_empty() => whole += 1,
                    30 => reported += 1,
                    fewer => silent.push(format!("round {round}: {name:?} at {at}: {fewer} of 30")),
                }
            }
        }
        for file in before {
            let kept = file.exists() || file.extension().is_none_or(|e| e != "jnl");
            assert!(kept, "round {round}: {file:?} was deleted");
        }
    }
    println!("{refused} refused to open, {reported} reported, {whole} unharmed, {} shortened", silent.len());
    assert!(silent.is_empty(), "damage was taken for the end: {silent:#?}");
}
