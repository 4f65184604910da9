//! Another broker's frame: read or refused within its bounds, and what is a message is told again as the same one.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mainstem_api::peer::{BODY_BYTES_MAX, decode, encode};
use mainstem_model::{Address, Network, Verifier};
use std::sync::LazyLock;

static VERIFIER: LazyLock<Verifier> =
    LazyLock::new(|| Verifier::new(Network { chain_id: 31337, registry: Address([0xc0; 20]) }));

fuzz_target!(|data: &[u8]| {
    let Ok(Some(unproven)) = decode(Bytes::copy_from_slice(data)) else { return };
    let lane = unproven.lane();
    assert!(unproven.batch_bytes() <= BODY_BYTES_MAX.min(data.len()));
    let Ok(message) = unproven.prove(&VERIFIER) else { return };
    assert_eq!(message.lane(), lane);
    let frame = encode(&message).expect("what was read is within the bounds");
    let again = decode(frame.clone()).expect("a frame").expect("a known kind").prove(&VERIFIER).expect("proven");
    assert_eq!(format!("{again:?}"), format!("{message:?}"));
    assert_eq!(encode(&again).as_ref(), Ok(&frame), "one encoding of ours");
});
