use super::{
    files::Files,
    primitives::{check, keccak256, sha256},
};
use crate::{ContractAnswer, Failure, FailureCode, HostCalls, HttpRequest, HttpResponse, LogLevel};
use mainstem_plugin_abi::{
    limits::{CHAIN_INPUT_BYTES_MAX, CHECKED_MAX, HASHED_MAX, HTTP_HEADERS_MAX, RANDOM_BYTES_MAX},
    plugin_capnp::{chain_call, host_reply, host_request, http_header, http_request},
};
use std::{cell::RefCell, fmt};

pub use mainstem_plugin_abi::Capability;

/// What contracts answer in a test: by address, input, and the time that it is asked at.
pub type Contracts = Box<dyn Fn(&[u8; 20], &[u8], i64) -> Result<ContractAnswer, Failure>>;

/// What servers answer in a test.
pub type Servers = Box<dyn Fn(&HttpRequest<'_>) -> Result<HttpResponse, Failure>>;

/// Stands for the node in a test: nothing is random, no time passes.
pub struct Node {
    /// What the clock says, in ms since 1970.
    pub now_ms: i64,
    /// What is granted; all of it, unless the test says otherwise.
    pub granted: Vec<Capability>,
    /// What stands in the log so far.
    pub log: RefCell<Vec<(LogLevel, String)>>,
    /// Where the random bytes go on; begins as the test says.
    pub random: RefCell<u64>,
    /// The contracts; without a word of the test there is no chain.
    pub contracts: Contracts,
    /// The servers that are granted; without a word of the test there is none.
    pub servers: Servers,
    /// The plugin's own files.
    pub files: Files,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            now_ms: 1_750_000_000_000,
            granted: Capability::ALL.to_vec(),
            log: RefCell::default(),
            random: RefCell::new(1),
            contracts: Box::new(|_, _, _| {
                Err(Failure::new(FailureCode::Unavailable, "this node has no chain"))
            }),
            servers: Box::new(|_| Err(Failure::new(FailureCode::Denied, "no server is granted"))),
            files: Files::default(),
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("now_ms", &self.now_ms)
            .field("granted", &self.granted)
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

impl HostCalls for Node {
    fn call(&self, request: &[u8], read: &mut dyn FnMut(&[u8])) {
        let answer = || {
            let message = mainstem_plugin_abi::read(request)?;
            self.answer(message.get_root()?)
        };
        let reply = answer().unwrap_or_else(|failure| {
            write(failure.message.len(), |reply| failure.write(reply.init_failed()))
        });
        read(&reply);
    }
}

impl Node {
    fn answer(&self, request: host_request::Reader<'_>) -> Result<Vec<u8>, Failure> {
        match request.which() {
            Ok(host_request::Sha256(items)) => self.hash(items?, sha256),
            Ok(host_request::Keccak256(items)) => self.hash(items?, keccak256),
            Ok(host_request::Check(checks)) => {
                self.granted(Capability::Crypto)?;
                let checks = checks?;
                let (scheme, items) = (checks.get_scheme(), checks.get_items()?);
                at_most("items to check", items.len(), CHECKED_MAX)?;
                let scheme = scheme
                    .map_err(|_| Failure::unsupported("this scheme of signatures is not known here"))?;
                let holds = items
                    .iter()
                    .map(|item| {
                        Ok(check(scheme, item.get_key()?, item.get_message()?, item.get_signature()?))
                    })
                    .collect::<Result<Vec<_>, Failure>>()?;
                Ok(write(holds.len(), |reply| {
                    let mut to = reply.init_checks(holds.len() as u32);
                    (0..).zip(&holds).for_each(|(index, holds)| to.set(index, *holds));
                }))
            }
            Ok(host_request::Now(())) => {
                self.granted(Capability::Clock)?;
                Ok(write(8, |mut reply| reply.set_now(self.now_ms)))
            }
            Ok(host_request::Random(bytes)) => {
                self.granted(Capability::Random)?;
                at_most("random bytes", bytes, RANDOM_BYTES_MAX)?;
                let random: Vec<u8> = (0..bytes).map(|_| self.next_byte()).collect();
                Ok(write(random.len(), |mut reply| reply.set_random(&random)))
            }
            Ok(host_request::Log(line)) => {
                self.granted(Capability::Log)?;
                let line = line?;
                let text =
                    line.get_text()?.to_str().map_err(|_| Failure::malformed("the line is not UTF-8"))?;
                let level = line.get_level().unwrap_or(LogLevel::Error);
                self.log.borrow_mut().push((level, text.to_owned()));
                Ok(write(8, |mut reply| reply.set_done(())))
            }
            Ok(host_request::Chain(call)) => self.call_contract(call?),
            Ok(host_request::Http(request)) => self.http(request?),
            Ok(host_request::Blob(request)) => {
                self.granted(Capability::Blob)?;
                self.files.answer(request?)
            }
            Err(_) => Err(Failure::unsupported("this host call is not known here")),
        }
    }

    fn http(&self, request: http_request::Reader<'_>) -> Result<Vec<u8>, Failure> {
        self.granted(Capability::Http)?;
        let text = |text: capnp::Result<capnp::text::Reader<'_>>| match text?.to_str() {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(Failure::malformed("the request has text that is not UTF-8")),
        };
        let (method, url) = (text(request.get_method())?, text(request.get_url())?);
        let headers = request.get_headers()?;
        at_most("headers", headers.len(), HTTP_HEADERS_MAX)?;
        let header =
            |header: http_header::Reader<'_>| Ok((text(header.get_name())?, text(header.get_value())?));
        let headers = headers.iter().map(header).collect::<Result<Vec<_>, Failure>>()?;
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let bytes_max = request.get_body_bytes_max();
        let response = (self.servers)(&HttpRequest {
            method: &method,
            url: &url,
            headers: &headers,
            body: request.get_body()?,
            body_bytes_max: bytes_max,
        })?;
        at_most("bytes of a body", u32::try_from(response.body.len()).unwrap_or(u32::MAX), bytes_max)?;
        let words = response.headers.iter().map(|(name, value)| 32 + name.len() + value.len()).sum::<usize>();
        Ok(write(response.body.len() + words + 64, |reply| {
            let mut to = reply.init_response();
            to.set_status(response.status);
            to.set_body(&response.body);
            let mut list = to.init_headers(response.headers.len() as u32);
            for (index, (name, value)) in response.headers.iter().enumerate() {
                let mut header = list.reborrow().get(index as u32);
                header.set_name(name.as_str());
                header.set_value(value.as_str());
            }
        }))
    }

    fn call_contract(&self, call: chain_call::Reader<'_>) -> Result<Vec<u8>, Failure> {
        self.granted(Capability::Chain)?;
        let (to, input, at) = (call.get_to()?, call.get_input()?, call.get_at());
        at_most("bytes of input", u32::try_from(input.len()).unwrap_or(u32::MAX), CHAIN_INPUT_BYTES_MAX)?;
        let to = to.try_into().map_err(|_| Failure::invalid("a contract's address has 20 bytes"))?;
        if at <= 0 {
            return Err(Failure::invalid("that is no time to read a contract at"));
        }
        let answer = (self.contracts)(to, input, at)?;
        Ok(write(answer.output.len() + 64, |reply| {
            let mut chain = reply.init_chain();
            chain.set_output(&answer.output);
            chain.set_reverted(answer.reverted);
            chain.set_block_number(answer.block_number);
            chain.set_block_timestamp(answer.block_timestamp);
        }))
    }

    fn hash(
        &self,
        items: capnp::data_list::Reader<'_>,
        hash: fn(&[u8]) -> [u8; 32],
    ) -> Result<Vec<u8>, Failure> {
        self.granted(Capability::Crypto)?;
        at_most("items to hash", items.len(), HASHED_MAX)?;
        let digests = items.iter().map(|item| Ok(hash(item?))).collect::<Result<Vec<_>, Failure>>()?;
        let digests = digests.concat();
        Ok(write(digests.len(), |mut reply| reply.set_digests(&digests)))
    }

    fn granted(&self, capability: Capability) -> Result<(), Failure> {
        if self.granted.contains(&capability) {
            return Ok(());
        }
        let message = format!("the capability {} is not granted", capability.name());
        Err(Failure::new(FailureCode::Denied, message))
    }

    /// SplitMix64: the same in every run, and no two bytes alike by design.
    fn next_byte(&self) -> u8 {
        let mut state = self.random.borrow_mut();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed >> 56) as u8
    }
}

pub(super) fn at_most(of: &str, asked: u32, most: u32) -> Result<(), Failure> {
    if asked <= most {
        return Ok(());
    }
    Err(Failure::limit(format!("{asked} {of} are over the limit of {most}; ask for fewer at once")))
}

pub(super) fn write(bytes: usize, fill: impl FnOnce(host_reply::Builder<'_>)) -> Vec<u8> {
    mainstem_plugin_abi::write::<host_reply::Owned>(8 + bytes / 8, fill)
}
