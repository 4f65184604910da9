//! `eth_call` and `eth_estimateGas`: executions that leave nothing behind.

use revm::context::TxEnv;
use revm::context::result::{ExecutionResult, HaltReason};
use revm::context::transaction::{AccessList, AccessListItem};
use revm::primitives::{Address, Bytes, TxKind, U256};
use serde_json::Value;

use crate::block::Header;
use crate::error::RpcError;
use crate::evm::{Mode, execute, failure};
use crate::params::{parse_address, parse_bytes, parse_hash, parse_u64, parse_u128, parse_u256};
use crate::state::View;

/// Gas of a plain transfer: nothing costs less.
const GAS_MIN: u64 = 21_000;

/// A call object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call {
    from: Address,
    to: Option<Address>,
    gas: Option<u64>,
    gas_price: u128,
    value: U256,
    input: Bytes,
    access_list: AccessList,
}

impl Call {
    /// Reads what wallets send. Clients name the payload `input` or `data`; both may stand if they are equal. What is
    /// not needed to execute (nonce, chainId, type) is passed over.
    pub(crate) fn parse(value: &Value) -> Result<Self, RpcError> {
        let Value::Object(map) = value else { return Err(RpcError::params("a call must be an object")) };
        let field = |name: &str| map.get(name).filter(|value| !value.is_null());
        let input = field("input").map(parse_bytes).transpose()?;
        let data = field("data").map(parse_bytes).transpose()?;
        if input.is_some() && data.is_some() && input != data {
            return Err(RpcError::params("both \"data\" and \"input\" are set and not equal"));
        }
        let price = field("gasPrice").map(parse_u128).transpose()?;
        let max_fee = field("maxFeePerGas").map(parse_u128).transpose()?;
        if price.is_some() && max_fee.is_some() {
            return Err(RpcError::params("both gasPrice and maxFeePerGas are specified"));
        }
        Ok(Self {
            from: field("from").map(parse_address).transpose()?.unwrap_or_default(),
            to: field("to").map(parse_address).transpose()?,
            gas: field("gas").map(parse_u64).transpose()?,
            gas_price: price.or(max_fee).unwrap_or(0),
            value: field("value").map(parse_u256).transpose()?.unwrap_or_default(),
            input: input.or(data).unwrap_or_default(),
            access_list: field("accessList").map(access_list).transpose()?.unwrap_or_default(),
        })
    }

    fn env(&self, gas_limit: u64) -> TxEnv {
        TxEnv {
            tx_type: u8::from(!self.access_list.is_empty()),
            caller: self.from,
            gas_limit,
            gas_price: self.gas_price,
            kind: self.to.map_or(TxKind::Create, TxKind::Call),
            value: self.value,
            data: self.input.clone(),
            access_list: self.access_list.clone(),
            ..TxEnv::default()
        }
    }

    fn run(
        &self,
        view: &View<'_>,
        header: &Header,
        chain_id: u64,
        gas_limit: u64,
    ) -> Result<ExecutionResult, RpcError> {
        Ok(execute(view, header, chain_id, Mode::Call, self.env(gas_limit))?.result)
    }

    /// The output of the call.
    pub(crate) fn output(&self, view: &View<'_>, header: &Header, chain_id: u64) -> Result<Bytes, RpcError> {
        let gas = self.gas.unwrap_or(u64::MAX).min(self.gas_max(view, header)?);
        let result = self.run(view, header, chain_id, gas)?;
        match failure(&result) {
            None => Ok(result.into_output().unwrap_or_default()),
            Some(error) => Err(error),
        }
    }

    /// The least gas limit with which the call succeeds. It must be searched for: what a run uses is too little as
    /// a limit, since refunds come after the end and a call passes on only 63/64 of the gas that is left.
    pub(crate) fn estimate(&self, view: &View<'_>, header: &Header, chain_id: u64) -> Result<u64, RpcError> {
        let gas_max =
            self.gas.filter(|gas| *gas >= GAS_MIN).unwrap_or(u64::MAX).min(self.gas_max(view, header)?);
        let result = self.run(view, header, chain_id, gas_max)?;
        if let ExecutionResult::Halt { reason: HaltReason::OutOfGas(_), .. } = result {
            return Err(RpcError::refused(format!("gas required exceeds allowance ({gas_max})")));
        }
        if let Some(error) = failure(&result) {
            return Err(error);
        }
        // Too little, enough.
        let (mut low, mut high) = (GAS_MIN - 1, gas_max);
        let mut probe = result.gas().total_gas_spent();
        low = low.max(result.tx_gas_used().saturating_sub(1)).min(high - 1);
        while low + 1 < high {
            // The first probe is what was spent, then that and a margin for 63/64; most calls end there.
            let gas = probe.clamp(low + 1, high - 1);
            let enough = self.run(view, header, chain_id, gas).is_ok_and(|result| result.is_success());
            if enough {
                high = gas;
                probe = low + (high - low) / 2;
            } else {
                low = gas;
                let margin = gas / 63 + 2_300;
                probe = if high == gas_max { gas.saturating_add(margin) } else { low + (high - low) / 2 };
            }
        }
        Ok(high)
    }

    /// The most gas that the block allows and the sender can pay for.
    fn gas_max(&self, view: &View<'_>, header: &Header) -> Result<u64, RpcError> {
        if self.gas_price == 0 {
            return Ok(header.gas_limit);
        }
        let balance = view.account(self.from).map(|info| info.balance).unwrap_or_default();
        let left = balance
            .checked_sub(self.value)
            .ok_or_else(|| RpcError::refused("insufficient funds for gas * price + value"))?;
        let affordable = u64::try_from(left / U256::from(self.gas_price)).unwrap_or(u64::MAX);
        Ok(affordable.min(header.gas_limit))
    }
}

fn access_list(value: &Value) -> Result<AccessList, RpcError> {
    let malformed = || RpcError::params("an access list is an array of {address, storageKeys}");
    let mut out = Vec::new();
    for item in value.as_array().ok_or_else(malformed)? {
        let address = parse_address(item.get("address").ok_or_else(malformed)?)?;
        let keys = item.get("storageKeys").and_then(Value::as_array).ok_or_else(malformed)?;
        let storage_keys = keys.iter().map(parse_hash).collect::<Result<_, _>>()?;
        out.push(AccessListItem { address, storage_keys });
    }
    Ok(AccessList(out))
}
