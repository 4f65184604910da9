use mainstem_crypto::{Address, SecretKey};
use mainstem_model::{
    Batch, Network, NewEvent, Partition, SeriesId, SeriesWriter, Signer, StreamId, StreamPartition,
    VerifiedBatch, Verifier,
};
use mainstem_store::Append;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

pub(crate) const NETWORK: Network = Network { chain_id: 31337, registry: Address([1; 20]) };

pub(crate) fn place(number: u16) -> StreamPartition {
    StreamId(Address([2; 20])).partition(Partition::try_from(number).unwrap())
}

/// A place that no other test or case has used: one store serves them all, since making one takes many fsyncs.
pub(crate) fn fresh_place() -> StreamPartition {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut address = [9; 20];
    address[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    StreamId(Address(address)).partition(Partition::ZERO)
}

/// A publisher of one series whose events carry their own timestamps.
pub(crate) struct Publisher {
    writer: SeriesWriter,
    verifier: Verifier,
}

impl Publisher {
    pub(crate) fn new(who: u8, series: u64, at: StreamPartition) -> Self {
        let signer = Signer::wallet(SecretKey::from_bytes(&[who; 32]).unwrap());
        Self {
            writer: SeriesWriter::new(NETWORK, at, signer, SeriesId(series)),
            verifier: Verifier::new(NETWORK),
        }
    }

    pub(crate) fn batch(&mut self, timestamps: &[i64]) -> Append {
        self.batch_of(timestamps, 8)
    }

    /// A batch whose events have contents of `bytes` bytes.
    pub(crate) fn batch_of(&mut self, timestamps: &[i64], bytes: usize) -> Append {
        let content = |timestamp: &i64| timestamp.to_be_bytes().repeat(bytes.div_ceil(8)).into();
        let events: Vec<_> =
            timestamps.iter().map(|timestamp| NewEvent::binary(*timestamp, content(timestamp))).collect();
        let batch = self.writer.seal(&events).unwrap();
        let verified = self.verifier.verify(Batch::decode(batch.bytes().clone()).unwrap()).unwrap();
        Append { batch: Arc::new(verified), received_at: timestamps[0] + 3, past: false }
    }

    pub(crate) fn key(&self) -> mainstem_model::SeriesKey {
        *self.writer.key()
    }
}

/// The same batch, to fill up history.
pub(crate) fn past(append: &Append) -> Append {
    Append { past: true, ..append.clone() }
}

pub(crate) fn verified(append: &Append) -> &VerifiedBatch {
    &append.batch
}
