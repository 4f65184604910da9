//! The document, the errors that every route shares, streams and permissions.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails loudly and skips what it does not ask about"
)]

mod http_support;

use http_support::{ABSENT, ALICE_KEY, BOB_KEY, CLOSED, OPEN, Rig, alice, bob};
use mainstem_api::http;
use serde_json::{Value, json};

/// `UPDATE=1 cargo test -p mainstem-api` rewrites the file; the change is reviewed like code.
#[test]
fn the_document_is_the_golden_file() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let document = http::document();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &document).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert!(golden == document, "openapi.json is stale: run with UPDATE=1 and review the difference");
}

#[test]
fn every_reference_of_the_document_leads_somewhere_and_every_error_has_its_body() {
    let document: Value = serde_json::from_str(&http::document()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    check_references(&document, &document);
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let schema = &response["content"]["application/json"]["schema"]["$ref"];
                let is_error = status.as_str() >= "400";
                assert_eq!(schema == "#/components/schemas/Error", is_error, "{method} {path} {status}");
            }
        }
    }
}

fn check_references(document: &Value, value: &Value) {
    if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
        let target = document.pointer(reference.strip_prefix('#').unwrap());
        assert!(target.is_some(), "{reference} leads nowhere");
    }
    let children: Vec<&Value> = match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => vec![],
    };
    children.into_iter().for_each(|child| check_references(document, child));
}

#[tokio::test]
async fn info_tells_the_network_and_every_limit() {
    let rig = Rig::start();
    let info = rig.get("/info").await.json();
    assert_eq!(info["network"]["chainId"], 31337);
    assert_eq!(info["network"]["id"], http_support::NETWORK.id().to_string());
    assert_eq!(info["limits"]["format"]["batch_bytes_max"], mainstem_model::limits::BATCH_BYTES_MAX);
    assert_eq!(info["limits"]["broker"]["timestamp_window_ms"], 300_000);
    assert_eq!(info["limits"]["http"]["history_events_max"], 10_000);
    assert_eq!(info["limits"]["publisher"]["series_max"], 4096);
}

#[tokio::test]
async fn a_broker_that_is_alone_tells_of_itself_only() {
    let rig = Rig::start();
    let told = rig.get("/network").await.json();
    assert_eq!(told["broker"]["address"], http_support::NODE.to_string());
    assert_eq!(told["broker"]["ready"], true);
    assert_eq!((&told["broker"]["epoch"], &told["broker"]["replicas"]), (&json!(0), &json!(1)));
    for list in ["peers", "kept", "links"] {
        assert_eq!(told[list], json!([]), "{list}");
    }
    assert_eq!((&told["counts"]["peers"], &told["truncated"]), (&json!(0), &json!(false)));
    assert_eq!(rig.get("/info").await.json()["limits"]["http"]["network_items_max"], 1_000);
}

#[tokio::test]
async fn errors_have_one_body_on_every_way_of_going_wrong() {
    let rig = Rig::start();
    let check = async |method: &str, path: &str, expected: (u16, &str)| {
        let answer = rig.send(method, path, &[], "").await;
        assert_eq!(answer.error(), (expected.0, expected.1.to_owned()), "{method} {path}");
        answer
    };
    check("GET", "/nothing", (404, "NOT_FOUND")).await;
    check("GET", "/", (404, "NOT_FOUND")).await;
    let answer = check("PATCH", "/streams", (405, "METHOD_NOT_ALLOWED")).await;
    let allowed = answer.headers["allow"].to_str().unwrap().to_owned();
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
    check("OPTIONS", "/info", (405, "METHOD_NOT_ALLOWED")).await;
    check("GET", "/info?x=1", (400, "INVALID_ARGUMENT")).await;
    check("GET", "/network?x=1", (400, "INVALID_ARGUMENT")).await;
    check("GET", "/openapi.json?x=1", (400, "INVALID_ARGUMENT")).await;
    check("GET", "/streams?limit=0", (400, "INVALID_ARGUMENT")).await;
    check("GET", "/streams?limit=1001", (400, "INVALID_ARGUMENT")).await;
    check("GET", "/streams?limit=x", (400, "INVALID_ARGUMENT")).await;
    check("GET", "/streams?limit=1&limit=2", (400, "INVALID_ARGUMENT")).await;
    check("GET", "/streams?right=own", (400, "INVALID_ARGUMENT")).await;
    check("GET", "/streams/0x12", (400, "INVALID_STREAM_ID")).await;
    check("GET", "/streams/%FF", (400, "INVALID_ARGUMENT")).await;
    check("GET", &format!("/streams/{ABSENT}"), (404, "STREAM_NOT_FOUND")).await;
    check("GET", &format!("/streams/{}%2Fnone", alice()), (404, "STREAM_NOT_FOUND")).await;
    check("GET", &format!("/streams/{OPEN}/permissions/me"), (400, "INVALID_ARGUMENT")).await;
    check("GET", &format!("/streams/{OPEN}/data/partitions/100/last"), (400, "INVALID_PARTITION")).await;
    check("GET", &format!("/streams/{OPEN}/data/partitions/3/last"), (400, "INVALID_PARTITION")).await;
    check("GET", &format!("/streams/{OPEN}/subscribe"), (426, "INVALID_ARGUMENT")).await;
}

#[tokio::test]
async fn json_errors_name_the_field() {
    let rig = Rig::start();
    let check = async |body: &str, expected: (u16, &str), part: &str| {
        let headers =
            [("authorization", &*format!("bearer {ALICE_KEY}")), ("content-type", "application/json")];
        let answer = rig.send("POST", "/streams", &headers, body.to_owned()).await;
        assert_eq!(answer.error(), (expected.0, expected.1.to_owned()), "{body}");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(part), "{message}");
    };
    check("", (400, "MALFORMED_FRAME"), "the body").await;
    check("{", (400, "MALFORMED_FRAME"), "the body").await;
    check("{} {}", (400, "MALFORMED_FRAME"), "behind").await;
    check("[]", (400, "INVALID_ARGUMENT"), "the body").await;
    check(r#"{"grants":[{"user":1}]}"#, (400, "INVALID_ARGUMENT"), "grants").await;
    check(r#"{"partitions":0}"#, (400, "INVALID_ARGUMENT"), "partitions").await;
    check(r#"{"partitions":101}"#, (400, "INVALID_ARGUMENT"), "partitions").await;
    check(r#"{"path":"/a"}"#, (400, "INVALID_ARGUMENT"), "path").await;
    check(r#"{"path":"weather/berlin"}"#, (409, "INVALID_ARGUMENT"), "path").await;
    check(r#"{"public":["edit"]}"#, (400, "INVALID_ARGUMENT"), "public").await;
    let long = json!({ "description": "x".repeat(4096) }).to_string();
    check(&long, (413, "INVALID_ARGUMENT"), "4096").await;
}

#[tokio::test]
async fn metadata_of_exactly_the_limit_is_taken() {
    let rig = Rig::start();
    let text = |length: usize| json!({ "description": "x".repeat(length - r#"{"description":""}"#.len()) });
    assert_eq!(text(4096).to_string().len(), 4096);
    assert_eq!(rig.send_as(ALICE_KEY, "POST", "/streams", text(4096)).await.status, 201);
    assert_eq!(rig.send_as(ALICE_KEY, "POST", "/streams", text(4097)).await.status, 413);
}

#[tokio::test]
async fn a_stream_is_created_changed_found_and_removed() {
    let rig = Rig::start();
    let body = json!({
        "path": "tram/positions", "description": "Trams", "partitions": 5, "storageDays": 7, "vendor": {"id": 7},
        "config": {"fields": [{"name": "lat", "type": "number"}]},
        "public": ["subscribe"], "grants": [{"user": bob().to_string(), "permissions": ["publish"]}],
    });
    let answer = rig.send_as(BOB_KEY, "POST", "/streams", body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let stream = answer.json();
    let id = stream["id"].as_str().unwrap();
    assert_eq!(answer.headers["location"], format!("/streams/{id}"));
    assert_eq!(stream["owner"], bob().to_string());
    assert_eq!(stream["partitions"], 5);
    assert_eq!(stream["metadata"]["vendor"]["id"], 7);
    let by_alias = rig.get(&format!("/streams/{}%2Ftram%2Fpositions", bob())).await.json();
    assert_eq!(by_alias, stream);

    let found = rig.get("/streams?term=TRAM").await.json();
    assert_eq!(found["streams"], json!([stream]));
    let found = rig.get(&format!("/streams?owner={}&public=true", bob())).await.json();
    assert_eq!(found["streams"], json!([stream]));

    let path = format!("/streams/{id}");
    assert_eq!(rig.send_as(ALICE_KEY, "PUT", &path, json!({})).await.error().0, 403);
    let changed = rig.send_as(BOB_KEY, "PUT", &path, json!({"partitions": 2})).await.json();
    assert_eq!(changed["partitions"], 2);
    assert_eq!(rig.send_as(ALICE_KEY, "DELETE", &path, json!({})).await.error().0, 403);
    assert_eq!(rig.send_as(BOB_KEY, "DELETE", &path, json!({})).await.status, 204);
    assert_eq!(rig.get(&path).await.status, 404);
}

#[tokio::test]
async fn search_gives_pages_by_id() {
    let rig = Rig::start();
    for n in 0..7 {
        rig.send_as(ALICE_KEY, "POST", "/streams", json!({"n": n})).await;
    }
    let (mut cursor, mut ids) = (String::new(), Vec::new());
    loop {
        let page = rig.get(&format!("/streams?limit=2{cursor}")).await.json();
        let streams = page["streams"].as_array().unwrap();
        assert!(streams.len() <= 2);
        ids.extend(streams.iter().map(|stream| stream["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(ids.len(), 9);
    assert!(ids.is_sorted());
}

#[tokio::test]
async fn search_by_user_counts_what_everyone_may_unless_told_not_to() {
    let rig = Rig::start();
    let ids = async |query: String| {
        let page = rig.get(&format!("/streams?{query}")).await.json();
        page["streams"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let (open, closed) = (OPEN.to_string(), CLOSED.to_string());
    assert_eq!(ids(format!("user={}", bob())).await, [open.clone(), closed.clone()]);
    assert_eq!(ids(format!("user={}&public=false", bob())).await, std::slice::from_ref(&closed));
    assert_eq!(ids(format!("user={}&right=publish", bob())).await, [""; 0]);
    assert_eq!(ids(format!("user={}&right=grant", alice())).await, [open.clone(), closed.clone()]);
    assert_eq!(ids("public=true".into()).await, [open]);
    assert_eq!(ids("public=false".into()).await, [closed]);
}

#[tokio::test]
async fn permissions_are_granted_listed_and_revoked() {
    let rig = Rig::start();
    let path = format!("/streams/{CLOSED}/permissions");
    let grant =
        json!({"user": bob().to_string(), "permissions": ["publish"], "expiresAt": "2100-01-01T00:00:00Z"});
    assert_eq!(
        rig.send_as(BOB_KEY, "POST", &path, grant.clone()).await.error(),
        (403, "MISSING_PERMISSION".into())
    );
    let granted = rig.send_as(ALICE_KEY, "POST", &path, grant).await.json();
    assert_eq!(granted["permissions"], json!(["publish", "subscribe"]), "it is added to what Bob had");
    assert_eq!(granted["publishExpiresAt"], "2100-01-01T00:00:00.000Z");
    assert_eq!(granted.get("subscribeExpiresAt"), None);
    let one = rig.get(&format!("{path}/{}", bob())).await.json();
    assert_eq!(one["granted"], granted);
    let list = rig.get(&path).await.json();
    assert_eq!(list["permissions"].as_array().unwrap().len(), 2);

    let everyone = json!({"public": true, "permissions": ["subscribe"]});
    assert_eq!(rig.send_as(ALICE_KEY, "POST", &path, everyone).await.status, 200);
    assert_eq!(rig.get(&format!("{path}/public")).await.json()["permissions"], json!(["subscribe"]));
    assert_eq!(rig.send_as(ALICE_KEY, "DELETE", &format!("{path}/public"), json!({})).await.status, 204);
    assert_eq!(rig.get(&format!("{path}/public")).await.json()["permissions"], json!([]));

    let mine = format!("{path}/{}", bob());
    assert_eq!(
        rig.send_as(BOB_KEY, "DELETE", &mine, json!({})).await.status,
        204,
        "anybody drops own rights"
    );
    assert_eq!(rig.get(&mine).await.json()["permissions"], json!([]));
}

#[tokio::test]
async fn grants_that_make_no_sense_are_refused() {
    let rig = Rig::start();
    let check = async |grant: Value| {
        let answer =
            rig.send_as(ALICE_KEY, "POST", &format!("/streams/{CLOSED}/permissions"), grant.clone()).await;
        assert_eq!(answer.error(), (400, "INVALID_ARGUMENT".into()), "{grant}");
    };
    let user = bob().to_string();
    check(json!({"permissions": ["publish"]})).await;
    check(json!({"user": user, "public": true, "permissions": ["publish"]})).await;
    check(json!({"user": user, "permissions": []})).await;
    check(json!({"user": user, "permissions": ["own"]})).await;
    check(json!({"user": user, "permissions": ["edit"], "expiresAt": 1_900_000_000_000_i64})).await;
    check(json!({"public": true, "permissions": ["edit"]})).await;
    check(json!({"user": "0x0000000000000000000000000000000000000000", "permissions": ["publish"]})).await;
    check(json!({"user": user, "permissions": ["publish"], "more": 1})).await;
}
