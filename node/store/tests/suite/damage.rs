//! Bits that flip while the store is closed.

use crate::{
    Folder,
    batches::{Publisher, past, place},
    restart::BEGIN,
    tiny,
};
use bytes::Bytes;
use mainstem_model::{HeadsDigester, ReadFilter, ReadStart, SeriesHead, SeriesKey};
use mainstem_store::{Append, DiskLog, EventLog, Page, SeriesStart, StoreError};
use std::{
    collections::BTreeMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const BATCHES: usize = 150;

pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() { found.extend(files(&entry.path())) } else { found.push(entry.path()) }
    }
    found.sort();
    found
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Table files of a table, by fjall's number of it.
fn table_files(folder: &Path, table: u8) -> Vec<PathBuf> {
    files(&folder.join(format!("log/keyspaces/{table}/tables")))
}

/// Damages every table file of a table.
fn flip(folder: &Path, table: u8) {
    for file in table_files(folder, table) {
        let mut bytes = fs::read(&file).unwrap();
        // In the first block of rows.
        bytes[40] ^= 1;
        fs::write(&file, bytes).unwrap();
    }
}

/// Merges the files of each table, so that fjall has nothing to merge behind the next opening: it would meet the damage
/// before a reader does, and stop taking writes.
fn merge(folder: &Path) {
    let database = fjall::Database::builder(folder.join("log")).open().unwrap();
    for name in database.list_keyspace_names() {
        database.keyspace(&name, fjall::KeyspaceCreateOptions::default).unwrap().major_compact().unwrap();
    }
}

/// A store whose batches are written out to table files, all but the last few, and are in the journal too.
struct Filled {
    folder: Folder,
    appends: Vec<Append>,
    /// Position of the first batch.
    first: u64,
    series: SeriesKey,
}

fn filled() -> Filled {
    filled_where(|_| false)
}

/// Those of which `is_past` says so fill up history.
fn filled_where(is_past: impl Fn(usize) -> bool) -> Filled {
    let mut publisher = Publisher::new(1, 1, place(0));
    let mut appends: Vec<_> = (0..).map(|n| publisher.batch_of(&[n, n + 1], 800)).take(BATCHES).collect();
    for (n, append) in appends.iter_mut().enumerate() {
        append.past = is_past(n);
    }
    let folder = Folder::filled_by(|_| {});
    let log = DiskLog::open(folder.path(), &tiny(), 7).unwrap();
    let first = log.end(place(0)).unwrap();
    for group in appends.chunks(3) {
        log.append(group).unwrap();
    }
    let begun = Instant::now();
    while (1..=4).any(|table| table_files(folder.path(), table).is_empty()) {
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing was written out");
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(log);
    merge(folder.path());
    // Opened once more, so that what is written out at opening is not in the way, and the journal has no empty end.
    drop(DiskLog::open(folder.path(), &tiny(), 7).unwrap());
    Filled { folder, appends, first, series: publisher.key() }
}

/// What reading everything told.
struct Told {
    arrivals: Page,
    history: Page,
    series: Vec<Result<Option<Bytes>, StoreError>>,
}

fn read_all(path: &Path, series: &SeriesKey) -> Result<Told, StoreError> {
    let log = DiskLog::open(path, &tiny(), 7)?;
    let all = ReadFilter::ALL;
    let arrivals = log.page(place(0), BEGIN, &all, 1000, usize::MAX)?;
    let cursor = log.start(place(0), ReadStart::From, &all)?;
    let history = log.page(place(0), cursor, &all, 1000, usize::MAX)?;
    let sequences = (0..BATCHES as u64).map(|n| n * 2 + 1);
    let series = sequences.map(|n| log.batch_at(series, n).map(|found| found.map(|b| b.bytes))).collect();
    let verified = log.verify(&mut |_| {})?;
    assert_eq!(verified.batches as usize + verified.damaged.len(), BATCHES);
    Ok(Told { arrivals, history, series })
}

/// L3–L5 of the threat list: whatever single bit is flipped, in whatever file, each batch is served as it was or reported;
/// or the store refuses to open, and loses nothing by that.
#[test]
fn l3_a_flipped_bit_anywhere_is_never_served_and_nothing_is_deleted() {
    let Filled { folder: original, appends, first, series } = filled();
    let names: Vec<PathBuf> = files(original.path())
        .into_iter()
        .map(|f| f.strip_prefix(original.path()).unwrap().to_owned())
        .filter(|f| f.extension().is_none_or(|e| e != "lock"))
        .collect();
    let holds_data = |name: &&PathBuf| name.ends_with("0.jnl") || name.parent().unwrap().ends_with("tables");
    let data: Vec<_> = names.iter().filter(holds_data).cloned().collect();
    let number = |name: &str, or: u64| std::env::var(name).ok().and_then(|s| s.parse().ok()).unwrap_or(or);
    let (seed, rounds) = (number("SEED", 1), number("ROUNDS", 150));
    println!("SEED={seed} ROUNDS={rounds}");
    let mut state = seed;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below.max(1)
    };
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    for round in 0..rounds {
        let folder = tempfile::tempdir().unwrap();
        copy(original.path(), folder.path());
        // Every other time in a file that holds batches.
        let names = if random(2) == 0 { &names } else { &data };
        let name = &names[usize::try_from(random(names.len() as u64)).unwrap()];
        let path = folder.path().join(name);
        let mut bytes = fs::read(&path).unwrap();
        if bytes.is_empty() {
            continue;
        }
        // Half of them in the head or the tail of the file, where few bytes decide much.
        let at = match random(4) {
            0 => random(bytes.len().min(64) as u64),
            1 => bytes.len() as u64 - 1 - random(bytes.len().min(300) as u64),
            _ => random(bytes.len() as u64),
        };
        let whole = bytes.clone();
        bytes[usize::try_from(at).unwrap()] ^= 1 << random(8);
        let damaged = bytes;
        fs::write(&path, &damaged).unwrap();
        let what = format!("round {round}: {} at {at}", name.display());
        let kind = match name.extension().and_then(|e| e.to_str()) {
            Some("jnl") => "journal".to_owned(),
            _ if name.components().any(|c| c.as_os_str() == "tables") => "table file".to_owned(),
            _ => name.file_name().unwrap().to_string_lossy().trim_end_matches(char::is_numeric).to_owned(),
        };
        let outcome = match catch_unwind(AssertUnwindSafe(|| read_all(folder.path(), &series))) {
            Err(_) => panic!("{what}: it panicked"),
            Ok(Err(StoreError::Unopenable { why, .. })) => {
                // fjall opens one table after the other and may have tidied the ones before. Nothing may be lost by that: with
                // the bit put right, all is there.
                let kept = fs::read(&path).unwrap_or_else(|error| panic!("{what}: {why}; {error}"));
                assert_eq!(kept, damaged, "{what}: {why}; the file was changed");
                fs::write(&path, &whole).unwrap();
                let told = read_all(folder.path(), &series).unwrap_or_else(|error| panic!("{what}: {error}"));
                for page in [&told.arrivals, &told.history] {
                    assert_eq!((page.batches.len(), page.damaged.len()), (BATCHES, 0), "{what}: {why}");
                }
                "refused"
            }
            Ok(Err(error)) => panic!("{what}: {error}"),
            Ok(Ok(told)) => {
                for page in [&told.arrivals, &told.history] {
                    for stored in &page.batches {
                        let original = &appends[usize::try_from(stored.position - first).unwrap()];
                        assert_eq!(stored.bytes, original.batch.bytes(), "{what}");
                    }
                    assert_eq!(
                        page.batches.len() + page.damaged.len(),
                        BATCHES,
                        "{what}: something is missing"
                    );
                }
                for (found, original) in told.series.iter().zip(&appends) {
                    match found {
                        Ok(Some(found)) => assert_eq!(found, original.batch.bytes(), "{what}"),
                        Ok(None) => panic!("{what}: a batch is not found by its series"),
                        Err(_) => {}
                    }
                }
                let series_whole = told.series.iter().all(Result::is_ok);
                if told.arrivals.damaged.is_empty() && told.history.damaged.is_empty() && series_whole {
                    "served whole"
                } else {
                    "reported"
                }
            }
        };
        *outcomes.entry(format!("{kind}: {outcome}")).or_default() += 1;
    }
    println!("{outcomes:#?}");
}

#[test]
fn a_table_file_that_claims_more_contents_than_it_has_room_for_is_refused_by_name() {
    let Filled { folder, .. } = filled();
    let file = table_files(folder.path(), 1).pop().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(4).rposition(|word| word == b"TOC!").unwrap();
    // The highest bit of the count: 2^31 entries, whose room no machine has.
    bytes[at + 7] ^= 0x80;
    fs::write(&file, &bytes).unwrap();
    let refused = DiskLog::open(folder.path(), &tiny(), 7).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("table of contents"), "{refused}");
    assert!(refused.contains(file.file_name().unwrap().to_str().unwrap()), "{refused}");
    assert_eq!(fs::read(&file).unwrap(), bytes);
}

#[test]
fn a_damaged_index_of_history_is_read_around_without_missing_a_batch() {
    let Filled { folder, appends, .. } = filled();
    // Table 3 is `history`.
    flip(folder.path(), 3);
    let log = DiskLog::open(folder.path(), &tiny(), 7).unwrap();
    let (all, mut ids) = (ReadFilter::ALL, Vec::new());
    let mut cursor = log.start(place(0), ReadStart::From, &all).unwrap();
    loop {
        let page = log.page(place(0), cursor, &all, 7, usize::MAX).unwrap();
        assert!(page.damaged.is_empty());
        ids.extend(page.batches.iter().map(|batch| batch.id));
        if page.at_end {
            break;
        }
        cursor = page.next;
    }
    assert_eq!(ids, appends.iter().map(|a| a.batch.id()).collect::<Vec<_>>());
    let last = log.start(place(0), ReadStart::Last(5), &all).unwrap();
    let page = log.page(place(0), last, &all, 100, usize::MAX).unwrap();
    assert_eq!((page.batches.len(), page.batches[0].cursor.skip()), (3, 1));
    assert!(!log.verify(&mut |_| {}).unwrap().faults.is_empty());
}

#[test]
fn a_damaged_batch_is_named_and_the_rest_is_served() {
    let Filled { folder, first, .. } = filled();
    let file = table_files(folder.path(), 1).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    bytes[500] ^= 1;
    fs::write(&file, bytes).unwrap();
    let log = DiskLog::open(folder.path(), &tiny(), 7).unwrap();
    let page = log.page(place(0), BEGIN, &ReadFilter::ALL, 1000, usize::MAX).unwrap();
    assert!(page.at_end && !page.damaged.is_empty() && !page.batches.is_empty());
    for damaged in &page.damaged {
        let (key, _) = damaged.batch.unwrap();
        assert_eq!((key.sequence, damaged.at), ((damaged.positions.start - first) * 2, place(0)));
    }
    assert_eq!(log.verify(&mut |_| {}).unwrap().damaged, page.damaged);
}

/// Between two lives of a store four thousand million positions have no batch: nobody may look at each of them.
#[test]
fn a_damaged_index_of_arrivals_is_read_around_over_a_gap_of_positions_without_missing_a_batch() {
    let Filled { folder, appends, .. } = filled();
    // Table 2 is `arrivals`.
    flip(folder.path(), 2);
    let log = DiskLog::open(folder.path(), &tiny(), 7).unwrap();
    let page = log.page(place(0), BEGIN, &ReadFilter::ALL, 1000, usize::MAX).unwrap();
    assert!(page.at_end && page.damaged.is_empty());
    let ids: Vec<_> = page.batches.iter().map(|batch| batch.id).collect();
    assert_eq!(ids, appends.iter().map(|a| a.batch.id()).collect::<Vec<_>>());
    let verified = log.verify(&mut |_| {}).unwrap();
    assert_eq!((verified.batches as usize, verified.damaged.len()), (BATCHES, 0));
    assert!(verified.faults.iter().any(|fault| fault.contains("arrivals")), "{:?}", verified.faults);
    drop(log);
    // With the index of history damaged too nothing tells where the batches are, and that is said.
    flip(folder.path(), 3);
    let log = DiskLog::open(folder.path(), &tiny(), 7).unwrap();
    let page = log.page(place(0), BEGIN, &ReadFilter::ALL, 1000, usize::MAX).unwrap();
    assert!(page.at_end && !page.damaged.is_empty());
    let lost: u64 = page.damaged.iter().map(|range| range.positions.end - range.positions.start).sum();
    assert!(page.batches.len() as u64 + lost >= BATCHES as u64);
}

#[test]
fn a_damaged_index_of_history_is_trimmed_around() {
    let Filled { folder, .. } = filled();
    flip(folder.path(), 3);
    let log = DiskLog::open(folder.path(), &tiny(), 7).unwrap();
    let (mut next, mut batches) = (None, 0);
    loop {
        let trimmed = log.trim(place(0), next, 101, 7).unwrap();
        batches += trimmed.batches;
        next = trimmed.next;
        if next.is_none() {
            break;
        }
    }
    // The batch of n holds the times n and n + 1.
    assert_eq!(batches, 100);
    let page = log.page(place(0), BEGIN, &ReadFilter::ALL, 1000, usize::MAX).unwrap();
    assert_eq!((page.batches.len(), page.damaged.len(), page.at_end), (BATCHES - 100, 0, true));
}

/// It has no arrival by which it could be found.
#[test]
fn what_fills_up_history_is_found_when_any_one_index_is_damaged() {
    let Filled { folder, appends, .. } = filled_where(|n| n % 3 == 1);
    let all = ReadFilter::ALL;
    for table in 2..=4 {
        let damaged = tempfile::tempdir().unwrap();
        copy(folder.path(), damaged.path());
        flip(damaged.path(), table);
        let log = DiskLog::open(damaged.path(), &tiny(), 7).unwrap();
        let start = log.start(place(0), ReadStart::From, &all).unwrap();
        let page = log.page(place(0), start, &all, 1000, usize::MAX).unwrap();
        assert_eq!(page.damaged, [], "table {table}");
        let ids: Vec<_> = page.batches.iter().map(|batch| batch.id).collect();
        assert_eq!(ids, appends.iter().map(|a| a.batch.id()).collect::<Vec<_>>(), "table {table}");
        // As far back as the damage.
        let last = log.start(place(0), ReadStart::Last(BATCHES as u64 * 2 - 1), &all).unwrap();
        let page = log.page(place(0), last, &all, 1000, usize::MAX).unwrap();
        assert_eq!((page.batches.len(), page.batches[0].cursor.skip()), (BATCHES, 1), "table {table}");
        let verified = log.verify(&mut |_| {}).unwrap();
        assert_eq!((verified.batches as usize, verified.damaged.len()), (BATCHES, 0), "table {table}");
        assert!(!verified.faults.is_empty(), "table {table}");
        let (mut next, mut batches) = (None, 0);
        loop {
            let trimmed = log.trim(place(0), next, 101, 7).unwrap();
            batches += trimmed.batches;
            next = trimmed.next;
            if next.is_none() {
                break;
            }
        }
        assert_eq!(batches, 100, "table {table}");
    }
    // With both of the indexes that lead to it damaged that is said.
    flip(folder.path(), 3);
    flip(folder.path(), 4);
    let log = DiskLog::open(folder.path(), &tiny(), 7).unwrap();
    let start = log.start(place(0), ReadStart::From, &all).unwrap();
    let page = log.page(place(0), start, &all, 1000, usize::MAX).unwrap();
    assert!(page.damaged.iter().any(|range| range.positions.is_empty() && range.batches_max() == 1));
}

#[test]
fn filling_up_history_where_its_index_is_damaged_changes_nothing_and_goes_on_elsewhere() {
    let Filled { folder, appends, .. } = filled();
    flip(folder.path(), 4);
    let log = DiskLog::open(folder.path(), &tiny(), 7).unwrap();
    let before = log.stats(place(0)).unwrap();
    let again: Vec<_> = appends.iter().map(past).collect();
    log.append(&again).unwrap();
    assert_eq!(log.stats(place(0)).unwrap(), before);
    let mut other = Publisher::new(9, 1, place(0));
    log.append(&[past(&other.batch(&[5]))]).unwrap();
    assert_eq!(log.stats(place(0)).unwrap().batches, before.batches + 1);
}

#[test]
fn damaged_heads_give_the_true_digest_or_an_error() {
    let Filled { folder, appends, series, .. } = filled();
    let mut expected = HeadsDigester::default();
    expected.add(&series, &SeriesHead::after(&appends[BATCHES - 1].batch));
    // Table 5 is `heads`.
    flip(folder.path(), 5);
    let log = DiskLog::open(folder.path(), &tiny(), 7).unwrap();
    match log.digest(place(0)) {
        Ok(digest) => assert_eq!(digest, expected.finish()),
        Err(error) => assert!(matches!(error, StoreError::Damaged(_)), "{error}"),
    }
}

#[test]
fn a_damaged_batch_ends_a_page_of_its_series_and_is_an_error_only_at_its_beginning() {
    let Filled { folder, appends, series, first } = filled();
    let file = table_files(folder.path(), 1).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    let log = DiskLog::open(folder.path(), &tiny(), 7).unwrap();
    let damaged = log.page(place(0), BEGIN, &ReadFilter::ALL, 1000, usize::MAX).unwrap().damaged;
    let lost = usize::try_from(damaged[0].positions.start - first).unwrap();
    assert!(lost > 0, "the first batch is damaged, so nothing comes before the hole");
    let read = |from| log.series_range(&series, SeriesStart::Sequence(from), u64::MAX, 1000, usize::MAX);
    let page = read(0).unwrap();
    let whole: Vec<_> = appends[..lost].iter().map(|a| a.batch.bytes().clone()).collect();
    assert_eq!((page.batches, page.base, page.more), (whole, 0, true));
    let at = appends[lost].batch.header().sequence;
    assert!(matches!(read(at), Err(StoreError::Damaged(_))));
    let behind = lost + damaged.len();
    let page = read(appends[behind].batch.header().sequence).unwrap();
    assert_eq!((page.batches.len(), page.more), (BATCHES - behind, false));
    // By time it begins behind the damage.
    let page = log.series_range(&series, SeriesStart::ReceivedAt(0), u64::MAX, 1000, usize::MAX).unwrap();
    assert_eq!(page.batches.len(), BATCHES - behind);
}

#[test]
fn damaged_totals_are_counted_again_with_what_fills_up_history() {
    let Filled { folder, .. } = filled_where(|n| n % 3 == 1);
    // Table 7 is `partitions`. Another one's rows drive this one's out of memory.
    let mut other = Publisher::new(2, 1, place(1));
    let log = DiskLog::open(folder.path(), &tiny(), 7).unwrap();
    for n in 0..300 {
        log.append(&[other.batch(&[n])]).unwrap();
    }
    let before = log.stats(place(0)).unwrap();
    drop(log);
    merge(folder.path());
    flip(folder.path(), 7);
    let log = DiskLog::open(folder.path(), &tiny(), 7).unwrap();
    let faults = log.verify(&mut |_| {}).unwrap().faults;
    assert!(faults.iter().any(|fault| fault.starts_with(&place(0).to_string())), "not damaged: {faults:?}");
    let after = log.stats(place(0)).unwrap();
    assert_eq!((after.batches, after.events, after.bytes), (before.batches, before.events, before.bytes));
    // And listed, though only history is left to tell of it.
    assert_eq!(log.partitions_after(None, 9).unwrap(), [place(0), place(1)]);
}
