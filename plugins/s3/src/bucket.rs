use crate::{
    Credentials, Listing, Scope, Unsigned, encode, encode_path,
    refusal::{code_of, is_absent, is_passing, refusal},
    sign,
    sigv4::hex,
};
use mainstem_plugin_sdk::{Failure, FailureCode, Host, HttpRequest, HttpResponse};

/// Bytes of a page of names: 1,000 of them with up to 1,024 bytes each.
const PAGE_BYTES_MAX: u32 = 2 << 20;
/// Bytes of an answer that says only how it went.
const WORD_BYTES_MAX: u32 = 64 << 10;

/// Of what was done as it was asked for.
const RIGHT: [u16; 3] = [200, 204, 206];

/// Where a bucket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `https://` or `http://`, host and port.
    url: String,
    /// Host and port as `Host` names them.
    authority: String,
}

/// A bucket, by path: `endpoint/bucket/name`. Capabilities: `http`, `clock`, `crypto`.
#[derive(Clone, Debug)]
pub struct Bucket {
    endpoint: Endpoint,
    name: String,
    credentials: Credentials,
    scope: Scope,
    /// How often a request is made at most.
    tries: u32,
}

impl Endpoint {
    /// Of a URL without a path, such as `https://s3.eu-central-1.amazonaws.com`.
    ///
    /// # Errors
    /// `invalid` for another one.
    pub fn new(url: &str) -> Result<Self, Failure> {
        let url = url.trim_end_matches('/');
        let default = if url.starts_with("https://") { ":443" } else { ":80" };
        let authority = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        match authority {
            Some(authority) if !authority.is_empty() && !authority.contains(['/', '@', '?', '#', ' ']) => {
                // A port that goes without saying is not said in `Host`.
                let authority = authority.strip_suffix(default).unwrap_or(authority).to_ascii_lowercase();
                Ok(Self { url: url.to_owned(), authority })
            }
            Some(_) | None => Err(Failure::invalid(format!(
                "the endpoint {url:?} is none: write https:// or http://, a host, and perhaps a port"
            ))),
        }
    }
}

impl Bucket {
    /// A bucket of a server.
    ///
    /// # Errors
    /// `invalid` for a name that no bucket can have.
    pub fn new(
        endpoint: Endpoint,
        name: &str,
        region: &str,
        credentials: Credentials,
    ) -> Result<Self, Failure> {
        let fits =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        if !(3..=63).contains(&name.len()) || !name.bytes().all(fits) || name.contains("..") {
            return Err(Failure::invalid(format!(
                "the bucket {name:?} has no name of one: 3 to 63 of a-z, 0-9, - and ."
            )));
        }
        let scope = Scope { region: region.to_owned(), service: "s3".to_owned() };
        Ok(Self { endpoint, name: name.to_owned(), credentials, scope, tries: 1 })
    }

    /// The same bucket, where a request is made so often at most, one after the other, as long as its answer is one that passes, or there is
    /// none. Each of them does the same when it is made twice.
    #[must_use]
    pub fn with_tries(self, tries: u32) -> Self {
        Self { tries, ..self }
    }

    /// Writes an object, whole or not at all; on return it is kept.
    ///
    /// # Errors
    /// What keeps it from that. It may be there all the same: writing it again changes nothing.
    pub fn put(&self, host: &Host<'_>, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let response = self.ask(host, "PUT", name, &[], None, bytes, WORD_BYTES_MAX)?;
        self.expect(&response, &[200], name).map(drop)
    }

    /// Writes an object of which there is none yet; false if there is one, which may be what a request without an answer has written.
    ///
    /// # Errors
    /// What keeps it from that, as with [`Bucket::put`].
    pub fn put_new(&self, host: &Host<'_>, name: &str, bytes: &[u8]) -> Result<bool, Failure> {
        let header = Some(("if-none-match", "*"));
        let response = self.ask(host, "PUT", name, &[], header, bytes, WORD_BYTES_MAX)?;
        if response.status == 412 && code_of(&response.body).as_deref() == Some("PreconditionFailed") {
            return Ok(false);
        }
        self.expect(&response, &[200], name).map(|_| true)
    }

    /// Bytes of an object from an offset on, as many as there are up to `length`; nothing if there is no such object.
    ///
    /// # Errors
    /// What keeps it from that.
    pub fn read(
        &self,
        host: &Host<'_>,
        name: &str,
        offset: u64,
        length: u32,
    ) -> Result<Option<Vec<u8>>, Failure> {
        if length == 0 {
            return Ok(Some(Vec::new()));
        }
        let range = format!("bytes={offset}-{}", offset.saturating_add(u64::from(length) - 1));
        let header = Some(("range", range.as_str()));
        let response = self.ask(host, "GET", name, &[], header, &[], length.max(WORD_BYTES_MAX))?;
        match response.status {
            _ if is_absent(response.status, &response.body) => Ok(None),
            // There is nothing behind the offset.
            416 => Ok(Some(Vec::new())),
            _ => {
                self.expect(&response, &[206], name)?;
                let bytes = response.body;
                if bytes.len() > length as usize {
                    return Err(Failure::unavailable(format!(
                        "{name}: the server gave more than was asked for"
                    )));
                }
                Ok(Some(bytes))
            }
        }
    }

    /// Deletes an object; one that is not there is none to speak of.
    ///
    /// # Errors
    /// What keeps it from that.
    pub fn delete(&self, host: &Host<'_>, name: &str) -> Result<(), Failure> {
        let response = self.ask(host, "DELETE", name, &[], None, &[], WORD_BYTES_MAX)?;
        if is_absent(response.status, &response.body) {
            return Ok(());
        }
        self.expect(&response, &[200, 204], name).map(drop)
    }

    /// Gives name (as it stands in XML, see [`unescaped`](crate::unescaped)) and bytes of each object of a page of those whose names begin so,
    /// in the order of their names; returns what the next page is asked for with, if there is one.
    ///
    /// # Errors
    /// What keeps it from that.
    pub fn list(
        &self,
        host: &Host<'_>,
        prefix: &str,
        next: Option<&str>,
        each: impl FnMut(&[u8], u64),
    ) -> Result<Option<String>, Failure> {
        let mut query = vec![("list-type", "2"), ("prefix", prefix)];
        query.extend(next.map(|next| ("continuation-token", next)));
        let response = self.ask(host, "GET", "", &query, None, &[], PAGE_BYTES_MAX)?;
        Listing::new(&self.expect(&response, &[200], "the list of objects")?.body).read(each)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    fn ask(
        &self,
        host: &Host<'_>,
        method: &str,
        name: &str,
        query: &[(&str, &str)],
        header: Option<(&str, &str)>,
        body: &[u8],
        body_bytes_max: u32,
    ) -> Result<HttpResponse, Failure> {
        let path = match name {
            "" => format!("/{}", self.name),
            name => format!("/{}/{}", self.name, encode_path(name)),
        };
        let body_sha256 = host.sha256(&[body])?.pop().unwrap_or_default();
        let hash = hex(&body_sha256);
        let mut headers = vec![("x-amz-content-sha256", hash.as_str())];
        headers.extend(header);
        let mut signed_headers = headers.clone();
        signed_headers.push(("host", &self.endpoint.authority));
        let unsigned = Unsigned { method, path: &path, query, headers: &signed_headers, body_sha256 };
        let pairs: Vec<_> =
            query.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        let mark = if pairs.is_empty() { "" } else { "?" };
        let url = format!("{}{path}{mark}{}", self.endpoint.url, pairs.join("&"));
        let mut left = self.tries;
        loop {
            left = left.saturating_sub(1);
            let answer = self.send(host, &unsigned, &headers, &url, body, body_bytes_max);
            let again = match &answer {
                Ok(response) => {
                    !RIGHT.contains(&response.status) && is_passing(response.status, &response.body)
                }
                Err(failure) => failure.code == FailureCode::Unavailable,
            };
            if left == 0 || !again {
                return answer;
            }
        }
    }

    /// One request, signed now.
    fn send(
        &self,
        host: &Host<'_>,
        unsigned: &Unsigned<'_>,
        headers: &[(&str, &str)],
        url: &str,
        body: &[u8],
        body_bytes_max: u32,
    ) -> Result<HttpResponse, Failure> {
        let signature = sign(unsigned, &self.credentials, &self.scope, host.now()?);
        let mut headers = headers.to_vec();
        headers.extend(signature.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        host.http(&HttpRequest { method: unsigned.method, url, headers: &headers, body, body_bytes_max })
    }

    fn expect<'a>(
        &self,
        response: &'a HttpResponse,
        right: &[u16],
        of: &str,
    ) -> Result<&'a HttpResponse, Failure> {
        let status = response.status;
        if right.contains(&status) {
            return Ok(response);
        }
        Err(refusal(&self.name, of, status, &response.body))
    }
}
