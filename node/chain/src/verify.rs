use crate::{
    BlockTag, Call, ChainError, Deployment, Rpc, Wallet, contracts::abi, json::Quantity64, registry::read,
};
use ethers_core::abi::AbiEncode;
use mainstem_crypto::{Address, Hash};
use mainstem_model::EventProof;
use serde_json::json;

/// The contract that proves one event of a signed batch to other contracts.
#[derive(Clone, Debug)]
pub struct EventVerifier {
    rpc: Rpc,
    address: Address,
}

/// What the contract says that a proven event was signed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProvenEvent {
    /// [`Network::id`](mainstem_model::Network::id). The caller compares it: the contract proves events of any network.
    pub network: Hash,
    /// The stream.
    pub stream: Address,
    /// Its partition.
    pub partition: u16,
    /// Who signed.
    pub origin: Address,
    /// The origin's run of batches.
    pub series: u64,
    /// The event's own number in the series.
    pub sequence: u64,
    /// Id of the batch.
    pub batch: Hash,
}

impl EventVerifier {
    /// The verifier of a deployment.
    pub const fn new(rpc: Rpc, deployment: &Deployment) -> Self {
        Self { rpc, address: deployment.event_verifier }
    }

    /// Has the contract check a proof, without a transaction.
    ///
    /// # Errors
    /// [`ChainError::Revert`] named `VerifierHeader`, `VerifierIndex`, `VerifierPath` or `VerifierSignature`; as
    /// [`Rpc::read`].
    pub async fn verify_event(&self, proof: &EventProof) -> Result<ProvenEvent, ChainError> {
        let output = self.rpc.call(self.address, &calldata(proof), BlockTag::Latest).await?;
        let abi::VerifyReturn { proven } = read(&output)?;
        Ok(ProvenEvent {
            network: proven.network,
            stream: Address(proven.stream.0),
            partition: proven.partition,
            origin: Address(proven.origin.0),
            series: proven.series,
            sequence: proven.sequence,
            batch: proven.batch_id,
        })
    }

    /// Gas of a whole transaction that does nothing but check the proof.
    ///
    /// # Errors
    /// As [`EventVerifier::verify_event`].
    pub async fn estimate_gas(&self, wallet: &Wallet, proof: &EventProof) -> Result<u64, ChainError> {
        let call = self.call(proof).json(wallet.address());
        self.rpc.read_as::<Quantity64>("eth_estimateGas", json!([call])).await.map(|gas| gas.0)
    }

    /// The call that checks a proof, for sending it or for handing it to another contract.
    pub fn call(&self, proof: &EventProof) -> Call {
        Call::to(self.address, calldata(proof))
    }

    /// Gas that the call data of a proof cost before anything is executed, with the 21,000 of every transaction.
    pub fn intrinsic_gas(proof: &EventProof) -> u64 {
        calldata(proof).iter().map(|byte| if *byte == 0 { 4 } else { 16 }).sum::<u64>() + 21_000
    }
}

fn calldata(proof: &EventProof) -> Vec<u8> {
    let event = proof.event.as_ref();
    abi::VerifyCall {
        header: proof.header.encode().to_vec().into(),
        leaf: [&event.leaf_prefix()[..], event.content].concat().into(),
        index: proof.index.into(),
        path: proof.path.clone(),
        signature: proof.signature.to_vec().into(),
    }
    .encode()
}
