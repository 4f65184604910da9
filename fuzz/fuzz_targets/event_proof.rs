//! A proof is judged without a panic, and only its own path fits: header ‖ signature ‖ index ‖ length of path ‖ path ‖ leaf.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mainstem_crypto::merkle;
use mainstem_model::{Address, EventProof, Header, Network, Verifier};
use std::sync::LazyLock;

static VERIFIER: LazyLock<Verifier> =
    LazyLock::new(|| Verifier::new(Network { chain_id: 31337, registry: Address([0xc0; 20]) }));

fuzz_target!(|data: &[u8]| {
    let _ = read(data);
});

fn read(data: &[u8]) -> Option<()> {
    let (header, rest) = data.split_at_checked(Header::LENGTH)?;
    let (signature, rest) = rest.split_at_checked(65)?;
    let (index, rest) = rest.split_first_chunk::<2>()?;
    let (length, rest) = rest.split_first()?;
    let (path, leaf) = rest.split_at_checked(32 * usize::from(*length))?;
    let event = EventProof::event_of_leaf(&Bytes::copy_from_slice(leaf)).ok()?;
    assert_eq!(event.as_ref().leaf(), leaf);
    let mut proof = EventProof {
        header: Header::decode(header).ok()?,
        signature: Bytes::copy_from_slice(signature),
        delegation: Bytes::new(),
        index: u16::from_be_bytes(*index),
        event,
        path: path.chunks_exact(32).map(|hash| hash.try_into().expect("32 bytes")).collect(),
    };
    let judged = proof.verify(&VERIFIER);
    // The root that this path leads to, if any, makes the path fit; with any other the proof must not hold.
    let (index, count) = (usize::from(proof.index), usize::from(proof.header.count));
    let root = merkle::root_from_path(&proof.event.as_ref().leaf_hash(), index, count, &proof.path);
    assert!(judged.is_err() || root == Some(proof.header.merkle_root));
    proof.header.merkle_root[0] ^= 1;
    assert!(proof.verify(&VERIFIER).is_err());
    Some(())
}
