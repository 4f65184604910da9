//! Manifests from plugins: what is written is read again, and nothing that they can hold does harm.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mainstem_plugin_abi::{
    ABI, Capability, Claim, ColumnClaim, ColumnType, Limits, Manifest, ManifestError, OperatorClaim,
    Parameter, Port, SignatureClaim,
};

fn signature() -> Manifest {
    Manifest {
        name: "ed25519".into(),
        version: "0.1.0".into(),
        description: "Ed25519 signatures".into(),
        abi: ABI,
        abi_minor_least: 0,
        claim: Claim::Signature(SignatureClaim { signature_type: 17, origin_types: vec![17], signs: true }),
        capabilities: vec![Capability::Crypto],
        limits: Limits { memory_bytes: 1 << 20, fuel: 0, deadline_ms: 50 },
    }
}

fn operators() -> Manifest {
    let port = |name: &str| Port {
        name: name.into(),
        columns: vec![ColumnClaim { name: "value".into(), column_type: ColumnType::Float64 }],
    };
    let parameter = Parameter {
        name: "above".into(),
        description: "Rows with more than this pass".into(),
        parameter_type: ColumnType::Float64,
        default: "0".into(),
    };
    let filter = OperatorClaim {
        name: "filter".into(),
        description: "Rows above a threshold".into(),
        inputs: vec![port("in")],
        outputs: vec![port("out")],
        parameters: vec![parameter],
    };
    Manifest { claim: Claim::Operators(vec![filter]), ..signature() }
}

fn fault_of(change: impl FnOnce(&mut Manifest)) -> String {
    let mut manifest = signature();
    change(&mut manifest);
    manifest.check().unwrap_err().to_string()
}

#[test]
fn what_is_written_is_read_again() {
    for manifest in [signature(), operators()] {
        assert_eq!(Manifest::decode(&manifest.encode().unwrap()).unwrap(), manifest);
    }
}

#[test]
fn a_fault_is_told_with_the_field_and_what_is_right() {
    assert_eq!(
        fault_of(|of| of.name = "Ed 25519".into()),
        "the manifest's name \"Ed 25519\" is no name: take 1 to 64 of a-z, 0-9 and -, a letter first"
    );
    for version in ["1", "1.0", "1.0.0.0", "01.0.0", "1.0.x", "1.0.0-", "", "1.0.0 "] {
        let fault = fault_of(|of| of.version = version.into());
        assert!(fault.contains("no semantic version"), "{version:?}: {fault}");
    }
    for version in ["1.2.3", "0.0.0", "1.0.0-beta.1", "1.0.0+build-7"] {
        assert_eq!(Manifest { version: version.into(), ..signature() }.check(), Ok(()), "{version}");
    }
    let of_type = |signature_type, origin_types: &[u8]| {
        let origin_types = origin_types.to_vec();
        fault_of(|of| {
            of.claim = Claim::Signature(SignatureClaim { signature_type, origin_types, signs: false })
        })
    };
    assert!(of_type(2, &[17]).contains("signature.type is 2"));
    assert!(of_type(17, &[]).contains("has 0 entries; 1 to 16 are right"));
    assert!(of_type(17, &[2]).contains("have 2"));
    assert!(of_type(17, &[17, 17]).contains("twice"));
}

#[test]
fn an_operator_asks_for_no_clock() {
    let manifest = Manifest { capabilities: vec![Capability::Clock], ..operators() };
    assert!(matches!(manifest.check(), Err(ManifestError::Field { field: "capabilities", .. })));
}

#[test]
fn names_and_counts_hold_at_their_bound_and_not_above() {
    let named = |bytes: usize| Manifest { name: "n".repeat(bytes), ..signature() }.check();
    assert_eq!(named(64), Ok(()));
    assert!(named(65).is_err());
    let described = |bytes: usize| Manifest { description: "d".repeat(bytes), ..signature() }.check();
    assert_eq!(described(200), Ok(()));
    assert!(described(201).is_err());
}

#[test]
fn bytes_that_are_no_manifest_are_refused_and_none_does_harm() {
    assert!(Manifest::decode(&[]).is_err());
    assert!(Manifest::decode(&[0; 7]).is_err());
    assert!(Manifest::decode(&vec![0; 1 << 17]).is_err());
    for manifest in [signature(), operators()] {
        let whole = manifest.encode().unwrap();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // Whatever it says now, it says it within bounds.
            if let Ok(read) = Manifest::decode(&bytes) {
                assert_eq!(read.check(), Ok(()));
            }
        }
        for length in 0..whole.len() {
            let _ = Manifest::decode(&whole[..length]);
        }
    }
}
