use crate::support::{Node, Over, config};
use mainstem_overlay::{Config, Lane};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_without_an_address_is_found_through_another_one() {
    let mut nodes = Vec::new();
    for number in 1..=3 {
        nodes.push(Node::start(number, &config(Over::Quic)).await);
    }
    let [first, middle, last] = &mut nodes[..] else { unreachable!("three were started") };
    // Nobody but the middle knows where the others are.
    middle.wants(&[first, last]);
    first.wants_at(&[(middle.address, Vec::new()), (last.address, Vec::new())]);
    last.wants_at(&[(middle.address, Vec::new()), (first.address, Vec::new())]);
    for node in [&mut *first, &mut *last] {
        let mut met = [node.connected().await.0, node.connected().await.0];
        met.sort_unstable();
        assert!(met.contains(&middle.address), "{met:?}");
    }
    first.send(last, Lane::Live, "found");
    assert_eq!(&last.frame().await.bytes()[..], b"found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_nobody_can_dial_is_reached_through_a_relay() {
    let mut relay = config(Over::Tcp);
    let relay_node = Node::start(1, &relay).await;
    relay.listen = relay_node.bare();
    relay.external_addresses = relay_node.bare();
    relay_node.overlay.stop().await;
    let relay = Node::start(1, &relay).await;

    // It listens nowhere but at the relay.
    let hidden = Config { listen: Vec::new(), relays: relay.at.clone(), ..config(Over::Tcp) };
    let mut hidden = Node::start(2, &hidden).await;
    let mut outside = Node::start(3, &Config { listen: Vec::new(), ..config(Over::Tcp) }).await;
    relay.wants_at(&[(hidden.address, Vec::new()), (outside.address, Vec::new())]);
    hidden.wants_at(&[(relay.address, relay.at.clone()), (outside.address, Vec::new())]);
    let through = format!("{}/p2p-circuit/p2p/{}", relay.at[0], hidden.overlay.peer_id()).parse().unwrap();
    outside.wants_at(&[(relay.address, relay.at.clone()), (hidden.address, vec![through])]);

    let mut met = [outside.connected().await.0, outside.connected().await.0];
    met.sort_unstable();
    assert!(met.contains(&hidden.address), "{met:?}");
    outside.send(&hidden, Lane::Live, "through");
    loop {
        if let mainstem_overlay::Incoming::Frame(frame) = hidden.next().await {
            assert_eq!(&frame.bytes()[..], b"through");
            break;
        }
    }
}
