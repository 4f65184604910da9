//! Authorities and devices, made by rcgen.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, unreachable_pub, reason = "each test file uses some of it")]

use mainstem_plugin_sdk::{Host, Signed, Verdict, harness::Node};
use mainstem_plugin_x509::{Roots, verify};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SigningKey,
};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

/// SHA-256 of `abc`.
pub const BATCH_ID: [u8; 32] = *b"\xba\x78\x16\xbf\x8f\x01\xcf\xea\x41\x41\x40\xde\x5d\xae\x22\x23\xb0\x03\x61\xa3\x96\x17\x7a\x9c\xb4\x10\xff\x61\xf2\x00\x15\xad";
/// The first second of 2025, in seconds since 1970.
pub const BEGINS: i64 = 1_735_689_600;
/// The last second of 2025.
pub const ENDS: i64 = 1_767_225_599;
/// A time between the two, in ms.
pub const NOW_MS: i64 = 1_750_000_000_000;

pub const ECDSA: u8 = 1;
pub const ED25519: u8 = 2;
pub const RSA: u8 = 3;
pub const RSA_PSS: u8 = 4;

/// A certificate and its key.
pub struct Party {
    pub params: CertificateParams,
    pub key: KeyPair,
    pub der: Vec<u8>,
    pub pem: String,
}

pub fn p256() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()
}

pub fn ed25519() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap()
}

/// One that OpenSSL made: ring makes none.
pub fn rsa() -> KeyPair {
    KeyPair::from_pkcs8_pem_and_sign_algo(include_str!("../vectors/rsa-key.pem"), &rcgen::PKCS_RSA_SHA256)
        .unwrap()
}

pub fn authority(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

pub fn device(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = OffsetDateTime::from_unix_timestamp(BEGINS).unwrap();
    params.not_after = OffsetDateTime::from_unix_timestamp(ENDS).unwrap();
    params
}

impl Party {
    pub fn root(params: CertificateParams, key: KeyPair) -> Self {
        let made = params.self_signed(&key).unwrap();
        Self { der: made.der().to_vec(), pem: made.pem(), params, key }
    }

    pub fn issue(&self, params: CertificateParams, key: KeyPair) -> Self {
        let made = params.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).unwrap();
        Self { der: made.der().to_vec(), pem: made.pem(), params, key }
    }

    /// SHA-256 of its `SubjectPublicKeyInfo`.
    pub fn origin(&self) -> Vec<u8> {
        Sha256::digest(self.key.subject_public_key_info()).to_vec()
    }

    /// A signature by it, under these certificates.
    pub fn sign(&self, scheme: u8, chain: &[&Self]) -> Vec<u8> {
        let ders: Vec<_> = chain.iter().map(|of| &of.der[..]).collect();
        encode(&ders, scheme, &self.key.sign(&BATCH_ID).unwrap())
    }
}

pub fn encode(ders: &[&[u8]], scheme: u8, signature: &[u8]) -> Vec<u8> {
    let mut out = vec![u8::try_from(ders.len()).unwrap()];
    for der in ders {
        out.extend(u16::try_from(der.len()).unwrap().to_be_bytes());
        out.extend(*der);
    }
    out.push(scheme);
    out.extend(signature);
    out
}

pub fn roots(of: &[&Party]) -> Roots {
    let pem: String = of.iter().map(|of| of.pem.as_str()).collect();
    Roots::from_pem(pem.as_bytes()).unwrap()
}

/// What is said of one signature at a time.
pub fn judge_at(roots: &Roots, origin: &[u8], signature: &[u8], timestamp: i64) -> Verdict {
    judge_all(roots, &[(origin, signature, timestamp)])[0]
}

pub fn judge_all(roots: &Roots, items: &[(&[u8], &[u8], i64)]) -> Vec<Verdict> {
    let signed = |&(origin, signature, timestamp): &(_, _, _)| Signed {
        header: b"abc",
        batch_id: &BATCH_ID,
        origin_type: 20,
        origin,
        timestamp,
        signature,
    };
    let items: Vec<_> = items.iter().map(signed).collect();
    verify(&Host::new(&Node::default()), roots, &items).unwrap()
}
