//! A delegation that decodes has one form; finding its wallet does not panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstem_model::{Address, Delegation, Network, limits};

fuzz_target!(|data: &[u8]| {
    let Ok(delegation) = Delegation::decode(data) else { return };
    assert_eq!(delegation.encode(), data);
    assert!(delegation.streams.len() <= limits::DELEGATION_STREAMS_MAX);
    let network = Network { chain_id: 31337, registry: Address([0xc0; 20]) };
    if let Ok(wallet) = delegation.wallet(&network) {
        assert_eq!(wallet.verify(&delegation.digest(&network), &delegation.signature), Ok(()));
    }
});
