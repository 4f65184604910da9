//! A log in a bucket, in a whole node: `tools/s3.sh` starts a server that speaks S3, builds the plugin and runs these tests.

use crate::{
    plugins::{module, plugin_command},
    process::{Node, OWNER, public_stream},
    storage::{config, history, publish, refusal},
};
use mainstem_client::{Client, PublishConfig};
use mainstem_model::AckLevel;
use std::{
    fs, io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

const EVENTS: u32 = 300;

/// How long acks are waited for that must not come.
const NO_ACK: Duration = Duration::from_secs(2);

/// Where the server is, and the key of its user.
fn server() -> (String, String, String) {
    let variable = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name}: tools/s3.sh sets it"));
    let keys = variable("MAINSTEM_S3_KEYS");
    let (access_key, secret_key) = keys.split_once(':').unwrap();
    (variable("MAINSTEM_S3"), access_key.to_owned(), secret_key.to_owned())
}

/// Installs the plugin in a data folder with a server granted; gives a configuration that names it as the store.
fn bucket(data: &Path, endpoint: &str) -> PathBuf {
    let file = module("s3");
    let install = ["install", file.to_str().unwrap(), "--grant", "http,clock,log", "--http-host", endpoint];
    let installed = plugin_command(data, &install);
    assert!(installed.contains("scheme = \"s3\" in [store]"), "{installed}");
    let (_, access_key, secret_key) = server();
    // A prefix of its own, as that of each node must be.
    let prefix = data.file_name().unwrap().to_str().unwrap().replace('.', "");
    let text = format!(
        "[store]\nscheme = \"s3\"\n[store.parameters]\nendpoint = \"{endpoint}\"\nbucket = \"mainstem\"\nprefix = \"node/{prefix}/\"\n\
         access_key = \"{access_key}\"\nsecret_key = \"{secret_key}\"\n"
    );
    config(data, &text)
}

async fn durable(node: &Node) -> Client {
    let publish = PublishConfig { ack: AckLevel::Durable.into(), ..PublishConfig::default() };
    node.client_with(OWNER, publish).await
}

fn numbers(until: u32) -> Vec<u32> {
    (0..until).collect()
}

/// What stands between a node and its server, and can be cut.
struct Line {
    at: SocketAddr,
    ends: Arc<Mutex<Ends>>,
}

#[derive(Default)]
struct Ends {
    is_cut: bool,
    open: Vec<TcpStream>,
}

impl Line {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (at, ends) = (listener.local_addr().unwrap(), Arc::<Mutex<Ends>>::default());
        let of_thread = Arc::clone(&ends);
        thread::spawn(move || {
            for near in listener.incoming() {
                let near = near.unwrap();
                let mut ends = of_thread.lock().unwrap();
                if ends.is_cut {
                    continue;
                }
                let far = TcpStream::connect(server).unwrap();
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    from.set_nodelay(true).unwrap();
                    thread::spawn(move || {
                        // Either end may go at any time.
                        drop(io::copy(&mut from, &mut to));
                        drop(to.shutdown(Shutdown::Both));
                    });
                }
                ends.open.extend([near, far]);
            }
        });
        Self { at, ends }
    }

    /// Ends all connections; new ones end at once.
    fn cut(&self) {
        let mut ends = self.ends.lock().unwrap();
        ends.is_cut = true;
        for end in ends.open.drain(..) {
            drop(end.shutdown(Shutdown::Both));
        }
    }

    fn mend(&self) {
        self.ends.lock().unwrap().is_cut = false;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it needs a server that speaks S3"]
async fn what_was_published_is_read_back_from_a_bucket_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let (endpoint, _, secret_key) = server();
    let config = bucket(folder.path(), &endpoint);
    let start = || Node::start_configured(folder.path(), 0, Some(&config), &[]);
    let mut node = start();
    let client = durable(&node).await;
    let at = public_stream(&client).await;
    publish(&client, at, 0..EVENTS).await;
    assert_eq!(history(&client, at).await, numbers(EVENTS));
    node.kill();
    node = start();
    let client = durable(&node).await;
    assert_eq!(history(&client, at).await, numbers(EVENTS));
    publish(&client, at, EVENTS..EVENTS + 10).await;
    node.kill();
    node = start();
    assert_eq!(history(&durable(&node).await, at).await, numbers(EVENTS + 10));
    assert!(!folder.path().join("dev/store/log").exists(), "nothing is kept beside the bucket");
    for entry in fs::read_dir(folder.path().join("dev")).unwrap() {
        let path = entry.unwrap().path();
        let has_key =
            path.is_file() && String::from_utf8_lossy(&fs::read(&path).unwrap()).contains(&secret_key);
        assert!(!has_key, "{} has the key", path.display());
    }
}

#[test]
#[ignore = "it needs a server that speaks S3"]
fn what_keeps_a_node_from_its_bucket_is_said_with_the_parameter_and_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let (endpoint, access_key, secret_key) = server();
    let config = bucket(folder.path(), &endpoint);
    let text = fs::read_to_string(&config).unwrap();
    for (from, to, why) in [
        (access_key.as_str(), "AKIANOBODY", "into access_key"),
        (secret_key.as_str(), "another", "secret_key is not the key that access_key names"),
        ("\"mainstem\"", "\"none-such\"", "write another one into bucket"),
        ("\"mainstem\"", "\"X\"", "the bucket \"X\""),
        ("access_key = ", "access = ", "s3 has no parameter \"access\""),
        (
            endpoint.as_str(),
            "http://127.0.0.1:9",
            "http://127.0.0.1:9 is not granted: have the node's operator grant it, with --http-host",
        ),
    ] {
        fs::write(&config, text.replace(from, to)).unwrap();
        let (code, said) = refusal(folder.path(), &config);
        assert!(code != 0 && said.contains(why), "{code}: {said}");
        assert!(!said.contains(&secret_key), "{said}");
    }
    // Nobody listens there.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let other = tempfile::tempdir().unwrap();
    let config = bucket(other.path(), &format!("http://{closed}"));
    let (code, said) = refusal(other.path(), &config);
    assert!(
        code != 0 && said.contains(&closed.to_string()) && said.contains("unavailable"),
        "{code}: {said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it needs a server that speaks S3"]
async fn a_server_that_is_away_holds_up_what_is_published_and_ends_a_node_that_has_waited_for_long() {
    let folder = tempfile::tempdir().unwrap();
    let (endpoint, ..) = server();
    let line = Line::to(endpoint.strip_prefix("http://").unwrap().parse().unwrap());
    let config = bucket(folder.path(), &format!("http://{}", line.at));
    let mut node = Node::start_configured(folder.path(), 0, Some(&config), &[]);
    let client = durable(&node).await;
    let at = public_stream(&client).await;
    publish(&client, at, 0..10).await;

    line.cut();
    let mut waiting = tokio::spawn({
        let client = client.clone();
        async move { publish(&client, at, 10..20).await }
    });
    assert!(tokio::time::timeout(NO_ACK, &mut waiting).await.is_err(), "acked without a server");
    assert!(node.is_running());
    line.mend();
    waiting.await.unwrap();
    publish(&client, at, 20..30).await;
    assert_eq!(history(&client, at).await, numbers(30));
    node.kill();

    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}[plugins]\nstorage_wait_ms_max = 500\n")).unwrap();
    node = Node::start_configured(folder.path(), 0, Some(&config), &[]);
    let client = durable(&node).await;
    assert_eq!(history(&client, at).await, numbers(30));
    line.cut();
    let publishing = tokio::spawn({
        let client = client.clone();
        async move { publish(&client, at, 30..31).await }
    });
    let status = tokio::task::block_in_place(|| node.wait());
    assert!(!status.success(), "a node whose store has failed ends, so that its supervisor sees it");
    publishing.abort();
    assert!(publishing.await.is_err(), "acked without a server");
    line.mend();
    node = Node::start_configured(folder.path(), 0, Some(&config), &[]);
    let read = history(&durable(&node).await, at).await;
    assert_eq!(read[..30], numbers(30), "what was acked is there");
    drop(node);
}
