use super::{Api, error::Problem};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use mainstem_model::{Address, Code};
use std::sync::Arc;

/// The identity whose API key a request carries. Without one the request goes no further.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller(pub(super) Address);

/// The same where everyone may ask: `None` without a key. A key that is wrong is refused all the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct MaybeCaller(pub(super) Option<Address>);

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        MaybeCaller::from_request_parts(parts, api).await?.0.map(Self).ok_or_else(missing)
    }
}

impl FromRequestParts<Arc<Api>> for MaybeCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        bearer(&parts.headers)?.map(|key| caller_of(api, key)).transpose().map(Self)
    }
}

/// The identity of a key.
pub(super) fn caller_of(api: &Api, key: &str) -> Result<Address, Problem> {
    api.publisher
        .identities()
        .of_api_key(key)
        .ok_or_else(|| Problem::new(Code::UnknownApiKey, "the API key is not one of this node's"))
}

/// The key in `Authorization: Bearer <key>`.
pub(super) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let key = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| key.trim())
        .filter(|key| !key.is_empty());
    key.map(Some).ok_or_else(|| {
        Problem::new(Code::MissingApiKey, "the Authorization header is not `Bearer <API key>`")
    })
}

pub(super) fn missing() -> Problem {
    Problem::new(Code::MissingApiKey, "this needs an API key of the node: Authorization: Bearer <API key>")
}
