//! The plugins of this repository, as `tools/plugins.sh` builds them, keep to the ABI of their kind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mainstem_crypto::sha256;
use mainstem_plugin_host::{
    CallError, Compiler, Config, Grants, Host, Plugin, SignedItem, Status, Verdict, conformance,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

const NAMES: [&str; 8] = [
    "aes-256-gcm",
    "ed25519",
    "ewma-anomaly",
    "filter",
    "p256-c",
    "scale-as",
    "window-aggregate",
    "xchacha20poly1305",
];

fn plugin(name: &str) -> Plugin {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    let path = target.join("plugins").join(format!("{name}.wasm"));
    let module = fs::read(&path);
    let module = module.unwrap_or_else(|_| panic!("{} is missing: run tools/plugins.sh", path.display()));
    let host = Host::new(Config::default(), None, Compiler::InProcess).unwrap();
    host.load(&module, Grants::default()).unwrap()
}

#[test]
fn every_plugin_keeps_to_what_the_abi_says_of_its_kind() {
    for name in NAMES {
        let findings = conformance(&plugin(name));
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
    let host = Host::new(Config::default(), None, Compiler::InProcess).unwrap();
    let findings = conformance(&host.load(&module, Grants::default()).unwrap());
    let broken: Vec<_> = findings.iter().filter(|it| it.fault.is_some()).map(|it| &*it.check).collect();
    assert_eq!(broken, ["noise is no valid signature"]);
}
