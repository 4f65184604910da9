use crate::json;
use ethers_core::types::{
    Eip1559TransactionRequest, NameOrAddress, Signature as EthersSignature, U256,
    transaction::eip2718::TypedTransaction,
};
use mainstem_crypto::{Address, Hash, SecretKey, keccak256};
use serde_json::{Value, json as object};

/// What a transaction is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The contract or account; `None` creates a contract.
    pub to: Option<Address>,
    /// Function and arguments, or the code that creates a contract.
    pub data: Vec<u8>,
    /// Wei to send along.
    pub value_wei: u128,
    /// The most gas to use; `None` is to be estimated.
    pub gas: Option<u64>,
}

impl Call {
    /// Calls a contract.
    pub const fn to(contract: Address, data: Vec<u8>) -> Self {
        Self { to: Some(contract), data, value_wei: 0, gas: None }
    }

    /// Creates a contract.
    pub const fn create(code: Vec<u8>) -> Self {
        Self { to: None, data: code, value_wei: 0, gas: None }
    }

    /// Sends wei.
    pub const fn pay(to: Address, value_wei: u128) -> Self {
        Self { to: Some(to), data: Vec::new(), value_wei, gas: None }
    }

    /// As `eth_call` and `eth_estimateGas` take it.
    pub(crate) fn json(&self, from: Address) -> Value {
        let mut call = object!({
            "from": from.to_string(),
            "data": json::data(&self.data),
            "value": json::quantity(self.value_wei),
        });
        if let Some(to) = self.to {
            call["to"] = to.to_string().into();
        }
        call
    }
}

/// What each gas may cost, EIP-1559.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fees {
    pub(crate) max_wei: u128,
    pub(crate) tip_wei: u128,
}

/// A transaction as it goes over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    pub(crate) raw: Vec<u8>,
    pub(crate) hash: Hash,
}

/// Signs an EIP-1559 transaction.
pub(crate) fn sign(key: &SecretKey, chain_id: u64, nonce: u64, call: &Call, gas: u64, fees: Fees) -> Signed {
    let request = Eip1559TransactionRequest {
        from: None,
        to: call.to.map(|to| NameOrAddress::Address(to.0.into())),
        gas: Some(gas.into()),
        value: Some(call.value_wei.into()),
        data: Some(call.data.clone().into()),
        nonce: Some(nonce.into()),
        access_list: Default::default(),
        max_priority_fee_per_gas: Some(fees.tip_wei.into()),
        max_fee_per_gas: Some(fees.max_wei.into()),
        chain_id: Some(chain_id.into()),
    };
    let transaction = TypedTransaction::Eip1559(request);
    let signature = key.sign(&transaction.sighash().0);
    let bytes = signature.as_bytes();
    let signature = EthersSignature {
        r: U256::from_big_endian(&bytes[..32]),
        s: U256::from_big_endian(&bytes[32..64]),
        // Typed transactions carry the parity of y.
        v: u64::from(bytes[64] == 28),
    };
    let raw = transaction.rlp_signed(&signature).to_vec();
    Signed { hash: keccak256(&raw), raw }
}
