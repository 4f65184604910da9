//! What a plugin asks the node for it gets as it was granted, and pays for.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and says why")]

mod guest;

use guest::{Guest, all, request};
use mainstem_crypto::{SecretKey, keccak256, sha256};
use mainstem_plugin_abi::{
    Capability, Limits,
    plugin_capnp::{FailureCode, LogLevel, SignatureScheme, host_reply, host_request},
    read, write,
};
use mainstem_plugin_host::{Ambient, CallError, Compiler, Config, Fault, Grants, Host, Plugin};
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
        KeyPair,
    },
};
use std::sync::Arc;

#[derive(Debug)]
struct Fixed;

impl Ambient for Fixed {
    fn now_ms(&self) -> i64 {
        1_234
    }

    fn fill_random(&self, bytes: &mut [u8]) -> bool {
        bytes.fill(7);
        bytes.len() != 13
    }
}

fn host(config: Config) -> Host {
    Host::with_ambient(config, None, Compiler::InProcess, Arc::new(Fixed)).unwrap()
}

fn raw(plugin: &Plugin) -> Result<Vec<u8>, CallError> {
    let mut signature = plugin.sign(&[], &[[0; 32]])?.remove(0);
    let len = u64::from_le_bytes(signature[..8].try_into().unwrap()) as usize;
    assert!(len.is_multiple_of(8));
    signature.drain(..8);
    signature.truncate(len);
    Ok(signature)
}

/// What a plugin hears that asks for this, with all grants.
fn answer<R>(request: &[u8], look: impl FnOnce(host_reply::WhichReader<'_>) -> R) -> R {
    let plugin = Guest::asking(request).load_in(&host(Config::default()));
    look_at(&raw(&plugin).unwrap(), look)
}

fn look_at<R>(reply: &[u8], look: impl FnOnce(host_reply::WhichReader<'_>) -> R) -> R {
    let message = read(reply).unwrap();
    look(message.get_root::<host_reply::Reader<'_>>().unwrap().which().unwrap())
}

fn failure(which: host_reply::WhichReader<'_>) -> FailureCode {
    let host_reply::Failed(failed) = which else { panic!("it was answered") };
    let failed = failed.unwrap();
    println!("{}", failed.get_message().unwrap().to_str().unwrap());
    failed.get_code().unwrap()
}

fn hashes(items: &[&[u8]]) -> Vec<u8> {
    request(|request| {
        let mut list = request.init_sha256(items.len() as u32);
        for (index, item) in items.iter().enumerate() {
            list.set(index as u32, item);
        }
    })
}

fn checks(scheme: SignatureScheme, items: &[[&[u8]; 3]]) -> Vec<u8> {
    request(|request| {
        let mut check = request.init_check();
        check.set_scheme(scheme);
        let mut list = check.init_items(items.len() as u32);
        for (index, [key, message, signature]) in items.iter().enumerate() {
            let mut item = list.reborrow().get(index as u32);
            item.set_key(key);
            item.set_message(message);
            item.set_signature(signature);
        }
    })
}

/// One signature that holds, then each of its parts with one bit changed, with one byte less, and empty.
fn check(scheme: SignatureScheme, key: &[u8], message: &[u8], signature: &[u8]) {
    let parts = [key, message, signature];
    let mut items = vec![parts.map(<[u8]>::to_vec)];
    for part in 0..3 {
        let mut changed = items[0].clone();
        let middle = changed[part].len() / 2;
        changed[part][middle] ^= 1;
        let mut shorter = items[0].clone();
        shorter[part].pop();
        let mut empty = items[0].clone();
        empty[part].clear();
        items.extend([changed, shorter, empty]);
    }
    let items: Vec<_> = items.iter().map(|item| [&*item[0], &*item[1], &*item[2]]).collect();
    let holds = answer(&checks(scheme, &items), |which| {
        let host_reply::Checks(checks) = which else { panic!() };
        checks.unwrap().iter().collect::<Vec<_>>()
    });
    let right: Vec<_> = (0..10).map(|index| index == 0).collect();
    assert_eq!(holds, right, "{:?}", scheme as u16);
}

#[test]
fn hashes_are_those_of_the_items() {
    let digests = |request: &[u8]| {
        answer(request, |which| {
            let host_reply::Digests(digests) = which else { panic!() };
            digests.unwrap().to_vec()
        })
    };
    assert_eq!(
        digests(&hashes(&[b"one", b"", b"three"])),
        [sha256(b"one"), sha256(b""), sha256(b"three")].concat()
    );
    assert!(digests(&hashes(&[])).is_empty());
    let keccak = request(|request| request.init_keccak256(1).set(0, b"one"));
    assert_eq!(digests(&keccak), keccak256(b"one"));
}

#[test]
fn signatures_of_each_scheme_hold_and_not_with_a_bit_changed() {
    let (random, message) = (SystemRandom::new(), b"Mainstem");
    let (secret, digest) = (SecretKey::from_bytes(&[5; 32]).unwrap(), sha256(message));
    let signed = secret.sign(&digest);
    let public = secret.public_key();
    check(SignatureScheme::EcdsaSecp256k1, &public.to_sec1(), &digest, &signed.as_bytes()[..64]);
    let long = [&[4], &public.coordinates()[..]].concat();
    check(SignatureScheme::EcdsaSecp256k1, &long, &digest, &signed.as_bytes()[..64]);
    check(SignatureScheme::EthereumAddress, public.address().as_bytes(), &digest, signed.as_bytes());

    let key = Ed25519KeyPair::from_seed_unchecked(&[6; 32]).unwrap();
    check(SignatureScheme::Ed25519, key.public_key().as_ref(), message, key.sign(message).as_ref());

    for (scheme, algorithm) in [
        (SignatureScheme::EcdsaP256Sha256, &ECDSA_P256_SHA256_FIXED_SIGNING),
        (SignatureScheme::EcdsaP256Sha256Der, &ECDSA_P256_SHA256_ASN1_SIGNING),
    ] {
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).unwrap();
        let signature = key.sign(&random, message).unwrap();
        check(scheme, key.public_key().as_ref(), message, signature.as_ref());
    }

    let key = include_bytes!("vectors/rsa.der");
    check(SignatureScheme::RsaPkcs1Sha256, key, message, include_bytes!("vectors/rsa-pkcs1.sig"));
    check(SignatureScheme::RsaPssSha256, key, message, include_bytes!("vectors/rsa-pss.sig"));
}

#[test]
fn time_and_randomness_are_those_that_the_host_was_given() {
    answer(&request(|mut request| request.set_now(())), |which| {
        assert!(matches!(which, host_reply::Now(1_234)));
    });
    answer(&request(|mut request| request.set_random(32)), |which| {
        let host_reply::Random(bytes) = which else { panic!() };
        assert_eq!(bytes.unwrap(), [7; 32]);
    });
    let none = answer(&request(|mut request| request.set_random(13)), failure);
    assert_eq!(none, FailureCode::Unavailable);
}

#[test]
fn what_is_not_granted_or_not_named_in_the_manifest_is_denied() {
    let requests = [
        (Capability::Crypto, hashes(&[b"one"])),
        (Capability::Clock, request(|mut request| request.set_now(()))),
        (Capability::Random, request(|mut request| request.set_random(8))),
        (Capability::Log, request(|request| request.init_log().set_text("line"))),
    ];
    for (capability, request) in requests {
        let mut guest = Guest::asking(&request);
        let mut grants = all();
        grants.capabilities.remove(&capability);
        let plugin = host(Config::default()).load(&guest.module(), grants).unwrap();
        assert_eq!(look_at(&raw(&plugin).unwrap(), failure), FailureCode::Denied);
        guest.manifest.capabilities.retain(|named| *named != capability);
        let plugin = guest.load();
        assert_eq!(look_at(&raw(&plugin).unwrap(), failure), FailureCode::Denied);
    }
    let plugin =
        host(Config::default()).load(&Guest::asking(&hashes(&[b""])).module(), Grants::default()).unwrap();
    look_at(&raw(&plugin).unwrap(), |which| {
        assert!(matches!(which, host_reply::Digests(_)), "crypto is granted")
    });
}

#[test]
fn a_host_request_that_is_none_is_malformed_and_a_new_one_unsupported() {
    let asked = |call: &str| {
        let mut guest = Guest::asking(&[0; 8]);
        let at = guest.call.find("(call $host").unwrap();
        let end = guest.call[at..].find("))").unwrap() + 2;
        guest.call.replace_range(at..at + end, call);
        look_at(&raw(&guest.load()).unwrap(), failure)
    };
    for (ptr, len) in [(0, 0), (0, 7), (0, 12), (131_072, 8), (-8, 16), (-8, 8), (131_064, 16)] {
        let code = asked(&format!("(call $host (i32.const {ptr}) (i32.const {len}))"));
        assert_eq!(code, FailureCode::Malformed, "{ptr} {len}");
    }
    for len in [-8, (4 << 20) + 8] {
        let code = asked(&format!("(call $host (i32.const 0) (i32.const {len}))"));
        assert_eq!(code, FailureCode::Limit, "{len}");
    }
    for word in [1_u64, 2, 3, 0x0001_0001_7fff_fffc] {
        assert_eq!(answer(&word.to_le_bytes(), failure), FailureCode::Malformed, "{word:x}");
    }
    let mut new = request(|mut request| request.set_now(()));
    let at = new.iter().rposition(|byte| *byte == 3).unwrap();
    new[at] = 99;
    assert_eq!(answer(&new, failure), FailureCode::Unsupported);
    let mut scheme = checks(SignatureScheme::EthereumAddress, &[]);
    let at = scheme.iter().rposition(|byte| *byte == 6).unwrap();
    scheme[at] = 99;
    assert_eq!(answer(&scheme, failure), FailureCode::Unsupported);
}

#[test]
fn more_items_than_the_most_are_over_a_limit() {
    assert_eq!(answer(&hashes(&vec![&b""[..]; 4_097]), failure), FailureCode::Limit);
    let many = checks(SignatureScheme::Ed25519, &vec![[&b""[..]; 3]; 1_025]);
    // So many do not fit the two pages that the guest has.
    let guest = Guest { memory: "(memory (export \"memory\") 8)".into(), ..Guest::asking(&many) };
    assert_eq!(look_at(&raw(&guest.load()).unwrap(), failure), FailureCode::Limit);
    assert_eq!(answer(&request(|mut request| request.set_random(1_025)), failure), FailureCode::Limit);
}

#[test]
fn the_work_of_the_node_counts_against_fuel() {
    let fuel = |request: &[u8], fuel| {
        let mut guest = Guest::asking(request);
        guest.manifest.limits = Limits { fuel, ..Limits::default() };
        raw(&guest.load()).map(|_| ())
    };
    let over = |fuel| CallError::Fault { plugin: "guest".into(), fault: Fault::OutOfFuel(fuel) };
    let two = checks(SignatureScheme::Ed25519, &[[&[][..]; 3]; 2]);
    assert_eq!(fuel(&two, 120_000), Err(over(120_000)));
    assert_eq!(fuel(&two, 130_000), Ok(()));
    let bytes = hashes(&[&[0; 9_000]]);
    assert_eq!(fuel(&bytes, 9_000), Err(over(9_000)));
    assert_eq!(fuel(&bytes, 40_000), Ok(()));
    let nothing = hashes(&[&b""[..]; 100]);
    assert_eq!(fuel(&nothing, 6_000), Err(over(6_000)));
    assert_eq!(fuel(&nothing, 30_000), Ok(()));
    assert_eq!(fuel(&hashes(&[]), 400), Err(over(400)));
}

#[test]
fn lines_of_the_log_over_the_rate_are_dropped_and_counted() {
    let line = request(|request| {
        let mut log = request.init_log();
        log.set_level(LogLevel::Info);
        log.set_text("a line\nand what looks like another");
    });
    let plugin =
        Guest::asking(&line).load_in(&host(Config { log_lines_per_minute_max: 3, ..Config::default() }));
    for _ in 0..5 {
        look_at(&raw(&plugin).unwrap(), |which| assert!(matches!(which, host_reply::Done(()))));
    }
    assert_eq!((plugin.counters().host_calls, plugin.counters().log_lines_dropped), (5, 2));
}

#[test]
fn host_replies_are_given_back_and_a_second_one_follows_the_first() {
    let mut guest = Guest::asking(&hashes(&[b"one"]));
    // Out at once: the request's memory, and one host reply.
    guest.more = "(global $out (mut i32) (i32.const 0))".into();
    guest.alloc = format!(
        "(global.set $out (i32.add (global.get $out) (i32.const 1)))
        (if (i32.gt_u (global.get $out) (i32.const 2)) (then unreachable)) {}",
        guest.alloc
    );
    guest.free = "(global.set $out (i32.sub (global.get $out) (i32.const 1)))".into();
    let at = guest.call.find("(call $host").unwrap();
    let end = at + guest.call[at..].find("))").unwrap() + 2;
    let ask = guest.call[at..end].to_owned();
    guest.call.insert_str(guest.call.find("(local.set").unwrap(), &format!("(drop {ask}) (drop {ask})"));
    let plugin = guest.load();
    for _ in 0..3 {
        look_at(&raw(&plugin).unwrap(), |which| assert!(matches!(which, host_reply::Digests(_))));
    }
    assert_eq!(plugin.counters().host_calls, 9);
}

#[test]
fn memory_for_a_host_reply_that_is_none_is_a_fault() {
    // The first is for the request.
    let later = |alloc: &str| {
        let mut guest = Guest::asking(&hashes(&[b"one"]));
        guest.more = "(global $first (mut i32) (i32.const 1))".into();
        guest.alloc = format!(
            "(if (i32.eqz (global.get $first)) (then (return {alloc}))) (global.set $first (i32.const 0)) {}",
            guest.alloc
        );
        let CallError::Fault { fault, .. } = raw(&guest.load()).unwrap_err() else { panic!() };
        println!("{fault}");
        fault
    };
    assert!(matches!(later("(i32.const 0)"), Fault::Memory(_)));
    assert!(matches!(later("(i32.const 12)"), Fault::Memory(_)));
    assert!(matches!(later("(i32.const 131072)"), Fault::Memory(_)));
    assert!(matches!(later("(i32.const -8)"), Fault::Memory(_)));
    assert!(matches!(later("(i32.wrap_i64 (call $host (i32.const 0) (i32.const 8)))"), Fault::Trap(_)));
}

#[test]
fn a_host_request_with_lists_that_lie_one_over_the_other_is_malformed() {
    // 2,000 items of 60 KB each, in 76 KB.
    let mut overlapping = write::<host_request::Owned>(16_000, |request| {
        let mut list = request.init_sha256(2_000);
        for index in 0..1_999 {
            list.set(index, &[]);
        }
        list.set(1_999, &[1; 60_000]);
    });
    let words = overlapping.len() / 8;
    let last = words - 60_000 / 8 - 1;
    let pointer = u64::from_le_bytes(overlapping[last * 8..][..8].try_into().unwrap());
    assert_eq!(pointer as u32, 1, "it points at the word behind it");
    for before in 1..2_000 {
        let at = (last - before) * 8;
        overlapping[at..at + 8].copy_from_slice(&(pointer + ((before as u64) << 2)).to_le_bytes());
    }
    let guest = Guest { memory: "(memory (export \"memory\") 8)".into(), ..Guest::asking(&overlapping) };
    assert_eq!(look_at(&raw(&guest.load()).unwrap(), failure), FailureCode::Malformed);
}
