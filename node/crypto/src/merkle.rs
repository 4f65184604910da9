//! The Merkle tree of RFC 6962 section 2.1 with SHA-256: a leaf is hashed behind 0x00, a node behind 0x01, and a tree
//! over n leaves splits at the largest power of two below n.

use crate::Hash;
use sha2::{Digest, Sha256};

/// Hash of one leaf given in parts: `SHA-256(0x00 ‖ parts…)`.
pub fn leaf_hash(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new_with_prefix([0]);
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// Hash of an inner node: `SHA-256(0x01 ‖ left ‖ right)`.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(left);
    bytes[33..].copy_from_slice(right);
    Sha256::digest(bytes).into()
}

/// Root over leaf hashes; works in place, level by level, and leaves `level` in an unspecified state.
///
/// A node without a right sibling moves up unchanged, which is the same tree as the recursive definition.
/// The root of no leaves is SHA-256 of nothing.
pub fn root_in_place(level: &mut [Hash]) -> Hash {
    let mut n = level.len();
    if n == 0 {
        return Sha256::digest([]).into();
    }
    while n > 1 {
        for i in 0..n / 2 {
            level[i] = node_hash(&level[2 * i], &level[2 * i + 1]);
        }
        if n % 2 == 1 {
            level[n / 2] = level[n - 1];
        }
        n = n.div_ceil(2);
    }
    level[0]
}

/// Root over leaf hashes.
pub fn root(leaves: &[Hash]) -> Hash {
    root_in_place(&mut leaves.to_vec())
}

/// The siblings from leaf `index` up to the root, lowest first (RFC 6962 section 2.1.1). `None` when there is no such leaf.
pub fn path(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    let (mut level, mut i, mut path) = (leaves.to_vec(), index, Vec::new());
    while level.len() > 1 {
        if let Some(sibling) = level.get(i ^ 1) {
            path.push(*sibling);
        }
        level =
            level.chunks(2).map(|pair| if let [l, r] = pair { node_hash(l, r) } else { pair[0] }).collect();
        i /= 2;
    }
    Some(path)
}

/// The root that a leaf hash, its index, the leaf count and a path lead to (RFC 9162 section 2.1.3.2).
/// `None` when the path has not exactly the length that index and count ask for.
pub fn root_from_path(leaf: &Hash, index: usize, count: usize, path: &[Hash]) -> Option<Hash> {
    if index >= count {
        return None;
    }
    let (mut i, mut last, mut hash) = (index, count - 1, *leaf);
    let mut siblings = path.iter();
    while last > 0 {
        if i % 2 == 1 {
            hash = node_hash(siblings.next()?, &hash);
        } else if i < last {
            hash = node_hash(&hash, siblings.next()?);
        }
        i /= 2;
        last /= 2;
    }
    siblings.next().is_none().then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The recursive definition of RFC 6962, as a reference.
    fn reference_root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [one] => *one,
            many => {
                let k = (many.len() - 1).ilog2();
                let (left, right) = many.split_at(1 << k);
                node_hash(&reference_root(left), &reference_root(right))
            }
        }
    }

    fn leaves(n: usize) -> Vec<Hash> {
        (0..n).map(|i| leaf_hash(&[&i.to_be_bytes()])).collect()
    }

    #[test]
    fn the_root_equals_the_recursive_definition() {
        for n in (0..70).chain([1000, 1023, 1024]) {
            assert_eq!(root(&leaves(n)), reference_root(&leaves(n)), "{n} leaves");
        }
    }

    #[test]
    fn every_leaf_proves_itself_and_nothing_else() {
        for n in 1..34 {
            let leaves = leaves(n);
            let root = root(&leaves);
            for i in 0..n {
                let path = path(&leaves, i).unwrap();
                assert_eq!(root_from_path(&leaves[i], i, n, &path), Some(root));
                assert_ne!(root_from_path(&leaf_hash(&[b"x"]), i, n, &path), Some(root));
                if n > 1 {
                    assert_ne!(root_from_path(&leaves[i], (i + 1) % n, n, &path), Some(root));
                    assert_eq!(root_from_path(&leaves[i], i, n, &path[1..]), None);
                }
                let longer: Vec<_> = path.iter().copied().chain([[0; 32]]).collect();
                assert_eq!(root_from_path(&leaves[i], i, n, &longer), None);
            }
        }
    }
}
