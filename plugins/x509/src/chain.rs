use crate::Certificate;
use mainstem_plugin_sdk::Scheme;

/// Certificates of a chain, the leaf among them and the root not.
pub const CERTIFICATES_MAX: usize = 8;

/// What the bytes of a signature say.
///
/// ```text
/// count                1 byte, 1 to 8
/// count times          length, 2 bytes, big-endian ‖ certificate, DER; the leaf first, then always the one that issued the one before
/// scheme               1 byte: 1 ECDSA on P-256 with SHA-256, in DER · 2 Ed25519 · 3 RSA PKCS #1 v1.5 with SHA-256 · 4 RSA-PSS with
///                      SHA-256 and 32 bytes of salt
/// signature            the rest, by the leaf's key over the batch id
/// ```
#[derive(Debug)]
pub struct Chain<'a> {
    /// 1 to [`CERTIFICATES_MAX`], the leaf first.
    pub certificates: Vec<Certificate>,
    /// How the leaf's key signed.
    pub scheme: Scheme,
    /// What it signed with.
    pub signature: &'a [u8],
}

impl<'a> Chain<'a> {
    /// None if it is not as above, or if the leaf's key makes no such signatures.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (count, mut rest) = bytes.split_first()?;
        if !(1..=CERTIFICATES_MAX).contains(&usize::from(*count)) {
            return None;
        }
        let mut certificates = Vec::with_capacity((*count).into());
        for _ in 0..*count {
            let (length, behind) = rest.split_first_chunk::<2>()?;
            let (der, behind) = behind.split_at_checked(u16::from_be_bytes(*length).into())?;
            certificates.push(Certificate::from_der(der)?);
            rest = behind;
        }
        let (scheme, signature) = rest.split_first()?;
        let scheme = match scheme {
            1 => Scheme::EcdsaP256Sha256Der,
            2 => Scheme::Ed25519,
            3 => Scheme::RsaPkcs1Sha256,
            4 => Scheme::RsaPssSha256,
            _ => return None,
        };
        if certificates[0].key.as_ref().is_some_and(|key| key.of(scheme).is_none()) {
            return None;
        }
        Some(Self { certificates, scheme, signature })
    }
}
