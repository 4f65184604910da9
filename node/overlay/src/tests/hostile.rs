use super::raw::{Node, Raw, answer, config, key, soon};
use crate::{Config, DisconnectReason, Incoming, Lane, RefusalCode};
use bytes::Bytes;
use futures_util::{AsyncReadExt, AsyncWriteExt};

/// A node, a broker that it knows and that is connected on the live lane, and that lane.
async fn let_in(transport: usize, config: &Config) -> (Node, Raw, libp2p::swarm::Stream) {
    let mut node = Node::start(1, config).await;
    node.knows(&[2, 3]);
    let mut raw = loop {
        // Until the node knows it.
        let mut raw = Raw::broker(2, &node.at[transport]).await;
        let mut stream = raw.open(Lane::Bulk).await;
        if answer(&mut stream).await.as_deref() == Some("READY") {
            break raw;
        }
    };
    assert!(matches!(node.next().await, Incoming::Connected { peer, .. } if peer == raw.address()));
    // The bulk lane of the loop above is gone, which ends that session; the next is what counts.
    loop {
        if let Incoming::Disconnected { .. } = node.next().await {
            break;
        }
    }
    soon("the end of the connection", raw.closed.recv()).await;
    raw = Raw::broker(2, &node.at[transport]).await;
    let stream = raw.live().await;
    assert!(matches!(node.next().await, Incoming::Connected { peer, .. } if peer == raw.address()));
    (node, raw, stream)
}

async fn ends_with(node: &mut Node, expected: DisconnectReason) {
    loop {
        if let Incoming::Disconnected { peer, reason, .. } = node.next().await {
            assert_eq!((peer, reason), (key(2).address(), expected));
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_too_large_an_empty_one_and_garbage_are_told_and_end_the_session() {
    for transport in 0..2 {
        for (sent, code, text) in [
            ((3_u32 << 20) + 1, RefusalCode::FrameTooLarge, "FRAME_TOO_LARGE "),
            (u32::MAX, RefusalCode::FrameTooLarge, "FRAME_TOO_LARGE "),
            (u32::from_be_bytes(*b"GET "), RefusalCode::FrameTooLarge, "FRAME_TOO_LARGE "),
            (0, RefusalCode::MalformedFrame, "MALFORMED_FRAME "),
        ] {
            let (mut node, _raw, mut lane) = let_in(transport, &config()).await;
            lane.write_all(&sent.to_be_bytes()).await.expect("written");
            lane.write_all(&[b'x'; 100]).await.expect("written");
            lane.flush().await.expect("flushed");
            let said = answer(&mut lane).await.expect("a reason");
            assert!(said.starts_with(text), "{said}");
            drop(lane);
            ends_with(&mut node, DisconnectReason::Misbehaved(code)).await;
            assert_eq!(node.overlay.metrics().peers_misbehaved, 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_of_the_largest_size_is_taken_and_one_that_never_ends_is_not_handed_out() {
    for transport in 0..2 {
        let (mut node, _raw, mut lane) = let_in(transport, &config()).await;
        let frame = vec![5; 3 << 20];
        lane.write_all(&(3_u32 << 20).to_be_bytes()).await.expect("written");
        lane.write_all(&frame).await.expect("written");
        lane.write_all(&100_u32.to_be_bytes()).await.expect("written");
        lane.write_all(&[1; 99]).await.expect("written");
        lane.flush().await.expect("flushed");
        let Incoming::Frame(received) = node.next().await else { panic!("a frame") };
        assert!(received.bytes()[..] == frame[..]);
        lane.close().await.expect("closed");
        ends_with(&mut node, DisconnectReason::Closed).await;
        assert_eq!(node.overlay.metrics().peers[&key(2).address()].live.received_frames, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_is_open_already_is_refused_and_the_first_goes_on() {
    let (mut node, mut raw, mut lane) = let_in(0, &config()).await;
    let mut second = raw.open(Lane::Live).await;
    assert!(answer(&mut second).await.expect("a reason").starts_with("LIMIT_REACHED "));
    lane.write_all(&[0, 0, 0, 2, b'o', b'k']).await.expect("written");
    lane.flush().await.expect("flushed");
    let Incoming::Frame(frame) = node.next().await else { panic!("a frame") };
    assert_eq!(&frame.bytes()[..], b"ok");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_takes_lanes_and_never_answers_fills_its_own_queue_and_nothing_else() {
    let small = Config { queue_bytes_max: 3 << 20, frame_bytes_max: 2 << 20, ..config() };
    let (mut node, mut raw, mut lane) = let_in(0, &small).await;
    // Kept, and not answered; after substream_ms the node asks again.
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(soon("another try", raw.taken.recv()).await.expect("a substream"));
    }
    let peer = raw.address();
    let frame = Bytes::from(vec![1; 1 << 20]);
    for _ in 0..2 {
        node.overlay.try_send(peer, Lane::Live, frame.clone()).expect("room");
    }
    assert!(node.overlay.try_send(peer, Lane::Live, frame).is_err());
    // It is still heard.
    lane.write_all(&[0, 0, 0, 2, b'o', b'k']).await.expect("written");
    lane.flush().await.expect("flushed");
    assert!(matches!(node.next().await, Incoming::Frame(_)));

    // And when it answers at last, it gets all of it.
    let (lane, mut stream) = loop {
        let (lane, mut stream) = soon("another try", raw.taken.recv()).await.expect("a substream");
        if lane == Lane::Live {
            stream.write_all(b"\0\0\0\x05READY").await.expect("written");
            stream.flush().await.expect("flushed");
            break (lane, stream);
        }
        silent.push((lane, stream));
    };
    assert_eq!(lane, Lane::Live);
    for _ in 0..2 {
        let mut frame = vec![0; 4 + (1 << 20)];
        soon("a frame", stream.read_exact(&mut frame)).await.expect("whole");
        assert_eq!(frame[..4], (1_u32 << 20).to_be_bytes());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_refuses_with_nonsense_is_asked_again_and_never_sent_to() {
    let (node, mut raw, _lane) = let_in(0, &config()).await;
    for answer in [&b"\0\0\0\x05NOPE!"[..], b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0"] {
        let (_, mut stream) = soon("another try", raw.taken.recv()).await.expect("a substream");
        // It may be gone before all is written.
        let _ = stream.write_all(answer).await;
        let _ = stream.close().await;
    }
    let metrics = node.overlay.metrics().peers.remove(&raw.address()).expect("wanted");
    assert_eq!((metrics.live.sent_frames, metrics.bulk.sent_frames), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_connection_with_lanes_takes_the_place_of_the_old_one() {
    let (mut node, mut raw, _lane) = let_in(0, &config()).await;
    // The same key from elsewhere: it restarted, and nobody saw it go.
    let mut again = Raw::broker(2, &node.at[0]).await;
    let mut lane = again.live().await;
    ends_with(&mut node, DisconnectReason::Replaced).await;
    assert!(matches!(node.next().await, Incoming::Connected { .. }));
    soon("the old connection's end", raw.closed.recv()).await;
    lane.write_all(&[0, 0, 0, 1, b'!']).await.expect("written");
    lane.flush().await.expect("flushed");
    assert!(matches!(node.next().await, Incoming::Frame(_)));
}
