use crate::{
    BlockHeader, BlockTag, ChainError, Log, Receipt, Revert, RpcConfig,
    http::Endpoint,
    json::{self, Data, Quantity, Quantity64},
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use mainstem_crypto::{Address, Hash};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// A chain, asked over JSON-RPC. Clones share connections.
///
/// Reads go to the endpoint that answered last, then to the others, then again after a pause. No answer of an endpoint
/// is used before it has named the right chain id. All methods are cancel-safe.
#[derive(Clone, Debug)]
pub struct Rpc(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: RpcConfig,
    endpoints: Vec<Endpoint>,
    /// For each endpoint, whether it named the right chain since the last failure.
    checked: Vec<AtomicBool>,
    /// For each endpoint, until when it is not waited for.
    resting: Mutex<Vec<Option<Instant>>>,
    chain_id: OnceLock<u64>,
    preferred: AtomicUsize,
    next_id: AtomicU64,
}

#[derive(Deserialize)]
struct Reply {
    id: Value,
    #[serde(default)]
    result: Option<Value>,
    error: Option<ReplyError>,
}

#[derive(Deserialize)]
struct ReplyError {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
    data: Option<Value>,
}

impl Rpc {
    /// Checks the configuration; asks nothing yet.
    ///
    /// # Errors
    /// [`ChainError::Config`].
    pub fn new(config: RpcConfig) -> Result<Self, ChainError> {
        let endpoints = Endpoint::all(&config)?;
        if endpoints.is_empty() || config.agree_min > endpoints.len() {
            return Err(ChainError::Config(format!(
                "{} RPC urls are configured, at least {} are needed",
                endpoints.len(),
                config.agree_min.max(1)
            )));
        }
        let chain_id = config.chain_id.map(OnceLock::from).unwrap_or_default();
        let resting = Mutex::new(vec![None; endpoints.len()]);
        let checked = endpoints.iter().map(|_| AtomicBool::new(false)).collect();
        Ok(Self(Arc::new(Inner {
            config,
            endpoints,
            checked,
            resting,
            chain_id,
            preferred: AtomicUsize::new(0),
            next_id: AtomicU64::new(1),
        })))
    }

    /// The chain's EIP-155 id: the configured one, else what the chain says, and then that for ever.
    ///
    /// # Errors
    /// If the chain must be asked and does not answer.
    pub async fn chain_id(&self) -> Result<u64, ChainError> {
        match self.0.chain_id.get() {
            Some(id) => Ok(*id),
            None => {
                self.read("eth_chainId", json!([])).await?;
                self.0.chain_id.get().copied().ok_or_else(|| ChainError::Moved("its id".to_owned()))
            }
        }
    }

    /// Asks every endpoint anew which chain it serves.
    ///
    /// # Errors
    /// [`ChainError::WrongChain`] if any serves another one. Endpoints that do not answer are passed over as long as
    /// enough others do.
    pub async fn check_chain(&self) -> Result<u64, ChainError> {
        self.agreed_height().await?;
        self.chain_id().await
    }

    /// Asks with any method that only reads.
    ///
    /// # Errors
    /// What the last endpoint asked ran into, or the chain's own refusal.
    pub async fn read(&self, method: &str, params: Value) -> Result<Value, ChainError> {
        let count = self.0.endpoints.len();
        let mut attempt = 0;
        loop {
            let first = self.0.preferred.load(Ordering::Relaxed);
            let mut failure = None;
            for at in (0..count).map(|n| (first + n) % count) {
                match self.ask(at, method, &params).await {
                    Err(error) if error.is_no_answer() => {
                        tracing::debug!(method, %error, "no answer from the chain");
                        failure = Some(error);
                    }
                    answer => {
                        self.0.preferred.store(at, Ordering::Relaxed);
                        return answer;
                    }
                }
            }
            if attempt >= self.0.config.retries {
                return Err(failure.unwrap_or_else(|| ChainError::Config("no RPC urls".to_owned())));
            }
            sleep(self.0.config.backoff(attempt)).await;
            attempt += 1;
        }
    }

    /// Asks once, at the preferred endpoint: for what changes something there.
    ///
    /// # Errors
    /// As [`Rpc::read`]. After [`ChainError::Transport`] or [`ChainError::Timeout`] it may have been done all the same.
    pub async fn write(&self, method: &str, params: Value) -> Result<Value, ChainError> {
        self.ask(self.0.preferred.load(Ordering::Relaxed), method, &params).await
    }

    /// A block; `None` if there is none yet.
    ///
    /// # Errors
    /// As [`Rpc::read`].
    pub async fn block(&self, tag: BlockTag) -> Result<Option<BlockHeader>, ChainError> {
        self.read_as("eth_getBlockByNumber", json!([tag.json(), false])).await
    }

    /// Number of the newest block.
    ///
    /// # Errors
    /// As [`Rpc::read`].
    pub async fn block_number(&self) -> Result<u64, ChainError> {
        self.read_as::<Quantity64>("eth_blockNumber", json!([])).await.map(|number| number.0)
    }

    /// What an account owns, in wei.
    ///
    /// # Errors
    /// As [`Rpc::read`].
    pub async fn balance(&self, account: Address) -> Result<u128, ChainError> {
        let params = json!([account.to_string(), "latest"]);
        self.read_as::<Quantity>("eth_getBalance", params).await.map(|balance| balance.0)
    }

    /// The code of a contract; empty if there is none.
    ///
    /// # Errors
    /// As [`Rpc::read`].
    pub async fn code(&self, contract: Address) -> Result<Vec<u8>, ChainError> {
        let params = json!([contract.to_string(), "latest"]);
        self.read_as::<Data>("eth_getCode", params).await.map(|code| code.0)
    }

    /// Calls a contract without a transaction.
    ///
    /// # Errors
    /// As [`Rpc::read`]; [`ChainError::Revert`] if the contract refuses.
    pub async fn call(&self, to: Address, data: &[u8], at: BlockTag) -> Result<Vec<u8>, ChainError> {
        let params = json!([{ "to": to.to_string(), "data": json::data(data) }, at.json()]);
        self.read_as::<Data>("eth_call", params).await.map(|output| output.0)
    }

    /// What became of a transaction; `None` if it is not mined.
    ///
    /// # Errors
    /// As [`Rpc::read`].
    pub async fn receipt(&self, transaction: Hash) -> Result<Option<Receipt>, ChainError> {
        self.read_as("eth_getTransactionReceipt", json!([json::hash(&transaction)])).await
    }

    /// [`Rpc::read`], parsed.
    pub(crate) async fn read_as<T: DeserializeOwned>(
        &self,
        method: &str,
        params: Value,
    ) -> Result<T, ChainError> {
        let value = self.read(method, params).await?;
        let at = self.0.preferred.load(Ordering::Relaxed);
        self.parse(at, value)
    }

    /// The greatest block number that as many endpoints have as must agree. Every endpoint names its chain first.
    pub(crate) async fn agreed_height(&self) -> Result<u64, ChainError> {
        for checked in &self.0.checked {
            checked.store(false, Ordering::Relaxed);
        }
        let mut heights = self.agreed::<Quantity64>("eth_blockNumber", &json!([]), <[_]>::len).await?;
        heights.sort_unstable_by_key(|height| std::cmp::Reverse(height.0));
        let height = heights.get(self.agree_min() - 1).map(|height| height.0);
        height.ok_or_else(|| ChainError::Disagreement("the newest block".to_owned()))
    }

    /// A block that as many endpoints as must agree have, and none has otherwise. `None` if too few have one.
    pub(crate) async fn agreed_block(&self, number: u64) -> Result<Option<BlockHeader>, ChainError> {
        let params = json!([json::quantity(number), false]);
        let answers: Vec<BlockHeader> = self
            .agreed("eth_getBlockByNumber", &params, |blocks: &[Option<BlockHeader>]| {
                alike(blocks.iter().flatten())
            })
            .await?
            .into_iter()
            .flatten()
            .collect();
        let enough = answers.len() >= self.agree_min();
        if answers.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err(ChainError::Disagreement(format!("block {number}")));
        }
        match answers.into_iter().next().filter(|_| enough) {
            Some(block) if block.number != number => {
                Err(ChainError::Moved(format!("asked for block {number}, was given {}", block.number)))
            }
            block => Ok(block),
        }
    }

    /// Logs that as many endpoints as must agree give alike.
    pub(crate) async fn agreed_logs(&self, filter: &Value) -> Result<Vec<Log>, ChainError> {
        // Not every node says when its block was.
        let untimed = |mut logs: Vec<Log>| {
            logs.iter_mut().for_each(|log| log.block_timestamp_s = None);
            logs
        };
        let enough = |answers: &[Vec<Log>]| match answers {
            [_] => 1,
            _ => alike(answers.iter().cloned().map(untimed)),
        };
        let mut answers = self.agreed("eth_getLogs", &json!([filter]), enough).await?;
        if answers.len() > 1 {
            answers = answers.into_iter().map(untimed).collect();
        }
        if answers.len() < self.agree_min() || answers.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err(ChainError::Disagreement("the logs of the same blocks".to_owned()));
        }
        Ok(answers.into_iter().next().unwrap_or_default())
    }

    /// A call of a contract, at the newest block, that as many endpoints as must agree answer alike.
    pub(crate) async fn agreed_call(&self, to: Address, data: &[u8]) -> Result<Vec<u8>, ChainError> {
        let params = json!([{ "to": to.to_string(), "data": json::data(data) }, BlockTag::Latest.json()]);
        let answers = self
            .agreed::<Data>("eth_call", &params, |answers| alike(answers.iter().map(|answer| &answer.0)))
            .await?;
        let unlike = answers.windows(2).any(|pair| pair[0].0 != pair[1].0);
        match answers.into_iter().next().filter(|_| !unlike) {
            Some(answer) => Ok(answer.0),
            None => Err(ChainError::Disagreement(format!("a call of {to}"))),
        }
    }

    /// The newest block that as many endpoints as must agree call final.
    pub(crate) async fn agreed_final(&self) -> Result<BlockHeader, ChainError> {
        let params = json!([BlockTag::Finalized.json(), false]);
        let blocks: Vec<Option<BlockHeader>> =
            self.agreed("eth_getBlockByNumber", &params, <[_]>::len).await?;
        let mut numbers: Vec<u64> = blocks.into_iter().flatten().map(|block| block.number).collect();
        numbers.sort_unstable_by_key(|number| std::cmp::Reverse(*number));
        let none = || ChainError::Moved("no block is final".to_owned());
        let number = *numbers.get(self.agree_min() - 1).ok_or_else(none)?;
        self.agreed_block(number).await?.ok_or_else(none)
    }

    /// A call of a contract with so much gas, at a block, that as many endpoints as must agree answer alike: its output, or what the
    /// contract reverted with.
    pub(crate) async fn agreed_outcome(
        &self,
        to: Address,
        input: &[u8],
        gas: u64,
        block: u64,
    ) -> Result<Result<Vec<u8>, Vec<u8>>, ChainError> {
        // Without a sender and with little thought of gas, nodes differ in what they take.
        let call = json!({
            "from": Address([0; 20]).to_string(), "to": to.to_string(),
            "data": json::data(input), "gas": json::quantity(gas)
        });
        let params = json!([call, json::quantity(block)]);
        let params = &params;
        let ask = |at| async move {
            match self.ask_as::<Data>(at, "eth_call", params).await {
                Ok(output) => Ok(Ok(output.0)),
                Err(ChainError::Revert(revert)) => Ok(Err(revert.data)),
                Err(error) => Err(error),
            }
        };
        let answers = self.agreed_by(ask, |answers| alike(answers.iter())).await?;
        let unlike = answers.windows(2).any(|pair| pair[0] != pair[1]);
        match answers.into_iter().next().filter(|_| !unlike) {
            Some(answer) => Ok(answer),
            None => Err(ChainError::Disagreement(format!("a call of {to}"))),
        }
    }

    /// What the endpoints that answer say; at least as many answers as must agree.
    ///
    /// All are asked at once. When `agreeing` counts as many answers as must agree, the others get only `grace_ms` more to
    /// contradict: an endpoint that has died costs no step its timeout.
    async fn agreed<T: DeserializeOwned>(
        &self,
        method: &str,
        params: &Value,
        agreeing: impl Fn(&[T]) -> usize,
    ) -> Result<Vec<T>, ChainError> {
        self.agreed_by(|at| self.ask_as(at, method, params), agreeing).await
    }

    /// The same, of whatever `ask` makes of an endpoint's answer.
    async fn agreed_by<T, F: Future<Output = Result<T, ChainError>>>(
        &self,
        ask_one: impl Fn(usize) -> F,
        agreeing: impl Fn(&[T]) -> usize,
    ) -> Result<Vec<T>, ChainError> {
        let mut attempt = 0;
        loop {
            let mut answers = Vec::new();
            let mut failure = None;
            let mut waiting = self.awaited(attempt > 0);
            let ask = |at: usize| {
                let answer = ask_one(at);
                async move { (at, answer.await) }
            };
            let mut asked: FuturesUnordered<_> = waiting.iter().copied().map(ask).collect();
            let mut answered = Vec::new();
            let mut grace = None;
            loop {
                let in_time = async {
                    match grace {
                        Some(until) => tokio::time::sleep_until(until).await,
                        None => std::future::pending().await,
                    }
                };
                let next = tokio::select! {
                    biased;
                    next = asked.next() => next,
                    () = in_time => break,
                };
                let Some((at, answer)) = next else { break };
                answered.push(at);
                match answer {
                    Ok(answer) => answers.push(answer),
                    Err(error @ ChainError::WrongChain { .. }) => return Err(error),
                    Err(error) => {
                        if matches!(error, ChainError::Timeout { .. }) {
                            self.rest(at);
                        }
                        failure = Some(error);
                    }
                }
                if grace.is_none() && agreeing(&answers) >= self.agree_min() {
                    let wait = Duration::from_millis(self.0.config.grace_ms);
                    grace = Some(tokio::time::Instant::now() + wait);
                }
            }
            drop(asked);
            waiting.retain(|at| !answered.contains(at));
            waiting.into_iter().for_each(|at| self.rest(at));
            match failure {
                Some(error) if answers.len() < self.agree_min() => {
                    let again = error.is_no_answer() && !error.is_too_many_results();
                    if !again || attempt >= self.0.config.retries {
                        return Err(error);
                    }
                }
                _ => return Ok(answers),
            }
            sleep(self.0.config.backoff(attempt)).await;
            attempt += 1;
        }
    }

    /// Whom to ask: all but those that rest, unless too few are left or `all` are wanted.
    fn awaited(&self, all: bool) -> Vec<usize> {
        let now = Instant::now();
        let count = self.0.endpoints.len();
        let resting = self.0.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let awake: Vec<usize> =
            (0..count).filter(|at| resting[*at].is_none_or(|until| until <= now)).collect();
        if all || awake.len() < self.agree_min() { (0..count).collect() } else { awake }
    }

    /// An endpoint did not answer in time.
    fn rest(&self, at: usize) {
        tracing::debug!(endpoint = self.0.endpoints[at].name(), "too slow; not waited for a while");
        let until = Instant::now() + Duration::from_millis(self.0.config.rest_ms);
        self.0.resting.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(until);
    }

    /// How many endpoints must give the same answer.
    fn agree_min(&self) -> usize {
        match self.0.config.agree_min {
            0 => self.0.endpoints.len().min(2),
            min => min,
        }
    }

    async fn ask_as<T: DeserializeOwned>(
        &self,
        at: usize,
        method: &str,
        params: &Value,
    ) -> Result<T, ChainError> {
        let value = self.ask(at, method, params).await?;
        self.parse(at, value)
    }

    fn parse<T: DeserializeOwned>(&self, at: usize, value: Value) -> Result<T, ChainError> {
        serde_json::from_value(value).map_err(|error| self.0.endpoints[at].unusable(error.to_string()))
    }

    /// One request at one endpoint, once that serves the right chain.
    async fn ask(&self, at: usize, method: &str, params: &Value) -> Result<Value, ChainError> {
        if !self.0.checked[at].load(Ordering::Relaxed) {
            self.check(at).await?;
        }
        let answer = self.exchange(at, method, params).await;
        if matches!(&answer, Err(error) if error.is_no_answer()) {
            // What answers next at this address may be something else.
            self.0.checked[at].store(false, Ordering::Relaxed);
        }
        answer
    }

    async fn check(&self, at: usize) -> Result<(), ChainError> {
        let answer = self.exchange(at, "eth_chainId", &json!([])).await?;
        let Quantity64(found) = self.parse(at, answer)?;
        let expected = *self.0.chain_id.get_or_init(|| found);
        if expected != found {
            let endpoint = self.0.endpoints[at].name().to_owned();
            return Err(ChainError::WrongChain { endpoint, expected, found });
        }
        self.0.checked[at].store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn exchange(&self, at: usize, method: &str, params: &Value) -> Result<Value, ChainError> {
        let endpoint = &self.0.endpoints[at];
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let (status, body) = endpoint.post(request.to_string().into_bytes()).await?;
        let reply: Reply = match serde_json::from_slice(&body) {
            Ok(reply) => reply,
            Err(_) if status >= 300 => return Err(endpoint.unusable(format!("HTTP status {status}"))),
            Err(error) => return Err(endpoint.unusable(error.to_string())),
        };
        if let Some(error) = reply.error {
            return Err(refusal(error));
        }
        if reply.id != json!(id) {
            return Err(endpoint.unusable("it answers another request"));
        }
        Ok(reply.result.unwrap_or_default())
    }
}

/// How many are like the one that most are like.
fn alike<T: PartialEq>(answers: impl Iterator<Item = T>) -> usize {
    let answers: Vec<T> = answers.collect();
    let of = |one: &T| answers.iter().filter(|other| *other == one).count();
    answers.iter().map(of).max().unwrap_or(0)
}

fn refusal(error: ReplyError) -> ChainError {
    match Revert::of_reply(error.code, &error.message, error.data.as_ref()) {
        Some(revert) => ChainError::Revert(Box::new(revert)),
        None => ChainError::Rpc { code: error.code, message: error.message.chars().take(300).collect() },
    }
}
