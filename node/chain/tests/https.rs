//! Endpoints over https, whose certificate a system authority must have signed.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test prints its figures and fails by panicking"
)]

use mainstem_chain::{ChainError, Rpc, RpcConfig};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ServerConfig, ServerConnection, Stream,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use std::{
    io::{Read, Write},
    net::TcpListener,
    process::Command,
    sync::Arc,
};

/// Set in the child process: where to connect.
const URL: &str = "MAINSTEM_TEST_HTTPS_URL";

/// The system's authorities are read from `SSL_CERT_FILE`, which only a process of its own can be given.
#[test]
fn a_certificate_is_taken_if_the_system_trusts_its_authority_and_else_refused() {
    if let Ok(url) = std::env::var(URL) {
        return ask(&url);
    }
    let (url, certificate) = serve();
    let folder = tempfile::tempdir().unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    for (pem, trusted) in [(certificate, "yes"), (other.cert.pem(), "no")] {
        let file = folder.path().join(trusted);
        std::fs::write(&file, pem).unwrap();
        let status = Command::new(std::env::current_exe().unwrap())
            .env(URL, &url)
            .env("SSL_CERT_FILE", &file)
            .env("TRUSTED", trusted)
            .status()
            .unwrap();
        assert!(status.success(), "trusted: {trusted}");
    }
}

fn ask(url: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rpc = Rpc::new(RpcConfig { retries: 0, ..RpcConfig::one(url) }).unwrap();
    let answer = runtime.block_on(rpc.chain_id());
    match std::env::var("TRUSTED").unwrap().as_str() {
        "yes" => assert_eq!(answer, Ok(7)),
        _ => assert!(
            matches!(&answer, Err(ChainError::Transport { reason, .. }) if reason.contains("certificate")),
            "{answer:?}"
        ),
    }
}

/// Answers every request with `0x7`.
fn serve() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], secret)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, config) = (stream.unwrap(), config.clone());
            std::thread::spawn(move || {
                let mut connection = ServerConnection::new(config).unwrap();
                let mut tls = Stream::new(&mut connection, &mut stream);
                let mut request = [0; 4096];
                while let Ok(1..) = tls.read(&mut request) {
                    let text = String::from_utf8_lossy(&request);
                    let Some(id) =
                        text.split("\"id\":").nth(1).and_then(|rest| rest.split([',', '}']).next())
                    else {
                        continue;
                    };
                    let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":\"0x7\"}}");
                    let _ = write!(tls, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                }
            });
        }
    });
    (url, certificate.pem())
}
