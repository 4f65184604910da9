//! Sealed contents: their bytes, what they are bound to, and the built-in scheme.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mainstem_crypto::SecretKey;
use mainstem_model::{
    Address, Aes256GcmScheme, ContentKey, ContentType, EncryptionFault, EncryptionScheme, EncryptionType,
    KeyId, NetworkId, OpenFault, Origin, Partition, Plain, SealContext, Sealed, StreamId, limits,
    sealed_content, split_sealed,
};

fn context() -> SealContext {
    SealContext {
        network: NetworkId([1; 32]),
        stream_partition: StreamId(Address([2; 20])).partition(Partition::try_from(7).unwrap()),
        origin: Origin::ethereum(Address([3; 20])),
    }
}

fn associated(context: &SealContext) -> [u8; SealContext::LENGTH] {
    context.associated(5, ContentType::JSON, EncryptionType::AES_256_GCM, KeyId([9; 16]))
}

#[test]
fn the_associated_bytes_are_laid_out_as_documented() {
    let expected = [
        &b"mainstem/content/1"[..],
        &[1; 32],
        &[2; 20],
        &[0, 7],
        &[1, 20],
        &[3; 20],
        &[0; 12],
        &5_i64.to_be_bytes(),
        &[0, 1],
        &[0, 1],
        &[9; 16],
    ];
    assert_eq!(associated(&context()).to_vec(), expected.concat());
}

#[test]
fn what_is_sealed_for_one_event_does_not_open_as_another() {
    let (scheme, key) = (Aes256GcmScheme, [4; 32]);
    let bound = associated(&context());
    let plain = Plain { nonce: [6; 32], associated: &bound, content: b"content" };
    let sealed = scheme.seal(&key, &[plain]).unwrap().remove(0);
    let open =
        |associated: &[u8]| scheme.open(&key, &[Sealed { associated, sealed: &sealed }]).unwrap().remove(0);
    assert_eq!(open(&bound), Ok(b"content".to_vec()));
    let changes: [fn(&mut SealContext); 4] = [
        |it| it.network = NetworkId([0; 32]),
        |it| it.stream_partition.stream = StreamId(Address([0; 20])),
        |it| it.stream_partition.partition = Partition::ZERO,
        |it| it.origin = Origin::ethereum(Address([0; 20])),
    ];
    for change in changes {
        let mut other = context();
        change(&mut other);
        assert_eq!(open(&associated(&other)), Err(OpenFault::Forged));
    }
    let (json, aes, id) = (ContentType::JSON, EncryptionType::AES_256_GCM, KeyId([9; 16]));
    for other in [
        context().associated(6, json, aes, id),
        context().associated(5, ContentType::TEXT, aes, id),
        context().associated(5, json, EncryptionType(17), id),
        context().associated(5, json, aes, KeyId([8; 16])),
    ] {
        assert_eq!(open(&other), Err(OpenFault::Forged));
    }
}

#[test]
fn a_sealed_content_begins_with_its_keys_id() {
    let content = sealed_content(KeyId([9; 16]), b"sealed");
    assert_eq!(split_sealed(&content), Some((KeyId([9; 16]), &b"sealed"[..])));
    assert_eq!(split_sealed(&content[..16]), Some((KeyId([9; 16]), &b""[..])));
    assert_eq!(split_sealed(&content[..15]), None);
    assert_eq!("09".repeat(16).parse(), Ok(KeyId([9; 16])));
    for wrong in ["", "09", "zz", &"09".repeat(17)] {
        assert!(wrong.parse::<KeyId>().is_err(), "{wrong}");
    }
}

#[test]
fn each_item_opens_or_fails_for_itself() {
    let (scheme, key) = (Aes256GcmScheme, [4; 32]);
    let plain = |content| Plain { nonce: [6; 32], associated: b"a", content };
    let sealed = scheme.seal(&key, &[plain(b""), plain(b"two")]).unwrap();
    assert!(sealed[1].len() <= 3 + limits::SEAL_BYTES_MAX);
    let item = |sealed| Sealed { associated: b"a", sealed };
    let opened =
        scheme.open(&key, &[item(&sealed[1]), item(&sealed[1][1..]), item(b"short"), item(&sealed[0])]);
    let expected = [Ok(b"two".to_vec()), Err(OpenFault::Forged), Err(OpenFault::Malformed), Ok(vec![])];
    assert_eq!(opened.unwrap(), expected);
    assert!(matches!(scheme.seal(&key[1..], &[]), Err(EncryptionFault::Invalid(_))));
}

#[test]
fn a_key_is_wrapped_for_each_recipient() {
    let scheme = Aes256GcmScheme;
    let secret = |byte| SecretKey::from_bytes(&[byte; 32]).unwrap();
    let public = [secret(5).public_key().to_sec1(), secret(6).public_key().to_sec1()];
    let recipients: Vec<_> = public.iter().map(<[u8; 33]>::as_slice).collect();
    let random: Vec<u8> = (1..=64).collect();
    let wrapped = scheme.wrap(&[4; 32], &recipients, &random).unwrap();
    for (byte, wrapped) in [5, 6].into_iter().zip(&wrapped) {
        assert_eq!(scheme.unwrap(&[byte; 32], wrapped).unwrap().as_slice(), [4; 32]);
    }
    assert!(matches!(scheme.unwrap(&[5; 32], &wrapped[1]), Err(EncryptionFault::Invalid(_))));
    assert!(matches!(scheme.wrap(&[4; 32], &recipients, &random[1..]), Err(EncryptionFault::Invalid(_))));
    assert!(matches!(scheme.wrap(&[4; 32], &[b"none"], &random[..32]), Err(EncryptionFault::Invalid(_))));
}

#[test]
fn a_content_key_is_not_printed() {
    let key = ContentKey::new(KeyId([9; 16]), EncryptionType::AES_256_GCM, vec![0xab; 32]);
    assert!(!format!("{key:?}").contains("ab"));
}
