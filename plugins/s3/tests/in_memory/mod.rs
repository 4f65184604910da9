//! A server in memory that answers as S3 does, and the plugin over it.
#![allow(dead_code, reason = "each test uses some of it")]

use mainstem_plugin_s3::Plugin;
use mainstem_plugin_sdk::{
    Failure, HttpRequest, HttpResponse, Query, Record,
    harness::{Harness, Node},
};
use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

const NO_SUCH_KEY: &[u8] = b"<Error><Code>NoSuchKey</Code></Error>";

/// Objects by their paths, requests so far, and what they are answered with, from the last on; 0 as it is right.
#[derive(Debug, Default)]
pub(crate) struct Server {
    pub(crate) objects: BTreeMap<String, Vec<u8>>,
    pub(crate) asked: Vec<String>,
    /// Bytes of objects that were given so far.
    pub(crate) given: usize,
    pub(crate) faults: Vec<u16>,
    /// What reads are answered with instead, from the last on.
    pub(crate) instead: Vec<(u16, Vec<u8>)>,
    /// So many writes from now on are done and answered with 503.
    pub(crate) unanswered: usize,
    /// After so many requests none is heard any more.
    pub(crate) ends_after: Option<usize>,
}

pub(crate) type Shared = Rc<RefCell<Server>>;

impl Server {
    fn answer(&mut self, request: &HttpRequest<'_>) -> HttpResponse {
        let response =
            |status, body: &[u8]| HttpResponse { status, headers: Vec::new(), body: body.to_vec() };
        let path = request.url.strip_prefix("http://s3.example/bucket").unwrap();
        let range = request.headers.iter().find(|(name, _)| *name == "range").map(|(_, value)| *value);
        self.asked.push(format!("{} {path}{}", request.method, range.map_or("", |_| " range")));
        if self.ends_after.is_some_and(|most| self.asked.len() > most) {
            return response(503, b"");
        }
        if let Some(status) = self.faults.pop().filter(|status| *status > 0) {
            let code = if status == 403 { "AccessDenied" } else { "SlowDown" };
            return response(status, format!("<Error><Code>{code}</Code></Error>").as_bytes());
        }
        match (request.method, path.strip_prefix('/')) {
            ("GET", None) => {
                let after = path.split("continuation-token=").nth(1).unwrap_or_default().replace("%2F", "/");
                let rest: Vec<_> = self.objects.iter().filter(|(name, _)| **name > after).collect();
                // Pages of three, so that there are some.
                let (page, more) = rest.split_at(rest.len().min(3));
                let mut xml = format!("<ListBucketResult><IsTruncated>{}</IsTruncated>", !more.is_empty());
                for (name, bytes) in page {
                    let size = bytes.len();
                    xml += &format!("<Contents><Key>{name}</Key><Size>{size}</Size></Contents>");
                }
                if let Some((last, _)) = page.last().filter(|_| !more.is_empty()) {
                    xml += &format!("<NextContinuationToken>{last}</NextContinuationToken>");
                }
                response(200, (xml + "</ListBucketResult>").as_bytes())
            }
            ("GET", Some(name)) => {
                if let Some((status, body)) = self.instead.pop() {
                    return response(status, &body);
                }
                let Some(bytes) = self.objects.get(name) else { return response(404, NO_SUCH_KEY) };
                let (from, last) = range.unwrap().strip_prefix("bytes=").unwrap().split_once('-').unwrap();
                let (from, last): (usize, usize) = (from.parse().unwrap(), last.parse().unwrap());
                match bytes.get(from..bytes.len().min(last + 1)) {
                    Some(part) if !part.is_empty() => {
                        self.given += part.len();
                        response(206, part)
                    }
                    Some(_) | None => response(416, b""),
                }
            }
            ("PUT", Some(name)) => {
                let is_new = request.headers.contains(&("if-none-match", "*"));
                if is_new && self.objects.contains_key(name) {
                    return response(412, b"<Error><Code>PreconditionFailed</Code></Error>");
                }
                self.objects.insert(name.to_owned(), request.body.to_vec());
                self.answered(response(200, b""))
            }
            ("DELETE", Some(name)) => {
                self.objects.remove(name);
                self.answered(response(204, b""))
            }
            other => panic!("{other:?}"),
        }
    }

    fn answered(&mut self, right: HttpResponse) -> HttpResponse {
        if self.unanswered == 0 {
            return right;
        }
        self.unanswered -= 1;
        HttpResponse { status: 503, headers: Vec::new(), body: Vec::new() }
    }
}

pub(crate) const PARAMETERS: [(&str, &str); 9] = [
    ("endpoint", "http://s3.example"),
    ("bucket", "bucket"),
    ("region", "us-east-1"),
    ("prefix", "a/"),
    ("access_key", "AKIDEXAMPLE"),
    ("secret_key", "geheim"),
    ("session_token", "none"),
    ("tries", "3"),
    ("objects_max", "100000"),
];

pub(crate) const ALL: Query =
    Query { from: 0, until: u64::MAX, records_max: 99, bytes_max: 99_999, prefix_bytes: 0 };

pub(crate) fn node(server: &Shared) -> Node {
    let server = Rc::clone(server);
    Node { servers: Box::new(move |request| Ok(server.borrow_mut().answer(request))), ..Node::default() }
}

pub(crate) fn started(server: &Shared) -> Harness<Plugin> {
    let mut plugin = Harness::<Plugin>::new(node(server));
    plugin.start("", &PARAMETERS).unwrap();
    plugin
}

pub(crate) fn records(places: &[u64]) -> Vec<(u64, Vec<u8>)> {
    places.iter().map(|place| (*place, vec![*place as u8; *place as usize % 50])).collect()
}

pub(crate) fn append(plugin: &mut Harness<Plugin>, places: &[u64]) -> Result<(), Failure> {
    let values = records(places);
    let record = |(place, value): &'_ (u64, Vec<u8>)| (*place, value.clone());
    let owned: Vec<_> = values.iter().map(record).collect();
    let all: Vec<_> =
        owned.iter().map(|(place, value)| Record { place: *place, timestamp: -7, value }).collect();
    plugin.append(&all)
}

/// Places and values of all that is there, by query, and the damaged places.
pub(crate) fn all(plugin: &mut Harness<Plugin>) -> (Vec<(u64, Vec<u8>)>, Vec<u64>) {
    let (mut found, mut damaged, mut from) = (Vec::new(), Vec::new(), 0);
    while from < u64::MAX {
        let answer = plugin.query(&Query { from, records_max: 3, ..ALL }).unwrap();
        found.extend(answer.records.into_iter().map(|record| (record.place, record.value)));
        damaged.extend(answer.damaged);
        from = answer.next;
    }
    (found, damaged)
}

pub(crate) fn names(server: &Shared) -> Vec<String> {
    server.borrow().objects.keys().cloned().collect()
}

pub(crate) fn fetched(plugin: &mut Harness<Plugin>, places: &[u64]) -> Vec<(u64, Vec<u8>)> {
    let found = plugin.fetch(places).unwrap();
    found.records.into_iter().map(|record| (record.place, record.value)).collect()
}
