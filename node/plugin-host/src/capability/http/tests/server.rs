use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// A server on this machine that behaves as each request's path says.
pub(super) struct Server {
    /// `scheme://host:port`.
    pub(super) url: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    connections: AtomicUsize,
    stopped: AtomicBool,
    requests: Mutex<usize>,
    heard: Condvar,
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

impl Server {
    pub(super) fn start() -> Self {
        Self::over("http://127.0.0.1", |stream| Box::new(stream))
    }

    /// Over TLS, with a certificate of its own.
    pub(super) fn with_tls() -> (Self, CertificateDer<'static>) {
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der()));
        let certificate = issued.cert.der().clone();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let config = Arc::new(config);
        let tls = move |stream| -> Box<dyn Stream> {
            Box::new(StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream))
        };
        (Self::over("https://localhost", tls), certificate)
    }

    fn over(host: &str, wrap: impl Fn(std::net::TcpStream) -> Box<dyn Stream> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{host}:{}", listener.local_addr().unwrap().port());
        let shared = Arc::<Shared>::default();
        let served = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if served.stopped.load(Ordering::Relaxed) {
                    return;
                }
                served.connections.fetch_add(1, Ordering::Relaxed);
                let (stream, shared) = (wrap(stream.unwrap()), served.clone());
                thread::spawn(move || drop(serve(BufReader::new(stream), &shared)));
            }
        });
        Self { url, shared }
    }

    pub(super) fn authority(&self) -> &str {
        self.url.split("//").nth(1).unwrap()
    }

    pub(super) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Until it has read a request.
    pub(super) fn wait_for_request(&self) {
        let requests = self.shared.requests.lock().unwrap();
        drop(self.shared.heard.wait_while(requests, |requests| *requests == 0).unwrap());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        drop(std::net::TcpStream::connect(self.authority().replace("localhost", "127.0.0.1")));
    }
}

/// Head and body of requests, one after the other.
fn serve(mut stream: BufReader<Box<dyn Stream>>, shared: &Shared) -> io::Result<()> {
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let lower = head.to_ascii_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body)?;
        *shared.requests.lock().unwrap() += 1;
        shared.heard.notify_all();
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let to = stream.get_mut();
        if !behave(&mut **to, path, query, &[head.as_bytes(), &body].concat())? {
            return Ok(());
        }
        to.flush()?;
    }
}

/// Whether the connection goes on.
fn behave(to: &mut dyn Stream, path: &str, query: &str, heard: &[u8]) -> io::Result<bool> {
    let bytes: usize = query.parse().unwrap_or(0);
    let is_head = heard.starts_with(b"HEAD");
    match path {
        "/echo" => {
            let length = heard.len();
            write!(
                to,
                "HTTP/1.1 200 OK\r\nx-told: yes\r\nX-Told: twice\r\ncontent-length: {length}\r\n\r\n"
            )?;
            to.write_all(if is_head { &[] } else { heard })?;
        }
        "/empty" => to.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?,
        "/redirect" => {
            write!(to, "HTTP/1.1 307 Elsewhere\r\nlocation: {query}\r\ncontent-length: 0\r\n\r\n")?;
        }
        "/length" => {
            write!(to, "HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n")?;
            to.write_all(&vec![7; bytes])?;
        }
        "/chunked" => {
            to.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
            for chunk in vec![7; bytes].chunks(1_000) {
                write!(to, "{:x}\r\n", chunk.len())?;
                to.write_all(chunk)?;
                to.write_all(b"\r\n")?;
            }
            to.write_all(b"0\r\n\r\n")?;
        }
        "/endless" => {
            to.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
            loop {
                write!(to, "400\r\n{}\r\n", "x".repeat(1_024))?;
            }
        }
        "/huge" => to.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9223372036854775807\r\n\r\n")?,
        "/headers" => {
            to.write_all(b"HTTP/1.1 200 OK\r\n")?;
            loop {
                write!(to, "x: {}\r\n", "y".repeat(1_024))?;
            }
        }
        "/many-headers" => {
            to.write_all(b"HTTP/1.1 200 OK\r\n")?;
            for number in 0..200 {
                write!(to, "x-{number}: y\r\n")?;
            }
            to.write_all(b"content-length: 0\r\n\r\n")?;
        }
        "/close" => return Ok(false),
        "/garbage" => {
            to.write_all(b"\x01\x02 this is no HTTP at all\r\n\r\n")?;
            return Ok(false);
        }
        "/short" => {
            to.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nless")?;
            return Ok(false);
        }
        "/short-chunk" => {
            to.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n100\r\nless")?;
            return Ok(false);
        }
        "/bad-chunk" => {
            to.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nless\r\n0\r\n\r\n")?;
            return Ok(false);
        }
        "/two-lengths" => {
            to.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nright")?;
            return Ok(false);
        }
        "/long" => {
            to.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nrightHTTP/1.1 200 OK\r\n\r\nwrong")?
        }
        "/drip" => {
            to.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n")?;
            loop {
                to.write_all(b"x")?;
                to.flush()?;
                thread::sleep(Duration::from_millis(20));
            }
        }
        // It reads on and says nothing.
        _ => {}
    }
    Ok(true)
}
