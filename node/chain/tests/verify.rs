//! C7: one event of a batch of 1,000, proven by a contract; and what that costs.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test prints its figures and fails by panicking"
)]

mod common;

use common::Chain;
use mainstem_chain::{ChainError, EventVerifier};
use mainstem_crypto::{Address, SecretKey};
use mainstem_model::{
    Batch, EventProof, Network, NewEvent, Partition, SeriesId, SeriesWriter, Signer, StreamId, Verifier,
};
use serde_json::json;

const INDEXES: [u16; 7] = [0, 1, 511, 512, 767, 998, 999];

/// Proofs of some events of one batch.
fn proofs(network: Network, key: &SecretKey, count: usize) -> Vec<EventProof> {
    let stream = StreamId(Address([2; 20])).partition(Partition::try_from(3).unwrap());
    let events: Vec<NewEvent> = (0..count)
        .map(|n| NewEvent::json(1_700_000_000_000 + n as i64, &json!({ "n": n, "value": "0123456789" })))
        .collect();
    let mut series = SeriesWriter::new(network, stream, Signer::wallet(key.clone()), SeriesId(77));
    let batch = series.seal(&events).unwrap();
    let batch = Verifier::new(network).verify(Batch::decode(batch.bytes().clone()).unwrap()).unwrap();
    INDEXES.map(|index| EventProof::of(&batch, index).unwrap()).to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c7_a_contract_proves_any_event_of_a_batch_of_1000() {
    let mut gas = Vec::new();
    for chain in [Chain::dev().await, Chain::anvil()] {
        let (deployment, _) = chain.deploy().await;
        let verifier = EventVerifier::new(chain.rpc(), &deployment);
        let key = SecretKey::from_bytes(&[7; 32]).unwrap();
        let proofs = proofs(deployment.network(), &key, 1_000);
        let wallet = chain.wallet(0);
        for proof in &proofs {
            let index = proof.index;
            let proven = verifier.verify_event(proof).await.unwrap();
            assert_eq!(proven.origin, key.address());
            assert_eq!(proven.network, deployment.network().id().0);
            assert_eq!((proven.partition, proven.series, proven.sequence), (3, 77, u64::from(index)));
            assert_eq!(proven.batch, proof.header.id().0);
            let receipt = wallet.send(verifier.call(proof)).await.unwrap();
            let execution = receipt.gas_used - EventVerifier::intrinsic_gas(proof);
            println!(
                "event {index} of 1000, path {}: transaction {} gas, execution {execution} gas",
                proof.path.len(),
                receipt.gas_used
            );
            assert!(verifier.estimate_gas(&wallet, proof).await.unwrap() >= receipt.gas_used);
            gas.push((index, receipt.gas_used));
        }
        refusals(&verifier, &proofs[2]).await;
    }
    let (ours, theirs) = gas.split_at(gas.len() / 2);
    assert_eq!(ours, theirs);
}

type Change = fn(&mut EventProof);

async fn refusals(verifier: &EventVerifier, good: &EventProof) {
    let cases: [(&str, Change); 7] = [
        ("VerifierPath", |proof| proof.index += 1),
        ("VerifierIndex", |proof| proof.index = 1_000),
        ("VerifierPath", |proof| proof.event.timestamp += 1),
        ("VerifierPath", |proof| proof.path.truncate(9)),
        ("VerifierPath", |proof| proof.path.push([0; 32])),
        ("VerifierSignature", |proof| proof.header.sequence += 0x1_0000),
        ("VerifierSignature", |proof| proof.signature = proof.signature.slice(..64)),
    ];
    for (name, change) in cases {
        let mut proof = good.clone();
        change(&mut proof);
        match verifier.verify_event(&proof).await {
            Err(ChainError::Revert(revert)) => assert_eq!(revert.name, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}
