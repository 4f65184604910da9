//! Places of records that were trimmed, as they lie in an object beside them: `MSG3`, count u32, xxh3-64 of the places, and u64 for each.
//! Integers are big-endian. It is written whole each time.

use std::collections::BTreeSet;
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: [u8; 4] = *b"MSG3";
const HEAD: usize = 16;

/// Bytes of a list of so many places.
pub(crate) const fn length(places: usize) -> u32 {
    (HEAD + 8 * places) as u32
}

pub(crate) fn encode(places: &BTreeSet<u64>) -> Vec<u8> {
    let body: Vec<u8> = places.iter().flat_map(|place| place.to_be_bytes()).collect();
    let mut bytes = Vec::with_capacity(HEAD + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&(places.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&xxh3_64(&body).to_be_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

/// Nothing if any byte has changed.
pub(crate) fn decode(bytes: &[u8]) -> Option<BTreeSet<u64>> {
    let (head, body) = bytes.split_at_checked(HEAD)?;
    let (places, rest) = body.as_chunks::<8>();
    let whole = head.starts_with(&MAGIC)
        && head[4..8] == (places.len() as u32).to_be_bytes()
        && head[8..] == xxh3_64(body).to_be_bytes()
        && rest.is_empty();
    whole.then(|| places.iter().map(|place| u64::from_be_bytes(*place)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_were_written_and_no_flipped_bit_passes() {
        let places = BTreeSet::from([0, 3, u64::MAX]);
        let bytes = encode(&places);
        assert_eq!(decode(&bytes), Some(places));
        for bit in 0..bytes.len() * 8 {
            let mut broken = bytes.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&broken), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]), None, "{length} bytes");
        }
    }
}
