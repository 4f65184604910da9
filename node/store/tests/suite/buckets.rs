//! The plugin `s3` over a server of this test that has as many objects as one can be started with: what a start costs.

use crate::plugins;
use mainstem_plugin_host::StoragePlugin;
use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    thread,
};

/// Names on a page, as Amazon has it.
const PAGE: usize = 1_000;

/// A server with so many objects behind any prefix, named as those of a log, and beside each one with what was trimmed of it. It lists them as
/// Amazon does, and answers nothing else but that there is no such object.
fn server(objects: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().for_each(|stream| serve(stream.unwrap(), objects)));
    format!("http://{at}")
}

fn serve(stream: TcpStream, objects: usize) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let mut stream = stream;
    while let Some(request) = lines.next() {
        // GET has no body.
        lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
        let (status, body) = match request.split_once("?list-type=2") {
            Some((_, query)) => ("200 OK", page(query, objects)),
            None => ("404 Not Found", "<Error><Code>NoSuchKey</Code></Error>".to_owned()),
        };
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).unwrap();
    }
}

fn page(query: &str, objects: usize) -> String {
    let value = |name: &str| {
        let (_, rest) = query.split_once(name)?;
        rest.split(['&', ' ']).next().map(|value| value.replace("%2F", "/"))
    };
    let prefix = value("prefix=").unwrap();
    let from: usize = value("continuation-token=").map_or(0, |token| token.parse().unwrap());
    let until = (2 * objects).min(from + PAGE);
    let contents = (from..until).map(|number| {
        format!(
            "<Contents><Key>{prefix}{:016x}.{}</Key><LastModified>2025-06-15T15:06:40.000Z</LastModified>\
             <ETag>&quot;900150983cd24fb0d6963f7d28e17f72&quot;</ETag><ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm>\
             <ChecksumType>FULL_OBJECT</ChecksumType><Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
            number / 2,
            ["gone", "records"][number % 2],
            1_000 + number
        )
    });
    let is_cut = until < 2 * objects;
    let next = if is_cut {
        format!("<NextContinuationToken>{until}</NextContinuationToken>")
    } else {
        String::new()
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <Name>bucket</Name><Prefix>{prefix}</Prefix>{next}<KeyCount>{}</KeyCount><MaxKeys>1000</MaxKeys>\
         <IsTruncated>{is_cut}</IsTruncated>{}</ListBucketResult>",
        until - from,
        contents.collect::<String>()
    )
}

fn start(objects: usize) -> Result<StoragePlugin, String> {
    let endpoint = server(objects);
    let parameters = [
        ("endpoint", endpoint.as_str()),
        ("bucket", "bucket"),
        ("prefix", "log/"),
        ("access_key", "AKIDEXAMPLE"),
        ("secret_key", "secret"),
    ];
    plugins::try_start("s3", None, &endpoint, &parameters)
}

#[test]
fn a_bucket_of_as_many_objects_as_may_be_is_opened_in_one_call_and_one_of_more_is_refused() {
    let counters = |objects| start(objects).unwrap().plugin().counters();
    let of_page = (counters(30 * PAGE).fuel - counters(5 * PAGE).fuel) / 50;
    println!("{of_page} of fuel for a page of {PAGE} names");
    assert!(of_page < 4_500_000, "{of_page} for a page");
    let all = counters(160_000);
    println!("{} of fuel and {} bytes of memory for 320,000 names", all.fuel, all.memory_bytes_high);
    // Half a second for each page's answer costs 2 million.
    assert!(all.fuel + 320 * 2_000_000 < 2_000_000_000, "{all:?}");
    // Indices and objects that are kept in memory come to that.
    assert!(all.memory_bytes_high < 48 << 20, "{all:?}");
    let refused = start(160_001).unwrap_err();
    assert!(refused.contains("the prefix log/ has more than 160000 objects"), "{refused}");
}
