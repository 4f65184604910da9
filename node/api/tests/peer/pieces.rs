//! By whom a message's batches are proven.

use crate::samples::{NETWORK, at, frame, page};
use mainstem_api::{Answer, Workers, WorkersConfig, peer::decode};
use mainstem_crypto::SecretKey;
use mainstem_model::{
    BatchId, Code, NewEvent, Origin, SchemeSigner, SeriesId, SeriesWriter, SignatureFault, SignatureScheme,
    SignatureType, SignedHeader, Signer, VerifiedBatch, Verifier,
};
use mainstem_protocol::{PeerBatch, PeerFault, PeerMessage};
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

const SLOW: SignatureType = SignatureType(240);
const OTHER: SignatureType = SignatureType(241);

/// Takes its own type's number for a signature, and notes by which threads it was asked and how often.
#[derive(Debug)]
struct Noting {
    signed: SignatureType,
    threads: Mutex<BTreeSet<String>>,
    asked: AtomicUsize,
}

impl Noting {
    fn new(signed: SignatureType) -> Arc<Self> {
        Arc::new(Self { signed, threads: Mutex::default(), asked: AtomicUsize::new(0) })
    }

    fn threads(&self) -> Vec<String> {
        self.threads.lock().unwrap().iter().cloned().collect()
    }
}

impl SignatureScheme for Noting {
    fn signature_type(&self) -> SignatureType {
        self.signed
    }

    fn speaks_for(&self, origin_type: u8) -> bool {
        origin_type == self.signed.0
    }

    fn verify(&self, items: &[SignedHeader<'_>]) -> Vec<Result<(), SignatureFault>> {
        self.asked.fetch_add(items.len(), Ordering::SeqCst);
        self.threads.lock().unwrap().insert(thread::current().name().unwrap_or_default().to_owned());
        let judge = |item: &SignedHeader<'_>| match item.signature {
            [tag] if *tag == self.signed.0 => Ok(()),
            _ => Err(SignatureFault::Invalid),
        };
        items.iter().map(judge).collect()
    }
}

#[derive(Debug)]
struct Tag(SignatureType, u8);

impl SchemeSigner for Tag {
    fn signature_type(&self) -> SignatureType {
        self.0
    }

    fn origin(&self) -> Origin {
        Origin::of_plugin(self.0.0, b"me").unwrap()
    }

    fn sign(&self, _: BatchId) -> Result<Vec<u8>, SignatureFault> {
        Ok(vec![self.1])
    }
}

/// Two plugins with a thread each, and who proves.
struct Bench {
    slow: Arc<Noting>,
    other: Arc<Noting>,
    workers: Workers,
    verifier: Arc<Verifier>,
}

impl Bench {
    fn new() -> Self {
        let (slow, other) = (Noting::new(SLOW), Noting::new(OTHER));
        let config = WorkersConfig { threads: 2, plugin_threads: 1, ..WorkersConfig::default() };
        let workers = Workers::with_plugins(&config, [SLOW, OTHER]).unwrap();
        let verifier = Arc::new(Verifier::new(NETWORK).with(slow.clone()).with(other.clone()));
        Self { slow, other, workers, verifier }
    }

    /// `count` batches of a series of its own, of one event each.
    fn batches(&self, signed: SignatureType, count: usize) -> Vec<Arc<VerifiedBatch>> {
        let signer = match signed {
            SignatureType::SECP256K1 => Signer::wallet(SecretKey::from_bytes(&[7; 32]).unwrap()),
            signed => Signer::scheme(Arc::new(Tag(signed, signed.0))),
        };
        // Whoever only makes batches is not noted.
        let maker = Verifier::new(NETWORK).with(Noting::new(SLOW)).with(Noting::new(OTHER));
        let mut writer = SeriesWriter::new(NETWORK, at(0), signer, SeriesId(1));
        let seal = |number: usize| {
            let batch = writer.seal(&[NewEvent::binary(number as i64, vec![5].into())]).unwrap();
            Arc::new(maker.verify(batch).unwrap())
        };
        (0..count).map(seal).collect()
    }

    async fn prove(&self, message: &PeerMessage) -> Answer<Result<PeerMessage, PeerFault>> {
        decode(frame(message)).unwrap().unwrap().prove_by(&self.workers, &self.verifier).await
    }
}

fn page_of(batches: &[Arc<VerifiedBatch>]) -> PeerMessage {
    PeerMessage::PageOf { read: 1, result: Ok(page(batches)) }
}

#[tokio::test]
async fn each_batch_of_a_page_is_proven_by_the_workers_of_its_type_and_all_come_in_order() {
    let bench = Bench::new();
    let three =
        [bench.batches(OTHER, 20), bench.batches(SignatureType::SECP256K1, 20), bench.batches(SLOW, 20)];
    let mixed: Vec<_> = (0..60).map(|place| three[place % 3][place / 3].clone()).collect();
    let answer = bench.prove(&page_of(&mixed)).await.wait().await.unwrap();
    let Ok(PeerMessage::PageOf { read: 1, result: Ok(proven) }) = answer else { panic!("{answer:?}") };
    let bytes = |batches: &[Arc<VerifiedBatch>]| -> Vec<_> {
        batches.iter().map(|batch| (batch.bytes().clone(), 1)).collect()
    };
    let came: Vec<_> = proven.batches.into_iter().map(|past| (past.bytes, past.count)).collect();
    assert_eq!(came, bytes(&mixed));
    assert_eq!(bench.slow.threads(), ["prove-type-240-0"]);
    assert_eq!(bench.other.threads(), ["prove-type-241-0"]);
}

#[tokio::test]
async fn two_batches_that_contradict_each_other_are_proven_each_by_its_own_workers() {
    let bench = Bench::new();
    let [first, second] =
        [SLOW, OTHER].map(|signed| PeerBatch::Proven(bench.batches(signed, 1).pop().unwrap()));
    let answer = bench.prove(&PeerMessage::Proof { first, second }).await.wait().await.unwrap();
    assert!(matches!(answer, Ok(PeerMessage::Proof { .. })), "{answer:?}");
    assert_eq!(bench.slow.threads(), ["prove-type-240-0"]);
    assert_eq!(bench.other.threads(), ["prove-type-241-0"]);
}

#[tokio::test]
async fn a_long_page_lets_others_of_its_type_have_their_turn() {
    let bench = Bench::new();
    let page = page_of(&bench.batches(SLOW, 200));
    let own = bench.workers.of(Some(SLOW));
    let (release, gate) = mpsc::channel::<()>();
    let mut held = own.submit_of_broker(move || gate.recv().is_ok()).await;
    let mut proven = bench.prove(&page).await;
    let asked = bench.slow.clone();
    let mut turn = own.submit_of_broker(move || asked.asked.load(Ordering::SeqCst)).await;
    release.send(()).unwrap();
    assert_eq!(held.wait().await, Some(true));
    let before = turn.wait().await.unwrap();
    assert!(before <= 8, "{before} batches were proven first");
    assert!(matches!(proven.wait().await, Some(Ok(PeerMessage::PageOf { result: Ok(_), .. }))));
    assert_eq!(bench.slow.asked.load(Ordering::SeqCst), 200);
}

#[tokio::test]
async fn the_first_batch_of_a_page_that_does_not_hold_is_what_is_told_whoever_proves_it() {
    let bench = Bench::new();
    let mut batches = bench.batches(SLOW, 30);
    batches.extend(bench.batches(OTHER, 30));
    let whole = frame(&page_of(&batches));
    let tag = b"mainstem/batch/1";
    let headers: Vec<_> = (0..whole.len()).filter(|at| whole[*at..].starts_with(tag)).collect();
    assert_eq!(headers.len(), batches.len());
    for (forged, unknown) in [(0, 59), (29, 30), (59, 0), (31, 30), (40, 3)] {
        let mut bad = whole.to_vec();
        // The Merkle root, and the signature's type.
        bad[headers[forged] + 154] ^= 1;
        bad[headers[unknown] + 202] = 200;
        let unproven = decode(bad.into()).unwrap().unwrap();
        let mut answer = unproven.prove_by(&bench.workers, &bench.verifier).await;
        match answer.wait().await.unwrap() {
            Err(PeerFault::InvalidBatch(_)) => assert!(forged < unknown, "{forged} before {unknown}"),
            Ok(PeerMessage::PageOf { result: Err(refusal), .. }) => {
                assert_eq!(refusal.code, Code::UnknownSignatureType);
                assert!(unknown < forged, "{unknown} before {forged}");
            }
            other => panic!("{forged} and {unknown}: {other:?}"),
        }
    }
}
