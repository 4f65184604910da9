use mainstem_plugin_sdk::Failure;

/// Characters of what a server says that are told on.
const CODE_CHARS: usize = 60;

/// The code of an answer that is none of those that are right; `no reason` where there is none.
pub(crate) fn code_of(body: &[u8]) -> String {
    let said = String::from_utf8_lossy(body);
    let code = said.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    code.map_or("no reason", |(code, _)| code).chars().take(CODE_CHARS).collect()
}

/// What such an answer means: `unavailable` if it may be another one later, else `invalid` with the parameter that is to be looked at.
pub(crate) fn refusal(bucket: &str, of: &str, status: u16, body: &[u8]) -> Failure {
    let code = code_of(body);
    let what = format!("bucket {bucket}: {of} was answered with {status}, {code}");
    match status {
        // A conflict passes, and so does what came too late or too often.
        408 | 409 | 425 | 429 => Failure::unavailable(what),
        301 | 308 | 400..=499 => Failure::invalid(format!("{what}: {}", remedy(&code))),
        _ => Failure::unavailable(what),
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
        _ => "look at the parameters endpoint, bucket, region and access_key",
    }
}
