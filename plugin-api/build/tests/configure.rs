//! What is filled into a module after it was compiled.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mainstem_plugin_abi::configuration::MARK;
use mainstem_plugin_build::{ConfigureError, configure};

fn module(capacity: u32, room: usize) -> Vec<u8> {
    [&b"before"[..], MARK, &capacity.to_le_bytes(), &[0; 4], &vec![0; room], b"behind"].concat()
}

#[test]
fn a_configuration_stands_behind_its_length_and_nothing_of_an_older_one_is_left() {
    let long = configure(&module(8, 8), b"12345678").unwrap();
    let short = configure(&long, b"abc").unwrap();
    assert_eq!(short, [b"before", &MARK[..], &[8, 0, 0, 0, 3, 0, 0, 0], b"abc\0\0\0\0\0behind"].concat());
    assert_eq!(short, configure(&module(8, 8), b"abc").unwrap());
    assert_eq!(configure(&short, b"").unwrap(), module(8, 8));
}

#[test]
fn what_does_not_fit_is_refused() {
    assert_eq!(configure(b"\0asm", b""), Err(ConfigureError::NoPlace));
    assert_eq!(configure(&module(2, 2), b"abc"), Err(ConfigureError::TooLong { bytes: 3, capacity: 2 }));
    assert_eq!(configure(&module(100, 2), b""), Err(ConfigureError::Damaged));
    assert_eq!(configure(&[module(2, 2), module(2, 2)].concat(), b""), Err(ConfigureError::Damaged));
    assert_eq!(configure(&module(2, 2)[..40], b""), Err(ConfigureError::Damaged));
    assert_eq!(configure(&module(u32::MAX, 2), b""), Err(ConfigureError::Damaged));
}
