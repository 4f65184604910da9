//! Who may talk to this listener at all: `Host`, `Origin`, CORS (threat T12), and how many at once.

use super::{HttpConfig, error::Problem, held::held};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};
use mainstem_model::Code;
use std::{collections::BTreeSet, sync::Arc};
use tokio::sync::Semaphore;

/// The lists of [`HttpConfig`] in the form that is compared with.
#[derive(Debug)]
pub(super) struct Guard {
    hosts: BTreeSet<String>,
    any_host: bool,
    origins: BTreeSet<String>,
    any_origin_reads: bool,
    requests: Arc<Semaphore>,
}

const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE");
const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type");
const READ_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD");
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static("location, mainstem-batch-id, retry-after");
/// Seconds that a browser may remember a preflight's answer.
const PREFLIGHT_AGE_S: HeaderValue = HeaderValue::from_static("600");

/// What a request's `Origin` is to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    /// Not a web page's request, or one of a page that this node served.
    Own,
    /// A page of a listed origin.
    Listed,
    /// Any other page.
    Foreign,
}

impl Guard {
    pub(super) fn new(config: &HttpConfig) -> Self {
        let lower =
            |list: &[String]| list.iter().map(|item| item.to_ascii_lowercase()).collect::<BTreeSet<_>>();
        let (hosts, origins) = (lower(&config.hosts), lower(&config.allowed_origins));
        Self {
            any_host: hosts.contains("*"),
            hosts,
            any_origin_reads: origins.contains("*"),
            origins,
            requests: Arc::new(Semaphore::new(config.requests_max)),
        }
    }

    /// The name in `Host` (or in an absolute request target), when it is one of ours.
    fn host(&self, request: &Request) -> Result<String, Problem> {
        let forbidden = |why: String| Problem::new(Code::ForbiddenOrigin, why);
        let mut values = request.headers().get_all(header::HOST).iter();
        let (first, second) = (values.next(), values.next());
        if second.is_some() {
            return Err(forbidden("the request has two Host headers".to_owned()));
        }
        let text = match (first, request.uri().authority()) {
            (Some(value), _) => value.to_str().unwrap_or_default().to_ascii_lowercase(),
            (None, Some(authority)) => authority.as_str().to_ascii_lowercase(),
            (None, None) => return Err(forbidden("the request has no Host header".to_owned())),
        };
        let name = text.parse::<Authority>().ok().filter(|_| !text.contains('@'));
        let known = name.is_some_and(|name| self.any_host || self.hosts.contains(name.host()));
        if known {
            return Ok(text);
        }
        let shown: String = text.chars().take(80).collect();
        Err(forbidden(format!("this node does not answer as {shown:?}; its hosts are in its configuration")))
    }

    fn page(&self, headers: &HeaderMap, host: &str) -> Page {
        let mut values = headers.get_all(header::ORIGIN).iter();
        let Some(value) = values.next() else { return Page::Own };
        let Ok(origin) = value.to_str().map(str::to_ascii_lowercase) else { return Page::Foreign };
        if values.next().is_some() {
            return Page::Foreign;
        }
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        if authority == Some(host) {
            Page::Own
        } else if origin != "*" && self.origins.contains(&origin) {
            Page::Listed
        } else {
            Page::Foreign
        }
    }
}

/// Lets a request through to the routes, or not.
pub(super) async fn watch(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let host = match guard.host(&request) {
        Ok(host) => host,
        Err(problem) => return problem.into_response(),
    };
    let page = guard.page(request.headers(), &host);
    let origin = request.headers().get(header::ORIGIN).cloned();
    let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD).cloned();
    let mut response = match asked {
        Some(method) if request.method() == Method::OPTIONS && origin.is_some() => {
            preflight(&guard, page, &method)
        }
        _ if page == Page::Foreign && changes_something(&request) => foreign(),
        _ => match guard.requests.clone().try_acquire_owned() {
            Ok(place) => held(next.run(request).await, place),
            Err(_) => Problem::new(
                Code::Overloaded,
                "the node has too many requests under way; try again in a moment",
            )
            .into_response(),
        },
    };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    set_default(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set_default(headers, header::CACHE_CONTROL, "no-store");
    let allowed = match page {
        Page::Listed => origin,
        Page::Foreign if guard.any_origin_reads => Some(HeaderValue::from_static("*")),
        Page::Own | Page::Foreign => None,
    };
    if let Some(allowed) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
    }
    response
}

fn set_default(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.entry(name).or_insert(HeaderValue::from_static(value));
}

/// A browser asks before it sends what a form could not.
fn preflight(guard: &Guard, page: Page, method: &HeaderValue) -> Response {
    let reads = method == Method::GET.as_str() || method == Method::HEAD.as_str();
    let (methods, with_headers) = match page {
        Page::Own | Page::Listed => (ALLOWED_METHODS, true),
        Page::Foreign if guard.any_origin_reads && reads => (READ_METHODS, false),
        Page::Foreign => return foreign(),
    };
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    if with_headers {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE_S);
    response
}

fn changes_something(request: &Request) -> bool {
    !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS)
        || request.headers().contains_key(header::UPGRADE)
}

fn foreign() -> Response {
    Problem::new(
        Code::ForbiddenOrigin,
        "pages of this web origin may not do this; list the origin in the node's allowed_origins",
    )
    .into_response()
}
