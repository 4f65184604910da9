use crate::random::Random;
use mainstem_crypto::SecretKey;
use mainstem_model::{
    AckLevel, Batch, Network, NewEvent, SeriesId, SeriesWriter, Signer, StreamPartition, VerifiedBatch,
    Verifier,
};
use mainstem_protocol::SessionId;
use std::{collections::VecDeque, sync::Arc};

/// A publisher that resends what was not acked after each reconnect.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) writer: SeriesWriter,
    pub(crate) session: Option<SessionId>,
    pub(crate) unacked: VecDeque<Arc<VerifiedBatch>>,
    pub(crate) sealed: u64,
    pub(crate) acked: u64,
    pub(crate) duplicates: u64,
    clock: i64,
}

impl Publisher {
    pub(crate) fn new(network: Network, at: StreamPartition, number: u64) -> Self {
        let key = SecretKey::from_bytes(&[number as u8 % 3 + 1; 32]).unwrap();
        Self {
            writer: SeriesWriter::new(network, at, Signer::wallet(key), SeriesId(number)),
            session: None,
            unacked: VecDeque::new(),
            sealed: 0,
            acked: 0,
            duplicates: 0,
            clock: 0,
        }
    }

    /// Seals the next batch; its timestamps lie up to four seconds before `now`, so that history is not arrival.
    pub(crate) fn seal(&mut self, random: &mut Random, verifier: &Verifier, now: i64) -> Arc<VerifiedBatch> {
        let late = random.below(4_000) as i64;
        // Within a series time does not go back.
        let now = (now - late).max(self.clock);
        self.clock = now;
        let events: Vec<_> = (0..=random.below(6))
            .map(|i| NewEvent::binary(now + i as i64, vec![0; 40 + random.below(400) as usize].into()))
            .collect();
        let batch = self.writer.seal(&events).unwrap();
        let verified = Arc::new(verifier.verify(Batch::decode(batch.bytes().clone()).unwrap()).unwrap());
        self.unacked.push_back(verified.clone());
        self.sealed += 1;
        verified
    }

    pub(crate) fn level(random: &mut Random) -> AckLevel {
        [AckLevel::Accepted, AckLevel::Stored, AckLevel::Durable][random.below(3) as usize]
    }
}
