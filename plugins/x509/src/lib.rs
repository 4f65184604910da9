//! A signature type: by the key of a certificate whose chain ends in a root that the module was configured with.
//!
//! What a signature's bytes are is in [`chain`](Chain), what a certificate may say in [`certificate`](Certificate), what makes a
//! path in `path`, and in which order verdicts are found in [`verify`].

mod certificate;
mod chain;
mod checks;
mod path;
mod roots;
mod verify;

pub use certificate::Certificate;
pub use chain::{CERTIFICATES_MAX, Chain};
pub use roots::{ROOTS_BYTES_MAX, Roots, RootsError};
pub use verify::verify;

use mainstem_plugin_sdk::{Configuration, Failure, Host, Signature, Signed, Verdict};
use std::sync::OnceLock;

/// The roots, in PEM.
static CONFIGURATION: Configuration<ROOTS_BYTES_MAX> = Configuration::empty();
/// The same, read once by an instance.
static ROOTS: OnceLock<Result<Roots, RootsError>> = OnceLock::new();

/// Signature type 20, of origin type 20.
#[derive(Debug)]
pub struct X509;

impl Signature for X509 {
    fn verify(host: &Host<'_>, items: &[Signed<'_>]) -> Result<Vec<Verdict>, Failure> {
        match ROOTS.get_or_init(|| Roots::from_pem(CONFIGURATION.bytes())) {
            Ok(roots) => verify(host, roots, items),
            Err(error) => Err(Failure::invalid(error.to_string())),
        }
    }
}

mainstem_plugin_sdk::signature!(X509);
