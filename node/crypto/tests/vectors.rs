//! The vectors of `conformance/vectors` that need keys, hashes and trees alone.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells its counts"
)]

use mainstem_crypto::{Address, PublicKey, SecretKey, Signature, merkle, personal_message_digest, recover};
use serde_json::{Value, json};
use std::fs;

type Refused = (&'static str, &'static str);

/// Runs every case of a file: `run` gives the output of a valid input, or where and why it was refused.
fn check(file: &str, run: impl Fn(&Value) -> Result<Value, Refused>) {
    let path = format!("{}/../../conformance/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    let document: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let tests = document["tests"].as_array().unwrap();
    assert_eq!(Some(tests.len() as u64), document["numberOfTests"].as_u64());
    for test in tests {
        let expect = &test["expect"];
        let expected = match expect.get("valid") {
            Some(output) => Ok(output.clone()),
            None => Err((expect["phase"].as_str().unwrap(), expect["code"].as_str().unwrap())),
        };
        let found = run(&test["input"]);
        if test["flags"].as_array().unwrap().contains(&json!("DigestPastOrder")) {
            another_nonce_is_as_good(&test["input"], &expected.unwrap(), &found.unwrap());
        } else {
            assert_eq!(found, expected, "{}: {}", test["id"], test["comment"]);
        }
    }
    println!("{file}: {} cases", tests.len());
}

/// k256 0.13 does not take a digest modulo the order before it derives the nonce, as RFC 6979 says. No SHA-256 or Keccak
/// digest at or above the order is known (one in 2^128 is), and both signatures hold.
fn another_nonce_is_as_good(input: &Value, expected: &Value, found: &Value) {
    assert_ne!(expected["signature"], found["signature"], "k256 follows RFC 6979 now: drop this exception");
    for output in [expected, found] {
        let key = PublicKey::from_sec1(&unhex(&output["publicKey"])).unwrap();
        let signature = Signature::from_slice(&unhex(&output["signature"])).unwrap();
        assert_eq!(key.verify(&hash(&input["digest"]), &signature), Ok(()));
    }
}

fn unhex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn hash(value: &Value) -> [u8; 32] {
    unhex(value).try_into().unwrap()
}

fn texts(hashes: &[[u8; 32]]) -> Vec<String> {
    hashes.iter().map(hex::encode).collect()
}

#[test]
fn trees_and_paths_are_those_of_the_vectors() {
    check("merkle.json", |input| {
        if let Some(leaves) = input["leaves"].as_array() {
            let leaves: Vec<_> = leaves.iter().map(|leaf| merkle::leaf_hash(&[&unhex(leaf)])).collect();
            let paths = (0..leaves.len()).map(|i| texts(&merkle::path(&leaves, i).unwrap()));
            return Ok(json!({
                "leafHashes": texts(&leaves),
                "root": hex::encode(merkle::root(&leaves)),
                "paths": paths.collect::<Vec<_>>(),
            }));
        }
        if let Some(count) = input["numbers"].as_u64() {
            let leaves: Vec<_> = (0..count).map(|i| merkle::leaf_hash(&[&i.to_be_bytes()])).collect();
            let last = merkle::path(&leaves, leaves.len() - 1).unwrap();
            return Ok(json!({ "root": hex::encode(merkle::root(&leaves)), "lastPath": texts(&last) }));
        }
        let path: Vec<_> = input["path"].as_array().unwrap().iter().map(hash).collect();
        let place = |name: &str| input[name].as_u64().unwrap() as usize;
        let found = merkle::root_from_path(&hash(&input["leafHash"]), place("index"), place("count"), &path);
        if found == Some(hash(&input["root"])) {
            Ok(json!({}))
        } else {
            Err(("verify", "MERKLE_ROOT_MISMATCH"))
        }
    });
}

#[test]
fn keys_and_signatures_are_those_of_the_vectors() {
    const CODE: &str = "INVALID_SIGNATURE";
    check("signature.json", |input| {
        let Some(secret) = input.get("secretKey") else {
            let signature =
                Signature::from_slice(&unhex(&input["signature"])).map_err(|_| ("decode", CODE))?;
            let key = PublicKey::from_sec1(&unhex(&input["publicKey"])).unwrap();
            let address: Address = input["address"].as_str().unwrap().parse().unwrap();
            assert_eq!(key.address(), address);
            let digest = hash(&input["digest"]);
            let verified = key.verify(&digest, &signature);
            let recovered = recover(&digest, &signature).is_ok_and(|found| found.address() == address);
            assert_eq!(verified.is_ok(), recovered);
            return verified.map(|()| json!({})).map_err(|_| ("verify", CODE));
        };
        let key = SecretKey::from_bytes(&hash(secret)).map_err(|_| ("decode", CODE))?;
        if let Some(message) = input.get("message") {
            let digest = personal_message_digest(&unhex(message));
            let signature = hex::encode(key.sign(&digest).as_bytes());
            return Ok(json!({ "digest": hex::encode(digest), "signature": signature }));
        }
        Ok(json!({
            "publicKey": hex::encode(key.public_key().to_sec1()),
            "address": key.address().checksummed(),
            "signature": hex::encode(key.sign(&hash(&input["digest"])).as_bytes()),
        }))
    });
}
