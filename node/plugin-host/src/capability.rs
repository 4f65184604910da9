mod blob;
mod chain;
mod clock;
mod crypto;
pub(crate) mod http;
mod log;
mod random;

use crate::{Ambient, ContractAnswer, ContractReads, HttpHost, counters::Meters, stint::thread_time};
use mainstem_crypto::KnownKeys;
use mainstem_plugin_abi::{
    Capability,
    plugin_capnp::{FailureCode, host_reply, host_request},
    read, write,
};
use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use wasmtime::Trap;

/// Fuel of a host call, whatever it asks for.
pub(crate) const CALL_FUEL: u64 = 500;

/// Fuel of a microsecond that the node waits for a disk or a server: it is no time of the plugin's own, and comes to an end too.
const WAIT_FUEL_PER_US: u64 = 4;

/// What plugins reach through the host, beside what it can do by itself.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    pub(crate) ambient: Arc<dyn Ambient>,
    pub(crate) contracts: Arc<dyn ContractReads>,
    pub(crate) web: Arc<http::Web>,
}

#[cfg(any(test, feature = "fuzzing"))]
impl Surroundings {
    /// The system's clock, no chain, and servers.
    pub(crate) fn of(web: http::Web) -> Self {
        let contracts = Arc::new(crate::contract_reads::NoChain);
        Self { ambient: Arc::new(crate::SystemAmbient), contracts, web: Arc::new(web) }
    }
}

/// What all instances of a plugin may ask the node for.
#[derive(Debug)]
pub(crate) struct Privileges {
    plugin: String,
    granted: BTreeSet<Capability>,
    ambient: Arc<dyn Ambient>,
    contracts: Arc<dyn ContractReads>,
    /// Of this plugin alone: what one asks about slows no other down, and tells it nothing.
    keys: KnownKeys,
    reach: http::Reach,
    blob: Option<blob::Files>,
    log: log::Rate,
    chain_wait: Duration,
    chain_output_bytes_max: u32,
    pub(crate) request_bytes_max: u32,
    pub(crate) meters: Arc<Meters>,
}

impl Privileges {
    pub(crate) fn new(
        plugin: String,
        granted: BTreeSet<Capability>,
        http_hosts: BTreeSet<HttpHost>,
        files: Option<PathBuf>,
        surroundings: Surroundings,
        config: &crate::Config,
    ) -> Self {
        Self {
            plugin,
            granted,
            ambient: surroundings.ambient,
            contracts: surroundings.contracts,
            keys: KnownKeys::default(),
            reach: http::Reach::new(surroundings.web, http_hosts, config),
            blob: files.map(|folder| blob::Files::new(folder, config)),
            log: log::Rate::new(config.log_lines_per_minute_max),
            chain_wait: Duration::from_millis(config.chain_wait_ms_max.into()),
            chain_output_bytes_max: config.chain_output_bytes_max,
            request_bytes_max: config.host_request_bytes_max,
            meters: Arc::default(),
        }
    }
}

/// A host reply.
#[derive(Debug)]
pub(crate) enum Answer {
    Failed(FailureCode, String),
    Done,
    Digests(Vec<u8>),
    Checks(Vec<bool>),
    Now(i64),
    Random(Vec<u8>),
    Contract(ContractAnswer),
    Http(http::HttpAnswer),
    Bytes(Vec<u8>),
    Size(u64),
    Names(Vec<(String, u64)>),
}

impl Answer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let words = match self {
            Self::Failed(_, message) => message.len() / 8,
            Self::Digests(bytes) | Self::Random(bytes) | Self::Bytes(bytes) => bytes.len() / 8,
            Self::Checks(checks) => checks.len() / 64,
            Self::Contract(answer) => answer.output.len() / 8,
            Self::Http(answer) => {
                let headers = answer.headers.iter().map(|(name, value)| 4 + (name.len() + value.len()) / 8);
                answer.body.len() / 8 + headers.sum::<usize>()
            }
            Self::Names(names) => names.iter().map(|(name, _)| 3 + name.len() / 8).sum(),
            Self::Done | Self::Now(_) | Self::Size(_) => 0,
        };
        write::<host_reply::Owned>(words + 16, |mut reply| match self {
            Self::Failed(code, message) => {
                let mut failed = reply.init_failed();
                failed.set_code(*code);
                failed.set_message(message.as_str());
            }
            Self::Done => reply.set_done(()),
            Self::Digests(digests) => reply.set_digests(digests),
            Self::Checks(checks) => {
                let mut list = reply.init_checks(u32::try_from(checks.len()).unwrap_or(u32::MAX));
                for (index, holds) in (0..).zip(checks) {
                    list.set(index, *holds);
                }
            }
            Self::Now(now) => reply.set_now(*now),
            Self::Random(bytes) => reply.set_random(bytes),
            Self::Contract(answer) => {
                let mut chain = reply.init_chain();
                chain.set_output(&answer.output);
                chain.set_reverted(answer.reverted);
                chain.set_block_number(answer.block_number);
                chain.set_block_timestamp(answer.block_ms);
            }
            Self::Http(answer) => {
                let mut response = reply.init_response();
                response.set_status(answer.status);
                response.set_body(&answer.body);
                let mut list = response.init_headers(u32::try_from(answer.headers.len()).unwrap_or(u32::MAX));
                for (index, (name, value)) in (0..).zip(&answer.headers) {
                    let mut to = list.reborrow().get(index);
                    to.set_name(name.as_str());
                    to.set_value(value.as_str());
                }
            }
            Self::Bytes(bytes) => reply.set_bytes(bytes),
            Self::Size(size) => reply.set_size(*size),
            Self::Names(names) => {
                let mut list = reply.init_names(u32::try_from(names.len()).unwrap_or(u32::MAX));
                for (index, (name, size)) in (0..).zip(names) {
                    let mut to = list.reborrow().get(index);
                    to.set_name(name.as_str());
                    to.set_size(*size);
                }
            }
        })
    }
}

/// Why a host request has no answer that it asks for.
pub(crate) enum Stop {
    /// The plugin hears this.
    Failed(FailureCode, String),
    /// The plugin hears nothing more.
    Trap(Trap),
}

impl Stop {
    fn limit(count: u32, of: &str, max: u32) -> Self {
        Self::Failed(FailureCode::Limit, format!("{count} {of}: {max} are the most of one host request"))
    }
}

impl From<capnp::Error> for Stop {
    fn from(error: capnp::Error) -> Self {
        Self::Failed(FailureCode::Malformed, format!("the host request cannot be read: {error}"))
    }
}

impl From<Trap> for Stop {
    fn from(trap: Trap) -> Self {
        Self::Trap(trap)
    }
}

/// What a call has left. What the node does for a plugin counts as what it does itself.
#[derive(Debug)]
pub(crate) struct Meter {
    fuel: u64,
    until: Instant,
    /// What was waited for disks and other servers.
    waited: Duration,
    /// How long the thread ran in that.
    ran_in_waits: Duration,
}

impl Meter {
    pub(crate) const fn new(fuel: u64, until: Instant) -> Self {
        Self { fuel, until, waited: Duration::ZERO, ran_in_waits: Duration::ZERO }
    }

    /// Takes fuel for what is done next, if there is enough, and time.
    pub(crate) fn charge(&mut self, fuel: u64) -> Result<(), Trap> {
        let Some(left) = self.fuel.checked_sub(fuel) else {
            self.fuel = 0;
            return Err(Trap::OutOfFuel);
        };
        self.fuel = left;
        if Instant::now() > self.until { Err(Trap::Interrupt) } else { Ok(()) }
    }

    /// Does what waits for a disk, or another server. That is nothing the plugin can help, so the call has as much more time. It costs
    /// fuel instead: who has the node wait again and again has none left at some time, and ends as one that never ends.
    pub(crate) fn wait<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let (begun, ran_before) = (Instant::now(), thread_time());
        let done = work();
        let waited = begun.elapsed();
        self.ran_in_waits += thread_time().saturating_sub(ran_before);
        self.waited += waited;
        self.until += waited;
        let us = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.fuel = self.fuel.saturating_sub(us.saturating_mul(WAIT_FUEL_PER_US));
        done
    }

    /// How long a server may be waited for: as long as three quarters of the fuel are enough for. The rest is for telling that it did not
    /// answer: a plugin whose server is away says so, and does not end as one that never ends.
    pub(crate) const fn wait_max(&self) -> Duration {
        Duration::from_micros((self.fuel - self.fuel / 4) / WAIT_FUEL_PER_US)
    }

    /// How much more time there is than there was.
    pub(crate) const fn waited(&self) -> Duration {
        self.waited
    }

    /// How long the thread ran in what was waited.
    pub(crate) const fn ran_in_waits(&self) -> Duration {
        self.ran_in_waits
    }

    /// When the call must be over.
    pub(crate) const fn until(&self) -> Instant {
        self.until
    }

    /// What is left.
    pub(crate) const fn fuel(&self) -> u64 {
        self.fuel
    }
}

/// Does what a host request asks for. A trap ends the call.
pub(crate) fn answer(privileges: &Privileges, segment: &[u8], meter: &mut Meter) -> Result<Answer, Trap> {
    match try_answer(privileges, segment, meter) {
        Ok(answer) => Ok(answer),
        Err(Stop::Failed(code, message)) => Ok(Answer::Failed(code, message)),
        Err(Stop::Trap(trap)) => Err(trap),
    }
}

fn try_answer(privileges: &Privileges, segment: &[u8], meter: &mut Meter) -> Result<Answer, Stop> {
    let message = read(segment).map_err(|error| Stop::Failed(FailureCode::Malformed, error.to_string()))?;
    let which = message.get_root::<host_request::Reader<'_>>()?.which().map_err(|error| {
        Stop::Failed(FailureCode::Unsupported, format!("this node knows no host request {}", error.0))
    })?;
    let capability = match &which {
        host_request::Sha256(_) | host_request::Keccak256(_) | host_request::Check(_) => Capability::Crypto,
        host_request::Now(()) => Capability::Clock,
        host_request::Random(_) => Capability::Random,
        host_request::Log(_) => Capability::Log,
        host_request::Blob(_) => Capability::Blob,
        host_request::Http(_) => Capability::Http,
        host_request::Chain(_) => Capability::Chain,
    };
    if !privileges.granted.contains(&capability) {
        let name = capability.name();
        return Err(Stop::Failed(
            FailureCode::Denied,
            format!("{name} is not granted: name it in the manifest, and have the node's operator grant it"),
        ));
    }
    match which {
        host_request::Sha256(items) => crypto::hash(items?, mainstem_crypto::sha256, meter),
        host_request::Keccak256(items) => crypto::hash(items?, mainstem_crypto::keccak256, meter),
        host_request::Check(request) => crypto::check(&privileges.keys, request?, meter),
        host_request::Now(()) => Ok(clock::now(&*privileges.ambient)),
        host_request::Random(bytes) => random::random(&*privileges.ambient, bytes),
        host_request::Log(line) => log::log(privileges, line?),
        host_request::Chain(request) => chain::call(privileges, request?, meter),
        host_request::Http(request) => http::ask(privileges, request?, meter),
        host_request::Blob(request) => blob::blob(privileges.blob.as_ref(), request?, meter),
    }
}
