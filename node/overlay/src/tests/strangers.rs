use super::raw::{Node, Raw, answer, config, key, soon};
use crate::{Config, Incoming, Lane};
use futures_util::AsyncReadExt;
use libp2p::identity::Keypair;

fn ed25519() -> Keypair {
    Keypair::ed25519_from_bytes([9; 32]).expect("32 bytes")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_told_who_this_is_and_refused_by_code_on_both_lanes_and_transports() {
    for transport in 0..2 {
        let node = Node::start(1, &config()).await;
        node.knows(&[2]);
        for keypair in [ed25519(), crate::address::keypair(&key(3))] {
            let mut raw = Raw::connect(keypair, &node.at[transport]).await;
            let info = soon("identify", raw.identified.recv()).await.expect("it tells");
            assert_eq!(info.protocol_version, "/mainstem/1");
            assert!(info.agent_version.starts_with("mainstem/"), "{}", info.agent_version);
            assert_eq!(crate::address::broker_of(&info.public_key.to_peer_id()), Some(key(1).address()));
            for protocol in ["/mainstem/live/1", "/mainstem/bulk/1", "/mainstem/kad/1", "/ipfs/ping/1.0.0"] {
                assert!(info.protocols.iter().any(|known| known.as_ref() == protocol), "{protocol}");
            }
            for lane in Lane::ALL {
                let mut stream = raw.open(lane).await;
                let said = answer(&mut stream).await.expect("a reason");
                assert!(said.starts_with("NOT_A_BROKER This node exchanges data only"), "{said}");
                assert_eq!(soon("the end", stream.read(&mut [0; 1])).await.expect("closed in order"), 0);
            }
        }
        assert_eq!(node.overlay.metrics().strangers_refused, 4);
        assert!(!node.overlay.metrics().peers[&key(2).address()].connected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_let_in_on_the_same_connection_once_it_is_a_broker() {
    let mut node = Node::start(1, &config()).await;
    let mut raw = Raw::broker(2, &node.at[0]).await;
    let mut stream = raw.open(Lane::Live).await;
    assert!(answer(&mut stream).await.expect("a reason").starts_with("NOT_A_BROKER "));
    node.knows(&[2]);
    // The node opens its own lanes to it as soon as it knows.
    let (_, _lane) = soon("the node's lane", raw.taken.recv()).await.expect("a substream");
    raw.live().await;
    assert!(matches!(node.next().await, Incoming::Connected { peer, .. } if peer == raw.address()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_substreams_waits_at_the_stranger_and_delays_no_broker() {
    for transport in 0..2 {
        let bounded =
            Config { substreams_burst_max: 16, substreams_per_second_max: 50, refusals_max: 4, ..config() };
        let (mut node, mut broker) = (Node::start(1, &bounded).await, Node::start(2, &config()).await);
        node.knows(&[2]);
        broker.overlay.set_peers([(node.overlay.address(), vec![node.at[0].clone()])].into());
        assert!(matches!(broker.next().await, Incoming::Connected { .. }));
        assert!(matches!(node.next().await, Incoming::Connected { .. }));

        let mut raw = Raw::connect(ed25519(), &node.at[transport]).await;
        for _ in 0..60 {
            raw.ask(Lane::Live);
        }
        let begun = std::time::Instant::now();
        let mut held = Vec::new();
        for at in 0..40_u32 {
            // Not read and not closed: it means to keep them.
            if let Some(stream) =
                soon("a substream, in its turn", raw.opened.recv()).await.expect("the task runs")
            {
                held.push(stream);
            }
            let frame = at.to_be_bytes().to_vec();
            broker.overlay.try_send(node.overlay.address(), Lane::Live, frame.into()).expect("room");
            let Incoming::Frame(frame) = node.next().await else { panic!("a frame") };
            assert_eq!(frame.bytes()[..], at.to_be_bytes());
        }
        // 40 came, 16 of them at once, so the others took 20 ms each. The identify substreams count too.
        let metrics = node.overlay.metrics();
        assert!(metrics.substreams_delayed > 0);
        assert!(begun.elapsed().as_millis() >= 400, "{:?}", begun.elapsed());
        assert!(metrics.strangers_dropped > 0, "only {} answers at once", bounded.refusals_max);
        assert!(metrics.peers[&key(2).address()].connected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_peer_has_n_connections_and_not_one_more() {
    let node = Node::start(1, &Config { connections_per_peer_max: 2, ..config() }).await;
    let mut connections = Vec::new();
    for _ in 0..2 {
        let mut raw = Raw::broker(2, &node.at[0]).await;
        soon("identify", raw.identified.recv()).await.expect("it tells");
        connections.push(raw);
    }
    assert_eq!(node.overlay.metrics().connections_refused, 0);
    let mut raw = Raw::broker(2, &node.at[0]).await;
    soon("its end", raw.closed.recv()).await;
    assert_eq!(node.overlay.metrics().connections_refused, 1);
    assert_eq!(node.overlay.metrics().connections, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_whose_connections_are_refused_as_soon_as_they_stand_dials_less_and_less_often() {
    let node = Node::start(1, &config()).await;
    let broker = Node::start(2, &Config { backoff_max_ms: 5_000, ..config() }).await;
    broker.overlay.set_peers([(node.overlay.address(), vec![node.at[0].clone()])].into());
    let refused = async |node: &Node, how: fn(&crate::Metrics) -> u64, least| {
        soon("refusals", async {
            while how(&node.overlay.metrics()) < least {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    // Its lanes are refused, so it waits longer and longer before it opens them, and does not when the next connection stands.
    refused(&node, |metrics| metrics.strangers_refused, 8).await;
    node.overlay.stop().await;
    let begun = std::time::Instant::now();
    let full = Config { listen: node.at.to_vec(), connections_per_peer_max: 0, ..config() };
    let node = Node::start(1, &full).await;
    refused(&node, |metrics| metrics.connections_refused, 6).await;
    // Half of 100, 200, 400, 800 and 1,600 ms at least lie between them.
    assert!(begun.elapsed().as_millis() >= 1_500, "{:?}", begun.elapsed());
}
