//! Signature types that are not built in, with a scheme of this test's own: it signs with SHA-256 of a secret and the batch id.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mainstem_crypto::{SecretKey, sha256};
use mainstem_model::{
    Address, Batch, BatchError, BatchId, Code, Network, NewEvent, Origin, Partition, Refusal, SchemeSigner,
    SeriesId, SeriesWriter, SignatureFault, SignatureScheme, SignatureType, SignedHeader, Signer, StreamId,
    Verifier,
};
use std::sync::Arc;

const TYPE: SignatureType = SignatureType(200);

/// Knows the secret, so that it can tell; `answers` is how many answers it gives at most.
#[derive(Debug)]
struct Tagged {
    secret: [u8; 32],
    answers: usize,
}

impl Tagged {
    fn tag(&self, id: BatchId) -> Vec<u8> {
        sha256(&[self.secret, id.0].concat()).to_vec()
    }
}

impl SignatureScheme for Tagged {
    fn signature_type(&self) -> SignatureType {
        TYPE
    }

    fn speaks_for(&self, origin_type: u8) -> bool {
        origin_type == TYPE.0
    }

    fn verify(&self, items: &[SignedHeader<'_>]) -> Vec<Result<(), SignatureFault>> {
        let judge = |item: &SignedHeader<'_>| match item.signature {
            [] => Err(SignatureFault::Unavailable("asleep".into())),
            signature if signature == self.tag(item.header.id()) => Ok(()),
            _ => Err(SignatureFault::Invalid),
        };
        items.iter().map(judge).take(self.answers).collect()
    }
}

impl SchemeSigner for Tagged {
    fn signature_type(&self) -> SignatureType {
        TYPE
    }

    fn origin(&self) -> Origin {
        Origin::of_plugin(TYPE.0, b"me").unwrap()
    }

    fn sign(&self, id: BatchId) -> Result<Vec<u8>, SignatureFault> {
        Ok(self.tag(id))
    }
}

fn scheme() -> Arc<Tagged> {
    Arc::new(Tagged { secret: [7; 32], answers: usize::MAX })
}

fn network() -> Network {
    Network { chain_id: 31_337, registry: Address([1; 20]) }
}

fn signed_by(signer: Signer) -> Batch {
    let at = StreamId(Address([2; 20])).partition(Partition::ZERO);
    let mut series = SeriesWriter::new(network(), at, signer, SeriesId(1));
    series.seal(&[NewEvent::json(1_700_000_000_000, &serde_json::json!({ "n": 1 }))]).unwrap()
}

/// The same batch with another signature and delegation.
fn with(batch: &Batch, signature: &[u8], delegation: &[u8]) -> Batch {
    let events: Vec<_> = batch
        .events()
        .map(|event| NewEvent::json(event.timestamp, &serde_json::from_slice(event.content).unwrap()))
        .collect();
    Batch::assemble(batch.header(), signature, delegation, &events).unwrap()
}

#[test]
fn a_scheme_proves_what_its_signer_signed_and_nothing_else() {
    let verifier = Verifier::new(network()).with(scheme());
    let batch = signed_by(Signer::scheme(scheme()));
    let proven = verifier.verify(Batch::decode(batch.bytes().clone()).unwrap()).unwrap();
    assert_eq!(proven.delegation_used(), None);
    assert_eq!(proven.header().origin.to_string(), "200:0x6d65");
    let other = Arc::new(Tagged { secret: [8; 32], answers: usize::MAX });
    let fault = verifier.verify(signed_by(Signer::scheme(other))).unwrap_err();
    assert_eq!(fault, BatchError::Plugin(200, SignatureFault::Invalid));
    assert_eq!(fault.code(), Code::InvalidSignature);
}

#[test]
fn a_type_that_nobody_knows_is_refused_with_its_number_and_the_way_to_install_it() {
    let refusal =
        Refusal::from(Verifier::new(network()).verify(signed_by(Signer::scheme(scheme()))).unwrap_err());
    assert_eq!(refusal.code, Code::UnknownSignatureType);
    assert!(refusal.message.contains("signature type 200"), "{}", refusal.message);
    // It cannot be told here whether there is one that is off.
    for way in ["mainstem plugin install FILE", "mainstem plugin enable NAME"] {
        assert!(refusal.message.contains(way), "{}", refusal.message);
    }
}

#[test]
fn a_scheme_that_gives_no_answer_or_cannot_tell_has_not_said_yes() {
    let silent = Arc::new(Tagged { secret: [7; 32], answers: 0 });
    let batch = signed_by(Signer::scheme(scheme()));
    let fault = Verifier::new(network()).with(silent).verify(batch.clone()).unwrap_err();
    assert_eq!(fault.code(), Code::SignatureUnavailable);
    let fault = Verifier::new(network()).with(scheme()).verify(with(&batch, &[], &[])).unwrap_err();
    assert_eq!(fault.code(), Code::SignatureUnavailable);
    assert!(fault.to_string().contains("asleep"), "{fault}");
}

#[test]
fn a_scheme_speaks_for_no_other_origins_and_needs_no_delegation() {
    #[derive(Debug)]
    struct ForAWallet(Tagged);
    impl SchemeSigner for ForAWallet {
        fn signature_type(&self) -> SignatureType {
            TYPE
        }
        fn origin(&self) -> Origin {
            Origin::ethereum(Address([9; 20]))
        }
        fn sign(&self, id: BatchId) -> Result<Vec<u8>, SignatureFault> {
            self.0.sign(id)
        }
    }
    let verifier = Verifier::new(network()).with(scheme());
    let signer = ForAWallet(Tagged { secret: [7; 32], answers: 1 });
    let fault = verifier.verify(signed_by(Signer::scheme(Arc::new(signer)))).unwrap_err();
    assert_eq!(fault, BatchError::OriginType { origin: 1, signature: 200 });
    let batch = signed_by(Signer::scheme(scheme()));
    let fault = verifier.verify(with(&batch, batch.signature(), &[1])).unwrap_err();
    assert_eq!(fault.code(), Code::MalformedBatch);
}

#[test]
fn a_scheme_does_not_take_the_place_of_the_built_in_ones() {
    #[derive(Debug)]
    struct SaysYes;
    impl SignatureScheme for SaysYes {
        fn signature_type(&self) -> SignatureType {
            SignatureType::SECP256K1
        }
        fn speaks_for(&self, _: u8) -> bool {
            true
        }
        fn verify(&self, items: &[SignedHeader<'_>]) -> Vec<Result<(), SignatureFault>> {
            items.iter().map(|_| Ok(())).collect()
        }
    }
    let batch = signed_by(Signer::wallet(SecretKey::from_bytes(&[3; 32]).unwrap()));
    let forged = with(&batch, &[1; 65], &[]);
    assert!(Verifier::new(network()).with(Arc::new(SaysYes)).verify(forged).is_err());
}

#[test]
fn an_origin_has_the_account_of_its_address_or_of_its_hash() {
    let address = Address([9; 20]);
    assert_eq!(Origin::ethereum(address).account(), address);
    let me = Origin::of_plugin(200, b"me").unwrap();
    let hash = mainstem_crypto::keccak256_of(&[b"mainstem/origin/1", &[200], b"me"]);
    assert_eq!(me.account().as_bytes(), &hash[12..]);
    assert_ne!(Origin::of_plugin(201, b"me").unwrap().account(), me.account());
    assert_eq!(Origin::of_plugin(15, b"me"), None);
    assert_eq!(Origin::of_plugin(200, &[]), None);
    assert_eq!(Origin::of_plugin(200, &[1; 33]), None);
    assert!(Origin::of_plugin(200, &[1; 32]).is_some());
}
