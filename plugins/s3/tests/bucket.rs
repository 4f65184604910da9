//! A bucket over what a node's `http` answers: servers that this test makes up, and a real one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod over_tcp;

use mainstem_plugin_s3::{Bucket, Credentials, Endpoint, Listing, unescaped};
use mainstem_plugin_sdk::{
    Failure, FailureCode, Host, HttpRequest, HttpResponse,
    harness::{Node, Servers},
};
use over_tcp::over_tcp;
use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

fn bucket(endpoint: &str, name: &str) -> Bucket {
    let credentials =
        Credentials { access_key: "AKIDEXAMPLE".into(), secret_key: "secret".into(), session_token: None };
    Bucket::new(Endpoint::new(endpoint).unwrap(), name, "us-east-1", credentials).unwrap()
}

fn node(servers: impl Fn(&HttpRequest<'_>) -> Result<HttpResponse, Failure> + 'static) -> Node {
    Node { servers: Box::new(servers) as Servers, ..Node::default() }
}

fn answer(status: u16, body: &[u8]) -> Result<HttpResponse, Failure> {
    Ok(HttpResponse { status, headers: Vec::new(), body: body.to_vec() })
}

fn header<'a>(request: &HttpRequest<'a>, name: &str) -> Option<&'a str> {
    request.headers.iter().find(|(its, _)| *its == name).map(|(_, value)| *value)
}

#[test]
fn requests_name_the_bucket_by_path_and_are_signed_with_all_that_matters() {
    let asked = Rc::new(RefCell::new(Vec::new()));
    let heard = asked.clone();
    let node = node(move |request| {
        assert_eq!(header(request, "host"), None, "the node says it");
        let signed = header(request, "authorization").unwrap().split("SignedHeaders=").nth(1).unwrap();
        let signed = signed.split(',').next().unwrap().to_owned();
        let hash = header(request, "x-amz-content-sha256").unwrap().to_owned();
        assert_eq!(header(request, "x-amz-date"), Some("20250615T150640Z"));
        heard.borrow_mut().push((request.method.to_owned(), request.url.to_owned(), signed, hash));
        match request.method {
            "GET" if request.url.contains('?') => answer(200, b"<ListBucketResult></ListBucketResult>"),
            "GET" => answer(206, b"x"),
            "DELETE" => answer(204, b""),
            _ => answer(200, b""),
        }
    });
    let (host, bucket) = (Host::new(&node), bucket("https://s3.example:443/", "a-bucket"));
    bucket.put(&host, "of a/b+c", b"abc").unwrap();
    assert_eq!(bucket.read(&host, "name", 10, 5).unwrap(), Some(b"x".to_vec()));
    bucket.delete(&host, "name").unwrap();
    bucket.list(&host, "of a/", Some("to ken="), |_, _| ()).unwrap();
    let all = "host;x-amz-content-sha256;x-amz-date";
    let with_range = "host;range;x-amz-content-sha256;x-amz-date";
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let list = "https://s3.example:443/a-bucket?list-type=2&prefix=of%20a%2F&continuation-token=to%20ken%3D";
    let expected = [
        ("PUT", "https://s3.example:443/a-bucket/of%20a/b%2Bc", all, abc),
        ("GET", "https://s3.example:443/a-bucket/name", with_range, empty),
        ("DELETE", "https://s3.example:443/a-bucket/name", all, empty),
        ("GET", list, all, empty),
    ];
    for (found, (method, url, signed, hash)) in asked.borrow().iter().zip(expected) {
        assert_eq!(*found, (method.to_owned(), url.to_owned(), signed.to_owned(), hash.to_owned()));
    }
    assert_eq!(asked.borrow().len(), 4);
}

#[test]
fn what_a_server_answers_is_told_as_what_it_means() {
    let said = |status, body: &'static [u8]| {
        let node = node(move |_| answer(status, body));
        let (host, bucket) = (Host::new(&node), bucket("http://s3.example", "a-bucket"));
        let code = |failure: Failure| failure.code;
        let put = bucket.put(&host, "name", b"x").map_err(code);
        let read = bucket.read(&host, "name", 0, 4).map_err(code);
        let list = bucket.list(&host, "", None, |_, _| ()).map_err(code);
        (put, read, bucket.delete(&host, "name").map_err(code), list)
    };
    let (invalid, later) = (FailureCode::Invalid, FailureCode::Unavailable);
    let none = b"<Error><Code>NoSuchKey</Code></Error>";
    assert_eq!((said(404, none).1, said(404, none).2), (Ok(None), Ok(())));
    // That is what a proxy says: nothing is known of the object.
    assert_eq!((said(404, b"").1, said(404, b"<html>").2), (Err(later), Err(later)));
    assert_eq!(said(416, b"").1, Ok(Some(Vec::new())));
    assert_eq!(said(206, b"four").1, Ok(Some(b"four".to_vec())));
    assert_eq!(said(206, b"five.").1, Err(later));
    // A server that knows no ranges would give all of it.
    assert_eq!(said(200, b"x").1, Err(later));
    assert_eq!(
        said(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>"),
        (Err(invalid), Err(invalid), Err(invalid), Err(invalid))
    );
    for status in [307, 409, 429, 500, 503] {
        assert_eq!(said(status, b"<html>"), (Err(later), Err(later), Err(later), Err(later)), "{status}");
    }
    assert_eq!(said(301, b"<Error><Code>PermanentRedirect</Code></Error>").0, Err(invalid));
    assert_eq!(said(404, b"<Error><Code>NoSuchKey</Code></Error>").1, Ok(None));
    assert_eq!(said(404, b"<Error><Code>NoSuchBucket</Code></Error>").1, Err(invalid));
}

#[test]
fn what_passes_is_told_by_its_code_and_asked_again_whatever_its_status() {
    for (status, code, is_passing) in [
        (400, "RequestTimeout", true),
        (400, "IncompleteBody", true),
        (400, "BadDigest", true),
        (400, "XAmzContentSHA256Mismatch", true),
        (403, "SlowDown", true),
        (409, "OperationAborted", true),
        (409, "ConditionalRequestConflict", true),
        (503, "SlowDown", true),
        (403, "RequestTimeTooSkewed", false),
        (400, "EntityTooLarge", false),
        (403, "AccessDenied", false),
        (501, "NotImplemented", false),
    ] {
        let count = Rc::new(RefCell::new(0));
        let asked = count.clone();
        let node = node(move |_| {
            *asked.borrow_mut() += 1;
            answer(status, format!("<Error><Code>{code}</Code></Error>").as_bytes())
        });
        let bucket = bucket("http://s3.example", "a-bucket").with_tries(3);
        let refused = bucket.put(&Host::new(&node), "name", b"x").unwrap_err();
        let expected = if is_passing { (FailureCode::Unavailable, 3) } else { (FailureCode::Invalid, 1) };
        assert_eq!((refused.code, *count.borrow()), expected, "{status} {code}");
    }
}

#[test]
fn a_refusal_names_what_the_server_said_and_the_parameter_that_is_to_be_looked_at() {
    for (status, code, remedy) in [
        (403, "InvalidAccessKeyId", "access_key"),
        (403, "SignatureDoesNotMatch", "secret_key"),
        (403, "AccessDenied", "s3:PutObject"),
        (400, "ExpiredToken", "session_token"),
        (404, "NoSuchBucket", "into bucket"),
        (301, "PermanentRedirect", "into region"),
        (400, "AuthorizationHeaderMalformed", "into region"),
        (403, "RequestTimeTooSkewed", "clocks"),
        (418, "ATeapot", "endpoint, bucket, region"),
    ] {
        let node = node(move |_| answer(status, format!("<Error><Code>{code}</Code></Error>").as_bytes()));
        let error =
            bucket("http://s3.example", "a-bucket").put(&Host::new(&node), "name", b"").unwrap_err().message;
        assert!(error.starts_with(&format!("bucket a-bucket: name was answered with {status}, {code}: ")));
        assert!(error.contains(remedy), "{error}");
    }
}

#[test]
fn a_list_is_read_page_by_page_with_names_as_they_are() {
    let read = |xml: &[u8]| {
        let mut objects = Vec::new();
        let next = Listing::new(xml).read(|name, size| objects.push((name.to_owned(), size)))?;
        let name = |name: Vec<u8>| unescaped(&name).map_or("none".to_owned(), |name| name.into_owned());
        let objects: Vec<_> = objects.into_iter().map(|(it, size)| (name(it), size)).collect();
        Ok::<_, Failure>((objects, next))
    };
    let page = |body: &str| {
        let xml = format!("<?xml version=\"1.0\"?><ListBucketResult xmlns=\"x\">{body}</ListBucketResult>");
        let whole = read(xml.as_bytes());
        for length in 0..xml.len() {
            assert!(read(&xml.as_bytes()[..length]).is_err(), "{length} bytes of {xml}");
        }
        whole
    };
    let object = |key: &str, size: u64| {
        format!("<Contents><Key>{key}</Key><ETag>&quot;e&quot;</ETag><Size>{size}</Size></Contents>")
    };
    let listed = |name: &str, size| (name.to_owned(), size);
    let body = format!(
        "<IsTruncated>true</IsTruncated>{}{}<NextContinuationToken>a&amp;b</NextContinuationToken>",
        object("a&lt;&#x41;&#66;&apos;", 0),
        object("b", 7)
    );
    assert_eq!(page(&body).unwrap(), (vec![listed("a<AB'", 0), listed("b", 7)], Some("a&b".into())));
    assert_eq!(page("<IsTruncated>false</IsTruncated>").unwrap(), (Vec::new(), None));
    // As Amazon's has it, in another order, and with elements that are none of this plugin's.
    let body = "<Name>b</Name><KeyCount>2</KeyCount><Contents><Size> 5 </Size><Owner><ID>K</ID></Owner><Key>c</Key></Contents>\
        <Contents><Key>d</Key><StorageClass>STANDARD</StorageClass><Size>18446744073709551615</Size><RestoreStatus/></Contents>";
    assert_eq!(page(body).unwrap(), (vec![listed("c", 5), listed("d", u64::MAX)], None));
    for broken in [
        "<IsTruncated>true</IsTruncated>".to_owned(),
        "<Contents><Key>a</Key></Contents>".to_owned(),
        "<Contents><Size>1</Size></Contents>".to_owned(),
        "<Contents><Key>a</Key><Size>-1</Size></Contents>".to_owned(),
        "<Contents><Key>a</Key><Size></Size></Contents>".to_owned(),
        "<Contents><Key>a</Key><Size>18446744073709551616</Size></Contents>".to_owned(),
        object("a", 1) + "<Contents><Key>b</Key></Contents>",
        // The first one has no size, and it is as far to that of the second one as it was before.
        format!(
            "<KeyCount>3</KeyCount>{}<Contents><Key>b</Key></Contents>{}",
            object("a", 1),
            object("c", 1)
        ),
    ] {
        assert_eq!(page(&broken).unwrap_err().code, FailureCode::Unavailable, "{broken}");
    }
    for none in ["&none;", "&#xd800;", "&"] {
        assert_eq!(unescaped(none.as_bytes()), None);
    }
    assert_eq!(unescaped(b"\xff"), None);
    for none in [&b""[..], b"<html>", b"<ListBucketResult>", b"</ListBucketResult>"] {
        let refused = read(none).unwrap_err();
        assert!(refused.message.contains("endpoint"), "{refused}");
    }
}

#[test]
fn what_is_no_endpoint_and_no_bucket_is_refused() {
    for url in [
        "",
        "s3.example",
        "ftp://s3.example",
        "https://",
        "https://s3.example/path",
        "https://u@s3.example",
        "https://a b",
    ] {
        assert_eq!(Endpoint::new(url).unwrap_err().code, FailureCode::Invalid, "{url}");
    }
    let credentials =
        Credentials { access_key: "a".into(), secret_key: "geheim".into(), session_token: None };
    assert!(!format!("{credentials:?}").contains("geheim"));
    for name in ["", "ab", "A-bucket", "a/b", "a..b", "a?b", &"a".repeat(64)] {
        let endpoint = Endpoint::new("https://s3.example").unwrap();
        let refused = Bucket::new(endpoint, name, "us-east-1", credentials.clone()).unwrap_err();
        assert_eq!(refused.code, FailureCode::Invalid, "{name}");
    }
}

/// `tools/s3.sh` runs it.
#[test]
#[ignore = "it needs a server that speaks S3"]
fn a_server_that_speaks_s3_takes_gives_lists_and_deletes() {
    let variable = |name| std::env::var(name).unwrap();
    let keys = variable("MAINSTEM_S3_KEYS");
    let (access_key, secret_key) = keys.split_once(':').unwrap();
    let bucket = |secret_key: &str| {
        let credentials =
            Credentials { access_key: access_key.into(), secret_key: secret_key.into(), session_token: None };
        let endpoint = Endpoint::new(&variable("MAINSTEM_S3")).unwrap();
        Bucket::new(endpoint, "mainstem", "us-east-1", credentials).unwrap()
    };
    let now_ms =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let node = Node { now_ms, ..node(over_tcp) };
    let (host, right) = (Host::new(&node), bucket(secret_key));
    let wrong = bucket("another").put(&host, "a", b"x").unwrap_err();
    assert!(wrong.message.contains("SignatureDoesNotMatch"), "{}", wrong.message);

    let names: BTreeMap<_, _> =
        (0..1_003).map(|number| (format!("p q/{number:04}+&.records"), number % 7)).collect();
    for (name, bytes) in &names {
        right.put(&host, name, &vec![b'x'; *bytes]).unwrap();
    }
    right.put(&host, "other", b"0123456789").unwrap();
    let (mut found, mut next) = (BTreeMap::new(), None);
    loop {
        let each = |name: &[u8], size: u64| {
            found.extend([(unescaped(name).unwrap().into_owned(), size as usize)]);
        };
        next = right.list(&host, "p q/", next.as_deref(), each).unwrap();
        if next.is_none() {
            break;
        }
    }
    assert_eq!(found, names);
    assert_eq!(right.read(&host, "other", 3, 4).unwrap().unwrap(), b"3456");
    assert_eq!(right.read(&host, "other", 8, 4).unwrap().unwrap(), b"89");
    assert_eq!(right.read(&host, "other", 10, 4).unwrap().unwrap(), b"");
    right.delete(&host, "other").unwrap();
    right.delete(&host, "other").unwrap();
    assert_eq!(right.read(&host, "other", 0, 4).unwrap(), None);
}
