//! History over HTTP: our pages and Streamr's shapes.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails loudly and skips what it does not ask about"
)]

mod http_support;

use http_support::{ALICE_KEY, CLOSED, OPEN, Rig, alice, json_event, now_ms, writer};
use mainstem_api::{HttpConfig, PublisherConfig};
use mainstem_model::{Batch, ContentType, EncryptionType, NewEvent};
use mainstem_protocol::Config;
use serde_json::{Value, json};

/// Publishes `batches` batches of `size` events, one millisecond apart, beginning at `start`; they count from 0.
async fn fill(rig: &Rig, start: i64, batches: u64, size: u64) -> Vec<Batch> {
    let mut series = writer(7);
    let mut made = Vec::new();
    for n in 0..batches {
        let events: Vec<_> = (n * size..(n + 1) * size).map(|n| json_event(start + n as i64, n)).collect();
        let batch = series.seal(&events).unwrap();
        let path = format!("/streams/{OPEN}/batches");
        assert_eq!(rig.post(&path, "application/octet-stream", batch.bytes().clone()).await.status, 200);
        made.push(batch);
    }
    made
}

fn numbers(events: &Value) -> Vec<u64> {
    events.as_array().unwrap().iter().map(|event| event["content"]["n"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn pages_of_every_size_tell_each_event_once() {
    let rig = Rig::start();
    fill(&rig, now_ms() - 1000, 7, 9).await;
    for limit in [1, 2, 8, 9, 10, 62, 63, 64, 10_000] {
        let (mut cursor, mut told) = (String::new(), Vec::new());
        loop {
            let page = rig.get(&format!("/streams/{OPEN}/history?limit={limit}{cursor}")).await.json();
            let numbers = numbers(&page["events"]);
            assert!(numbers.len() <= limit);
            told.extend(numbers);
            if page["complete"] == true {
                break;
            }
            cursor = format!("&cursor={}", page["next"].as_str().unwrap());
        }
        assert_eq!(told, (0..63).collect::<Vec<_>>(), "limit {limit}");
    }
}

#[tokio::test]
async fn the_cursor_of_a_complete_page_goes_on_with_what_came_since() {
    let rig = Rig::start();
    let empty = rig.get(&format!("/streams/{OPEN}/history")).await.json();
    assert_eq!((&empty["events"], &empty["complete"]), (&json!([]), &json!(true)));
    fill(&rig, now_ms() - 1000, 2, 5).await;
    let path = |page: &Value| format!("/streams/{OPEN}/history?cursor={}", page["next"].as_str().unwrap());
    let page = rig.get(&path(&empty)).await.json();
    assert_eq!(numbers(&page["events"]), (0..10).collect::<Vec<_>>());
    let page = rig.get(&path(&page)).await.json();
    assert_eq!(page["events"], json!([]));
    rig.send_as(ALICE_KEY, "POST", &format!("/streams/{OPEN}?partition=0"), json!({"n": 10})).await;
    let page = rig.get(&path(&page)).await.json();
    assert_eq!(numbers(&page["events"]), [10]);
}

#[tokio::test]
async fn ranges_and_last_and_publishers_select() {
    let rig = Rig::start();
    let start = now_ms() - 1000;
    fill(&rig, start, 4, 5).await;
    let told = async |query: String| {
        let page = rig.get(&format!("/streams/{OPEN}/history?{query}")).await.json();
        numbers(&page["events"])
    };
    assert_eq!(told(format!("from={}&to={}", start + 3, start + 7)).await, [3, 4, 5, 6, 7]);
    assert_eq!(told(format!("from={}", start + 18)).await, [18, 19]);
    assert_eq!(told("last=7".into()).await, [13, 14, 15, 16, 17, 18, 19]);
    assert_eq!(told("last=100".into()).await.len(), 20);
    assert_eq!(told(format!("publisher={}", alice())).await.len(), 20);
    assert_eq!(told(format!("publisher={}", http_support::bob())).await.len(), 0);
    let check = async |query: &str, expected: (u16, &str)| {
        let answer = rig.get(&format!("/streams/{OPEN}/history?{query}")).await;
        assert_eq!(answer.error(), (expected.0, expected.1.to_owned()), "{query}");
    };
    check("from=2&to=1", (400, "INVALID_ARGUMENT")).await;
    check("last=0", (400, "INVALID_ARGUMENT")).await;
    check("limit=0", (400, "INVALID_ARGUMENT")).await;
    check("limit=10001", (400, "INVALID_ARGUMENT")).await;
    check("cursor=00", (400, "INVALID_CURSOR")).await;
    check(&format!("cursor=01{}", "00".repeat(18)), (400, "INVALID_CURSOR")).await;
    check("partition=3", (400, "INVALID_PARTITION")).await;
    check("publisher=me", (400, "INVALID_ARGUMENT")).await;
}

#[tokio::test]
async fn a_page_ends_at_its_bound_of_bytes_and_goes_on() {
    let http = HttpConfig { history_bytes_max: 1, ..HttpConfig::default() };
    let rig = Rig::with(http, Config::default(), PublisherConfig::default());
    fill(&rig, now_ms() - 1000, 3, 5).await;
    let page = rig.get(&format!("/streams/{OPEN}/history")).await.json();
    assert_eq!((page["complete"].clone(), numbers(&page["events"])), (json!(false), vec![0, 1, 2, 3, 4]));
}

#[tokio::test]
async fn content_is_told_as_what_it_is() {
    let rig = Rig::start();
    let event = |kind, sealed, content: &'static [u8]| NewEvent {
        timestamp: now_ms(),
        content_type: ContentType(kind),
        encryption_type: EncryptionType(sealed),
        content: content.into(),
    };
    let batch = writer(1)
        .seal(&[
            event(1, 0, b"[1.0]"),
            event(1, 0, b"{not json"),
            event(1, 7, b"{}"),
            event(2, 0, b"{}"),
            event(3, 0, "grüß".as_bytes()),
            event(3, 0, &[0xff]),
        ])
        .unwrap();
    rig.post(&format!("/streams/{OPEN}/batches"), "application/octet-stream", batch.bytes().clone()).await;
    let page = rig.get(&format!("/streams/{OPEN}/history")).await.json();
    let contents: Vec<_> = page["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event.get("content").cloned(), event.get("contentHex").cloned()))
        .collect();
    let hex = |bytes: &[u8]| (None, Some(json!(format!("0x{}", hex::encode(bytes)))));
    assert_eq!(
        contents,
        [
            (Some(json!([1.0])), None),
            hex(b"{not json"),
            hex(b"{}"),
            hex(b"{}"),
            (Some(json!("grüß")), None),
            hex(&[0xff]),
        ]
    );
    let last = rig.get(&format!("/streams/{OPEN}/data/partitions/0/last?count=6")).await.json();
    let contents: Vec<_> =
        last.as_array().unwrap().iter().map(|message| message["content"].clone()).collect();
    let hex = |bytes: &[u8]| json!(hex::encode(bytes));
    let expected =
        [json!([1.0]), hex(b"{not json"), hex(b"{}"), hex(b"{}"), hex("grüß".as_bytes()), hex(&[0xff])];
    assert_eq!(contents, expected);
}

#[tokio::test]
async fn streamrs_shapes_have_streamrs_fields() {
    let rig = Rig::start();
    let start = now_ms() - 1000;
    let batches = fill(&rig, start, 2, 3).await;
    let last = rig.get(&format!("/streams/{OPEN}/data/partitions/0/last")).await;
    assert_eq!(last.headers["content-type"], "application/json");
    let expected = json!([{
        "streamId": OPEN.to_string(), "streamPartition": 0, "timestamp": start + 5, "sequenceNumber": 5,
        "publisherId": alice().to_string(), "msgChainId": "0000000000000007", "messageType": 27, "contentType": 0,
        "encryptionType": 0, "content": {"n": 5}, "signature": hex::encode(batches[1].signature()),
    }]);
    assert_eq!(last.json(), expected);
}

#[tokio::test]
async fn streamrs_shapes_select_by_time_sequence_publisher_and_chain() {
    let rig = Rig::start();
    let start = now_ms() - 1000;
    fill(&rig, start, 4, 5).await;
    let told = async |query: String| {
        let answer = rig.get(&format!("/streams/{OPEN}/data/partitions/0/{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        numbers(&answer.json())
    };
    let at = |n: i64| start + n;
    assert_eq!(told("last?count=2".into()).await, [18, 19]);
    assert_eq!(told("last?count=10000".into()).await.len(), 20);
    assert_eq!(told(format!("from?fromTimestamp={}", at(17))).await, [17, 18, 19]);
    assert_eq!(told(format!("from?fromTimestamp={}&fromSequenceNumber=18", at(17))).await, [18, 19]);
    assert_eq!(told(format!("from?fromTimestamp=0&publisherId={}", http_support::bob())).await, [0; 0]);
    assert_eq!(told(format!("range?fromTimestamp={}&toTimestamp={}", at(1), at(2))).await, [1, 2]);
    assert_eq!(
        told(format!("range?fromTimestamp={}&toTimestamp={}&toSequenceNumber=1", at(1), at(2))).await,
        [1]
    );
    let mine = format!("range?fromTimestamp={}&toTimestamp={}&publisherId={}", at(1), at(2), alice());
    assert_eq!(told(format!("{mine}&msgChainId=0000000000000007")).await, [1, 2]);
    assert_eq!(told(format!("{mine}&msgChainId=0000000000000008")).await, [0; 0]);
    let check = async |query: &str| {
        let answer = rig.get(&format!("/streams/{OPEN}/data/partitions/0/{query}")).await;
        assert_eq!(answer.error(), (400, "INVALID_ARGUMENT".into()), "{query}");
        answer.json()["message"].as_str().unwrap().to_owned()
    };
    check("last?count=0").await;
    check("last?count=10001").await;
    check("last?count=x").await;
    check("last?format=xml").await;
    assert!(check("last?format=raw").await.contains("format=batch"));
    check("from").await;
    check("range?fromTimestamp=1").await;
    check("range?fromTimestamp=2&toTimestamp=1").await;
    check(&mine).await;
    check("range?fromTimestamp=1&toTimestamp=2&msgChainId=0000000000000007").await;
}

#[tokio::test]
async fn batches_are_told_as_they_were_signed() {
    let rig = Rig::start();
    let batches = fill(&rig, now_ms() - 1000, 3, 5).await;
    let answer =
        rig.get(&format!("/streams/{OPEN}/data/partitions/0/from?fromTimestamp=0&format=batch")).await;
    assert_eq!(answer.headers["content-type"], "application/octet-stream");
    let expected: Vec<u8> = batches
        .iter()
        .flat_map(|batch| [&(batch.bytes().len() as u32).to_le_bytes()[..], batch.bytes()].concat())
        .collect();
    assert_eq!(answer.body, expected);
    let none = rig.get(&format!("/streams/{OPEN}/data/partitions/1/last?format=batch")).await;
    assert!(none.body.is_empty());
    let none = rig.get(&format!("/streams/{OPEN}/data/partitions/1/last")).await;
    assert_eq!(none.json(), json!([]));
}

#[tokio::test]
async fn readers_beyond_the_bound_are_told_to_wait() {
    let http = HttpConfig { history_readers_max: 0, ..HttpConfig::default() };
    let rig = Rig::with(http, Config::default(), PublisherConfig::default());
    for path in ["history", "data/partitions/0/last"] {
        let answer = rig.get(&format!("/streams/{OPEN}/{path}")).await;
        assert_eq!(answer.error(), (429, "OVERLOADED".into()));
    }
}

#[tokio::test]
async fn sessions_of_requests_are_closed_again() {
    let broker = Config { sessions_max: 3, ..Config::default() };
    let rig = Rig::with(HttpConfig::default(), broker, PublisherConfig::default());
    fill(&rig, now_ms() - 1000, 5, 5).await;
    for _ in 0..20 {
        for path in [
            format!("{OPEN}/history?limit=1"),
            format!("{OPEN}/data/partitions/0/last"),
            format!("{CLOSED}/history"),
        ] {
            let answer = rig.get(&format!("/streams/{path}")).await;
            assert_ne!(answer.status, 429, "{answer:?}");
            tokio::task::yield_now().await;
        }
    }
}
