//! The plugins of this repository, as `tools/plugins.sh` builds them, keep to the ABI of their kind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mainstem_crypto::sha256;
use mainstem_plugin_host::{
    CallError, Capability, Compiler, Config, Grants, Host, Plugin, SignedItem, Status, Verdict, conformance,
};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

const NAMES: [&str; 14] = [
    "aes-256-gcm",
    "ed25519",
    "erc1271",
    "ewma-anomaly",
    "filter",
    "memory",
    "ml-dsa-65",
    "p256-c",
    "scale-as",
    "secp256k1",
    "segments",
    "window-aggregate",
    "x509",
    "xchacha20poly1305",
];

/// What a call may take by default is of a clock, and machines that do other things too are slow at times.
fn patient() -> Config {
    let ms = 10_000;
    Config { deadline_ms_default: ms, deadline_ms_max: ms, ..Config::default() }
}

fn plugin(name: &str) -> Plugin {
    load(&module(name))
}

fn module(name: &str) -> Vec<u8> {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    let path = target.join("plugins").join(format!("{name}.wasm"));
    let module = fs::read(&path);
    module.unwrap_or_else(|_| panic!("{} is missing: run tools/plugins.sh", path.display()))
}

fn load(module: &[u8]) -> Plugin {
    let host = Host::new(patient(), None, Compiler::InProcess).unwrap();
    host.load(module, Grants::default()).unwrap()
}

#[test]
fn every_plugin_keeps_to_what_the_abi_says_of_its_kind() {
    for name in NAMES {
        let folder = tempfile::tempdir().unwrap();
        let mut grants = Grants { files: Some(folder.path().join("files")), ..Grants::default() };
        grants.capabilities.insert(Capability::Blob);
        let host = Host::new(patient(), None, Compiler::InProcess).unwrap();
        let findings = conformance(&host.load(&module(name), grants).unwrap());
        let broken: Vec<_> = findings.iter().filter(|finding| finding.fault.is_some()).collect();
        assert!(broken.is_empty() && findings.len() > 5, "{name}: {broken:?}");
    }
}

#[test]
fn what_the_ed25519_plugin_signs_holds_and_no_flipped_bit_of_it_does() {
    let plugin = plugin("ed25519");
    let header = [3; 203];
    let batch_id = sha256(&header);
    let origin = plugin.origin(&[9; 32]).unwrap();
    let signature = plugin.sign(&[9; 32], &[batch_id]).unwrap().remove(0);
    let item = |signature| SignedItem {
        header: &header,
        batch_id,
        origin_type: 17,
        origin: origin.value(),
        timestamp: 0,
        signature,
    };
    assert_eq!(plugin.verify(&[item(&signature)]).unwrap(), [Verdict::Valid]);
    let flipped: Vec<_> = (0..signature.len() * 8)
        .map(|bit| {
            let mut flipped = signature.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped
        })
        .collect();
    let items: Vec<_> = flipped.iter().map(|signature| item(signature)).collect();
    for some in items.chunks(32) {
        assert!(plugin.verify(some).unwrap().iter().all(|verdict| *verdict == Verdict::Invalid));
    }
    assert!(matches!(plugin.origin(&[9; 31]), Err(CallError::Failed { .. })));
    assert_eq!(plugin.status(), Status::On);
}

#[test]
fn what_a_p256_key_signs_holds_by_the_plugin_in_c_and_no_flipped_bit_of_it_does() {
    let (plugin, random) = (plugin("p256-c"), SystemRandom::new());
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let header = [3; 203];
    let batch_id = sha256(&header);
    let key = || {
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).unwrap()
    };
    // The public key, and then r and s.
    let sign = |key: &EcdsaKeyPair| {
        let signature = key.sign(&random, &batch_id).unwrap();
        let parts: [&[u8]; 2] = [key.public_key().as_ref(), signature.as_ref()];
        parts.concat()
    };
    let (mine, other) = (key(), key());
    let origins = [&mine, &other].map(|key| sha256(key.public_key().as_ref()));
    let signatures = [&mine, &other].map(sign);
    let foreign = [&signatures[1][..65], &signatures[0][65..]].concat();
    let item = |batch_id: [u8; 32], origin, signature| SignedItem {
        header: &header,
        batch_id,
        origin_type: 18,
        origin,
        timestamp: 0,
        signature,
    };
    let (yes, no, malformed) = (Verdict::Valid, Verdict::Invalid, Verdict::Malformed);
    let items = [
        item(batch_id, &origins[0], &signatures[0]),
        item(batch_id, &origins[1], &signatures[0]),
        item(batch_id, &origins[1], &signatures[1]),
        item(batch_id, &origins[0][..31], &signatures[0]),
        // A key that is the origin's, and a signature of another one.
        item(batch_id, &origins[1], &foreign),
        item(batch_id, &origins[0], &signatures[0][..128]),
        item(batch_id, &origins[0], &signatures[0]),
    ];
    assert_eq!(plugin.verify(&items).unwrap(), [yes, no, yes, no, no, malformed, yes]);

    let flipped: Vec<_> = (0..129 * 8)
        .map(|bit| {
            let mut flipped = signatures[0].clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped
        })
        .collect();
    for (at, some) in flipped.chunks(8).enumerate() {
        let items: Vec<_> = some.iter().map(|signature| item(batch_id, &origins[0], signature)).collect();
        // The first byte says which form the key has.
        let right = if at == 0 { malformed } else { no };
        assert_eq!(plugin.verify(&items).unwrap(), [right; 8], "byte {at}");
    }
    for bit in 0..256 {
        let mut flipped = batch_id;
        flipped[bit / 8] ^= 1 << (bit % 8);
        let item = item(flipped, &origins[0], &signatures[0]);
        assert_eq!(plugin.verify(&[item]).unwrap(), [no], "bit {bit} of the batch id");
    }
    assert_eq!(plugin.status(), Status::On);
}

#[test]
fn as_many_ml_dsa_65_signatures_as_a_node_sends_in_one_call_stay_far_within_its_limits() {
    // 46 of 5,261 bytes fill what the scheme sends at once.
    const ITEMS: usize = 46;
    let plugin = plugin("ml-dsa-65");
    let key = [9; 32];
    let origin = plugin.origin(&key).unwrap();
    let before = plugin.counters();
    let headers: Vec<_> = (0..ITEMS).map(|index| [u8::try_from(index).unwrap(); 203]).collect();
    let ids: Vec<_> = headers.iter().map(|header| sha256(header)).collect();
    let mut signatures = Vec::new();
    let mut sign_fuel = 0;
    for id in &ids {
        let before = plugin.counters().fuel;
        signatures.extend(plugin.sign(&key, &[*id]).unwrap());
        sign_fuel = sign_fuel.max(plugin.counters().fuel - before);
    }
    let signed = plugin.counters();
    let items: Vec<_> = (0..ITEMS)
        .map(|at| SignedItem {
            header: &headers[at],
            batch_id: ids[at],
            origin_type: 19,
            origin: origin.value(),
            timestamp: 0,
            signature: &signatures[at],
        })
        .collect();
    let started = std::time::Instant::now();
    assert_eq!(plugin.verify(&items).unwrap(), [Verdict::Valid; ITEMS]);
    let fuel = plugin.counters().fuel - signed.fuel;
    println!(
        "ml-dsa-65: {ITEMS} verified with {fuel} of fuel in {:?}; signing one took at most {sign_fuel}, {} on average",
        started.elapsed(),
        (signed.fuel - before.fuel) / ITEMS as u64
    );
    let wished = plugin.manifest().limits.fuel;
    assert!(fuel < wished / 2 && sign_fuel < wished / 4, "{fuel}, {sign_fuel} of {wished}");
    assert_eq!(plugin.status(), Status::On);
}

#[test]
fn an_x509_module_trusts_the_roots_that_it_was_configured_with_and_its_id_names_them() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/x509/tests/vectors");
    let read = |name| fs::read(vectors.join(name)).unwrap();
    let (leaf, sub) = (read("openssl-leaf.der"), read("openssl-sub.der"));
    let length = |der: &[u8]| u16::try_from(der.len()).unwrap().to_be_bytes();
    let signature =
        [&[2], &length(&leaf)[..], &leaf, &length(&sub), &sub, &[1], &read("openssl-leaf.sig")].concat();
    // As OpenSSL says of the key.
    let origin = hex::decode("3cc75fb9a7c2a1aa0d7ba77a4bfe2b35730e77ac9328fecdaf634c252de40cc5").unwrap();
    let item = SignedItem {
        header: b"abc",
        batch_id: sha256(b"abc"),
        origin_type: 20,
        origin: &origin,
        timestamp: 1_800_000_000_000,
        signature: &signature,
    };
    let module = module("x509");
    let plain = load(&module);
    assert_eq!(plain.verify(&[item]).unwrap(), [Verdict::Untrusted]);

    let roots = read("openssl-root.pem");
    let configured = load(&mainstem_plugin_build::configure(&module, &roots).unwrap());
    let elsewhere = SignedItem { batch_id: sha256(b"abd"), ..item };
    let later = SignedItem { timestamp: i64::MAX, ..item };
    let (yes, no, expired) = (Verdict::Valid, Verdict::Invalid, Verdict::Expired);
    assert_eq!(configured.verify(&[item, elsewhere, later, item]).unwrap(), [yes, no, expired, yes]);
    assert_ne!(configured.id(), plain.id());
    let findings = conformance(&configured);
    assert!(findings.iter().all(|finding| finding.fault.is_none()), "{findings:?}");
    let fuel = configured.counters().fuel;
    configured.verify(&[item; 64]).unwrap();
    println!("x509: 64 of one device verified with {} of fuel", configured.counters().fuel - fuel);

    let broken = mainstem_plugin_build::configure(&module, b"-----BEGIN CERTIFICATE-----").unwrap();
    let error = load(&broken).verify(&[item]).unwrap_err();
    assert!(error.to_string().contains("root 1 that this module was configured with has no end"), "{error}");
}

#[test]
fn a_plugin_that_breaks_the_rules_is_found_out() {
    // It says yes to everything.
    let wat = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/fixtures/well-behaved.wat"),
    )
    .unwrap();
    let module = wat::parse_str(wat).unwrap();
    let manifest = mainstem_plugin_abi::Manifest {
        name: "says-yes".into(),
        version: "0.1.0".into(),
        description: String::new(),
        // What the fixture was written against.
        abi: mainstem_plugin_abi::Version { major: 1, minor: 0 },
        abi_minor_least: 0,
        claim: mainstem_plugin_abi::Claim::Signature(mainstem_plugin_abi::SignatureClaim {
            signature_type: 240,
            origin_types: vec![240],
            signs: false,
        }),
        capabilities: Vec::new(),
        limits: mainstem_plugin_abi::Limits::default(),
    };
    let mut module = module;
    let (name, encoded) = (mainstem_plugin_abi::SECTION.as_bytes(), manifest.encode().unwrap());
    let length = 1 + name.len() + encoded.len();
    module.extend([0, (length & 0x7f) as u8 | 0x80, (length >> 7) as u8, name.len() as u8]);
    module.extend(name);
    module.extend(encoded);
    let host = Host::new(patient(), None, Compiler::InProcess).unwrap();
    let findings = conformance(&host.load(&module, Grants::default()).unwrap());
    let broken: Vec<_> = findings.iter().filter(|it| it.fault.is_some()).map(|it| &*it.check).collect();
    assert_eq!(broken, ["noise is no valid signature"]);
}
