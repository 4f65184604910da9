//! A libp2p of another language: js-libp2p, as npm has it. `tools/setup.sh` installs it.

use crate::support::{Node, Over, config, key, soon};
use mainstem_overlay::Incoming;
use std::path::Path;
use tokio::process::Command;

/// What the script prints, a line for each address.
async fn stranger(addresses: &[String], key: Option<&str>) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/js");
    assert!(
        folder.join("node_modules").is_dir(),
        "run tools/setup.sh: it installs the packages of {}",
        folder.display()
    );
    let mut command = Command::new("node");
    command.arg("stranger.mjs").args(addresses).current_dir(folder).env_remove("KEY").kill_on_drop(true);
    if let Some(key) = key {
        command.env("KEY", key);
    }
    let output = soon("the script's end", command.output()).await.expect("node runs");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "the script ended with {}\n{said}\n{errors}", output.status);
    String::from_utf8(output.stdout).unwrap().lines().map(ToOwned::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n8_js_libp2p_connects_over_quic_and_tcp_identifies_and_is_refused_until_it_is_a_broker() {
    let mut node = Node::start(1, &config(Over::Both)).await;
    let addresses: Vec<_> = node.at.iter().map(ToString::to_string).collect();
    assert_eq!(addresses.len(), 2);

    // With a key of another kind, with a broker's kind of key that is no broker's, and with a broker's.
    let broker = key(2);
    let secret = "02".repeat(32);
    for (key, refused) in [(None, true), (Some(secret.as_str()), true), (Some(secret.as_str()), false)] {
        if !refused {
            node.wants_at(&[(broker.address(), Vec::new())]);
        }
        let lines = stranger(&addresses, key).await;
        assert_eq!(lines.len(), 2, "{lines:?}");
        for (line, address) in lines.iter().zip(&addresses) {
            eprintln!("{line}");
            let has = |text: &str| assert!(line.contains(text), "{text} is not in {line}");
            has(address);
            has(r#""protocolVersion":"/mainstem/1""#);
            has(r#""agentVersion":"mainstem/"#);
            has(&format!(r#""peer":"{}""#, node.overlay.peer_id()));
            has(r#""keyType":"secp256k1""#);
            for protocol in ["/mainstem/live/1", "/mainstem/bulk/1", "/mainstem/kad/1", "/ipfs/ping/1.0.0"] {
                has(&format!("\"{protocol}\""));
            }
            if address.contains("/tcp/") {
                has(r#""encryption":"/noise","multiplexer":"/yamux/1.0.0""#);
            }
            for lane in ["live", "bulk"] {
                if refused {
                    has(&format!(
                        r#""/mainstem/{lane}/1":{{"text":"NOT_A_BROKER This node exchanges data only"#
                    ));
                    has(r#","closed":true}"#);
                } else {
                    has(&format!(r#""/mainstem/{lane}/1":{{"text":"READY","closed":false}}"#));
                }
            }
        }
    }
    assert_eq!(node.overlay.metrics().strangers_refused, 8);
    let (mut sessions, mut heard) = (0, Vec::new());
    while sessions < 2 || heard.len() < 4 {
        match node.next().await {
            Incoming::Connected { peer, .. } => {
                assert_eq!(peer, broker.address());
                sessions += 1;
            }
            Incoming::Frame(frame) => heard.push(String::from_utf8(frame.bytes().to_vec()).unwrap()),
            Incoming::Disconnected { .. } => {}
        }
    }
    heard.sort();
    let (live, bulk) = ("hello on /mainstem/live/1", "hello on /mainstem/bulk/1");
    assert_eq!(heard, [bulk, bulk, live, live]);
}
