use crate::support::{Node, Over, config, pair, soon};
use mainstem_overlay::{Direction, DisconnectReason, Incoming, Lane, SendError, Transport};
use std::collections::BTreeSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_brokers_connect_over_quic_where_both_have_it_and_over_tcp_alone() {
    for (over, transport) in
        [(Over::Quic, Transport::Quic), (Over::Tcp, Transport::Tcp), (Over::Both, Transport::Quic)]
    {
        let (mut first, mut second) = pair(&config(over), &config(over)).await;
        first.send(&second, Lane::Live, "there");
        assert_eq!(&second.frame().await.bytes()[..], b"there", "{over:?}");
        second.send(&first, Lane::Bulk, "and back");
        let frame = first.frame().await;
        assert_eq!((frame.peer, frame.lane), (second.address, Lane::Bulk));
        let metrics = first.overlay.metrics().peers.remove(&second.address).unwrap();
        assert!(metrics.connected);
        assert_eq!(metrics.transport, Some(transport), "{over:?}");
        assert_eq!((metrics.live.sent_frames, metrics.live.sent_bytes), (1, 5));
        assert_eq!((metrics.bulk.received_frames, metrics.bulk.received_bytes), (1, 8));
        assert_eq!(metrics.sessions, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_round_trip_is_measured() {
    let (first, second) = pair(&config(Over::Quic), &config(Over::Quic)).await;
    let rtt = soon("a measurement", async {
        loop {
            if let Some(rtt) = first.overlay.metrics().peers[&second.address].rtt {
                return rtt;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(rtt.as_secs() < 5, "{rtt:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_brokers_connect_each_to_each_and_once() {
    for over in [Over::Quic, Over::Tcp] {
        let mut nodes = Vec::new();
        for number in 1..=5 {
            nodes.push(Node::start(number, &config(over)).await);
        }
        for node in &nodes {
            // Itself is among them, and is passed over.
            node.wants(&nodes.iter().collect::<Vec<_>>());
        }
        let all: BTreeSet<_> = nodes.iter().map(|node| node.address).collect();
        for node in &mut nodes {
            let mut met = BTreeSet::new();
            while met.len() < 4 {
                met.insert(node.connected().await.0);
            }
            met.insert(node.address);
            assert_eq!(met, all);
        }
        for from in &nodes {
            for to in nodes.iter().filter(|to| to.address != from.address) {
                from.send(to, Lane::Live, from.address.as_bytes().to_vec());
            }
        }
        for node in &mut nodes {
            let mut heard = BTreeSet::new();
            while heard.len() < 4 {
                let frame = node.frame().await;
                assert_eq!(&frame.bytes()[..], frame.peer.as_bytes());
                heard.insert(frame.peer);
            }
        }
        for node in &nodes {
            for (peer, metrics) in node.overlay.metrics().peers {
                assert_eq!(metrics.sessions, 1, "{} with {peer} over {over:?}", node.address);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_side_needs_no_address_of_the_other_and_no_peer_id() {
    let (mut first, mut second) =
        (Node::start(1, &config(Over::Both)).await, Node::start(2, &config(Over::Both)).await);
    first.wants_at(&[(second.address, Vec::new())]);
    second.wants_at(&[(first.address, first.bare())]);
    assert_eq!(first.connected().await, (second.address, Direction::Incoming));
    assert_eq!(second.connected().await, (first.address, Direction::Outgoing));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_restarts_is_connected_again() {
    for over in [Over::Quic, Over::Tcp] {
        let (mut first, second) = pair(&config(over), &config(over)).await;
        let mut again = config(over);
        again.listen = second.bare();
        second.overlay.stop().await;
        drop(second.inbox);
        // Right away, so the first may not have seen it go; later, so that it has.
        for _ in 0..2 {
            let mut second = Node::start(2, &again).await;
            second.wants(&[&first]);
            assert_eq!(first.disconnected().await.0, second.address, "{over:?}");
            assert_eq!(first.connected().await.0, second.address, "{over:?}");
            assert_eq!(second.connected().await.0, first.address, "{over:?}");
            first.send(&second, Lane::Live, "again");
            assert_eq!(&second.frame().await.bytes()[..], b"again");
            second.overlay.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_the_other_does_not_know_is_refused_until_it_is_known() {
    let (mut first, mut second) =
        (Node::start(1, &config(Over::Quic)).await, Node::start(2, &config(Over::Quic)).await);
    first.wants(&[&second]);
    soon("a refusal", async {
        while second.overlay.metrics().strangers_refused < 4 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let sent = first.overlay.try_send(second.address, Lane::Live, "early".into());
    assert_eq!(sent, Err(SendError::NotConnected(second.address)));
    assert!(!first.overlay.metrics().peers[&second.address].connected);

    second.wants_at(&[(first.address, Vec::new())]);
    assert_eq!(first.connected().await.0, second.address);
    assert_eq!(second.connected().await.0, first.address);
    first.send(&second, Lane::Live, "now");
    assert_eq!(&second.frame().await.bytes()[..], b"now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_no_longer_wanted_is_disconnected_and_comes_back_when_it_is() {
    let (mut first, mut second) = pair(&config(Over::Quic), &config(Over::Quic)).await;
    first.wants(&[]);
    assert_eq!(first.disconnected().await, (second.address, DisconnectReason::Removed));
    assert_eq!(second.disconnected().await.0, first.address);
    assert!(first.overlay.try_send(second.address, Lane::Live, "x".into()).is_err());
    first.wants(&[&second]);
    assert_eq!(first.connected().await.0, second.address);
    loop {
        // It may have been let in and cut off while it was being removed.
        if matches!(second.next().await, Incoming::Connected { peer, .. } if peer == first.address) {
            break;
        }
    }
    first.send(&second, Lane::Live, "welcome");
    loop {
        if let Incoming::Frame(frame) = second.next().await {
            assert_eq!(&frame.bytes()[..], b"welcome");
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sessions_number_is_on_all_that_comes_of_it_and_never_comes_again() {
    let mut first = Node::start(1, &config(Over::Quic)).await;
    let second = Node::start(2, &config(Over::Quic)).await;
    second.wants(&[&first]);
    let mut last = 0;
    for _ in 0..2 {
        first.wants(&[&second]);
        let Incoming::Connected { session, .. } = first.next().await else { panic!("a beginning") };
        assert!(session > last, "{session} after {last}");
        last = session;
        for lane in [Lane::Live, Lane::Bulk] {
            soon("a session at the other end", async {
                while second.overlay.try_send(first.address, lane, "x".into()).is_err() {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            assert_eq!(first.frame().await.session, session);
        }
        first.wants(&[]);
        let Incoming::Disconnected { session: ended, .. } = first.next().await else { panic!("an end") };
        assert_eq!(ended, session);
        soon("the end at the other end", async {
            while second.overlay.metrics().peers[&first.address].connected {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_at_which_another_broker_answers_is_not_taken_for_the_wanted_one() {
    let (mut first, second, mut third) = (
        Node::start(1, &config(Over::Quic)).await,
        Node::start(2, &config(Over::Quic)).await,
        Node::start(3, &config(Over::Quic)).await,
    );
    second.wants(&[&first]);
    third.wants(&[&first]);
    // Two addresses of the third, one of them the second's.
    let mut mixed = second.bare();
    mixed.extend(third.bare());
    first.wants_at(&[(third.address, mixed)]);
    assert_eq!(first.connected().await.0, third.address);
    assert_eq!(third.connected().await.0, first.address);
    assert!(!second.overlay.metrics().peers[&first.address].connected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_not_sought_is_not_dialed_and_may_come() {
    let mut nodes = Vec::new();
    for number in 1..=3 {
        nodes.push(Node::start(number, &config(Over::Quic)).await);
    }
    for node in &nodes {
        node.overlay.seek(Some(BTreeSet::new()));
        node.wants(&nodes.iter().collect::<Vec<_>>());
    }
    let [first, second, third] = &mut nodes[..] else { panic!("there are three") };
    first.overlay.seek(Some([second.address].into()));
    assert_eq!(first.connected().await, (second.address, Direction::Outgoing));
    assert_eq!(second.connected().await, (first.address, Direction::Incoming), "it takes who comes");
    third.overlay.seek(Some([second.address].into()));
    assert_eq!(second.connected().await.0, third.address);
    assert_eq!(
        third.connected().await.0,
        second.address,
        "it had no session before, though all were told of it"
    );
    first.overlay.seek(Some(BTreeSet::new()));
    assert_eq!(first.disconnected().await, (second.address, DisconnectReason::Removed));
    assert_eq!(second.disconnected().await.0, first.address);
    first.overlay.seek(None);
    let mut met = BTreeSet::new();
    while met.len() < 2 {
        met.insert(first.connected().await.0);
    }
    assert_eq!(met, [second.address, third.address].into(), "all are dialed");
}
