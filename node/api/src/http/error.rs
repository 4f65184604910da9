use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use mainstem_model::{BatchError, Code, Refusal};
use serde::Serialize;
use utoipa::ToSchema;

/// Which status goes with which code: the one place that says so.
const STATUSES: &[(Code, StatusCode)] = &[
    (Code::MalformedFrame, StatusCode::BAD_REQUEST),
    (Code::MalformedBatch, StatusCode::BAD_REQUEST),
    (Code::BatchTooLarge, StatusCode::PAYLOAD_TOO_LARGE),
    (Code::InvalidEventCount, StatusCode::BAD_REQUEST),
    (Code::ContentTooLarge, StatusCode::PAYLOAD_TOO_LARGE),
    (Code::WrongNetwork, StatusCode::BAD_REQUEST),
    (Code::UnknownSignatureType, StatusCode::BAD_REQUEST),
    (Code::UnknownOriginType, StatusCode::BAD_REQUEST),
    (Code::InvalidSignature, StatusCode::BAD_REQUEST),
    (Code::SignatureUnavailable, StatusCode::SERVICE_UNAVAILABLE),
    (Code::InvalidDelegation, StatusCode::FORBIDDEN),
    (Code::MerkleRootMismatch, StatusCode::BAD_REQUEST),
    (Code::InvalidTimestamp, StatusCode::BAD_REQUEST),
    (Code::InvalidStreamId, StatusCode::BAD_REQUEST),
    (Code::InvalidPartition, StatusCode::BAD_REQUEST),
    (Code::InvalidArgument, StatusCode::BAD_REQUEST),
    (Code::InvalidCursor, StatusCode::BAD_REQUEST),
    (Code::StreamNotFound, StatusCode::NOT_FOUND),
    (Code::MissingPermission, StatusCode::FORBIDDEN),
    (Code::SeriesGap, StatusCode::CONFLICT),
    (Code::Equivocation, StatusCode::CONFLICT),
    (Code::SeriesFrozen, StatusCode::CONFLICT),
    (Code::NotSignedIn, StatusCode::UNAUTHORIZED),
    (Code::InvalidSignIn, StatusCode::UNAUTHORIZED),
    (Code::MissingApiKey, StatusCode::UNAUTHORIZED),
    (Code::UnknownApiKey, StatusCode::FORBIDDEN),
    (Code::ForbiddenOrigin, StatusCode::FORBIDDEN),
    (Code::UnknownSubscription, StatusCode::NOT_FOUND),
    (Code::LimitReached, StatusCode::TOO_MANY_REQUESTS),
    (Code::Overloaded, StatusCode::TOO_MANY_REQUESTS),
    (Code::StoreUnavailable, StatusCode::SERVICE_UNAVAILABLE),
    (Code::DamagedHistory, StatusCode::SERVICE_UNAVAILABLE),
    (Code::ChainUnavailable, StatusCode::SERVICE_UNAVAILABLE),
    (Code::TooFewCopies, StatusCode::SERVICE_UNAVAILABLE),
    (Code::NotAssigned, StatusCode::SERVICE_UNAVAILABLE),
    (Code::NotFound, StatusCode::NOT_FOUND),
    (Code::MethodNotAllowed, StatusCode::METHOD_NOT_ALLOWED),
    (Code::UnsupportedMediaType, StatusCode::UNSUPPORTED_MEDIA_TYPE),
    (Code::ShuttingDown, StatusCode::SERVICE_UNAVAILABLE),
];

/// The status that goes with a code.
pub fn status_of(code: Code) -> StatusCode {
    STATUSES
        .iter()
        .find(|(known, _)| *known == code)
        .map_or(StatusCode::INTERNAL_SERVER_ERROR, |(_, status)| *status)
}

/// A refusal on its way out over HTTP.
#[derive(Debug)]
pub(super) struct Problem {
    refusal: Refusal,
    status: StatusCode,
}

impl Problem {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Refusal::new(code, message).into()
    }

    /// `INVALID_ARGUMENT`.
    pub(super) fn argument(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// The same with a status of its own, where a familiar shape demands one.
    pub(super) const fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub(super) fn into_refusal(self) -> Refusal {
        self.refusal
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self { status: status_of(refusal.code), refusal }
    }
}

impl From<BatchError> for Problem {
    fn from(error: BatchError) -> Self {
        Refusal::from(error).into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = ErrorBody::of(&self.refusal);
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// Every error has this body.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Error)]
pub(super) struct ErrorBody {
    /// Stable name of what went wrong, for programs.
    #[schema(pattern = "^[A-Z][A-Z_]*$", example = "STREAM_NOT_FOUND")]
    code: &'static str,
    /// One sentence for people: the field, its fault, the remedy.
    message: String,
    /// The same sentence, under the name that Streamr's clients read.
    error: String,
}

impl ErrorBody {
    pub(super) fn of(refusal: &Refusal) -> Self {
        Self { code: refusal.code.as_str(), message: refusal.message.clone(), error: refusal.message.clone() }
    }

    /// As JSON text, for a socket.
    pub(super) fn to_text(&self) -> String {
        // IMPORTANT: three strings always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_status_and_it_blames_the_right_side() {
        for code in Code::ALL {
            assert_eq!(STATUSES.iter().filter(|(known, _)| known == code).count(), 1, "{code}");
            let status = status_of(*code);
            let ours = matches!(
                code,
                Code::StoreUnavailable
                    | Code::DamagedHistory
                    | Code::ChainUnavailable
                    | Code::ShuttingDown
                    | Code::TooFewCopies
                    | Code::NotAssigned
                    | Code::SignatureUnavailable
            );
            assert_eq!(status.is_server_error(), ours, "{code}");
        }
    }
}
