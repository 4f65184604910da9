use crate::encode;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// Who signs.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The id of the key, which everybody may see.
    pub access_key: String,
    /// The key.
    pub secret_key: String,
    /// Of keys that hold for a while.
    pub session_token: Option<String>,
}

/// What a signature is good for, beside its day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Such as `us-east-1`.
    pub region: String,
    /// `s3`, for buckets.
    pub service: String,
}

/// A request without its signature.
#[derive(Clone, Debug)]
pub struct Unsigned<'a> {
    /// As HTTP has it.
    pub method: &'a str,
    /// The path as it goes out: encoded, and not shortened.
    pub path: &'a str,
    /// Names and values of the query, in the clear.
    pub query: &'a [(&'a str, &'a str)],
    /// Every header that is signed but `x-amz-date` and `x-amz-security-token`, which are added. `host` must be among them.
    pub headers: &'a [(&'a str, &'a str)],
    /// SHA-256 of the body.
    pub body_sha256: [u8; 32],
}

impl core::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Credentials({})", self.access_key)
    }
}

/// Signs a request by [Signature Version 4](https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html); gives
/// the headers that it is to have beside its own.
pub fn sign(
    request: &Unsigned<'_>,
    credentials: &Credentials,
    scope: &Scope,
    now_ms: i64,
) -> Vec<(String, String)> {
    let date = amz_date(now_ms);
    let mut added = vec![("x-amz-date".to_owned(), date.clone())];
    added.extend(credentials.session_token.iter().map(|it| ("x-amz-security-token".to_owned(), it.clone())));
    let own = request.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), collapsed(value)));
    let mut headers: Vec<_> =
        own.chain(added.iter().map(|(name, value)| (name.clone(), collapsed(value)))).collect();
    // IMPORTANT: a stable sort: values of one name stay in their order.
    headers.sort_by(|one, other| one.0.cmp(&other.0));
    headers.dedup_by(|later, first| {
        let same = later.0 == first.0;
        if same {
            first.1 = format!("{},{}", first.1, later.1);
        }
        same
    });
    let signed = headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let canonical = format!(
        "{}\n{}\n{}\n{lines}\n{signed}\n{}",
        request.method,
        request.path,
        canonical_query(request.query),
        hex(&request.body_sha256)
    );
    let day = &date[..8];
    let within = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{within}\n{}", hex(&Sha256::digest(canonical)));
    let secret = format!("AWS4{}", credentials.secret_key);
    let key = [day, &scope.region, &scope.service, "aws4_request"]
        .iter()
        .fold(secret.into_bytes(), |key, part| mac(&key, part.as_bytes()).to_vec());
    let signature = hex(&mac(&key, to_sign.as_bytes()));
    let by = &credentials.access_key;
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={by}/{within}, SignedHeaders={signed}, Signature={signature}");
    added.push(("authorization".to_owned(), authorization));
    added
}

/// A time as `20150830T123600Z`. Before 1970 it is 1970's first second.
pub fn amz_date(now_ms: i64) -> String {
    let seconds = now_ms.max(0) / 1_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Year, month and day of a day since 1970-01-01, by Howard Hinnant's `civil_from_days`: years begin in March, so that a leap day is their last.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

fn canonical_query(query: &[(&str, &str)]) -> String {
    let mut pairs: Vec<_> = query.iter().map(|(name, value)| (encode(name), encode(value))).collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// Without spaces at its ends, and with one where there are several.
fn collapsed(value: &str) -> String {
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

fn mac(key: &[u8], bytes: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
