//! Requests into types, once, at the edge: path, query, body. What does not fit is refused with the name of the field.

use super::{Api, error::Problem};
use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use mainstem_model::{Address, Code, Partition, StreamId};
use serde::{Deserialize, de::DeserializeOwned};
use std::{sync::Arc, time::Duration};

/// Bytes of a JSON body that is not a batch and not an event.
pub(super) const JSON_BYTES_MAX: usize = 256 << 10;

/// For operations without query parameters: any is refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoParams {}

/// The query string as `T`, which names every parameter there is.
#[derive(Debug)]
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Query::<T>::try_from_uri(&parts.uri).map(|Query(value)| Self(value)).map_err(|rejection| {
            let text = rejection.body_text();
            let cause = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
            Problem::argument(format!("query parameters: {}", shortened(cause)))
        })
    }
}

/// The stream that `{id}` of a path names: an address, or the alias `0xowner/path`, percent-encoded. It need not exist.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream(pub(super) StreamId);

impl FromRequestParts<Arc<Api>> for Stream {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        stream_of(api, &path_param(parts, "id").await?).map(Self)
    }
}

/// The partition that `{p}` of a path names.
#[derive(Clone, Copy, Debug)]
pub(super) struct PathPartition(pub(super) Partition);

impl<S: Send + Sync> FromRequestParts<S> for PathPartition {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let text = path_param(parts, "p").await?;
        let number = text.parse::<u16>().map_err(|_| {
            let message = format!("partition {:?} is not a number from 0 to 99", shortened(&text));
            Problem::new(Code::InvalidPartition, message)
        })?;
        Ok(Self(Partition::try_from(number)?))
    }
}

/// The account that `{user}` of a path names; `public` is everyone, [`Address::ZERO`].
#[derive(Clone, Copy, Debug)]
pub(super) struct PathUser(pub(super) Address);

impl<S: Send + Sync> FromRequestParts<S> for PathUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let text = path_param(parts, "user").await?;
        if text == "public" { Ok(Self(Address::ZERO)) } else { account("user", &text).map(Self) }
    }
}

/// A JSON body as `T`, at most [`JSON_BYTES_MAX`] long.
#[derive(Debug)]
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<Api>> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        if media(&parts.headers) != Media::Json {
            return Err(unsupported("application/json"));
        }
        let limit = BodyLimit { bytes_max: JSON_BYTES_MAX, code: Code::InvalidArgument };
        parse_json(&read_body(api, &parts.headers, body, limit).await?).map(Self)
    }
}

/// What a body says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    Json,
    Octets,
    None,
    Other,
}

pub(super) fn media(headers: &HeaderMap) -> Media {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Media::None };
    let text = value.to_str().unwrap_or_default();
    match text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "application/json" => Media::Json,
        "application/octet-stream" => Media::Octets,
        _ => Media::Other,
    }
}

pub(super) fn unsupported(expected: &str) -> Problem {
    Problem::new(Code::UnsupportedMediaType, format!("the Content-Type of the body must be {expected}"))
}

/// How long a body may be, and the code of one that is longer.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimit {
    pub(super) bytes_max: usize,
    pub(super) code: Code,
}

/// Reads a whole body, or stops at the first byte too many.
pub(super) async fn read_body(
    api: &Api,
    headers: &HeaderMap,
    body: Body,
    limit: BodyLimit,
) -> Result<Bytes, Problem> {
    let too_long = || {
        Problem::new(limit.code, format!("the body is longer than {} bytes", limit.bytes_max))
            .with_status(StatusCode::PAYLOAD_TOO_LARGE)
    };
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit.bytes_max as u64) {
        return Err(too_long());
    }
    let read = async {
        let mut whole = BytesMut::new();
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|_| Problem::new(Code::MalformedFrame, "the body broke off"))?;
            if whole.len() + piece.len() > limit.bytes_max {
                return Err(too_long());
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    };
    tokio::time::timeout(Duration::from_millis(api.config.body_timeout_ms), read).await.unwrap_or_else(|_| {
        let message = format!("the body took longer than {} ms to come", api.config.body_timeout_ms);
        Err(Problem::new(Code::LimitReached, message).with_status(StatusCode::REQUEST_TIMEOUT))
    })
}

/// Reads JSON; an error names the field.
pub(super) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.inner();
        let code = if inner.is_data() { Code::InvalidArgument } else { Code::MalformedFrame };
        let place = if path == "." { "the body".to_owned() } else { format!("{path} of the body") };
        Problem::new(code, format!("{}: {}", shortened(&place), shortened(&inner.to_string())))
    })?;
    json.end().map_err(|_| {
        Problem::new(Code::MalformedFrame, "there is something behind the JSON value of the body")
    })?;
    Ok(value)
}

/// The stream that a text names.
pub(super) fn stream_of(api: &Api, text: &str) -> Result<StreamId, Problem> {
    let Some((owner, path)) = text.split_once('/') else { return Ok(text.parse()?) };
    let wrong = || {
        let message = format!(
            "stream id {:?} is neither 0x and 40 hex digits nor an alias 0xowner/path (percent-encoded in a path)",
            shortened(text)
        );
        Problem::new(Code::InvalidStreamId, message)
    };
    let owner: Address = owner.parse().map_err(|_| wrong())?;
    if path.is_empty() {
        return Err(wrong());
    }
    api.handle.registry().alias(owner, path).ok_or_else(|| {
        let message = format!("the registry has no stream {:?}", shortened(text));
        Problem::new(Code::StreamNotFound, message)
    })
}

/// An address that a field names.
pub(super) fn address(field: &str, text: &str) -> Result<Address, Problem> {
    text.parse()
        .map_err(|_| Problem::argument(format!("{field} {:?} is not 0x and 40 hex digits", shortened(text))))
}

/// An account that a field names: an address, and not the one that stands for everyone.
pub(super) fn account(field: &str, text: &str) -> Result<Address, Problem> {
    let address = address(field, text)?;
    if address == Address::ZERO {
        return Err(Problem::argument(format!("{field} is the zero address; say public for everyone")));
    }
    Ok(address)
}

/// Bytes written as `0x` and hex digits.
pub(super) fn hex_bytes(field: &str, text: &str) -> Result<Vec<u8>, Problem> {
    text.strip_prefix("0x")
        .and_then(|digits| hex::decode(digits).ok())
        .ok_or_else(|| Problem::argument(format!("{field} is not 0x and an even number of hex digits")))
}

/// The beginning of a text that a client sent, for showing it back.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

async fn path_param(parts: &mut Parts, name: &str) -> Result<String, Problem> {
    let params = RawPathParams::from_request_parts(parts, &())
        .await
        .map_err(|_| Problem::argument("the path is not UTF-8 after percent-decoding"))?;
    let value = params.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned());
    // IMPORTANT: routes that use an extractor have its parameter in their path.
    Ok(value.unwrap_or_default())
}
