//! The log over records: what is read anew when it is opened, what the power takes, and what a store may do to it.

use crate::{
    batches::{Publisher, past, place},
    restart::BEGIN,
};
use mainstem_model::{
    Batch, BatchKey, Cursor, Equivocation, Query, ReadFilter, ReadStart, Record, RecordFault, RecordStore,
    Records,
};
use mainstem_store::{Append, EventLog, RecordConfig, RecordLog, StoreError};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
};

/// Records of which the power takes what was not synced, and of which some cannot be read.
#[derive(Debug, Default)]
pub(crate) struct Tape(Mutex<Reel>);

#[derive(Debug, Default)]
struct Reel {
    now: BTreeMap<u64, Record>,
    durable: BTreeMap<u64, Record>,
    damaged: BTreeSet<u64>,
    /// What is trimmed is gone for good at once, whatever is synced.
    trims_for_good: bool,
    /// The call that fails.
    fails: Option<&'static str>,
    /// Where every query says to go on.
    next: Option<u64>,
    /// So many queries behind the first one are answered with nothing, and with the next place to go on at.
    empty: usize,
}

impl Tape {
    fn reel(&self) -> MutexGuard<'_, Reel> {
        self.0.lock().unwrap()
    }

    fn places(&self) -> Vec<u64> {
        self.reel().now.keys().copied().collect()
    }

    fn cut_power(&self) {
        let mut reel = self.reel();
        reel.now = reel.durable.clone();
    }

    fn flip(&self, place: u64, byte: usize) {
        let mut reel = self.reel();
        let record = reel.now.get_mut(&place).unwrap();
        let mut value = record.value.to_vec();
        value[byte] ^= 1;
        record.value = value.into();
    }

    fn begin(&self, call: &'static str) -> Result<MutexGuard<'_, Reel>, RecordFault> {
        let reel = self.reel();
        if reel.fails == Some(call) {
            Err(RecordFault(format!("the tape tears at {call}")))
        } else {
            Ok(reel)
        }
    }
}

impl RecordStore for Tape {
    fn append(&self, records: &[Record]) -> Result<(), RecordFault> {
        let mut reel = self.begin("append")?;
        let last = reel.now.keys().next_back().copied();
        let places: Vec<_> = last.into_iter().chain(records.iter().map(|record| record.place)).collect();
        assert!(places.is_sorted_by(|one, other| one < other), "places go back: {places:?}");
        reel.now.extend(records.iter().map(|record| (record.place, record.clone())));
        Ok(())
    }

    fn sync(&self) -> Result<(), RecordFault> {
        let mut reel = self.begin("sync")?;
        reel.durable = reel.now.clone();
        Ok(())
    }

    /// Three records at a time at most.
    fn query(&self, query: &Query) -> Result<Records, RecordFault> {
        let mut reel = self.begin("query")?;
        if reel.empty > 0 && query.from > 0 {
            reel.empty -= 1;
            return Ok(Records { next: query.from + 1, ..Records::default() });
        }
        let mut found = Records { next: query.until, ..Records::default() };
        for (count, (place, record)) in reel.now.range(query.from..query.until).enumerate() {
            if count == query.records_max.min(3) {
                found.next = *place;
                break;
            }
            if reel.damaged.contains(place) {
                found.damaged.push(*place);
                continue;
            }
            let wanted = if query.prefix_bytes == 0 { usize::MAX } else { query.prefix_bytes };
            let value = record.value.slice(..record.value.len().min(wanted));
            found.records.push(Record { value, ..record.clone() });
        }
        found.next = reel.next.unwrap_or(found.next);
        Ok(found)
    }

    fn fetch(&self, places: &[u64]) -> Result<Records, RecordFault> {
        let reel = self.begin("fetch")?;
        let (damaged, whole): (Vec<_>, Vec<_>) =
            places.iter().partition(|place| reel.damaged.contains(place));
        let records = whole.iter().filter_map(|place| reel.now.get(place).cloned()).collect();
        Ok(Records { records, damaged, next: 0 })
    }

    fn trim(&self, places: &[u64]) -> Result<(), RecordFault> {
        let mut reel = self.begin("trim")?;
        reel.now.retain(|place, _| !places.contains(place));
        if reel.trims_for_good {
            reel.durable.retain(|place, _| !places.contains(place));
        }
        Ok(())
    }
}

type Log = RecordLog<Arc<Tape>>;

fn open(tape: &Arc<Tape>) -> Result<Log, StoreError> {
    RecordLog::open(Arc::clone(tape), &RecordConfig::default(), 7, "the tape")
}

fn refusal(tape: &Arc<Tape>) -> String {
    open(tape).map(|_| ()).unwrap_err().to_string()
}

/// A tape with batches that are synced, and where the record of the first is.
fn filled(count: i64) -> (Arc<Tape>, Publisher, Vec<Append>, u64) {
    let (tape, mut publisher) = (Arc::default(), Publisher::new(1, 1, place(0)));
    let log = open(&tape).unwrap();
    let appends: Vec<_> = (0..count).map(|n| publisher.batch(&[n, n + 1])).collect();
    log.append(&appends).unwrap();
    log.sync().unwrap();
    (tape, publisher, appends, 1)
}

fn kept(log: &dyn EventLog) -> Vec<bytes::Bytes> {
    let page = log.page(place(0), BEGIN, &ReadFilter::ALL, 1000, usize::MAX).unwrap();
    assert!(page.at_end && page.damaged.is_empty(), "{:?}", page.damaged);
    page.batches.into_iter().map(|batch| batch.bytes).collect()
}

fn bytes_of(appends: &[Append]) -> Vec<bytes::Bytes> {
    appends.iter().map(|append| append.batch.bytes().clone()).collect()
}

#[test]
fn a_reopened_log_has_everything_and_keeps_its_number() {
    let (tape, publisher, appends, _) = filled(20);
    let head = open(&tape).unwrap().series_head(&publisher.key()).unwrap();
    let log = RecordLog::open(Arc::clone(&tape), &RecordConfig::default(), 99, "the tape").unwrap();
    assert_eq!((log.log_id(), kept(&log)), (7, bytes_of(&appends)));
    assert_eq!(log.series_head(&publisher.key()).unwrap(), head);
    let mut whole = log.verify(&mut |_| {}).unwrap();
    assert_eq!((whole.batches, std::mem::take(&mut whole.damaged), whole.faults), (20, vec![], vec![]));
}

#[test]
fn what_was_not_synced_goes_with_the_power_and_no_cursor_misses_what_comes_after() {
    let (tape, _, appends, _) = filled(5);
    let log = open(&tape).unwrap();
    let mut lost = Publisher::new(1, 2, place(0));
    log.append(&(0..100).map(|n| lost.batch(&[n])).collect::<Vec<_>>()).unwrap();
    let now = log.start(place(0), ReadStart::Now, &ReadFilter::ALL).unwrap();
    tape.cut_power();
    drop(log);

    let log = open(&tape).unwrap();
    assert_eq!(kept(&log), bytes_of(&appends));
    assert_eq!(log.series_head(&lost.key()).unwrap(), None);
    let mut other = Publisher::new(2, 1, place(0));
    let new: Vec<_> = (0..100).map(|n| other.batch(&[n])).collect();
    log.append(&new).unwrap();
    let page = log.page(place(0), now, &ReadFilter::ALL, 1000, usize::MAX).unwrap();
    assert_eq!(page.batches.into_iter().map(|batch| batch.bytes).collect::<Vec<_>>(), bytes_of(&new));
}

#[test]
fn a_log_that_is_closed_in_order_leaves_nothing_to_the_power() {
    let (tape, mut publisher, ..) = filled(5);
    let log = open(&tape).unwrap();
    log.append(&[publisher.batch(&[50])]).unwrap();
    drop(log);
    tape.cut_power();
    assert_eq!(kept(&open(&tape).unwrap()).len(), 6);
}

#[test]
fn a_log_opened_again_and_again_gives_rising_positions_and_takes_every_cursor_it_gave() {
    let (tape, ..) = filled(3);
    let mut publisher = Publisher::new(1, 2, place(0));
    let (mut cursors, mut end) = (vec![BEGIN], 3);
    for round in 0..5 {
        let log = open(&tape).unwrap();
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
        }
    }
    assert_eq!(kept(&open(&tape).unwrap()).len(), 6);
    // Of all those openings two records are left, and the one of now.
    assert_eq!(tape.places().len(), 6 + 2, "{:?}", tape.places());
}

#[test]
fn every_byte_that_flips_is_found_and_every_other_batch_is_served() {
    let (tape, publisher, appends, first) = filled(6);
    let length = tape.reel().now[&(first + 2)].value.len();
    let whole = bytes_of(&appends);
    for byte in 0..length {
        tape.flip(first + 2, byte);
        let log = open(&tape).unwrap();
        let page = log.page(place(0), BEGIN, &ReadFilter::ALL, 1000, usize::MAX).unwrap();
        let others = [&whole[..2], &whole[3..]].concat();
        assert_eq!(page.batches.into_iter().map(|b| b.bytes).collect::<Vec<_>>(), others, "byte {byte}");
        assert!(page.damaged.iter().any(|range| range.positions.contains(&2)), "byte {byte}");
        assert_eq!(log.series_head(&publisher.key()).unwrap().unwrap().next_sequence, 12, "byte {byte}");
        match log.batch_at(&publisher.key(), 4) {
            Err(StoreError::Damaged(why)) => assert!(why.contains("checksum"), "{why}"),
            // Nothing tells what it was.
            Ok(None) => {
                let faults = log.verify(&mut |_| {}).unwrap().faults;
                assert_eq!(faults, [format!("the record at place {} cannot be read", first + 2)]);
            }
            other => panic!("byte {byte}: {other:?}"),
        }
        tape.flip(first + 2, byte);
    }
}

#[test]
fn a_record_that_the_store_cannot_read_is_named() {
    let (tape, publisher, appends, first) = filled(6);
    let log = open(&tape).unwrap();
    tape.reel().damaged.insert(first + 2);
    let page = log.page(place(0), BEGIN, &ReadFilter::ALL, 1000, usize::MAX).unwrap();
    let key = BatchKey::of(appends[2].batch.header());
    assert_eq!(page.damaged[0].batch, Some((key, appends[2].batch.id())));
    let error = log.batch_at(&publisher.key(), 4).unwrap_err().to_string();
    assert!(error.contains(&format!("place {}", first + 2)), "{error}");
    let log = open(&tape).unwrap();
    assert_eq!(log.verify(&mut |_| {}).unwrap().batches, 5);
    let page = log.page(place(0), BEGIN, &ReadFilter::ALL, 1000, usize::MAX).unwrap();
    assert_eq!((page.batches.len(), page.damaged[0].positions.clone()), (5, 2..3));
}

#[test]
fn what_was_trimmed_is_gone_when_the_log_is_opened_and_heads_are_not() {
    let (tape, mut publisher, appends, _) = filled(10);
    let log = open(&tape).unwrap();
    assert_eq!(log.trim(place(0), None, 5, 100).unwrap().batches, 4);
    log.sync().unwrap();
    tape.cut_power();
    drop(log);
    let log = open(&tape).unwrap();
    assert_eq!(kept(&log), bytes_of(&appends[4..]));
    assert_eq!(log.trim(place(0), None, i64::MAX, 100).unwrap().batches, 6);
    log.sync().unwrap();
    tape.cut_power();
    for _ in 0..3 {
        let log = open(&tape).unwrap();
        assert_eq!((kept(&log).len(), log.partitions().unwrap()), (0, vec![place(0)]));
        let head = log.series_head(&publisher.key()).unwrap().unwrap();
        assert_eq!((head.next_sequence, head.last), (20, appends[9].batch.id()));
    }
    let next = publisher.batch(&[50]);
    open(&tape).unwrap().append(std::slice::from_ref(&next)).unwrap();
    assert_eq!(kept(&open(&tape).unwrap()), bytes_of(&[next]));
}

#[test]
fn how_far_a_series_has_come_is_durable_before_its_last_batch_goes() {
    let (tape, publisher, appends, _) = filled(3);
    let log = open(&tape).unwrap();
    tape.reel().trims_for_good = true;
    log.trim(place(0), None, i64::MAX, 100).unwrap();
    tape.cut_power();
    drop(log);
    let head = open(&tape).unwrap().series_head(&publisher.key()).unwrap().unwrap();
    assert_eq!((head.next_sequence, head.last), (6, appends[2].batch.id()));
}

#[test]
fn a_trim_that_the_power_undid_is_done_again_and_no_batch_is_there_twice() {
    let (tape, publisher, appends, _) = filled(10);
    let log = open(&tape).unwrap();
    let durable = tape.reel().durable.clone();
    log.trim(place(0), None, i64::MAX, 100).unwrap();
    // They come back as what fills up history, and the power undoes the trimming alone.
    log.append(&appends[..3].iter().map(past).collect::<Vec<_>>()).unwrap();
    drop(log);
    tape.reel().now.extend(durable);
    let log = open(&tape).unwrap();
    let stats = log.stats(place(0)).unwrap();
    assert_eq!((stats.batches, stats.events), (10, 20));
    assert_eq!(log.series_head(&publisher.key()).unwrap().unwrap().next_sequence, 20);
    assert_eq!(log.trim(place(0), None, i64::MAX, 100).unwrap().batches, 10);
    drop(log);
    let log = open(&tape).unwrap();
    assert_eq!(log.stats(place(0)).unwrap().batches, 0);
    // A head and two openings.
    assert_eq!(tape.places().len(), 3, "{:?}", tape.places());
}

#[test]
fn a_frozen_series_and_its_proof_outlive_the_log() {
    let (tape, ..) = filled(0);
    let log = open(&tape).unwrap();
    let proof = |series| {
        let batch = |time| Batch::clone(&Publisher::new(1, series, place(0)).batch(&[time]).batch);
        Equivocation { first: batch(1), second: batch(2) }
    };
    let room = proof(1).first.bytes().len() * 5 / 2;
    for series in [1, 2] {
        log.freeze(&proof(series), room).unwrap();
    }
    tape.cut_power();
    drop(log);
    for _ in 0..2 {
        let log = open(&tape).unwrap();
        let [of_first, of_second] = [1, 2].map(|series| {
            let series = proof(series).series();
            assert!(log.series_head(&series).unwrap().unwrap().frozen);
            log.equivocation(&series).unwrap()
        });
        assert_eq!(of_first, None, "there was room for one");
        assert_eq!(of_second, Some((proof(2).first.bytes().clone(), proof(2).second.bytes().clone())));
    }
}

#[test]
fn a_store_may_answer_with_nothing_and_go_on_but_not_without_end() {
    let (tape, ..) = filled(3);
    tape.reel().empty = 10_000;
    drop(open(&tape).unwrap());
    tape.reel().empty = 10_001;
    let why = refusal(&tape);
    assert!(why.contains("none in 10001 answers before place 10004"), "{why}");
}

#[test]
fn a_store_that_lost_its_beginning_or_goes_round_in_circles_is_refused_and_nothing_is_deleted() {
    let (tape, ..) = filled(3);
    let life = tape.reel().now.remove(&0).unwrap();
    let before = tape.reel().now.clone();
    let why = refusal(&tape);
    assert!(why.contains("the tape") && why.contains("tells its number"), "{why}");
    assert_eq!(tape.reel().now, before);
    tape.reel().now.insert(0, life.clone());
    tape.reel().now.insert(u64::MAX - 1, Record { place: u64::MAX - 1, ..life });
    let why = refusal(&tape);
    assert!(why.contains("there are none behind it"), "{why}");
    tape.reel().next = Some(0);
    let why = refusal(&tape);
    assert!(why.contains("does not go on behind place 0"), "{why}");
}

#[test]
fn a_log_with_a_full_index_takes_no_more_and_one_with_more_is_not_opened() {
    // Four batches and a series.
    let (tape, mut publisher, ..) = filled(4);
    let open =
        |index_rows_max| RecordLog::open(Arc::clone(&tape), &RecordConfig { index_rows_max }, 7, "the tape");
    let why = open(4).map(|_| ()).unwrap_err().to_string();
    assert!(why.contains("index_rows_max, 4"), "{why}");
    let log = open(6).unwrap();
    log.append(&[publisher.batch(&[90])]).unwrap();
    let full = log.append(&[publisher.batch(&[91])]);
    assert!(
        matches!(&full, Err(StoreError::Poisoned(why)) if why.contains("index_rows_max allows, 6")),
        "{full:?}"
    );
    assert_eq!(kept(&log).len(), 5, "what is there can be read");
}

#[test]
fn after_a_write_that_fails_nothing_more_is_taken_and_all_can_be_read() {
    for fails in ["append", "sync", "trim"] {
        let (tape, mut publisher, appends, _) = filled(3);
        let log = open(&tape).unwrap();
        tape.reel().fails = Some(fails);
        let result = match fails {
            "append" => log.append(&[publisher.batch(&[7])]).map(drop),
            "sync" => log.sync(),
            _ => log.trim(place(0), None, 1, 100).map(drop),
        };
        let poisoned =
            |result| matches!(result, Err(StoreError::Poisoned(why)) if why.contains("the tape tears"));
        // Nothing was old enough, so nothing was trimmed.
        assert_eq!(poisoned(result), fails != "trim", "{fails}");
        if fails == "trim" {
            assert!(poisoned(log.trim(place(0), None, 50, 100).map(drop)));
        }
        tape.reel().fails = None;
        assert!(poisoned(log.append(&[publisher.batch(&[8])]).map(drop)), "{fails}");
        assert!(poisoned(log.sync()), "{fails}");
        assert!(bytes_of(&appends).starts_with(&kept(&log)), "{fails}");
    }
    let (tape, ..) = filled(3);
    let log = open(&tape).unwrap();
    tape.reel().fails = Some("fetch");
    let error = log.page(place(0), BEGIN, &ReadFilter::ALL, 10, 10).unwrap_err();
    assert!(matches!(error, StoreError::Records(_)), "a read is no write: {error}");
    log.sync().unwrap();
    tape.reel().fails = Some("query");
    assert!(refusal(&tape).contains("the tape tears at query"));
}
