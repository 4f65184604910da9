//! Records lie in objects, and are found there as they were written or told damaged.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mainstem_plugin_s3::{Kept, Kind, Name, Object, ObjectError, RECORDS_MAX, Stem};
use proptest::prelude::*;

const RECORDS: [Kept<'_>; 3] = [
    Kept { place: 3, timestamp: -7, value: b"three" },
    Kept { place: 4, timestamp: i64::MAX, value: b"" },
    Kept { place: u64::MAX, timestamp: 0, value: b"the last one" },
];

/// Place, timestamp and value of a record, or what is wrong with it.
type Read = Result<(u64, i64, Vec<u8>), ObjectError>;

/// All records of an object.
fn all(bytes: &[u8]) -> Result<Vec<Read>, ObjectError> {
    let object = Object::decode(bytes)?;
    let read = |entry: &mainstem_plugin_s3::Entry| {
        let value = bytes.get(entry.offset as usize..).ok_or(ObjectError::Short)?;
        Ok((entry.place, entry.timestamp, entry.value(value)?.to_vec()))
    };
    Ok(object.entries().iter().map(read).collect())
}

fn written(records: &[Kept<'_>]) -> Vec<Read> {
    records.iter().map(|it| Ok((it.place, it.timestamp, it.value.to_vec()))).collect()
}

#[test]
fn what_was_written_is_read_also_with_the_index_alone() {
    let bytes = Object::encode(&RECORDS).unwrap();
    assert_eq!(all(&bytes).unwrap(), written(&RECORDS));
    let index = &bytes[..Object::index_length(&bytes[..12]).unwrap()];
    let object = Object::decode(index).unwrap();
    let last = object.entry(u64::MAX).unwrap();
    assert_eq!(last.value(&bytes[last.offset as usize..]).unwrap(), b"the last one");
    assert_eq!(object.entry(5), None);
    assert_eq!(all(&Object::encode(&[]).unwrap()).unwrap(), []);
}

#[test]
fn a_flipped_bit_is_found_where_it_is_and_costs_no_other_record() {
    let bytes = Object::encode(&RECORDS).unwrap();
    let values = Object::index_length(&bytes).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let found = all(&damaged);
        if bit / 8 < values {
            assert!(found.is_err(), "bit {bit} of the index");
            continue;
        }
        let found = found.unwrap();
        let broken = found.iter().filter(|record| **record == Err(ObjectError::Value)).count();
        let right = found.iter().zip(written(&RECORDS)).filter(|(found, right)| **found == *right).count();
        assert_eq!((broken, right), (1, 2), "bit {bit}");
    }
}

#[test]
fn an_object_that_is_cut_gives_what_is_whole() {
    let bytes = Object::encode(&RECORDS).unwrap();
    let values = Object::index_length(&bytes).unwrap();
    for length in 0..bytes.len() {
        let found = all(&bytes[..length]);
        if length < values {
            assert_eq!(found, Err(ObjectError::Short), "{length}");
        } else {
            let found = found.unwrap();
            assert_eq!(found.last(), Some(&Err(ObjectError::Short)), "{length}");
            assert_eq!(found[0].is_ok(), length >= values + 5, "{length}");
        }
    }
}

#[test]
fn what_is_no_object_is_refused() {
    let mut many = Object::encode(&[]).unwrap();
    many[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(Object::decode(&many), Err(ObjectError::Index));
    assert_eq!(Object::decode(b"<html>no object</html>"), Err(ObjectError::Mark));
    let twice = [RECORDS[0], RECORDS[0]];
    assert_eq!(Object::encode(&twice), Err(ObjectError::Records));
    let record = |place| Kept { place, timestamp: 0, value: b"" };
    let most: Vec<_> = (0..RECORDS_MAX as u64 + 1).map(record).collect();
    assert_eq!(Object::encode(&most), Err(ObjectError::Records));
    assert_eq!(Object::decode(&Object::encode(&most[1..]).unwrap()).unwrap().entries().len(), RECORDS_MAX);
}

#[test]
fn names_have_the_order_of_places_and_name_one_each() {
    let places = [0, 1, 9, 10, 15, 16, 255, 1 << 32, u64::MAX];
    let names: Vec<_> = places.iter().map(|place| Name::Of(Stem::of(*place), Kind::Records)).collect();
    assert!(names.iter().map(Name::to_string).is_sorted());
    let span = Stem { first: 16, last: Some(255) };
    let others = [Name::Of(span, Kind::Records), Name::Of(span, Kind::Gone), Name::Trimmed(7)];
    for name in names.iter().chain(&others) {
        assert_eq!(Name::read(name.to_string().as_bytes()), Some(*name), "{name}");
    }
    assert_eq!(others.map(|name| name.to_string())[0], "0000000000000010-00000000000000ff.records");
    for other in [
        "",
        "0.records",
        "000000000000000A.records",
        "0000000000000000.record",
        "0000000000000000",
        "+00000000000000a.records",
        "0000000000000001-.records",
        "0000000000000001-2.gone",
        "0000000000000001-0000000000000002.trimmed",
    ] {
        assert_eq!(Name::read(other.as_bytes()), None, "{other}");
    }
}

proptest! {
    #[test]
    fn any_records_are_read_as_they_were_written(values in prop::collection::btree_map(any::<u64>(), (any::<i64>(), prop::collection::vec(any::<u8>(), 0..200)), 0..40)) {
        let records: Vec<_> =
            values.iter().map(|(place, (timestamp, value))| Kept { place: *place, timestamp: *timestamp, value }).collect();
        prop_assert_eq!(all(&Object::encode(&records).unwrap()).unwrap(), written(&records));
    }

    #[test]
    fn bytes_that_are_none_are_no_object_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let marked = [&Object::encode(&[]).unwrap()[..8], &bytes].concat();
        drop((all(&bytes), all(&marked)));
    }
}
