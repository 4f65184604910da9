use bytes::Bytes;
use mainstem_api::peer::{decode, encode};
use mainstem_crypto::SecretKey;
use mainstem_model::{
    Address, BatchId, BatchKey, Code, Cursor, HeadsDigest, HeadsSummary, Network, NewEvent, Origin,
    Partition, ReadFilter, ReadStart, Refusal, SeriesHead, SeriesId, SeriesKey, SeriesRange, SeriesWriter,
    Signer, StreamId, StreamPartition, VerifiedBatch, Verifier,
};
use mainstem_protocol::{Page, PastBatch, PeerBatch, PeerFault, PeerMessage, PullEnd, SeriesFrom};
use std::sync::{Arc, LazyLock};

pub(crate) const NETWORK: Network = Network { chain_id: 31337, registry: Address([1; 20]) };
pub(crate) static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| Verifier::new(NETWORK));

pub(crate) fn at(partition: u16) -> StreamPartition {
    StreamId(Address([2; 20])).partition(Partition::try_from(partition).unwrap())
}

pub(crate) fn series(number: u64) -> SeriesKey {
    SeriesKey {
        stream_partition: at(99),
        origin: Origin::ethereum(Address([3; 20])),
        series: SeriesId(number),
    }
}

pub(crate) fn head(number: u64) -> (SeriesKey, SeriesHead) {
    let frozen = number % 2 == 1;
    let last = BatchId([number as u8; 32]);
    (series(number), SeriesHead { next_sequence: number << 40, last, timestamp: -5, frozen })
}

pub(crate) fn digest(number: u8) -> HeadsDigest {
    HeadsDigest { count: u64::from(number), hash: [number; 32] }
}

pub(crate) fn range(number: u64) -> SeriesRange {
    let key = |at: u64| (series(at).origin, SeriesId(at));
    SeriesRange { at: at(7), first: key(number), last: key(u64::MAX) }
}

pub(crate) fn cursors() -> [Cursor; 2] {
    let key =
        BatchKey { timestamp: -1, origin: series(0).origin, series: SeriesId(4), sequence: u64::MAX - 5 };
    [
        Cursor::Arrival { log: 7, position: 8, skip: 9 },
        Cursor::History { log: u64::MAX, until: 3, key, skip: 1024 },
    ]
}

/// `count` batches of one series, of one event each.
pub(crate) fn batches(count: usize, partition: u16, bytes: usize) -> Vec<Arc<VerifiedBatch>> {
    let signer = Signer::wallet(SecretKey::from_bytes(&[7; 32]).unwrap());
    let mut writer = SeriesWriter::new(NETWORK, at(partition), signer, SeriesId(1));
    let seal = |number: usize| {
        let batch = writer.seal(&[NewEvent::binary(number as i64, vec![5; bytes].into())]).unwrap();
        Arc::new(VERIFIER.verify(batch).unwrap())
    };
    (0..count).map(seal).collect()
}

pub(crate) fn page(batches: &[Arc<VerifiedBatch>]) -> Page {
    let past = |batch: &Arc<VerifiedBatch>| PastBatch {
        bytes: batch.bytes().clone(),
        cursor: cursors()[1],
        count: batch.header().count,
        received_at: -3,
    };
    let batches = batches.iter().map(past).collect();
    Page { batches, next: cursors()[0], at_end: true, damaged: 6 }
}

pub(crate) fn refusal() -> Refusal {
    Refusal::new(Code::SeriesGap, "batches before it are missing: naïve, 日本")
}

/// Some of every kind.
pub(crate) fn messages() -> Vec<PeerMessage> {
    let [arrival, history] = cursors();
    let (series, refusal, filter) = (series(5), refusal(), ReadFilter::ALL);
    let mut two = batches(2, 0, 40).into_iter();
    let (batch, second) = (two.next().unwrap(), two.next().unwrap());
    let narrow = ReadFilter { origin: Some(series.origin), from: -9, to: 9 };
    let read = |cursor, filter| PeerMessage::Read { read: 3, at: at(3), cursor, filter, bytes_max: 1 << 33 };
    let resolve = |start, filter| PeerMessage::Resolve { read: 1, at: at(0), start, filter };
    let pull = |from| PeerMessage::Pull { pull: 1, series, from, until: 1 << 50, bytes_max: 4 };
    vec![
        PeerMessage::Hello { log: u64::MAX, epoch: u32::MAX, ready: true },
        PeerMessage::Store { durable: true, batch: batch.clone() },
        PeerMessage::Held { series, next_sequence: 8, last: batch.id(), durable: true },
        PeerMessage::NotHeld { series, batch: batch.id(), refusal: refusal.clone() },
        PeerMessage::Follow { at: at(1), full: true, since_ms: 1 << 60 },
        PeerMessage::Followed { at: at(2), full: true, path: Vec::new() },
        PeerMessage::Followed { at: at(2), full: false, path: (0..16).map(|n| Address([n; 20])).collect() },
        PeerMessage::NotFollowed { at: at(3), refusal: refusal.clone(), instead: Vec::new() },
        PeerMessage::NotFollowed {
            at: at(3),
            refusal: refusal.clone(),
            instead: (0..16).map(|n| Address([n; 20])).collect(),
        },
        PeerMessage::Unfollow { at: at(4) },
        PeerMessage::Feed { batch: PeerBatch::Proven(batch.clone()) },
        PeerMessage::Fed { at: at(5), bytes: u64::MAX },
        PeerMessage::Heads { heads: Vec::new() },
        PeerMessage::Heads { heads: (0..3).map(head).collect() },
        pull(SeriesFrom::Sequence(9)),
        pull(SeriesFrom::Age(9)),
        PeerMessage::Pulled { pull: 1 << 63, batch: PeerBatch::Proven(batch.clone()) },
        PeerMessage::PullEnd { pull: 1, result: Ok(PullEnd { base: 5, more: true }) },
        PeerMessage::PullEnd { pull: 1, result: Err(refusal.clone()) },
        PeerMessage::Inventory { ask: 1, after: None },
        PeerMessage::Inventory { ask: 1, after: Some(at(6)) },
        PeerMessage::Inventoried {
            ask: 1,
            partitions: vec![(at(0), digest(3)), (at(1), HeadsDigest::default())],
            more: true,
        },
        PeerMessage::Compare { ask: 1, range: range(2) },
        PeerMessage::Compared { ask: 1, summary: HeadsSummary::Heads((0..2).map(head).collect()) },
        PeerMessage::Compared {
            ask: 2,
            summary: HeadsSummary::Parts(vec![(range(1), digest(1)), (range(2), digest(2))]),
        },
        PeerMessage::Proof {
            first: PeerBatch::Proven(batch.clone()),
            second: PeerBatch::Proven(second.clone()),
        },
        resolve(ReadStart::Now, filter),
        resolve(ReadStart::Last(1 << 40), narrow),
        resolve(ReadStart::From, narrow),
        resolve(ReadStart::Cursor(history), filter),
        PeerMessage::Resolved { read: 2, result: Ok(arrival) },
        PeerMessage::Resolved { read: 2, result: Err(refusal.clone()) },
        read(arrival, filter),
        read(history, narrow),
        PeerMessage::PageOf { read: 4, result: Ok(page(&[])) },
        PeerMessage::PageOf { read: 4, result: Ok(page(&[batch, second])) },
        PeerMessage::PageOf { read: 4, result: Err(refusal) },
    ]
}

/// The number of a message's kind in the schema, and how many there are.
pub(crate) const KINDS: u16 = 23;

pub(crate) fn kind(message: &PeerMessage) -> u16 {
    match message {
        PeerMessage::Hello { .. } => 0,
        PeerMessage::Store { .. } => 1,
        PeerMessage::Held { .. } => 2,
        PeerMessage::NotHeld { .. } => 3,
        PeerMessage::Follow { .. } => 4,
        PeerMessage::Followed { .. } => 5,
        PeerMessage::NotFollowed { .. } => 6,
        PeerMessage::Unfollow { .. } => 7,
        PeerMessage::Feed { .. } => 8,
        PeerMessage::Fed { .. } => 9,
        PeerMessage::Heads { .. } => 10,
        PeerMessage::Pull { .. } => 11,
        PeerMessage::Pulled { .. } => 12,
        PeerMessage::PullEnd { .. } => 13,
        PeerMessage::Inventory { .. } => 14,
        PeerMessage::Inventoried { .. } => 15,
        PeerMessage::Compare { .. } => 16,
        PeerMessage::Compared { .. } => 17,
        PeerMessage::Proof { .. } => 18,
        PeerMessage::Resolve { .. } => 19,
        PeerMessage::Resolved { .. } => 20,
        PeerMessage::Read { .. } => 21,
        PeerMessage::PageOf { .. } => 22,
    }
}

/// What becomes of a frame; `None`: it is of a kind that is not known.
pub(crate) fn taken(frame: Bytes) -> Result<Option<PeerMessage>, PeerFault> {
    decode(frame)?.map(|message| message.prove(&VERIFIER)).transpose()
}

pub(crate) fn frame(message: &PeerMessage) -> Bytes {
    encode(message).unwrap()
}

/// Bytes of the length and the head.
pub(crate) fn front(frame: &[u8]) -> usize {
    4 + u32::from_le_bytes(frame[..4].try_into().unwrap()) as usize
}
