//! Requests to a server on this machine that answers well, badly, slowly or without end.
#![allow(clippy::wildcard_enum_match_arm, reason = "any other answer is wrong")]

mod server;

use super::{HttpAnswer, Web};
use crate::{
    Capability, Config, FailureCode, HttpHost,
    capability::{Answer, Meter, Privileges, Surroundings, answer},
};
use mainstem_plugin_abi::{plugin_capnp::host_request, write};
use server::Server;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// What a plugin asks for.
#[derive(Clone, Copy)]
struct Ask<'a> {
    method: &'a str,
    url: &'a str,
    headers: &'a [(&'a str, &'a str)],
    body: &'a [u8],
    bytes_max: u32,
}

const GET: Ask<'static> = Ask { method: "GET", url: "", headers: &[], body: &[], bytes_max: 10_000 };

/// A plugin that may reach these.
fn plugin(hosts: &[&str], config: &Config, web: Web) -> Privileges {
    let hosts = hosts.iter().map(|host| host.parse::<HttpHost>().unwrap()).collect();
    Privileges::new("guest".into(), [Capability::Http].into(), hosts, None, Surroundings::of(web), config)
}

fn plugin_of(server: &Server) -> Privileges {
    plugin(&[&server.url], &Config::default(), Web::new(4))
}

fn ask(plugin: &Privileges, ask: Ask<'_>) -> Result<HttpAnswer, (FailureCode, String)> {
    ask_with(plugin, ask, &mut Meter::new(u64::MAX, Instant::now() + Duration::from_millis(100)))
}

fn ask_with(
    plugin: &Privileges,
    ask: Ask<'_>,
    meter: &mut Meter,
) -> Result<HttpAnswer, (FailureCode, String)> {
    let segment = write::<host_request::Owned>(1_000 + ask.body.len() / 8, |request| {
        let mut http = request.init_http();
        http.set_method(ask.method);
        http.set_url(ask.url);
        http.set_body(ask.body);
        http.set_body_bytes_max(ask.bytes_max);
        let mut list = http.init_headers(ask.headers.len() as u32);
        for (index, (name, value)) in ask.headers.iter().enumerate() {
            let mut header = list.reborrow().get(index as u32);
            header.set_name(*name);
            header.set_value(*value);
        }
    });
    match answer(plugin, &segment, meter).unwrap() {
        Answer::Http(answer) => Ok(answer),
        Answer::Failed(code, message) => {
            println!("{message}");
            Err((code, message))
        }
        other => panic!("{other:?}"),
    }
}

/// The code that a path of the server is answered with, and how.
fn code(plugin: &Privileges, server: &Server, path: &str) -> FailureCode {
    let url = format!("{}{path}", server.url);
    ask(plugin, Ask { url: &url, ..GET }).expect_err(path).0
}

#[test]
fn a_request_goes_out_as_it_was_asked_for_and_its_answer_comes_back_whole() {
    let server = Server::start();
    let plugin = plugin_of(&server);
    let url = format!("{}/echo?a=b%20c", server.url);
    for (method, body) in [("GET", ""), ("PUT", "what is put"), ("POST", "x"), ("DELETE", ""), ("PUT", "")] {
        let headers = [("x-one", "1"), ("X-Two", "two words"), ("x-one", "again")];
        let asked = Ask { method, url: &url, headers: &headers, body: body.as_bytes(), ..GET };
        let answer = ask(&plugin, asked).unwrap();
        assert_eq!(answer.status, 200);
        let told =
            answer.headers.iter().filter(|(name, _)| name == "x-told").map(|(_, value)| value.as_str());
        assert_eq!(told.collect::<Vec<_>>(), ["yes", "twice"]);
        let heard = String::from_utf8(answer.body).unwrap().to_ascii_lowercase();
        let first = heard.lines().next().unwrap();
        assert_eq!(first, format!("{} /echo?a=b%20c http/1.1", method.to_ascii_lowercase()));
        for line in ["x-one: 1", "x-two: two words", "x-one: again", &format!("host: {}", server.authority())]
        {
            assert!(heard.contains(line), "{line} is not in {heard}");
        }
        assert!(heard.ends_with(&format!("\r\n\r\n{body}")), "{heard}");
    }
    let head = ask(&plugin, Ask { method: "HEAD", url: &url, ..GET }).unwrap();
    assert_eq!((head.status, head.body.len()), (200, 0));
    let url = format!("{}/empty", server.url);
    assert_eq!(ask(&plugin, Ask { url: &url, ..GET }).unwrap().status, 204);
    assert!(server.connections() <= 2, "connections are used again: {}", server.connections());
}

#[test]
fn a_server_that_was_not_granted_is_not_asked() {
    let (server, other) = (Server::start(), Server::start());
    let plugin = plugin_of(&server);
    let port = server.url.rsplit(':').next().unwrap();
    for url in [
        format!("{}/echo", other.url),
        format!("https://127.0.0.1:{port}/echo"),
        format!("http://localhost:{port}/echo"),
        format!("http://127.1:{port}/echo"),
        format!("http://[::ffff:127.0.0.1]:{port}/echo"),
        "http://127.0.0.1/echo".to_owned(),
    ] {
        let (code, message) = ask(&plugin, Ask { url: &url, ..GET }).unwrap_err();
        assert_eq!(code, FailureCode::Denied, "{url}");
        assert!(message.contains("is not granted"), "{message}");
    }
    assert_eq!((server.connections(), other.connections()), (0, 0));
}

#[test]
fn a_redirect_is_an_answer_and_nobody_follows_it() {
    let (server, other) = (Server::start(), Server::start());
    let plugin = plugin(&[&server.url, &other.url], &Config::default(), Web::new(4));
    let url = format!("{}/redirect?{}/echo", server.url, other.url);
    let answer = ask(&plugin, Ask { url: &url, ..GET }).unwrap();
    assert_eq!(answer.status, 307);
    assert!(answer.headers.contains(&("location".into(), format!("{}/echo", other.url))));
    assert_eq!(other.connections(), 0);
}

#[test]
fn a_name_that_leads_to_a_private_address_is_denied_unless_it_was_granted_so() {
    let server = Server::start();
    let port = server.url.rsplit(':').next().unwrap();
    let url = format!("http://localhost:{port}/empty");
    let denied = plugin(&[&format!("http://localhost:{port}")], &Config::default(), Web::new(4));
    let (code, message) = ask(&denied, Ask { url: &url, ..GET }).unwrap_err();
    assert_eq!(code, FailureCode::Denied);
    assert!(message.contains("private address") && message.contains("=private"), "{message}");
    assert_eq!(server.connections(), 0);
    let granted = plugin(&[&format!("http://localhost:{port}=private")], &Config::default(), Web::new(4));
    assert_eq!(ask(&granted, Ask { url: &url, ..GET }).unwrap().status, 204);
}

#[test]
fn a_body_up_to_the_bound_comes_whole_and_a_longer_one_not_at_all() {
    let server = Server::start();
    let config = Config { http_response_bytes_max: 20_000, ..Config::default() };
    let plugin = plugin(&[&server.url], &config, Web::new(4));
    let length = |path: &str, bytes: usize, bytes_max| {
        let url = format!("{}{path}?{bytes}", server.url);
        ask(&plugin, Ask { url: &url, bytes_max, ..GET }).map(|answer| answer.body.len()).map_err(|it| it.0)
    };
    for path in ["/length", "/chunked"] {
        assert_eq!(length(path, 9_999, 10_000), Ok(9_999));
        assert_eq!(length(path, 10_000, 10_000), Ok(10_000));
        assert_eq!(length(path, 10_001, 10_000), Err(FailureCode::Limit));
        assert_eq!(length(path, 20_000, u32::MAX), Ok(20_000));
        assert_eq!(length(path, 20_001, u32::MAX), Err(FailureCode::Limit));
        assert_eq!(length(path, 1, 0), Err(FailureCode::Limit));
        assert_eq!(length(path, 0, 0), Ok(0));
    }
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let server = Server::start();
    let plugin = plugin_of(&server);
    for (path, expected) in [
        ("/endless", FailureCode::Limit),
        ("/huge", FailureCode::Limit),
        ("/headers", FailureCode::Unavailable),
        ("/many-headers", FailureCode::Unavailable),
    ] {
        let begun = Instant::now();
        assert_eq!(code(&plugin, &server, path), expected, "{path}");
        assert!(begun.elapsed() < Duration::from_secs(9), "{path}: it was not the time that ended it");
    }
}

#[test]
fn an_answer_that_is_none_or_is_shorter_than_it_says_is_no_answer() {
    let server = Server::start();
    let plugin = plugin_of(&server);
    for path in ["/close", "/garbage", "/short", "/short-chunk", "/bad-chunk", "/two-lengths"] {
        assert_eq!(code(&plugin, &server, path), FailureCode::Unavailable, "{path}");
    }
    // What comes behind the length is no answer to the next request.
    let url = format!("{}/long", server.url);
    for _ in 0..3 {
        assert_eq!(ask(&plugin, Ask { url: &url, ..GET }).unwrap().body, b"right");
    }
    drop(server);
    let url = url.replace("/long", "/echo");
    assert!(ask(&plugin, Ask { url: &url, ..GET }).is_err(), "nobody listens any more");
}

#[test]
fn a_slow_answer_is_waited_for_as_long_as_configured_and_not_on_the_plugins_time() {
    let server = Server::start();
    let config = Config { http_wait_ms_max: 300, ..Config::default() };
    let plugin = plugin(&[&server.url], &config, Web::new(4));
    for path in ["/silent", "/drip"] {
        let url = format!("{}{path}", server.url);
        let until = Instant::now() + Duration::from_millis(100);
        let mut meter = Meter::new(u64::MAX, until);
        let (code, message) = ask_with(&plugin, Ask { url: &url, ..GET }, &mut meter).unwrap_err();
        assert_eq!(code, FailureCode::Unavailable, "{path}");
        assert!(message.contains("http_wait_ms_max, 300 ms"), "{message}");
        let waited = meter.waited();
        assert!(waited >= Duration::from_millis(300) && waited < Duration::from_secs(5), "{waited:?}");
        assert!(meter.until() >= until + waited);
    }
}

#[test]
fn one_request_more_than_may_be_under_way_is_refused_and_a_late_one_makes_room() {
    let server = Server::start();
    let config = Config { http_wait_ms_max: 2_000, ..Config::default() };
    let plugin = Arc::new(plugin(&[&server.url], &config, Web::new(1)));
    let (held, url) = (plugin.clone(), format!("{}/silent", server.url));
    let first = std::thread::spawn(move || ask(&held, Ask { url: &url, ..GET }));
    server.wait_for_request();
    let url = format!("{}/empty", server.url);
    let (code, message) = ask(&plugin, Ask { url: &url, ..GET }).unwrap_err();
    assert_eq!(code, FailureCode::Unavailable);
    assert!(message.contains("plugins.http_requests_max"), "{message}");
    assert!(first.join().unwrap().is_err());
    // The one that came too late is broken off on its own thread, in a moment.
    while ask(&plugin, Ask { url: &url, ..GET }).is_err() {}
}

#[test]
fn a_request_that_is_none_is_not_sent() {
    let server = Server::start();
    let plugin = plugin_of(&server);
    let url = format!("{}/echo", server.url);
    let fine = Ask { url: &url, ..GET };
    let code = |asked: Ask<'_>| ask(&plugin, asked).unwrap_err().0;
    for method in ["", "get", "PATCH", "CONNECT", "OPTIONS", "GET /\r\n"] {
        assert_eq!(code(Ask { method, ..fine }), FailureCode::Invalid, "{method:?}");
    }
    assert_eq!(code(Ask { body: b"x", ..fine }), FailureCode::Invalid);
    let authority = server.authority();
    for url in [
        String::new(),
        "/echo".into(),
        authority.into(),
        format!("ftp://{authority}/"),
        format!("http://user:pass@{authority}/"),
        format!("http://{authority}/a b"),
        format!("http://{authority}/\r\nx: y"),
        "http://".into(),
    ] {
        let asked = Ask { url: &url, ..GET };
        assert_eq!(code(asked), FailureCode::Invalid, "{url:?}");
    }
    for header in [
        ("", "x"),
        ("a b", "x"),
        ("a:", "x"),
        ("é", "x"),
        ("x", "a\r\nb: c"),
        ("x", "\0"),
        ("Host", "other.example"),
        ("content-length", "7"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
        ("upgrade", "x"),
        ("Proxy-Connection", "x"),
        ("expect", "100-continue"),
    ] {
        assert_eq!(code(Ask { headers: &[header], ..fine }), FailureCode::Invalid, "{header:?}");
    }
    let long = format!("{url}?{}", "a".repeat(8_192));
    assert_eq!(code(Ask { url: &long, ..GET }), FailureCode::Limit);
    assert_eq!(code(Ask { headers: &[("x", "y"); 65], ..fine }), FailureCode::Limit);
    let value = "v".repeat(8_192);
    assert_eq!(code(Ask { headers: &[("x", &value), ("y", &value)], ..fine }), FailureCode::Limit);
    assert_eq!(server.connections(), 0);
    assert!(ask(&plugin, Ask { headers: &[("x", "y"); 64], ..fine }).is_ok());
}

#[test]
fn what_is_not_granted_is_denied_and_no_host_is_none() {
    let server = Server::start();
    let none = plugin(&[], &Config::default(), Web::new(4));
    let url = format!("{}/echo", server.url);
    assert_eq!(ask(&none, Ask { url: &url, ..GET }).unwrap_err().0, FailureCode::Denied);
    let surroundings = Surroundings::of(Web::new(4));
    let hosts = [server.url.parse().unwrap()].into();
    let without = Privileges::new("guest".into(), [].into(), hosts, None, surroundings, &Config::default());
    let (code, message) = ask(&without, Ask { url: &url, ..GET }).unwrap_err();
    assert_eq!(code, FailureCode::Denied);
    assert!(message.contains("http is not granted"), "{message}");
    assert_eq!(server.connections(), 0);
}

#[test]
fn bodies_both_ways_and_waiting_cost_fuel() {
    let server = Server::start();
    let plugin = plugin_of(&server);
    let url = format!("{}/length?5000", server.url);
    let mut meter = Meter::new(1_000_000_000, Instant::now() + Duration::from_secs(1));
    ask_with(&plugin, Ask { method: "PUT", url: &url, body: &[1; 3_000], ..GET }, &mut meter).unwrap();
    let waited = u64::try_from(meter.waited().as_micros()).unwrap();
    assert_eq!(meter.fuel(), 1_000_000_000 - 100_000 - 3_000 - 5_000 - 4 * waited);
}

#[test]
fn a_server_that_does_not_answer_leaves_fuel_to_say_so() {
    let server = Server::start();
    let plugin = plugin_of(&server);
    let url = format!("{}/silent", server.url);
    // Enough for 400 ms.
    let fuel = 1_600_000;
    let mut meter = Meter::new(100_000 + fuel, Instant::now() + Duration::from_secs(1));
    let (code, message) = ask_with(&plugin, Ask { url: &url, ..GET }, &mut meter).unwrap_err();
    assert_eq!(code, FailureCode::Unavailable);
    assert!(message.contains("has fuel for, 300 ms"), "{message}");
    assert!(meter.fuel() > 0 && meter.fuel() <= fuel / 4, "{}", meter.fuel());
}

#[test]
fn https_is_spoken_with_a_server_whose_certificate_is_trusted_and_with_no_other() {
    let (server, certificate) = Server::with_tls();
    let url = format!("{}/empty", server.url);
    let grant = format!("{}=private", server.url);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let trusting = plugin(&[&grant], &Config::default(), Web::trusting(4, roots));
    assert_eq!(ask(&trusting, Ask { url: &url, ..GET }).unwrap().status, 204);
    let nobody = plugin(&[&grant], &Config::default(), Web::trusting(4, rustls::RootCertStore::empty()));
    let (code, message) = ask(&nobody, Ask { url: &url, ..GET }).unwrap_err();
    assert_eq!(code, FailureCode::Unavailable);
    assert!(message.contains("certificate"), "{message}");
}
