use ml_dsa::{EncodedSignature, EncodedVerifyingKey, Keypair, MlDsa65, Signature, SigningKey, VerifyingKey};
use std::fmt;

/// Bytes of a public key.
pub const KEY_BYTES: usize = 1_952;
/// Bytes of a signature, without the key.
pub const SIGNATURE_BYTES: usize = 3_309;

/// A private key.
pub struct Seed(Box<SigningKey<MlDsa65>>);

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed")
    }
}

impl Seed {
    /// Of ξ of FIPS 204, algorithm 1.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(Box::new(SigningKey::from_seed(&(*bytes).into())))
    }

    /// The public key.
    pub fn public(&self) -> [u8; KEY_BYTES] {
        self.0.verifying_key().encode().into()
    }

    /// Signs deterministically: one key, message and context make one signature. The context has up to 255 bytes; a longer one is cut.
    pub fn sign(&self, message: &[u8], context: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let context = &context[..context.len().min(255)];
        let signed = self.0.expanded_key().sign_deterministic(message, context);
        signed.expect("the context is not too long, and nothing else fails").encode().into()
    }
}

/// Whether these bytes are a signature at all: its numbers in range, its hints in the one form that they have.
pub fn is_signature(bytes: &[u8; SIGNATURE_BYTES]) -> bool {
    decode(bytes).is_some()
}

/// Whether a signature holds. Every key of this length is one; of bytes that are no signature it holds never.
pub fn holds(
    key: &[u8; KEY_BYTES],
    message: &[u8],
    context: &[u8],
    signature: &[u8; SIGNATURE_BYTES],
) -> bool {
    let Some(signature) = decode(signature) else { return false };
    let key = VerifyingKey::<MlDsa65>::decode(&EncodedVerifyingKey::<MlDsa65>::from(*key));
    key.verify_with_context(message, context, &signature)
}

fn decode(bytes: &[u8; SIGNATURE_BYTES]) -> Option<Signature<MlDsa65>> {
    Signature::decode(&EncodedSignature::<MlDsa65>::from(*bytes))
}
