//! What a plugin hears of contracts, and what it may ask.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and says why")]
#![allow(clippy::wildcard_enum_match_arm, reason = "any other reply is wrong")]

mod guest;

use guest::{Guest, all};
use mainstem_crypto::Address;
use mainstem_plugin_abi::{
    limits::{CHAIN_GAS, CHAIN_INPUT_BYTES_MAX},
    plugin_capnp::{FailureCode, chain_result, host_reply},
    read, write,
};
use mainstem_plugin_host::{
    CallError, Compiler, Config, ContractAnswer, ContractCall, ContractReads, Fault, Host, NoAnswer, Plugin,
    Status,
};
use std::{
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

const AT: i64 = 1_750_000_000_123;

/// Contracts that answer as their addresses say, and what they were asked.
#[derive(Debug, Default)]
struct Contracts(Mutex<Vec<(ContractCall, Duration)>>);

impl ContractReads for Contracts {
    fn read(&self, call: &ContractCall, until: Instant) -> Result<ContractAnswer, NoAnswer> {
        let left = until.saturating_duration_since(Instant::now());
        self.0.lock().unwrap().push((call.clone(), left));
        let answer = |output: Vec<u8>, reverted| {
            Ok(ContractAnswer { output, reverted, block_number: 17, block_ms: AT - 123 })
        };
        match call.to.0[0] {
            1 => answer(call.input.clone(), false),
            2 => answer(b"no".to_vec(), true),
            3 => Err(NoAnswer::Unavailable("not final yet".into())),
            4 => Err(NoAnswer::Invalid("there was no chain".into())),
            5 => {
                // It keeps who asks for longer than it should.
                thread::sleep(Duration::from_millis(60));
                answer(Vec::new(), false)
            }
            bytes => answer(vec![7; usize::from(bytes) * 64], false),
        }
    }
}

fn host(contracts: &Arc<Contracts>, config: Config) -> Host {
    Host::new(config, None, Compiler::InProcess).unwrap().with_contracts(contracts.clone())
}

fn call(to: &[u8], input: &[u8], at: i64) -> Vec<u8> {
    let fill = |request: mainstem_plugin_abi::plugin_capnp::host_request::Builder<'_>| {
        let mut call = request.init_chain();
        call.set_to(to);
        call.set_input(input);
        call.set_at(at);
    };
    write::<mainstem_plugin_abi::plugin_capnp::host_request::Owned>(64 + input.len() / 8, fill)
}

/// What the plugin heard.
fn raw(plugin: &Plugin) -> Result<Vec<u8>, CallError> {
    let mut signature = plugin.sign(&[], &[[0; 32]])?.remove(0);
    let len = u64::from_le_bytes(signature[..8].try_into().unwrap()) as usize;
    signature.drain(..8);
    signature.truncate(len);
    Ok(signature)
}

fn answer<R>(reply: &[u8], look: impl FnOnce(chain_result::Reader<'_>) -> R) -> Result<R, FailureCode> {
    let message = read(reply).unwrap();
    match message.get_root::<host_reply::Reader<'_>>().unwrap().which().unwrap() {
        host_reply::Chain(answer) => Ok(look(answer.unwrap())),
        host_reply::Failed(failed) => {
            let failed = failed.unwrap();
            println!("{}", failed.get_message().unwrap().to_str().unwrap());
            Err(failed.get_code().unwrap())
        }
        _ => panic!("another reply"),
    }
}

/// Output and whether it is a refusal, of a call.
fn asked(request: &[u8]) -> Result<(Vec<u8>, bool), FailureCode> {
    let guest = Guest { memory: r#"(memory (export "memory") 4)"#.into(), ..Guest::asking(request) };
    let plugin = guest.load_in(&host(&Arc::default(), Config::default()));
    answer(&raw(&plugin).unwrap(), |it| (it.get_output().unwrap().to_vec(), it.get_reverted()))
}

#[test]
fn a_contracts_answer_comes_with_the_block_that_it_was_read_at() {
    let contracts = Arc::<Contracts>::default();
    let plugin = Guest::asking(&call(&[1; 20], b"who?", AT)).load_in(&host(&contracts, Config::default()));
    let looked = answer(&raw(&plugin).unwrap(), |it| {
        assert_eq!(it.get_output().unwrap(), b"who?");
        (it.get_reverted(), it.get_block_number(), it.get_block_timestamp())
    });
    assert_eq!(looked, Ok((false, 17, AT - 123)));
    let expected = ContractCall { to: Address([1; 20]), input: b"who?".to_vec(), at_ms: AT, gas: CHAIN_GAS };
    assert_eq!(contracts.0.lock().unwrap()[0].0, expected);
    assert_eq!(asked(&call(&[2; 20], b"", AT)), Ok((b"no".to_vec(), true)));
}

#[test]
fn a_contract_that_cannot_be_read_is_a_failure_and_no_answer() {
    assert_eq!(asked(&call(&[3; 20], b"", AT)), Err(FailureCode::Unavailable));
    assert_eq!(asked(&call(&[4; 20], b"", AT)), Err(FailureCode::Invalid));
    // Without a chain.
    let reply = raw(&Guest::asking(&call(&[1; 20], b"", AT)).load()).unwrap();
    assert_eq!(answer(&reply, |_| ()), Err(FailureCode::Unavailable));
    let plugin = host(&Arc::default(), Config::default());
    let mut grants = all();
    grants.capabilities.remove(&mainstem_plugin_host::Capability::Chain);
    let plugin = plugin.load(&Guest::asking(&call(&[1; 20], b"", AT)).module(), grants).unwrap();
    assert_eq!(answer(&raw(&plugin).unwrap(), |_| ()), Err(FailureCode::Denied));
}

#[test]
fn a_call_that_is_none_is_not_made() {
    for (to, at) in [(&[][..], AT), (&[1; 19], AT), (&[1; 21], AT), (&[1; 20], 0), (&[1; 20], i64::MIN)] {
        assert_eq!(asked(&call(to, b"", at)), Err(FailureCode::Invalid), "{} {at}", to.len());
    }
    let max = CHAIN_INPUT_BYTES_MAX as usize;
    assert_eq!(asked(&call(&[2; 20], &vec![1; max], AT)), Ok((b"no".to_vec(), true)));
    assert_eq!(asked(&call(&[2; 20], &vec![1; max + 1], AT)), Err(FailureCode::Limit));
    assert_eq!(asked(&call(&[64; 20], b"", AT)), Ok((vec![7; 4_096], false)));
    assert_eq!(asked(&call(&[65; 20], b"", AT)), Err(FailureCode::Limit));
    assert_eq!(asked(&call(&[], b"", 0)), Err(FailureCode::Invalid));
}

#[test]
fn who_waits_for_a_contract_waits_no_longer_than_is_configured_and_than_its_own_call() {
    let wait = |wait_ms, deadline_ms| {
        let contracts = Arc::<Contracts>::default();
        let config = Config { chain_wait_ms_max: wait_ms, ..Config::default() };
        let mut guest = Guest::asking(&call(&[1; 20], b"", AT));
        guest.manifest.limits.deadline_ms = deadline_ms;
        raw(&guest.load_in(&host(&contracts, config))).unwrap();
        contracts.0.lock().unwrap()[0].1
    };
    let (short, long) = (wait(100, 1_000), wait(900, 500));
    assert!(short <= Duration::from_millis(100) && short > Duration::ZERO, "{short:?}");
    // 20 ms are left to speak in, and a call begins up to a step of the coarse clock later than that says: 10 ms at most.
    assert!(long <= Duration::from_millis(490) && long > Duration::from_millis(110), "{long:?}");
}

#[test]
fn a_deadline_that_was_waited_away_is_told_and_not_held_against_the_plugin() {
    let mut guest = Guest::asking(&call(&[5; 20], b"", AT));
    guest.manifest.limits.deadline_ms = 20;
    let plugin = guest.load_in(&host(&Arc::default(), Config::default()));
    for _ in 0..12 {
        let error = raw(&plugin).unwrap_err();
        assert!(matches!(error, CallError::Fault { fault: Fault::Deadline(20), .. }), "{error}");
    }
    assert_eq!((plugin.status(), plugin.counters().faults.sum()), (Status::On, 12));
}

#[test]
fn a_read_costs_fuel() {
    let mut guest = Guest::asking(&call(&[1; 20], b"", AT));
    guest.manifest.limits.fuel = 90_000;
    let error = raw(&guest.load_in(&host(&Arc::default(), Config::default()))).unwrap_err();
    assert!(matches!(error, CallError::Fault { fault: Fault::OutOfFuel(_), .. }));
}
