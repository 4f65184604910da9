use crate::ApiError;
use ::ring::hmac;
use mainstem_crypto::{Address, sha256};
use rustls::{ServerConfig, crypto::ring, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{
    fmt, fs, io,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The protocol that clients ask for in the TLS handshake (ALPN).
pub const ALPN: &[u8] = b"mainstem/1";

/// Name in the self-signed certificate. Clients that pin the key do not look at it.
const SELF_SIGNED_NAME: &str = "mainstem";

/// The node's TLS certificate and key.
pub struct TlsIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    pin: [u8; 32],
}

impl TlsIdentity {
    /// A certificate that some authority signed, for clients that trust the web's.
    ///
    /// # Errors
    /// [`ApiError::File`], [`ApiError::Tls`].
    pub fn from_files(certificate_chain: &Path, key: &Path) -> Result<Self, ApiError> {
        Self::from_pem(&read(certificate_chain)?, &read(key)?)
    }

    /// The same, from PEM text.
    ///
    /// # Errors
    /// [`ApiError::Tls`].
    pub fn from_pem(certificate_chain: &[u8], key: &[u8]) -> Result<Self, ApiError> {
        let chain = CertificateDer::pem_slice_iter(certificate_chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| unusable("certificate", &error))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| unusable("key", &error))?;
        Self::new(chain, key)
    }

    /// A certificate signed by its own key, which clients pin. The key lasts: it is read from `file`, and made there first
    /// if there is none; only its owner may read it.
    ///
    /// # Errors
    /// [`ApiError::File`], [`ApiError::Tls`].
    pub fn self_signed(file: &Path) -> Result<Self, ApiError> {
        match fs::read_to_string(file) {
            Ok(pem) => Self::self_signed_by(&pem),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let pem = new_key_pem()?;
                write_secret(file, &pem).map_err(|source| ApiError::File { path: file.into(), source })?;
                Self::self_signed_by(&pem)
            }
            Err(source) => Err(ApiError::File { path: file.into(), source }),
        }
    }

    /// A certificate signed by its own key, given as PEM (PKCS#8).
    ///
    /// # Errors
    /// [`ApiError::Tls`].
    pub fn self_signed_by(key_pem: &str) -> Result<Self, ApiError> {
        let key = rcgen::KeyPair::from_pem(key_pem).map_err(|error| unusable("key", &error))?;
        let certificate = rcgen::CertificateParams::new(vec![SELF_SIGNED_NAME.into()])
            .and_then(|params| params.self_signed(&key))
            .map_err(|error| unusable("certificate", &error))?;
        let der = PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| unusable("key", &error))?;
        Self::new(vec![certificate.der().clone()], der)
    }

    fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, ApiError> {
        let certified = CertifiedKey::from_der(chain.clone(), key.clone_key(), &ring::default_provider())
            .map_err(|error| unusable("certificate", &error))?;
        let public = certified.key.public_key().ok_or_else(|| ApiError::Tls {
            what: "key",
            reason: "its kind has no public key to pin".into(),
        })?;
        Ok(Self { pin: sha256(&public), chain, key })
    }

    /// SHA-256 of the key's SubjectPublicKeyInfo (DER): what clients pin. It outlives certificates.
    pub const fn pin(&self) -> [u8; 32] {
        self.pin
    }

    /// The name under which sign-ins are taken over QUIC: `quic://` and the [`pin`](Self::pin) in hex.
    ///
    /// IMPORTANT: a client compares it with the key of its own handshake before it signs, so that a broker which passes
    /// another one's hello on gets no sign-in for it. No `Host` or web origin has this form, so neither do WebSockets.
    pub fn audience(&self) -> String {
        format!("quic://{}", hex::encode(self.pin))
    }

    /// By what a node that has started again lets clients of before know that their connections are gone: the same as long as
    /// this key is.
    ///
    /// IMPORTANT: another one for each node, though they have the same certificate: nobody can have the one close what is open
    /// at the other.
    pub(crate) fn reset_key(&self, node: Address) -> hmac::Key {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, self.key.secret_der());
        let label = [b"mainstem/quic-reset/1", &node.as_bytes()[..]].concat();
        hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&secret, &label).as_ref())
    }

    pub(crate) fn server_config(&self) -> Result<ServerConfig, ApiError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| unusable("key", &error))?
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(|error| unusable("certificate", &error))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // 0-RTT data could be replayed.
        config.max_early_data_size = 0;
        Ok(config)
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsIdentity({} certificates)", self.chain.len())
    }
}

/// A new key for [`TlsIdentity::self_signed_by`], as PEM.
///
/// # Errors
/// The system gives no randomness.
pub fn new_key_pem() -> Result<String, ApiError> {
    Ok(rcgen::KeyPair::generate().map_err(|error| unusable("key", &error))?.serialize_pem())
}

fn read(path: &Path) -> Result<Vec<u8>, ApiError> {
    fs::read(path).map_err(|source| ApiError::File { path: PathBuf::from(path), source })
}

/// Writes a file that only its owner may read, and that was not there before.
///
/// # Errors
/// It is there already, or cannot be written.
pub fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn unusable(what: &'static str, error: &dyn fmt::Display) -> ApiError {
    ApiError::Tls { what, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pin_outlives_a_restart_and_the_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("quic.key");
        let first = TlsIdentity::self_signed(&file).unwrap();
        let second = TlsIdentity::self_signed(&file).unwrap();
        assert_eq!(first.pin(), second.pin());
        assert_ne!(first.chain, second.chain);
        assert_ne!(TlsIdentity::self_signed_by(&new_key_pem().unwrap()).unwrap().pin(), first.pin());
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_reads_the_key() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("quic.key");
        TlsIdentity::self_signed(&file).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_certificate_with_another_key_is_refused() {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["node.example".into()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        TlsIdentity::from_pem(certificate.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        let other = new_key_pem().unwrap();
        assert!(TlsIdentity::from_pem(certificate.as_bytes(), other.as_bytes()).is_err());
        assert!(TlsIdentity::from_pem(b"nothing", other.as_bytes()).is_err());
    }
}
