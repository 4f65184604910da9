use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A server that a plugin with `http` may reach: a host and a port of it, by one scheme.
///
/// As text: `s3.example.com`, `s3.example.com:9000`, `http://[::1]:9000`; https unless it says otherwise. A name must lead to public
/// addresses, so that whoever answers for the name cannot lead the node into its operator's own network: `minio.lan:9000=private` may lead
/// anywhere. An address is what it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpHost {
    pub(crate) https: bool,
    /// In lower case; an address as URLs have it.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) private: bool,
}

/// Text that names no server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} names no server, as {fault}: write a host with or without a port, such as s3.example.com, http://127.0.0.1:9000, or \
     minio.lan:9000=private for a name that leads to private addresses"
)]
pub struct HttpHostError {
    text: String,
    fault: &'static str,
}

impl HttpHost {
    /// Whether a URL of this scheme, host and port leads there.
    pub(crate) fn is(&self, https: bool, host: &str, port: u16) -> bool {
        self.https == https && self.port == port && normal(host).is_ok_and(|host| host == self.host)
    }
}

impl FromStr for HttpHost {
    type Err = HttpHostError;

    fn from_str(text: &str) -> Result<Self, HttpHostError> {
        let error = |fault| HttpHostError { text: text.chars().take(300).collect(), fault };
        let (rest, private) = text.strip_suffix("=private").map_or((text, false), |rest| (rest, true));
        let (https, rest) = match rest.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            Some(_) => return Err(error("its scheme is neither http nor https")),
            None => (true, rest),
        };
        let behind = rest.rfind(']').map_or(0, |end| end + 1);
        let (host, port) = match rest[behind..].find(':') {
            Some(colon) => {
                let port = rest[behind + colon + 1..].parse().ok().filter(|port| *port != 0);
                (&rest[..behind + colon], port.ok_or_else(|| error("its port is none"))?)
            }
            None => (rest, if https { 443 } else { 80 }),
        };
        Ok(Self { https, host: normal(host).map_err(error)?, port, private })
    }
}

/// A host as two URLs of it have it alike.
fn normal(host: &str) -> Result<String, &'static str> {
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner
            .parse()
            .map(|ip: Ipv6Addr| format!("[{ip}]"))
            .map_err(|_| "it has no address in brackets");
    }
    if let Ok(ip) = host.parse::<Ipv4Addr>() {
        return Ok(ip.to_string());
    }
    let host = host.to_ascii_lowercase();
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if host.len() > 253 || !host.split('.').all(is_label) {
        return Err("its host is no name");
    }
    // Other ways to write an IPv4 address.
    if host.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err("its name ends in a number");
    }
    Ok(host)
}

/// Whether an address is one that everybody reaches.
pub(crate) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => {
            let segments = ip.segments();
            let embedded =
                |high: u16, low: u16| is_public_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
            match segments {
                // Mapped and translated ones lead to what they hold.
                [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                    embedded(high, low)
                }
                [0x2002, high, low, ..] => embedded(high, low),
                // Teredo, documentation, benchmarks, and what else 2001:0::/23 is kept for.
                [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
                // Only 2000::/3 is given out for everybody.
                [first, ..] => first & 0xe000 == 0x2000,
            }
        }
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let is_kept = match (a, b, c) {
        (0 | 10 | 127, _, _) | (100, 64..=127, _) | (169, 254, _) | (172, 16..=31, _) => true,
        (192, 0, 0 | 2) | (192, 88, 99) | (192, 168, _) | (198, 18..=19, _) | (198, 51, 100) => true,
        (203, 0, 113) | (224..=255, _, _) => true,
        (_, _, _) => false,
    };
    !is_kept
}

impl fmt::Display for HttpHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}{}", self.host, self.port, if self.private { "=private" } else { "" })
    }
}

impl Serialize for HttpHost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HttpHost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_https_at_its_own_port_unless_it_says_otherwise() {
        for (text, expected) in [
            ("s3.example.com", "https://s3.example.com:443"),
            ("S3.Example.COM:9000", "https://s3.example.com:9000"),
            ("https://s3.example.com", "https://s3.example.com:443"),
            ("http://s3.example.com", "http://s3.example.com:80"),
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
            ("http://[0:0::1]:9000", "http://[::1]:9000"),
            ("[::1]", "https://[::1]:443"),
            ("minio:9000=private", "https://minio:9000=private"),
            ("http://localhost=private", "http://localhost:80=private"),
        ] {
            let host: HttpHost = text.parse().unwrap();
            assert_eq!(host.to_string(), expected);
            assert_eq!(expected.parse(), Ok(host), "what is written is read");
        }
    }

    #[test]
    fn what_is_no_host_and_port_is_refused() {
        for text in [
            "",
            ":443",
            "ftp://a",
            "a/b",
            "https://a/",
            "a:0",
            "a:65536",
            "a:b",
            "user@a",
            "a b",
            "a..b",
            "a.",
            "*.a",
            "[::1",
            "::1",
            "[1.2.3.4]",
            "127.1",
            "2130706433",
            "1.2.3.4.5",
            "0.0.0.256",
            "a=public",
            "é.example",
            "a?b",
            "a#b",
            "[::1]x:80",
        ] {
            let parsed = text.parse::<HttpHost>();
            assert!(parsed.is_err(), "{text:?}: {parsed:?}");
        }
    }

    #[test]
    fn a_url_leads_to_a_host_by_scheme_name_and_port_together() {
        let host: HttpHost = "s3.example.com:9000".parse().unwrap();
        assert!(host.is(true, "S3.example.com", 9000));
        for (https, name, port) in [
            (false, "s3.example.com", 9000),
            (true, "s3.example.com", 443),
            (true, "s3.example.com.", 9000),
            (true, "x.s3.example.com", 9000),
            (true, "example.com", 9000),
        ] {
            assert!(!host.is(https, name, port), "{https} {name} {port}");
        }
    }

    #[test]
    fn addresses_that_are_nobodys_or_somebodys_own_are_not_public() {
        for ip in [
            "1.1.1.1",
            "192.0.1.1",
            "198.17.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "2002:101:101::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
        for ip in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
        ] {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
    }
}
