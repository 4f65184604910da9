//! What RFC 8032 says of keys and signatures, and what the plugin makes of them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mainstem_plugin_ed25519::Plugin;
use mainstem_plugin_sdk::{
    FailureCode, Scheme, Verdict,
    harness::{Capability, Harness, Item, Node, check},
};

/// Seed, public key, message and signature of RFC 8032, section 7.1, tests 1 to 3.
const RFC: [[&str; 4]; 3] = [
    [
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ],
    [
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ],
    [
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ],
];

/// SHA-256 of `abc`, as a batch id.
const BATCH_ID: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// What OpenSSL signs it with, by the seeds of [`RFC`].
const SIGNATURES: [&str; 3] = [
    "096f5569d807ee8ac7b1913da70cf0aab335c258f4b94c8f210dd141e9743927c8d1a6b378872a72c9446c1f75e6dc7b2def98bd0c214be6706d48791f57680a",
    "6995e1a009aea0a390833093b5e8b43f508f46e140ddf9bb98d56a49b98870e758c93435aebaea6c3db515f8b7631c1ddf4c3d091e5443d37e5ee5773940d408",
    "469d095759f601a3108b75888fcc834d178c8b9660c49e379f000a3cf9119cf6738fc1418936353f3ea4fefdd0f737cab73056b0b25ef9c7c7bde4f49eb12a05",
];

fn bytes(digits: &str) -> Vec<u8> {
    hex::decode(digits).unwrap()
}

fn item(of: usize) -> Item {
    Item {
        header: b"abc".to_vec(),
        batch_id: bytes(BATCH_ID),
        origin_type: 17,
        origin: bytes(RFC[of][1]),
        timestamp: 1_750_000_000_000,
        signature: bytes(SIGNATURES[of]),
    }
}

fn verdicts(items: &[Item]) -> Vec<Verdict> {
    Harness::<Plugin>::default().verify(items).unwrap()
}

#[test]
fn the_primitive_that_judges_holds_to_the_rfc() {
    for [_, key, message, signature] in RFC {
        let (key, mut message, signature) = (bytes(key), bytes(message), bytes(signature));
        assert!(check(Scheme::Ed25519, &key, &message, &signature));
        message.push(0);
        assert!(!check(Scheme::Ed25519, &key, &message, &signature));
    }
}

#[test]
fn what_others_signed_is_valid() {
    let items = [item(0), item(1), item(2)];
    assert_eq!(verdicts(&items), [Verdict::Valid; 3]);
}

#[test]
fn it_signs_as_others_do() {
    for (of, [seed, ..]) in RFC.iter().enumerate() {
        let mut harness = Harness::<Plugin>::default();
        let id = bytes(BATCH_ID);
        let signed = harness.sign(&bytes(seed), &[&id, &[7; 32]]).unwrap();
        assert_eq!(hex::encode(&signed[0]), SIGNATURES[of]);
        let own = Item { batch_id: vec![7; 32], signature: signed[1].clone(), ..item(of) };
        assert_eq!(harness.verify(&[own]).unwrap(), [Verdict::Valid]);
    }
}

#[test]
fn a_bad_item_does_not_change_what_is_said_of_others() {
    let mut flipped = item(0);
    flipped.signature[5] ^= 1;
    let cut = Item { signature: item(0).signature[..63].to_vec(), ..item(0) };
    let missing = Item { signature: vec![], ..item(0) };
    let short = Item { origin: vec![1; 31], ..item(0) };
    let other = Item { origin: item(1).origin, ..item(0) };
    let elsewhere = Item { batch_id: vec![0; 32], ..item(0) };
    let items = [item(1), flipped, cut, item(2), missing, short, other, elsewhere, item(0)];
    let (yes, no, malformed) = (Verdict::Valid, Verdict::Invalid, Verdict::Malformed);
    assert_eq!(verdicts(&items), [yes, no, malformed, yes, malformed, no, no, no, yes]);
}

#[test]
fn more_items_than_a_host_request_takes_are_asked_for_in_parts() {
    let mut items = vec![item(0); 2_500];
    items[1_024].signature[0] ^= 1;
    let verdicts = verdicts(&items);
    assert_eq!(verdicts.iter().filter(|of| **of == Verdict::Valid).count(), 2_499);
    assert_eq!(verdicts[1_024], Verdict::Invalid);
}

#[test]
fn every_bit_of_a_signature_counts() {
    let flipped = |bit: usize| {
        let mut item = item(0);
        item.signature[bit / 8] ^= 1 << (bit % 8);
        item
    };
    let items: Vec<_> = (0..512).map(flipped).collect();
    assert_eq!(verdicts(&items), [Verdict::Invalid; 512]);
}

#[test]
fn a_key_of_another_length_is_refused_with_its_length() {
    let failure = Harness::<Plugin>::default().sign(&[1; 64], &[&[0; 32]]).unwrap_err();
    assert_eq!(failure.code, FailureCode::Invalid);
    assert_eq!(failure.message, "the key has 64 bytes; it must be the seed of 32");
}

#[test]
fn without_the_node_s_cryptography_it_says_so() {
    let node = Node { granted: vec![Capability::Log], ..Node::default() };
    let failure = Harness::<Plugin>::new(node).verify(&[item(0)]).unwrap_err();
    assert_eq!(failure.code, FailureCode::Denied);
}
