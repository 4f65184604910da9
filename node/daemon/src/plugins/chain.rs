//! The node's chain, as plugins read it.

use mainstem_chain::{ChainError, FinalisedCall, FinalisedReads, Rpc};
use mainstem_crypto::{Hash, sha256};
use mainstem_plugin_host::{Config, ContractAnswer, ContractCall, ContractReads, NoAnswer};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
};
use tokio::runtime::Handle;

/// Reads of contracts over JSON-RPC. What is asked for at once by several is read once; what nobody waits for any more is read to the
/// end and remembered. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ChainReads(Arc<Inner>);

struct Inner {
    reads: FinalisedReads,
    runtime: Handle,
    reads_max: usize,
    answers_max: usize,
    output_bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: BTreeMap<Hash, Arc<Slot>>,
    answers: BTreeMap<Hash, ContractAnswer>,
    /// Of `answers`, the oldest first.
    order: VecDeque<Hash>,
}

/// Where those who wait for a read look.
#[derive(Default)]
struct Slot {
    outcome: Mutex<Option<Result<ContractAnswer, NoAnswer>>>,
    told: Condvar,
}

/// A read that runs. Dropped, it is over, whatever became of it.
struct Running {
    inner: Arc<Inner>,
    key: Hash,
    slot: Arc<Slot>,
    outcome: Result<ContractAnswer, NoAnswer>,
}

impl ChainReads {
    /// Reads of the chain behind `rpc`. They run on the runtime that this is called on.
    pub(crate) fn new(rpc: Rpc, config: &Config) -> Self {
        Self(Arc::new(Inner {
            reads: FinalisedReads::new(rpc),
            runtime: Handle::current(),
            reads_max: config.chain_reads_max,
            answers_max: config.chain_answers_max,
            output_bytes_max: config.chain_output_bytes_max as usize,
            state: Mutex::default(),
        }))
    }

    /// The answer if it is known, else where it will be.
    fn start(&self, call: &ContractCall) -> Result<Arc<Slot>, Result<ContractAnswer, NoAnswer>> {
        let key = key_of(call);
        let mut state = lock(&self.0.state);
        if let Some(answer) = state.answers.get(&key) {
            return Err(Ok(answer.clone()));
        }
        if let Some(slot) = state.running.get(&key) {
            return Ok(slot.clone());
        }
        if state.running.len() >= self.0.reads_max {
            let what = format!(
                "{} contracts are being read, the most at once: ask again later, or raise plugins.chain_reads_max",
                self.0.reads_max
            );
            return Err(Err(NoAnswer::Unavailable(what)));
        }
        let slot = Arc::<Slot>::default();
        state.running.insert(key, slot.clone());
        drop(state);
        let outcome = Err(NoAnswer::Unavailable("the read of a contract was broken off".into()));
        let running = Running { inner: self.0.clone(), key, slot: slot.clone(), outcome };
        let call = call.clone();
        self.0.runtime.spawn(async move {
            let outcome = running.inner.read(&call).await;
            running.end(outcome);
        });
        Ok(slot)
    }
}

impl ContractReads for ChainReads {
    fn read(&self, call: &ContractCall, until: Instant) -> Result<ContractAnswer, NoAnswer> {
        let slot = match self.start(call) {
            Ok(slot) => slot,
            Err(known) => return known,
        };
        let wait = until.saturating_duration_since(Instant::now());
        let outcome = slot.told.wait_timeout_while(lock(&slot.outcome), wait, |outcome| outcome.is_none());
        let (outcome, _) = outcome.unwrap_or_else(PoisonError::into_inner);
        let late = || Err(NoAnswer::Unavailable("the chain has not answered in time yet: ask again".into()));
        outcome.clone().unwrap_or_else(late)
    }
}

impl fmt::Debug for ChainReads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChainReads({:?})", self.0.reads)
    }
}

impl Inner {
    async fn read(&self, call: &ContractCall) -> Result<ContractAnswer, NoAnswer> {
        let second = |ms: i64| u64::try_from(ms / 1_000).unwrap_or_default();
        let asked = FinalisedCall {
            to: call.to,
            input: call.input.clone(),
            before_s: second(call.at_ms),
            gas: call.gas,
        };
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let answer = self.reads.read(&asked, now_s).await.map_err(|error| unread(call, &error))?;
        Ok(ContractAnswer {
            output: answer.output,
            reverted: answer.reverted,
            block_number: answer.block_number,
            block_ms: i64::try_from(answer.block_s).unwrap_or(i64::MAX).saturating_mul(1_000),
        })
    }
}

impl Running {
    fn end(mut self, outcome: Result<ContractAnswer, NoAnswer>) {
        self.outcome = outcome;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = lock(&self.inner.state);
        state.running.remove(&self.key);
        if let Ok(answer) = &self.outcome
            && answer.output.len() <= self.inner.output_bytes_max
        {
            state.answers.insert(self.key, answer.clone());
            state.order.push_back(self.key);
            if state.order.len() > self.inner.answers_max
                && let Some(oldest) = state.order.pop_front()
            {
                state.answers.remove(&oldest);
            }
        }
        drop(state);
        let broken_off = Err(NoAnswer::Unavailable(String::new()));
        *lock(&self.slot.outcome) = Some(std::mem::replace(&mut self.outcome, broken_off));
        self.slot.told.notify_all();
    }
}

fn key_of(call: &ContractCall) -> Hash {
    let ContractCall { to, input, at_ms, gas } = call;
    // By the second: what lies within one is read at one block.
    let second = at_ms.div_euclid(1_000);
    sha256(&[&to.0[..], &second.to_be_bytes(), &gas.to_be_bytes(), input].concat())
}

fn unread(call: &ContractCall, error: &ChainError) -> NoAnswer {
    let what = format!("contract {} cannot be read: {error}", call.to);
    if matches!(error, ChainError::Argument(_)) {
        return NoAnswer::Invalid(what);
    }
    if matches!(error, ChainError::Rpc { .. }) {
        return NoAnswer::Unavailable(format!(
            "{what}; endpoints that have dropped the state of an old block say so: name an archive node in chain.rpc.urls"
        ));
    }
    NoAnswer::Unavailable(what)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_chain::RpcConfig;
    use mainstem_crypto::Address;
    use std::{net::TcpListener, time::Duration};

    /// Reads of an endpoint that takes requests and answers none.
    fn silent(reads_max: usize, answers_max: usize) -> (ChainReads, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let rpc = Rpc::new(RpcConfig { timeout_ms: 60_000, ..RpcConfig::one(url) }).unwrap();
        let config =
            Config { chain_reads_max: reads_max, chain_answers_max: answers_max, ..Config::default() };
        (ChainReads::new(rpc, &config), listener)
    }

    fn call(number: u8) -> ContractCall {
        ContractCall { to: Address([number; 20]), input: vec![number], at_ms: 1_750_000_000_000, gas: 1 }
    }

    fn answer(output: Vec<u8>) -> ContractAnswer {
        ContractAnswer { output, reverted: false, block_number: 1, block_ms: 1_000 }
    }

    /// What is heard of a call that nobody answers: a word that tells which way it went.
    fn heard(reads: &ChainReads, call: &ContractCall) -> String {
        match reads.read(call, Instant::now() + Duration::from_millis(20)) {
            Ok(answer) => format!("{:?}", answer.output),
            Err(error) => error.to_string(),
        }
    }

    /// The read of a call that runs.
    fn running(reads: &ChainReads, call: &ContractCall) -> Running {
        let (key, inner) = (key_of(call), reads.0.clone());
        let slot = lock(&inner.state).running.entry(key).or_default().clone();
        Running { inner, key, slot, outcome: Err(NoAnswer::Unavailable("broken off".into())) }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_read_more_than_may_run_is_refused_and_one_that_runs_is_joined() {
        let (reads, _listener) = silent(2, 8);
        for number in [1, 2, 1, 2] {
            assert!(heard(&reads, &call(number)).contains("not answered in time"), "{number}");
        }
        assert!(heard(&reads, &call(3)).contains("chain_reads_max"));
        assert_eq!(lock(&reads.0.state).running.len(), 2);
        // Within one second it is the same read, in another it is not.
        let soon = ContractCall { at_ms: call(1).at_ms + 999, ..call(1) };
        let later = ContractCall { at_ms: call(1).at_ms + 1_000, ..call(1) };
        assert!(heard(&reads, &soon).contains("not answered in time"));
        assert!(heard(&reads, &later).contains("chain_reads_max"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_answer_is_told_to_who_waits_and_remembered_until_there_are_too_many() {
        let (reads, _listener) = silent(8, 2);
        let (waits, read) = (reads.clone(), running(&reads, &call(1)));
        let waiter =
            std::thread::spawn(move || waits.read(&call(1), Instant::now() + Duration::from_secs(60)));
        read.end(Ok(answer(vec![1])));
        // It waited, or came later and found the answer.
        assert_eq!(waiter.join().unwrap(), Ok(answer(vec![1])));
        for number in [2, 3] {
            running(&reads, &call(number)).end(Ok(answer(vec![number])));
        }
        assert_eq!([heard(&reads, &call(2)), heard(&reads, &call(3))], ["[2]", "[3]"]);
        assert!(heard(&reads, &call(1)).contains("not answered in time"), "the oldest one is forgotten");
        assert_eq!(lock(&reads.0.state).order.len(), 2);
        let long = Config::default().chain_output_bytes_max as usize + 1;
        running(&reads, &call(4)).end(Ok(answer(vec![0; long])));
        assert_eq!(lock(&reads.0.state).order.len(), 2, "what no plugin gets is not remembered");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_read_that_fails_or_is_broken_off_is_told_and_leaves_no_trace() {
        let (reads, _listener) = silent(8, 2);
        for ends in [true, false] {
            let (waits, read) = (reads.clone(), running(&reads, &call(1)));
            let waiter =
                std::thread::spawn(move || waits.read(&call(1), Instant::now() + Duration::from_secs(60)));
            // It waits, or finds the slot gone and begins a read of its own, which the next line would not end.
            while Arc::strong_count(&read.slot) < 3 {
                std::thread::yield_now();
            }
            if ends {
                read.end(Err(NoAnswer::Invalid("no".into())))
            } else {
                drop(read)
            }
            let expected = if ends { "no" } else { "broken off" };
            assert_eq!(waiter.join().unwrap().unwrap_err().to_string(), expected);
            let state = lock(&reads.0.state);
            assert!(state.running.is_empty() && state.answers.is_empty());
        }
    }
}
