use mainstem_plugin_sdk::Failure;

/// Characters of what a server says that are told on.
const CODE_CHARS: usize = 60;

/// Codes of what passes, whatever status they come with: what got lost or was changed on its way, what was too much, and what two did at once.
const PASSING: &[&str] = &[
    "BadDigest",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "SlowDownRead",
    "SlowDownWrite",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "XAmzContentSHA256Mismatch",
];

/// The code of an answer that is none of those that are right; nothing where there is none, as in what a proxy says.
pub(crate) fn code_of(body: &[u8]) -> Option<String> {
    let said = String::from_utf8_lossy(body);
    let (_, rest) = said.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    Some(code.chars().take(CODE_CHARS).collect())
}

/// Whether there is no such object. A 404 that does not say so says nothing of the object: a proxy gives it, or a bucket that is not there.
pub(crate) fn is_absent(status: u16, body: &[u8]) -> bool {
    status == 404 && code_of(body).as_deref() == Some("NoSuchKey")
}

/// Whether the answer may be another one when the same is asked again: by its code, and where that says nothing by its status.
pub(crate) fn is_passing(status: u16, body: &[u8]) -> bool {
    match code_of(body).as_deref() {
        Some(code) if PASSING.contains(&code) => true,
        Some("NotImplemented") => false,
        Some(_) | None => matches!(status, 408 | 409 | 425 | 429 | 500..),
    }
}

/// What such an answer means: `unavailable` if it may be another one later, else `invalid` with the parameter that is to be looked at.
pub(crate) fn refusal(bucket: &str, of: &str, status: u16, body: &[u8]) -> Failure {
    let Some(code) = code_of(body) else {
        return Failure::unavailable(format!(
            "bucket {bucket}: {of} was answered with {status} and no code of S3: see whether endpoint names a server that speaks S3, and what \
             stands between"
        ));
    };
    let what = format!("bucket {bucket}: {of} was answered with {status}, {code}");
    if is_passing(status, body) {
        Failure::unavailable(what)
    } else {
        Failure::invalid(format!("{what}: {}", remedy(&code)))
    }
}

fn remedy(code: &str) -> &'static str {
    match code {
        "InvalidAccessKeyId" => {
            "the server knows no such key: write the id of one of its keys into access_key"
        }
        "SignatureDoesNotMatch" => {
            "secret_key is not the key that access_key names: write it as it was given out"
        }
        "AccessDenied" | "AllAccessDisabled" => {
            "the key may not do that: allow it s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket on bucket and prefix"
        }
        "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" => {
            "session_token holds no longer: write a new one, and the keys that came with it"
        }
        "NoSuchBucket" => "the server has no such bucket: make it, or write another one into bucket",
        "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" | "PermanentRedirect" => {
            "the bucket is elsewhere: write its region into region, and the server of that region into endpoint"
        }
        "RequestTimeTooSkewed" => {
            "the clocks of node and server are more than 15 minutes apart: set the node's"
        }
        "NotImplemented" => {
            "the server does not know that: take one that knows PUT with If-None-Match, GET with Range, and ListObjectsV2, and name it in endpoint"
        }
        _ => "look at the parameters endpoint, bucket, region and access_key",
    }
}
