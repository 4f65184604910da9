use mainstem_crypto::{Address, SecretKey};
use mainstem_model::{
    Batch, Network, NewEvent, Partition, SeriesId, SeriesWriter, Signer, StreamId, StreamPartition,
    VerifiedBatch, Verifier,
};
use mainstem_store::Append;
use std::sync::Arc;

pub(crate) const NETWORK: Network = Network { chain_id: 31337, registry: Address([1; 20]) };

pub(crate) fn place(number: u16) -> StreamPartition {
    StreamId(Address([2; 20])).partition(Partition::try_from(number).unwrap())
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
        let events: Vec<_> = timestamps
            .iter()
            .map(|timestamp| NewEvent::binary(*timestamp, timestamp.to_be_bytes().to_vec().into()))
            .collect();
        let batch = self.writer.seal(&events).unwrap();
        let verified = self.verifier.verify(Batch::decode(batch.bytes().clone()).unwrap()).unwrap();
        Append { batch: Arc::new(verified), received_at: timestamps[0] + 3 }
    }

    pub(crate) fn key(&self) -> mainstem_model::SeriesKey {
        *self.writer.key()
    }
}

pub(crate) fn verified(append: &Append) -> &VerifiedBatch {
    &append.batch
}
