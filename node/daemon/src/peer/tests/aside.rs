//! A plugin that takes its time to prove, and what comes meanwhile.

use super::*;
use mainstem_model::{Code, SchemeSigner, SignatureFault, SignatureScheme, SignatureType, SignedHeader};
use std::sync::{Condvar, Mutex};

const SLOW: SignatureType = SignatureType(240);

/// Says yes to whatever it is asked, once it is open.
#[derive(Debug, Default)]
struct Gate {
    open: Mutex<bool>,
    opens: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opens.notify_all();
    }
}

impl SignatureScheme for Gate {
    fn signature_type(&self) -> SignatureType {
        SLOW
    }

    fn speaks_for(&self, origin_type: u8) -> bool {
        origin_type == SLOW.0
    }

    fn verify(&self, items: &[SignedHeader<'_>]) -> Vec<Result<(), SignatureFault>> {
        let shut = self.open.lock().unwrap();
        drop(self.opens.wait_while(shut, |open| !*open).unwrap());
        items.iter().map(|_| Ok(())).collect()
    }
}

#[derive(Debug)]
struct Slow;

impl SchemeSigner for Slow {
    fn signature_type(&self) -> SignatureType {
        SLOW
    }

    fn origin(&self) -> Origin {
        Origin::of_plugin(SLOW.0, b"slow").unwrap()
    }

    fn sign(&self, _: BatchId) -> Result<Vec<u8>, SignatureFault> {
        Ok(vec![1])
    }
}

/// Batches of a series that the plugin proves.
fn slow_batches(series: u64, count: usize) -> Vec<Arc<VerifiedBatch>> {
    let gate = Arc::new(Gate::default());
    gate.open();
    let maker = Verifier::new(NETWORK).with(gate);
    let mut writer = SeriesWriter::new(NETWORK, at(), Signer::scheme(Arc::new(Slow)), SeriesId(series));
    let seal = |number: usize| {
        let batch = writer.seal(&[NewEvent::binary(number as i64, vec![7].into())]).unwrap();
        Arc::new(maker.verify(batch).unwrap())
    };
    (0..count).map(seal).collect()
}

/// Two brokers, the first of which has the plugin, and its gate, which is shut.
async fn slow_pair(proofs_max: usize) -> (Broker, Broker, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let workers = WorkersConfig { threads: 2, plugin_threads: 1, ..WorkersConfig::default() };
    let workers = Workers::with_plugins(&workers, [SLOW]).unwrap();
    let verifier = Verifier::new(NETWORK).with(gate.clone());
    let first = Broker::start_with(1, &NetworkConfig { proofs_max, ..config() }, verifier, workers).await;
    let (first, second) = joined(first, Broker::start(2, &config()).await).await;
    (first, second, gate)
}

fn head_of(batch: &VerifiedBatch) -> (SeriesKey, SeriesHead) {
    (
        SeriesKey::of(batch.header()),
        SeriesHead { next_sequence: batch.header().next_sequence(), ..SeriesHead::START },
    )
}

fn feed(batch: &Arc<VerifiedBatch>) -> PeerMessage {
    PeerMessage::Feed { batch: PeerBatch::Proven(batch.clone()) }
}

fn pulled(pull: u64, batch: &Arc<VerifiedBatch>) -> PeerMessage {
    PeerMessage::Pulled { pull, batch: PeerBatch::Proven(batch.clone()) }
}

fn pull_end(pull: u64) -> PeerMessage {
    PeerMessage::PullEnd { pull, result: Ok(PullEnd { base: 0, more: false }) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_plugin_holds_up_its_own_series_and_nothing_else_of_the_lane() {
    let (mut first, second, gate) = slow_pair(8).await;
    let (slow, others) = (slow_batches(1, 2), batches(NETWORK, 3));
    let (own, other) = (head_of(&slow[1]), head_of(&others[2]));
    for message in [
        PeerMessage::Store { durable: true, batch: others[0].clone() },
        feed(&slow[0]),
        feed(&others[1]),
        feed(&slow[1]),
        PeerMessage::Heads { heads: vec![own, other] },
        PeerMessage::Fed { at: at(), bytes: 5 },
        PeerMessage::Store { durable: false, batch: others[2].clone() },
    ] {
        second.peers.tell(first.address, &message);
    }
    let is = |message: PeerMessage, of: &Arc<VerifiedBatch>| match message {
        PeerMessage::Store { batch, .. } | PeerMessage::Feed { batch: PeerBatch::Proven(batch) } => {
            assert_eq!(batch, *of);
        }
        other => panic!("{other:?}"),
    };
    is(first.message().await, &others[0]);
    is(first.message().await, &others[1]);
    let PeerMessage::Heads { heads } = first.message().await else { panic!("heads") };
    assert_eq!(heads, [other], "what is said of a series comes behind its batches");
    assert!(matches!(first.message().await, PeerMessage::Fed { bytes: 5, .. }));
    is(first.message().await, &others[2]);
    gate.open();
    is(first.message().await, &slow[0]);
    is(first.message().await, &slow[1]);
    let PeerMessage::Heads { heads } = first.message().await else { panic!("heads") };
    assert_eq!(heads, [own]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_more_than_may_wait_for_a_plugin_is_refused_and_the_live_lane_goes_on() {
    let (mut first, second, gate) = slow_pair(2).await;
    let slow = slow_batches(1, 4);
    for batch in &slow[..3] {
        second.peers.tell(first.address, &PeerMessage::Store { durable: false, batch: batch.clone() });
    }
    second.peers.tell(first.address, &feed(&slow[3]));
    second.peers.tell(first.address, &PeerMessage::Unfollow { at: at() });
    let InEvent::PeerFaulty { fault: PeerFault::NoRoom { answer }, .. } = first.next().await else {
        panic!("no refusal")
    };
    match answer.as_deref() {
        Some(PeerMessage::NotHeld { batch, refusal, .. }) => {
            assert_eq!((*batch, refusal.code), (slow[2].id(), Code::Overloaded));
        }
        other => panic!("{other:?}"),
    }
    let InEvent::PeerFaulty { fault: PeerFault::NoRoom { answer }, .. } = first.next().await else {
        panic!("no refusal")
    };
    let bytes = slow[3].bytes().len() as u64;
    assert!(
        matches!(answer.as_deref(), Some(PeerMessage::Fed { bytes: fed, .. }) if *fed == bytes),
        "{answer:?}"
    );
    assert!(matches!(first.message().await, PeerMessage::Unfollow { .. }));
    assert_eq!(first.received("batches_no_room"), 2);
    gate.open();
    for batch in &slow[..2] {
        assert!(matches!(first.message().await, PeerMessage::Store { batch: told, .. } if told == *batch));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_ends_behind_its_own_batches_and_other_pulls_do_not_wait_for_it() {
    let (mut first, second, gate) = slow_pair(3).await;
    let (slow, others) = (slow_batches(1, 3), batches(NETWORK, 1));
    for message in [pulled(1, &slow[0]), pull_end(1), pulled(2, &others[0]), pull_end(2)] {
        second.peers.tell(first.address, &message);
    }
    assert!(matches!(first.message().await, PeerMessage::Pulled { pull: 2, .. }));
    assert!(matches!(first.message().await, PeerMessage::PullEnd { pull: 2, .. }));
    // Three wait aside then: the lane is read no further, and nothing is refused.
    for message in [pulled(3, &slow[1]), pulled(4, &slow[2]), pull_end(4), pull_end(5)] {
        second.peers.tell(first.address, &message);
    }
    second.peers.tell(first.address, &PeerMessage::Unfollow { at: at() });
    assert!(matches!(first.message().await, PeerMessage::Unfollow { .. }), "the other lane goes on");
    gate.open();
    let mut came = Vec::new();
    for _ in 0..6 {
        came.push(match first.message().await {
            PeerMessage::Pulled { pull, .. } => (pull, false),
            PeerMessage::PullEnd { pull, .. } => (pull, true),
            other => panic!("{other:?}"),
        });
    }
    for pull in [1, 4] {
        let of = |end| came.iter().position(|it| *it == (pull, end)).unwrap();
        assert!(of(false) < of(true), "{came:?}");
    }
    assert!(came.contains(&(3, false)) && came.contains(&(5, true)), "{came:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ends_without_waiting_for_a_plugin_and_what_waited_is_dropped() {
    let (mut first, second, gate) = slow_pair(8).await;
    let gone = second.address;
    for batch in slow_batches(1, 3) {
        second.peers.tell(first.address, &PeerMessage::Store { durable: false, batch });
    }
    second.peers.tell(first.address, &PeerMessage::Unfollow { at: at() });
    assert!(matches!(first.message().await, PeerMessage::Unfollow { .. }));
    second.peers.stop().await;
    assert!(matches!(first.next().await, InEvent::PeerDown { peer } if peer == gone));
    assert_eq!(first.received("frames_late"), 3);
    gate.open();
}
