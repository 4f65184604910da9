//! Chains that hold, and each way in which one does not.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod issue;

use issue::{
    BATCH_ID, BEGINS, ECDSA, ED25519, ENDS, NOW_MS, Party, RSA, RSA_PSS, authority, device, ed25519, encode,
    judge_all, judge_at, p256, roots, rsa,
};
use mainstem_plugin_sdk::Verdict;
use mainstem_plugin_x509::Roots;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    KeyPair, KeyUsagePurpose, NameConstraints,
};
use ring::{
    rand::SystemRandom,
    signature::{RSA_PSS_SHA256, RsaKeyPair},
};

/// A root, an authority under it and a device under that, each of which a test may change.
fn chain(
    root: CertificateParams,
    middle: CertificateParams,
    leaf: CertificateParams,
    key: KeyPair,
) -> (Party, Party, Party) {
    let root = Party::root(root, p256());
    let middle = root.issue(middle, p256());
    let leaf = middle.issue(leaf, key);
    (root, middle, leaf)
}

fn plain(key: KeyPair) -> (Party, Party, Party) {
    chain(authority("root"), authority("middle"), device("device"), key)
}

/// What is said of a device under these three, whose key is P-256.
fn judge(root: CertificateParams, middle: CertificateParams, leaf: CertificateParams) -> Verdict {
    let (root, middle, leaf) = chain(root, middle, leaf, p256());
    judge_at(&roots(&[&root]), &leaf.origin(), &leaf.sign(ECDSA, &[&leaf, &middle]), NOW_MS)
}

fn with(mut params: CertificateParams, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    change(&mut params);
    params
}

#[test]
fn a_device_of_each_kind_of_key_is_known_by_its_chain() {
    for (key, scheme) in [(p256(), ECDSA), (ed25519(), ED25519), (rsa(), RSA)] {
        let (root, middle, leaf) = plain(key);
        let signature = leaf.sign(scheme, &[&leaf, &middle]);
        assert_eq!(judge_at(&roots(&[&root]), &leaf.origin(), &signature, NOW_MS), Verdict::Valid);
        for other in (0..6).filter(|other| *other != scheme && [scheme, *other] != [RSA, RSA_PSS]) {
            let signature = leaf.sign(other, &[&leaf, &middle]);
            assert_eq!(judge_at(&roots(&[&root]), &leaf.origin(), &signature, NOW_MS), Verdict::Malformed);
        }
    }
}

#[test]
fn authorities_of_each_kind_of_key_are_followed() {
    for key in [p256, ed25519, rsa] {
        let root = Party::root(authority("root"), key());
        let leaf = root.issue(device("device"), p256());
        let signature = leaf.sign(ECDSA, &[&leaf]);
        assert_eq!(judge_at(&roots(&[&root]), &leaf.origin(), &signature, NOW_MS), Verdict::Valid);
    }
}

#[test]
fn an_rsa_device_may_sign_with_pss_and_says_which() {
    let (root, middle, leaf) = plain(rsa());
    let key = RsaKeyPair::from_pkcs8(&leaf.key.serialize_der()).unwrap();
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PSS_SHA256, &SystemRandom::new(), &BATCH_ID, &mut signature).unwrap();
    let judge = |scheme| {
        let signature = encode(&[&leaf.der, &middle.der], scheme, &signature);
        judge_at(&roots(&[&root]), &leaf.origin(), &signature, NOW_MS)
    };
    assert_eq!(judge(RSA_PSS), Verdict::Valid);
    assert_eq!(judge(RSA), Verdict::Invalid);
}

#[test]
fn what_openssl_made_holds_with_its_rsa_pss_signatures() {
    let roots = Roots::from_pem(include_bytes!("vectors/openssl-root.pem")).unwrap();
    let leaf: &[u8] = include_bytes!("vectors/openssl-leaf.der");
    let sub: &[u8] = include_bytes!("vectors/openssl-sub.der");
    let signature = encode(&[leaf, sub], ECDSA, include_bytes!("vectors/openssl-leaf.sig"));
    // As `openssl dgst -sha256` says of the key.
    let origin = *b"\x3c\xc7\x5f\xb9\xa7\xc2\xa1\xaa\x0d\x7b\xa7\x7a\x4b\xfe\x2b\x35\x73\x0e\x77\xac\x93\x28\xfe\xcd\xaf\x63\x4c\x25\x2d\xe4\x0c\xc5";
    assert_eq!(judge_at(&roots, &origin, &signature, 1_800_000_000_000), Verdict::Valid);
    assert_eq!(judge_at(&roots, &origin, &signature, 0), Verdict::Expired);
    assert_eq!(judge_at(&Roots::default(), &origin, &signature, 1_800_000_000_000), Verdict::Untrusted);
}

#[test]
fn a_chain_holds_from_its_first_to_its_last_millisecond() {
    let (root, middle, leaf) = plain(p256());
    let signature = leaf.sign(ECDSA, &[&leaf, &middle]);
    let (roots, origin) = (roots(&[&root]), leaf.origin());
    let at = |time| judge_at(&roots, &origin, &signature, time);
    let (first, last) = (BEGINS * 1_000, ENDS * 1_000 + 999);
    let (yes, no) = (Verdict::Valid, Verdict::Expired);
    assert_eq!([at(first - 1), at(first), at(last), at(last + 1)], [no, yes, yes, no]);
    assert_eq!([at(i64::MIN), at(i64::MAX)], [no, no]);
}

#[test]
fn one_certificate_that_was_not_in_force_is_enough() {
    let late = |params| {
        with(params, |it| {
            it.not_before = time::OffsetDateTime::from_unix_timestamp(BEGINS + 30_000_000).unwrap()
        })
    };
    let [root, middle, leaf] = [authority("root"), authority("middle"), device("device")];
    assert_eq!(judge(late(root.clone()), middle.clone(), leaf.clone()), Verdict::Expired);
    assert_eq!(judge(root.clone(), late(middle.clone()), leaf.clone()), Verdict::Expired);
    assert_eq!(judge(root, middle, late(leaf)), Verdict::Expired);
}

#[test]
fn a_root_of_the_same_name_and_another_key_is_not_the_root() {
    let (_, middle, leaf) = plain(p256());
    let signature = leaf.sign(ECDSA, &[&leaf, &middle]);
    let other = Party::root(authority("root"), p256());
    assert_eq!(judge_at(&roots(&[&other]), &leaf.origin(), &signature, NOW_MS), Verdict::Untrusted);
    assert_eq!(judge_at(&Roots::default(), &leaf.origin(), &signature, NOW_MS), Verdict::Untrusted);
}

#[test]
fn of_two_roots_with_one_name_the_right_one_is_found() {
    let (root, middle, leaf) = plain(p256());
    let signature = leaf.sign(ECDSA, &[&leaf, &middle]);
    let other = Party::root(authority("root"), p256());
    for both in [[&root, &other], [&other, &root]] {
        assert_eq!(judge_at(&roots(&both), &leaf.origin(), &signature, NOW_MS), Verdict::Valid);
    }
}

#[test]
fn a_root_that_is_sent_along_changes_nothing() {
    let (root, middle, leaf) = plain(p256());
    let with_root = leaf.sign(ECDSA, &[&leaf, &middle, &root]);
    assert_eq!(judge_at(&roots(&[&root]), &leaf.origin(), &with_root, NOW_MS), Verdict::Valid);
    let other = Party::root(authority("other"), p256());
    assert_eq!(judge_at(&roots(&[&other]), &leaf.origin(), &with_root, NOW_MS), Verdict::Untrusted);
}

#[test]
fn who_is_no_authority_issues_nothing() {
    let middle = with(authority("middle"), |it| it.is_ca = IsCa::NoCa);
    assert_eq!(judge(authority("root"), middle, device("device")), Verdict::Untrusted);
    let middle = with(authority("middle"), |it| it.is_ca = IsCa::ExplicitNoCa);
    assert_eq!(judge(authority("root"), middle, device("device")), Verdict::Untrusted);
    let middle = with(authority("middle"), |it| it.key_usages = vec![KeyUsagePurpose::CrlSign]);
    assert_eq!(judge(authority("root"), middle, device("device")), Verdict::Untrusted);
}

#[test]
fn an_authority_is_no_device() {
    let leaf = with(device("device"), |it| it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert_eq!(judge(authority("root"), authority("middle"), leaf), Verdict::Untrusted);
}

#[test]
fn a_device_may_sign_only_if_its_certificate_says_so() {
    let check = |change: fn(&mut CertificateParams), expected| {
        let leaf = with(device("device"), change);
        assert_eq!(judge(authority("root"), authority("middle"), leaf), expected);
    };
    check(|it| it.key_usages = vec![KeyUsagePurpose::KeyAgreement], Verdict::Untrusted);
    check(|it| it.key_usages.clear(), Verdict::Valid);
    check(|it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth], Verdict::Untrusted);
    check(|it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any], Verdict::Valid);
    check(|it| it.extended_key_usages.clear(), Verdict::Valid);
    // An authority's purposes are those of all below it.
    let middle =
        with(authority("middle"), |it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    assert_eq!(judge(authority("root"), middle, device("device")), Verdict::Untrusted);
}

#[test]
fn no_more_authorities_come_between_than_a_path_length_says() {
    let limited =
        |name, length| with(authority(name), |it| it.is_ca = IsCa::Ca(BasicConstraints::Constrained(length)));
    assert_eq!(judge(limited("root", 1), authority("middle"), device("device")), Verdict::Valid);
    assert_eq!(judge(limited("root", 0), authority("middle"), device("device")), Verdict::Untrusted);
    assert_eq!(judge(authority("root"), limited("middle", 0), device("device")), Verdict::Valid);

    let root = Party::root(authority("root"), p256());
    let one = root.issue(limited("one", 0), p256());
    let two = one.issue(authority("two"), p256());
    let leaf = two.issue(device("device"), p256());
    let signature = leaf.sign(ECDSA, &[&leaf, &two, &one]);
    assert_eq!(judge_at(&roots(&[&root]), &leaf.origin(), &signature, NOW_MS), Verdict::Untrusted);
}

#[test]
fn an_authority_with_a_new_key_of_its_own_does_not_count_for_the_length_of_a_path() {
    let root = Party::root(
        with(authority("root"), |it| it.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))),
        p256(),
    );
    let renewed = root.issue(authority("root"), p256());
    let leaf = renewed.issue(device("device"), p256());
    let signature = leaf.sign(ECDSA, &[&leaf, &renewed]);
    assert_eq!(judge_at(&roots(&[&root]), &leaf.origin(), &signature, NOW_MS), Verdict::Valid);
}

#[test]
fn each_certificate_must_be_issued_by_who_comes_next() {
    let (root, middle, leaf) = plain(p256());
    let judge =
        |chain: &[&Party]| judge_at(&roots(&[&root]), &leaf.origin(), &leaf.sign(ECDSA, chain), NOW_MS);
    assert_eq!(judge(&[&leaf, &middle]), Verdict::Valid);
    assert_eq!(judge(&[&leaf]), Verdict::Untrusted);
    // The right key with another name.
    let renamed = Party {
        key: KeyPair::try_from(middle.key.serialize_der()).unwrap(),
        ..root.issue(authority("other"), KeyPair::try_from(middle.key.serialize_der()).unwrap())
    };
    assert_eq!(judge(&[&leaf, &renamed]), Verdict::Untrusted);
    // The right name with another key.
    let rekeyed = root.issue(authority("middle"), p256());
    assert_eq!(judge(&[&leaf, &rekeyed]), Verdict::Untrusted);
}

#[test]
fn certificates_that_go_in_a_circle_lead_nowhere() {
    let root = Party::root(authority("root"), p256());
    let (left, right) = (Party::root(authority("left"), p256()), Party::root(authority("right"), p256()));
    let key = |of: &Party| KeyPair::try_from(of.key.serialize_der()).unwrap();
    let left_by_right = right.issue(authority("left"), key(&left));
    let right_by_left = left.issue(authority("right"), key(&right));
    let leaf = left.issue(device("device"), p256());
    let signature =
        leaf.sign(ECDSA, &[&leaf, &left_by_right, &right_by_left, &left_by_right, &right_by_left]);
    assert_eq!(judge_at(&roots(&[&root]), &leaf.origin(), &signature, NOW_MS), Verdict::Untrusted);
    // Even if it ends at a root.
    let around = leaf.sign(ECDSA, &[&leaf, &left_by_right, &right_by_left, &left_by_right]);
    assert_eq!(judge_at(&roots(&[&right]), &leaf.origin(), &around, NOW_MS), Verdict::Untrusted);
    let straight = leaf.sign(ECDSA, &[&leaf, &left_by_right]);
    assert_eq!(judge_at(&roots(&[&right]), &leaf.origin(), &straight, NOW_MS), Verdict::Valid);
}

#[test]
fn a_chain_has_up_to_eight_certificates() {
    let judge = |authorities: usize| {
        let root = Party::root(authority("root"), p256());
        let mut parties = vec![root];
        for index in 0..authorities {
            let next = parties[index].issue(authority(&index.to_string()), p256());
            parties.push(next);
        }
        let leaf = parties[authorities].issue(device("device"), p256());
        let chain: Vec<_> = [&leaf].into_iter().chain(parties[1..].iter().rev()).collect();
        judge_at(&roots(&[&parties[0]]), &leaf.origin(), &leaf.sign(ECDSA, &chain), NOW_MS)
    };
    assert_eq!(judge(7), Verdict::Valid);
    assert_eq!(judge(8), Verdict::Malformed);
}

#[test]
fn what_must_be_obeyed_and_is_not_known_is_not_passed_over() {
    let unknown = |params, critical| {
        with(params, |it| {
            let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 32_473, 1], vec![5, 0]);
            extension.set_criticality(critical);
            it.custom_extensions = vec![extension];
        })
    };
    let [root, middle, leaf] = [authority("root"), authority("middle"), device("device")];
    assert_eq!(judge(root.clone(), middle.clone(), unknown(leaf.clone(), false)), Verdict::Valid);
    assert_eq!(judge(root.clone(), middle.clone(), unknown(leaf.clone(), true)), Verdict::Untrusted);
    assert_eq!(judge(root.clone(), unknown(middle.clone(), true), leaf.clone()), Verdict::Untrusted);
    // Constraints of names, though they are not critical.
    let constrained = with(middle.clone(), |it| {
        it.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 30], vec![0x30, 0])];
    });
    assert_eq!(judge(root.clone(), constrained, leaf.clone()), Verdict::Untrusted);
    let constrained = with(middle, |it| {
        let permitted_subtrees = vec![GeneralSubtree::DnsName("example.org".into())];
        it.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: vec![] });
    });
    assert_eq!(judge(root, constrained, leaf), Verdict::Untrusted);
}

#[test]
fn no_byte_of_a_signature_can_be_another_one() {
    let (root, middle, leaf) = plain(ed25519());
    let signature = leaf.sign(ED25519, &[&leaf, &middle]);
    let (roots, origin) = (roots(&[&root]), leaf.origin());
    let flipped = |at: usize| {
        let mut flipped = signature.clone();
        flipped[at] ^= 1;
        flipped
    };
    let flipped: Vec<_> = (0..signature.len()).map(flipped).collect();
    let items: Vec<_> = flipped.iter().map(|of| (&origin[..], &of[..], NOW_MS)).collect();
    let verdicts = judge_all(&roots, &items);
    let valid: Vec<_> =
        (0..).zip(&verdicts).filter(|(_, of)| **of == Verdict::Valid).map(|(at, _)| at).collect();
    assert_eq!(valid, [0_usize; 0]);
    for expected in [Verdict::Malformed, Verdict::Invalid, Verdict::Untrusted] {
        assert!(verdicts.contains(&expected));
    }
}

#[test]
fn a_certificate_that_contradicts_itself_is_none() {
    let leaf = with(device("device"), |it| {
        let one =
            |content| CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 32_473, 1], vec![content, 0]);
        it.custom_extensions = vec![one(4), one(5)];
    });
    assert_eq!(judge(authority("root"), authority("middle"), leaf), Verdict::Malformed);

    // Its signature's algorithm stands in it twice.
    let (root, middle, mut leaf) = plain(p256());
    let oid = b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
    let at = leaf.der.windows(oid.len()).rposition(|bytes| bytes == oid).unwrap();
    leaf.der[at + oid.len() - 1] = 3;
    let signature = leaf.sign(ECDSA, &[&leaf, &middle]);
    assert_eq!(judge_at(&roots(&[&root]), &leaf.origin(), &signature, NOW_MS), Verdict::Malformed);
}

#[test]
fn what_is_cut_or_has_something_behind_is_no_signature() {
    let (root, middle, leaf) = plain(ed25519());
    let signature = leaf.sign(ED25519, &[&leaf, &middle]);
    let (roots, origin) = (roots(&[&root]), leaf.origin());
    for length in 0..signature.len() - 64 {
        assert_eq!(judge_at(&roots, &origin, &signature[..length], NOW_MS), Verdict::Malformed, "{length}");
    }
    for length in signature.len() - 64..signature.len() {
        assert_eq!(judge_at(&roots, &origin, &signature[..length], NOW_MS), Verdict::Invalid, "{length}");
    }
    let behind = [&signature[..], &[0]].concat();
    assert_eq!(judge_at(&roots, &origin, &behind, NOW_MS), Verdict::Invalid);
    // A byte behind a certificate, within its length.
    let own = &signature[signature.len() - 64..];
    let longer = [&leaf.der[..], &[0]].concat();
    assert_eq!(
        judge_at(&roots, &origin, &encode(&[&longer, &middle.der], ED25519, own), NOW_MS),
        Verdict::Malformed
    );
    assert_eq!(judge_at(&roots, &origin, &encode(&[], ED25519, own), NOW_MS), Verdict::Malformed);
}

#[test]
fn a_certificate_that_is_renewed_for_the_same_key_leaves_the_origin_and_another_key_does_not() {
    let (root, middle, leaf) = plain(ed25519());
    let key = || KeyPair::try_from(leaf.key.serialize_der()).unwrap();
    let renewed = middle.issue(device("device, renewed"), key());
    assert_eq!(renewed.origin(), leaf.origin());
    let signature = renewed.sign(ED25519, &[&renewed, &middle]);
    assert_eq!(judge_at(&roots(&[&root]), &leaf.origin(), &signature, NOW_MS), Verdict::Valid);
    let other = middle.issue(device("device"), ed25519());
    let signature = other.sign(ED25519, &[&other, &middle]);
    assert_eq!(judge_at(&roots(&[&root]), &leaf.origin(), &signature, NOW_MS), Verdict::Invalid);
}

#[test]
fn a_bad_item_does_not_change_what_is_said_of_others() {
    let (root, middle, leaf) = plain(ed25519());
    let good = leaf.sign(ED25519, &[&leaf, &middle]);
    let stranger = plain(p256());
    let untrusted = stranger.2.sign(ECDSA, &[&stranger.2, &stranger.1]);
    let mut broken = good.clone();
    *broken.last_mut().unwrap() ^= 1;
    let (origin, other) = (leaf.origin(), stranger.2.origin());
    let items = [
        (&origin[..], &good[..], NOW_MS),
        (&other, &untrusted, NOW_MS),
        (&origin, &broken, NOW_MS),
        (&origin, &[], NOW_MS),
        (&other, &good, NOW_MS),
        (&origin, &good, 0),
        (&origin, &good, NOW_MS),
    ];
    let expected = [
        Verdict::Valid,
        Verdict::Untrusted,
        Verdict::Invalid,
        Verdict::Malformed,
        Verdict::Invalid,
        Verdict::Expired,
        Verdict::Valid,
    ];
    assert_eq!(judge_all(&roots(&[&root]), &items), expected);
}

#[test]
fn what_cannot_be_the_end_of_a_path_is_no_root() {
    let root = Party::root(authority("root"), p256());
    let fault = |pem: &str| Roots::from_pem(pem.as_bytes()).unwrap_err().to_string();
    let second = |pem: &str| fault(&format!("some words\n{}{pem}", root.pem));
    let leaf = Party::root(device("device"), p256());
    assert_eq!(
        second(&leaf.pem),
        "root 2 that this module was configured with is no authority's: configure it with other ones"
    );
    let p384 = Party::root(authority("root"), KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap());
    assert!(second(&p384.pem).contains("has a key that is none of"));
    assert!(second("-----BEGIN CERTIFICATE-----\nAAAA\n").contains("has no end"));
    assert!(
        second("-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n").contains("is no DER in PEM")
    );
    assert!(
        second("-----BEGIN CERTIFICATE-----\nMAMCAQA=\n-----END CERTIFICATE-----\n")
            .contains("is no certificate")
    );
    assert!(Roots::from_pem(b"").is_ok());
}
