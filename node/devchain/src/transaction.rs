//! Signed transactions: from bytes to fields and sender, and to JSON.

use revm::context::TxEnv;
use revm::context::transaction::{AccessList, AccessListItem};
use revm::precompile::secp256k1::ecrecover;
use revm::primitives::alloy_primitives::B512;
use revm::primitives::{Address, B256, Bytes, TxKind, U256, b256, keccak256};
use serde_json::{Value, json};

use crate::block::Place;
use crate::error::RpcError;
use crate::params::{data, quantity};
use crate::rlp::{Decoded, Decoder, Encoder, list};

/// Half the order of secp256k1: `s` may not be above it (EIP-2).
const HALF_ORDER: B256 = b256!("7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0");

/// A transaction that was decoded and whose signature is good.
#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    /// 0 legacy, 1 EIP-2930, 2 EIP-1559.
    pub(crate) kind: u8,
    pub(crate) chain_id: u64,
    pub(crate) nonce: u64,
    /// For kind 2 the most to pay per gas, otherwise the gas price.
    pub(crate) max_fee: u128,
    /// For kind 2 the most to pay the miner per gas, otherwise the gas price.
    pub(crate) max_tip: u128,
    pub(crate) gas_limit: u64,
    /// `None` creates a contract.
    pub(crate) to: Option<Address>,
    pub(crate) value: U256,
    pub(crate) input: Bytes,
    access_list: AccessList,
    odd_y: bool,
    r: U256,
    s: U256,
    pub(crate) from: Address,
    pub(crate) hash: B256,
    /// As it was sent.
    pub(crate) raw: Bytes,
}

impl Transaction {
    /// Decodes, checks chain id and signature, and recovers the sender.
    pub(crate) fn decode(raw: Bytes, chain_id: u64) -> Result<Self, RpcError> {
        let (mut transaction, digest) = Self::parse(raw, chain_id)?;
        transaction.from = transaction.recover(digest)?;
        Ok(transaction)
    }

    /// Decodes bytes whose sender was recovered before.
    pub(crate) fn decode_known(raw: Bytes, chain_id: u64, from: Address) -> Result<Self, RpcError> {
        let (mut transaction, _) = Self::parse(raw, chain_id)?;
        transaction.from = from;
        Ok(transaction)
    }

    /// The fields, with no sender yet, and the hash that was signed.
    fn parse(raw: Bytes, chain_id: u64) -> Result<(Self, B256), RpcError> {
        let undecodable =
            |reason: &str| RpcError::params(format!("transaction could not be decoded: {reason}"));
        let bytes = raw.clone();
        let (transaction, digest) = match bytes.first().copied() {
            None => return Err(undecodable("it is empty")),
            Some(kind @ (1 | 2)) => Self::parse_typed(kind, raw).map_err(undecodable)?,
            Some(kind @ (3 | 4)) => {
                let name = if kind == 3 { "blob (EIP-4844)" } else { "set code (EIP-7702)" };
                return Err(RpcError::refused(format!("transaction type not supported: {kind}, {name}")));
            }
            Some(0xc0..) => {
                let Some(parsed) = Self::parse_legacy(raw).map_err(undecodable)? else {
                    return Err(RpcError::refused(
                        "only replay-protected (EIP-155) transactions are taken: sign with the chain id",
                    ));
                };
                parsed
            }
            Some(kind) => return Err(RpcError::refused(format!("transaction type not supported: {kind}"))),
        };
        if transaction.chain_id != chain_id {
            return Err(RpcError::refused(format!(
                "invalid chain id for signer: have {} want {chain_id}",
                transaction.chain_id
            )));
        }
        Ok((transaction, digest))
    }

    /// `None`: without replay protection.
    fn parse_legacy(raw: Bytes) -> Decoded<Option<(Self, B256)>> {
        let payload = Decoder::of_list(&raw)?;
        let mut items = payload;
        let nonce = items.u64()?;
        let gas_price = items.u128()?;
        let gas_limit = items.u64()?;
        let to = to_address(&mut items)?;
        let value = items.uint()?;
        let input = Bytes::copy_from_slice(items.bytes()?);
        let unsigned = &payload.rest()[..payload.rest().len() - items.rest().len()];
        let v = items.u64()?;
        let (r, s) = (items.uint()?, items.uint()?);
        items.end()?;
        if matches!(v, 27 | 28) {
            return Ok(None);
        }
        let v = v.checked_sub(35).ok_or("a recovery value that is not EIP-155")?;
        let chain_id = v / 2;
        let digest = keccak256(Encoder::default().raw(unsigned).u64(chain_id).u64(0).u64(0).list());
        let transaction = Self {
            kind: 0,
            chain_id,
            nonce,
            max_fee: gas_price,
            max_tip: gas_price,
            gas_limit,
            to,
            value,
            input,
            access_list: AccessList::default(),
            odd_y: v % 2 == 1,
            r,
            s,
            from: Address::ZERO,
            hash: keccak256(&raw),
            raw,
        };
        Ok(Some((transaction, digest)))
    }

    fn parse_typed(kind: u8, raw: Bytes) -> Decoded<(Self, B256)> {
        let payload = Decoder::of_list(&raw[1..])?;
        let mut items = payload;
        let chain_id = items.u64()?;
        let nonce = items.u64()?;
        let max_tip = items.u128()?;
        let max_fee = if kind == 2 { items.u128()? } else { max_tip };
        let gas_limit = items.u64()?;
        let to = to_address(&mut items)?;
        let value = items.uint()?;
        let input = Bytes::copy_from_slice(items.bytes()?);
        let access_list = access_list(items.list()?)?;
        let unsigned = &payload.rest()[..payload.rest().len() - items.rest().len()];
        let odd_y = match items.u64()? {
            0 => false,
            1 => true,
            _ => return Err("a parity that is neither 0 nor 1"),
        };
        let (r, s) = (items.uint()?, items.uint()?);
        items.end()?;
        let mut signed = vec![kind];
        signed.extend_from_slice(&list(unsigned));
        let transaction = Self {
            kind,
            chain_id,
            nonce,
            max_fee,
            max_tip,
            gas_limit,
            to,
            value,
            input,
            access_list,
            odd_y,
            r,
            s,
            from: Address::ZERO,
            hash: keccak256(&raw),
            raw,
        };
        Ok((transaction, keccak256(signed)))
    }

    fn recover(&self, digest: B256) -> Result<Address, RpcError> {
        if self.s > U256::from_be_bytes(HALF_ORDER.0) {
            return Err(RpcError::refused("invalid signature: s is in the upper half of the order (EIP-2)"));
        }
        let mut signature = B512::ZERO;
        signature[..32].copy_from_slice(&self.r.to_be_bytes::<32>());
        signature[32..].copy_from_slice(&self.s.to_be_bytes::<32>());
        ecrecover(&signature, u8::from(self.odd_y), &digest)
            .map(Address::from_word)
            .map_err(|_| RpcError::refused("invalid signature: no sender can be recovered"))
    }

    /// What each unit of gas costs at this base fee. The miner's share is in it: wallets tip by default, and the
    /// balance must agree with the receipt.
    pub(crate) fn effective_gas_price(&self, base_fee: u64) -> u128 {
        self.max_fee.min(self.max_tip.saturating_add(u128::from(base_fee)))
    }

    /// For the EVM.
    pub(crate) fn env(&self) -> TxEnv {
        TxEnv {
            tx_type: self.kind,
            caller: self.from,
            gas_limit: self.gas_limit,
            gas_price: self.max_fee,
            kind: self.to.map_or(TxKind::Create, TxKind::Call),
            value: self.value,
            data: self.input.clone(),
            nonce: self.nonce,
            chain_id: Some(self.chain_id),
            access_list: self.access_list.clone(),
            gas_priority_fee: (self.kind == 2).then_some(self.max_tip),
            ..TxEnv::default()
        }
    }

    /// As `eth_getTransactionByHash` gives it.
    pub(crate) fn json(&self, place: &Place, base_fee: u64) -> Value {
        let mut out = json!({
            "type": quantity(self.kind),
            "hash": self.hash,
            "blockHash": place.block_hash,
            "blockNumber": quantity(place.block_number),
            "transactionIndex": "0x0",
            "from": self.from,
            "to": self.to,
            "nonce": quantity(self.nonce),
            "gas": quantity(self.gas_limit),
            "gasPrice": quantity(self.effective_gas_price(base_fee)),
            "value": quantity(self.value),
            "input": data(&self.input),
            "chainId": quantity(self.chain_id),
            "r": quantity(self.r),
            "s": quantity(self.s),
        });
        if self.kind == 0 {
            out["v"] = quantity(self.chain_id * 2 + 35 + u64::from(self.odd_y));
        } else {
            out["v"] = quantity(u64::from(self.odd_y));
            out["yParity"] = quantity(u64::from(self.odd_y));
            out["accessList"] = self
                .access_list
                .iter()
                .map(|item| json!({ "address": item.address, "storageKeys": item.storage_keys }))
                .collect();
        }
        if self.kind == 2 {
            out["maxFeePerGas"] = quantity(self.max_fee);
            out["maxPriorityFeePerGas"] = quantity(self.max_tip);
        }
        out
    }
}

fn to_address(items: &mut Decoder<'_>) -> Decoded<Option<Address>> {
    match items.bytes()? {
        [] => Ok(None),
        bytes => Address::try_from(bytes).map(Some).map_err(|_| "a recipient that has not 20 bytes"),
    }
}

fn access_list(mut items: Decoder<'_>) -> Decoded<AccessList> {
    let mut out = Vec::new();
    while !items.rest().is_empty() {
        let mut item = items.list()?;
        let address = Address::from(item.array::<20>()?);
        let mut keys = item.list()?;
        item.end()?;
        let mut storage_keys = Vec::new();
        while !keys.rest().is_empty() {
            storage_keys.push(B256::from(keys.array::<32>()?));
        }
        out.push(AccessListItem { address, storage_keys });
    }
    Ok(AccessList(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use revm::primitives::{address, hex};

    #[test]
    fn the_example_of_eip_155_has_its_sender() {
        let raw = hex!(
            "f86c098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a76400008025a028ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276a067cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83"
        );
        let transaction = Transaction::decode(Bytes::copy_from_slice(&raw), 1).unwrap();
        assert_eq!(transaction.from, address!("9d8a62f656a8d1615c1294fd71e9cfb3e4855a4f"));
        assert_eq!((transaction.nonce, transaction.max_fee), (9, 20_000_000_000));
        assert_eq!(transaction.value, U256::from(1_000_000_000_000_000_000u64));
    }
}
