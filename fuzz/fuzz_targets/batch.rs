//! A batch that decodes has one form, and proving it does not panic.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mainstem_model::{Address, Batch, EventProof, Network, NetworkId, NewEvent, Verifier};
use std::sync::LazyLock;

static VERIFIER: LazyLock<Verifier> =
    LazyLock::new(|| Verifier::new(Network { chain_id: 31337, registry: Address([0xc0; 20]) }));

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    let Ok(batch) = Batch::decode(bytes.clone()) else { return };
    let events: Vec<_> = batch
        .events()
        .map(|event| NewEvent {
            timestamp: event.timestamp,
            content_type: event.content_type,
            encryption_type: event.encryption_type,
            content: Bytes::copy_from_slice(event.content),
        })
        .collect();
    let again = Batch::assemble(batch.header(), batch.signature(), batch.delegation(), &events);
    assert_eq!(again.as_ref().map(Batch::bytes), Ok(&bytes), "one encoding");
    assert!(batch.header().network != NetworkId::default() || VERIFIER.verify(batch.clone()).is_err());
    if let Ok(proven) = VERIFIER.verify(batch) {
        let proof = EventProof::of(&proven, 0).expect("a batch has an event");
        assert_eq!(proof.verify(&VERIFIER), Ok(()));
    }
});
