//! What the HTTP tests stand on: the routes over the real state machine, a store in memory, and a chain that obeys at once.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test takes what it needs, and may fail loudly"
)]

mod driver;

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode},
};
use bytes::Bytes;
use driver::Driver;
use http_body_util::BodyExt;
use mainstem_api::{
    HttpConfig, Identities, NodeHandle, NodeInfo, NodePublisher, PublisherConfig, Workers, WorkersConfig,
    http,
};
use mainstem_crypto::{SecretKey, sha256};
use mainstem_model::{
    Address, Grant, Network, NewEvent, Partition, Registry, RegistryChange, SeriesId, SeriesWriter, Signer,
    StreamId, StreamRecord, Verifier,
};
use mainstem_protocol::Config;
use serde_json::Value;
use std::sync::{Arc, RwLock};
use tokio::sync::mpsc;
use tower::ServiceExt;

pub const NETWORK: Network = Network { chain_id: 31337, registry: Address([1; 20]) };
pub const NODE: Address = Address([9; 20]);
/// Everyone reads; Alice owns it and publishes; alias `weather/berlin`; three partitions.
pub const OPEN: StreamId = StreamId(Address([2; 20]));
/// Alice owns it and may do everything, Bob reads.
pub const CLOSED: StreamId = StreamId(Address([3; 20]));
/// Nobody has this one.
pub const ABSENT: StreamId = StreamId(Address([4; 20]));
pub const ALICE_KEY: &str = "alice";
pub const BOB_KEY: &str = "bob";

pub const ALL: Grant = Grant { subscribe_until: Grant::FOREVER, publish_until: Grant::FOREVER, flags: 7 };
pub const READ: Grant = Grant { subscribe_until: Grant::FOREVER, publish_until: 0, flags: 0 };

pub fn secret(n: u8) -> SecretKey {
    SecretKey::from_bytes(&[n; 32]).unwrap()
}

pub fn alice() -> Address {
    secret(1).address()
}

pub fn bob() -> Address {
    secret(2).address()
}

pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    since.as_millis() as i64
}

/// A node as HTTP clients see it.
pub struct Rig {
    pub router: Router,
    pub handle: NodeHandle,
    pub publisher: Arc<NodePublisher>,
    pub workers: Workers,
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// Status and code of an error, whose body has all three fields.
    pub fn error(&self) -> (u16, String) {
        let json = self.json();
        assert_eq!(json["message"], json["error"]);
        assert!(json["message"].as_str().is_some_and(|message| !message.is_empty()));
        (self.status.as_u16(), json["code"].as_str().unwrap().to_owned())
    }
}

impl Rig {
    pub fn start() -> Self {
        Self::with(HttpConfig::default(), Config::default(), PublisherConfig::default())
    }

    pub fn with(http: HttpConfig, broker: Config, publisher: PublisherConfig) -> Self {
        let workers = Workers::start(&WorkersConfig::default()).unwrap();
        Self::over(http, broker, publisher, workers, Verifier::new(NETWORK))
    }

    pub fn over(
        http: HttpConfig,
        broker: Config,
        publisher: PublisherConfig,
        workers: Workers,
        verifier: Verifier,
    ) -> Self {
        let (inbox, inputs) = mpsc::channel(4096);
        let registry = Arc::new(RwLock::new(Registry::default()));
        let handle = NodeHandle::new(inbox, registry.clone(), Arc::new(verifier), NODE);
        let mut driver = Driver::new(broker.clone(), registry);
        for change in streams() {
            driver.apply(change);
        }
        tokio::spawn(driver.run(inputs));
        let mut identities = Identities::new();
        for (n, key) in [(1, ALICE_KEY), (2, BOB_KEY)] {
            let identity = identities.add(secret(n));
            identities.allow(&hex::encode(sha256(key.as_bytes())), identity).unwrap();
        }
        let publisher = Arc::new(NodePublisher::new(handle.clone(), workers.clone(), identities, publisher));
        let info = NodeInfo { version: "test".into(), broker, ..NodeInfo::default() };
        let router = http::router(handle.clone(), http, info, workers.clone(), publisher.clone());
        Self { router, handle, publisher, workers }
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request = request.header("host", "localhost:7171");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], Body::empty()).await
    }

    pub async fn get_as(&self, key: &str, path: &str) -> Answer {
        self.send("GET", path, &[("authorization", &format!("Bearer {key}"))], Body::empty()).await
    }

    /// Sends JSON with an API key.
    pub async fn send_as(&self, key: &str, method: &str, path: &str, body: Value) -> Answer {
        let headers = [("authorization", &*format!("Bearer {key}")), ("content-type", "application/json")];
        self.send(method, path, &headers, body.to_string()).await
    }

    pub async fn post(&self, path: &str, kind: &str, body: impl Into<Body>) -> Answer {
        self.send("POST", path, &[("content-type", kind)], body).await
    }
}

/// A series of Alice's in partition 0 of the open stream.
pub fn writer(series: u64) -> SeriesWriter {
    SeriesWriter::new(NETWORK, OPEN.partition(Partition::ZERO), Signer::wallet(secret(1)), SeriesId(series))
}

pub fn json_event(timestamp: i64, n: u64) -> NewEvent {
    NewEvent::json(timestamp, &serde_json::json!({ "n": n }))
}

fn streams() -> Vec<RegistryChange> {
    let record = |id, path: Option<&str>, metadata: &str, partitions| StreamRecord {
        id,
        owner: alice(),
        metadata: metadata.into(),
        partitions,
        storage_days: None,
        path: path.map(str::to_owned),
        key_epoch: 0,
        created_at: 1_700_000_000,
    };
    vec![
        RegistryChange::Stream(record(
            OPEN,
            Some("weather/berlin"),
            r#"{"description":"Weather of Berlin","partitions":3}"#,
            3,
        )),
        RegistryChange::Grant(OPEN, Address::ZERO, READ),
        RegistryChange::Grant(OPEN, alice(), ALL),
        RegistryChange::Stream(record(CLOSED, None, "{}", 1)),
        RegistryChange::Grant(CLOSED, alice(), ALL),
        RegistryChange::Grant(CLOSED, bob(), READ),
    ]
}
