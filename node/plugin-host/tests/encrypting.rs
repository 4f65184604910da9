//! The built-in AES-256-GCM and its twin in WebAssembly give the same bytes. `tools/plugins.sh` has built the plugins.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mainstem_crypto::SecretKey;
use mainstem_model::{
    Aes256GcmScheme, EncryptionFault, EncryptionScheme, EncryptionType, OpenFault, Plain, Sealed,
};
use mainstem_plugin_host::{Compiler, Config, EncryptionPlugin, Grants, Host};
use std::{
    fs,
    path::{Path, PathBuf},
};

fn scheme(name: &str) -> EncryptionPlugin {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    let path = target.join("plugins").join(format!("{name}.wasm"));
    let module = fs::read(&path);
    let module = module.unwrap_or_else(|_| panic!("{} is missing: run tools/plugins.sh", path.display()));
    let host = Host::new(Config::default(), None, Compiler::InProcess).unwrap();
    EncryptionPlugin::new(host.load(&module, Grants::default()).unwrap()).unwrap()
}

/// What each of them does is the same.
fn twins() -> [Box<dyn EncryptionScheme>; 2] {
    [Box::new(Aes256GcmScheme), Box::new(scheme("aes-256-gcm"))]
}

#[test]
fn aes_gcm_and_its_twin_seal_and_open_alike_byte_for_byte() {
    let [native, twin] = twins();
    assert_eq!(native.key_bytes(), twin.key_bytes());
    let contents: Vec<Vec<u8>> =
        [0, 1, 15, 16, 17, 255, 4096, 100_000].map(|length| (0..length).map(|at| at as u8).collect()).into();
    let plain: Vec<_> = (0_u8..)
        .zip(&contents)
        .map(|(at, content)| Plain { nonce: [at; 32], associated: b"bound", content })
        .collect();
    for key in [[0; 32], [0xab; 32]] {
        let sealed = native.seal(&key, &plain).unwrap();
        assert_eq!(sealed, twin.seal(&key, &plain).unwrap());
        let mut changed = sealed.clone();
        changed[3][14] ^= 1;
        changed[4].truncate(20);
        let items: Vec<_> =
            sealed.iter().chain(&changed).map(|sealed| Sealed { associated: b"bound", sealed }).collect();
        let opened = native.open(&key, &items).unwrap();
        assert_eq!(opened, twin.open(&key, &items).unwrap());
        assert_eq!(opened[7].as_ref(), Ok(&contents[7]));
        assert_eq!(opened[8 + 3], Err(OpenFault::Forged));
        assert_eq!(opened[8 + 4], Err(OpenFault::Malformed));
    }
    for scheme in [native, twin] {
        assert!(matches!(scheme.seal(&[0; 31], &plain), Err(EncryptionFault::Invalid(_))));
    }
}

#[test]
fn aes_gcm_and_its_twin_wrap_alike_and_unwrap_what_the_other_wrapped() {
    let [native, twin] = twins();
    let secrets = [[5; 32], [6; 32]];
    let public = secrets.map(|secret| SecretKey::from_bytes(&secret).unwrap().public_key().to_sec1());
    let recipients: Vec<_> = public.iter().map(<[u8; 33]>::as_slice).collect();
    let random: Vec<u8> = (1..=64).collect();
    let wrapped = native.wrap(&[7; 32], &recipients, &random).unwrap();
    assert_eq!(wrapped, twin.wrap(&[7; 32], &recipients, &random).unwrap());
    for scheme in [native, twin] {
        for (secret, wrapped) in secrets.iter().zip(&wrapped) {
            assert_eq!(scheme.unwrap(secret, wrapped).unwrap().as_slice(), [7; 32]);
        }
        assert!(matches!(scheme.unwrap(&secrets[0], &wrapped[1]), Err(EncryptionFault::Invalid(_))));
        assert!(matches!(scheme.wrap(&[7; 32], &[b"none"], &random[..32]), Err(EncryptionFault::Invalid(_))));
    }
}

#[test]
fn what_a_plugin_does_not_claim_it_is_not_asked_for() {
    let xchacha = scheme("xchacha20poly1305");
    assert_eq!((xchacha.encryption_type(), xchacha.key_bytes()), (EncryptionType(17), 32));
    assert_eq!(xchacha.wrap(&[7; 32], &[], &[]), Err(EncryptionFault::Unsupported(17)));
    assert_eq!(xchacha.unwrap(&[7; 32], &[]), Err(EncryptionFault::Unsupported(17)));
}
