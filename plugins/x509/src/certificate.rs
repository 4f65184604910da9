use mainstem_plugin_sdk::Scheme;
use x509_cert::{
    Certificate as Parsed, Version,
    der::{
        Decode, Encode, Header, Reader, SliceReader,
        asn1::{AnyRef, ObjectIdentifier},
        oid::AssociatedOid,
    },
    ext::{
        Extension,
        pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, NameConstraints, SubjectAltName},
    },
    name::Name,
    spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned},
    time::Time,
};

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const ANY_PURPOSE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

/// RSASSA-PSS-params (RFC 4055) of SHA-256, MGF1 with SHA-256 and 32 bytes of salt: the one form that is taken.
const PSS_SHA256: &[u8] = b"\x30\x34\xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\
    \xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\
    \xa2\x03\x02\x01\x20";

/// Bytes of an `RSAPublicKey` of 4,096 bits, with room for its exponent. Checking with a longer one takes too long.
const RSA_KEY_BYTES_MAX: usize = 540;

/// What a path is judged by. Whether an extension allows something is worked out as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// What is signed, as it stands in the certificate.
    pub tbs: Vec<u8>,
    /// By whom, says the issuer.
    pub signature: Vec<u8>,
    /// How it is signed; none if that is not on the list.
    pub scheme: Option<Scheme>,
    /// Who signed it.
    pub issuer: Name,
    /// Whom it is about.
    pub subject: Name,
    /// `SubjectPublicKeyInfo`, in DER.
    pub spki: Vec<u8>,
    /// The key in it; none if its algorithm is not on the list.
    pub key: Option<Key>,
    /// From when on it holds, in ms since 1970.
    pub begins_ms: i64,
    /// Before when it holds, in ms since 1970.
    pub ends_ms: i64,
    /// Basic constraints say that it is an authority's.
    pub is_authority: bool,
    /// How many authorities may come between it and the leaf.
    pub path_max: Option<u8>,
    /// It may sign data, as far as key usage goes.
    pub signs_data: bool,
    /// It may sign certificates, as far as key usage goes.
    pub signs_certificates: bool,
    /// It has no purposes, or one of them is ours.
    pub fits_purpose: bool,
    /// It says something that must be obeyed and is not understood here.
    pub is_beyond: bool,
}

/// A public key of an algorithm on the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// SEC1, uncompressed.
    P256(Vec<u8>),
    /// 32 bytes.
    Ed25519(Vec<u8>),
    /// `RSAPublicKey`, in DER.
    Rsa(Vec<u8>),
}

impl Key {
    /// What it is for the node's `check`, if it makes signatures of this scheme.
    pub fn of(&self, scheme: Scheme) -> Option<&[u8]> {
        match (self, scheme) {
            (Self::P256(key), Scheme::EcdsaP256Sha256Der)
            | (Self::Ed25519(key), Scheme::Ed25519)
            | (Self::Rsa(key), Scheme::RsaPkcs1Sha256 | Scheme::RsaPssSha256) => Some(key),
            (Self::P256(_) | Self::Ed25519(_) | Self::Rsa(_), _) => None,
        }
    }
}

impl Certificate {
    /// Reads DER; nothing may stand behind it. None if it is no certificate of RFC 5280.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let parsed = Parsed::from_der(der).ok()?;
        let tbs = parsed.tbs_certificate();
        if tbs.signature() != parsed.signature_algorithm() {
            return None;
        }
        let extensions = tbs.extensions().map_or(&[][..], Vec::as_slice);
        if !extensions.is_empty() && tbs.version() != Version::V3 {
            return None;
        }
        let twice =
            |(at, one): (usize, &Extension)| extensions[..at].iter().any(|it| it.extn_id == one.extn_id);
        if extensions.iter().enumerate().any(twice) {
            return None;
        }
        let constraints = extension::<BasicConstraints>(extensions)?;
        let usage = extension::<KeyUsage>(extensions)?;
        let purposes = extension::<ExtendedKeyUsage>(extensions)?;
        let validity = tbs.validity();
        Some(Self {
            tbs: signed_part(der)?.to_vec(),
            signature: parsed.signature().as_bytes()?.to_vec(),
            scheme: scheme(parsed.signature_algorithm()),
            issuer: tbs.issuer().clone(),
            subject: tbs.subject().clone(),
            spki: tbs.subject_public_key_info().to_der().ok()?,
            key: key(tbs.subject_public_key_info()),
            begins_ms: milliseconds(validity.not_before),
            // The second that it names is its last.
            ends_ms: milliseconds(validity.not_after).saturating_add(1_000),
            is_authority: constraints.as_ref().is_some_and(|of| of.ca),
            path_max: constraints.and_then(|of| of.path_len_constraint),
            signs_data: usage.is_none_or(|usage| usage.digital_signature()),
            signs_certificates: usage.is_none_or(|usage| usage.key_cert_sign()),
            fits_purpose: purposes
                .is_none_or(|purposes| purposes.0.iter().any(|of| [CLIENT_AUTH, ANY_PURPOSE].contains(of))),
            is_beyond: extensions.iter().any(is_beyond),
        })
    }

    /// Whether it holds at a time, in ms since 1970.
    pub fn is_in_force(&self, at_ms: i64) -> bool {
        (self.begins_ms..self.ends_ms).contains(&at_ms)
    }
}

/// The extension of a type if there is one; `None` if it cannot be read.
#[expect(clippy::option_option, reason = "a fault, and that there may be none, are two things")]
fn extension<'a, T: Decode<'a> + AssociatedOid>(extensions: &'a [Extension]) -> Option<Option<T>> {
    match extensions.iter().find(|of| of.extn_id == T::OID) {
        None => Some(None),
        Some(found) => T::from_der(found.extn_value.as_bytes()).ok().map(Some),
    }
}

/// Whether an extension asks for more than is done here. Constraints of names are said by authorities about all below them: they are not
/// passed over even if they are not critical.
fn is_beyond(extension: &Extension) -> bool {
    let known = [BasicConstraints::OID, KeyUsage::OID, ExtendedKeyUsage::OID, SubjectAltName::OID];
    extension.extn_id == NameConstraints::OID || (extension.critical && !known.contains(&extension.extn_id))
}

/// The bytes of `tbsCertificate`.
fn signed_part(der: &[u8]) -> Option<&[u8]> {
    let mut reader = SliceReader::new(der).ok()?;
    Header::decode(&mut reader).ok()?;
    reader.tlv_bytes().ok()
}

fn milliseconds(time: Time) -> i64 {
    i64::try_from(time.to_unix_duration().as_millis()).unwrap_or(i64::MAX)
}

fn scheme(algorithm: &AlgorithmIdentifierOwned) -> Option<Scheme> {
    let parameters = algorithm.parameters.as_ref();
    match algorithm.oid {
        ECDSA_SHA256 if parameters.is_none() => Some(Scheme::EcdsaP256Sha256Der),
        ED25519 if parameters.is_none() => Some(Scheme::Ed25519),
        RSA_SHA256 if parameters.is_some_and(|of| AnyRef::from(of).is_null()) => Some(Scheme::RsaPkcs1Sha256),
        RSA_PSS if parameters?.to_der().ok()? == PSS_SHA256 => Some(Scheme::RsaPssSha256),
        _ => None,
    }
}

fn key(spki: &SubjectPublicKeyInfoOwned) -> Option<Key> {
    let bytes = spki.subject_public_key.as_bytes()?.to_vec();
    let parameters = spki.algorithm.parameters.as_ref();
    match spki.algorithm.oid {
        EC_PUBLIC_KEY => {
            let curve = parameters?.decode_as::<ObjectIdentifier>().ok()?;
            (curve == P256 && bytes.len() == 65 && bytes[0] == 4).then_some(Key::P256(bytes))
        }
        ED25519 => (parameters.is_none() && bytes.len() == 32).then_some(Key::Ed25519(bytes)),
        RSA => {
            let is_null = AnyRef::from(parameters?).is_null();
            (is_null && bytes.len() <= RSA_KEY_BYTES_MAX).then_some(Key::Rsa(bytes))
        }
        _ => None,
    }
}
