//! The description of the API, made from the handlers.

use super::{
    Api, batches,
    error::ErrorBody,
    error::Problem,
    history, info,
    input::{NoParams, Params},
    network, permissions, publish, resend, search, streams,
};
use axum::{
    http::{HeaderValue, header},
    response::IntoResponse,
    routing::{MethodRouter, get},
};
use std::{collections::BTreeMap, sync::Arc};
use utoipa::{
    IntoResponses, OpenApi, ToSchema,
    openapi::{
        ContentBuilder, Ref, RefOr, Response, ResponseBuilder, Schema,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Mainstem",
        description = "Streams, permissions, publishing and history of a Mainstem node. Every error has a stable `code`; every \
            limit is told by `GET /info` and enforced at exactly that value. Live data comes over WebSocket (`/ws`, or \
            Streamr's `/streams/{id}/subscribe`), which OpenAPI cannot describe.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    components(schemas(ErrorBody)),
    tags(
        (name = "node", description = "The node, its limits and the network around it"),
        (name = "streams", description = "Find, create, change and remove streams"),
        (name = "permissions", description = "Who may do what"),
        (name = "publish", description = "Publish events"),
        (name = "history", description = "Read what was published"),
    ),
)]
struct Base;

/// The routes that the document describes.
pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::with_openapi(Base::openapi())
        .routes(routes!(info::info))
        .routes(routes!(network::network))
        .routes(routes!(search::search, streams::create))
        .routes(routes!(streams::get, streams::set_metadata, streams::remove, publish::publish))
        .routes(routes!(permissions::list, permissions::grant))
        .routes(routes!(permissions::get, permissions::revoke))
        .routes(routes!(batches::publish))
        .routes(routes!(history::history))
        .routes(routes!(resend::last))
        .routes(routes!(resend::from))
        .routes(routes!(resend::range))
}

/// The document as JSON text.
pub fn document() -> String {
    finish(routes().to_openapi())
}

/// Adds what attributes cannot say.
pub(super) fn finish(mut document: utoipa::openapi::OpenApi) -> String {
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An API key of this node; it stands for one of the node's identities."));
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("apiKey", SecurityScheme::Http(scheme.build()));
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// `GET /openapi.json`.
pub(super) fn route(document: Arc<str>) -> MethodRouter<Arc<Api>> {
    get(async move |Params(NoParams {}): Params<NoParams>| -> Result<_, Problem> {
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(([kind], String::from(&*document)).into_response())
    })
}

/// The stream in a path.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it stands in the API's description")]
pub(super) struct StreamParam {
    /// The stream's address, or its alias `0xowner/path` with `/` percent-encoded.
    #[param(
        pattern = "^0x[0-9a-fA-F]{40}(/[A-Za-z0-9._~/-]+)?$",
        example = "0x00000000000000000000000000000000000000ff"
    )]
    id: String,
}

/// The partition in a path.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it stands in the API's description")]
pub(super) struct PartitionParam {
    /// The partition.
    #[param(minimum = 0, maximum = 99)]
    p: u16,
}

/// The account in a path.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it stands in the API's description")]
pub(super) struct UserParam {
    /// The account, or `public` for everyone.
    #[param(pattern = "^(public|0x(?!0{40}$)[0-9a-fA-F]{40})$")]
    user: String,
}

/// Errors of what only reads.
#[derive(Debug)]
pub(super) struct Read;

/// Errors of what changes something on the chain.
#[derive(Debug)]
pub(super) struct Write;

/// Errors of publishing.
#[derive(Debug)]
pub(super) struct Publish;

impl IntoResponses for Read {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        errors(&[400, 403, 404, 429, 503])
    }
}

impl IntoResponses for Write {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        errors(&[400, 401, 403, 404, 408, 409, 413, 415, 429, 503])
    }
}

impl IntoResponses for Publish {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        errors(&[400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503])
    }
}

fn errors(statuses: &[u16]) -> BTreeMap<String, RefOr<Response>> {
    statuses.iter().map(|status| (status.to_string(), error(*status).into())).collect()
}

fn error(status: u16) -> Response {
    let text = match status {
        400 => {
            "A parameter, the body or the batch is not what it should be; `code` and `message` say which and why."
        }
        401 => "This needs an API key.",
        403 => "The API key, the right, the delegation, or the web origin or host is not good for this.",
        404 => "There is no such stream.",
        408 => "The body took too long to come.",
        409 => "It is there already, or the series does not go on like this.",
        413 => "The body is too long.",
        415 => "The body has another media type.",
        422 => "Two parameters exclude each other.",
        429 => "Too much at once; try again in a moment.",
        _ => "The node cannot do this now: store, chain or shutdown.",
    };
    let schema: RefOr<Schema> = Ref::from_schema_name(ErrorBody::name()).into();
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new().description(text).content("application/json", content).build()
}
