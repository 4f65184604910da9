use super::{
    files::Files,
    primitives::{check, keccak256, sha256},
};
use crate::{Failure, FailureCode, HostCalls, LogLevel};
use mainstem_plugin_abi::{
    limits::{CHECKED_MAX, HASHED_MAX, RANDOM_BYTES_MAX},
    plugin_capnp::{host_reply, host_request},
};
use std::cell::RefCell;

pub use mainstem_plugin_abi::Capability;

/// Stands for the node in a test: nothing is random, no time passes.
#[derive(Debug)]
pub struct Node {
    /// What the clock says, in ms since 1970.
    pub now_ms: i64,
    /// What is granted; all of it, unless the test says otherwise.
    pub granted: Vec<Capability>,
    /// What stands in the log so far.
    pub log: RefCell<Vec<(LogLevel, String)>>,
    /// Where the random bytes go on; begins as the test says.
    pub random: RefCell<u64>,
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
            files: Files::default(),
        }
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
            Ok(host_request::Blob(request)) => {
                self.granted(Capability::Blob)?;
                self.files.answer(request?)
            }
            Ok(host_request::Http(_) | host_request::Chain(_)) | Err(_) => {
                Err(Failure::unsupported("this host call is not known here"))
            }
        }
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
