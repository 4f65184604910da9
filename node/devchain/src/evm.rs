//! The one place where revm runs.

use revm::context::result::{EVMError, ExecutionResult, InvalidTransaction, ResultAndState};
use revm::context::{BlockEnv, CfgEnv, TxEnv};
use revm::primitives::eip4844::BLOB_BASE_FEE_UPDATE_FRACTION_CANCUN;
use revm::primitives::hardfork::SpecId;
use revm::primitives::{Address, U256};
use revm::{Context, ExecuteEvm, MainBuilder, MainContext};

use crate::block::Header;
use crate::error::RpcError;
use crate::state::View;

/// What may be skipped when nothing is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A signed transaction: every rule holds.
    Transaction,
    /// A call or estimate: any sender, any nonce, and no base fee if no gas price is given. The sender must still own
    /// what it sends.
    Call,
}

/// Executes one transaction on a state; nothing is changed.
pub(crate) fn execute(
    view: &View<'_>,
    header: &Header,
    chain_id: u64,
    mode: Mode,
    transaction: TxEnv,
) -> Result<ResultAndState, RpcError> {
    // The hard fork that the contracts are compiled for.
    let mut cfg = CfgEnv::new_with_spec(SpecId::CANCUN).with_chain_id(chain_id);
    cfg.tx_gas_limit_cap = Some(header.gas_limit);
    if mode == Mode::Call {
        cfg.tx_chain_id_check = false;
        cfg.disable_nonce_check = true;
        cfg.disable_eip3607 = true;
        cfg.disable_base_fee = transaction.gas_price == 0;
    }
    let nonce = view.account(transaction.caller).map_or(0, |info| info.nonce);
    let sender = transaction.caller;
    Context::mainnet()
        .with_ref_db(view)
        .with_cfg(cfg)
        .with_block(block_env(header))
        .build_mainnet()
        .transact(transaction)
        .map_err(|error| refusal(error, sender, nonce))
}

fn block_env(header: &Header) -> BlockEnv {
    let mut env = BlockEnv {
        number: U256::from(header.number),
        beneficiary: Address::ZERO,
        timestamp: U256::from(header.timestamp_s),
        gas_limit: header.gas_limit,
        basefee: header.base_fee_wei,
        difficulty: U256::ZERO,
        prevrandao: Some(header.prevrandao),
        ..BlockEnv::default()
    };
    env.set_blob_excess_gas_and_price(0, BLOB_BASE_FEE_UPDATE_FRACTION_CANCUN);
    env
}

/// Why a transaction is not executed at all, in geth's words, which clients match on.
fn refusal<E: std::fmt::Display>(error: EVMError<E>, sender: Address, nonce: u64) -> RpcError {
    let EVMError::Transaction(invalid) = error else {
        return RpcError::internal(format!("the EVM failed: {error}"));
    };
    RpcError::refused(if let InvalidTransaction::NonceTooLow { tx, state } = invalid {
        format!("nonce too low: address {sender}, tx: {tx} state: {state}")
    } else if let InvalidTransaction::NonceTooHigh { tx, .. } = invalid {
        format!("nonce too high: address {sender}, tx: {tx} state: {nonce}; transactions are not queued here")
    } else if let InvalidTransaction::LackOfFundForMaxFee { fee, balance } = invalid {
        format!("insufficient funds for gas * price + value: address {sender} have {balance} want {fee}")
    } else if let InvalidTransaction::CallGasCostMoreThanGasLimit { initial_gas, gas_limit } = invalid {
        format!("intrinsic gas too low: gas {gas_limit}, minimum needed {initial_gas}")
    } else if let InvalidTransaction::PriorityFeeGreaterThanMaxFee = invalid {
        "max priority fee per gas higher than max fee per gas".to_owned()
    } else if let InvalidTransaction::GasPriceLessThanBasefee = invalid {
        "max fee per gas less than block base fee".to_owned()
    } else if let InvalidTransaction::CallerGasLimitMoreThanBlock
    | InvalidTransaction::TxGasLimitGreaterThanCap { .. } = invalid
    {
        "exceeds block gas limit".to_owned()
    } else if let InvalidTransaction::CreateInitCodeSizeLimit = invalid {
        "max initcode size exceeded: limit 49152".to_owned()
    } else {
        format!("invalid transaction: {invalid}")
    })
}

/// The error of a call that did not succeed: code 3 and the data if the contract reverted.
pub(crate) fn failure(result: &ExecutionResult) -> Option<RpcError> {
    match result {
        ExecutionResult::Success { .. } => None,
        ExecutionResult::Revert { output, .. } => {
            let reason = revert_reason(output).map(|reason| format!(": {reason}")).unwrap_or_default();
            let mut error = RpcError::new(3, format!("execution reverted{reason}"));
            error.data = Some(crate::params::data(output));
            Some(error)
        }
        ExecutionResult::Halt { reason, .. } => Some(RpcError::refused(reason.to_string())),
    }
}

/// The text of Solidity's `Error(string)`, the number of `Panic(uint256)`.
fn revert_reason(output: &[u8]) -> Option<String> {
    let (selector, args) = output.split_first_chunk::<4>()?;
    match *selector {
        [0x08, 0xc3, 0x79, 0xa0] => {
            let len = usize::try_from(U256::from_be_slice(args.get(32..64)?)).ok()?;
            let text = args.get(64..64usize.checked_add(len)?)?;
            Some(String::from_utf8_lossy(text).into_owned())
        }
        [0x4e, 0x48, 0x7b, 0x71] => Some(format!("panic code {:#04x}", U256::from_be_slice(args.get(..32)?))),
        _ => None,
    }
}
