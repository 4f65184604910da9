use crate::{Address, CryptoError, Hash, Signature, keccak256};
use k256::{
    AffinePoint, ProjectivePoint, Scalar, U256,
    ecdsa::{RecoveryId, SigningKey, VerifyingKey},
    elliptic_curve::{
        ff::PrimeField,
        ops::{Invert, LinearCombination, Reduce},
        point::AffineCoordinates,
    },
};
use std::fmt;

/// A secp256k1 secret key. Wiped from memory when dropped; never printed.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// Takes 32 bytes, big-endian.
    ///
    /// # Errors
    /// [`CryptoError::SecretKey`] when the number is zero or not below the curve order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, CryptoError> {
        SigningKey::from_slice(bytes).map(Self).map_err(|_| CryptoError::SecretKey)
    }

    /// Takes 64 hex digits, with or without `0x`.
    ///
    /// # Errors
    /// [`CryptoError::SecretKey`]; the text is never echoed.
    pub fn from_hex(text: &str) -> Result<Self, CryptoError> {
        let mut bytes = zeroize::Zeroizing::new([0; 32]);
        let digits = text.trim();
        hex::decode_to_slice(digits.strip_prefix("0x").unwrap_or(digits), bytes.as_mut_slice())
            .map_err(|_| CryptoError::SecretKey)?;
        Self::from_bytes(&bytes)
    }

    /// The secret number. The caller wipes it.
    pub fn to_bytes(&self) -> zeroize::Zeroizing<[u8; 32]> {
        zeroize::Zeroizing::new(self.0.to_bytes().into())
    }

    /// The matching public key.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(*self.0.verifying_key())
    }

    /// The Ethereum address of this key.
    pub fn address(&self) -> Address {
        self.public_key().address()
    }

    /// The secret number. The caller wipes it.
    pub(crate) fn scalar(&self) -> Scalar {
        *self.0.as_nonzero_scalar().as_ref()
    }

    /// Signs a digest, deterministically (RFC 6979), low `s`.
    pub fn sign(&self, digest: &Hash) -> Signature {
        // IMPORTANT: RFC 6979 over a 32-byte digest fails only when r or s is zero, which no digest is known to cause.
        let (ecdsa, id) = self.0.sign_prehash_recoverable(digest).expect("a 32-byte digest can be signed");
        Signature::new(ecdsa, id.is_y_odd())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.address())
    }
}

/// A point of secp256k1.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads a SEC1 point, compressed (33 bytes) or not (65 bytes).
    ///
    /// # Errors
    /// [`CryptoError::PublicKey`] when the bytes are no point of the curve.
    pub fn from_sec1(bytes: &[u8]) -> Result<Self, CryptoError> {
        VerifyingKey::from_sec1_bytes(bytes).map(Self).map_err(|_| CryptoError::PublicKey)
    }

    /// SEC1, compressed.
    pub fn to_sec1(&self) -> [u8; 33] {
        let mut bytes = [0; 33];
        bytes.copy_from_slice(self.0.to_encoded_point(true).as_bytes());
        bytes
    }

    /// x and y, 32 bytes each, big-endian: SEC1, uncompressed, without its tag.
    pub fn coordinates(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(&self.0.to_encoded_point(false).as_bytes()[1..]);
        bytes
    }

    /// The last 20 bytes of the Keccak-256 of the uncompressed point (yellow paper, appendix F).
    pub fn address(&self) -> Address {
        let hash = keccak256(&self.coordinates());
        let mut address = [0; 20];
        address.copy_from_slice(&hash[12..]);
        Address(address)
    }

    /// Checks a signature, its `v` included, so that whatever passes here also passes `ecrecover` in a contract.
    ///
    /// # Errors
    /// [`CryptoError::Mismatch`].
    pub fn verify(&self, digest: &Hash, signature: &Signature) -> Result<(), CryptoError> {
        fits(digest, signature, |of_generator, of_key| {
            ProjectivePoint::lincomb(&ProjectivePoint::GENERATOR, &of_generator, &self.point(), &of_key)
                .to_affine()
        })
    }

    /// Checks a signature without `v`: `r` (32) ‖ `s` (32), low `s` only.
    ///
    /// # Errors
    /// As [`Signature::from_slice`], and [`CryptoError::Mismatch`].
    pub fn verify_compact(&self, digest: &Hash, signature: &[u8]) -> Result<(), CryptoError> {
        let signature = crate::signature::compact(signature)?;
        let point = nonce_point(digest, &signature, |of_generator, of_key| {
            ProjectivePoint::lincomb(&ProjectivePoint::GENERATOR, &of_generator, &self.point(), &of_key)
                .to_affine()
        });
        if <Scalar as Reduce<U256>>::reduce_bytes(&point.x()) == *signature.r() {
            Ok(())
        } else {
            Err(CryptoError::Mismatch)
        }
    }

    pub(crate) fn point(&self) -> ProjectivePoint {
        ProjectivePoint::from(*self.0.as_affine())
    }
}

/// Whether a signature holds, its `v` included. `sum` gives a multiple of the generator and one of the key, added.
pub(crate) fn fits(
    digest: &Hash,
    signature: &Signature,
    sum: impl FnOnce(Scalar, Scalar) -> AffinePoint,
) -> Result<(), CryptoError> {
    let point = nonce_point(digest, &signature.ecdsa, sum);
    // r must equal x itself, not x mod n: v 27 and 28 say that x did not wrap, as ecrecover reads them.
    if point.x() == signature.ecdsa.r().to_repr() && bool::from(point.y_is_odd()) == signature.y_is_odd() {
        Ok(())
    } else {
        Err(CryptoError::Mismatch)
    }
}

/// The point whose x is r, if the signature holds (SEC 1, section 4.1.4).
fn nonce_point(
    digest: &Hash,
    signature: &k256::ecdsa::Signature,
    sum: impl FnOnce(Scalar, Scalar) -> AffinePoint,
) -> AffinePoint {
    let (r, s) = signature.split_scalars();
    let z = <Scalar as Reduce<U256>>::reduce_bytes(&(*digest).into());
    let s_inverse = s.invert_vartime();
    sum(z * *s_inverse, *r * *s_inverse)
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.to_sec1()))
    }
}

/// The public key whose holder made `signature` over `digest`. Costs twice a [`PublicKey::verify`]: cache the key.
///
/// # Errors
/// [`CryptoError::Mismatch`] when no key fits.
pub fn recover(digest: &Hash, signature: &Signature) -> Result<PublicKey, CryptoError> {
    let id = RecoveryId::new(signature.y_is_odd(), false);
    VerifyingKey::recover_from_prehash(digest, &signature.ecdsa, id)
        .map(PublicKey)
        .map_err(|_| CryptoError::Mismatch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::personal_message_digest;

    fn key() -> SecretKey {
        SecretKey::from_hex("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80").unwrap()
    }

    #[test]
    fn the_first_well_known_test_key_has_its_well_known_address() {
        assert_eq!(key().address().to_string(), "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266");
    }

    #[test]
    fn a_signature_is_refused_with_any_single_bit_changed() {
        let digest = personal_message_digest(b"one bit");
        let signature = key().sign(&digest);
        for bit in 0..65 * 8 {
            let mut bytes = *signature.as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let refused = match Signature::from_slice(&bytes) {
                Err(_) => true,
                Ok(changed) => key().public_key().verify(&digest, &changed).is_err(),
            };
            assert!(refused, "bit {bit}");
        }
    }

    #[test]
    fn verify_and_recover_agree() {
        for n in 1..50_u8 {
            let key = SecretKey::from_bytes(&[n; 32]).unwrap();
            let digest = keccak256(&[n]);
            let signature = key.sign(&digest);
            assert_eq!(recover(&digest, &signature).unwrap(), key.public_key());
            key.public_key().verify(&digest, &signature).unwrap();
        }
    }

    #[test]
    fn the_high_s_twin_is_refused() {
        let signature = key().sign(&[1; 32]);
        let (r, s) = signature.ecdsa.split_scalars();
        let mut bytes = [0; 65];
        bytes[..32].copy_from_slice(&r.to_repr());
        bytes[32..64].copy_from_slice(&(-*s).to_repr());
        bytes[64] = 55 - signature.as_bytes()[64];
        assert_eq!(Signature::from_slice(&bytes), Err(CryptoError::HighS));
    }

    #[test]
    fn a_compact_signature_is_refused_with_any_single_bit_changed() {
        let digest = keccak256(b"one bit");
        let signature = key().sign(&digest);
        let compact = &signature.as_bytes()[..64];
        key().public_key().verify_compact(&digest, compact).unwrap();
        for bit in 0..64 * 8 {
            let mut bytes = compact.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            key().public_key().verify_compact(&digest, &bytes).unwrap_err();
        }
        for wrong in [&signature.as_bytes()[..], &compact[..63], &[]] {
            let refused = key().public_key().verify_compact(&digest, wrong);
            assert_eq!(refused, Err(CryptoError::CompactLength(wrong.len())));
        }
    }

    #[test]
    fn a_secret_key_is_not_printed() {
        assert!(!format!("{:?}", key()).contains("ac0974"));
    }
}
