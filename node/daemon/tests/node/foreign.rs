//! A batch that another program signed (`examples/foreign-signer`, viem), over HTTP at a running node.

use crate::process::{Node, OWNER, now_ms, public_stream};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
};

/// Check C6 of the first issue.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_viem_is_taken_and_with_any_one_bit_changed_it_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path());
    let stream = public_stream(&node.client(OWNER).await).await.stream.to_string();
    let mut http = Http::open(&node);
    let (_, info) = http.ask("GET", "/info", None);
    let events: Vec<_> = (0..3)
        .map(|n| json!({"timestamp": now_ms(), "contentType": 1, "encryptionType": 0, "content": format!("0x7b226e223a3{n}7d")}))
        .collect();
    let request = folder.path().join("request.json");
    let body = json!({
        "secretKey": OWNER, "chainId": info["network"]["chainId"], "registry": info["network"]["registry"],
        "stream": stream, "partition": 0, "series": "77", "sequence": 0, "previous": format!("0x{}", "00".repeat(32)),
        "events": events,
    });
    fs::write(&request, body.to_string()).unwrap();
    let batch = sign(&request);
    let path = format!("/streams/{stream}/batches");

    let mut codes: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut changed = Vec::new();
    for field in ["header", "signature"] {
        for other in flips(batch[field].as_str().unwrap()) {
            let mut batch = batch.clone();
            batch[field] = other.into();
            changed.push((field, batch));
        }
    }
    for n in 0..3 {
        for other in flips(batch["events"][n]["content"].as_str().unwrap()) {
            let mut batch = batch.clone();
            batch["events"][n]["content"] = other.into();
            changed.push(("content", batch));
        }
    }
    assert_eq!(changed.len(), (203 + 65 + 3 * 7) * 8);
    for (field, batch) in &changed {
        let (status, answer) = http.ask("POST", &path, Some(batch));
        assert!((400..500).contains(&status), "{field}: {status} {answer}");
        let code = answer["code"].as_str().unwrap().to_owned();
        *codes.entry(((*field).to_owned(), code)).or_default() += 1;
    }
    println!("{} changed batches refused: {codes:?}", changed.len());
    let count =
        |field: &str, code: &str| codes.get(&(field.to_owned(), code.to_owned())).copied().unwrap_or(0);
    assert_eq!(count("content", "MERKLE_ROOT_MISMATCH"), 3 * 7 * 8);
    assert_eq!(count("signature", "INVALID_SIGNATURE"), 65 * 8);
    assert_eq!(count("header", "WRONG_NETWORK"), 32 * 8);
    assert_eq!(count("header", "MERKLE_ROOT_MISMATCH"), 32 * 8);

    let (status, answer) = http.ask("POST", &path, Some(&batch));
    assert_eq!((status, &answer["duplicate"]), (200, &json!(false)), "{answer}");
    let (status, answer) = http.ask("POST", &path, Some(&batch));
    assert_eq!((status, &answer["duplicate"]), (200, &json!(true)), "{answer}");
}

/// What the program makes of the request.
fn sign(request: &Path) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/foreign-signer");
    let signed = Command::new("node").arg("sign.mjs").arg(request).current_dir(folder).output().unwrap();
    let errors = String::from_utf8_lossy(&signed.stderr);
    assert!(signed.status.success(), "{errors} (tools/setup.sh installs its packages)");
    serde_json::from_slice(&signed.stdout).unwrap()
}

/// The same bytes in hex, each time with another bit changed.
fn flips(hex_text: &str) -> impl Iterator<Item = String> {
    let bytes = hex::decode(hex_text.strip_prefix("0x").unwrap()).unwrap();
    (0..bytes.len() * 8).map(move |bit| {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        format!("0x{}", hex::encode(bytes))
    })
}

/// One kept connection.
pub(crate) struct Http {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Http {
    pub(crate) fn open(node: &Node) -> Self {
        let url = node.http();
        let host = url.strip_prefix("http://").unwrap().to_owned();
        let stream = TcpStream::connect(&host).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream), host }
    }

    pub(crate) fn ask(&mut self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let body = body.map(Value::to_string).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        self.stream.get_mut().write_all(head.as_bytes()).unwrap();
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }
}
