use crate::Certificate;
use std::fmt;
use x509_cert::der::Document;

/// Bytes of the roots in PEM that a module has room for: some 40 of them.
pub const ROOTS_BYTES_MAX: usize = 64 << 10;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Certificates that are trusted as they are.
#[derive(Debug, Default)]
pub struct Roots(pub(crate) Vec<Certificate>);

/// What is wrong with the roots.
#[derive(Debug, PartialEq, Eq)]
pub struct RootsError {
    /// Which one, from 1 on.
    number: usize,
    fault: &'static str,
}

impl fmt::Display for RootsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, fault } = self;
        write!(f, "root {number} that this module was configured with {fault}: configure it with other ones")
    }
}

impl std::error::Error for RootsError {}

impl Roots {
    /// Of certificates in PEM, with any text between them. None of them is right too: then nothing is trusted.
    ///
    /// # Errors
    /// The first that cannot be the end of a path.
    pub fn from_pem(pem: &[u8]) -> Result<Self, RootsError> {
        let text = String::from_utf8_lossy(pem);
        let mut roots = Vec::new();
        for part in text.split(BEGIN).skip(1) {
            let broken = |fault| RootsError { number: roots.len() + 1, fault };
            let (body, _) = part.split_once(END).ok_or_else(|| broken("has no end"))?;
            let (_, document) = Document::from_pem(&format!("{BEGIN}{body}{END}\n"))
                .map_err(|_| broken("is no DER in PEM"))?;
            let root = Certificate::from_der(document.as_bytes());
            let root = root.ok_or_else(|| broken("is no certificate of RFC 5280"))?;
            if !root.is_authority || !root.signs_certificates {
                return Err(broken("is no authority's"));
            }
            if root.key.is_none() {
                return Err(broken("has a key that is none of P-256, Ed25519 and RSA up to 4,096 bits"));
            }
            if root.is_beyond {
                return Err(broken("has constraints that are not understood here"));
            }
            roots.push(root);
        }
        Ok(Self(roots))
    }
}
