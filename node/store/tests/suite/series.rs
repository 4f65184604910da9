//! Runs of one series.

use crate::{
    batches::{Publisher, past, place},
    subjects,
};
use mainstem_model::SeriesKey;
use mainstem_store::{Append, Config, DiskLog, EventLog, SeriesStart};

const MANY: usize = usize::MAX;

/// Ten batches of two events; the receive time is three more than the first event's.
fn batches(publisher: &mut Publisher) -> Vec<Append> {
    (0..10).map(|n| publisher.batch(&[n * 10, n * 10])).collect()
}

/// The batches of a page, by their number in the series.
fn numbers(log: &dyn EventLog, series: &SeriesKey, from: SeriesStart, until: u64) -> (Vec<u64>, u64, bool) {
    let page = log.series_range(series, from, until, MANY, MANY).unwrap();
    let number = |bytes| mainstem_model::Batch::decode(bytes).unwrap().header().sequence / 2;
    (page.batches.into_iter().map(number).collect(), page.base, page.more)
}

#[test]
fn a_run_of_a_series_begins_at_the_batch_of_an_event_or_a_time_and_ends_before_another() {
    for subject in subjects() {
        let (mut publisher, mut other) = (Publisher::new(1, 5, place(0)), Publisher::new(1, 6, place(0)));
        let batches = batches(&mut publisher);
        subject.log.append(&[&[other.batch(&[0])], &batches[..], &[other.batch(&[1])]].concat()).unwrap();
        let series = publisher.key();
        let sequence = SeriesStart::Sequence;
        let time = SeriesStart::ReceivedAt;
        for (from, until, expected) in [
            (sequence(0), u64::MAX, 0..10),
            (sequence(1), u64::MAX, 0..10),
            (sequence(6), u64::MAX, 3..10),
            (sequence(7), 12, 3..6),
            // It begins before the end and is given whole.
            (sequence(7), 11, 3..6),
            (sequence(19), u64::MAX, 9..10),
            (sequence(20), u64::MAX, 0..0),
            (sequence(u64::MAX), u64::MAX, 0..0),
            (sequence(8), 8, 0..0),
            (sequence(8), 3, 0..0),
            (sequence(0), 0, 0..0),
            (time(i64::MIN), u64::MAX, 0..10),
            (time(33), u64::MAX, 3..10),
            (time(34), u64::MAX, 4..10),
            (time(34), 12, 4..6),
            (time(94), u64::MAX, 0..0),
            (time(34), 6, 0..0),
            (time(0), 0, 0..0),
        ] {
            let (got, base, more) = numbers(&*subject.log, &series, from, until);
            assert_eq!(
                (got, base, more),
                (expected.collect(), 0, false),
                "{}: {from:?} {until}",
                subject.name
            );
        }
        let nobody = SeriesKey { series: mainstem_model::SeriesId(99), ..series };
        assert_eq!(numbers(&*subject.log, &nobody, sequence(0), u64::MAX), (vec![], 0, false));
    }
}

#[test]
fn a_run_is_as_long_as_there_is_room_and_at_least_one_batch_and_says_that_there_is_more() {
    for subject in subjects() {
        let mut publisher = Publisher::new(1, 1, place(0));
        let batches = batches(&mut publisher);
        subject.log.append(&batches).unwrap();
        let one = batches[0].batch.bytes().len();
        for (count, bytes, until, expected, more) in [
            (3, MANY, u64::MAX, 3, true),
            (10, MANY, u64::MAX, 10, false),
            (3, MANY, 6, 3, false),
            (MANY, 0, u64::MAX, 1, true),
            (0, MANY, u64::MAX, 1, true),
            (MANY, one * 4, u64::MAX, 4, true),
            (MANY, one * 4 + 1, u64::MAX, 5, true),
        ] {
            let start = SeriesStart::Sequence(0);
            let page = subject.log.series_range(&publisher.key(), start, until, count, bytes).unwrap();
            let wanted: Vec<_> = batches[..expected].iter().map(|a| a.batch.bytes().clone()).collect();
            assert_eq!((page.batches, page.more), (wanted, more), "{}: {count} {bytes}", subject.name);
        }
    }
}

#[test]
fn a_run_ends_at_a_hole_and_what_lies_behind_comes_when_asked_for() {
    for subject in subjects() {
        let mut publisher = Publisher::new(1, 1, place(0));
        let batches = batches(&mut publisher);
        let (series, log) = (publisher.key(), &*subject.log);
        log.append(&[past(&batches[7]), past(&batches[8]), past(&batches[2]), past(&batches[3])]).unwrap();
        let read = |sequence| numbers(log, &series, SeriesStart::Sequence(sequence), u64::MAX);
        assert_eq!(read(0), (vec![2, 3], 4, true), "{}", subject.name);
        assert_eq!(read(8), (vec![7, 8], 4, false), "{}", subject.name);
        // Behind the hole begins what is not asked for.
        assert_eq!(numbers(log, &series, SeriesStart::Sequence(0), 14), (vec![2, 3], 4, false));
        log.append(&[past(&batches[4]), past(&batches[5]), past(&batches[6])]).unwrap();
        assert_eq!(read(0), (vec![2, 3, 4, 5, 6, 7, 8], 4, false), "{}", subject.name);
    }
}

#[test]
fn the_base_rises_as_a_series_is_trimmed_and_ends_at_its_head() {
    for subject in subjects() {
        let mut publisher = Publisher::new(1, 1, place(0));
        subject.log.append(&batches(&mut publisher)).unwrap();
        let read = || numbers(&*subject.log, &publisher.key(), SeriesStart::Sequence(0), u64::MAX);
        subject.log.trim(place(0), None, 40, MANY).unwrap();
        assert_eq!(read(), (vec![4, 5, 6, 7, 8, 9], 8, false), "{}", subject.name);
        subject.log.trim(place(0), None, i64::MAX, MANY).unwrap();
        assert_eq!(read(), (vec![], 20, false), "{}", subject.name);
    }
}

#[test]
fn a_search_by_receive_time_ends_at_its_bound_of_rows() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { since_rows_max: 3, ..Config::default() };
    let log = DiskLog::open(folder.path(), &config, 7).unwrap();
    let mut publisher = Publisher::new(1, 1, place(0));
    log.append(&batches(&mut publisher)).unwrap();
    let read = |until| numbers(&log, &publisher.key(), SeriesStart::ReceivedAt(0), until).0;
    assert_eq!(read(u64::MAX), [7, 8, 9]);
    assert_eq!(read(12), [3, 4, 5]);
}
