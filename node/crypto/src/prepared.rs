use crate::{CryptoError, Hash, PublicKey, Signature, key::fits};
use k256::{
    AffinePoint, ProjectivePoint, Scalar,
    elliptic_curve::{BatchNormalize, ff::PrimeField},
};
use std::{fmt, sync::LazyLock};

/// A public key with a table of its multiples, for keys whose signatures come again and again: a check costs less than half.
///
/// About 73 KB and the time of four checks to make. Takes time that depends on its input, all of which is public.
pub struct PreparedKey {
    key: PublicKey,
    table: Table<5>,
}

/// Multiples of the generator, made at the first check with a prepared key: 370 KB.
static GENERATOR: LazyLock<Table<8>> = LazyLock::new(|| Table::new(&ProjectivePoint::GENERATOR));

impl PreparedKey {
    /// Makes the table.
    pub fn new(key: PublicKey) -> Self {
        Self { key, table: Table::new(&key.point()) }
    }

    /// The key.
    pub const fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// Says exactly what [`PublicKey::verify`] says.
    ///
    /// # Errors
    /// [`CryptoError::Mismatch`].
    pub fn verify(&self, digest: &Hash, signature: &Signature) -> Result<(), CryptoError> {
        fits(digest, signature, |of_generator, of_key| {
            let mut sum = ProjectivePoint::IDENTITY;
            GENERATOR.add_multiple(&of_generator, &mut sum);
            self.table.add_multiple(&of_key, &mut sum);
            sum.to_affine()
        })
    }
}

impl fmt::Debug for PreparedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PreparedKey({:?})", self.key)
    }
}

/// `d · 2^(W·i) · P` for every window `i` of a scalar and every `d` from 1 to `2^(W-1)`. Digits are signed, so that half of
/// the multiples will do (Hankerson, Menezes, Vanstone: Guide to Elliptic Curve Cryptography, 3.3.1 and 3.3.2).
struct Table<const W: u32> {
    /// Those of window 0, of window 1, …
    points: Vec<AffinePoint>,
}

impl<const W: u32> Table<W> {
    /// The last window takes the carry too.
    const WINDOWS: usize = (256 / W as usize) + 1;
    /// Multiples of one window.
    const DIGITS: usize = 1 << (W - 1);

    fn new(point: &ProjectivePoint) -> Self {
        let mut points = Vec::with_capacity(Self::WINDOWS * Self::DIGITS);
        let mut base = *point;
        for _ in 0..Self::WINDOWS {
            let mut multiple = base;
            for _ in 0..Self::DIGITS {
                points.push(multiple);
                multiple += base;
            }
            for _ in 0..W {
                base = base.double();
            }
        }
        Self { points: <ProjectivePoint as BatchNormalize<[_]>>::batch_normalize(&points) }
    }

    fn add_multiple(&self, scalar: &Scalar, sum: &mut ProjectivePoint) {
        let bytes: [u8; 32] = scalar.to_repr().into();
        let mut carry = 0;
        for (window, points) in self.points.chunks_exact(Self::DIGITS).enumerate() {
            let digit = bits::<W>(&bytes, window) + carry;
            carry = u32::from(digit as usize > Self::DIGITS);
            if carry == 1 {
                let negative = (1 << W) - digit;
                if negative > 0 {
                    *sum += -points[negative as usize - 1];
                }
            } else if digit > 0 {
                *sum += points[digit as usize - 1];
            }
        }
    }
}

/// `W` bits of a big-endian number, counted in windows from the least.
fn bits<const W: u32>(bytes: &[u8; 32], window: usize) -> u32 {
    let low = window * W as usize;
    let byte = |at: usize| 31_usize.checked_sub(at).map_or(0, |at| u32::from(bytes[at]));
    ((byte(low / 8) | byte(low / 8 + 1) << 8) >> (low % 8)) & ((1 << W) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SecretKey, keccak256};
    use k256::{
        U256,
        elliptic_curve::{Field, ops::Reduce},
    };

    fn scalars() -> impl Iterator<Item = Scalar> {
        let small = (0..300_u64).map(Scalar::from);
        let powers = (0..256).map(|n| Scalar::from(2_u64).pow_vartime([n]));
        let hashes = (0..200_u8).map(|n| <Scalar as Reduce<U256>>::reduce_bytes(&keccak256(&[n]).into()));
        let all: Vec<_> = small.chain(powers).chain(hashes).collect();
        all.clone().into_iter().chain(all.into_iter().map(|scalar| -scalar))
    }

    fn check<const W: u32>() {
        let point = ProjectivePoint::GENERATOR * Scalar::from(0xfeed_u64);
        let table = Table::<W>::new(&point);
        for scalar in scalars() {
            let mut sum = ProjectivePoint::IDENTITY;
            table.add_multiple(&scalar, &mut sum);
            assert_eq!(sum, point * scalar, "{W} bits, {scalar:?}");
        }
    }

    #[test]
    fn a_table_multiplies_as_the_curve_does() {
        check::<4>();
        check::<5>();
        check::<8>();
    }

    #[test]
    fn a_prepared_key_says_what_the_key_says_for_every_single_bit_changed() {
        let key = SecretKey::from_bytes(&[9; 32]).unwrap();
        let digest = keccak256(b"prepared");
        let signature = key.sign(&digest);
        let prepared = PreparedKey::new(key.public_key());
        prepared.verify(&digest, &signature).unwrap();
        for bit in 0..65 * 8 {
            let mut bytes = *signature.as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let Ok(changed) = Signature::from_slice(&bytes) else { continue };
            assert_eq!(
                prepared.verify(&digest, &changed),
                key.public_key().verify(&digest, &changed),
                "{bit}"
            );
            let mut other = digest;
            other[bit / 8 % 32] ^= 1 << (bit % 8);
            prepared.verify(&other, &signature).unwrap_err();
        }
    }
}
