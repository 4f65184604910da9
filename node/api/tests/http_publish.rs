//! Publishing over HTTP: signed batches, and Streamr's way.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails loudly and skips what it does not ask about"
)]

mod http_support;

use axum::body::Body;
use http_support::{ABSENT, ALICE_KEY, CLOSED, OPEN, Rig, alice, json_event, now_ms, secret, writer};
use mainstem_api::{HttpConfig, PublisherConfig, Workers, WorkersConfig};
use mainstem_model::{
    AckLevel, Batch, BatchId, Code, NewEvent, Origin, Partition, PartitionKey, SchemeSigner, SeriesId,
    SeriesWriter, SignatureFault, SignatureType, Signer, Verifier, limits,
};
use mainstem_protocol::Config;
use serde_json::{Value, json};
use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

const OCTETS: &str = "application/octet-stream";

fn path() -> String {
    format!("/streams/{OPEN}/batches")
}

/// What a foreign signer sends.
fn parts(batch: &Batch) -> Value {
    let hex = |bytes: &[u8]| format!("0x{}", hex::encode(bytes));
    let events: Vec<Value> = batch
        .events()
        .map(|event| {
            json!({
                "timestamp": event.timestamp, "contentType": event.content_type.0,
                "encryptionType": event.encryption_type.0, "content": hex(event.content),
            })
        })
        .collect();
    json!({"header": hex(&batch.header().encode()), "signature": hex(batch.signature()), "events": events})
}

#[tokio::test]
async fn a_signed_batch_is_taken_as_bytes_and_known_again_as_json() {
    let rig = Rig::start();
    let batch = writer(1).seal(&[json_event(now_ms(), 1), json_event(now_ms(), 2)]).unwrap();
    let answer = rig.post(&format!("{}?ack=durable", path()), OCTETS, batch.bytes().clone()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let id = batch.id().to_string();
    let expected = json!({
        "batchId": id, "level": "durable", "duplicate": false, "events": [format!("{id}/0"), format!("{id}/1")],
    });
    assert_eq!(answer.json(), expected);
    assert_eq!(answer.headers["mainstem-batch-id"], id);
    let again = rig.post(&path(), "application/json; charset=utf-8", parts(&batch).to_string()).await;
    assert_eq!(again.json()["duplicate"], true);
    assert_eq!(again.json()["batchId"], id);
}

#[tokio::test]
async fn content_may_come_in_base64_and_the_timestamp_in_iso_8601() {
    let rig = Rig::start();
    let timestamp = now_ms() / 1000 * 1000;
    let batch = writer(1).seal(&[NewEvent::binary(timestamp, vec![0, 255].into())]).unwrap();
    let mut body = parts(&batch);
    let moment = time::OffsetDateTime::from_unix_timestamp(timestamp / 1000).unwrap();
    let moment = moment.format(&time::format_description::well_known::Rfc3339).unwrap();
    body["events"] = json!([{"timestamp": moment, "contentType": 2, "contentBase64": "AP8="}]);
    let answer = rig.post(&path(), "application/json", body.to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn what_is_wrong_with_a_batch_is_told_by_its_code() {
    let rig = Rig::start();
    let batch = writer(1).seal(&[json_event(now_ms(), 1)]).unwrap();
    let check = async |body: Vec<u8>, expected: (u16, &str)| {
        let answer = rig.post(&path(), OCTETS, body).await;
        assert_eq!(answer.error(), (expected.0, expected.1.to_owned()));
    };
    check(vec![], (400, "MALFORMED_BATCH")).await;
    check(vec![7; 100], (400, "MALFORMED_BATCH")).await;
    check(batch.bytes()[..batch.bytes().len() - 8].to_vec(), (400, "MALFORMED_BATCH")).await;
    let old = writer(2).seal(&[json_event(now_ms() - 400_000, 1)]).unwrap();
    check(old.bytes().to_vec(), (400, "INVALID_TIMESTAMP")).await;
    let at = OPEN.partition(Partition::ZERO);
    let mut stranger = SeriesWriter::new(http_support::NETWORK, at, Signer::wallet(secret(7)), SeriesId(1));
    let strange = stranger.seal(&[json_event(now_ms(), 1)]).unwrap();
    check(strange.bytes().to_vec(), (403, "MISSING_PERMISSION")).await;
    let mut series = writer(3);
    series.seal(&[json_event(now_ms(), 1)]).unwrap();
    let second = series.seal(&[json_event(now_ms(), 2)]).unwrap();
    check(second.bytes().to_vec(), (409, "SERIES_GAP")).await;

    let check_json = async |change: fn(&mut Value), expected: (u16, &str)| {
        let mut body = parts(&batch);
        change(&mut body);
        let answer = rig.post(&path(), "application/json", body.to_string()).await;
        assert_eq!(answer.error(), (expected.0, expected.1.to_owned()), "{body}");
    };
    check_json(|b| b["header"] = json!("0x00"), (400, "MALFORMED_BATCH")).await;
    check_json(|b| b["header"] = json!("zz"), (400, "INVALID_ARGUMENT")).await;
    check_json(|b| b["signature"] = json!("0x"), (400, "INVALID_SIGNATURE")).await;
    check_json(|b| b["delegation"] = json!("0x00"), (400, "MALFORMED_BATCH")).await;
    check_json(|b| b["events"] = json!([]), (400, "MALFORMED_BATCH")).await;
    check_json(|b| b["events"][0]["content"] = json!("0x00"), (400, "MERKLE_ROOT_MISMATCH")).await;
    check_json(|b| b["events"][0]["contentBase64"] = json!("AA=="), (400, "INVALID_ARGUMENT")).await;
    check_json(|b| b["events"][0]["timestamp"] = json!(1.5), (400, "INVALID_ARGUMENT")).await;
    check_json(|b| b["more"] = json!(1), (400, "INVALID_ARGUMENT")).await;
}

#[tokio::test]
async fn a_batch_goes_to_the_stream_that_it_was_signed_for() {
    let rig = Rig::start();
    let batch = writer(1).seal(&[json_event(now_ms(), 1)]).unwrap();
    let answer = rig.post(&format!("/streams/{CLOSED}/batches"), OCTETS, batch.bytes().clone()).await;
    assert_eq!(answer.error(), (400, "INVALID_ARGUMENT".into()));
    let answer = rig.post(&path(), "text/plain", batch.bytes().clone()).await;
    assert_eq!(answer.error(), (415, "UNSUPPORTED_MEDIA_TYPE".into()));
    let answer = rig.send("POST", &path(), &[], batch.bytes().clone()).await;
    assert_eq!(answer.error(), (415, "UNSUPPORTED_MEDIA_TYPE".into()));
}

#[tokio::test]
async fn bodies_are_taken_up_to_exactly_their_limit() {
    let rig = Rig::start();
    let max = limits::BATCH_BYTES_MAX;
    let answer = rig.post(&path(), OCTETS, vec![0; max]).await;
    assert_eq!(answer.error(), (400, "MALFORMED_BATCH".into()), "read, and then found to be no batch");
    let answer = rig.post(&path(), OCTETS, vec![0; max + 1]).await;
    assert_eq!(answer.error(), (413, "BATCH_TOO_LARGE".into()));
    let unannounced = Body::from_stream(futures_util::stream::iter(
        std::iter::repeat_n(bytes::Bytes::from_static(&[0; 1024]), max / 1024 + 1)
            .map(Ok::<_, std::io::Error>),
    ));
    let answer = rig.post(&path(), OCTETS, unannounced).await;
    assert_eq!(answer.error(), (413, "BATCH_TOO_LARGE".into()));

    let content = |length: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(length - 8));
    let headers = [("authorization", &*format!("Bearer {ALICE_KEY}")), ("content-type", "application/json")];
    let publish =
        async |length| rig.send("POST", &format!("/streams/{OPEN}"), &headers, content(length)).await;
    assert_eq!(publish(limits::CONTENT_BYTES_MAX).await.status, 200);
    assert_eq!(publish(limits::CONTENT_BYTES_MAX + 1).await.error(), (413, "CONTENT_TOO_LARGE".into()));
}

#[tokio::test]
async fn streamrs_way_answers_ok_or_json_and_keeps_the_bytes() {
    let rig = Rig::start();
    let body = r#"{ "n": 1.00, "a":[ ] }"#;
    let authorization = format!("Bearer {ALICE_KEY}");
    let headers = [("authorization", &*authorization), ("content-type", "application/json")];
    let answer = rig.send("POST", &format!("/streams/{OPEN}"), &headers, body).await;
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"OK"[..]));
    let id = answer.headers["mainstem-batch-id"].to_str().unwrap().to_owned();
    let json_headers = [headers[0], ("accept", "application/json")];
    let answer = rig.send("POST", &format!("/streams/{OPEN}?ack=accepted"), &json_headers, body).await;
    assert_eq!(answer.json()["events"].as_array().unwrap().len(), 1);

    let page = rig.get(&format!("/streams/{OPEN}/history")).await;
    let found = (0..3)
        .map(async |partition| rig.get(&format!("/streams/{OPEN}/history?partition={partition}")).await);
    let mut events = vec![];
    for answer in found {
        let answer = answer.await;
        assert!(
            answer.json()["events"].as_array().unwrap().is_empty()
                || answer.body.windows(body.len()).any(|part| part == body.as_bytes())
        );
        events.extend(answer.json()["events"].as_array().unwrap().clone());
    }
    assert_eq!(page.status, 200);
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["id"], format!("{id}/0"));
    assert_eq!(events[0]["origin"], alice().to_string());
    assert_eq!(events[0]["partition"], events[1]["partition"], "the node keeps to one partition");
}

#[tokio::test]
async fn streamrs_way_places_events_by_number_and_by_key() {
    let rig = Rig::start();
    let publish = async |query: &str| {
        let answer =
            rig.send_as(ALICE_KEY, "POST", &format!("/streams/{OPEN}?{query}"), json!({"q": query})).await;
        (answer.status.as_u16(), if answer.status == 200 { String::new() } else { answer.error().1 })
    };
    assert_eq!(publish("partition=2").await.0, 200);
    assert_eq!(publish("partitionKey=berlin").await.0, 200);
    let timestamp = now_ms() - 1000;
    assert_eq!(publish(&format!("partition=1&timestamp={timestamp}")).await.0, 200);
    assert_eq!(publish("partition=1&partitionKey=x").await, (422, "INVALID_ARGUMENT".into()));
    assert_eq!(publish("partition=3").await, (400, "INVALID_PARTITION".into()));
    assert_eq!(publish("partition=100").await, (400, "INVALID_PARTITION".into()));
    assert_eq!(publish("partition=-1").await, (400, "INVALID_ARGUMENT".into()));
    assert_eq!(publish("timestamp=yesterday").await, (400, "INVALID_ARGUMENT".into()));
    assert_eq!(publish("timestamp=0").await, (400, "INVALID_TIMESTAMP".into()));
    assert_eq!(publish("ack=now").await, (400, "INVALID_ARGUMENT".into()));
    assert_eq!(publish("colour=red").await, (400, "INVALID_ARGUMENT".into()));
    let by_key = Partition::of_key(&PartitionKey::Text("berlin".into()), 3).number();
    let page = rig.get(&format!("/streams/{OPEN}/history?partition={by_key}")).await.json();
    assert!(
        page["events"].as_array().unwrap().iter().any(|event| event["content"]["q"] == "partitionKey=berlin")
    );
    let last = rig.get(&format!("/streams/{OPEN}/data/partitions/1/last")).await.json();
    assert_eq!(last[0]["timestamp"], timestamp);
}

#[tokio::test]
async fn streamrs_way_takes_json_objects_only() {
    let rig = Rig::start();
    let check = async |kind: &str, body: &str, expected: (u16, &str)| {
        let headers = [("authorization", &*format!("Bearer {ALICE_KEY}")), ("content-type", kind)];
        let answer = rig.send("POST", &format!("/streams/{OPEN}"), &headers, body.to_owned()).await;
        assert_eq!(answer.error(), (expected.0, expected.1.to_owned()), "{body}");
    };
    check("application/json", "", (400, "MALFORMED_FRAME")).await;
    check("application/json", "{", (400, "MALFORMED_FRAME")).await;
    check("application/json", "[]", (400, "INVALID_ARGUMENT")).await;
    check("application/json", "1", (400, "INVALID_ARGUMENT")).await;
    check("application/json", "{}{}", (400, "MALFORMED_FRAME")).await;
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(1000), "]".repeat(1000));
    check("application/json", &deep, (400, "MALFORMED_FRAME")).await;
    check("text/plain", "{}", (415, "UNSUPPORTED_MEDIA_TYPE")).await;
    let answer = rig.send_as(ALICE_KEY, "POST", &format!("/streams/{ABSENT}"), json!({})).await;
    assert_eq!(answer.error(), (404, "STREAM_NOT_FOUND".into()));
}

#[tokio::test]
async fn concurrent_requests_share_batches_and_each_hears_of_its_own_events() {
    let rig = Rig::start();
    let at = OPEN.partition(Partition::ZERO);
    let now = now_ms();
    let submitted: Vec<_> = (0..1000)
        .map(|n| rig.publisher.submit(alice(), at, vec![json_event(now, n)], AckLevel::Stored).unwrap())
        .collect();
    let mut places = Vec::new();
    for submitted in submitted {
        let published = submitted.wait().await.unwrap();
        places.push((published.batch.to_string(), published.first_index));
    }
    let batches: std::collections::BTreeSet<_> = places.iter().map(|(batch, _)| batch.clone()).collect();
    assert!(batches.len() < 20, "{} batches for 1,000 events", batches.len());
    let page = rig.get(&format!("/streams/{OPEN}/history?limit=10000")).await.json();
    let events = page["events"].as_array().unwrap();
    assert_eq!(events.len(), 1000);
    for (n, (event, (batch, index))) in events.iter().zip(&places).enumerate() {
        assert_eq!(event["content"]["n"], n, "in the order of the calls");
        assert_eq!(event["id"], format!("{batch}/{index}"));
        assert_eq!(event["sequence"], n);
    }
}

#[tokio::test]
async fn one_wrong_timestamp_does_not_spoil_the_batch_for_others() {
    let rig = Rig::start();
    let at = OPEN.partition(Partition::ZERO);
    // Within 60 s of each other, on both sides of the window's edge.
    let edge = now_ms() - 300_000;
    let times = [edge + 20_000, edge - 20_000, edge + 21_000, edge + 22_000];
    let submitted = times
        .map(|time| rig.publisher.submit(alice(), at, vec![json_event(time, 0)], AckLevel::Stored).unwrap());
    let mut results = Vec::new();
    for submitted in submitted {
        results.push(submitted.wait().await.map_err(|refusal| refusal.code).err());
    }
    assert_eq!(results, [None, Some(Code::InvalidTimestamp), None, None]);
}

#[tokio::test]
async fn refusals_leave_the_series_whole_and_strangers_are_told() {
    let rig = Rig::start();
    let at = OPEN.partition(Partition::ZERO);
    let publish = async |who, timestamp| {
        let published =
            rig.publisher.publish(who, at, vec![json_event(timestamp, 0)], AckLevel::Stored).await;
        published.map_err(|refusal| refusal.code)
    };
    publish(alice(), now_ms()).await.unwrap();
    assert_eq!(publish(alice(), 0).await, Err(Code::InvalidTimestamp));
    publish(alice(), now_ms()).await.unwrap();
    assert_eq!(publish(http_support::bob(), now_ms()).await, Err(Code::MissingPermission));
    assert_eq!(publish(http_support::NODE, now_ms()).await, Err(Code::UnknownApiKey));
    let none = rig.publisher.publish(alice(), at, vec![], AckLevel::Stored).await;
    assert_eq!(none.map_err(|refusal| refusal.code), Err(Code::InvalidEventCount));
    let page = rig.get(&format!("/streams/{OPEN}/history")).await.json();
    let events = page["events"].as_array().unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["series"], events[1]["series"], "one series through all of it");
}

#[tokio::test]
async fn the_publishers_queue_takes_n_and_refuses_n_plus_1() {
    let publisher = PublisherConfig { queue_events_max: 10, ..PublisherConfig::default() };
    let rig = Rig::with(HttpConfig::default(), Config::default(), publisher);
    let at = OPEN.partition(Partition::ZERO);
    let submit = || rig.publisher.submit(alice(), at, vec![json_event(now_ms(), 0)], AckLevel::Stored);
    let taken: Vec<_> = (0..10).map(|_| submit().unwrap()).collect();
    assert_eq!(submit().unwrap_err().code, Code::Overloaded);
    for submitted in taken {
        submitted.wait().await.unwrap();
    }
    submit().unwrap().wait().await.unwrap();
}

#[tokio::test]
async fn a_series_too_many_closes_the_oldest_idle_one() {
    let publisher = PublisherConfig { series_max: 2, ..PublisherConfig::default() };
    let rig = Rig::with(HttpConfig::default(), Config::default(), publisher);
    for partition in [0, 1, 2, 0] {
        let at = OPEN.partition(Partition::try_from(partition).unwrap());
        rig.publisher.publish(alice(), at, vec![json_event(now_ms(), 0)], AckLevel::Stored).await.unwrap();
    }
    let page = rig.get(&format!("/streams/{OPEN}/history")).await.json();
    assert_ne!(page["events"][0]["series"], page["events"][1]["series"], "partition 0 began anew");
}

#[tokio::test]
async fn a_node_with_no_session_left_says_so_to_publishers() {
    let broker = Config { sessions_max: 0, ..Config::default() };
    let rig = Rig::with(HttpConfig::default(), broker, PublisherConfig::default());
    let answer = rig.send_as(ALICE_KEY, "POST", &format!("/streams/{OPEN}"), json!({})).await;
    assert_eq!(answer.error(), (429, "LIMIT_REACHED".into()));
    let batch = writer(1).seal(&[json_event(now_ms(), 1)]).unwrap();
    let answer = rig.post(&path(), OCTETS, batch.bytes().clone()).await;
    assert_eq!(answer.error(), (429, "LIMIT_REACHED".into()));
    let answer = rig.get(&format!("/streams/{OPEN}/history")).await;
    assert_eq!(answer.error(), (429, "LIMIT_REACHED".into()));
}

#[tokio::test]
async fn events_that_are_told_late_are_taken() {
    let rig = Rig::start();
    for timestamp in [now_ms(), now_ms() - 60_000, now_ms()] {
        let path = format!("/streams/{OPEN}?partition=0&timestamp={timestamp}");
        let answer = rig.send_as(ALICE_KEY, "POST", &path, json!({})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let page = rig.get(&format!("/streams/{OPEN}/history")).await.json();
    assert_eq!(page["events"].as_array().unwrap().len(), 3);
}

/// Signs for Alice with a type whose proofs take their time.
#[derive(Debug)]
struct Slow;

impl Slow {
    const TYPE: SignatureType = SignatureType(240);
}

impl SchemeSigner for Slow {
    fn signature_type(&self) -> SignatureType {
        Self::TYPE
    }

    fn origin(&self) -> Origin {
        Origin::ethereum(alice())
    }

    fn sign(&self, _: BatchId) -> Result<Vec<u8>, SignatureFault> {
        Ok(vec![1])
    }
}

/// What a batch is answered whose plugin is at work on something else, with room for so many pieces of work.
async fn answered_while_its_plugin_is_busy(queue_max: usize, answer_timeout_ms: u64) -> (u16, String, Value) {
    let config = WorkersConfig { threads: 2, plugin_threads: 1, queue_max, ..WorkersConfig::default() };
    let workers = Workers::with_plugins(&config, [Slow::TYPE]).unwrap();
    let http = HttpConfig { answer_timeout_ms, ..HttpConfig::default() };
    let verifier = Verifier::new(http_support::NETWORK);
    let rig = Rig::over(http, Config::default(), PublisherConfig::default(), workers, verifier);
    let (release, gate) = mpsc::channel::<()>();
    let mut held = rig.workers.of(Some(Slow::TYPE)).submit(move || gate.recv().is_ok()).await;
    let signer = Signer::scheme(Arc::new(Slow));
    let at = OPEN.partition(Partition::ZERO);
    let mut slow = SeriesWriter::new(http_support::NETWORK, at, signer, SeriesId(1));
    let batch = slow.seal(&[json_event(now_ms(), 1)]).unwrap();
    let path = path();
    let answer = rig.post(&path, OCTETS, batch.bytes().clone());
    let answer = tokio::time::timeout(Duration::from_secs(30), answer).await.expect("an answer");
    // Others' batches are taken meanwhile.
    let other = writer(2).seal(&[json_event(now_ms(), 2)]).unwrap();
    assert_eq!(rig.post(&path, OCTETS, other.bytes().clone()).await.status, 200);
    release.send(()).unwrap();
    assert_eq!(held.wait().await, Some(true));
    let (status, code) = answer.error();
    (status, code, answer.json()["message"].clone())
}

#[tokio::test]
async fn a_batch_whose_plugin_has_as_much_to_prove_as_may_wait_is_refused_at_once() {
    let (status, code, message) = answered_while_its_plugin_is_busy(1, 600_000).await;
    assert_eq!((status, &*code), (429, "OVERLOADED"), "{message}");
    assert!(message.as_str().unwrap().contains("this signature type"), "{message}");
}

#[tokio::test]
async fn a_batch_is_waited_for_no_longer_than_for_its_answer_though_it_is_not_proven_yet() {
    let (status, code, message) = answered_while_its_plugin_is_busy(2, 300).await;
    assert_eq!((status, &*code), (429, "OVERLOADED"), "{message}");
    assert!(message.as_str().unwrap().contains("was not proven in time"), "{message}");
}
