use crate::support::{Node, Over, config, pair, soon};
use bytes::Bytes;
use mainstem_overlay::{Config, Incoming, Lane, SendError};
use std::collections::BTreeMap;

/// Numbers that look random and are the same for the same seed (splitmix64).
fn numbers(mut seed: u64) -> impl FnMut() -> u64 {
    move || {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    eprintln!("SEED={seed}");
    seed
}

/// Sends, and waits where the queue is full.
async fn send(node: &Node, to: mainstem_crypto::Address, lane: Lane, frame: Bytes) {
    soon("room in the queue", async {
        while let Err(error) = node.overlay.try_send(to, lane, frame.clone()) {
            assert!(matches!(error, SendError::Full { .. }), "{error}");
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_arrive_whole_and_in_order_on_each_lane() {
    let seed = seed();
    for over in [Over::Quic, Over::Tcp] {
        let (first, mut second) = pair(&config(over), &config(over)).await;
        let mut number = numbers(seed);
        let sent: Vec<(Lane, Bytes)> = (0..2_000)
            .map(|_| {
                let lane = if number().is_multiple_of(3) { Lane::Bulk } else { Lane::Live };
                let size = match number() % 10 {
                    0 => number() % 300_000,
                    1..=3 => number() % 20_000,
                    _ => number() % 400,
                };
                (lane, (0..=size).map(|at| (at ^ size) as u8).collect())
            })
            .collect();
        let to = second.address;
        let expected: BTreeMap<Lane, Vec<Bytes>> =
            sent.iter().fold(BTreeMap::new(), |mut all, (lane, frame)| {
                all.entry(*lane).or_insert_with(Vec::new).push(frame.clone());
                all
            });
        let sending = async {
            for (lane, frame) in sent {
                send(&first, to, lane, frame).await;
            }
        };
        let receiving = async {
            let mut next: BTreeMap<Lane, usize> = BTreeMap::new();
            for _ in 0..2_000 {
                let frame = second.frame().await;
                let at = next.entry(frame.lane).or_default();
                assert!(
                    frame.bytes() == &expected[&frame.lane][*at],
                    "frame {at} of {} over {over:?}",
                    frame.lane
                );
                *at += 1;
            }
        };
        tokio::join!(sending, receiving);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_read_stalls_only_itself_and_loses_nothing() {
    for over in [Over::Quic, Over::Tcp] {
        let small = Config { queue_bytes_max: 4 << 20, ..config(over) };
        let mut first = Node::start(1, &small).await;
        let (mut deaf, mut other) = (Node::start(2, &small).await, Node::start(3, &small).await);
        first.wants(&[&deaf, &other]);
        deaf.wants(&[&first]);
        other.wants(&[&first]);
        first.connected().await;
        first.connected().await;
        deaf.connected().await;
        other.connected().await;

        // Until nothing goes any more: kernel, windows and inbox are full too, and none of it is drained.
        let frame = |at: u32| Bytes::from([&at.to_be_bytes()[..], &[7; 60_000]].concat());
        let (mut accepted, mut full, mut sent) = (0, 0, 0);
        soon("the queue's being full for good", async {
            while full < 1_000 {
                match first.overlay.try_send(deaf.address, Lane::Live, frame(accepted)) {
                    Ok(()) => {
                        accepted += 1;
                        full = 0;
                    }
                    Err(error) => {
                        assert_eq!(error, SendError::Full { peer: deaf.address, lane: Lane::Live });
                        let metrics = first.overlay.metrics().peers[&deaf.address].live;
                        assert!(metrics.queued_bytes <= 4 << 20);
                        full = if metrics.sent_bytes == sent { full + 1 } else { 0 };
                        sent = metrics.sent_bytes;
                        // The others get to run, on the network too.
                        first.send(&other, Lane::Live, "tick");
                        assert_eq!(&other.frame().await.bytes()[..], b"tick");
                    }
                }
            }
        })
        .await;
        let metrics = first.overlay.metrics();
        assert!(metrics.peers[&deaf.address].live.refused_frames >= 1_000);
        assert!(metrics.peers[&deaf.address].connected, "slow, not gone");
        assert_eq!(metrics.peers[&other.address].live.refused_frames, 0);
        assert!(
            deaf.overlay.metrics().peers[&first.address].live.received_bytes <= 4 << 20,
            "its inbox is bounded"
        );

        // Exactly what is left fits, and not a byte more.
        let left = (4 << 20) - usize::try_from(metrics.peers[&deaf.address].live.queued_bytes).unwrap();
        if left > 64 {
            let refused = first.overlay.try_send(deaf.address, Lane::Live, vec![1; left - 63].into());
            assert_eq!(refused, Err(SendError::Full { peer: deaf.address, lane: Lane::Live }));
            first.send(&deaf, Lane::Live, vec![1; left - 64]);
        }

        for at in 0..accepted {
            assert_eq!(deaf.frame().await.bytes()[..4], at.to_be_bytes(), "in order, none lost");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_that_is_not_read_never_stops_live() {
    for over in [Over::Quic, Over::Tcp] {
        let (first, mut second) = pair(&config(over), &config(over)).await;
        let mut held = Vec::new();
        let mut full = 0;
        let mut sent = 0;
        soon("the bulk lane's being full for good", async {
            while full < 200 {
                let refused =
                    first.overlay.try_send(second.address, Lane::Bulk, vec![9; 50_000].into()).is_err();
                let now = first.overlay.metrics().peers[&second.address].bulk.sent_bytes;
                full = if refused && now == sent { full + 1 } else { 0 };
                sent = now;
                first.send(&second, Lane::Live, "tick");
                loop {
                    let frame = second.frame().await;
                    match frame.lane {
                        // Held, so its bytes count.
                        Lane::Bulk => held.push(frame),
                        Lane::Live => break,
                    }
                }
            }
        })
        .await;
        let cost: usize = held.iter().map(|frame| frame.bytes().len() + 64).sum();
        assert!(cost <= 4 << 20, "{cost}");
        let before = held.len();
        held.clear();
        assert_eq!(second.frame().await.lane, Lane::Bulk, "after {before} were let go, the next comes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_has_one_byte_at_least_and_frame_bytes_max_at_most() {
    let limited = Config { frame_bytes_max: 1_000, ..config(Over::Quic) };
    let (first, mut second) = pair(&limited, &limited).await;
    for size in [0, 1_001] {
        let sent = first.overlay.try_send(second.address, Lane::Live, vec![1; size].into());
        assert_eq!(sent, Err(SendError::FrameSize { bytes: size, bytes_max: 1_000 }));
    }
    first.send(&second, Lane::Live, vec![1; 1_000]);
    assert_eq!(second.frame().await.into_bytes().len(), 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_announces_a_frame_too_large_is_told_and_cut_off() {
    let small = Config { frame_bytes_max: 1_000, ..config(Over::Tcp) };
    let (mut large, mut second) = pair(&config(Over::Tcp), &small).await;
    large.send(&second, Lane::Live, vec![1; 1_001]);
    let told = large.disconnected().await;
    assert_eq!(
        told,
        (
            second.address,
            mainstem_overlay::DisconnectReason::Refused(mainstem_overlay::RefusalCode::FrameTooLarge)
        )
    );
    loop {
        match second.next().await {
            Incoming::Disconnected { reason, .. } => {
                let code = mainstem_overlay::RefusalCode::FrameTooLarge;
                assert_eq!(reason, mainstem_overlay::DisconnectReason::Misbehaved(code));
                break;
            }
            Incoming::Frame(frame) => panic!("{frame:?}"),
            Incoming::Connected { .. } => {}
        }
    }
    assert_eq!(second.overlay.metrics().peers_misbehaved, 1);
}
