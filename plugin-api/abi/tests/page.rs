//! The messages that `ABI.md` shows byte by byte are those that it says they are.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mainstem_plugin_abi::{
    layout::Words,
    plugin_capnp::{Verdict, reply, request},
    read,
};

const PAGE: &str = include_str!("../../ABI.md");

/// The messages that stand alone, in their order. Each line begins with a word.
fn shown() -> Vec<Vec<u8>> {
    let blocks = PAGE.split("```text\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.map(|block| block.lines().flat_map(word).collect()).collect()
}

/// The word that a line begins with.
fn word(line: &str) -> [u8; 8] {
    let bytes = line.split(' ').take(8).map(|byte| u8::from_str_radix(byte, 16).unwrap());
    bytes.collect::<Vec<_>>().try_into().unwrap()
}

#[test]
fn a_struct_of_another_minor_is_read_as_far_as_it_is_known() {
    let shown = shown();
    let [older, newer] = &shown[..] else { panic!("the page shows {} messages", shown.len()) };
    for bytes in [older, newer] {
        let message = read(bytes).unwrap();
        let reply::Origin(origin) = message.get_root::<reply::Reader<'_>>().unwrap().which().unwrap() else {
            panic!("another reply");
        };
        let origin = origin.unwrap();
        assert_eq!((origin.get_type(), origin.get_value().unwrap()), (200, &[1, 2, 3, 4][..]));
    }
    // As one reads it that knows of a number in word 1 and of a text behind pointer 1.
    let added = |bytes: &[u8]| {
        let origin = Words::of(bytes).unwrap().root().unwrap().fields(0).unwrap();
        (origin.u16(8), origin.bytes(1).unwrap().to_vec())
    };
    assert_eq!(added(older), (0, Vec::new()));
    assert_eq!(added(newer), (5, b"new\0".to_vec()));
}

#[test]
fn the_shortest_call_of_a_plugin_for_signatures_and_a_reply_are_what_they_are_said_to_be() {
    let said = PAGE.split("So `verify` of no items").nth(1).unwrap().split("\n\n").next().unwrap();
    // Each between backticks: eight bytes in two digits.
    let words: Vec<_> = said.split('`').filter(|part| part.len() == 8 * 3 - 1).map(word).collect();
    let [tag, ..] = &words[..] else { panic!("the page shows no words") };
    assert_eq!((words.len(), tag[4]), (6, 2));

    let mut bytes = words[..2].concat();
    bytes.extend([0; 16]);
    let message = read(&bytes).unwrap();
    let request::Verify(items) = message.get_root::<request::Reader<'_>>().unwrap().which().unwrap() else {
        panic!("another request");
    };
    assert_eq!(items.unwrap().len(), 0);

    let bytes = words[2..].concat();
    let message = read(&bytes).unwrap();
    let reply::Verdicts(verdicts) = message.get_root::<reply::Reader<'_>>().unwrap().which().unwrap() else {
        panic!("another reply");
    };
    let verdicts: Vec<_> = verdicts.unwrap().iter().map(Result::unwrap).collect();
    assert_eq!(verdicts, [Verdict::Valid, Verdict::Invalid]);
}
