//! Messages that are laid out by hand are those that Cap'n Proto would write, and are read as it reads them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use capnp::{message::Builder, traits::HasStructSize};
use mainstem_plugin_abi::{
    layout::{Words, Writer, event_words, sizes, tags, words_of},
    plugin_capnp::{Verdict, event, port_batch, reply, request, signed},
    write,
};

const EVENTS: [(i64, u16, &[u8]); 5] = [
    (-1, 0, b""),
    (0, 1, b"a"),
    (5, 300, b"12345678"),
    (i64::MAX, 65_535, b"123456789"),
    (7, 2, &[0xff; 64]),
];

fn fill(mut batch: port_batch::Builder<'_>, port: u16) {
    batch.set_port(port);
    let mut timestamps = batch.reborrow().init_timestamps(EVENTS.len() as u32);
    (0..).zip(EVENTS).for_each(|(index, (timestamp, ..))| timestamps.set(index, timestamp));
    let mut events = batch.init_events(EVENTS.len() as u32);
    for (index, (_, content_type, content)) in (0..).zip(EVENTS) {
        let mut to = events.reborrow().get(index);
        to.set_content_type(content_type);
        to.set_content(content);
    }
}

/// By hand, over what lay there before.
fn laid(bytes: usize) -> Option<Vec<u8>> {
    let mut place = vec![0xaa; bytes];
    let mut to = Writer::new(&mut place);
    let root = to.root(sizes::REQUEST, tags::ON_BATCH)?;
    let at = to.fields(root, sizes::PORT_BATCH)?;
    let timestamps = EVENTS.map(|(timestamp, ..)| timestamp);
    to.events(at, 3, &timestamps, EVENTS.iter().map(|(_, content_type, content)| (*content_type, *content)))?;
    let written = to.bytes();
    place.truncate(written);
    Some(place)
}

#[test]
fn structs_have_the_sizes_of_the_schema() {
    fn size<T: HasStructSize>() -> (usize, usize) {
        (T::STRUCT_SIZE.data.into(), T::STRUCT_SIZE.pointers.into())
    }
    assert_eq!(sizes::REQUEST, size::<request::Builder<'_>>());
    assert_eq!(sizes::REPLY, size::<reply::Builder<'_>>());
    assert_eq!(sizes::SIGNED, size::<signed::Builder<'_>>());
    assert_eq!(sizes::PORT_BATCH, size::<port_batch::Builder<'_>>());
    assert_eq!(sizes::EVENT, size::<event::Builder<'_>>());
}

#[test]
fn events_are_laid_out_byte_by_byte_as_cap_n_proto_writes_them() {
    let right = write::<request::Owned>(200, |request| fill(request.init_on_batch(), 3));
    let contents: usize = EVENTS.iter().map(|(_, _, content)| words_of(content.len())).sum();
    assert_eq!(right.len(), 8 * (1 + 3 + 3 + event_words(EVENTS.len()) + contents));
    assert_eq!(laid(right.len()).unwrap(), right);
    assert_eq!(laid(right.len() + 100).unwrap(), right, "and what is behind is left alone");
}

#[test]
fn a_place_that_is_too_short_is_told_whatever_is_missing() {
    let whole = laid(4_096).unwrap().len();
    for bytes in 0..whole {
        assert_eq!(laid(bytes), None, "{bytes} of {whole}");
    }
}

#[test]
fn events_and_verdicts_are_read_by_their_layout() {
    let message = write::<reply::Owned>(200, |reply| fill(reply.init_emitted(1).get(0), 3));
    let root = Words::of(&message).unwrap().root().unwrap();
    assert_eq!(root.u16(0), tags::EMITTED);
    let batch = root.structs(0).unwrap().get(0).unwrap();
    assert_eq!((batch.u16(0), batch.u16(2)), (3, tags::EVENTS));
    let events = batch.structs(1).unwrap();
    let read: Vec<_> = batch.i64s(0).unwrap().zip(events.iter()).collect();
    let read: Vec<_> =
        read.iter().map(|(time, event)| (*time, event.u16(0), event.bytes(0).unwrap())).collect();
    assert_eq!(read, EVENTS);

    let message = write::<reply::Owned>(16, |reply| {
        let mut verdicts = reply.init_verdicts(3);
        verdicts.set(0, Verdict::Expired);
        verdicts.set(2, Verdict::Unavailable);
    });
    let root = Words::of(&message).unwrap().root().unwrap();
    assert_eq!(root.u16(0), tags::VERDICTS);
    assert_eq!(root.u16s(0).unwrap().collect::<Vec<_>>(), [3, 0, 5]);
}

#[test]
fn what_is_missing_in_a_struct_is_0_and_no_bytes() {
    let message = write::<request::Owned>(16, |request| {
        request.init_on_batch().init_events(1);
    });
    let batch = Words::of(&message).unwrap().root().unwrap().fields(0).unwrap();
    let event = batch.structs(1).unwrap().get(0).unwrap();
    assert_eq!((event.u16(0), event.u16(8), event.bytes(0)), (0, 0, Some(&[][..])));
    assert_eq!(event.bytes(9), Some(&[][..]));
    assert!(batch.i64s(0).is_none() && batch.structs(7).is_none() && batch.fields(0).is_none());
}

#[test]
fn a_list_of_structs_of_nothing_is_left_to_who_counts_what_it_reads() {
    let mut message = Builder::new_default();
    message.init_root::<request::Builder<'_>>().init_on_batch().init_events(1);
    let mut bytes = message.get_segments_for_output()[0].to_vec();
    let tag = bytes.len() - 24;
    // Of 2^29 structs of no words and no pointers.
    bytes[tag..tag + 8].copy_from_slice(&(((1_u64 << 29) - 1) << 2).to_le_bytes());
    let batch = Words::of(&bytes).unwrap().root().unwrap().fields(0).unwrap();
    assert!(batch.structs(1).is_none());
}
