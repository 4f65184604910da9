//! An endpoint that misbehaves: in front of a development chain, it lags, lies, breaks off, says nothing or too much.

use mainstem_devchain::SharedDevChain;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What the endpoint does with requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Takes the request and never answers.
    Silent,
    /// Closes the connection.
    Close,
    /// Bytes that are no HTTP.
    NoHttp,
    /// An HTML page with this status.
    Status(u16),
    /// A body that is no JSON.
    Garbage,
    /// The right answer, cut in half, with a length to match.
    HalfJson,
    /// Half of the right answer, then the connection closes.
    HalfBody,
    /// An endless body.
    Giant,
    /// JSON nested deeply.
    Nested,
    /// An answer to another request.
    OtherId,
    /// `result: null`.
    Null,
    /// A result of a wrong type.
    WrongType,
    /// An error of JSON-RPC with this code.
    Error(i64),
    /// Every query for logs is too much.
    TooManyLogs,
    /// A query for logs of more blocks than this is refused, in words of its own.
    BlocksMax(u64),
    /// Logs say something else than was logged.
    ForgedLogs,
    /// Calls of contracts answer with one byte.
    ForgedCalls,
    /// Another chain id.
    OtherChain,
    /// The head, and all that is asked about later blocks, is so many blocks behind.
    Lag(u64),
    /// The newest block has another hash, with no logs.
    Fork,
    /// As [`Fault::Fork`], and the false block gives everybody all rights to everything that is asked about.
    ForkWithLogs,
}

#[derive(Clone)]
pub struct Script {
    /// How likely a request meets the fault; 1 is always.
    pub chance: f64,
    /// One of these each time.
    pub faults: Vec<Fault>,
}

pub struct Proxy {
    pub url: String,
    script: Arc<Mutex<(Script, StdRng)>>,
    server: JoinHandle<()>,
}

impl Proxy {
    pub async fn start(chain: SharedDevChain, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let honest = Script { chance: 0.0, faults: Vec::new() };
        let script = Arc::new(Mutex::new((honest, StdRng::seed_from_u64(seed))));
        let shared = script.clone();
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, chain.clone(), shared.clone()));
            }
        });
        Self { url, script, server }
    }

    pub fn set(&self, script: Script) {
        self.script.lock().unwrap().0 = script;
    }

    pub fn honest(&self) {
        self.set(Script { chance: 0.0, faults: Vec::new() });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

type Shared = Arc<Mutex<(Script, StdRng)>>;

async fn serve(mut stream: TcpStream, chain: SharedDevChain, script: Shared) {
    while let Some(request) = read_request(&mut stream).await {
        let fault = {
            let mut script = script.lock().unwrap();
            let (Script { chance, faults }, rng) = &mut *script;
            let (chance, count) = (*chance, faults.len());
            (count > 0 && rng.random_bool(chance)).then(|| faults[rng.random_range(0..count)])
        };
        if answer(&mut stream, &chain, &request, fault).await.is_none() {
            return;
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Value> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length: usize = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())?;
            if body.len() >= length {
                return serde_json::from_str(body).ok();
            }
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}

/// `None` ends the connection.
async fn answer(
    stream: &mut TcpStream,
    chain: &SharedDevChain,
    request: &Value,
    fault: Option<Fault>,
) -> Option<()> {
    let method = request["method"].as_str()?;
    let reply = |outcome: Value| {
        let mut reply = json!({ "jsonrpc": "2.0", "id": request["id"] });
        reply.as_object_mut().unwrap().extend(outcome.as_object().unwrap().clone());
        reply.to_string()
    };
    let honest = || reply(ask(chain, method, &request["params"]));
    let body = match fault {
        None => honest(),
        Some(Fault::Silent) => {
            tokio::time::sleep(Duration::from_secs(5)).await;
            return None;
        }
        Some(Fault::Close) => return None,
        Some(Fault::NoHttp) => {
            let _ = stream.write_all(b"\x16\x03\x01 certainly no HTTP\r\n\r\n").await;
            return None;
        }
        Some(Fault::Status(status)) => {
            return respond(stream, status, "<html><h1>try again</h1></html>").await;
        }
        Some(Fault::Garbage) => "\u{1}\u{2}not json\u{0}".to_owned(),
        Some(Fault::HalfJson) => {
            let body = honest();
            body[..body.len() / 2].to_owned()
        }
        Some(Fault::HalfBody) => {
            let body = honest();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(&body.as_bytes()[..body.len() / 2]).await;
            return None;
        }
        Some(Fault::Giant) => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            let chunk = format!("10000\r\n{}\r\n", "[".repeat(0x10000));
            for _ in 0..64 {
                stream.write_all(chunk.as_bytes()).await.ok()?;
            }
            return None;
        }
        Some(Fault::Nested) => "[".repeat(60_000),
        Some(Fault::OtherId) => json!({ "jsonrpc": "2.0", "id": "other", "result": "0x1" }).to_string(),
        Some(Fault::Null) => reply(json!({ "result": null })),
        Some(Fault::WrongType) => reply(json!({ "result": { "number": -1, "logs": "0xzz" } })),
        Some(Fault::Error(code)) => reply(json!({ "error": { "code": code, "message": "not now" } })),
        Some(Fault::TooManyLogs)
            if method == "eth_getLogs" && request["params"][0].get("address").is_none() =>
        {
            reply(json!({ "error": { "code": -32005, "message": "query returned more than 10000 results" } }))
        }
        Some(Fault::BlocksMax(max))
            if method == "eth_getLogs"
                && number(&request["params"][0]["toBlock"]) - number(&request["params"][0]["fromBlock"])
                    >= max =>
        {
            reply(json!({ "error": { "code": -32602, "message": "your plan allows less at once" } }))
        }
        Some(Fault::ForgedLogs) if method == "eth_getLogs" => {
            let mut answer = ask(chain, method, &request["params"]);
            for log in answer["result"].as_array_mut().into_iter().flatten() {
                log["data"] = log["data"].as_str().unwrap().replace("7d", "20").into();
            }
            reply(answer)
        }
        Some(Fault::ForgedCalls) if method == "eth_call" => reply(json!({ "result": "0x01" })),
        Some(Fault::OtherChain) if method == "eth_chainId" => reply(json!({ "result": "0x1" })),
        Some(Fault::Lag(blocks)) => reply(lag(chain, method, &request["params"], blocks)),
        Some(fault @ (Fault::Fork | Fault::ForkWithLogs)) => {
            reply(fork(chain, method, &request["params"], fault))
        }
        Some(
            Fault::TooManyLogs
            | Fault::OtherChain
            | Fault::BlocksMax(_)
            | Fault::ForgedLogs
            | Fault::ForgedCalls,
        ) => honest(),
    };
    respond(stream, 200, &body).await
}

async fn respond(stream: &mut TcpStream, status: u16, body: &str) -> Option<()> {
    let text = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await.ok()
}

fn ask(chain: &SharedDevChain, method: &str, params: &Value) -> Value {
    match chain.request(method, params) {
        Ok(result) => json!({ "result": result }),
        Err(error) => json!({ "error": error }),
    }
}

fn height(chain: &SharedDevChain) -> u64 {
    number(&chain.request("eth_blockNumber", &json!([])).unwrap())
}

fn number(value: &Value) -> u64 {
    let text = value.as_str().and_then(|text| text.strip_prefix("0x"));
    text.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(u64::MAX)
}

/// As a node that has not heard of the newest blocks.
fn lag(chain: &SharedDevChain, method: &str, params: &Value, blocks: u64) -> Value {
    let head = height(chain).saturating_sub(blocks);
    match method {
        "eth_blockNumber" => json!({ "result": format!("{head:#x}") }),
        "eth_call" if params[1] == "latest" => ask(chain, method, &json!([params[0], format!("{head:#x}")])),
        "eth_getBlockByNumber" if params[0] == "finalized" => {
            ask(chain, method, &json!([format!("{head:#x}"), false]))
        }
        "eth_getBlockByNumber" if number(&params[0]) > head => json!({ "result": null }),
        "eth_getLogs" => {
            let mut answer = ask(chain, method, params);
            if let Some(logs) = answer["result"].as_array_mut() {
                if params[0].get("blockHash").is_some()
                    && logs.iter().any(|log| number(&log["blockNumber"]) > head)
                {
                    return json!({ "error": { "code": -32000, "message": "unknown block" } });
                }
                logs.retain(|log| number(&log["blockNumber"]) <= head);
            }
            answer
        }
        _ => ask(chain, method, params),
    }
}

const FALSE_HASH: &str = "0xfa15e00000000000000000000000000000000000000000000000000000000000";

/// As a node on a fork of one block.
fn fork(chain: &SharedDevChain, method: &str, params: &Value, fault: Fault) -> Value {
    let head = height(chain);
    if method == "eth_getBlockByNumber" && number(&params[0]) == head {
        let mut answer = ask(chain, method, params);
        answer["result"]["hash"] = FALSE_HASH.into();
        return answer;
    }
    if method == "eth_getLogs" && params[0]["blockHash"] == FALSE_HASH {
        let mut logs = Vec::new();
        if fault == Fault::ForkWithLogs {
            // Every log of the chain's past again, in the false block.
            let all = json!([{ "fromBlock": "0x0", "toBlock": "latest" }]);
            logs = chain.request("eth_getLogs", &all).unwrap().as_array().unwrap().clone();
            for (index, log) in logs.iter_mut().enumerate() {
                log["blockHash"] = FALSE_HASH.into();
                log["blockNumber"] = format!("{head:#x}").into();
                log["logIndex"] = format!("{index:#x}").into();
            }
            logs.reverse();
        }
        return json!({ "result": logs });
    }
    ask(chain, method, params)
}
