//! Who may talk to the node: `Host`, `Origin`, CORS, API keys (threats T11, T12).
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails loudly and skips what it does not ask about"
)]

mod http_support;

use axum::body::Body;
use http_support::{ALICE_KEY, BOB_KEY, CLOSED, OPEN, Rig, alice, bob};
use mainstem_api::{HttpConfig, PublisherConfig};
use mainstem_protocol::Config;

fn rig(allowed_origins: &[&str]) -> Rig {
    let allowed_origins = allowed_origins.iter().map(|origin| (*origin).to_owned()).collect();
    let http = HttpConfig { allowed_origins, ..HttpConfig::default() };
    Rig::with(http, Config::default(), PublisherConfig::default())
}

#[tokio::test]
async fn t12_only_hosts_on_the_list_are_answered() {
    let rig = rig(&[]);
    let check = async |host: &str, good: bool| {
        let answer = rig.send("GET", "/info", &[("host", host)], Body::empty()).await;
        if good {
            assert_eq!(answer.status, 200, "{host}");
        } else {
            assert_eq!(answer.error(), (403, "FORBIDDEN_ORIGIN".into()), "{host}");
        }
    };
    for host in ["localhost", "LOCALHOST:80", "127.0.0.1:7171", "[::1]:7171", "[::1]"] {
        check(host, true).await;
    }
    for host in [
        "",
        "evil.example",
        "evil.example:7171",
        "localhost.evil.example",
        "evil@localhost",
        "localhost:80:80",
        "127.0.0.2",
        "[::2]",
        "local host",
        "localhost/",
    ] {
        check(host, false).await;
    }
    let two =
        rig.send("GET", "/info", &[("host", "localhost"), ("host", "evil.example")], Body::empty()).await;
    assert_eq!(two.status, 403);
    let elsewhere = rig.send("GET", "/nothing", &[("host", "evil.example")], Body::empty()).await;
    assert_eq!(elsewhere.status, 403, "also where there is nothing");
}

#[tokio::test]
async fn t12_foreign_pages_change_nothing_and_open_no_socket() {
    let rig = rig(&["https://app.example"]);
    let key = format!("Bearer {ALICE_KEY}");
    let publish = async |origin: &str| {
        let headers = [("origin", origin), ("authorization", &*key), ("content-type", "application/json")];
        rig.send("POST", &format!("/streams/{OPEN}"), &headers, "{}").await.status.as_u16()
    };
    for (origin, expected) in [
        ("https://app.example", 200),
        ("HTTPS://APP.example", 200),
        ("http://localhost:7171", 200),
        ("http://localhost", 403),
        ("http://localhost:7172", 403),
        ("https://evil.example", 403),
        ("http://app.example", 403),
        ("https://app.example.evil.example", 403),
        ("https://app.example:8443", 403),
        ("null", 403),
        ("*", 403),
        ("", 403),
        ("file://", 403),
    ] {
        assert_eq!(publish(origin).await, expected, "{origin}");
    }
    for path in ["/ws".to_owned(), format!("/streams/{OPEN}/subscribe"), format!("/streams/{OPEN}/publish")] {
        let headers =
            [("origin", "https://evil.example"), ("upgrade", "websocket"), ("connection", "upgrade")];
        let answer = rig.send("GET", &path, &headers, Body::empty()).await;
        assert_eq!(answer.error(), (403, "FORBIDDEN_ORIGIN".into()), "{path}");
    }
}

#[tokio::test]
async fn t12_two_origins_are_foreign_even_when_the_first_is_listed() {
    let rig = rig(&["https://app.example"]);
    let headers = [("origin", "https://app.example"), ("origin", "https://evil.example")];
    assert_eq!(rig.send("POST", "/streams", &headers, "{}").await.error().0, 403);
}

#[tokio::test]
async fn only_listed_origins_may_read_answers() {
    let check = async |listed: &[&str], origin: &str, expected: Option<&str>| {
        let answer = rig(listed).send("GET", "/info", &[("origin", origin)], Body::empty()).await;
        assert_eq!(answer.status, 200);
        let allowed = answer.headers.get("access-control-allow-origin").map(|value| value.to_str().unwrap());
        assert_eq!(allowed, expected, "{listed:?} {origin}");
        assert_eq!(
            answer.headers.get("access-control-allow-credentials"),
            None,
            "there are no ambient credentials"
        );
        assert_eq!(answer.headers["vary"], "Origin");
    };
    check(&[], "https://app.example", None).await;
    check(&["https://app.example"], "https://app.example", Some("https://app.example")).await;
    check(&["https://app.example"], "https://evil.example", None).await;
    check(&["*"], "https://any.example", Some("*")).await;
    check(&["*", "https://app.example"], "https://app.example", Some("https://app.example")).await;
}

#[tokio::test]
async fn preflights_are_answered_for_who_may() {
    let check = async |listed: &[&str], origin: &str, method: &str, expected: u16| {
        let headers = [("origin", origin), ("access-control-request-method", method)];
        let answer = rig(listed).send("OPTIONS", "/streams", &headers, Body::empty()).await;
        assert_eq!(answer.status.as_u16(), expected, "{listed:?} {origin} {method}");
        answer
    };
    check(&[], "https://app.example", "POST", 403).await;
    let answer = check(&["https://app.example"], "https://app.example", "POST", 204).await;
    assert_eq!(answer.headers["access-control-allow-headers"], "authorization, content-type");
    check(&["*"], "https://any.example", "POST", 403).await;
    let answer = check(&["*"], "https://any.example", "GET", 204).await;
    assert_eq!(answer.headers.get("access-control-allow-headers"), None, "public reads take no key");
}

/// Every route, and who may use it: nobody's key, a wrong one, Bob's (who may read `CLOSED`), Alice's.
#[tokio::test]
async fn t11_every_route_has_its_place_in_the_table_of_rights() {
    let open = format!("/streams/{OPEN}");
    let closed = format!("/streams/{CLOSED}");
    let data = format!("{closed}/data/partitions/0");
    let grant = format!(r#"{{"user":"{}","permissions":["subscribe"]}}"#, bob());
    let table: &[(&str, String, &str, [u16; 4])] = &[
        ("GET", "/info".into(), "", [200, 200, 200, 200]),
        ("GET", "/network".into(), "", [200, 200, 200, 200]),
        ("GET", "/openapi.json".into(), "", [200, 200, 200, 200]),
        ("GET", "/streams".into(), "", [200, 200, 200, 200]),
        ("POST", "/streams".into(), "{}", [401, 403, 201, 201]),
        ("GET", closed.clone(), "", [200, 200, 200, 200]),
        ("POST", closed.clone(), "{}", [401, 403, 403, 200]),
        ("POST", open.clone(), "{}", [401, 403, 403, 200]),
        ("PUT", closed.clone(), "{}", [401, 403, 403, 200]),
        ("GET", format!("{closed}/permissions"), "", [200, 200, 200, 200]),
        ("POST", format!("{closed}/permissions"), &grant, [401, 403, 403, 200]),
        ("GET", format!("{closed}/permissions/{}", bob()), "", [200, 200, 200, 200]),
        ("DELETE", format!("{closed}/permissions/{}", alice()), "", [401, 403, 403, 204]),
        ("POST", format!("{closed}/batches"), "{}", [400, 400, 400, 400]),
        ("GET", format!("{open}/history"), "", [200, 403, 200, 200]),
        ("GET", format!("{closed}/history"), "", [403, 403, 200, 200]),
        ("GET", format!("{data}/last"), "", [403, 403, 200, 200]),
        ("GET", format!("{data}/from?fromTimestamp=0"), "", [403, 403, 200, 200]),
        ("GET", format!("{data}/range?fromTimestamp=0&toTimestamp=1"), "", [403, 403, 200, 200]),
        ("GET", format!("{closed}/subscribe"), "", [403, 403, 426, 426]),
        ("GET", format!("{closed}/subscribe?apiKey=wrong"), "", [403, 403, 403, 403]),
        ("GET", format!("{closed}/publish"), "", [401, 403, 403, 426]),
        ("DELETE", closed.clone(), "", [401, 403, 403, 204]),
    ];
    let rig = rig(&[]);
    for (method, path, body, expected) in table {
        for (key, expected) in [None, Some("wrong"), Some(BOB_KEY), Some(ALICE_KEY)].iter().zip(expected) {
            let authorization = key.map(|key| format!("Bearer {key}"));
            let mut headers = vec![("content-type", "application/json")];
            headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
            let answer = rig.send(method, path, &headers, body.to_string()).await;
            assert_eq!(answer.status.as_u16(), *expected, "{method} {path} as {key:?}: {answer:?}");
            if *expected == 401 {
                assert_eq!(answer.error().1, "MISSING_API_KEY");
                assert_eq!(answer.headers["www-authenticate"], "Bearer");
            }
        }
    }
}

#[tokio::test]
async fn an_authorization_header_that_is_no_api_key_counts_as_none() {
    let rig = rig(&[]);
    for value in ["", "Bearer", "Bearer ", "Basic YTpi", "alice"] {
        let headers = [("authorization", value), ("content-type", "application/json")];
        let answer = rig.send("POST", "/streams", &headers, "{}").await;
        assert_eq!(answer.error(), (401, "MISSING_API_KEY".into()), "{value:?}");
    }
}

#[tokio::test]
async fn one_request_too_many_is_told_so() {
    let http = HttpConfig { requests_max: 0, ..HttpConfig::default() };
    let rig = Rig::with(http, Config::default(), PublisherConfig::default());
    let answer = rig.get("/info").await;
    assert_eq!(answer.error(), (429, "OVERLOADED".into()));
    assert_eq!(answer.headers["retry-after"], "1");
}
