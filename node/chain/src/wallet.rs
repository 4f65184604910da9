use crate::{
    BlockTag, Call, ChainError, Receipt, Revert, Rpc, WalletConfig,
    json::{self, Quantity, Quantity64},
    transaction::{Fees, Signed, sign},
};
use mainstem_crypto::{Address, Hash, SecretKey};
use serde_json::json;
use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// A key that sends transactions. Clones share the nonce, so that transactions of one wallet leave in order.
#[derive(Clone)]
pub struct Wallet(Arc<Inner>);

struct Inner {
    rpc: Rpc,
    key: SecretKey,
    address: Address,
    config: WalletConfig,
    /// The nonce to use next, while it is known. IMPORTANT: held from reading it until the transaction was sent.
    nonce: Mutex<Option<u64>>,
}

/// A node that says that the nonce is wrong is believed so often before the send fails.
const RESYNCS_MAX: u32 = 3;
/// Offered to miners where the node has no opinion: 1 gwei.
const TIP_WEI: u128 = 1_000_000_000;

impl Wallet {
    /// A wallet; asks nothing yet.
    pub fn new(rpc: Rpc, key: SecretKey, config: WalletConfig) -> Self {
        let address = key.address();
        Self(Arc::new(Inner { rpc, key, address, config, nonce: Mutex::new(None) }))
    }

    /// Whose transactions these are.
    pub fn address(&self) -> Address {
        self.0.address
    }

    /// The chain.
    pub fn rpc(&self) -> &Rpc {
        &self.0.rpc
    }

    /// Sends a transaction and waits until it is mined.
    ///
    /// Not cancel-safe in one sense: when dropped while waiting, the transaction may be mined all the same.
    ///
    /// # Errors
    /// [`ChainError::Revert`] if the contract refuses, before or after it was sent; [`ChainError::NotMined`] and
    /// [`ChainError::Unsure`] when its fate is not known yet; the errors of [`Rpc::read`].
    pub async fn send(&self, call: Call) -> Result<Receipt, ChainError> {
        let transaction = self.submit(&call).await?;
        let receipt = self.wait(transaction).await?;
        if receipt.success {
            return Ok(receipt);
        }
        Err(ChainError::Revert(Box::new(self.reason(&call, &receipt).await)))
    }

    /// Sends a transaction and gives its hash.
    ///
    /// # Errors
    /// As [`Wallet::send`], less what can only go wrong while it is mined.
    pub async fn submit(&self, call: &Call) -> Result<Hash, ChainError> {
        let chain_id = self.0.rpc.chain_id().await?;
        let mut resyncs = 0;
        let mut next = self.0.nonce.lock().await;
        loop {
            // Unknown until this send has succeeded: so a send that is dropped half-way leaves no wrong nonce behind.
            let nonce = match next.take() {
                Some(nonce) => nonce,
                None => self.pending_nonce().await?,
            };
            let (gas, fees) = match self.price(call).await {
                Ok(price) => price,
                Err(error) => {
                    *next = Some(nonce);
                    return Err(error);
                }
            };
            let signed = sign(&self.0.key, chain_id, nonce, call, gas, fees);
            match self.deliver(&signed).await {
                Ok(()) => {
                    *next = nonce.checked_add(1);
                    return Ok(signed.hash);
                }
                Err(error) if is_wrong_nonce(&error) && resyncs < RESYNCS_MAX => resyncs += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for a receipt, whether or not the transaction succeeded.
    ///
    /// # Errors
    /// [`ChainError::NotMined`] after `receipt_wait_ms`, whatever the reason.
    pub async fn wait(&self, transaction: Hash) -> Result<Receipt, ChainError> {
        let config = &self.0.config;
        let until = Instant::now() + Duration::from_millis(config.receipt_wait_ms);
        loop {
            match self.0.rpc.receipt(transaction).await {
                Ok(Some(receipt)) => return Ok(receipt),
                Ok(None) => {}
                // IMPORTANT: it was sent, so no error of asking may look as if it was not.
                Err(error) => tracing::debug!(%error, "could not ask for a receipt"),
            }
            if Instant::now() >= until {
                return Err(ChainError::NotMined { transaction, after_ms: config.receipt_wait_ms });
            }
            tokio::time::sleep(Duration::from_millis(config.receipt_interval_ms)).await;
        }
    }

    /// What a call of this wallet would give, without sending it.
    ///
    /// # Errors
    /// [`ChainError::Revert`] if the contract refuses; the errors of [`Rpc::read`].
    pub async fn simulate(&self, call: &Call) -> Result<Vec<u8>, ChainError> {
        let params = json!([call.json(self.0.address), "latest"]);
        self.0.rpc.read_as::<json::Data>("eth_call", params).await.map(|output| output.0)
    }

    async fn pending_nonce(&self) -> Result<u64, ChainError> {
        let params = json!([self.0.address.to_string(), "pending"]);
        self.0.rpc.read_as::<Quantity64>("eth_getTransactionCount", params).await.map(|count| count.0)
    }

    /// How much gas, and what each may cost.
    async fn price(&self, call: &Call) -> Result<(u64, Fees), ChainError> {
        let rpc = &self.0.rpc;
        let head = rpc.block(BlockTag::Latest).await?;
        let head = head.ok_or_else(|| ChainError::Moved("it has no newest block".to_owned()))?;
        let gas = match call.gas {
            Some(gas) => gas,
            None => {
                let params = json!([call.json(self.0.address)]);
                let estimate = rpc.read_as::<Quantity64>("eth_estimateGas", params).await?.0;
                let margin = u128::from(estimate) * u128::from(self.0.config.gas_margin_percent) / 100;
                let wanted = u64::try_from(u128::from(estimate) + margin).unwrap_or(u64::MAX);
                wanted.min(head.gas_limit.max(estimate))
            }
        };
        let tip_wei = match rpc.read_as::<Quantity>("eth_maxPriorityFeePerGas", json!([])).await {
            Ok(tip) => tip.0,
            Err(ChainError::Rpc { .. }) => TIP_WEI,
            Err(error) => return Err(error),
        };
        // Twice the base fee lasts through five full blocks in a row.
        let needed_wei = head.base_fee_wei.unwrap_or(0).saturating_mul(2).saturating_add(tip_wei);
        match self.0.config.fee_wei_max {
            Some(limit_wei) if needed_wei > limit_wei => {
                Err(ChainError::FeeTooHigh { needed_wei, limit_wei })
            }
            _ => Ok((gas, Fees { max_wei: needed_wei, tip_wei })),
        }
    }

    async fn deliver(&self, signed: &Signed) -> Result<(), ChainError> {
        match self.0.rpc.write("eth_sendRawTransaction", json!([json::data(&signed.raw)])).await {
            Ok(_) => Ok(()),
            Err(ChainError::Rpc { message, .. }) if is_known_already(&message) => Ok(()),
            Err(error @ ChainError::WrongChain { .. }) => Err(error),
            Err(error) if error.is_no_answer() => {
                Err(ChainError::Unsure { transaction: signed.hash, cause: Box::new(error) })
            }
            Err(error) => Err(error),
        }
    }

    /// Why a mined transaction failed: the same call again, on the state before its block.
    async fn reason(&self, call: &Call, receipt: &Receipt) -> Revert {
        let at = BlockTag::Number(receipt.block_number.saturating_sub(1));
        let params = json!([call.json(self.0.address), at.json()]);
        let mut revert = match self.0.rpc.read("eth_call", params).await {
            Err(ChainError::Revert(revert)) => *revert,
            _ => Revert::decode(Vec::new()),
        };
        revert.transaction = Some(receipt.transaction);
        revert
    }
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wallet({})", self.0.address)
    }
}

fn is_wrong_nonce(error: &ChainError) -> bool {
    matches!(error, ChainError::Rpc { message, .. } if message.to_ascii_lowercase().contains("nonce too"))
}

fn is_known_already(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["already known", "already imported", "known transaction"].iter().any(|words| message.contains(words))
}
