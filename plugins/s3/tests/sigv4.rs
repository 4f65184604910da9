//! Signatures are those of AWS's own examples.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mainstem_plugin_s3::{Credentials, Scope, Unsigned, amz_date, encode_path, sign};

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn sha256(hex: &str) -> [u8; 32] {
    core::array::from_fn(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
}

/// The value of `authorization`.
fn authorization(
    request: &Unsigned<'_>,
    credentials: &Credentials,
    region: &str,
    service: &str,
    ms: i64,
) -> String {
    let scope = Scope { region: region.into(), service: service.into() };
    let added = sign(request, credentials, &scope, ms);
    added.iter().find(|(name, _)| name == "authorization").unwrap().1.clone()
}

/// Method, path, query, headers beside the host, session token; the headers that are signed, and the signature.
type Vector<'a> =
    (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [(&'a str, &'a str)], Option<&'a str>, &'a str, &'a str);

/// `awslabs/aws-c-auth`, tests/aws-signing-test-suite/v4, `header-signed-request.txt` of: get-vanilla-with-session-token, get-unreserved,
/// get-header-value-trim, get-vanilla-query-order-key-case, get-vanilla-utf8-query, get-utf8, get-space-unnormalized,
/// get-slashes-unnormalized, get-vanilla-query-order-encoded.
const SUITE: [Vector<'_>; 9] = [
    (
        "GET",
        "/",
        &[],
        &[],
        Some("6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267"),
        "host;x-amz-date;x-amz-security-token",
        "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
    ),
    (
        "GET",
        "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        &[],
        &[],
        None,
        "host;x-amz-date",
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    ),
    (
        "GET",
        "/",
        &[],
        &[("My-Header1", " value1"), ("My-Header2", " \"a   b   c\"")],
        None,
        "host;my-header1;my-header2;x-amz-date",
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    (
        "GET",
        "/",
        &[("Param2", "value2"), ("Param1", "value1")],
        &[],
        None,
        "host;x-amz-date",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    (
        "GET",
        "/",
        &[("ሴ", "bar")],
        &[],
        None,
        "host;x-amz-date",
        "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
    ),
    (
        "GET",
        "/ሴ",
        &[],
        &[],
        None,
        "host;x-amz-date",
        "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
    ),
    (
        "GET",
        "/example space/",
        &[],
        &[],
        None,
        "host;x-amz-date",
        "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
    ),
    (
        "GET",
        "//example//",
        &[],
        &[],
        None,
        "host;x-amz-date",
        "87cca117541a147f6df867677d98a7d80dff226d2bfca9e4ffa899665623c7e5",
    ),
    (
        "GET",
        "/",
        &[("Param-3", "Value3"), ("Param", "Value2"), ("ሴ", "Value1")],
        &[],
        None,
        "host;x-amz-date",
        "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
    ),
];

#[test]
fn requests_of_awss_test_suite_have_its_signatures() {
    for (method, path, query, headers, token, signed, signature) in SUITE {
        let headers = [headers, &[("Host", "example.amazonaws.com")]].concat();
        let path = encode_path(path);
        let request = Unsigned { method, path: &path, query, headers: &headers, body_sha256: sha256(EMPTY) };
        let credentials = Credentials {
            access_key: "AKIDEXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: token.map(str::to_owned),
        };
        // 2015-08-30, 12:36:00.
        let found = authorization(&request, &credentials, "us-east-1", "service", 1_440_938_160_000);
        let expected = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders={signed}, Signature={signature}"
        );
        assert_eq!(found, expected, "{path}");
    }
}

/// The four examples of "Signature Calculations for the Authorization Header" in the S3 API reference.
#[test]
fn requests_of_the_s3_reference_have_its_signatures() {
    let credentials = Credentials {
        access_key: "AKIAIOSFODNN7EXAMPLE".into(),
        secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
        session_token: None,
    };
    // SHA-256 of "Welcome to Amazon S3.".
    let welcome = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
    type Pairs<'a> = &'a [(&'a str, &'a str)];
    let examples: [(&str, &str, Pairs<'_>, Pairs<'_>, &str, &str); 4] = [
        (
            "GET",
            "/test.txt",
            &[],
            &[("range", "bytes=0-9")],
            EMPTY,
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/test$file.text",
            &[],
            &[("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")],
            welcome,
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            "GET",
            "/",
            &[("lifecycle", "")],
            &[],
            EMPTY,
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "GET",
            "/",
            &[("max-keys", "2"), ("prefix", "J")],
            &[],
            EMPTY,
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ];
    for (method, path, query, headers, hash, signature) in examples {
        let own = [("host", "examplebucket.s3.amazonaws.com"), ("x-amz-content-sha256", hash)];
        let (headers, path) = ([headers, &own].concat(), encode_path(path));
        let request = Unsigned { method, path: &path, query, headers: &headers, body_sha256: sha256(hash) };
        let found = authorization(&request, &credentials, "us-east-1", "s3", 1_369_353_600_000);
        assert!(found.ends_with(&format!("Signature={signature}")), "{path}: {found}");
    }
}

#[test]
fn times_are_written_as_aws_reads_them() {
    for (seconds, expected) in [
        (0, "19700101T000000Z"),
        (-1, "19700101T000000Z"),
        (951_782_399, "20000228T235959Z"),
        (951_782_400, "20000229T000000Z"),
        (951_868_800, "20000301T000000Z"),
        (1_440_938_160, "20150830T123600Z"),
        (1_704_067_199, "20231231T235959Z"),
        (4_107_542_400, "21000301T000000Z"),
    ] {
        assert_eq!(amz_date(seconds * 1_000 + 999), expected);
    }
}
