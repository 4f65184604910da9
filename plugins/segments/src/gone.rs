//! The places of a segment whose records were trimmed: `MSG1`, count 4, XXH3-64 of the places 8, and 8 bytes for each; as many such
//! pieces as there were trims, one behind the other. Numbers are little-endian.

use xxhash_rust::xxh3::xxh3_64;

const MAGIC: [u8; 4] = *b"MSG1";
const HEAD: usize = 16;

pub(crate) fn encode(places: &[u64]) -> Vec<u8> {
    let body: Vec<u8> = places.iter().flat_map(|place| place.to_le_bytes()).collect();
    let mut piece = Vec::with_capacity(HEAD + body.len());
    piece.extend_from_slice(&MAGIC);
    piece.extend_from_slice(&(places.len() as u32).to_le_bytes());
    piece.extend_from_slice(&xxh3_64(&body).to_le_bytes());
    piece.extend_from_slice(&body);
    piece
}

/// All places up to the first piece that is not whole, and how many bytes that took.
pub(crate) fn decode(bytes: &[u8]) -> (Vec<u64>, usize) {
    let (mut places, mut at) = (Vec::new(), 0);
    while let Some((piece, length)) = piece(&bytes[at..]) {
        places.extend(piece.iter().map(|place| u64::from_le_bytes(*place)));
        at += length;
    }
    (places, at)
}

fn piece(bytes: &[u8]) -> Option<(&[[u8; 8]], usize)> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let count = u32::from_le_bytes(*head[4..].first_chunk()?) as usize;
    let body = rest.get(..count.checked_mul(8)?)?;
    let whole = head.starts_with(&MAGIC) && xxh3_64(body).to_le_bytes() == head[8..];
    whole.then_some((body.as_chunks().0, HEAD + body.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_read_up_to_the_first_that_is_not_whole() {
        let (one, other) = (encode(&[3, 9]), encode(&[u64::MAX]));
        let both = [&one[..], &other].concat();
        assert_eq!(decode(&both), (vec![3, 9, u64::MAX], both.len()));
        for length in one.len()..both.len() {
            assert_eq!(decode(&both[..length]), (vec![3, 9], one.len()), "{length} bytes");
        }
        for bit in 0..one.len() * 8 {
            let mut broken = both.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&broken), (vec![], 0), "bit {bit}");
        }
    }
}
