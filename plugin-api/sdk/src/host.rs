use crate::{Failure, Files, LogLevel, Scheme};
use mainstem_plugin_abi::{
    limits::{CHECKED_MAX, HASHED_MAX, TEXT_BYTES_MAX},
    plugin_capnp::{host_reply, host_request, http_header},
};
use std::fmt;

/// How a host request gets to the node, or to what stands for it in a test.
pub trait HostCalls {
    /// Makes a call, and lets `read` have the host reply once.
    fn call(&self, request: &[u8], read: &mut dyn FnMut(&[u8]));
}

/// The node, as far as a plugin may call it. Each call needs a capability that the manifest names and the node grants; without it
/// there is a failure with the code `denied`.
#[derive(Clone, Copy)]
pub struct Host<'a> {
    calls: &'a dyn HostCalls,
}

/// A signature that the node is to check.
#[derive(Clone, Copy, Debug)]
pub struct Check<'a> {
    /// As the scheme says.
    pub key: &'a [u8],
    /// What is signed, or its digest, as the scheme says.
    pub message: &'a [u8],
    /// As the scheme says.
    pub signature: &'a [u8],
}

/// A request to a server.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    /// GET, HEAD, PUT, POST or DELETE.
    pub method: &'a str,
    /// http or https, of a host and port that was granted; up to 8,192 bytes.
    pub url: &'a str,
    /// Up to 64 of them, with 16,384 bytes together. `Host` and the length are the node's to say.
    pub headers: &'a [(&'a str, &'a str)],
    /// Empty for GET and HEAD.
    pub body: &'a [u8],
    /// Bytes of the response's body at most; a longer one is answered with `limit`. The node has a bound of its own beside it.
    pub body_bytes_max: u32,
}

/// What a server answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpResponse {
    /// 200 and others. Redirects are not followed.
    pub status: u16,
    /// Names in lower case, in their order.
    pub headers: Vec<(String, String)>,
    /// All of it.
    pub body: Vec<u8>,
}

impl HttpResponse {
    /// The first value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(its, _)| its == name).map(|(_, value)| value.as_str())
    }
}

/// What a contract answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContractAnswer {
    /// Its output, or what it reverted with. Empty if there is no contract.
    pub output: Vec<u8>,
    /// It refused.
    pub reverted: bool,
    /// The block that it was read at.
    pub block_number: u64,
    /// The time of that block, ms since 1970.
    pub block_timestamp: i64,
}

impl fmt::Debug for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Host")
    }
}

impl<'a> Host<'a> {
    /// The host behind `calls`.
    pub const fn new(calls: &'a dyn HostCalls) -> Self {
        Self { calls }
    }

    /// SHA-256 of each item. Capability: `crypto`.
    ///
    /// # Errors
    /// What the node answers.
    pub fn sha256(&self, items: &[&[u8]]) -> Result<Vec<[u8; 32]>, Failure> {
        self.hash(items, |request, count| request.init_sha256(count))
    }

    /// Keccak-256 of each item. Capability: `crypto`.
    ///
    /// # Errors
    /// What the node answers.
    pub fn keccak256(&self, items: &[&[u8]]) -> Result<Vec<[u8; 32]>, Failure> {
        self.hash(items, |request, count| request.init_keccak256(count))
    }

    /// Whether each signature holds, all of one scheme. Capability: `crypto`.
    ///
    /// # Errors
    /// What the node answers. A signature that does not hold is no failure.
    pub fn check(&self, scheme: Scheme, items: &[Check<'_>]) -> Result<Vec<bool>, Failure> {
        let mut holds = Vec::with_capacity(items.len());
        for items in items.chunks(CHECKED_MAX as usize) {
            let bytes = items.iter().map(|item| item.key.len() + item.message.len() + item.signature.len());
            let words = 8 + bytes.sum::<usize>() / 8 + items.len() * 6;
            let fill = |request: host_request::Builder<'_>| {
                let mut check = request.init_check();
                check.set_scheme(scheme);
                let mut to = check.init_items(items.len() as u32);
                for (index, item) in items.iter().enumerate() {
                    let mut to = to.reborrow().get(index as u32);
                    to.set_key(item.key);
                    to.set_message(item.message);
                    to.set_signature(item.signature);
                }
            };
            self.call(words, fill, |reply| match reply.which() {
                Ok(host_reply::Checks(checks)) => {
                    let checks = checks?;
                    check_count(checks.len() as usize, items.len())?;
                    holds.extend(checks.iter());
                    Ok(())
                }
                other => Err(unexpected(other.is_ok())),
            })?;
        }
        Ok(holds)
    }

    /// What time it is, in ms since 1970. Capability: `clock`.
    ///
    /// # Errors
    /// What the node answers.
    pub fn now(&self) -> Result<i64, Failure> {
        self.call(
            8,
            |mut request| request.set_now(()),
            |reply| match reply.which() {
                Ok(host_reply::Now(now)) => Ok(now),
                other => Err(unexpected(other.is_ok())),
            },
        )
    }

    /// Random bytes, up to 1,024. Capability: `random`.
    ///
    /// # Errors
    /// What the node answers.
    pub fn random(&self, bytes: u32) -> Result<Vec<u8>, Failure> {
        self.call(
            8,
            |mut request| request.set_random(bytes),
            |reply| match reply.which() {
                Ok(host_reply::Random(random)) => {
                    let random = random?;
                    check_count(random.len(), bytes as usize)?;
                    Ok(random.to_vec())
                }
                other => Err(unexpected(other.is_ok())),
            },
        )
    }

    /// Writes a line to the node's log; its first 1,024 bytes are kept. Capability: `log`.
    ///
    /// # Errors
    /// What the node answers. A line that is dropped as there were too many is none.
    pub fn log(&self, level: LogLevel, text: &str) -> Result<(), Failure> {
        let text = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
        let fill = |request: host_request::Builder<'_>| {
            let mut log = request.init_log();
            log.set_level(level);
            log.set_text(text);
        };
        self.call(8 + text.len() / 8, fill, |reply| match reply.which() {
            Ok(host_reply::Done(())) => Ok(()),
            other => Err(unexpected(other.is_ok())),
        })
    }

    /// Calls a contract without changing anything, with up to 32,768 bytes of input, at the last block before the second of `at` (ms since
    /// 1970). The answer is the same at every node. Capability: `chain`.
    ///
    /// # Errors
    /// What the node answers. None of its failures says what the contract would answer; `unavailable` is for what may be known
    /// later. That the contract refuses is none.
    pub fn call_contract(&self, to: &[u8; 20], input: &[u8], at: i64) -> Result<ContractAnswer, Failure> {
        let fill = |request: host_request::Builder<'_>| {
            let mut call = request.init_chain();
            call.set_to(to);
            call.set_input(input);
            call.set_at(at);
        };
        self.call(16 + input.len() / 8, fill, |reply| match reply.which() {
            Ok(host_reply::Chain(answer)) => {
                let answer = answer?;
                Ok(ContractAnswer {
                    output: answer.get_output()?.to_vec(),
                    reverted: answer.get_reverted(),
                    block_number: answer.get_block_number(),
                    block_timestamp: answer.get_block_timestamp(),
                })
            }
            other => Err(unexpected(other.is_ok())),
        })
    }

    /// Asks a server. Capability: `http`.
    ///
    /// # Errors
    /// What the node answers. After `unavailable` what was asked for may have been done all the same. A status of 400 and up is none.
    pub fn http(&self, request: &HttpRequest<'_>) -> Result<HttpResponse, Failure> {
        let headers = request.headers.iter().map(|(name, value)| 4 + (name.len() + value.len()) / 8);
        let words = 24 + (request.url.len() + request.body.len()) / 8 + headers.sum::<usize>();
        let fill = |to: host_request::Builder<'_>| {
            let mut http = to.init_http();
            http.set_method(request.method);
            http.set_url(request.url);
            http.set_body(request.body);
            http.set_body_bytes_max(request.body_bytes_max);
            let mut list = http.init_headers(request.headers.len() as u32);
            for (index, (name, value)) in request.headers.iter().enumerate() {
                let mut header = list.reborrow().get(index as u32);
                header.set_name(*name);
                header.set_value(*value);
            }
        };
        self.call(words, fill, |reply| match reply.which() {
            Ok(host_reply::Response(response)) => {
                let response = response?;
                let text =
                    |text: capnp::text::Reader<'_>| String::from_utf8_lossy(text.as_bytes()).into_owned();
                let header = |header: http_header::Reader<'_>| {
                    Ok((text(header.get_name()?), text(header.get_value()?)))
                };
                Ok(HttpResponse {
                    status: response.get_status(),
                    headers: response.get_headers()?.iter().map(header).collect::<Result<_, Failure>>()?,
                    body: response.get_body()?.to_vec(),
                })
            }
            other => Err(unexpected(other.is_ok())),
        })
    }

    /// Files of the plugin's own folder. Capability: `blob`.
    pub const fn files(&self) -> Files<'a> {
        Files(*self)
    }

    fn hash(
        &self,
        items: &[&[u8]],
        init: impl for<'b> Fn(host_request::Builder<'b>, u32) -> capnp::data_list::Builder<'b>,
    ) -> Result<Vec<[u8; 32]>, Failure> {
        let mut digests = Vec::with_capacity(items.len());
        for items in items.chunks(HASHED_MAX as usize) {
            let words = 8 + items.iter().map(|item| 2 + item.len() / 8).sum::<usize>();
            let fill = |request: host_request::Builder<'_>| {
                let mut to = init(request, items.len() as u32);
                for (index, item) in items.iter().enumerate() {
                    to.set(index as u32, item);
                }
            };
            self.call(words, fill, |reply| match reply.which() {
                Ok(host_reply::Digests(bytes)) => {
                    let (found, rest) = bytes?.as_chunks::<32>();
                    check_count(found.len(), items.len())?;
                    check_count(rest.len(), 0)?;
                    digests.extend_from_slice(found);
                    Ok(())
                }
                other => Err(unexpected(other.is_ok())),
            })?;
        }
        Ok(digests)
    }

    pub(crate) fn call<T>(
        &self,
        words: usize,
        fill: impl FnOnce(host_request::Builder<'_>),
        mut take: impl FnMut(host_reply::Reader<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let request = mainstem_plugin_abi::write::<host_request::Owned>(words, fill);
        let mut taken = Err(Failure::internal("the node gave no reply to a host request"));
        self.calls.call(&request, &mut |reply| taken = read(reply, &mut take));
        taken
    }
}

fn read<T>(
    reply: &[u8],
    take: &mut impl FnMut(host_reply::Reader<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let message = mainstem_plugin_abi::read(reply)?;
    let reply = message.get_root::<host_reply::Reader<'_>>()?;
    if let Ok(host_reply::Failed(failure)) = reply.which() {
        return Err(Failure::read(failure?));
    }
    take(reply)
}

pub(crate) fn unexpected(known: bool) -> Failure {
    let what = if known { "that belongs to another call" } else { "that is new to this plugin" };
    Failure::internal(format!("the node gave a reply {what}; ask for its version"))
}

fn check_count(given: usize, asked: usize) -> Result<(), Failure> {
    if given == asked {
        return Ok(());
    }
    Err(Failure::internal(format!("the node gave {given} answers where {asked} were asked for")))
}
