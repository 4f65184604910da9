//! JSON-RPC over a socket.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Tx, Wallet};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use mainstem_devchain::{Config, SharedDevChain, serve};
use serde_json::{Value, json};
use tokio::sync::oneshot;

struct Served {
    url: String,
    stop: oneshot::Sender<()>,
    done: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Served {
    async fn new(config: Config) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let done = tokio::spawn(serve(listener, SharedDevChain::in_memory(config), async {
            let _ = stopped.await;
        }));
        Self { url, stop, done }
    }

    async fn raw(&self, method: &str, body: impl Into<Bytes>) -> (StatusCode, hyper::HeaderMap, Bytes) {
        let request = Request::builder()
            .method(method)
            .uri(&self.url)
            .header("origin", "http://example.org")
            .header("access-control-request-method", "POST")
            .body(Full::new(body.into()))
            .unwrap();
        let response = Client::builder(TokioExecutor::new()).build_http().request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, body.collect().await.unwrap().to_bytes())
    }

    async fn post(&self, body: impl Into<Bytes>) -> Value {
        let (status, _, body) = self.raw("POST", body).await;
        assert_eq!(status, StatusCode::OK);
        serde_json::from_slice(&body).unwrap()
    }
}

fn request(id: u64, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

#[tokio::test]
async fn one_request_has_one_answer_and_a_batch_has_as_many_in_order() {
    let served = Served::new(Config::default()).await;
    let reply = served.post(request(7, "eth_chainId", json!([])).to_string()).await;
    assert_eq!(reply, json!({ "jsonrpc": "2.0", "id": 7, "result": "0x7a69" }));
    let raw = Wallet::dev(0).sign(&Tx { value: 1, ..Tx::default() });
    let batch = json!([
        request(1, "eth_sendRawTransaction", json!([raw])),
        request(2, "eth_blockNumber", json!([])),
        request(3, "eth_sendRawTransaction", json!([raw])),
        { "jsonrpc": "2.0", "method": "evm_mine" },
        { "jsonrpc": "2.0", "id": "four", "method": "eth_blockNumber" },
    ]);
    let reply = served.post(batch.to_string()).await;
    assert_eq!(reply.as_array().unwrap().len(), 4);
    assert_eq!(reply[1]["result"], "0x1");
    assert_eq!(reply[2]["error"]["message"], "already known");
    assert_eq!(reply[3], json!({ "jsonrpc": "2.0", "id": "four", "result": "0x2" }));
}

#[tokio::test]
async fn what_is_not_json_rpc_is_told_so() {
    let served = Served::new(Config::default()).await;
    for (body, code) in [
        ("", -32700),
        ("{", -32700),
        ("\u{ff}", -32700),
        ("[]", -32600),
        ("5", -32600),
        ("null", -32600),
        ("\"text\"", -32600),
        (r#"{"id":1,"method":"eth_chainId"}"#, -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"eth_chainId"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":{},"method":"eth_chainId"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"no_such"}"#, -32601),
        (r#"{"jsonrpc":"2.0","id":1,"method":"eth_getBalance","params":{"a":1}}"#, -32602),
    ] {
        assert_eq!(served.post(body).await["error"]["code"], code, "{body}");
    }
    let reply = served.post("[1, [], {}]").await;
    assert_eq!(reply.as_array().unwrap().len(), 3);
    let deep = "[".repeat(100_000);
    assert_eq!(served.post(deep).await["error"]["code"], -32700);
}

#[tokio::test]
async fn a_notification_has_no_answer() {
    let served = Served::new(Config::default()).await;
    let (status, _, body) = served.raw("POST", r#"{"jsonrpc":"2.0","method":"evm_mine"}"#).await;
    assert_eq!((status, body.len()), (StatusCode::NO_CONTENT, 0));
    assert_eq!(served.post(request(1, "eth_blockNumber", json!([])).to_string()).await["result"], "0x1");
}

#[tokio::test]
async fn a_batch_of_the_largest_length_is_answered_and_one_more_is_not() {
    let served = Served::new(Config { batch_requests_max: 3, ..Config::default() }).await;
    let batch = |len| Value::Array(vec![request(1, "eth_chainId", json!([])); len]).to_string();
    assert_eq!(served.post(batch(3)).await.as_array().unwrap().len(), 3);
    assert_eq!(served.post(batch(4)).await["error"]["code"], -32600);
}

#[tokio::test]
async fn a_body_of_the_largest_size_is_answered_and_one_byte_more_is_413() {
    let body = request(1, "eth_chainId", json!([])).to_string();
    let served = Served::new(Config { body_bytes_max: body.len(), ..Config::default() }).await;
    assert_eq!(served.post(body.clone()).await["result"], "0x7a69");
    let (status, ..) = served.raw("POST", body + " ").await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn once_the_answers_of_a_batch_are_too_large_the_rest_are_errors() {
    let one = json!({ "jsonrpc": "2.0", "id": 1, "result": "0x7a69" }).to_string().len();
    let served = Served::new(Config { reply_bytes_max: one * 2 - 1, ..Config::default() }).await;
    let batch = Value::Array(vec![request(1, "eth_chainId", json!([])); 3]).to_string();
    let reply = served.post(batch).await;
    assert_eq!(reply[1]["result"], "0x7a69");
    assert_eq!(reply[2]["error"]["code"], -32003);
}

#[tokio::test]
async fn web_pages_may_call() {
    let served = Served::new(Config::default()).await;
    let (status, headers, _) = served.raw("OPTIONS", "").await;
    assert!(status.is_success());
    assert_eq!(headers["access-control-allow-origin"], "*");
    let (_, headers, _) = served.raw("POST", request(1, "eth_chainId", json!([])).to_string()).await;
    assert_eq!(headers["access-control-allow-origin"], "*");
    assert_eq!(headers["content-type"], "application/json");
}

#[tokio::test]
async fn a_server_that_is_told_to_stop_stops() {
    let served = Served::new(Config::default()).await;
    served.post(request(1, "eth_chainId", json!([])).to_string()).await;
    served.stop.send(()).unwrap();
    served.done.await.unwrap().unwrap();
}
