use crate::support::{Node, Over, config, soon};
use mainstem_overlay::{Config, Lane, OverlayError};
use tokio::io::AsyncWriteExt;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_n_connections_the_nth_is_taken_and_one_more_refused() {
    for over in [Over::Quic, Over::Tcp] {
        let mut full = Node::start(1, &Config { connections_max: 2, ..config(over) }).await;
        let mut others = Vec::new();
        for number in 2..=4 {
            others.push(Node::start(number, &config(over)).await);
        }
        // It dials nobody, so the others' connections are all there are.
        full.wants_at(&others.iter().map(|other| (other.address, Vec::new())).collect::<Vec<_>>());
        for other in &mut others[..2] {
            other.wants(&[&full]);
            other.connected().await;
            full.connected().await;
        }
        assert_eq!(full.overlay.metrics().connections_refused, 0);
        others[2].wants(&[&full]);
        soon("a refusal", async {
            while full.overlay.metrics().connections_refused == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(full.overlay.metrics().connections, 2);
        assert!(!full.overlay.metrics().peers[&others[2].address].connected);
        // When one goes, there is room.
        full.wants_at(&[(others[1].address, Vec::new()), (others[2].address, Vec::new())]);
        others[0].wants(&[]);
        full.disconnected().await;
        assert_eq!(others[2].connected().await.0, full.address);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_leave_room_for_brokers() {
    let mut node = Node::start(1, &Config { strangers_max: 1, ..config(Over::Quic) }).await;
    let (stranger, second) =
        (Node::start(2, &config(Over::Quic)).await, Node::start(3, &config(Over::Quic)).await);
    let mut broker = Node::start(4, &config(Over::Quic)).await;
    node.wants_at(&[(broker.address, Vec::new())]);
    stranger.wants(&[&node]);
    soon("the first stranger's being refused its lanes", async {
        while node.overlay.metrics().strangers_refused == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    second.wants(&[&node]);
    soon("the second stranger's being refused a connection", async {
        while node.overlay.metrics().connections_refused == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    broker.wants(&[&node]);
    assert_eq!(broker.connected().await.0, node.address);
    assert_eq!(node.connected().await.0, broker.address);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_from_one_address_come_at_a_bounded_rate() {
    let bounded = Config { dials_burst_max: 2, dials_per_second_max: 1, ..config(Over::Tcp) };
    let node = Node::start(1, &bounded).await;
    let address = node.at[0].to_string();
    let port: u16 = address.split('/').nth(4).unwrap().parse().unwrap();
    let mut sockets = Vec::new();
    for _ in 0..10 {
        sockets.push(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    }
    soon("refusals", async {
        while node.overlay.metrics().connections_refused < 7 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_at_the_listeners_harms_nobody() {
    let mut node = Node::start(1, &config(Over::Both)).await;
    let udp = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for address in &node.at {
        let text = address.to_string();
        let port: u16 = text.split('/').nth(4).unwrap().parse().unwrap();
        for round in 0..50_u8 {
            let bytes: Vec<u8> =
                (0..1_200_u32).map(|at| (at as u8).wrapping_mul(round).wrapping_add(round)).collect();
            if text.contains("/udp/") {
                udp.send_to(&bytes, ("127.0.0.1", port)).await.unwrap();
            } else {
                let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                // It may be closed on us already.
                let _ = socket.write_all(&bytes).await;
            }
        }
    }
    let mut broker = Node::start(2, &config(Over::Both)).await;
    node.wants(&[&broker]);
    broker.wants(&[&node]);
    node.connected().await;
    broker.connected().await;
    node.send(&broker, Lane::Live, "still here");
    assert_eq!(&broker.frame().await.bytes()[..], b"still here");
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_names_it() {
    for over in [Over::Quic, Over::Tcp] {
        refuses_a_port_in_use(over).await;
    }
}

async fn refuses_a_port_in_use(over: Over) {
    let node = Node::start(1, &config(over)).await;
    let taken = Config { listen: node.bare(), ..config(over) };
    let error = mainstem_overlay::Overlay::start(&taken, &crate::support::key(2)).map(|_| ()).unwrap_err();
    assert!(
        matches!(&error, OverlayError::Listen { address, .. } if *address == node.bare()[0].to_string()),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_bound_of_memory_new_connections_are_refused() {
    let node = Node::start(1, &Config { memory_bytes_max: 1, ..config(Over::Quic) }).await;
    let other = Node::start(2, &config(Over::Quic)).await;
    node.wants_at(&[(other.address, Vec::new())]);
    other.wants(&[&node]);
    soon("a refusal", async {
        while node.overlay.metrics().connections_refused == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(node.overlay.metrics().connections, 0);
}
